//! Which packets came, by sequence number: loss, duplicates, order and RFC 3550 jitter.
//!
//! All payload types of a stream share the sequence space, so audio and key packets are all told here.

use std::time::{Duration, Instant};

use crate::media::rtcp::Block;

/// Sequence numbers that are remembered behind the highest.
const WINDOW: i64 = 1_024;
/// A step forward beyond this is a restart of the sender or nonsense (RFC 3550 A.1 MAX_DROPOUT).
const MAX_DROPOUT: i64 = 3_000;
/// What comes from the former source within this time was late on the way, unless two in a row say that it is back and
/// the current one has been silent for [`GONE`].
const STRAGGLING: Duration = Duration::from_secs(1);
const GONE: Duration = Duration::from_millis(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// First of a stream: the first one at all, another SSRC, or a sender that began anew.
    NewSource,
    InOrder,
    Reordered,
    Duplicate,
    /// Far from all others; believed only if the next one follows it.
    Stray,
    /// Of the source before this one: it was sent before the change.
    Former,
}

/// Counts since the leg began, over all sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    pub received: u64,
    /// Sequence numbers that never came (so far).
    pub lost: u64,
    pub duplicate: u64,
    /// Came after a higher number, but for the first time.
    pub reordered: u64,
}

#[derive(Debug, Default)]
pub struct Arrivals {
    source: Option<Source>,
    former: Option<Former>,
    /// All but the loss of the current source.
    counts: Counts,
}

/// The source before the current one.
#[derive(Debug)]
struct Former {
    ssrc: u32,
    until: Instant,
    /// Sequence number of the packet that would show that it speaks again.
    expected: Option<u16>,
}

#[derive(Debug)]
struct Source {
    ssrc: u32,
    /// Extended sequence numbers; `base` is the lowest that counts.
    base: i64,
    highest: i64,
    unique: i64,
    seen: [u64; (WINDOW / 64) as usize],
    /// Sequence number that would confirm a stray.
    expected_stray: Option<u16>,
    began: Instant,
    heard: Instant,
    /// Ticks a second of its timestamps.
    clock: f64,
    /// Arrival minus timestamp of the last packet, ticks.
    transit: Option<f64>,
    /// RFC 3550 A.8, ticks.
    jitter: f64,
    reported: (i64, i64),
}

impl Arrivals {
    /// Takes note of a packet. The timestamp and its clock (Hz) are given for audio only: keys repeat theirs.
    pub fn note(&mut self, ssrc: u32, sequence: u16, timestamp: Option<(u32, u32)>, at: Instant) -> Arrival {
        self.counts.received += 1;
        let straggles = self.straggles(ssrc, sequence, at);
        let arrival = match self.source.as_mut().filter(|source| source.ssrc == ssrc) {
            Some(source) => source.place(sequence),
            None if straggles => Arrival::Former,
            None => Arrival::NewSource,
        };
        match arrival {
            Arrival::NewSource => self.begin(ssrc, sequence, at),
            Arrival::Duplicate => self.counts.duplicate += 1,
            Arrival::Reordered => self.counts.reordered += 1,
            Arrival::InOrder | Arrival::Stray | Arrival::Former => {}
        }
        if let Some(source) = self.source.as_mut().filter(|source| source.ssrc == ssrc) {
            source.heard = at;
        }
        let measured = matches!(arrival, Arrival::NewSource | Arrival::InOrder | Arrival::Reordered);
        if let (Some(source), Some(timestamp), true) = (&mut self.source, timestamp, measured) {
            source.measure(timestamp, at);
        }
        arrival
    }

    pub fn counts(&self) -> Counts {
        let lost = self.source.as_ref().map_or(0, Source::lost);
        Counts { lost: self.counts.lost + lost.max(0).unsigned_abs(), ..self.counts }
    }

    /// RFC 3550 §6.4.1 interarrival jitter, milliseconds.
    pub fn jitter_ms(&self) -> f32 {
        self.source.as_ref().map_or(0.0, |source| (source.jitter * 1e3 / source.clock) as f32)
    }

    pub fn ssrc(&self) -> Option<u32> {
        self.source.as_ref().map(|source| source.ssrc)
    }

    /// The report block about the current source, all but `last_report` and `delay`. Begins the next interval.
    pub fn report(&mut self) -> Option<Block> {
        self.source.as_mut().map(Source::report)
    }

    fn begin(&mut self, ssrc: u32, sequence: u16, at: Instant) {
        self.counts.lost = self.counts().lost;
        let former = self.source.replace(Source::new(ssrc, sequence, at)).filter(|former| former.ssrc != ssrc);
        self.former = former.map(|former| Former { ssrc: former.ssrc, until: at + STRAGGLING, expected: None });
    }

    /// Whether a packet is a late one of the source before the current one (which never is that).
    fn straggles(&mut self, ssrc: u32, sequence: u16, at: Instant) -> bool {
        let Some(former) = self.former.as_mut().filter(|former| former.ssrc == ssrc && at < former.until) else {
            return false;
        };
        let follows = former.expected.replace(sequence.wrapping_add(1)) == Some(sequence);
        let gone = self.source.as_ref().is_none_or(|source| at.saturating_duration_since(source.heard) >= GONE);
        !(follows && gone)
    }
}

impl Source {
    fn new(ssrc: u32, sequence: u16, began: Instant) -> Source {
        // One cycle up, so that an even earlier packet still has a positive number.
        let first = i64::from(sequence) + 0x1_0000;
        let mut source = Source {
            ssrc,
            base: first,
            highest: first,
            unique: 1,
            seen: [0; (WINDOW / 64) as usize],
            expected_stray: None,
            began,
            heard: began,
            clock: 8_000.0,
            transit: None,
            jitter: 0.0,
            reported: (0, 0),
        };
        source.mark(first);
        source
    }

    fn place(&mut self, sequence: u16) -> Arrival {
        let step = i64::from(sequence.wrapping_sub(self.highest as u16) as i16);
        let number = self.highest + step;
        if !(-WINDOW + 1..=MAX_DROPOUT).contains(&step) {
            return self.stray(sequence);
        }
        self.expected_stray = None;
        if step > 0 {
            (self.highest + 1..=number).rev().take(WINDOW as usize).for_each(|skipped| self.clear(skipped));
            self.highest = number;
        } else if self.is_marked(number) {
            return Arrival::Duplicate;
        }
        self.mark(number);
        self.unique += 1;
        self.base = self.base.min(number);
        if step > 0 { Arrival::InOrder } else { Arrival::Reordered }
    }

    /// RFC 3550 A.1: two in a row far away mean that the sender began anew.
    fn stray(&mut self, sequence: u16) -> Arrival {
        if self.expected_stray == Some(sequence) {
            return Arrival::NewSource;
        }
        self.expected_stray = Some(sequence.wrapping_add(1));
        Arrival::Stray
    }

    fn measure(&mut self, (timestamp, clock): (u32, u32), at: Instant) {
        if self.clock != f64::from(clock) {
            self.jitter *= f64::from(clock) / self.clock;
            (self.clock, self.transit) = (f64::from(clock), None);
        }
        let arrived = at.saturating_duration_since(self.began).as_secs_f64() * self.clock;
        let transit = arrived - f64::from(timestamp);
        if let Some(before) = self.transit {
            // The difference of two timestamps wraps with the 32-bit clock.
            let circle = 4_294_967_296.0;
            let difference = (transit - before + circle / 2.0).rem_euclid(circle) - circle / 2.0;
            // A pause in the timestamps of a sender that sends nothing in silence is no jitter.
            if difference.abs() < self.clock {
                self.jitter += (difference.abs() - self.jitter) / 16.0;
            }
        }
        self.transit = Some(transit);
    }

    fn expected(&self) -> i64 {
        self.highest - self.base + 1
    }

    fn lost(&self) -> i64 {
        self.expected() - self.unique
    }

    fn report(&mut self) -> Block {
        let (expected, unique) = (self.expected() - self.reported.0, self.unique - self.reported.1);
        self.reported = (self.expected(), self.unique);
        let lost = (expected - unique).max(0);
        let fraction = if expected > 0 { (lost * 256 / expected).min(255) } else { 0 };
        Block {
            ssrc: self.ssrc,
            fraction_lost: fraction as u8,
            lost: self.lost().clamp(-0x80_0000, 0x7F_FFFF) as i32,
            highest_sequence: self.highest as u32,
            jitter: self.jitter as u32,
            ..Block::default()
        }
    }

    fn mark(&mut self, number: i64) {
        let bit = number.rem_euclid(WINDOW);
        self.seen[(bit / 64) as usize] |= 1 << (bit % 64);
    }

    fn clear(&mut self, number: i64) {
        let bit = number.rem_euclid(WINDOW);
        self.seen[(bit / 64) as usize] &= !(1 << (bit % 64));
    }

    fn is_marked(&self, number: i64) -> bool {
        let bit = number.rem_euclid(WINDOW);
        self.seen[(bit / 64) as usize] & (1 << (bit % 64)) != 0
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn run(sequences: &[u16]) -> (Arrivals, Vec<Arrival>) {
        let now = Instant::now();
        let mut arrivals = Arrivals::default();
        let seen = sequences.iter().map(|sequence| arrivals.note(1, *sequence, None, now)).collect();
        (arrivals, seen)
    }

    #[test]
    fn counts_across_the_wrap() {
        let (arrivals, _) = run(&[65_534, 65_535, 1, 0, 0, 3]);
        let counts = arrivals.counts();
        assert_eq!(counts, Counts { received: 6, lost: 1, duplicate: 1, reordered: 1 });
    }

    #[test]
    fn a_packet_before_the_first_counts_as_expected() {
        assert_eq!(run(&[10, 9, 11]).0.counts(), Counts { received: 3, lost: 0, duplicate: 0, reordered: 1 });
    }

    #[test]
    fn a_stray_is_not_believed_but_a_restart_is() {
        let (arrivals, seen) = run(&[10, 11, 40_000, 12, 30_000, 30_001, 30_002]);
        assert_eq!(seen[2..6], [Arrival::Stray, Arrival::InOrder, Arrival::Stray, Arrival::NewSource]);
        assert_eq!(arrivals.counts().lost, 0);
    }

    #[test]
    fn another_source_keeps_the_totals() {
        let now = Instant::now();
        let mut arrivals = Arrivals::default();
        for (ssrc, sequence) in [(1, 5), (1, 7), (2, 1_000), (2, 1_003)] {
            arrivals.note(ssrc, sequence, None, now);
        }
        assert_eq!(arrivals.counts().lost, 3);
        assert_eq!(arrivals.ssrc(), Some(2));
    }

    #[test]
    fn the_source_before_is_late_for_a_second_unless_two_in_a_row_say_that_it_is_back() {
        use Arrival::{Former, InOrder, NewSource};
        let start = Instant::now();
        let told = |events: &[(u64, u32, u16)]| -> Vec<Arrival> {
            let mut arrivals = Arrivals::default();
            let note = |(ms, ssrc, sequence): &(u64, u32, u16)| {
                arrivals.note(*ssrc, *sequence, None, start + Duration::from_millis(*ms))
            };
            events.iter().map(note).collect()
        };
        // Late ones are no return while the new source speaks.
        let seen = told(&[(0, 1, 5), (20, 2, 90), (25, 1, 6), (40, 2, 91), (45, 1, 7), (60, 2, 92)]);
        assert_eq!(seen, [NewSource, NewSource, Former, InOrder, Former, InOrder]);
        let seen = told(&[(0, 1, 5), (20, 2, 90), (25, 1, 6), (26, 1, 7), (40, 2, 91), (41, 1, 8)]);
        assert_eq!(seen, [NewSource, NewSource, Former, Former, InOrder, Former]);
        let seen = told(&[(0, 1, 5), (20, 2, 90), (40, 1, 6), (60, 1, 7), (80, 1, 8)]);
        assert_eq!(seen, [NewSource, NewSource, Former, NewSource, InOrder]);
        let seen = told(&[(0, 1, 5), (20, 2, 90), (1_030, 1, 6)]);
        assert_eq!(seen, [NewSource, NewSource, NewSource]);
        // One alone is no return, however long the new source has been silent.
        let seen = told(&[(0, 1, 5), (20, 2, 90), (60, 1, 6), (80, 2, 91)]);
        assert_eq!(seen, [NewSource, NewSource, Former, InOrder]);
        // A third one is a new one at once.
        assert_eq!(told(&[(0, 1, 5), (20, 2, 90), (40, 3, 6)]), [NewSource; 3]);
    }

    #[test]
    fn reports_tell_the_loss_of_the_interval() {
        let (mut arrivals, _) = run(&[0, 1, 3]);
        let first = arrivals.report().unwrap();
        assert_eq!((first.fraction_lost, first.lost, first.highest_sequence & 0xFFFF), (64, 1, 3));
        let now = Instant::now();
        (4..14).for_each(|sequence| assert_eq!(arrivals.note(1, sequence, None, now), Arrival::InOrder));
        assert_eq!(arrivals.report().unwrap().fraction_lost, 0);
    }

    #[test]
    fn jitter_is_that_of_the_standard() {
        let start = Instant::now();
        let mut arrivals = Arrivals::default();
        let mut model = 0.0f64;
        for n in 0..500u32 {
            let early = if n % 2 == 0 { 0 } else { 5 };
            let at = start + Duration::from_millis(u64::from(n) * 20 + early);
            arrivals.note(1, n as u16, Some(((u32::MAX - 1_000).wrapping_add(n * 160), 8_000)), at);
            model = if n == 0 { 0.0 } else { model + (40.0 - model) / 16.0 };
        }
        assert!((f64::from(arrivals.jitter_ms()) - model / 8.0).abs() < 0.01, "{}", arrivals.jitter_ms());
    }

    #[test]
    fn a_faster_clock_changes_the_unit_of_the_report_and_not_the_jitter() {
        let start = Instant::now();
        let mut arrivals = Arrivals::default();
        for n in 0..1_000u32 {
            let (clock, ticks) = if n < 500 { (8_000, 160) } else { (48_000, 960) };
            let at = start + Duration::from_millis(u64::from(n) * 20 + u64::from(n % 2) * 4);
            arrivals.note(1, n as u16, Some((n * ticks, clock)), at);
        }
        assert!((arrivals.jitter_ms() - 4.0).abs() < 0.1, "{}", arrivals.jitter_ms());
        assert!(arrivals.report().unwrap().jitter.abs_diff(192) < 6);
    }

    proptest! {
        #[test]
        fn every_number_is_either_unique_lost_or_never_expected(
            drops in proptest::collection::vec(any::<bool>(), 300),
            swaps in proptest::collection::vec(0usize..298, 0..40),
            copies in proptest::collection::vec(0usize..300, 0..40),
            first in any::<u16>(),
        ) {
            let mut sequences: Vec<u16> = (0..300u16).map(|n| first.wrapping_add(n)).collect();
            sequences = sequences.into_iter().zip(&drops).filter(|(_, dropped)| !**dropped).map(|(s, _)| s).collect();
            prop_assume!(sequences.len() > 2);
            let span = sequences[sequences.len() - 1].wrapping_sub(sequences[0]);
            let unique = sequences.len() as u64;
            swaps.iter().for_each(|i| if *i + 2 < sequences.len() { sequences.swap(*i, *i + 1) });
            copies.iter().for_each(|i| if *i < sequences.len() { sequences.push(sequences[*i]) });
            let counts = run(&sequences).0.counts();
            prop_assert_eq!(counts.lost, u64::from(span) + 1 - unique);
            prop_assert_eq!(counts.duplicate, sequences.len() as u64 - unique);
        }
    }
}
