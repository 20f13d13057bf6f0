//! Payload octets in timestamp order. A packet is cut into pieces of at most one frame; frames are put together from
//! pieces, so packets of 10, 20, 30, 40 or 60 ms all come out as 20 ms.

use std::collections::VecDeque;
use std::time::Instant;

use crate::media::{Codec, FRAME_SAMPLES};

#[derive(Debug, Clone, Copy)]
pub struct Piece {
    /// Extended timestamp of the first octet.
    pub start: i64,
    pub codec: Codec,
    pub at: Instant,
    length: usize,
    octets: [u8; FRAME_SAMPLES],
}

impl Piece {
    pub fn end(&self) -> i64 {
        self.start + self.length as i64
    }

    /// At most a frame of `octets` is kept.
    fn new(start: i64, codec: Codec, at: Instant, octets: &[u8]) -> Piece {
        let length = octets.len().min(FRAME_SAMPLES);
        let mut piece = Piece { start, codec, at, length, octets: [codec.silence(); FRAME_SAMPLES] };
        piece.octets[..length].copy_from_slice(&octets[..length]);
        piece
    }

    fn cut_front(&mut self, octets: usize) {
        self.octets.copy_within(octets..self.length, 0);
        self.length -= octets;
        self.start += octets as i64;
    }
}

#[derive(Debug)]
pub struct Pieces {
    /// Sorted, without overlap of starts.
    queue: VecDeque<Piece>,
    capacity: usize,
}

impl Pieces {
    pub fn new(capacity: usize) -> Pieces {
        Pieces { queue: VecDeque::with_capacity(capacity + 1), capacity }
    }

    /// Inserts a payload; a piece whose place is taken is dropped, and the oldest go when there is no room.
    pub fn insert(&mut self, start: i64, codec: Codec, at: Instant, payload: &[u8]) {
        for (index, octets) in payload.chunks(FRAME_SAMPLES).enumerate() {
            let piece = Piece::new(start + (index * FRAME_SAMPLES) as i64, codec, at, octets);
            let place = self.queue.iter().rposition(|known| known.start <= piece.start);
            if place.is_some_and(|place| self.queue[place].start == piece.start) {
                continue;
            }
            self.queue.insert(place.map_or(0, |place| place + 1), piece);
            if self.queue.len() > self.capacity {
                self.queue.pop_front();
            }
        }
    }

    pub fn front(&self) -> Option<&Piece> {
        self.queue.front()
    }

    /// Timestamp after the newest octet.
    pub fn end(&self) -> Option<i64> {
        self.queue.back().map(Piece::end)
    }

    pub fn clear(&mut self) {
        self.queue.clear();
    }

    /// Drops what lies wholly before `start`.
    pub fn drop_before(&mut self, start: i64) {
        while self.queue.front().is_some_and(|piece| piece.end() <= start) {
            self.queue.pop_front();
        }
    }

    /// Takes a frame that begins with the first piece. Octets that are not there are silence.
    pub fn take_frame(&mut self) -> Option<Piece> {
        let mut frame = self.queue.pop_front()?;
        while frame.length < FRAME_SAMPLES {
            let Some(next) = self.queue.front_mut() else { break };
            if next.start != frame.end() || next.codec != frame.codec {
                break;
            }
            let taken = next.length.min(FRAME_SAMPLES - frame.length);
            frame.octets[frame.length..frame.length + taken].copy_from_slice(&next.octets[..taken]);
            frame.length += taken;
            next.cut_front(taken);
            if next.length == 0 {
                self.queue.pop_front();
            }
        }
        Some(frame)
    }
}

/// A frame as it left the buffer: always whole.
impl AsRef<[u8; FRAME_SAMPLES]> for Piece {
    fn as_ref(&self) -> &[u8; FRAME_SAMPLES] {
        &self.octets
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    fn frames(packets: &[(i64, usize)]) -> Vec<(i64, usize, u8)> {
        let mut pieces = Pieces::new(16);
        for (start, length) in packets {
            let payload: Vec<u8> = (*start..*start + *length as i64).map(|n| (n / 40) as u8).collect();
            pieces.insert(*start, Codec::Pcmu, Instant::now(), &payload);
        }
        std::iter::from_fn(|| pieces.take_frame()).map(|f| (f.start, f.length, f.octets[FRAME_SAMPLES - 1])).collect()
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
    fn a_missing_half_is_silence() {
        assert_eq!(frames(&[(0, 80), (160, 160)]), [(0, 80, 0xFF), (160, 160, 7)]);
    }

    #[test]
    fn a_place_is_taken_once_and_the_oldest_give_way() {
        assert_eq!(frames(&[(0, 160), (0, 160)]).len(), 1);
        let many: Vec<_> = (0..40).map(|n| (n * 160, 160)).collect();
        assert_eq!(frames(&many)[0].0, 24 * 160);
    }
}
