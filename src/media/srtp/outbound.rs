//! The sending direction: one source, one index that only grows.

use super::derive::Plane;
use super::transform::{Place, Transform};
use super::{Change, ENCRYPTED, RTCP_HEADER, SrtpKey, rtcp_source, rtp_header};

pub struct Outbound {
    key: SrtpKey,
    media: Option<Transform>,
    control: Option<Transform>,
    /// Source and index of the last packet.
    last: Option<(u32, u64)>,
    /// The next SRTCP index. Never begins anew (RFC 3711 §3.2.1).
    control_index: u32,
}

/// The 48-bit index of a stream may not come round under one key (RFC 3711 §9.2).
const LAST_INDEX: u64 = (1 << 48) - 1;

impl Outbound {
    pub fn new(key: &SrtpKey) -> Outbound {
        let (media, control) = (Transform::new(key, Plane::Media), Transform::new(key, Plane::Control));
        Outbound { key: key.clone(), media, control, last: None, control_index: 1 }
    }

    pub fn change(&mut self, key: &SrtpKey) -> Change {
        if *key == self.key {
            return Change::GoOn;
        }
        let (last, control_index) = (self.last, self.control_index);
        *self = Outbound { last, control_index, ..Outbound::new(key) };
        if last.is_some_and(|(_, index)| index > 0xFFFF) { Change::NewSource } else { Change::GoOn }
    }

    #[cfg(test)]
    pub fn last_index(&mut self, ssrc: u32, index: u64) {
        self.last = Some((ssrc, index));
    }

    pub fn protect(&mut self, buffer: &mut [u8], length: usize) -> Option<usize> {
        let transform = self.media.as_ref()?;
        let (ssrc, sequence, clear) = rtp_header(buffer.get(..length)?)?;
        let index = match self.last {
            Some((before, index)) if before == ssrc => following(index, sequence)?,
            _ => u64::from(sequence),
        };
        let place = Place { ssrc, index, word: ((index >> 16) as u32).to_be_bytes() };
        let tag = transform.seal(place, buffer.get_mut(..length)?, clear)?;
        let end = length + transform.tag() + self.key.mki.len();
        let trailer = buffer.get_mut(length..end)?;
        lay(trailer, [&[], &self.key.mki, tag.get(..transform.tag())?], transform.tag_is_last());
        self.last = Some((ssrc, index));
        Some(end)
    }

    pub fn protect_control(&mut self, buffer: &mut [u8], length: usize) -> Option<usize> {
        let transform = self.control.as_ref()?;
        let ssrc = rtcp_source(buffer.get(..length)?)?;
        let index = (self.control_index < ENCRYPTED).then_some(self.control_index)?;
        let word = (index | ENCRYPTED).to_be_bytes();
        let place = Place { ssrc, index: index.into(), word };
        let tag = transform.seal(place, buffer.get_mut(..length)?, RTCP_HEADER)?;
        let end = length + transform.tag() + word.len() + self.key.mki.len();
        let trailer = buffer.get_mut(length..end)?;
        lay(trailer, [&word, &self.key.mki, tag.get(..transform.tag())?], transform.tag_is_last());
        self.control_index += 1;
        Some(end)
    }
}

/// Packets leave in the order of their numbers: a smaller one has come round. `None` when the key is used up.
fn following(index: u64, sequence: u16) -> Option<u64> {
    let here = index & !0xFFFF | u64::from(sequence);
    let next = if here > index { here } else { here + 0x1_0000 };
    (next <= LAST_INDEX).then_some(next)
}

/// Index, MKI and tag in the order of the suite.
fn lay(trailer: &mut [u8], [index, mki, tag]: [&[u8]; 3], tag_is_last: bool) {
    let order = if tag_is_last { [index, mki, tag] } else { [tag, index, mki] };
    trailer.iter_mut().zip(order.into_iter().flatten()).for_each(|(octet, value)| *octet = *value);
}
