//! The receiving direction: what is authentic and new.
//!
//! After a change of keys the former key opens packets for a while, so that what was on its way is heard. Whether the
//! peer goes on counting rollovers under the new key or begins at zero is found out by trying: RFC 3711 §3.3.1 says the
//! one, who builds a new context does the other.

use std::time::{Duration, Instant};

use super::derive::Plane;
use super::replay::{Window, nearest};
use super::transform::{LONGEST_TAG, Place, Transform};
use super::{ENCRYPTED, RTCP_HEADER, Refused, SrtpKey, rtcp_source, rtp_header};

/// How long the former key is good after a change.
pub const OVERLAP: Duration = Duration::from_secs(5);
/// Sources that are remembered under a key.
const SOURCES: usize = 8;
/// Octets that a second try needs; longer datagrams are no packets of ours.
const LONGEST: usize = 2048;

pub struct Inbound {
    current: Ring,
    former: Option<(Ring, Instant)>,
}

/// One key and what came under it.
struct Ring {
    key: SrtpKey,
    media: Option<Transform>,
    control: Option<Transform>,
    media_seen: Sources,
    control_seen: Sources,
    /// Sources and their highest indices under the key before.
    before: Vec<(u32, u64)>,
}

/// The last authentic one is the last in the list.
#[derive(Default)]
struct Sources(Vec<(u32, Window)>);

impl Inbound {
    pub fn new(key: &SrtpKey) -> Inbound {
        Inbound { current: Ring::new(key, Vec::new()), former: None }
    }

    pub fn change(&mut self, key: &SrtpKey, now: Instant) {
        if *key == self.current.key {
            return;
        }
        let before = self.current.media_seen.0.iter().map(|(ssrc, window)| (*ssrc, window.highest())).collect();
        let former = std::mem::replace(&mut self.current, Ring::new(key, before));
        self.former = Some((former, now + OVERLAP));
    }

    pub fn open(&mut self, datagram: &mut [u8], now: Instant) -> Result<usize, Refused> {
        self.each_ring(datagram, now, Ring::open)
    }

    pub fn open_control(&mut self, datagram: &mut [u8], now: Instant) -> Result<usize, Refused> {
        self.each_ring(datagram, now, Ring::open_control)
    }

    #[cfg(test)]
    pub fn sources(&self) -> usize {
        self.current.media_seen.0.len()
    }

    fn each_ring(
        &mut self,
        datagram: &mut [u8],
        now: Instant,
        open: impl Fn(&mut Ring, &mut [u8]) -> Result<usize, Refused>,
    ) -> Result<usize, Refused> {
        let Some((former, until)) = &mut self.former else { return open(&mut self.current, datagram) };
        if now >= *until {
            self.former = None;
            return open(&mut self.current, datagram);
        }
        let mut kept = [0; LONGEST];
        let kept = kept.get_mut(..datagram.len()).ok_or(Refused::Malformed)?;
        kept.copy_from_slice(datagram);
        open(&mut self.current, datagram).or_else(|first| {
            datagram.copy_from_slice(kept);
            open(former, datagram).map_err(|second| if second == Refused::Replayed { second } else { first })
        })
    }
}

impl Ring {
    fn new(key: &SrtpKey, before: Vec<(u32, u64)>) -> Ring {
        Ring {
            media: Transform::new(key, Plane::Media),
            control: Transform::new(key, Plane::Control),
            key: key.clone(),
            media_seen: Sources::default(),
            control_seen: Sources::default(),
            before,
        }
    }

    fn open(&mut self, datagram: &mut [u8]) -> Result<usize, Refused> {
        let transform = self.media.as_ref().ok_or(Refused::Unauthentic)?;
        let parts = Parts::split(datagram, transform, &self.key.mki, 0)?;
        let packet = datagram.get_mut(..parts.length).ok_or(Refused::Malformed)?;
        let (ssrc, sequence, clear) = rtp_header(packet).ok_or(Refused::Malformed)?;
        let (likely, other) = self.indices(ssrc, sequence);
        if !self.media_seen.is_new(ssrc, likely) {
            return Err(Refused::Replayed);
        }
        let place = |index: u64| Place { ssrc, index, word: ((index >> 16) as u32).to_be_bytes() };
        let mut index = likely;
        let right = match other {
            None => transform.open(place(likely), packet, clear, parts.tag()),
            Some(other) => {
                let mut kept = [0; LONGEST];
                let kept = kept.get_mut(..packet.len()).ok_or(Refused::Malformed)?;
                kept.copy_from_slice(packet);
                transform.open(place(likely), packet, clear, parts.tag()) || {
                    packet.copy_from_slice(kept);
                    index = other;
                    transform.open(place(other), packet, clear, parts.tag())
                }
            }
        };
        if !right {
            return Err(Refused::Unauthentic);
        }
        self.media_seen.note(ssrc, index);
        Ok(parts.length)
    }

    /// The index that a sequence number most likely stands for, and another where that is uncertain.
    fn indices(&self, ssrc: u32, sequence: u16) -> (u64, Option<u64>) {
        if let Some(window) = self.media_seen.find(ssrc) {
            return (window.index_of(sequence), None);
        }
        let fresh = u64::from(sequence);
        match self.before.iter().find(|(before, _)| *before == ssrc) {
            Some((_, highest)) if nearest(*highest, sequence) != fresh => (nearest(*highest, sequence), Some(fresh)),
            _ => (fresh, None),
        }
    }

    fn open_control(&mut self, datagram: &mut [u8]) -> Result<usize, Refused> {
        let transform = self.control.as_ref().ok_or(Refused::Unauthentic)?;
        let parts = Parts::split(datagram, transform, &self.key.mki, 4)?;
        let word = u32::from_be_bytes(parts.word);
        let packet = datagram.get_mut(..parts.length).ok_or(Refused::Malformed)?;
        let ssrc = rtcp_source(packet).ok_or(Refused::Malformed)?;
        // RTCP in the clear was not agreed.
        if word & ENCRYPTED == 0 {
            return Err(Refused::Unauthentic);
        }
        let index = u64::from(word & !ENCRYPTED);
        if !self.control_seen.is_new(ssrc, index) {
            return Err(Refused::Replayed);
        }
        let place = Place { ssrc, index, word: parts.word };
        if !transform.open(place, packet, RTCP_HEADER, parts.tag()) {
            return Err(Refused::Unauthentic);
        }
        self.control_seen.note(ssrc, index);
        Ok(parts.length)
    }
}

impl Sources {
    fn find(&self, ssrc: u32) -> Option<&Window> {
        self.0.iter().find(|(known, _)| *known == ssrc).map(|(_, window)| window)
    }

    fn is_new(&self, ssrc: u32, index: u64) -> bool {
        self.find(ssrc).is_none_or(|window| window.is_new(index))
    }

    fn note(&mut self, ssrc: u32, index: u64) {
        match self.0.iter().position(|(known, _)| *known == ssrc) {
            Some(at) => {
                if let Some((_, window)) = self.0.get_mut(at) {
                    window.note(index);
                }
                let last = self.0.len() - 1;
                self.0.swap(at, last);
            }
            None => {
                if self.0.len() >= SOURCES {
                    self.0.remove(0);
                }
                self.0.push((ssrc, Window::new(index)));
            }
        }
    }
}

/// A datagram without its trailer.
struct Parts {
    /// Of header and ciphertext.
    length: usize,
    word: [u8; 4],
    tag: [u8; LONGEST_TAG],
    tag_length: usize,
}

impl Parts {
    /// `index` is the length of the word of the index: 4 for RTCP.
    fn split(datagram: &[u8], transform: &Transform, mki: &[u8], index: usize) -> Result<Parts, Refused> {
        let split = |rest: &mut &[u8], length: usize| -> Option<usize> {
            let at = rest.len().checked_sub(length)?;
            *rest = rest.get(..at)?;
            Some(at)
        };
        let tag_length = transform.tag();
        let lengths =
            if transform.tag_is_last() { [tag_length, mki.len(), index] } else { [mki.len(), index, tag_length] };
        let mut rest = datagram;
        let mut at = [0; 3];
        for (at, length) in at.iter_mut().zip(lengths) {
            *at = split(&mut rest, length).ok_or(Refused::Malformed)?;
        }
        let [tag_at, mki_at, word_at] = if transform.tag_is_last() { at } else { [at[2], at[0], at[1]] };
        // Another key than the agreed one.
        if datagram.get(mki_at..mki_at + mki.len()) != Some(mki) {
            return Err(Refused::Unauthentic);
        }
        let (mut tag, mut word) = ([0; LONGEST_TAG], [0; 4]);
        tag.iter_mut().zip(datagram.iter().skip(tag_at).take(tag_length)).for_each(|(to, from)| *to = *from);
        word.iter_mut().zip(datagram.iter().skip(word_at).take(index)).for_each(|(to, from)| *to = *from);
        Ok(Parts { length: rest.len(), word, tag, tag_length })
    }

    fn tag(&self) -> &[u8] {
        self.tag.get(..self.tag_length).unwrap_or_default()
    }
}
