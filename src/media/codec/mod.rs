//! Audio codecs of a leg. G.711 is negotiated; Opus (see [`opus`]) waits for wide-band legs.

pub mod g711;
pub mod opus;

/// A codec that a leg can send and receive: octet per sample, 8 kHz clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    Pcmu,
    Pcma,
}

impl Codec {
    /// Payload type of RFC 3551 §6.
    pub fn static_payload_type(self) -> u8 {
        match self {
            Codec::Pcmu => 0,
            Codec::Pcma => 8,
        }
    }

    /// Encoding name as in `a=rtpmap`.
    pub fn name(self) -> &'static str {
        match self {
            Codec::Pcmu => "PCMU",
            Codec::Pcma => "PCMA",
        }
    }

    /// The octet that decodes to the quietest sample.
    pub fn silence(self) -> u8 {
        match self {
            Codec::Pcmu => 0xFF,
            Codec::Pcma => 0xD5,
        }
    }

    /// Decodes one octet a sample; stops at the shorter of both. Returns the number of samples.
    pub fn decode(self, payload: &[u8], pcm: &mut [i16]) -> usize {
        let table = match self {
            Codec::Pcmu => &g711::ULAW_TO_LINEAR,
            Codec::Pcma => &g711::ALAW_TO_LINEAR,
        };
        for (sample, &octet) in pcm.iter_mut().zip(payload) {
            *sample = table[usize::from(octet)];
        }
        payload.len().min(pcm.len())
    }

    /// Encodes one octet a sample; stops at the shorter of both. Returns the number of octets.
    pub fn encode(self, pcm: &[i16], payload: &mut [u8]) -> usize {
        let octet = match self {
            Codec::Pcmu => g711::ulaw,
            Codec::Pcma => g711::alaw,
        };
        for (out, &sample) in payload.iter_mut().zip(pcm) {
            *out = octet(sample);
        }
        payload.len().min(pcm.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_decodes_to_the_quietest_sample() {
        for codec in [Codec::Pcmu, Codec::Pcma] {
            let mut pcm = [1i16; 1];
            assert_eq!(codec.decode(&[codec.silence()], &mut pcm), 1);
            assert!(pcm[0].abs() <= 8, "{codec:?} {}", pcm[0]);
            assert_eq!(codec.encode(&[0], &mut [0u8; 1]), 1);
        }
    }

    #[test]
    fn stops_at_the_shorter_buffer() {
        let mut pcm = [7i16; 4];
        assert_eq!(Codec::Pcmu.decode(&[0xFF, 0xFF], &mut pcm), 2);
        assert_eq!(pcm, [0, 0, 7, 7]);
        assert_eq!(Codec::Pcma.encode(&pcm, &mut [0u8; 3]), 3);
    }

    #[test]
    fn the_wrong_law_is_audibly_wrong() {
        let tone: Vec<i16> = (0..160).map(|i| (8000.0 * (f64::from(i) * 0.7).sin()) as i16).collect();
        let mut payload = [0u8; 160];
        Codec::Pcmu.encode(&tone, &mut payload);
        let mut right = [0i16; 160];
        let mut wrong = [0i16; 160];
        Codec::Pcmu.decode(&payload, &mut right);
        Codec::Pcma.decode(&payload, &mut wrong);
        let error =
            |pcm: &[i16]| pcm.iter().zip(&tone).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>();
        assert!(error(&wrong) > 100.0 * error(&right));
    }
}
