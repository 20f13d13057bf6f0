//! The one place that reads time, and the source of ids and random bytes that depend on it.
//!
//! Protocol machines take an [`Instant`] as a parameter; drivers and records ask a [`Clock`]. A manual clock stands
//! still until it is advanced, so that everything above it replays.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Wall-clock time in whole milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UtcTime(pub i64);

impl UtcTime {
    /// RFC 3339 with exactly three fraction digits and `Z`, e.g. `2026-06-04T17:55:12.401Z`.
    pub fn rfc3339(self) -> String {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(time) => format!("{time:.3}"),
            Err(_) => String::from("1970-01-01T00:00:00.000Z"),
        }
    }

    /// Reads an RFC 3339 / ISO 8601 date-time with an offset (`Z` or `+02:00`); finer than milliseconds is cut off.
    pub fn parse(text: &str) -> Option<UtcTime> {
        text.parse::<jiff::Timestamp>().ok().map(|time| UtcTime(time.as_millisecond()))
    }

    /// Formats with a `strftime` pattern in UTC, e.g. `%Y%m%d-%H%M%S`.
    pub fn format(self, pattern: &str) -> String {
        jiff::Timestamp::from_millisecond(self.0).map(|time| time.strftime(pattern).to_string()).unwrap_or_default()
    }

    pub fn unix_seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Time from `earlier` to `self`; zero when `earlier` is later.
    pub fn since(self, earlier: UtcTime) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0).max(0).unsigned_abs())
    }
}

impl std::ops::Add<Duration> for UtcTime {
    type Output = UtcTime;
    fn add(self, span: Duration) -> UtcTime {
        UtcTime(self.0.saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl std::ops::Sub<Duration> for UtcTime {
    type Output = UtcTime;
    fn sub(self, span: Duration) -> UtcTime {
        UtcTime(self.0.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }
}

/// A handle on time. Cheap to clone; every clone of a manual clock moves together.
#[derive(Clone, Debug)]
pub struct Clock {
    source: Source,
    /// Milliseconds and counter of the last id, shared by all clones.
    last_id: Arc<AtomicU64>,
}

/// Bits of an id's counter within a millisecond: UUIDv7's `rand_a` (RFC 9562 §6.2, method 1).
const COUNTER_BITS: u32 = 12;

#[derive(Clone, Debug)]
enum Source {
    System,
    Manual(Arc<Manual>),
}

#[derive(Debug)]
struct Manual {
    base: Instant,
    start: UtcTime,
    passed: Mutex<Duration>,
}

impl Clock {
    pub fn system() -> Clock {
        Clock::of(Source::System)
    }

    /// A clock that starts at `start` and moves only by [`Clock::advance`].
    #[allow(clippy::disallowed_methods)]
    pub fn manual(start: UtcTime) -> Clock {
        Clock::of(Source::Manual(Arc::new(Manual { base: Instant::now(), start, passed: Mutex::new(Duration::ZERO) })))
    }

    fn of(source: Source) -> Clock {
        Clock { source, last_id: Arc::default() }
    }

    /// Monotonic time.
    #[allow(clippy::disallowed_methods)]
    pub fn now(&self) -> Instant {
        match &self.source {
            Source::System => Instant::now(),
            Source::Manual(manual) => manual.base + manual.passed(),
        }
    }

    /// Wall-clock time.
    pub fn utc(&self) -> UtcTime {
        match &self.source {
            Source::System => UtcTime(jiff::Timestamp::now().as_millisecond()),
            Source::Manual(manual) => manual.start + manual.passed(),
        }
    }

    /// A new UUIDv7 at this clock's time; ids made later sort later, also within a millisecond and when the wall clock is
    /// set back.
    pub fn id(&self) -> Uuid {
        let now = self.utc().0.max(0).unsigned_abs() << COUNTER_BITS;
        let after = |last: u64| now.max(last + 1);
        let last = self.last_id.fetch_update(Ordering::AcqRel, Ordering::Acquire, |last| Some(after(last)));
        let stamp = after(last.unwrap_or_default());
        let mut random: [u8; 10] = rand::random();
        let [.., high, low] = stamp.to_be_bytes();
        (random[0], random[1]) = (high, low);
        uuid::Builder::from_unix_timestamp_millis(stamp >> COUNTER_BITS, &random).into_uuid()
    }

    /// Moves a manual clock forward; a system clock ignores it.
    pub fn advance(&self, span: Duration) {
        if let Source::Manual(manual) = &self.source {
            *manual.lock() += span;
        }
    }
}

impl Manual {
    fn passed(&self) -> Duration {
        *self.lock()
    }

    // A poisoned lock only means that a test thread panicked while advancing; the value is still a duration.
    fn lock(&self) -> std::sync::MutexGuard<'_, Duration> {
        self.passed.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_with_three_fraction_digits() {
        let time = UtcTime::parse("2026-06-04T19:55:12.4+02:00").expect("valid");
        assert_eq!(time.rfc3339(), "2026-06-04T17:55:12.400Z");
        assert_eq!(time.format("%Y%m%d-%H%M%S"), "20260604-175512");
    }

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = Clock::manual(UtcTime(1_000));
        let before = clock.now();
        clock.clone().advance(Duration::from_secs(2));
        assert_eq!(clock.now() - before, Duration::from_secs(2));
        assert_eq!(clock.utc(), UtcTime(3_000));
    }

    #[test]
    fn later_ids_sort_later() {
        let clock = Clock::manual(UtcTime(1_000));
        let first = clock.id();
        clock.advance(Duration::from_millis(1));
        assert!(first < clock.id());
    }

    #[test]
    fn ids_of_one_millisecond_sort_in_the_order_of_their_making() {
        let clock = Clock::manual(UtcTime(1_700_000_000_000));
        let ids: Vec<Uuid> = (0..10_000).map(|_| clock.clone().id()).collect();
        assert!(ids.is_sorted() && ids.iter().all(|id| id.get_version_num() == 7));
        let milliseconds = |id: &Uuid| id.as_u128() >> 80;
        assert_eq!(milliseconds(&ids[0]), 1_700_000_000_000);
        assert_eq!(milliseconds(&ids[9_999]), 1_700_000_000_002, "4,096 fit into each");
    }
}
