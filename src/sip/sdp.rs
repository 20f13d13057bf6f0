//! Session descriptions (RFC 8866) and offer/answer (RFC 3264) for audio.
//!
//! Text comes in and goes out; what is agreed leaves as [`Agreed`]. Sections that are not our one audio stream are
//! carried along only to be refused in their place.

mod negotiate;
mod parse;
mod write;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

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
    /// Payload type of `telephone-event/8000` (RFC 4733), if offered.
    pub telephone_event: Option<u8>,
    pub direction: Direction,
    pub ptime: Option<Duration>,
    /// Kinds of further `m=` sections in an offer (`video`, `image`, …); answered with port 0 in the same order.
    pub other_media: Vec<OtherMedia>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodecOffer {
    pub codec: AudioCodec,
    pub payload_type: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AudioCodec {
    Pcmu,
    Pcma,
}

impl AudioCodec {
    /// Static payload type (RFC 3551 §6).
    pub fn static_payload_type(self) -> u8 {
        match self {
            AudioCodec::Pcmu => 0,
            AudioCodec::Pcma => 8,
        }
    }

    /// Encoding name as in `a=rtpmap`.
    pub fn name(self) -> &'static str {
        match self {
            AudioCodec::Pcmu => "PCMU",
            AudioCodec::Pcma => "PCMA",
        }
    }
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
    pub telephone_event: Option<u8>,
    pub remote: SocketAddr,
    pub remote_rtcp: SocketAddr,
    /// Seen from us.
    pub direction: Direction,
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
