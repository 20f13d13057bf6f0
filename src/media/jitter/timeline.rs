//! The timeline of a stream: which timestamp is due when, and where it lay on the wire.

use std::time::{Duration, Instant};

use crate::media::codec::{Sound, TICKS_HZ};
use crate::media::jitter::pieces::{Part, Piece, Pieces};
use crate::media::jitter::{Audio, Verdict};

/// Ticks in a frame.
pub const TICKS: i64 = TICKS_HZ as i64 / 50;
pub const FRAME_MICROS: i64 = 20_000;
/// Slots that were missed by more are not made up for.
pub const STALL: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, Copy)]
pub struct Timeline {
    /// Zero of the transit scale.
    pub began: Instant,
    pub due: Instant,
    /// Extended timestamp of the next frame.
    pub next: i64,
    /// Stand-ins that went out without `next` moving.
    pub owed: i64,
    /// Moves of `due` off the regular pace, microseconds.
    pub skew: i64,
    pub late_run: u32,
    /// Ticks that a frame must wait because its packets are not whole frames.
    pub assembly: i64,
    /// A timestamp of the wire and its place on our scale, and our ticks in one of the wire's.
    pub reference: (u32, i64),
    pub scale: i64,
    /// Transit at which the wire's own timeline lies. It follows the shortest transit, but mostly in silence: no sound is
    /// torn apart because an estimate moved.
    pub anchor: i64,
    /// When the last packet came.
    pub heard: Instant,
}

impl Timeline {
    /// A timeline that begins with a packet; its frame is due after `wait` microseconds.
    pub fn begin(audio: Audio<'_>, length: i64, wait: i64, at: Instant) -> Timeline {
        let scale = scale(audio.sound);
        let start = i64::from(audio.timestamp) * scale;
        Timeline {
            began: at,
            due: later(at, wait),
            next: start,
            owed: 0,
            skew: 0,
            late_run: 0,
            assembly: assembly(length),
            reference: (audio.timestamp, start),
            scale,
            anchor: -micros(start),
            heard: at,
        }
    }

    /// The place on our scale nearest to the last packet's.
    pub fn extend(&self, timestamp: u32) -> i64 {
        let (known, place) = self.reference;
        place + self.scale * i64::from(timestamp.wrapping_sub(known) as i32)
    }

    /// Takes note of a packet; the reference moves along with the newest.
    pub fn hear(&mut self, timestamp: u32, start: i64, at: Instant) {
        self.heard = at;
        if start > self.reference.1 {
            self.reference = (timestamp, start);
        }
    }

    /// Way of a packet on a scale with an arbitrary zero.
    pub fn transit(&self, start: i64, at: Instant) -> i64 {
        micros_since(at, self.began) - micros(start)
    }

    /// Where timestamps lie on the transit scale.
    pub fn offset(&self) -> i64 {
        micros_since(self.due, self.began) - micros(self.next + self.owed * TICKS)
    }

    /// How long a packet at `start` that comes at `at` will wait; stand-ins that are owed fill the gap before it.
    pub fn wait(&self, start: i64, front: Option<&Piece>, at: Instant) -> i64 {
        let gap = front.map_or(start, |front| front.begin().min(start)) - self.next;
        let filled = gap.clamp(0, self.owed * TICKS);
        micros_since(self.due, at) + micros(start - self.next - filled)
    }

    /// Where a place of our scale lay on the wire's own timeline.
    pub fn on_the_wire(&self, place: i64) -> Instant {
        later(self.began, micros(place) + self.anchor)
    }

    /// Follows the shortest transit where the anchor is too late or too early by more than is tolerated.
    pub fn anchor_at(&mut self, floor: i64, too_late: i64, too_early: i64) {
        if self.anchor - floor > too_late || floor - self.anchor > too_early {
            self.anchor = floor;
        }
    }

    /// Whether the next frame is there as a whole.
    pub fn is_ready(&self, pieces: &Pieces) -> bool {
        let Some(front) = pieces.front().map(Piece::begin) else { return false };
        let gap = front - self.next;
        gap - gap.clamp(0, self.owed * TICKS) < TICKS / 2 && pieces.has_frame()
    }

    /// Takes the frame that is due, or none; moves `next`. Tells its place as well.
    pub fn advance(&mut self, pieces: &mut Pieces, part: &mut dyn FnMut(Part<'_>)) -> (i64, Option<(Sound, Instant)>) {
        let Some(front) = pieces.front().map(Piece::begin) else {
            let place = self.next + self.owed * TICKS;
            self.owed += 1;
            part(Part::Missing { next: None });
            return (place, None);
        };
        let gap = front - self.next;
        let missing = gap - gap.clamp(0, self.owed * TICKS);
        if missing >= TICKS / 2 {
            self.next = front - missing + TICKS.min(missing);
            self.owed = 0;
            part(Part::Missing { next: pieces.peek().filter(|_| self.next == front) });
            return (front - missing, None);
        }
        // Less than half a frame off: the frame snaps into its place, and the delay changes by so much.
        self.owed = 0;
        self.next = front + TICKS;
        let frame = pieces.take_frame(part);
        pieces.drop_before(self.next);
        (front, frame)
    }

    /// Nobody asked for a long time (hold, a stalled machine): those slots are owed, not delivered all at once.
    pub fn skip_stall(&mut self, now: Instant) {
        if now.saturating_duration_since(self.due) > STALL {
            self.skip(now);
        }
    }

    /// All slots that are over are owed.
    pub fn skip(&mut self, now: Instant) {
        let frames = (now.saturating_duration_since(self.due).as_micros() as i64) / FRAME_MICROS;
        self.due += Duration::from_micros((frames * FRAME_MICROS).unsigned_abs());
        self.owed += frames;
    }

    pub fn shift(&mut self, micros: i64) {
        self.due = later(self.due, micros);
        self.skew += micros;
    }

    /// Turns a whole frame of skew into a frame dropped or doubled.
    pub fn square(&mut self) -> Verdict {
        if self.skew <= -FRAME_MICROS {
            self.skew += FRAME_MICROS;
            Verdict::Drop
        } else if self.skew >= FRAME_MICROS {
            self.skew -= FRAME_MICROS;
            Verdict::PlayTwice
        } else {
            Verdict::Play
        }
    }
}

/// Packets of 10 ms complete a frame 10 ms after its first came; those of 30 ms complete every other frame so.
pub fn assembly(length: i64) -> i64 {
    let (mut a, mut b) = (length, TICKS);
    while b > 0 {
        (a, b) = (b, a % b);
    }
    TICKS - a
}

/// Our ticks in one of the wire's.
pub fn scale(sound: Sound) -> i64 {
    i64::from(TICKS_HZ / sound.clock())
}

/// Microseconds of so many ticks: 125 / 6 each.
pub fn micros(ticks: i64) -> i64 {
    ticks * 125 / 6
}

pub fn micros_since(later: Instant, earlier: Instant) -> i64 {
    match later.checked_duration_since(earlier) {
        Some(span) => span.as_micros() as i64,
        None => -(earlier.saturating_duration_since(later).as_micros() as i64),
    }
}

/// `instant` moved by so many microseconds, either way.
pub fn later(instant: Instant, micros: i64) -> Instant {
    let span = Duration::from_micros(micros.unsigned_abs());
    if micros < 0 { instant.checked_sub(span).unwrap_or(instant) } else { instant + span }
}
