//! Session descriptions (RFC 8866) and offer/answer (RFC 3264) for audio.
//!
//! Text comes in and goes out; what is agreed leaves as [`Agreed`]. Sections that are not our one audio stream are
//! carried along only to be refused in their place.

mod codec;
mod negotiate;
mod parse;
mod write;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

pub use codec::{AudioCodec, CodecOffer, EventFormat, OpusFormat};

/// What an SDP says about our one audio stream; other media sections are kept only as "refused".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionDescription {
    pub session_id: u64,
    /// Raised by one with every change of our description (RFC 3264 §5).
    pub version: u64,
    /// Where RTP is to be sent: `c=` and the port of `m=audio`. Port 0 = stream refused.
    pub address: SocketAddr,
    /// `a=rtcp` (RFC 3605) when it differs from port + 1.
    pub rtcp: Option<SocketAddr>,
    /// In order of preference.
    pub codecs: Vec<CodecOffer>,
    /// `telephone-event` at each clock rate, in order; each rate once.
    pub events: Vec<EventFormat>,
    /// Payload type of comfort noise at 8 kHz, if offered.
    pub comfort_noise: Option<u8>,
    /// What the writer wants to receive as Opus; means something only beside [`AudioCodec::Opus`].
    pub opus: OpusFormat,
    pub direction: Direction,
    /// Sound in a packet that the writer would like.
    pub ptime: Option<Duration>,
    /// The most that it can take.
    pub max_ptime: Option<Duration>,
    /// Kinds of further `m=` sections in an offer (`video`, `image`, …); answered with port 0 in the same order.
    pub other_media: Vec<OtherMedia>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    #[default]
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

impl Direction {
    pub fn sends(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::SendOnly)
    }

    pub fn receives(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::RecvOnly)
    }

    pub fn from_parts(sends: bool, receives: bool) -> Direction {
        match (sends, receives) {
            (true, true) => Direction::SendRecv,
            (true, false) => Direction::SendOnly,
            (false, true) => Direction::RecvOnly,
            (false, false) => Direction::Inactive,
        }
    }

    /// The same stream seen from the other side.
    pub fn reversed(self) -> Direction {
        Direction::from_parts(self.receives(), self.sends())
    }
}

/// A media section that is not ours; `before_audio` tells on which side of the audio section it stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherMedia {
    /// Value of the `m=` line as offered, e.g. `video 6024 RTP/AVP 107`; written with port 0.
    pub line: String,
    pub before_audio: bool,
}

/// What both sides agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreed {
    /// Codec and payload type that we send.
    pub codec: AudioCodec,
    pub payload_type: u8,
    /// Every payload type that the peer may send, by codec.
    pub accepted: Vec<CodecOffer>,
    /// What we send keys as: the clock rate of `codec` where that was agreed, else another.
    pub telephone_event: Option<EventFormat>,
    /// Every form in which the peer may send keys.
    pub accepted_events: Vec<EventFormat>,
    /// Payload types of comfort noise: ours to send, the peer's to send.
    pub comfort_noise: Option<ComfortNoise>,
    /// What the peer wants to receive when `codec` is Opus.
    pub opus: OpusFormat,
    /// Sound in a packet of ours, as the peer would like it: 10 to 60 ms in steps of 10.
    pub ptime: Duration,
    pub remote: SocketAddr,
    pub remote_rtcp: SocketAddr,
    /// Seen from us.
    pub direction: Direction,
}

/// Comfort noise that was agreed; each side names the payload type that it receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ComfortNoise {
    pub send: u8,
    pub accept: u8,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SdpError {
    #[error("session description: line {line}: {problem}")]
    Syntax { line: usize, problem: &'static str },
    #[error("session description has no audio stream")]
    NoAudio,
    #[error("no codec in common")]
    NoCommonCodec,
}

impl Agreed {
    pub fn remote_ip(&self) -> IpAddr {
        self.remote.ip()
    }
}
