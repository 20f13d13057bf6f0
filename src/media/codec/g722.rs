//! ITU-T G.722 at 64 kbit/s (mode 1): 16 kHz sound in two bands of ADPCM, one octet for two samples.
//!
//! Names in capitals are the blocks of the Recommendation (§5, §6); all arithmetic is the 16-bit arithmetic that it
//! prescribes, so that both directions agree with other implementations to the bit. The RTP clock is 8,000 Hz although
//! the sound has 16,000 samples a second (RFC 3551 §4.5.2): an octet is a tick, as with G.711.

/// Sound to octets.
#[derive(Debug, Clone)]
pub struct Encoder {
    low: Band,
    high: Band,
    mirror: Mirror,
}

/// Octets to sound.
#[derive(Debug, Clone)]
pub struct Decoder {
    low: Band,
    high: Band,
    mirror: Mirror,
}

impl Default for Encoder {
    fn default() -> Encoder {
        Encoder { low: Band::new(LOW_STEP), high: Band::new(HIGH_STEP), mirror: Mirror::default() }
    }
}

impl Default for Decoder {
    fn default() -> Decoder {
        Decoder { low: Band::new(LOW_STEP), high: Band::new(HIGH_STEP), mirror: Mirror::default() }
    }
}

impl Encoder {
    /// Encodes pairs of samples, an octet each; stops at the shorter of both. Returns the octets written.
    pub fn encode(&mut self, pcm: &[i16], payload: &mut [u8]) -> usize {
        let pairs = pcm.chunks_exact(2);
        let count = pairs.len().min(payload.len());
        for (octet, pair) in payload.iter_mut().zip(pairs) {
            let (odd, even) = self.mirror.filter(i32::from(pair[0]), i32::from(pair[1]));
            let low = self.low_band((even + odd) >> 14);
            let high = self.high_band((even - odd) >> 14);
            *octet = high << 6 | low;
        }
        count
    }

    /// SUBTRA, QUANTL and the feedback: six bits.
    fn low_band(&mut self, sample: i32) -> u8 {
        let difference = saturate(sample - self.low.estimate);
        let magnitude = if difference < 0 { !difference } else { difference };
        let step = self.low.step;
        let interval = DECISIONS.iter().position(|level| magnitude < (level * step) >> 12).unwrap_or(DECISIONS.len());
        // Below zero the codes fall from 31 (63 and 62 first), above from 61.
        let code = match (difference < 0, interval) {
            (true, 0 | 1) => 63 - interval,
            (true, _) => 33 - interval,
            (false, _) => 61 - interval,
        } as u8;
        self.low.follow_low(code >> 2);
        code
    }

    /// SUBTRA, QUANTH and the feedback: two bits.
    fn high_band(&mut self, sample: i32) -> u8 {
        let difference = saturate(sample - self.high.estimate);
        let magnitude = if difference < 0 { !difference } else { difference };
        let outer = magnitude >= (564 * self.high.step) >> 12;
        let code = match (difference < 0, outer) {
            (true, false) => 1,
            (true, true) => 0,
            (false, false) => 3,
            (false, true) => 2,
        };
        self.high.follow_high(code);
        code
    }
}

impl Decoder {
    /// Decodes two samples an octet; stops at the shorter of both. Returns the samples written.
    pub fn decode(&mut self, payload: &[u8], pcm: &mut [i16]) -> usize {
        let pairs = pcm.chunks_exact_mut(2);
        let count = 2 * pairs.len().min(payload.len());
        for (pair, octet) in pairs.zip(payload) {
            let low = self.low_band(octet & 0x3F);
            let high = self.high_band(octet >> 6);
            let (first, second) = self.mirror.filter(low + high, low - high);
            // The even taps carry the second sample.
            pair[0] = saturate(second >> 11) as i16;
            pair[1] = saturate(first >> 11) as i16;
        }
        count
    }

    /// INVQBL, RECONS, LIMIT: all six bits for the sound, the upper four for the prediction.
    fn low_band(&mut self, code: u8) -> i32 {
        let fine = (self.low.step * FINE[usize::from(code & 0x3F)]) >> 15;
        let sound = limit(self.low.estimate + fine);
        self.low.follow_low(code >> 2);
        sound
    }

    fn high_band(&mut self, code: u8) -> i32 {
        let estimate = self.high.estimate;
        let difference = self.high.follow_high(code);
        limit(estimate + difference)
    }
}

/// Quantiser step and predictor of one band.
#[derive(Debug, Clone)]
struct Band {
    /// Δ, the step size.
    step: i32,
    /// ∇, its logarithm.
    logarithm: i32,
    /// s, what the predictor expects.
    estimate: i32,
    /// The part of it that the zeros make.
    zeros: i32,
    /// Newest first: reconstructed signal, partially reconstructed signal, pole coefficients.
    signal: [i32; 2],
    partial: [i32; 2],
    poles: [i32; 2],
    /// Newest first: differences and the coefficients on them.
    differences: [i32; 6],
    coefficients: [i32; 6],
}

impl Band {
    fn new(step: i32) -> Band {
        Band {
            step,
            logarithm: 0,
            estimate: 0,
            zeros: 0,
            signal: [0; 2],
            partial: [0; 2],
            poles: [0; 2],
            differences: [0; 6],
            coefficients: [0; 6],
        }
    }

    /// INVQAL, LOGSCL, SCALEL and the predictor.
    fn follow_low(&mut self, code: u8) {
        let code = usize::from(code & 0x0F);
        let difference = (self.step * COARSE[code]) >> 15;
        self.rescale(LOW_LOGARITHMS[code], 18_432, 8);
        self.predict(difference);
    }

    /// INVQAH, LOGSCH, SCALEH and the predictor; returns the difference.
    fn follow_high(&mut self, code: u8) -> i32 {
        let code = usize::from(code & 3);
        let difference = (self.step * HIGH[code]) >> 15;
        self.rescale(HIGH_LOGARITHMS[code], 22_528, 10);
        self.predict(difference);
        difference
    }

    fn rescale(&mut self, change: i32, most: i32, exponent: i32) {
        self.logarithm = (((self.logarithm * 127) >> 7) + change).clamp(0, most);
        let mantissa = MANTISSAS[(self.logarithm >> 6 & 31) as usize];
        let shift = exponent - (self.logarithm >> 11);
        self.step = if shift < 0 { mantissa << -shift } else { mantissa >> shift } << 2;
    }

    /// Block 4: adapts two poles and six zeros, and predicts the next sample.
    fn predict(&mut self, difference: i32) {
        let signal = saturate(self.estimate + difference);
        let partial = saturate(self.zeros + difference);
        let [like_last, like_before] = self.partial.map(|past| (past < 0) == (partial < 0));
        self.poles = self.moved_poles(like_last, like_before);
        let pull = if difference == 0 { 0 } else { 128 };
        for (coefficient, past) in self.coefficients.iter_mut().zip(self.differences) {
            let towards = if (past < 0) == (difference < 0) { pull } else { -pull };
            *coefficient = saturate(towards + ((*coefficient * 32_640) >> 15));
        }
        self.differences.rotate_right(1);
        self.differences[0] = difference;
        self.signal = [signal, self.signal[0]];
        self.partial = [partial, self.partial[0]];
        let weighted = |coefficients: &[i32], past: &[i32]| {
            let products = coefficients.iter().zip(past).map(|(c, p)| (c * saturate(p << 1)) >> 15);
            saturate(products.sum())
        };
        self.zeros = weighted(&self.coefficients, &self.differences);
        self.estimate = saturate(weighted(&self.poles, &self.signal) + self.zeros);
    }

    /// UPPOL2, UPPOL1 and their limits, which keep the filter stable.
    fn moved_poles(&self, like_last: bool, like_before: bool) -> [i32; 2] {
        let steep = saturate(self.poles[0] << 2);
        let second = (if like_last { -steep } else { steep }).min(32_767) >> 7;
        let second = second + if like_before { 128 } else { -128 } + ((self.poles[1] * 32_512) >> 15);
        let second = second.clamp(-12_288, 12_288);
        let first = if like_last { 192 } else { -192 } + ((self.poles[0] * 32_640) >> 15);
        let most = 15_360 - second;
        [saturate(first).clamp(-most, most), second]
    }
}

/// The quadrature mirror filter: 24 taps, a pair of samples at a time.
#[derive(Debug, Clone, Default)]
struct Mirror([i32; 24]);

impl Mirror {
    /// Takes a pair; returns the sums over the first and over the second sample of each pair.
    fn filter(&mut self, first: i32, second: i32) -> (i32, i32) {
        self.0.copy_within(2.., 0);
        (self.0[22], self.0[23]) = (first, second);
        let pairs = self.0.chunks_exact(2).zip(MIRROR.iter().zip(MIRROR.iter().rev()));
        pairs.fold((0, 0), |(odd, even), (pair, (forward, backward))| {
            (odd + pair[0] * forward, even + pair[1] * backward)
        })
    }
}

fn saturate(value: i32) -> i32 {
    value.clamp(i32::from(i16::MIN), i32::from(i16::MAX))
}

/// LIMIT: the bands have 15 bits.
fn limit(value: i32) -> i32 {
    value.clamp(-16_384, 16_383)
}

/// Step sizes at the start.
const LOW_STEP: i32 = 32;
const HIGH_STEP: i32 = 8;

/// QMF coefficients (table 11), half of the symmetric filter.
const MIRROR: [i32; 12] = [3, -11, 12, 32, -210, 951, 3_876, -805, 362, -156, 53, -11];

/// Decision levels of the 60-level quantiser (table 14).
const DECISIONS: [i32; 29] = [
    35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650, 714, 786, 858, 940, 1_023, 1_121, 1_219, 1_339,
    1_458, 1_612, 1_765, 1_980, 2_195, 2_557, 2_919,
];

/// Outputs of the 60-level quantiser by code (table 15).
const FINE: [i32; 64] = [
    -136, -136, -136, -136, -24_808, -21_904, -19_008, -16_704, -14_984, -13_512, -12_280, -11_192, -10_232, -9_360,
    -8_576, -7_856, -7_192, -6_576, -6_000, -5_456, -4_944, -4_464, -4_008, -3_576, -3_168, -2_776, -2_400, -2_032,
    -1_688, -1_360, -1_040, -728, 24_808, 21_904, 19_008, 16_704, 14_984, 13_512, 12_280, 11_192, 10_232, 9_360, 8_576,
    7_856, 7_192, 6_576, 6_000, 5_456, 4_944, 4_464, 4_008, 3_576, 3_168, 2_776, 2_400, 2_032, 1_688, 1_360, 1_040,
    728, 432, 136, -432, -136,
];

/// Outputs of the 15-level quantiser that the prediction uses.
const COARSE: [i32; 16] =
    [0, -20_456, -12_896, -8_968, -6_288, -4_240, -2_584, -1_200, 20_456, 12_896, 8_968, 6_288, 4_240, 2_584, 1_200, 0];

/// Outputs of the four-level quantiser.
const HIGH: [i32; 4] = [-7_408, -1_616, 7_408, 1_616];

/// How the logarithm of the step moves, by code.
const LOW_LOGARITHMS: [i32; 16] =
    [-60, 3_042, 1_198, 538, 334, 172, 58, -30, 3_042, 1_198, 538, 334, 172, 58, -30, -60];
const HIGH_LOGARITHMS: [i32; 4] = [798, -214, 798, -214];

/// 2,048 · 2^(n / 32).
const MANTISSAS: [i32; 32] = [
    2_048, 2_093, 2_139, 2_186, 2_233, 2_282, 2_332, 2_383, 2_435, 2_489, 2_543, 2_599, 2_656, 2_714, 2_774, 2_834,
    2_896, 2_960, 3_025, 3_091, 3_158, 3_228, 3_298, 3_371, 3_444, 3_520, 3_597, 3_676, 3_756, 3_838, 3_922, 4_008,
];

#[cfg(test)]
mod tests {
    use super::*;

    /// A chirp with noise, and a loud end: made by the same integers in the tool that wrote the
    /// vectors (`scripts/g722-vectors.py`).
    fn passage() -> Vec<i16> {
        let mut noise = 1u32;
        let mut phase = 0u32;
        (0..3_200u32)
            .map(|n| {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                phase = (phase + 200 + n * 8) % 65_536;
                let triangle = (phase as i32 - 32_768).abs() - 16_384;
                let hiss = (noise >> 20) as i32 - 2_048;
                let sample = if n < 2_400 { triangle * 3 / 4 + hiss } else { triangle + hiss * 3 };
                sample.clamp(-32_768, 32_767) as i16
            })
            .collect()
    }

    const ENCODED: &[u8] = include_bytes!("g722/passage.g722");
    const DECODED: &[u8] = include_bytes!("g722/passage.pcm");

    fn encoded(pcm: &[i16]) -> Vec<u8> {
        let mut payload = vec![0; pcm.len() / 2];
        let length = Encoder::default().encode(pcm, &mut payload);
        assert_eq!(length, payload.len());
        payload
    }

    fn decoded(payload: &[u8]) -> Vec<i16> {
        let mut pcm = vec![0; payload.len() * 2];
        let length = Decoder::default().decode(payload, &mut pcm);
        assert_eq!(length, pcm.len());
        pcm
    }

    #[test]
    fn encodes_to_the_bit_as_another_implementation_does() {
        assert_eq!(encoded(&passage()), ENCODED);
    }

    #[test]
    fn decodes_to_the_bit_as_another_implementation_does() {
        let expected: Vec<i16> = DECODED.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
        assert_eq!(decoded(ENCODED), expected);
    }

    #[test]
    fn pieces_are_the_same_as_the_whole_and_the_shorter_buffer_counts() {
        let pcm = passage();
        let (mut encoder, mut pieces) = (Encoder::default(), Vec::new());
        for piece in pcm.chunks(160) {
            let mut payload = [0; 80];
            encoder.encode(piece, &mut payload);
            pieces.extend(payload);
        }
        assert_eq!(pieces, ENCODED);
        assert_eq!(Encoder::default().encode(&pcm, &mut [0; 5]), 5);
        assert_eq!(Decoder::default().decode(ENCODED, &mut [0; 7]), 6);
    }

    #[test]
    fn random_octets_neither_panic_nor_run_away() {
        let mut noise = 9u32;
        let octets: Vec<u8> = (0..20_000)
            .map(|_| {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (noise >> 24) as u8
            })
            .collect();
        assert_eq!(decoded(&octets).len(), 40_000);
        // Silence after it is silence again within 200 ms.
        let mut decoder = Decoder::default();
        decoder.decode(&octets, &mut vec![0; 40_000]);
        let mut calm = vec![0; 16_000];
        decoder.decode(&encoded(&vec![0; 16_000]), &mut calm);
        assert!(calm[3_200..].iter().all(|sample| sample.abs() < 64), "{:?}", calm[3_200..].iter().max());
    }
}
