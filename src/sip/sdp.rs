//! Session descriptions (RFC 8866) and offer/answer (RFC 3264) for audio.

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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    #[default]
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

/// A media section that is not ours; `before_audio` tells on which side of the audio section it stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherMedia {
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

impl SessionDescription {
    /// An offer of `codecs` with `telephone-event` and ptime 20.
    pub fn offer(session_id: u64, address: SocketAddr, codecs: &[AudioCodec]) -> SessionDescription {
        todo!("sip: {session_id} {address} {codecs:?}")
    }

    pub fn parse(text: &str) -> Result<SessionDescription, SdpError> {
        todo!("sip: {text}")
    }

    /// The wire form, CRLF line ends.
    pub fn write(&self) -> String {
        todo!("sip")
    }

    /// Answers `self` (an offer) for a stream received at `address`; takes the first of the offer's codecs that is in
    /// `codecs`. Returns the answer and what was agreed.
    pub fn answer(
        &self,
        session_id: u64,
        address: SocketAddr,
        codecs: &[AudioCodec],
    ) -> Result<(SessionDescription, Agreed), SdpError> {
        todo!("sip: {session_id} {address} {codecs:?}")
    }

    /// Reads `answer` as the answer to `self` (our offer).
    pub fn agree(&self, answer: &SessionDescription) -> Result<Agreed, SdpError> {
        todo!("sip: {answer:?}")
    }
}

impl Agreed {
    pub fn remote_ip(&self) -> IpAddr {
        self.remote.ip()
    }
}
