//! How much delay the network asks for: the spread of transit times of the last five seconds.

use std::time::Duration;

/// Packets that are looked back on.
const WINDOW: usize = 256;
/// Packets between two looks.
const STEP: usize = 16;
/// Added to the spread: timers, and packets a little later than any before.
const MARGIN: i64 = 3_000;
const LEAST: i64 = 5_000;
/// A buffer that cannot hold two frames is none.
const LEAST_LIMIT: i64 = 40_000;
/// Target until the spread is known.
const INITIAL: i64 = 10_000;

/// Transit times are microseconds on a scale with an arbitrary zero.
#[derive(Debug, Clone)]
pub struct Delays {
    /// After the first: a clock that is off by 200 ppm moves them by 6 s in eight hours.
    transits: [i32; WINDOW],
    first: i64,
    count: usize,
    floor: i64,
    target: i64,
    limit: i64,
}

impl Delays {
    pub fn new(limit: Duration) -> Delays {
        let limit = i64::try_from(limit.as_micros()).unwrap_or(i64::MAX).max(LEAST_LIMIT);
        Delays { transits: [0; WINDOW], first: 0, count: 0, floor: 0, target: INITIAL, limit }
    }

    pub fn note(&mut self, transit: i64) {
        self.floor = if self.count == 0 { transit } else { self.floor.min(transit) };
        if self.count == 0 {
            self.first = transit;
        }
        let after = (transit - self.first).clamp(i32::MIN.into(), i32::MAX.into());
        self.transits[self.count % WINDOW] = after as i32;
        self.count += 1;
        if self.count.is_multiple_of(STEP) {
            self.look();
        }
    }

    /// Shortest transit of the window.
    pub fn floor(&self) -> i64 {
        self.floor
    }

    /// Delay that a packet with the shortest transit should wait, microseconds.
    pub fn target(&self) -> i64 {
        self.target
    }

    pub fn limit(&self) -> i64 {
        self.limit
    }

    /// Another timeline: old transits mean nothing.
    pub fn reset(&mut self) {
        self.count = 0;
    }

    /// All but the latest 2 % should be in time.
    fn look(&mut self) {
        let mut sorted = self.transits;
        let known = &mut sorted[..self.count.min(WINDOW)];
        let rank = known.len() - 1 - known.len() / 50;
        let (before, high, _) = known.select_nth_unstable(rank);
        let (low, high) = (i64::from(before.iter().copied().min().unwrap_or(*high)), i64::from(*high));
        self.floor = self.first + low;
        self.target = (high - low + MARGIN).clamp(LEAST, self.limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_spread_up_and_down_within_its_limits() {
        let mut delays = Delays::new(Duration::from_millis(200));
        assert_eq!(delays.target(), 10_000);
        (0..256).for_each(|_| delays.note(-77));
        assert_eq!(delays.target(), 5_000);
        (0..256).for_each(|n| delays.note(n % 10 * 4_000));
        assert_eq!(delays.target(), 39_000);
        (0..256).for_each(|n| delays.note(n * 100_000));
        assert_eq!(delays.target(), 200_000);
        (0..256).for_each(|_| delays.note(5));
        assert_eq!((delays.target(), delays.floor()), (5_000, 5));
    }
}
