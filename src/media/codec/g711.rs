//! ITU-T G.711 by table. Linear samples are 16-bit, left-justified: the 14 bits of µ-law and the 13 bits of A-law are
//! the upper ones. Octets are as on the wire (µ-law inverted, A-law with the even bits inverted).

/// Decoded value of each µ-law octet (G.711 table 2).
pub static ULAW_TO_LINEAR: [i16; 256] = ulaw_decoder();
/// Decoded value of each A-law octet (G.711 table 1).
pub static ALAW_TO_LINEAR: [i16; 256] = alaw_decoder();

/// Indexed by the upper 14 bits of a sample, offset by half the range.
static LINEAR_TO_ULAW: [u8; 16_384] = ulaw_encoder();
/// Indexed by the upper 12 bits: A-law never looks at the 13th of the lowest magnitude step (G.711 note 2).
static LINEAR_TO_ALAW: [u8; 4_096] = alaw_encoder();

/// Which of the two laws.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Law {
    Micro,
    A,
}

impl Law {
    /// The octet that decodes to the quietest sample.
    pub fn silence(self) -> u8 {
        match self {
            Law::Micro => 0xFF,
            Law::A => 0xD5,
        }
    }

    /// Decodes one octet a sample; stops at the shorter of both. Returns the number of samples.
    pub fn decode(self, payload: &[u8], pcm: &mut [i16]) -> usize {
        let table = match self {
            Law::Micro => &ULAW_TO_LINEAR,
            Law::A => &ALAW_TO_LINEAR,
        };
        for (sample, &octet) in pcm.iter_mut().zip(payload) {
            *sample = table[usize::from(octet)];
        }
        payload.len().min(pcm.len())
    }

    /// Encodes one octet a sample; stops at the shorter of both. Returns the number of octets.
    pub fn encode(self, pcm: &[i16], payload: &mut [u8]) -> usize {
        let octet = match self {
            Law::Micro => ulaw,
            Law::A => alaw,
        };
        for (out, &sample) in payload.iter_mut().zip(pcm) {
            *out = octet(sample);
        }
        payload.len().min(pcm.len())
    }
}

/// One linear sample to its µ-law octet.
#[inline]
pub fn ulaw(sample: i16) -> u8 {
    // `as u16` keeps the bits; the index is below 2^14 by the shift.
    LINEAR_TO_ULAW[usize::from((sample as u16) >> 2)]
}

/// One linear sample to its A-law octet.
#[inline]
pub fn alaw(sample: i16) -> u8 {
    LINEAR_TO_ALAW[usize::from((sample as u16) >> 4)]
}

/// Bias that moves every µ-law segment onto a power of two (14-bit units).
const BIAS: i32 = 33;

const fn ulaw_encoder() -> [u8; 16_384] {
    let mut table = [0u8; 16_384];
    let mut index = 0;
    while index < table.len() {
        table[index] = ulaw_of(sign_extend(index as i32, 14));
        index += 1;
    }
    table
}

const fn alaw_encoder() -> [u8; 4_096] {
    let mut table = [0u8; 4_096];
    let mut index = 0;
    while index < table.len() {
        table[index] = alaw_of(sign_extend(index as i32, 12));
        index += 1;
    }
    table
}

const fn sign_extend(value: i32, bits: u32) -> i32 {
    (value << (32 - bits)) >> (32 - bits)
}

/// Negative values are mirrored by one's complement, as in the reference of G.191: the decision value itself belongs
/// to the upper interval on the positive side and to the lower one on the negative side.
const fn mirrored(value: i32) -> i32 {
    if value < 0 { !value } else { value }
}

const fn ulaw_of(linear14: i32) -> u8 {
    let biased = mirrored(linear14) + BIAS;
    let magnitude = if biased > 0x1FFF { 0x1FFF } else { biased };
    let segment = 26 - magnitude.leading_zeros() as i32;
    let code = (segment << 4) | ((magnitude >> (segment + 1)) & 0x0F);
    let positive = if linear14 < 0 { 0x7F } else { 0xFF };
    (positive - code) as u8
}

const fn alaw_of(linear12: i32) -> u8 {
    let magnitude = mirrored(linear12);
    let code = if magnitude < 32 {
        magnitude
    } else {
        let segment = 27 - magnitude.leading_zeros() as i32;
        ((segment + 1) << 4) | ((magnitude >> segment) & 0x0F)
    };
    let sign = if linear12 < 0 { 0 } else { 0x80 };
    ((code | sign) ^ 0x55) as u8
}

const fn ulaw_decoder() -> [i16; 256] {
    let mut table = [0i16; 256];
    let mut octet = 0;
    while octet < 256 {
        let code = !(octet as u8) as i32;
        let magnitude = ((((code & 0x0F) << 1) + BIAS) << ((code >> 4) & 7)) - BIAS;
        table[octet] = (if code & 0x80 == 0 { magnitude << 2 } else { -(magnitude << 2) }) as i16;
        octet += 1;
    }
    table
}

const fn alaw_decoder() -> [i16; 256] {
    let mut table = [0i16; 256];
    let mut octet = 0;
    while octet < 256 {
        let code = (octet as u8 ^ 0x55) as i32;
        let segment = (code >> 4) & 7;
        let step = ((code & 0x0F) << 4) + 8;
        let magnitude = if segment == 0 { step } else { (step + 0x100) << (segment - 1) };
        table[octet] = (if code & 0x80 != 0 { magnitude } else { -magnitude }) as i16;
        octet += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decision values at the segment ends, G.711 table 2a (14-bit units), with the code of the interval above.
    const ULAW_SEGMENTS: [(i16, u8); 7] =
        [(31, 0xEF), (95, 0xDF), (223, 0xCF), (479, 0xBF), (991, 0xAF), (2015, 0x9F), (4063, 0x8F)];
    /// Decision values at the segment ends, G.711 table 1a (13-bit units, 4096 = full scale).
    const ALAW_SEGMENTS: [(i16, u8); 6] =
        [(64, 0xF5), (128, 0xE5), (256, 0x95), (512, 0x85), (1024, 0xB5), (2048, 0xA5)];

    #[test]
    fn ulaw_segments_begin_at_the_decision_values_of_the_standard() {
        for (decision, code) in ULAW_SEGMENTS {
            assert_eq!(ulaw(decision << 2), code, "at {decision}");
            assert_eq!(ulaw((decision - 1) << 2), code + 1, "below {decision}");
            assert_eq!(ulaw(-(decision << 2) - 1), code & 0x7F, "at -{decision}");
        }
    }

    #[test]
    fn alaw_segments_begin_at_the_decision_values_of_the_standard() {
        for (decision, code) in ALAW_SEGMENTS {
            assert_eq!(alaw(decision << 3), code, "at {decision}");
            assert_eq!((alaw((decision << 3) - 1) ^ 0x55) + 1, code ^ 0x55, "below {decision}");
            assert_eq!(alaw(-(decision << 3) - 1), code ^ 0x80, "at -{decision}");
        }
    }

    #[test]
    fn known_outputs_of_the_decoder() {
        assert_eq!(ULAW_TO_LINEAR[0x80], 8031 << 2);
        assert_eq!(ULAW_TO_LINEAR[0x00], -(8031 << 2));
        assert_eq!(ULAW_TO_LINEAR[0xFF], 0);
        assert_eq!(ULAW_TO_LINEAR[0xFE], 2 << 2);
        assert_eq!(ULAW_TO_LINEAR[0xEF], 33 << 2);
        assert_eq!(ALAW_TO_LINEAR[0xAA], 4032 << 3);
        assert_eq!(ALAW_TO_LINEAR[0x2A], -(4032 << 3));
        assert_eq!(ALAW_TO_LINEAR[0xD5], 1 << 3);
        assert_eq!(ALAW_TO_LINEAR[0x55], -(1 << 3));
    }

    #[test]
    fn silence_decodes_to_the_quietest_sample() {
        for law in [Law::Micro, Law::A] {
            let mut pcm = [1i16; 1];
            assert_eq!(law.decode(&[law.silence()], &mut pcm), 1);
            assert!(pcm[0].abs() <= 8, "{law:?} {}", pcm[0]);
            assert_eq!(law.encode(&[0], &mut [0u8; 1]), 1);
        }
    }

    #[test]
    fn stops_at_the_shorter_buffer() {
        let mut pcm = [7i16; 4];
        assert_eq!(Law::Micro.decode(&[0xFF, 0xFF], &mut pcm), 2);
        assert_eq!(pcm, [0, 0, 7, 7]);
        assert_eq!(Law::A.encode(&pcm, &mut [0u8; 3]), 3);
    }

    #[test]
    fn the_wrong_law_is_audibly_wrong() {
        let tone: Vec<i16> = (0..160).map(|i| (8000.0 * (f64::from(i) * 0.7).sin()) as i16).collect();
        let mut payload = [0u8; 160];
        Law::Micro.encode(&tone, &mut payload);
        let mut right = [0i16; 160];
        let mut wrong = [0i16; 160];
        Law::Micro.decode(&payload, &mut right);
        Law::A.decode(&payload, &mut wrong);
        let error =
            |pcm: &[i16]| pcm.iter().zip(&tone).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>();
        assert!(error(&wrong) > 100.0 * error(&right));
    }

    #[test]
    fn every_octet_survives_decoding_and_encoding() {
        for octet in 0..=255u8 {
            // µ-law has two zeros; the negative one comes back as the positive.
            let expected = if octet == 0x7F { 0xFF } else { octet };
            assert_eq!(ulaw(ULAW_TO_LINEAR[usize::from(octet)]), expected);
            assert_eq!(alaw(ALAW_TO_LINEAR[usize::from(octet)]), octet);
        }
    }

    #[test]
    fn every_sample_decodes_within_half_a_step() {
        for sample in i16::MIN..=i16::MAX {
            let magnitude = f64::from(sample).abs();
            for (decoded, full_scale, finest) in [
                (ULAW_TO_LINEAR[usize::from(ulaw(sample))], 32_635.0, 8.0),
                (ALAW_TO_LINEAR[usize::from(alaw(sample))], 32_767.0, 16.0),
            ] {
                let step = f64::max(finest, (magnitude + 132.0) / 16.0);
                let error = (f64::from(decoded) - f64::from(sample)).abs();
                assert!(magnitude > full_scale || error <= step / 2.0 + 4.0, "{sample} became {decoded}");
            }
        }
    }
}
