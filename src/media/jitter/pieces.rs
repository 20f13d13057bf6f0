//! Payloads in timestamp order. Frames are put together from what covers their 20 ms, so packets of 2.5 to 120 ms all
//! come out as 20 ms. Payloads stay whole: one of Opus cannot be cut.

use std::collections::VecDeque;
use std::time::Instant;

use crate::media::codec::Sound;
use crate::media::jitter::timeline::TICKS;

/// Pieces that there is room for from the start; more grow as the network makes them wait.
const USUAL: usize = 6;

/// A packet; all positions are extended timestamps in ticks of 48 kHz.
#[derive(Debug)]
pub struct Piece {
    /// Of the packet's first tick.
    pub start: i64,
    pub sound: Sound,
    pub at: Instant,
    length: i64,
    /// Ticks that have gone out, or whose time was over when it came.
    taken: i64,
    payload: Vec<u8>,
}

/// What a frame is made of, in the order of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'a> {
    /// A stretch of a packet; its place in the frame is after all that came before.
    Stretch {
        sound: Sound,
        payload: &'a [u8],
        /// Tells the packet from others.
        packet: i64,
        /// Where in the packet the stretch begins, and how long it is.
        offset: i64,
        ticks: i64,
    },
    /// The whole frame is missing.
    Missing {
        /// The packet that begins where the frame ends.
        next: Option<(Sound, &'a [u8])>,
    },
}

impl Piece {
    /// Where what is left of it begins.
    pub fn begin(&self) -> i64 {
        self.start + self.taken
    }

    pub fn end(&self) -> i64 {
        self.start + self.length
    }
}

#[derive(Debug)]
pub struct Pieces {
    /// Sorted, without equal starts.
    queue: VecDeque<Piece>,
    capacity: usize,
    /// Buffers of packets that have gone out.
    spare: Vec<Vec<u8>>,
}

impl Pieces {
    pub fn new(capacity: usize) -> Pieces {
        Pieces { queue: VecDeque::with_capacity(USUAL), capacity, spare: Vec::with_capacity(USUAL) }
    }

    /// Inserts a payload of `length` ticks, of which whole frames before `next` are over; a packet whose place is taken
    /// is dropped, and the oldest goes when there is no room.
    pub fn insert(&mut self, start: i64, length: i64, next: i64, sound: Sound, at: Instant, octets: &[u8]) {
        let place = self.queue.iter().rposition(|known| known.start <= start);
        if place.is_some_and(|place| self.queue[place].start == start) {
            return;
        }
        let mut payload = self.spare.pop().unwrap_or_default();
        payload.clear();
        payload.extend_from_slice(octets);
        let over = (next - start).max(0) / TICKS * TICKS;
        let piece = Piece { start, sound, at, length, taken: over.min(length), payload };
        self.queue.insert(place.map_or(0, |place| place + 1), piece);
        if self.queue.len() > self.capacity {
            self.drop_front();
        }
    }

    pub fn front(&self) -> Option<&Piece> {
        self.queue.front()
    }

    /// The first packet as what comes next.
    pub fn peek(&self) -> Option<(Sound, &[u8])> {
        self.queue.front().map(|piece| (piece.sound, piece.payload.as_slice()))
    }

    /// Timestamp after the newest packet.
    pub fn end(&self) -> Option<i64> {
        self.queue.back().map(Piece::end)
    }

    pub fn clear(&mut self) {
        while !self.queue.is_empty() {
            self.drop_front();
        }
    }

    /// Drops what lies wholly before `start`.
    pub fn drop_before(&mut self, start: i64) {
        while self.queue.front().is_some_and(|piece| piece.end() <= start) {
            self.drop_front();
        }
    }

    /// Whether the frame that begins with the first packet is whole.
    pub fn has_frame(&self) -> bool {
        let Some(first) = self.queue.front() else { return false };
        let (end, mut position) = (first.begin() + TICKS, first.begin());
        for piece in &self.queue {
            if position >= end || piece.begin() != position || piece.sound != first.sound {
                break;
            }
            position = piece.end();
        }
        position >= end
    }

    /// Hands out the parts of the frame that begins with the first packet; what is not there is left out. Tells what
    /// the frame is and when its first packet came.
    pub fn take_frame(&mut self, part: &mut dyn FnMut(Part<'_>)) -> Option<(Sound, Instant)> {
        let first = self.queue.front()?;
        let (sound, at, mut position) = (first.sound, first.at, first.begin());
        let end = position + TICKS;
        while let Some(piece) = self.queue.front_mut() {
            if position >= end || piece.begin() != position || piece.sound != sound {
                break;
            }
            let ticks = (end - position).min(piece.length - piece.taken);
            let (offset, packet) = (piece.taken, piece.start);
            part(Part::Stretch { sound, payload: &piece.payload, packet, offset, ticks });
            piece.taken += ticks;
            position += ticks;
            if piece.taken == piece.length {
                self.drop_front();
            }
        }
        Some((sound, at))
    }

    fn drop_front(&mut self) {
        self.spare.extend(self.queue.pop_front().map(|piece| piece.payload));
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;
    use crate::media::Codec;

    const VOICE: Sound = Sound::Voice(Codec::Pcmu);

    /// Packets (start and length in octets) to frames: start, octets in them, last octet.
    fn frames(packets: &[(i64, usize)]) -> Vec<(i64, usize, u8)> {
        let mut pieces = Pieces::new(16);
        for (start, length) in packets {
            let payload: Vec<u8> = (*start..*start + *length as i64).map(|n| (n / 40) as u8).collect();
            pieces.insert(start * 6, payload.len() as i64 * 6, i64::MIN / 2, VOICE, Instant::now(), &payload);
        }
        let mut frames = Vec::new();
        while let Some(front) = pieces.front() {
            let (start, mut octets) = (front.begin() / 6, Vec::new());
            pieces.take_frame(&mut |part| {
                let Part::Stretch { payload, offset, ticks, .. } = part else { panic!("nothing is missing") };
                octets.extend_from_slice(&payload[(offset / 6) as usize..((offset + ticks) / 6) as usize]);
            });
            frames.push((start, octets.len(), octets[octets.len() - 1]));
        }
        frames
    }

    #[test]
    fn packets_of_any_length_come_out_as_frames() {
        let expected = vec![(0, 160, 3), (160, 160, 7), (320, 160, 11)];
        for length in [40, 80, 160, 240, 480] {
            let mut packets: Vec<_> = (0..480 / length).map(|n| ((n * length) as i64, length)).collect();
            assert_eq!(frames(&packets), expected, "{length}");
            packets.reverse();
            assert_eq!(frames(&packets), expected, "{length} reversed");
        }
    }

    #[test]
    fn a_missing_half_is_left_out() {
        assert_eq!(frames(&[(0, 80), (160, 160)]), [(0, 80, 1), (160, 160, 7)]);
    }

    #[test]
    fn a_place_is_taken_once_and_the_oldest_give_way() {
        assert_eq!(frames(&[(0, 160), (0, 160)]).len(), 1);
        let many: Vec<_> = (0..40).map(|n| (n * 160, 160)).collect();
        assert_eq!(frames(&many)[0].0, 24 * 160);
    }

    #[test]
    fn of_a_packet_that_comes_late_the_frames_that_are_over_are_skipped() {
        let mut pieces = Pieces::new(4);
        pieces.insert(0, 3 * TICKS, TICKS + 7, VOICE, Instant::now(), &[1; 480]);
        assert_eq!(pieces.front().map(Piece::begin), Some(TICKS));
    }
}
