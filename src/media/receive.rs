//! The listening side of a leg, without I/O: packets in, frames in playing order and keys out.

use std::time::{Duration, Instant};

use crate::media::codec::{Codec, Sound};
use crate::media::dtmf::KeyReader;
use crate::media::frame::Frame;
use crate::media::jitter::arrival::{Arrival, Arrivals};
use crate::media::jitter::{Audio, JitterBuffer, Verdict};
use crate::media::quality::energy;
use crate::media::restore::{Origin, Restorer};
use crate::media::rtp::Packet;
use crate::media::{FRAME_SAMPLES, NARROW_BAND_HZ};

/// Mean square below which a frame is always silent: −50 dBFS.
const SILENT: f32 = 10_700.0;
/// Mean square above which it never is, however loud the background: −40 dBFS.
const LOUD: f32 = 107_000.0;
/// Packets between two looks at what was lost.
const LOOK: u64 = 128;

/// Everything between the latch and the peer.
pub struct Reception {
    pub arrivals: Arrivals,
    pub jitter: JitterBuffer,
    restorer: Restorer,
    keys: KeyReader,
    /// Mean square of the background: falls at once, rises slowly.
    background: f32,
    /// The frame that was handed out last.
    heard: Option<Heard>,
    /// It comes once more.
    again: bool,
    losses: Losses,
}

/// What an agreed payload type carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    Audio(Sound),
    /// Key events with timestamps of so many ticks a second.
    Keys(u32),
}

/// A frame in playing order.
#[derive(Debug, Clone)]
pub struct Heard {
    /// At the rate of the codec that it came with.
    pub pcm: Frame,
    /// When its packet came, or when its stand-in was made.
    pub at: Instant,
    /// Its place on the wire's own timeline; `None`: it is the frame before once more, and has no place there.
    pub wire: Option<Instant>,
    /// Nothing came for it so far; what it stands in for may be no more than late.
    pub stands_in: bool,
    /// The listener does without it, so that the delay gets shorter.
    pub left_out: bool,
    /// Of `pcm`: see [`energy`].
    pub energy: u64,
    pub origin: Origin,
    /// What was sent, where `pcm` is blended with the stand-in before it.
    pub unblended: Option<Box<Frame>>,
    /// The payload, when it was received and has an octet a tick.
    pub encoded: Option<(Codec, [u8; FRAME_SAMPLES])>,
}

/// Packets that came and that were lost when it was looked last.
#[derive(Debug, Clone, Copy, Default)]
struct Losses {
    received: u64,
    lost: u64,
}

impl Reception {
    pub fn new(limit: Duration) -> Reception {
        Reception {
            arrivals: Arrivals::default(),
            jitter: JitterBuffer::new(limit),
            restorer: Restorer::default(),
            keys: KeyReader::default(),
            background: SILENT,
            heard: None,
            again: false,
            losses: Losses::default(),
        }
    }

    /// Takes a packet of the latched source; returns the key that it presses.
    pub fn packet(&mut self, packet: &Packet<'_>, content: Content, at: Instant) -> Option<char> {
        let timestamp = match content {
            Content::Audio(sound) => Some((packet.timestamp, sound.clock())),
            Content::Keys(_) => None,
        };
        let arrival = self.arrivals.note(packet.ssrc, packet.sequence, timestamp, at);
        if arrival == Arrival::NewSource {
            self.keys.reset();
        }
        self.look_at_losses();
        match (content, arrival) {
            (_, Arrival::Duplicate | Arrival::Stray) => None,
            (Content::Keys(clock), _) => self.keys.read(packet.timestamp, clock, packet.marker, packet.payload),
            (Content::Audio(sound), _) => {
                let (timestamp, payload) = (packet.timestamp, packet.payload);
                self.jitter.insert(Audio { timestamp, sound, payload, arrival }, at);
                None
            }
        }
    }

    /// For a listener that takes frames as they come, see [`JitterBuffer::prompt`].
    pub fn prompt(&mut self, prompt: bool) {
        self.jitter.prompt(prompt);
    }

    pub fn is_prompt(&self) -> bool {
        self.jitter.is_prompt()
    }

    /// The codec of the last frame that came.
    pub fn codec(&self) -> Codec {
        self.restorer.codec()
    }

    /// Whether the phone has said that it sends nothing because it is silent.
    pub fn is_resting(&self) -> bool {
        self.restorer.is_resting()
    }

    /// When [`Reception::poll`] has the next frame.
    pub fn next_due(&self) -> Option<Instant> {
        match &self.heard {
            Some(heard) if self.again => Some(heard.at),
            _ => self.jitter.next_due(),
        }
    }

    /// The next frame that is due at `now`; call until `None`. A recording takes them all, a listener those that are not
    /// left out.
    pub fn poll(&mut self, now: Instant) -> Option<&Heard> {
        let heard = self.heard.get_or_insert_with(|| Heard::nothing(now));
        if std::mem::take(&mut self.again) {
            (heard.wire, heard.encoded, heard.unblended) = (None, None, None);
            return Some(heard);
        }
        let restorer = &mut self.restorer;
        let slot = self.jitter.take(now, &mut |part| restorer.take(part))?;
        restorer.finish(heard);
        self.jitter.rest(restorer.is_resting());
        heard.energy = energy(&heard.pcm);
        heard.at = slot.frame.map_or(slot.due, |(_, at)| at);
        heard.wire = Some(slot.wire);
        heard.stands_in = slot.frame.is_none();
        let quiet = match heard.origin {
            Origin::Received => is_quiet(&mut self.background, heard),
            Origin::Concealed => restorer.is_silent(),
            Origin::Comfort => true,
        };
        let verdict = self.jitter.judge(quiet);
        heard.left_out = verdict == Verdict::Drop;
        self.again = verdict == Verdict::PlayTwice;
        Some(heard)
    }

    /// Opus can repair a lost frame from the packet after it, if that one is awaited: worth a frame of delay where
    /// packets are lost.
    fn look_at_losses(&mut self) {
        let counts = self.arrivals.counts();
        if counts.received < self.losses.received + LOOK {
            return;
        }
        let lost = counts.lost.saturating_sub(self.losses.lost);
        self.losses = Losses { received: counts.received, lost: counts.lost };
        self.jitter.look_ahead(self.codec() == Codec::Opus && lost * 100 > LOOK);
    }
}

/// Silent, or no louder than the background and not loud.
fn is_quiet(background: &mut f32, heard: &Heard) -> bool {
    let power = heard.energy as f32 / heard.pcm.len() as f32;
    *background = power.min(*background * 1.02 + 1.0).max(1.0);
    power < (*background * 2.0).clamp(SILENT, LOUD)
}

impl Heard {
    pub(super) fn nothing(at: Instant) -> Heard {
        Heard {
            pcm: Frame::silent(NARROW_BAND_HZ),
            at,
            wire: None,
            stands_in: false,
            left_out: false,
            energy: 0,
            origin: Origin::Comfort,
            unblended: None,
            encoded: None,
        }
    }
}

#[cfg(test)]
mod changes;
#[cfg(test)]
mod codecs;

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;
    use crate::media::FRAME;

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
            heard.extend(std::iter::from_fn(|| reception.poll(at).cloned()));
            let payload = [0x80 + n as u8; 160];
            if n != 5 {
                reception.packet(&packet(n, &payload), Content::Audio(Sound::Voice(Codec::Pcmu)), at);
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
        reception.packet(&packet(1, &[0xFF; 160]), Content::Audio(Sound::Voice(Codec::Pcmu)), now);
        assert_eq!(reception.packet(&packet(2, &[7, 10, 0, 160]), Content::Keys(8_000), now), Some('7'));
        assert_eq!(reception.packet(&packet(2, &[8, 10, 0, 160]), Content::Keys(8_000), now), None);
        reception.packet(&packet(3, &[0xFF; 160]), Content::Audio(Sound::Voice(Codec::Pcmu)), now);
        assert_eq!(reception.arrivals.counts().lost, 0);
        assert_eq!(reception.arrivals.counts().duplicate, 1);
    }
}
