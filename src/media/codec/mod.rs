//! Audio codecs of a leg: what they are called, what their payloads hold, and one encoder for all of them.
//!
//! | Codec | Sound | RTP clock | A payload of 20 ms |
//! |---|---|---|---|
//! | PCMU, PCMA | 8 kHz | 8 kHz | 160 octets |
//! | G.722 | 16 kHz | 8 kHz (RFC 3551 §4.5.2) | 160 octets |
//! | Opus | 16 kHz, as we decode it | 48 kHz (RFC 7587 §4.1) | any length; nothing at all in silence |
//!
//! Decoding needs the jitter buffer's view of what is missing, and so lies in `restore`.

pub mod comfort;
pub mod g711;
pub mod g722;
pub mod opus;

use self::g711::Law;
use self::opus::{OpusTuning, OpusVoice};
use crate::media::{NARROW_BAND_HZ, WIDE_BAND_HZ};

/// Ticks a second of the scale on which the clocks of all codecs are whole: that of Opus.
pub const TICKS_HZ: u32 = 48_000;

/// Most octets that an encoder makes of 60 ms.
pub const MOST_OCTETS: usize = opus::MAX_PACKET;

/// A codec that a leg can send and receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    Pcmu,
    Pcma,
    G722,
    Opus,
}

impl Codec {
    /// The static payload type (RFC 3551 §6); for Opus the dynamic one that most use.
    pub fn payload_type(self) -> u8 {
        match self {
            Codec::Pcmu => 0,
            Codec::Pcma => 8,
            Codec::G722 => 9,
            Codec::Opus => 111,
        }
    }

    /// Encoding name as in `a=rtpmap`.
    pub fn name(self) -> &'static str {
        match self {
            Codec::Pcmu => "PCMU",
            Codec::Pcma => "PCMA",
            Codec::G722 => "G722",
            Codec::Opus => "opus",
        }
    }

    /// Ticks a second of its RTP timestamps.
    pub fn clock(self) -> u32 {
        match self {
            Codec::Pcmu | Codec::Pcma | Codec::G722 => 8_000,
            Codec::Opus => 48_000,
        }
    }

    /// Samples a second of its sound on our side: what a leg hears and speaks.
    pub fn rate(self) -> u32 {
        match self {
            Codec::Pcmu | Codec::Pcma => NARROW_BAND_HZ,
            Codec::G722 | Codec::Opus => WIDE_BAND_HZ,
        }
    }

    /// The law of G.711, which needs no state.
    pub fn law(self) -> Option<Law> {
        match self {
            Codec::Pcmu => Some(Law::Micro),
            Codec::Pcma => Some(Law::A),
            Codec::G722 | Codec::Opus => None,
        }
    }
}

/// What an audio packet carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sound {
    Voice(Codec),
    /// RFC 3389: how loud the silence is that follows.
    Noise,
}

impl Sound {
    /// Ticks a second of its timestamps.
    pub fn clock(self) -> u32 {
        match self {
            Sound::Voice(codec) => codec.clock(),
            Sound::Noise => 8_000,
        }
    }

    /// Length of a payload in ticks of [`TICKS_HZ`]; `None` when there is no sound in it.
    pub fn ticks(self, payload: &[u8]) -> Option<i64> {
        match self {
            Sound::Voice(Codec::Opus) => opus::ticks(payload),
            Sound::Voice(_) => (!payload.is_empty()).then_some(payload.len() as i64 * OCTET_TICKS),
            Sound::Noise => (!payload.is_empty()).then_some(i64::from(TICKS_HZ) / 50),
        }
    }
}

/// Ticks of [`TICKS_HZ`] in an octet of G.711 and G.722.
pub const OCTET_TICKS: i64 = (TICKS_HZ / 8_000) as i64;

/// Sound of a leg to payloads, 10 to 60 ms at a time.
pub struct Encoder {
    codec: Codec,
    state: State,
}

enum State {
    Law(Law),
    G722(Box<g722::Encoder>),
    /// `None`: there is no encoder to be had, and nothing is sent.
    Opus(Option<Box<OpusVoice>>),
}

impl Encoder {
    /// An encoder that begins with silence. `tuning` is for Opus alone.
    pub fn new(codec: Codec, tuning: OpusTuning) -> Encoder {
        let state = match codec {
            Codec::Pcmu => State::Law(Law::Micro),
            Codec::Pcma => State::Law(Law::A),
            Codec::G722 => State::G722(Box::default()),
            Codec::Opus => {
                let voice = OpusVoice::new(tuning);
                let voice = voice.inspect_err(|error| tracing::error!(%error, "a leg sends nothing: no Opus encoder"));
                State::Opus(voice.ok().map(Box::new))
            }
        };
        Encoder { codec, state }
    }

    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Encodes the sound of a packet at the codec's rate; returns the octets of the payload, 0 when this silence needs no packet.
    pub fn encode(&mut self, pcm: &[i16], payload: &mut [u8; MOST_OCTETS]) -> usize {
        match &mut self.state {
            State::Law(law) => law.encode(pcm, payload),
            State::G722(encoder) => encoder.encode(pcm, payload),
            State::Opus(Some(voice)) => voice.encode(pcm, payload),
            State::Opus(None) => 0,
        }
    }

    /// The peer missed so much (0 to 1) of what it was sent lately.
    pub fn hear_of_loss(&mut self, loss: f32) {
        if let State::Opus(Some(voice)) = &mut self.state {
            voice.hear_of_loss(loss);
        }
    }

    /// The peer's wishes changed.
    pub fn tune(&mut self, tuning: OpusTuning) {
        if let State::Opus(Some(voice)) = &mut self.state {
            voice.tune(tuning);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_measured_on_one_scale() {
        assert_eq!(Sound::Voice(Codec::Pcmu).ticks(&[0; 160]), Some(960));
        assert_eq!(Sound::Voice(Codec::G722).ticks(&[0; 80]), Some(480));
        assert_eq!(Sound::Voice(Codec::Pcma).ticks(&[]), None);
        assert_eq!(Sound::Noise.ticks(&[60]), Some(960));
        // SILK wide band of 20 ms, and the same of 60 ms (RFC 6716 table 2).
        assert_eq!(Sound::Voice(Codec::Opus).ticks(&[9 << 3, 1]), Some(960));
        assert_eq!(Sound::Voice(Codec::Opus).ticks(&[11 << 3, 1]), Some(2_880));
    }

    #[test]
    fn every_encoder_fills_a_packet_for_20_ms_of_its_own_rate() {
        for codec in [Codec::Pcmu, Codec::Pcma, Codec::G722, Codec::Opus] {
            let mut encoder = Encoder::new(codec, OpusTuning::default());
            let mut payload = [0; MOST_OCTETS];
            let pcm: Vec<i16> = (0..codec.rate() / 50).map(|n| ((n * 997) % 9_001) as i16 - 4_500).collect();
            let length = encoder.encode(&pcm, &mut payload);
            assert_eq!(Sound::Voice(codec).ticks(&payload[..length]), Some(960), "{codec:?}");
            assert_eq!(encoder.codec(), codec);
        }
    }
}
