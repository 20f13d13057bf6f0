//! Keeps a live stream live: finds sound that waits for no reason, and says when some silence may be left out.
//!
//! A service that speaks as fast as it is heard – another phone, an echo, a bot that paces itself – sends each frame when
//! it is due. After a stall on the way its frames would wait for ever as long as the stall was, and a clock that runs
//! faster than ours would let ever more of them wait. A service that sends a whole answer at once also lets sound wait,
//! but that is its own: not a pause of it is left out.
//!
//! | The stream | What it is taken for |
//! |---|---|
//! | a second of it went out, and never more than [`LEAD`] waited, beside what it owes | live |
//! | more waited | not live, unless it stayed the same (within [`STEADY`]) for a long watch: it comes as fast as it goes |
//! | live, and nothing was there for a slot, or slots were missed | it owes that time |
//! | the turn ended, was thrown away, or owes more than [`FORGET`] | not live, owes nothing |
//!
//! What never went below so many frames within a watch – [`SOON`] slots where time is owed, [`LATE`] where not – waits
//! for no reason. Silent frames that follow [`PAUSE`] others may be left out in its place.

use std::time::Duration;

use crate::media::FRAME;

/// What a live stream may be ahead: it comes in pieces.
const LEAD: Duration = Duration::from_millis(250);
const STEADY: Duration = Duration::from_millis(100);
const LIVE: Duration = Duration::from_secs(1);
const FORGET: Duration = Duration::from_secs(5);
const SOON: u32 = 15;
const LATE: u32 = 150;
/// Silent frames of a pause that are always heard.
const PAUSE: u32 = 5;
/// Mean square below which a frame is silent: −50 dBFS.
const SILENT: u64 = 10_700;

#[derive(Debug, Default)]
pub struct Drain {
    /// How long it has been live, as far as it matters.
    live: Duration,
    owed: Duration,
    /// What waited all the time in the last long watch, where that was steady.
    standing: Duration,
    /// Least and most that waited in this watch, and slots of it.
    lowest: Duration,
    highest: Duration,
    watched: u32,
    /// Frames that wait for no reason.
    spare: u32,
    /// Silent frames that went out in a row.
    pause: u32,
}

impl Drain {
    /// A frame went out and left `waiting` behind.
    pub fn spoke(&mut self, waiting: Duration) {
        if waiting > LEAD + self.standing + self.owed {
            (self.live, self.standing, self.owed, self.spare) = Default::default();
        } else {
            self.live = (self.live + FRAME).min(LIVE);
        }
        if self.watched == 0 {
            (self.lowest, self.highest) = (waiting, waiting);
        }
        (self.lowest, self.highest) = (self.lowest.min(waiting), self.highest.max(waiting));
        self.watched += 1;
        if self.watched >= if self.owed.is_zero() { LATE } else { SOON } {
            self.judge();
        }
    }

    /// The end of a watch.
    fn judge(&mut self) {
        if self.watched >= LATE {
            let steady = self.highest - self.lowest <= STEADY;
            self.standing = if steady { self.lowest } else { Duration::ZERO };
        }
        self.watched = 0;
        self.spare = (self.lowest.as_nanos() / FRAME.as_nanos()) as u32;
        if self.spare == 0 {
            self.owed = Duration::ZERO;
        }
    }

    /// Nothing was there for so long, or nothing could be sent.
    pub fn missed(&mut self, span: Duration) {
        (self.watched, self.spare, self.pause) = (0, 0, 0);
        if self.live == LIVE {
            self.owed += span;
        } else {
            self.live = Duration::ZERO;
        }
        if self.owed > FORGET {
            self.ended();
        }
    }

    /// The turn is over.
    pub fn ended(&mut self) {
        *self = Drain::default();
    }

    /// Whether [`Drain::leaves_out`] is to be asked about the next frame.
    pub fn is_due(&self) -> bool {
        self.spare > 0 && self.live == LIVE
    }

    /// Whether the frame with this energy (the sum of its `samples`' squares) is to be left out.
    pub fn leaves_out(&mut self, energy: u64, samples: usize) -> bool {
        if energy >= SILENT * samples as u64 {
            self.pause = 0;
            return false;
        }
        self.pause += 1;
        let out = self.pause > PAUSE;
        if out {
            self.spare -= 1;
            self.owed = self.owed.saturating_sub(FRAME);
            self.watched = 0;
        }
        out
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use std::time::Instant;

    use super::super::PlayoutQueue;
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A queue in virtual time, a millisecond at a time.
    struct Run {
        queue: PlayoutQueue,
        start: Instant,
        now: u64,
        /// First samples of the frames that went out.
        spoken: Vec<i16>,
    }

    impl Run {
        fn new() -> Run {
            let mut queue = PlayoutQueue::new(0);
            queue.run(true);
            Run { queue, start: Instant::now(), now: 0, spoken: Vec::new() }
        }

        fn push(&mut self, value: i16) {
            self.queue.push(&[value; 160], 8_000);
        }

        /// Sends what is due at this millisecond, and goes to the next.
        fn tick(&mut self) {
            while let Some(slot) = self.queue.poll(self.start + self.now as u32 * MS, false) {
                self.spoken.extend(slot.speech.map(|frame| frame[0]));
            }
            self.now += 1;
        }

        fn run(&mut self, milliseconds: u64) {
            (0..milliseconds).for_each(|_| self.tick());
        }
    }

    /// Every fourth second is speech, each frame of it another.
    fn sound(n: u64) -> i16 {
        if n % 200 < 50 { 1_000 + (n % 10_000) as i16 } else { 0 }
    }

    #[test]
    fn the_backlog_of_a_stall_is_gone_within_a_second_of_pause_and_no_word_with_it() {
        for stall in [60, 200, 500, 900] {
            let mut run = Run::new();
            let mut sent = Vec::new();
            for n in 0..1_000u64 {
                // The 299th frame and those after it are held up, and come at once.
                if n == 299 {
                    run.run(stall);
                }
                if n < 299 || (n - 299) * 20 >= stall {
                    run.run(20);
                }
                sent.push(sound(n));
                run.push(sound(n));
                if n == 299 + stall / 20 + 50 {
                    let waits = run.queue.queued();
                    assert!(waits <= 40 * MS, "{stall} ms: {waits:?} wait a second later");
                }
            }
            run.run(2_000);
            let words = |all: &[i16]| all.iter().copied().filter(|value| *value != 0).collect::<Vec<i16>>();
            assert_eq!(words(&run.spoken), words(&sent), "{stall} ms");
        }
    }

    #[test]
    fn what_stands_for_long_in_a_stream_of_our_own_pace_goes_in_its_pauses() {
        let mut run = Run::new();
        // It begins with 600 ms at once, and goes on as fast as it is heard.
        (0..30).for_each(|n| run.push(sound(n)));
        for n in 30..1_000 {
            run.push(sound(n));
            run.run(20);
        }
        assert!(run.queue.queued() <= 40 * MS, "{:?}", run.queue.queued());
    }

    #[test]
    fn a_box_that_slept_is_live_again_within_a_second() {
        let mut run = Run::new();
        for n in 0..300 {
            run.push(sound(n));
            run.run(20);
        }
        // Nothing is sent and nothing is read for 800 ms; then it all comes.
        run.now += 800;
        (300..340).for_each(|n| run.push(sound(n)));
        for n in 340..390 {
            run.push(sound(n));
            run.run(20);
        }
        assert!(run.queue.queued() <= 40 * MS, "{:?}", run.queue.queued());
    }

    #[test]
    fn an_answer_that_comes_at_once_keeps_every_pause_whatever_came_before() {
        for idle in [20, 400, 3_000, 10_000] {
            let mut run = Run::new();
            let mut sent = 0;
            for answer in 0..20u64 {
                for n in 0..400 {
                    // 400 ms of it at a time, four times as fast as it is heard.
                    if n % 20 == 0 {
                        run.run(100);
                    }
                    run.push(sound(answer * 37 + n));
                    sent += 1;
                }
                run.run(400 * 20 - 2_000 + idle);
            }
            run.run(10_000);
            assert_eq!(run.spoken.len(), sent, "after pauses of {idle} ms");
        }
    }

    #[test]
    fn the_delay_of_a_stream_whose_clock_runs_fast_does_not_grow_over_an_hour() {
        let mut run = Run::new();
        let (mut n, mut most) = (0u64, Duration::ZERO);
        // 400 frames a million sooner than ours; up to 15 ms late now and then.
        for millisecond in 0..3_600_000u64 {
            let due = (n * 20_000 - n * 20_000 * 400 / 1_000_000) / 1_000 + (n * 7_919 % 16);
            if due <= millisecond {
                run.push(sound(n));
                n += 1;
                most = most.max(run.queue.queued());
            }
            run.tick();
        }
        // Speech lasts a second at most here, and what waits is looked at every three.
        assert!(most <= 100 * MS, "{most:?}");
    }
}
