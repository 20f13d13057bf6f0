//! Session descriptions (RFC 8866) and offer/answer (RFC 3264) for audio.
//!
//! Text comes in and goes out; what is agreed leaves as [`Agreed`]. Sections that are not our one audio stream are
//! carried along only to be refused in their place. An offer may hold several audio sections that could serve (the same
//! stream with and without encryption): the first that the answer can meet is taken.

mod codec;
mod crypto;
mod negotiate;
mod parse;
mod secure;
mod write;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

pub use codec::{AudioCodec, CodecOffer, EventFormat, OpusFormat};
pub use crypto::{Crypto, CryptoKey, CryptoSuite, Randomness, Srtp};

pub use crate::config::{CodecOrder, SrtpPolicy};

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
    pub profile: Profile,
    /// Keys for SRTP, in order of preference; lines that we cannot use are left out.
    pub crypto: Vec<Crypto>,
    /// There were lines that we cannot use.
    pub unusable_crypto: bool,
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
    /// The same description with another of its audio sections in our place, in their order. Never written.
    pub alternatives: Vec<SessionDescription>,
}

/// The transport protocol of `m=audio`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Profile {
    #[default]
    Avp,
    Savp,
    /// With feedback (RFC 4585); we need send none.
    Avpf,
    Savpf,
}

impl Profile {
    /// RTP is encrypted, or there is no stream.
    pub fn is_secure(self) -> bool {
        matches!(self, Profile::Savp | Profile::Savpf)
    }

    pub fn name(self) -> &'static str {
        match self {
            Profile::Avp => "RTP/AVP",
            Profile::Savp => "RTP/SAVP",
            Profile::Avpf => "RTP/AVPF",
            Profile::Savpf => "RTP/SAVPF",
        }
    }

    fn named(name: &str) -> Option<Profile> {
        let all = [Profile::Avp, Profile::Savp, Profile::Avpf, Profile::Savpf];
        all.into_iter().find(|profile| profile.name().eq_ignore_ascii_case(name))
    }
}

/// What we bring into a negotiation.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// In our order of preference.
    pub codecs: &'a [AudioCodec],
    /// Whose order decides when we answer.
    pub order: CodecOrder,
    pub srtp: SrtpPolicy,
    pub random: Randomness,
}

impl<'a> Terms<'a> {
    /// These codecs, in the order of whoever offers, without encryption.
    pub fn plain(codecs: &'a [AudioCodec]) -> Terms<'a> {
        Terms { codecs, order: CodecOrder::Offer, srtp: SrtpPolicy::Off, random: |_| {} }
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
    /// What we send keys as: the clock rate of `codec` where that was agreed, else another.
    pub telephone_event: Option<EventFormat>,
    /// Every form in which the peer may send keys.
    pub accepted_events: Vec<EventFormat>,
    /// Payload types of comfort noise: ours to send, the peer's to send.
    pub comfort_noise: Option<ComfortNoise>,
    /// What the peer wants to receive when `codec` is Opus.
    pub opus: OpusFormat,
    /// Sound in a packet of ours, as the peer would like it: 10 to 60 ms in steps of 10, for Opus without 30 and 50.
    pub ptime: Duration,
    pub remote: SocketAddr,
    pub remote_rtcp: SocketAddr,
    /// Seen from us.
    pub direction: Direction,
    /// Keys, when the stream is encrypted.
    pub srtp: Option<Srtp>,
}

/// Comfort noise that was agreed; each side names the payload type that it receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ComfortNoise {
    pub send: u8,
    pub accept: u8,
}

#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
pub enum SdpError {
    #[error("session description: line {line}: {problem}")]
    Syntax { line: usize, problem: &'static str },
    #[error("session description has no audio stream")]
    NoAudio,
    #[error("no codec in common")]
    NoCommonCodec,
    /// Encrypted where we want it plain, plain where we want it encrypted, or a protocol that we do not speak.
    #[error("the media transport is not acceptable")]
    Profile,
    #[error("no usable crypto attribute")]
    NoCrypto,
}

impl SdpError {
    /// Code and text of the Warning that explains a 488 (RFC 3261 §20.43).
    pub fn warning(&self) -> (u16, &'static str) {
        match self {
            SdpError::Syntax { .. } => (399, "Malformed session description"),
            SdpError::NoAudio => (304, "Media type not available"),
            SdpError::NoCommonCodec => (305, "Incompatible media format"),
            SdpError::Profile => (302, "Incompatible transport protocol"),
            SdpError::NoCrypto => (306, "No usable crypto attribute"),
        }
    }
}

impl Agreed {
    pub fn remote_ip(&self) -> IpAddr {
        self.remote.ip()
    }
}
