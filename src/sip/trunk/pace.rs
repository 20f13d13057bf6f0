//! Calls a second: a token bucket that holds one second's worth. Pure.

use std::time::{Duration, Instant};

#[derive(Debug, Clone)]
pub struct Pace {
    /// Between two tokens; absent when nothing limits.
    interval: Option<Duration>,
    /// Tokens that the bucket holds.
    depth: u32,
    /// The bucket is full again then: the whole state in one instant.
    full_at: Option<Instant>,
}

impl Pace {
    /// `0` = unlimited.
    pub fn new(calls_per_second: u32) -> Pace {
        let interval = (calls_per_second > 0).then(|| Duration::from_secs(1) / calls_per_second);
        Pace { interval, depth: calls_per_second, full_at: None }
    }

    /// How long until there is a token; zero when there is one.
    pub fn wait(&self, now: Instant) -> Duration {
        let (Some(interval), Some(full_at)) = (self.interval, self.full_at) else { return Duration::ZERO };
        // A token is there when at most `depth - 1` are missing.
        full_at.saturating_duration_since(now).saturating_sub(interval * self.depth.saturating_sub(1))
    }

    /// Takes a token; `false` when there is none.
    pub fn take(&mut self, now: Instant) -> bool {
        let Some(interval) = self.interval else { return true };
        if !self.wait(now).is_zero() {
            return false;
        }
        self.full_at = Some(self.full_at.unwrap_or(now).max(now) + interval);
        true
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_of_one_second_then_an_even_flow() {
        let (start, mut pace) = (Instant::now(), Pace::new(5));
        let after = |ms: u64| start + Duration::from_millis(ms);
        assert_eq!((0..9).filter(|_| pace.take(start)).count(), 5);
        assert_eq!(pace.wait(start), Duration::from_millis(200));
        assert!(!pace.take(after(199)) && pace.take(after(200)) && !pace.take(after(200)));
        let taken = (0..10_000).filter(|ms| pace.take(after(1_000 + ms))).count();
        assert!((50..=55).contains(&taken), "{taken} in ten seconds");
        assert_eq!((0..9).filter(|_| pace.take(after(60_000))).count(), 5, "what was saved up is bounded");
    }

    #[test]
    fn zero_limits_nothing() {
        let (now, mut pace) = (Instant::now(), Pace::new(0));
        assert!((0..10_000).all(|_| pace.take(now)) && pace.wait(now).is_zero());
    }
}
