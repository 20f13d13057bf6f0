//! Codecs as session descriptions name them (RFC 3551 §6, RFC 7587, RFC 4733, RFC 3389).

use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AudioCodec {
    Pcmu,
    Pcma,
    G722,
    Opus,
}

/// A codec under the payload type that a description gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodecOffer {
    pub codec: AudioCodec,
    pub payload_type: u8,
}

/// `telephone-event` (RFC 4733) at one clock rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventFormat {
    pub payload_type: u8,
    /// Hz, of timestamps and durations.
    pub clock_rate: u32,
}

impl AudioCodec {
    /// What we write in an offer: the static type (RFC 3551 §6), for Opus the dynamic one that most use.
    pub fn payload_type(self) -> u8 {
        match self {
            AudioCodec::Pcmu => 0,
            AudioCodec::Pcma => 8,
            AudioCodec::G722 => 9,
            AudioCodec::Opus => 111,
        }
    }

    /// Encoding, clock rate and channels as in `a=rtpmap`.
    pub fn encoding(self) -> &'static str {
        match self {
            AudioCodec::Pcmu => "PCMU/8000",
            AudioCodec::Pcma => "PCMA/8000",
            // 16 kHz audio under a clock of 8 kHz: an old mistake that stays (RFC 3551 §4.5.2).
            AudioCodec::G722 => "G722/8000",
            // Always two channels in the map, whatever is sent (RFC 7587 §4.1).
            AudioCodec::Opus => "opus/48000/2",
        }
    }

    /// Ticks of the RTP timestamp in a second.
    pub fn clock_rate(self) -> u32 {
        match self {
            AudioCodec::Pcmu | AudioCodec::Pcma | AudioCodec::G722 => 8_000,
            AudioCodec::Opus => 48_000,
        }
    }

    /// The codec of a payload type and its mapping in lower case; without a mapping the static types count.
    pub(super) fn of(payload_type: u8, mapping: Option<&str>) -> Option<AudioCodec> {
        match (mapping, payload_type) {
            (Some("pcmu/8000"), _) | (None, 0) => Some(AudioCodec::Pcmu),
            (Some("pcma/8000"), _) | (None, 8) => Some(AudioCodec::Pcma),
            (Some("g722/8000"), _) | (None, 9) => Some(AudioCodec::G722),
            // One channel is not allowed, but some say it.
            (Some("opus/48000/2" | "opus/48000"), _) => Some(AudioCodec::Opus),
            _ => None,
        }
    }
}

impl EventFormat {
    /// What we write in an offer.
    pub fn ours(clock_rate: u32) -> EventFormat {
        EventFormat { payload_type: if clock_rate == 8_000 { 101 } else { 110 }, clock_rate }
    }

    /// `telephone-event/8000`, in lower case.
    pub(super) fn of(payload_type: u8, mapping: Option<&str>) -> Option<EventFormat> {
        let clock_rate = mapping?.strip_prefix("telephone-event/")?.parse().ok()?;
        matches!(clock_rate, 8_000 | 16_000 | 48_000).then_some(EventFormat { payload_type, clock_rate })
    }
}

/// Comfort noise (RFC 3389) for codecs of an 8 kHz clock: static type 13, or mapped.
pub(super) fn is_comfort_noise(payload_type: u8, mapping: Option<&str>) -> bool {
    matches!((mapping, payload_type), (Some("cn/8000"), _) | (None, 13))
}

/// `a=fmtp` of Opus (RFC 7587 §6.1): what its writer wants to receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpusFormat {
    /// Highest rate worth sending, Hz (8,000 to 48,000).
    pub max_playback_rate: u32,
    /// Bits per second (6,000 to 510,000).
    pub max_average_bitrate: Option<u32>,
    /// Error correction inside the packets is of use.
    pub inband_fec: bool,
    /// Packets may stop in silence.
    pub dtx: bool,
    pub stereo: bool,
    /// Constant bit rate is wanted.
    pub cbr: bool,
}

impl Default for OpusFormat {
    /// What an absent `a=fmtp` means.
    fn default() -> OpusFormat {
        OpusFormat {
            max_playback_rate: 48_000,
            max_average_bitrate: None,
            inband_fec: false,
            dtx: false,
            stereo: false,
            cbr: false,
        }
    }
}

impl OpusFormat {
    /// What we want: one voice in wide band, error correction, nothing in silence.
    pub const OURS: OpusFormat = OpusFormat {
        max_playback_rate: 16_000,
        max_average_bitrate: None,
        inband_fec: true,
        dtx: true,
        stereo: false,
        cbr: false,
    };

    /// What a description of `codecs` says.
    pub(super) fn of(codecs: &[AudioCodec]) -> OpusFormat {
        if codecs.contains(&AudioCodec::Opus) { OpusFormat::OURS } else { OpusFormat::default() }
    }

    /// Reads `useinbandfec=1; maxplaybackrate=16000`; what is unknown or out of range counts as absent.
    pub(super) fn read(parameters: &str) -> OpusFormat {
        let mut format = OpusFormat::default();
        for parameter in parameters.split(';') {
            let Some((name, value)) = parameter.split_once('=') else { continue };
            let Ok(value) = value.trim().parse::<u32>() else { continue };
            let yes = value == 1;
            match name.trim().to_ascii_lowercase().as_str() {
                "maxplaybackrate" => format.max_playback_rate = value.clamp(8_000, 48_000),
                "maxaveragebitrate" => format.max_average_bitrate = Some(value.clamp(6_000, 510_000)),
                "useinbandfec" => format.inband_fec = yes,
                "usedtx" => format.dtx = yes,
                "stereo" => format.stereo = yes,
                "cbr" => format.cbr = yes,
                _ => {}
            }
        }
        format
    }
}

impl fmt::Display for OpusFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flag = u8::from;
        write!(f, "useinbandfec={};usedtx={}", flag(self.inband_fec), flag(self.dtx))?;
        write!(f, ";maxplaybackrate={};stereo={}", self.max_playback_rate, flag(self.stereo))?;
        if let Some(bitrate) = self.max_average_bitrate {
            write!(f, ";maxaveragebitrate={bitrate}")?;
        }
        if self.cbr {
            f.write_str(";cbr=1")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_opus_receiver_wants_is_read_with_care() {
        assert_eq!(OpusFormat::read(""), OpusFormat::default());
        let wishes = OpusFormat::read("maxplaybackrate=16000; UseInbandFEC=1;stereo=1;usedtx=yes;x;maxptime=40");
        let expected =
            OpusFormat { max_playback_rate: 16_000, inband_fec: true, stereo: true, ..OpusFormat::default() };
        assert_eq!(wishes, expected);
        let wild = OpusFormat::read("maxplaybackrate=1;maxaveragebitrate=4294967295");
        assert_eq!((wild.max_playback_rate, wild.max_average_bitrate), (8_000, Some(510_000)));
        assert_eq!(OpusFormat::read(&OpusFormat::OURS.to_string()), OpusFormat::OURS);
    }

    #[test]
    fn a_mapping_counts_more_than_a_static_number() {
        assert_eq!(AudioCodec::of(9, None), Some(AudioCodec::G722));
        assert_eq!(AudioCodec::of(9, Some("g729/8000")), None);
        assert_eq!(AudioCodec::of(98, Some("opus/48000/2")), Some(AudioCodec::Opus));
        assert_eq!(AudioCodec::of(98, Some("opus/16000/2")), None);
        assert!(is_comfort_noise(13, None) && is_comfort_noise(118, Some("cn/8000")));
        assert!(!is_comfort_noise(13, Some("g728/8000")) && !is_comfort_noise(97, Some("cn/16000")));
        let event = |rate: &str| EventFormat::of(97, Some(&format!("telephone-event/{rate}")));
        assert_eq!(event("48000"), Some(EventFormat { payload_type: 97, clock_rate: 48_000 }));
        assert_eq!((event("0"), event("7")), (None, None));
    }
}
