//! The adaptive jitter buffer: payloads in, one slot every 20 ms out.
//!
//! Timestamps of all clocks are kept on one scale of 48,000 ticks a second.
//!
//! A timeline maps timestamps to instants: the frame at `next` is due at `due`. What happens to it:
//!
//! | Event | What is done |
//! |---|---|
//! | the frame is there when due | it goes out, `next` and `due` move by 20 ms |
//! | nothing at all is there | a stand-in goes out, only `due` moves: nothing that still comes is too late; the stand-in is *owed* |
//! | later frames are there | the frame is lost: an owed stand-in was its stand-in, or one goes out now; `next` moves |
//! | it comes after its place was passed | late, dropped |
//! | more waits than the limit allows | the oldest is discarded, speech or not |
//! | the waiting time is not what the network asks for | `due` moves by up to 5 ms a frame, only in silence |
//! | such moves add up to a frame | one silent frame is dropped or doubled, so that 50 frames a second come out in the long run: this takes up clock drift too |
//! | the timestamps jump or stood still, or packets in order are late | the timeline starts anew |
//! | the source or the clock of the timestamps changes, and no pause lies between | what comes is laid behind what is there: nothing that waits is lost |

pub mod arrival;
mod delay;
mod pieces;

use std::time::{Duration, Instant};

pub use pieces::Part;

use crate::media::FRAME;
use crate::media::codec::{Sound, TICKS_HZ};
use crate::media::jitter::arrival::Arrival;
use crate::media::jitter::delay::Delays;
use crate::media::jitter::pieces::{Piece, Pieces};

/// Ticks in a frame.
const TICKS: i64 = TICKS_HZ as i64 / 50;
const FRAME_MICROS: i64 = 20_000;
/// Largest move of `due` in one silent frame.
const MOVE: i64 = 5_000;
/// A wait that is off by less is left alone.
const TOLERANCE: i64 = 1_500;
/// A packet that would have to wait this much longer than the limit belongs to another timeline.
const JUMP: i64 = 1_000_000;
/// Slots that were missed by more are not made up for.
const STALL: Duration = Duration::from_millis(500);
/// A source that follows another within this time goes on where that one ended.
const SPLICE: Duration = Duration::from_millis(250);
/// So many packets in a row that are late although they come in order mean that the timeline is wrong.
const LATE_RUN: u32 = 2;

#[derive(Debug)]
pub struct JitterBuffer {
    pieces: Pieces,
    delays: Delays,
    timeline: Option<Timeline>,
    counts: Counts,
    /// Every frame waits a frame longer, so that the packet after a lost one is there.
    looks_ahead: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Packets that came after their place was passed.
    pub late: u64,
    /// Frames thrown away because too much waited.
    pub discarded: u64,
    /// Silent frames dropped and doubled to take up drift and changes of delay.
    pub shortened: u64,
    pub lengthened: u64,
    /// Timelines begun after the first.
    pub restarts: u64,
}

#[derive(Debug, Clone, Copy)]
struct Timeline {
    /// Zero of the transit scale.
    began: Instant,
    due: Instant,
    /// Extended timestamp of the next frame.
    next: i64,
    /// Stand-ins that went out without `next` moving.
    owed: i64,
    /// Moves of `due` off the regular pace, microseconds.
    skew: i64,
    late_run: u32,
    /// Ticks that a frame must wait because its packets are not whole frames.
    assembly: i64,
    /// A timestamp of the wire and its place on our scale, and our ticks in one of the wire's.
    reference: (u32, i64),
    scale: i64,
    /// When the last packet came.
    heard: Instant,
}

/// What is due. Its parts were handed out by [`JitterBuffer::take`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    pub due: Instant,
    /// When the frame would have come with the shortest transit: its place on the wire's own timeline.
    pub wire: Instant,
    /// What the frame is, and when its (first) packet came; `None` = it is missing.
    pub frame: Option<(Sound, Instant)>,
}

/// What to do with a slot's frame, once it is known to be silent or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Play,
    Drop,
    PlayTwice,
}

#[derive(Debug, Clone, Copy)]
pub struct Audio<'a> {
    pub timestamp: u32,
    pub sound: Sound,
    pub payload: &'a [u8],
    pub arrival: Arrival,
}

impl JitterBuffer {
    /// A buffer that delays by at most `limit`.
    pub fn new(limit: Duration) -> JitterBuffer {
        // Room for the limit and 60 ms more in the smallest packets (5 ms) that are worth handling well.
        let capacity = (limit.as_millis() as usize).clamp(20, 2_000) / 10 + 12;
        JitterBuffer {
            pieces: Pieces::new(capacity),
            delays: Delays::new(limit),
            timeline: None,
            counts: Counts::default(),
            looks_ahead: false,
        }
    }

    /// Takes a packet that is neither a duplicate nor a stray. One without sound in it is nothing.
    pub fn insert(&mut self, audio: Audio<'_>, at: Instant) {
        let Some(length) = audio.sound.ticks(audio.payload) else { return };
        let Some(timeline) = self.timeline else { return self.restart(audio, at) };
        let another_clock = timeline.scale != scale(audio.sound);
        if another_clock && audio.arrival == Arrival::Reordered {
            // From before the change: its place cannot be told any more.
            self.counts.late += 1;
            return;
        }
        if another_clock || audio.arrival == Arrival::NewSource {
            return self.splice(audio, at);
        }
        let start = timeline.extend(audio.timestamp);
        let wait = timeline.wait(start, self.pieces.front(), at);
        if start + length <= timeline.next {
            return self.late(audio, start, at);
        }
        let paused =
            self.pieces.front().is_none() && timeline.transit(start, at) - self.delays.floor() > self.delays.limit();
        if paused || wait > self.delays.limit() + JUMP {
            return self.restart(audio, at);
        }
        self.accept(audio, start, at);
    }

    /// When the next slot is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.timeline.map(|timeline| timeline.due)
    }

    /// The slot that is due at `now`, if one is; hands out what it is made of. Tell [`JitterBuffer::judge`] about it
    /// before the next call.
    pub fn take(&mut self, now: Instant, part: &mut dyn FnMut(Part<'_>)) -> Option<Slot> {
        let mut timeline = self.timeline.filter(|timeline| timeline.due <= now)?;
        timeline.skip_stall(now);
        let due = timeline.due;
        let wire = before(due, self.delay_of(&timeline));
        let frame = timeline.advance(&mut self.pieces, part);
        timeline.due += FRAME;
        self.timeline = Some(timeline);
        Some(Slot { due, wire, frame })
    }

    /// Adapts the delay after a slot. Only a `quiet` one lets it.
    pub fn judge(&mut self, quiet: bool) -> Verdict {
        let Some(mut timeline) = self.timeline.filter(|_| quiet) else { return Verdict::Play };
        let wanted = (self.delays.target() + micros(timeline.assembly) + self.ahead()).min(self.delays.limit());
        let off = wanted - self.delay_of(&timeline);
        if off.abs() > TOLERANCE {
            timeline.shift(off.clamp(-MOVE, MOVE));
        }
        let verdict = timeline.square();
        self.counts.shortened += u64::from(verdict == Verdict::Drop);
        self.counts.lengthened += u64::from(verdict == Verdict::PlayTwice);
        self.timeline = Some(timeline);
        verdict
    }

    /// Whether frames shall wait for the packet after them, which can repair a loss. Takes effect in silence.
    pub fn look_ahead(&mut self, ahead: bool) {
        self.looks_ahead = ahead;
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// How long a packet with the shortest transit waits now.
    pub fn delay(&self) -> Duration {
        let micros = self.timeline.map_or(0, |timeline| self.delay_of(&timeline));
        Duration::from_micros(micros.max(0).unsigned_abs())
    }

    fn ahead(&self) -> i64 {
        if self.looks_ahead { FRAME_MICROS } else { 0 }
    }

    fn delay_of(&self, timeline: &Timeline) -> i64 {
        timeline.offset() - self.delays.floor()
    }

    fn accept(&mut self, audio: Audio<'_>, start: i64, at: Instant) {
        let Some(timeline) = &mut self.timeline else { return };
        let Some(length) = audio.sound.ticks(audio.payload) else { return };
        timeline.late_run = 0;
        timeline.assembly = assembly(length);
        timeline.hear(audio.timestamp, start, at);
        self.delays.note(timeline.transit(start, at));
        self.pieces.insert(start, length, timeline.next, audio.sound, at, audio.payload);
        let limit = self.delays.limit();
        while let Some(last) = self.pieces.end().map(|end| end - TICKS) {
            if timeline.wait(last, self.pieces.front(), at) <= limit {
                break;
            }
            timeline.next = timeline.next.max(self.pieces.front().map_or(timeline.next, Piece::begin)) + TICKS;
            timeline.owed = 0;
            self.pieces.drop_before(timeline.next);
            self.counts.discarded += 1;
        }
    }

    fn late(&mut self, audio: Audio<'_>, start: i64, at: Instant) {
        self.counts.late += 1;
        let Some(timeline) = &mut self.timeline else { return };
        timeline.late_run += u32::from(audio.arrival == Arrival::InOrder);
        timeline.heard = at;
        self.delays.note(timeline.transit(start, at));
        if timeline.late_run >= LATE_RUN && self.pieces.front().is_none() {
            self.restart(audio, at);
        }
    }

    /// Another source, or another clock: goes on behind what is there, unless a pause lies between.
    fn splice(&mut self, audio: Audio<'_>, at: Instant) {
        let Some(timeline) = &mut self.timeline else { return };
        if at.saturating_duration_since(timeline.heard) > SPLICE {
            return self.restart(audio, at);
        }
        self.counts.restarts += 1;
        let start = self.pieces.end().unwrap_or(timeline.next).max(timeline.next);
        timeline.scale = scale(audio.sound);
        timeline.reference = (audio.timestamp, start);
        timeline.owed = 0;
        self.delays.reset();
        self.accept(audio, start, at);
    }

    fn restart(&mut self, audio: Audio<'_>, at: Instant) {
        let Some(length) = audio.sound.ticks(audio.payload) else { return };
        self.counts.restarts += u64::from(self.timeline.is_some());
        self.pieces.clear();
        self.delays.reset();
        let start = i64::from(audio.timestamp) * scale(audio.sound);
        let assembly = assembly(length);
        let wait = self.delays.target() + micros(assembly) + self.ahead();
        self.timeline = Some(Timeline {
            began: at,
            due: at + Duration::from_micros(wait.unsigned_abs()),
            next: start,
            owed: 0,
            skew: 0,
            late_run: 0,
            assembly,
            reference: (audio.timestamp, start),
            scale: scale(audio.sound),
            heard: at,
        });
        self.accept(audio, start, at);
    }
}

impl Timeline {
    /// The place on our scale nearest to the last packet's.
    fn extend(&self, timestamp: u32) -> i64 {
        let (known, place) = self.reference;
        place + self.scale * i64::from(timestamp.wrapping_sub(known) as i32)
    }

    /// Takes note of a packet; the reference moves along with the newest.
    fn hear(&mut self, timestamp: u32, start: i64, at: Instant) {
        self.heard = at;
        if start > self.reference.1 {
            self.reference = (timestamp, start);
        }
    }

    /// Way of a packet on a scale with an arbitrary zero.
    fn transit(&self, start: i64, at: Instant) -> i64 {
        micros_since(at, self.began) - micros(start)
    }

    /// Where timestamps lie on the transit scale.
    fn offset(&self) -> i64 {
        micros_since(self.due, self.began) - micros(self.next + self.owed * TICKS)
    }

    /// How long a packet at `start` that comes at `at` will wait; stand-ins that are owed fill the gap before it.
    fn wait(&self, start: i64, front: Option<&Piece>, at: Instant) -> i64 {
        let gap = front.map_or(start, |front| front.begin().min(start)) - self.next;
        let filled = gap.clamp(0, self.owed * TICKS);
        micros_since(self.due, at) + micros(start - self.next - filled)
    }

    /// Takes the frame that is due, or none; moves `next`.
    fn advance(&mut self, pieces: &mut Pieces, part: &mut dyn FnMut(Part<'_>)) -> Option<(Sound, Instant)> {
        let Some(front) = pieces.front().map(Piece::begin) else {
            self.owed += 1;
            part(Part::Missing { next: None });
            return None;
        };
        let gap = front - self.next;
        let missing = gap - gap.clamp(0, self.owed * TICKS);
        if missing >= TICKS / 2 {
            self.next = front - missing + TICKS.min(missing);
            self.owed = 0;
            part(Part::Missing { next: pieces.peek().filter(|_| self.next == front) });
            return None;
        }
        // Less than half a frame off: the frame snaps into its place, and the delay changes by so much.
        self.owed = 0;
        self.next = front + TICKS;
        let frame = pieces.take_frame(part);
        pieces.drop_before(self.next);
        frame
    }

    /// Nobody asked for a long time (hold, a stalled machine): those slots are owed, not delivered all at once.
    fn skip_stall(&mut self, now: Instant) {
        let behind = now.saturating_duration_since(self.due);
        if behind > STALL {
            let frames = (behind.as_micros() as i64) / FRAME_MICROS;
            self.due += Duration::from_micros((frames * FRAME_MICROS).unsigned_abs());
            self.owed += frames;
        }
    }

    fn shift(&mut self, micros: i64) {
        let span = Duration::from_micros(micros.unsigned_abs());
        self.due = if micros < 0 { self.due.checked_sub(span).unwrap_or(self.due) } else { self.due + span };
        self.skew += micros;
    }

    /// Turns a whole frame of skew into a frame dropped or doubled.
    fn square(&mut self) -> Verdict {
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
fn assembly(length: i64) -> i64 {
    let (mut a, mut b) = (length, TICKS);
    while b > 0 {
        (a, b) = (b, a % b);
    }
    TICKS - a
}

/// Our ticks in one of the wire's.
fn scale(sound: Sound) -> i64 {
    i64::from(TICKS_HZ / sound.clock())
}

/// Microseconds of so many ticks: 125 / 6 each.
fn micros(ticks: i64) -> i64 {
    ticks * 125 / 6
}

fn micros_since(later: Instant, earlier: Instant) -> i64 {
    match later.checked_duration_since(earlier) {
        Some(span) => span.as_micros() as i64,
        None => -(earlier.saturating_duration_since(later).as_micros() as i64),
    }
}

fn before(instant: Instant, micros: i64) -> Instant {
    instant.checked_sub(Duration::from_micros(micros.max(0).unsigned_abs())).unwrap_or(instant)
}

#[cfg(test)]
mod tests;
