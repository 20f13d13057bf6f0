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
//! | more waits than the limit allows, because stand-ins went out for what was only late | the oldest goes out at once: nothing is thrown away, and no more time is put in than the limit |
//! | more waits than the limit allows, and none did | the oldest is discarded, speech or not |
//! | the waiting time is not what the network asks for | `due` moves by up to 5 ms a frame, only in silence |
//! | such moves add up to a frame | one silent frame is dropped or doubled, so that 50 frames a second come out in the long run: this takes up clock drift too |
//! | the timestamps jump back or stood still, or packets in order are late | the timeline starts anew |
//! | the source or the clock of the timestamps changes or they jump ahead, and no pause lies between | what comes is laid behind what is there: nothing that waits is lost |
//! | a packet from before such a change or jump comes after it | late, dropped: its place cannot be told any more |
//!
//! A listener that takes frames as they come (a voice service: it plays nothing) gets them at once: the table's waiting is
//! then only for what is missing, out of order or not whole, and the delay may move at any time. Where nothing at all is
//! there it waits for [`PATIENCE`] before anything is made up: what was only late is not heard twice, once invented.
//!
//! Beside the instant at which a frame is due, each slot tells where the frame lay on the wire's own timeline: by its
//! timestamp alone, whatever the network and the waiting did to it. A recording is laid out by that.

pub mod arrival;
mod delay;
mod pieces;
mod timeline;

use std::time::{Duration, Instant};

pub use pieces::Part;

use crate::media::FRAME;
use crate::media::codec::Sound;
use crate::media::jitter::arrival::Arrival;
use crate::media::jitter::delay::Delays;
use crate::media::jitter::pieces::{Piece, Pieces};
use crate::media::jitter::timeline::{
    FRAME_MICROS, STALL, TICKS, Timeline, assembly, later, micros, micros_since, scale,
};

/// Largest move of `due` in one silent frame.
const MOVE: i64 = 5_000;
/// A wait that is off by less is left alone.
const TOLERANCE: i64 = 1_500;
/// A packet that would have to wait this much longer than the limit belongs to another timeline.
const JUMP: i64 = 1_000_000;
/// The wire's own timeline may be off by so much before it is moved in silence, and by so much too late in sound: a
/// sender that was late from the beginning and catches up while it speaks does not tear its own sound apart.
const SILENT_DRIFT: i64 = 2_000;
const DRIFT: i64 = 150_000;
/// Frames that may go out faster than they were spoken after stand-ins.
const MOST_BEHIND: i64 = 20;
/// A source that follows another within this time goes on where that one ended.
const SPLICE: Duration = Duration::from_millis(250);
/// So many packets in a row that are late although they come in order mean that the timeline is wrong.
const LATE_RUN: u32 = 2;
/// How long nothing may come before a listener that takes frames as they come hears that: the spikes of a network.
const PATIENCE: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub struct JitterBuffer {
    pieces: Pieces,
    delays: Delays,
    timeline: Option<Timeline>,
    counts: Counts,
    /// Every frame waits a frame longer, so that the packet after a lost one is there.
    looks_ahead: bool,
    /// What is whole and in its turn goes out as soon as it is there.
    prompt: bool,
    /// The sender has said that it sends nothing: silence is no sign of trouble.
    resting: bool,
    /// Stand-ins that went out for what was only late, as far as it has not been caught up with.
    behind: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Packets that came after their place was passed.
    pub late: u64,
    /// Frames thrown away because too much waited.
    pub discarded: u64,
    /// Frames that went out at once instead.
    pub hastened: u64,
    /// Silent frames dropped and doubled to take up drift and changes of delay.
    pub shortened: u64,
    pub lengthened: u64,
    /// Timelines begun after the first.
    pub restarts: u64,
}

/// What is due. Its parts were handed out by [`JitterBuffer::take`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    pub due: Instant,
    /// Its place on the wire's own timeline: when it would have come had every packet come as fast as the fastest.
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
            prompt: false,
            resting: false,
            behind: 0,
        }
    }

    /// Takes a packet that is neither a duplicate nor a stray. One without sound in it is nothing.
    pub fn insert(&mut self, audio: Audio<'_>, at: Instant) {
        let Some(length) = audio.sound.ticks(audio.payload) else { return };
        let Some(timeline) = self.timeline else { return self.restart(audio, at) };
        let another_clock = timeline.scale != scale(audio.sound);
        let start = timeline.extend(audio.timestamp);
        let outdated = match audio.arrival {
            Arrival::Former => true,
            // What was sent before the newest packet has an earlier timestamp than that, or another clock's.
            Arrival::Reordered => another_clock || start >= timeline.reference.1,
            _ => false,
        };
        if outdated {
            self.counts.late += 1;
            return;
        }
        if another_clock || audio.arrival == Arrival::NewSource {
            return self.splice(audio, at);
        }
        let wait = timeline.wait(start, self.pieces.front(), at);
        if start + length <= timeline.next {
            return self.late(audio, start, at);
        }
        let transit = timeline.transit(start, at) - self.asleep(&timeline, at);
        let paused = self.pieces.front().is_none() && transit - self.delays.floor() > self.delays.limit();
        if wait > self.delays.limit() + JUMP {
            return self.splice(audio, at);
        }
        if paused {
            return self.resume(audio, start, at);
        }
        self.accept(audio, start, at);
    }

    /// When the next slot is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.timeline.map(|timeline| self.due_of(&timeline))
    }

    /// When the next slot goes out, whatever is there.
    fn due_of(&self, timeline: &Timeline) -> Instant {
        let waits = self.prompt && !self.resting && timeline.owed == 0 && self.pieces.front().is_none();
        if waits { timeline.due + PATIENCE } else { timeline.due }
    }

    /// The slot that is due at `now`, if one is; hands out what it is made of. Tell [`JitterBuffer::judge`] about it
    /// before the next call.
    pub fn take(&mut self, now: Instant, part: &mut dyn FnMut(Part<'_>)) -> Option<Slot> {
        let ready = |timeline: &Timeline| self.prompt && timeline.is_ready(&self.pieces);
        let mut timeline = self.timeline.filter(|timeline| self.due_of(timeline) <= now || ready(timeline))?;
        let owed = timeline.owed;
        if self.prompt && timeline.owed == 0 && self.pieces.front().is_none() {
            // What was waited for in vain is over.
            timeline.skip(now);
        }
        timeline.skip_stall(now);
        timeline.anchor_at(self.delays.floor(), DRIFT, self.delays.limit());
        let due = timeline.due;
        let (place, frame) = timeline.advance(&mut self.pieces, part);
        let wire = timeline.on_the_wire(place);
        timeline.due += FRAME;
        self.behind = (self.behind + (timeline.owed - owed).max(0)).min(MOST_BEHIND);
        self.hasten(&mut timeline, now);
        self.timeline = Some(timeline);
        Some(Slot { due, wire, frame })
    }

    /// Adapts the delay after a slot. Only a `quiet` one lets it.
    pub fn judge(&mut self, quiet: bool) -> Verdict {
        let Some(mut timeline) = self.timeline.filter(|_| quiet || self.prompt) else { return Verdict::Play };
        let wanted = (self.delays.target() + micros(timeline.assembly) + self.ahead()).min(self.delays.limit());
        if quiet {
            timeline.anchor_at(self.delays.floor(), SILENT_DRIFT, SILENT_DRIFT);
        }
        let off = wanted - self.delay_of(&timeline);
        if self.prompt {
            timeline.due = later(timeline.due, off);
            self.timeline = Some(timeline);
            return Verdict::Play;
        }
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

    /// Whether frames go out as they come, and only what is missing or out of order is waited for.
    pub fn prompt(&mut self, prompt: bool) {
        self.prompt = prompt;
    }

    pub fn is_prompt(&self) -> bool {
        self.prompt
    }

    /// Whether the sender has said that it sends nothing now.
    pub fn rest(&mut self, resting: bool) {
        self.resting = resting;
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// How long a packet with the shortest transit waits now.
    pub fn delay(&self) -> Duration {
        let micros = self.timeline.map_or(0, |timeline| self.delay_of(&timeline));
        Duration::from_micros(micros.max(0).unsigned_abs())
    }

    /// Time in which nobody asked for frames: it is no delay of the network's.
    fn asleep(&self, timeline: &Timeline, at: Instant) -> i64 {
        micros_since(at, self.due_of(timeline)).clamp(0, STALL.as_micros() as i64)
    }

    fn ahead(&self) -> i64 {
        if self.looks_ahead { FRAME_MICROS } else { 0 }
    }

    fn delay_of(&self, timeline: &Timeline) -> i64 {
        timeline.offset() - self.delays.floor()
    }

    fn accept(&mut self, audio: Audio<'_>, start: i64, at: Instant) {
        let asleep = self.timeline.map_or(0, |timeline| self.asleep(&timeline, at));
        let Some(timeline) = &mut self.timeline else { return };
        let Some(length) = audio.sound.ticks(audio.payload) else { return };
        timeline.late_run = 0;
        timeline.assembly = assembly(length);
        timeline.hear(audio.timestamp, start, at);
        let transit = timeline.transit(start, at);
        self.delays.note(transit.min((transit - asleep).max(self.delays.floor())));
        self.pieces.insert(start, length, timeline.next, audio.sound, at, audio.payload);
        let limit = self.delays.limit();
        while let Some(last) = self.pieces.end().map(|end| end - TICKS) {
            // What goes out as soon as it is asked for waits for nothing, whatever the delay is.
            let ready = self.prompt && timeline.is_ready(&self.pieces);
            if ready || timeline.wait(last, self.pieces.front(), at) <= limit + self.behind * FRAME_MICROS {
                break;
            }
            timeline.next = timeline.next.max(self.pieces.front().map_or(timeline.next, Piece::begin)) + TICKS;
            timeline.owed = 0;
            self.pieces.drop_before(timeline.next);
            self.counts.discarded += 1;
        }
    }

    /// Where more waits than the limit allows because of stand-ins, the next frame goes out with the one before it.
    fn hasten(&mut self, timeline: &mut Timeline, now: Instant) {
        let Some(last) = self.pieces.end().map(|end| end - TICKS).filter(|_| self.behind > 0) else { return };
        if timeline.wait(last, self.pieces.front(), now) > self.delays.limit() {
            timeline.due = later(timeline.due, -FRAME_MICROS);
            self.behind -= 1;
            self.counts.hastened += 1;
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

    /// After a pause: the sender was stopped, and what it has missed comes now; or its clock was. The frames keep their
    /// places on the wire's timeline, unless the next packets show that it is the clock.
    fn resume(&mut self, audio: Audio<'_>, start: i64, at: Instant) {
        let wire = self.timeline.map(|timeline| timeline.on_the_wire(start));
        self.restart(audio, at);
        if let (Some(timeline), Some(wire)) = (&mut self.timeline, wire) {
            timeline.anchor = timeline.transit(timeline.next, wire);
        }
    }

    fn restart(&mut self, audio: Audio<'_>, at: Instant) {
        let Some(length) = audio.sound.ticks(audio.payload) else { return };
        self.counts.restarts += u64::from(self.timeline.is_some());
        self.pieces.clear();
        self.delays.reset();
        let wait = self.delays.target() + micros(assembly(length)) + self.ahead();
        let timeline = Timeline::begin(audio, length, wait, at);
        self.timeline = Some(timeline);
        self.accept(audio, timeline.next, at);
    }
}

#[cfg(test)]
mod tests;
