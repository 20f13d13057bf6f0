//! The listening side of a leg, without I/O: packets in, frames in playing order and keys out.

use std::time::{Duration, Instant};

use crate::media::codec::Codec;
use crate::media::conceal::Concealer;
use crate::media::dtmf::KeyReader;
use crate::media::jitter::arrival::{Arrival, Arrivals};
use crate::media::jitter::{Audio, JitterBuffer, Slot, Verdict};
use crate::media::rtp::Packet;
use crate::media::{FRAME, FRAME_SAMPLES};

/// Mean square below which a frame is always silent: −50 dBFS.
const SILENT: f32 = 10_700.0;
/// Mean square above which it never is, however loud the background: −40 dBFS.
const LOUD: f32 = 107_000.0;

/// Everything between the latch and the peer.
#[derive(Debug)]
pub struct Reception {
    pub arrivals: Arrivals,
    pub jitter: JitterBuffer,
    concealer: Concealer,
    keys: KeyReader,
    /// Mean square of the background: falls at once, rises slowly.
    background: f32,
    again: Option<Heard>,
}

/// What an agreed payload type carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    Audio(Codec),
    Keys,
}

/// A frame in playing order.
#[derive(Debug, Clone)]
pub struct Heard {
    pub pcm: [i16; FRAME_SAMPLES],
    /// When its packet came, or when its stand-in was made.
    pub at: Instant,
    /// Its place on the wire's own timeline.
    pub wire: Instant,
    /// The payload, when it was received and not made up.
    pub encoded: Option<(Codec, [u8; FRAME_SAMPLES])>,
}

impl Reception {
    pub fn new(limit: Duration) -> Reception {
        Reception {
            arrivals: Arrivals::default(),
            jitter: JitterBuffer::new(limit),
            concealer: Concealer::default(),
            keys: KeyReader::default(),
            background: SILENT,
            again: None,
        }
    }

    /// Takes a packet of the latched source; returns the key that it presses.
    pub fn packet(&mut self, packet: &Packet<'_>, content: Content, at: Instant) -> Option<char> {
        let timestamp = matches!(content, Content::Audio(_)).then_some(packet.timestamp);
        let arrival = self.arrivals.note(packet.ssrc, packet.sequence, timestamp, at);
        if arrival == Arrival::NewSource {
            self.keys.reset();
        }
        match (content, arrival) {
            (_, Arrival::Duplicate | Arrival::Stray) => None,
            (Content::Keys, _) => self.keys.read(packet.timestamp, packet.marker, packet.payload),
            (Content::Audio(codec), _) => {
                let (timestamp, payload) = (packet.timestamp, packet.payload);
                self.jitter.insert(Audio { timestamp, codec, payload, arrival }, at);
                None
            }
        }
    }

    /// When [`Reception::poll`] has the next frame.
    pub fn next_due(&self) -> Option<Instant> {
        match &self.again {
            Some(again) => Some(again.at),
            None => self.jitter.next_due(),
        }
    }

    /// The next frame that is due at `now`; call until `None`.
    pub fn poll(&mut self, now: Instant) -> Option<Heard> {
        if let Some(again) = self.again.take() {
            return Some(again);
        }
        while let Some(slot) = self.jitter.take(now) {
            let (heard, quiet) = self.hear(slot);
            match self.jitter.judge(quiet) {
                Verdict::Play => return Some(heard),
                Verdict::Drop => {}
                Verdict::PlayTwice => {
                    self.again = Some(Heard { wire: heard.wire + FRAME, encoded: None, ..heard.clone() });
                    return Some(heard);
                }
            }
        }
        None
    }

    fn hear(&mut self, slot: Slot) -> (Heard, bool) {
        let mut pcm = [0; FRAME_SAMPLES];
        let Some(frame) = slot.frame else {
            self.concealer.lost(&mut pcm);
            return (Heard { pcm, at: slot.due, wire: slot.wire, encoded: None }, self.concealer.is_silent());
        };
        frame.codec.decode(&frame.octets, &mut pcm);
        let quiet = self.is_quiet(&pcm);
        self.concealer.good(&mut pcm);
        (Heard { pcm, at: frame.at, wire: slot.wire, encoded: Some((frame.codec, frame.octets)) }, quiet)
    }

    /// Silent, or no louder than the background and not loud.
    fn is_quiet(&mut self, pcm: &[i16]) -> bool {
        let power = pcm.iter().map(|&sample| f32::from(sample).powi(2)).sum::<f32>() / pcm.len() as f32;
        self.background = power.min(self.background * 1.02 + 1.0).max(1.0);
        power < (self.background * 2.0).clamp(SILENT, LOUD)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    fn packet(sequence: u16, payload: &[u8]) -> Packet<'_> {
        let timestamp = u32::from(sequence).wrapping_mul(160);
        Packet { marker: false, payload_type: 0, sequence, timestamp, ssrc: 1, payload }
    }

    #[test]
    fn frames_come_in_order_and_a_lost_one_is_made_up() {
        let start = Instant::now();
        let mut reception = Reception::new(Duration::from_millis(200));
        let mut heard = Vec::new();
        for n in 0..10u16 {
            let at = start + FRAME * u32::from(n);
            heard.extend(std::iter::from_fn(|| reception.poll(at)));
            let payload = [0x80 + n as u8; 160];
            if n != 5 {
                reception.packet(&packet(n, &payload), Content::Audio(Codec::Pcmu), at);
            }
        }
        let first: Vec<Option<u8>> = heard.iter().map(|h| h.encoded.map(|(_, octets)| octets[0] - 0x80)).collect();
        let expected = [Some(0), Some(1), Some(2), Some(3), Some(4), None, Some(6), Some(7), Some(8)];
        assert_eq!(first, expected);
        assert!(heard[5].pcm[0].unsigned_abs() > 1_000);
    }

    #[test]
    fn keys_do_not_look_like_loss_and_duplicates_do_not_press_again() {
        let now = Instant::now();
        let mut reception = Reception::new(Duration::from_millis(200));
        reception.packet(&packet(1, &[0xFF; 160]), Content::Audio(Codec::Pcmu), now);
        assert_eq!(reception.packet(&packet(2, &[7, 10, 0, 160]), Content::Keys, now), Some('7'));
        assert_eq!(reception.packet(&packet(2, &[8, 10, 0, 160]), Content::Keys, now), None);
        reception.packet(&packet(3, &[0xFF; 160]), Content::Audio(Codec::Pcmu), now);
        assert_eq!(reception.arrivals.counts().lost, 0);
        assert_eq!(reception.arrivals.counts().duplicate, 1);
    }
}
