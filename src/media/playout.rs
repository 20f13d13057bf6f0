//! The queue of audio towards the phone and the pace at which it leaves, without I/O.
//!
//! Samples wait at the rate of the codec that sends them, so that each is converted once. When the codec changes, what
//! waits is converted in its place: lengths and marks stay what they were.
//!
//! | State | Event | What is done |
//! |---|---|---|
//! | silent | a whole frame waits | it goes out at once, with the marker bit; from here every 20 ms |
//! | silent | 20 ms since the last slot | a frame of silence goes out |
//! | speaking | 20 ms since the last slot, a whole frame waits | it goes out |
//! | speaking | 20 ms since the last slot, none waits | silence; now silent |
//! | any | slots were missed by less than [`STALL`] | they all go out now, each with its own timestamp |
//! | any | more was missed | one slot goes out now with the timestamp of now and the marker bit |
//!
//! A stream that is as fast as it is heard does not lag behind for good: see [`drain`].
//!
//! Timestamps are truthful: each is the slot's instant on the clock that began with the first slot. A frame that goes
//! out early therefore overlaps the end of the silence that was sent before it.

mod drain;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::media::frame::{self, Frame};
use crate::media::playout::drain::Drain;
use crate::media::quality::energy;
use crate::media::resample::{Resampler, converted};
use crate::media::{Codec, FRAME, Flushed, WIDE_BAND_HZ};

/// Most samples that may wait: 8 MiB, about nine minutes of narrow band.
pub const MOST_SAMPLES: usize = 8 * 1024 * 1024 / 2;
/// Missed slots beyond this are not made up for.
pub const STALL: Duration = Duration::from_millis(500);
/// A remainder that waits through so many slots is padded and sent: no more is coming soon.
const PATIENCE: u32 = 3;
/// Memory kept when the queue runs empty, samples.
const KEPT: usize = 2 * 1024;

#[derive(Debug)]
pub struct PlayoutQueue {
    /// Of what is queued, samples a second.
    rate: u32,
    resampler: Option<Resampler>,
    queue: VecDeque<i16>,
    /// Sound ever queued, and of it sent or thrown away: positions on one scale, in samples of wide band.
    queued: u64,
    gone: u64,
    sent: u64,
    marks: VecDeque<(u64, u64)>,
    overflowed: u64,
    pace: Pace,
    drain: Drain,
    drains: bool,
}

#[derive(Debug)]
struct Pace {
    /// Ticks a second of the timestamps.
    clock: u32,
    /// Instant and timestamp of the first slot.
    epoch: Option<(Instant, u32)>,
    first_timestamp: u32,
    running: bool,
    slot: Option<Next>,
    speaking: bool,
    waited: u32,
    late: u64,
}

/// The slot that comes next on the current 20 ms grid.
#[derive(Debug, Clone, Copy)]
struct Next {
    due: Instant,
    timestamp: u32,
}

/// 20 ms that go out now.
#[derive(Debug, Clone, PartialEq)]
pub struct Slot {
    /// When it was due: what the timestamp tells.
    pub due: Instant,
    pub timestamp: u32,
    pub marker: bool,
    /// `None` = silence.
    pub speech: Option<Frame>,
}

impl PlayoutQueue {
    /// An empty queue for G.711 whose RTP clock will begin at `first_timestamp` (random, RFC 3550 §5.1).
    pub fn new(first_timestamp: u32) -> PlayoutQueue {
        PlayoutQueue {
            rate: Codec::Pcmu.rate(),
            resampler: None,
            queue: VecDeque::new(),
            queued: 0,
            gone: 0,
            sent: 0,
            marks: VecDeque::new(),
            overflowed: 0,
            pace: Pace {
                clock: Codec::Pcmu.clock(),
                epoch: None,
                first_timestamp,
                running: false,
                slot: None,
                speaking: false,
                waited: 0,
                late: 0,
            },
            drain: Drain::default(),
            drains: true,
        }
    }

    /// Starts or stops the sending. What is queued waits.
    pub fn run(&mut self, running: bool) {
        if running != self.pace.running {
            self.pace.running = running;
            self.pace.slot = None;
            self.pace.speaking = false;
        }
    }

    /// Speaks at the rate of `codec` from now on, with its clock. A new clock begins at `first_timestamp`.
    pub fn tune(&mut self, codec: Codec, first_timestamp: u32) {
        if codec.rate() != self.rate {
            self.drain_resampler();
            self.convert(codec.rate());
        }
        if codec.clock() != self.pace.clock {
            self.pace.change_clock(codec.clock(), first_timestamp);
        }
    }

    /// Samples a second of the frames that go out.
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// Appends samples at `rate` Hz; returns how many (of ours) found no room. An unknown rate is not taken at all.
    pub fn push(&mut self, pcm: &[i16], rate: u32) -> usize {
        self.pace.waited = 0;
        if rate == self.rate {
            self.drain_resampler();
            return self.append_all(pcm);
        }
        if self.resampler.as_ref().is_none_or(|resampler| resampler.from() != rate) {
            let Some(resampler) = Resampler::new(rate, self.rate) else { return pcm.len() };
            self.drain_resampler();
            self.resampler = Some(resampler);
        }
        let before = self.overflowed;
        if let Some(mut resampler) = self.resampler.take() {
            resampler.process(pcm, |sample| self.append(sample));
            self.resampler = Some(resampler);
        }
        (self.overflowed - before) as usize
    }

    /// The end of a turn: empties the resampler and pads the remainder to a whole frame.
    pub fn finish(&mut self) {
        self.drain_resampler();
        self.pad();
        self.drain.ended();
    }

    /// Drops all that has not gone out, with the marks inside.
    pub fn flush(&mut self) -> Flushed {
        let dropped = self.queue.len() as u64 * self.unit();
        self.gone += dropped;
        self.marks.retain(|(position, _)| *position + dropped <= self.gone);
        self.queue.clear();
        self.queue.shrink_to(KEPT);
        self.resampler = None;
        self.drain.ended();
        Flushed { dropped: span(dropped) }
    }

    /// Asks for `mark` back once all that is queued has gone out.
    pub fn mark(&mut self, mark: u64) {
        self.marks.push_back((self.queued, mark));
    }

    /// The next mark before which everything has gone out.
    pub fn reached(&mut self) -> Option<u64> {
        self.marks.pop_front_if(|(position, _)| *position <= self.gone).map(|(_, mark)| mark)
    }

    pub fn queued(&self) -> Duration {
        span(self.queue.len() as u64 * self.unit())
    }

    /// Speech sent since the beginning, padding included, and silence of it that was left out; silence between spurts not.
    pub fn sent(&self) -> Duration {
        span(self.sent)
    }

    /// Slots that went out more than 5 ms late.
    pub fn late_slots(&self) -> u64 {
        self.pace.late
    }

    /// Whether silence that waits for no reason is left out; not where whoever queues keeps the pace.
    pub fn drains(&mut self, drains: bool) {
        if self.drains != drains {
            self.drains = drains;
            self.drain.ended();
        }
    }

    /// Whether the last slot was speech: then nothing that comes goes out before the next one is due.
    pub fn is_speaking(&self) -> bool {
        self.pace.running && self.pace.speaking && self.pace.slot.is_some()
    }

    /// When [`PlayoutQueue::poll`] has something at the latest, unless more is pushed before.
    pub fn next_due(&self) -> Option<Instant> {
        self.pace.slot.filter(|_| self.pace.running).map(|next| next.due)
    }

    /// The RTP clock at `now`; `None` before the first slot.
    pub fn timestamp(&self, now: Instant) -> Option<u32> {
        self.pace.epoch.map(|epoch| timestamp_at(epoch, self.pace.clock, now))
    }

    /// The slot that goes out at `now`, if one does; call until `None`. With `hold`, speech waits (a key sounds).
    pub fn poll(&mut self, now: Instant, hold: bool) -> Option<Slot> {
        if !self.pace.running {
            return None;
        }
        let ready = !hold && self.queue.len() >= self.frame();
        let before = self.pace.slot;
        let (next, anew) = self.pace.next(now, ready)?;
        if let Some(before) = before {
            let late = next.due.saturating_duration_since(before.due);
            if late >= FRAME {
                self.drain.missed(late);
            }
        }
        self.pace.late += u64::from(now.saturating_duration_since(next.due) > Duration::from_millis(5));
        self.pace.slot =
            Some(Next { due: next.due + FRAME, timestamp: next.timestamp.wrapping_add(self.pace.ticks()) });
        if !ready && !hold {
            self.wait_for_remainder();
        }
        let speech = ready.then(|| {
            self.leave_out();
            let frame = self.take_frame();
            self.drain.spoke(self.queued());
            frame
        });
        if !ready && !hold {
            self.drain.missed(FRAME);
        }
        let marker = anew || (ready && !self.pace.speaking);
        self.pace.speaking = ready;
        Some(Slot { due: next.due, timestamp: next.timestamp, marker, speech })
    }

    /// Silence that waits for no reason is left out, as long as there is something behind it.
    fn leave_out(&mut self) {
        while self.drains && self.drain.is_due() && self.queue.len() >= 2 * self.frame() {
            let (samples, (front, back)) = (self.frame(), self.queue.as_slices());
            let split = front.len().min(samples);
            let energy = energy(&front[..split]) + energy(&back[..samples - split]);
            if !self.drain.leaves_out(energy, samples) {
                break;
            }
            self.queue.drain(..samples);
            self.gone += samples as u64 * self.unit();
            self.sent += samples as u64 * self.unit();
        }
    }

    fn take_frame(&mut self) -> Frame {
        let mut frame = Frame::silent(self.rate);
        let (front, back) = self.queue.as_slices();
        let split = front.len().min(frame.len());
        let (first, rest) = frame.split_at_mut(split);
        first.copy_from_slice(&front[..split]);
        rest.copy_from_slice(&back[..rest.len()]);
        self.queue.drain(..frame.len());
        let taken = frame.len() as u64 * self.unit();
        self.gone += taken;
        self.sent += taken;
        if self.queue.is_empty() {
            self.queue.shrink_to(KEPT);
        }
        frame
    }

    /// Samples in a frame.
    fn frame(&self) -> usize {
        frame::samples(self.rate)
    }

    /// Positions that a sample takes.
    fn unit(&self) -> u64 {
        u64::from(WIDE_BAND_HZ / self.rate)
    }

    /// Converts what waits, without delay and to the sample as long as it was.
    fn convert(&mut self, rate: u32) {
        if rate < self.rate && !self.queue.len().is_multiple_of(2) {
            self.append(0);
        }
        let waiting = converted(self.queue.make_contiguous(), self.rate, rate);
        self.queue.clear();
        self.queue.extend(waiting);
        self.rate = rate;
    }

    fn append(&mut self, sample: i16) {
        if self.queue.len() < MOST_SAMPLES {
            self.queue.push_back(sample);
            self.queued += self.unit();
        } else {
            self.overflowed += 1;
        }
    }

    /// Returns how many found no room.
    fn append_all(&mut self, pcm: &[i16]) -> usize {
        let taken = pcm.len().min(MOST_SAMPLES - self.queue.len());
        self.queue.extend(&pcm[..taken]);
        self.queued += taken as u64 * self.unit();
        let refused = pcm.len() - taken;
        self.overflowed += refused as u64;
        refused
    }

    fn drain_resampler(&mut self) {
        if let Some(mut resampler) = self.resampler.take() {
            resampler.finish(|sample| self.append(sample));
        }
    }

    fn pad(&mut self) {
        let remainder = self.queue.len() % self.frame();
        if remainder > 0 {
            (remainder..self.frame()).for_each(|_| self.append(0));
        }
    }

    fn wait_for_remainder(&mut self) {
        if !self.queue.is_empty() {
            self.pace.waited += 1;
            if self.pace.waited >= PATIENCE {
                self.pad();
            }
        }
    }
}

impl Pace {
    /// Ticks in a slot.
    fn ticks(&self) -> u32 {
        self.clock / 50
    }

    /// The grid stays, its timestamps begin anew.
    fn change_clock(&mut self, clock: u32, first_timestamp: u32) {
        self.clock = clock;
        self.first_timestamp = first_timestamp;
        self.epoch = self.slot.map(|next| (next.due, first_timestamp));
        self.slot = self.slot.map(|next| Next { timestamp: first_timestamp, ..next });
        self.speaking = false;
    }

    /// The slot for `now`, and whether the grid begins anew with it.
    fn next(&mut self, now: Instant, ready: bool) -> Option<(Next, bool)> {
        let epoch = *self.epoch.get_or_insert((now, self.first_timestamp));
        let here = Next { due: now, timestamp: timestamp_at(epoch, self.clock, now) };
        match self.slot {
            None => Some((here, true)),
            Some(next) if now >= next.due + STALL => Some((here, true)),
            Some(next) if now >= next.due => Some((next, false)),
            // Never the timestamp of the packet before: a tick later at least.
            Some(next) if ready && !self.speaking => {
                let last = next.timestamp.wrapping_sub(self.ticks());
                let passed = here.timestamp.wrapping_sub(last) as i32;
                let timestamp = last.wrapping_add(passed.max(1) as u32);
                (passed >= 0).then_some((Next { timestamp, ..here }, true))
            }
            Some(_) => None,
        }
    }
}

fn timestamp_at((instant, timestamp): (Instant, u32), clock: u32, now: Instant) -> u32 {
    let ticks = now.saturating_duration_since(instant).as_nanos() * u128::from(clock) / 1_000_000_000;
    timestamp.wrapping_add(ticks as u32)
}

/// Time that so many positions take.
fn span(positions: u64) -> Duration {
    Duration::from_nanos(positions.saturating_mul(1_000_000_000 / u64::from(WIDE_BAND_HZ)))
}

#[cfg(test)]
mod tests;
