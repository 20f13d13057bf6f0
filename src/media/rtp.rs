//! RTP packets (RFC 3550 §5.1) on the `rtp` crate, without copying the payload.
//!
//! The crate's reader trusts the lengths inside a header extension, so an extension is measured and skipped here
//! and only the fixed header and the CSRC list reach the crate. We negotiate no extension.

use rtp::header::Header;
use webrtc_util::marshal::{Marshal, Unmarshal};

/// Octets of a header as we send it.
pub const HEADER: usize = 12;
/// Fixed header and 15 contributing sources.
const LONGEST_HEADER: usize = HEADER + 15 * 4;
const VERSION: u8 = 2;
const EXTENSION_BIT: u8 = 0x10;

/// A packet whose payload lies in someone else's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    pub marker: bool,
    pub payload_type: u8,
    pub sequence: u16,
    /// Ticks of the payload type's clock.
    pub timestamp: u32,
    pub ssrc: u32,
    pub payload: &'a [u8],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an RTP packet")]
pub struct NotRtp;

impl<'a> Packet<'a> {
    /// Reads a datagram; padding and header extension are cut off.
    pub fn read(datagram: &'a [u8]) -> Result<Packet<'a>, NotRtp> {
        let first = *datagram.first().ok_or(NotRtp)?;
        let fixed = HEADER + usize::from(first & 0x0F) * 4;
        if first >> 6 != VERSION || datagram.len() < fixed {
            return Err(NotRtp);
        }
        let mut plain = [0u8; LONGEST_HEADER];
        plain[..fixed].copy_from_slice(&datagram[..fixed]);
        plain[0] &= !EXTENSION_BIT;
        let header = Header::unmarshal(&mut &plain[..fixed]).map_err(|_| NotRtp)?;
        let extension = if first & EXTENSION_BIT == 0 { 0 } else { extension_length(&datagram[fixed..])? };
        let body = datagram.get(fixed + extension..).ok_or(NotRtp)?;
        Ok(Packet {
            marker: header.marker,
            payload_type: header.payload_type,
            sequence: header.sequence_number,
            timestamp: header.timestamp,
            ssrc: header.ssrc,
            payload: if header.padding { without_padding(body)? } else { body },
        })
    }

    /// Writes the packet to the front of `out`; returns its length, or `None` when `out` is too short.
    pub fn write(&self, out: &mut [u8]) -> Option<usize> {
        let header = Header {
            version: VERSION,
            marker: self.marker,
            payload_type: self.payload_type & 0x7F,
            sequence_number: self.sequence,
            timestamp: self.timestamp,
            ssrc: self.ssrc,
            ..Header::default()
        };
        let start = header.marshal_to(out).ok()?;
        out.get_mut(start..start + self.payload.len())?.copy_from_slice(self.payload);
        Some(start + self.payload.len())
    }
}

/// RFC 3550 §5.3.1: 16 bits of profile, 16 bits of length in 32-bit words, then the words.
fn extension_length(rest: &[u8]) -> Result<usize, NotRtp> {
    match rest {
        [_, _, high, low, ..] => Ok(4 + usize::from(u16::from_be_bytes([*high, *low])) * 4),
        _ => Err(NotRtp),
    }
}

/// The last octet counts the padding, itself included.
fn without_padding(body: &[u8]) -> Result<&[u8], NotRtp> {
    let padding = usize::from(*body.last().ok_or(NotRtp)?);
    if padding == 0 {
        return Err(NotRtp);
    }
    body.len().checked_sub(padding).map(|length| &body[..length]).ok_or(NotRtp)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PACKET: Packet<'_> = Packet {
        marker: true,
        payload_type: 8,
        sequence: 65_535,
        timestamp: 0xDEAD_BEEF,
        ssrc: 7,
        payload: &[1, 2, 3],
    };

    #[test]
    fn writes_what_it_reads() {
        let mut wire = [0u8; 64];
        let length = PACKET.write(&mut wire).unwrap();
        assert_eq!(wire[..4], [0x80, 0x88, 0xFF, 0xFF]);
        assert_eq!(Packet::read(&wire[..length]), Ok(PACKET));
        assert_eq!(PACKET.write(&mut [0u8; 14]), None);
    }

    #[test]
    fn cuts_off_contributing_sources_extension_and_padding() {
        let wire = [
            0xB1, 0x00, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, // X, P, one CSRC
            9, 9, 9, 9, 0xBE, 0xDE, 0, 1, 0x10, 0xAA, 0, 0, // CSRC, extension of one word
            0x55, 0x56, 0, 2, // two octets of payload, two of padding
        ];
        assert_eq!(Packet::read(&wire).unwrap().payload, [0x55, 0x56]);
    }

    #[test]
    fn refuses_other_versions_short_headers_and_lying_lengths() {
        let header = [0x80, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
        let with = |first: u8, tail: &[u8]| {
            let mut wire = header.to_vec();
            wire[0] = first;
            wire.extend_from_slice(tail);
            Packet::read(&wire).map(|packet| packet.payload.len())
        };
        assert_eq!(with(0x80, &[]), Ok(0));
        assert_eq!(with(0x40, &[]), Err(NotRtp));
        assert_eq!(with(0x81, &[0, 0, 0]), Err(NotRtp));
        assert_eq!(with(0x90, &[0xBE, 0xDE]), Err(NotRtp));
        assert_eq!(with(0x90, &[0xBE, 0xDE, 0xFF, 0xFF, 1]), Err(NotRtp));
        assert_eq!(with(0xA0, &[0, 4]), Err(NotRtp));
        assert_eq!(with(0xA0, &[0, 0]), Err(NotRtp));
        assert_eq!(Packet::read(&[]), Err(NotRtp));
        // An extension element that claims more than the extension holds.
        assert_eq!(with(0x90, &[0xBE, 0xDE, 0, 1, 0x1F, 0, 0, 0, 7]), Ok(1));
    }

    proptest! {
        #[test]
        fn no_datagram_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(packet) = Packet::read(&bytes) {
                prop_assert!(packet.payload.len() + HEADER <= bytes.len());
            }
        }
    }
}
