//! SRTP and SRTCP (RFC 3711, RFC 6188, RFC 7714) of one leg, without I/O: datagrams are protected and opened in place.
//!
//! A [`Channel`] holds both directions. What goes out is sealed by [`outbound`], what comes in is opened by [`inbound`]:
//!
//! | A datagram | is | and then |
//! |---|---|---|
//! | too short, or its header lies about its length | malformed | counted, dropped |
//! | its index was seen, or lies 128 and more behind | replayed | counted, dropped before it costs a key |
//! | its tag is not right under the key in use, nor, for a few seconds after a change, under the key before | unauthentic | counted, dropped; nothing is learned of it |
//! | authentic | ours | opened; only now its source and its index are remembered |
//!
//! Sources are remembered after they proved themselves, and at most eight: a stranger can make nothing grow.
//!
//! Keys come from the signalling. Master keys are wiped when they go and are never shown; so are the session keys of
//! the counter-mode suites.

mod derive;
mod inbound;
mod outbound;
mod replay;
#[cfg(test)]
mod tests;
mod transform;

use std::fmt;
use std::time::Instant;

use zeroize::Zeroizing;

use inbound::Inbound;
use outbound::Outbound;

/// Octets that protection may add behind a packet: the tag, and for RTCP the index.
pub const TRAILER: usize = 16 + 4;

/// How packets are protected (names of RFC 4568 §6.2, RFC 6188, RFC 7714).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Suite {
    AesCm128HmacSha1_80,
    AesCm128HmacSha1_32,
    AesCm256HmacSha1_80,
    AeadAes128Gcm,
    AeadAes256Gcm,
}

impl Suite {
    /// Octets of the master key.
    pub fn key_length(self) -> usize {
        match self {
            Suite::AesCm128HmacSha1_80 | Suite::AesCm128HmacSha1_32 | Suite::AeadAes128Gcm => 16,
            Suite::AesCm256HmacSha1_80 | Suite::AeadAes256Gcm => 32,
        }
    }

    /// Octets of the master salt.
    pub fn salt_length(self) -> usize {
        if self.is_aead() { 12 } else { 14 }
    }

    fn is_aead(self) -> bool {
        matches!(self, Suite::AeadAes128Gcm | Suite::AeadAes256Gcm)
    }
}

/// Master key and salt of one direction.
#[derive(Clone, PartialEq, Eq)]
pub struct SrtpKey {
    suite: Suite,
    /// Key, then salt.
    secret: Zeroizing<Vec<u8>>,
    /// Master key identifier that packets carry; empty = none.
    mki: Vec<u8>,
}

impl SrtpKey {
    /// `secret` is the key followed by the salt. When its length is not that of the suite nothing is sent and nothing
    /// heard under it: rather silence than speech in the clear.
    pub fn new(suite: Suite, secret: &[u8], mki: &[u8]) -> SrtpKey {
        SrtpKey { suite, secret: Zeroizing::new(secret.to_vec()), mki: mki.to_vec() }
    }

    /// Key and salt; `None` when there are too few or too many octets.
    fn parts(&self) -> Option<(&[u8], &[u8])> {
        let parts = self.secret.split_at_checked(self.suite.key_length())?;
        (parts.1.len() == self.suite.salt_length()).then_some(parts)
    }
}

impl fmt::Debug for SrtpKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SrtpKey({:?}, …)", self.suite)
    }
}

/// The keys of a leg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SrtpKeys {
    pub send: SrtpKey,
    pub receive: SrtpKey,
}

/// Why a datagram was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("not an SRTP packet")]
    Malformed,
    #[error("seen before")]
    Replayed,
    #[error("not made with the agreed key")]
    Unauthentic,
}

/// Both directions of a leg.
pub struct Channel {
    outbound: Outbound,
    inbound: Inbound,
}

/// What a change of keys asks of the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Packets go on as they are.
    GoOn,
    /// The stream has to go on under a new source: its rollover counter is not zero, and peers disagree whether that
    /// begins anew with a new key (RFC 3711 §3.3.1 says no; who builds a new context for it does). A new source begins
    /// at zero with everybody.
    NewSource,
}

impl Channel {
    pub fn new(keys: &SrtpKeys) -> Channel {
        Channel { outbound: Outbound::new(&keys.send), inbound: Inbound::new(&keys.receive) }
    }

    /// Follows new signalling. A direction whose key stands goes on as if nothing had happened.
    pub fn change(&mut self, keys: &SrtpKeys, now: Instant) -> Change {
        self.inbound.change(&keys.receive, now);
        self.outbound.change(&keys.send)
    }

    /// Protects the RTP packet in the first `length` octets of `buffer`, which has [`TRAILER`] more. Returns the length
    /// of the datagram; `None` when there is no room or the key is used up.
    pub fn protect(&mut self, buffer: &mut [u8], length: usize) -> Option<usize> {
        self.outbound.protect(buffer, length)
    }

    /// The same for a compound RTCP packet.
    pub fn protect_control(&mut self, buffer: &mut [u8], length: usize) -> Option<usize> {
        self.outbound.protect_control(buffer, length)
    }

    /// Opens an SRTP datagram; returns the length of the RTP packet at its front.
    pub fn open(&mut self, datagram: &mut [u8], now: Instant) -> Result<usize, Refused> {
        self.inbound.open(datagram, now)
    }

    /// Opens an SRTCP datagram; returns the length of the compound RTCP packet at its front.
    pub fn open_control(&mut self, datagram: &mut [u8], now: Instant) -> Result<usize, Refused> {
        self.inbound.open_control(datagram, now)
    }
}

/// Source and sequence number of an RTP packet and the length of its header with everything that stays in the clear
/// (RFC 3711 §3.1).
fn rtp_header(packet: &[u8]) -> Option<(u32, u16, usize)> {
    let &[first, _, high, low, _, _, _, _, a, b, c, d] = packet.first_chunk::<12>()?;
    if first >> 6 != 2 {
        return None;
    }
    let mut length = 12 + usize::from(first & 0x0F) * 4;
    if first & 0x10 != 0 {
        let &[_, _, high, low] = packet.get(length..)?.first_chunk::<4>()?;
        length += 4 + usize::from(u16::from_be_bytes([high, low])) * 4;
    }
    (length <= packet.len()).then_some((u32::from_be_bytes([a, b, c, d]), u16::from_be_bytes([high, low]), length))
}

/// Source of the first packet of a compound; its header is 8 octets.
fn rtcp_source(packet: &[u8]) -> Option<u32> {
    let &[first, _, _, _, a, b, c, d] = packet.first_chunk::<8>()?;
    (first >> 6 == 2).then(|| u32::from_be_bytes([a, b, c, d]))
}

const RTCP_HEADER: usize = 8;
/// Marks an encrypted SRTCP packet in the word of its index.
const ENCRYPTED: u32 = 1 << 31;
