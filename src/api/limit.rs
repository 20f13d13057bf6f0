//! Requests a minute, per principal where one is known, else per address.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use governor::clock::Clock as GovernorClock;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use uuid::Uuid;

use crate::clock::Clock;

/// Whose requests are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Sender {
    Principal(Uuid, String),
    Address(IpAddr),
}

/// The box's clock in governor's words.
#[derive(Debug, Clone)]
struct BoxClock(Clock);

impl GovernorClock for BoxClock {
    type Instant = Instant;
    fn now(&self) -> Instant {
        self.0.now()
    }
}

pub(super) struct RequestLimit {
    buckets: RateLimiter<Sender, DashMapStateStore<Sender>, BoxClock, NoOpMiddleware<Instant>>,
    clock: Clock,
}

/// Above so many senders the idle ones are forgotten at once, not only by the hour.
const CROWD: usize = 20_000;

impl RequestLimit {
    /// A bucket of `per_minute` requests that refills evenly. 0 is taken as 1: a box that answers nobody helps nobody.
    pub(super) fn new(per_minute: u32, clock: Clock) -> RequestLimit {
        let quota = Quota::per_minute(NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN));
        RequestLimit { buckets: RateLimiter::dashmap_with_clock(quota, BoxClock(clock.clone())), clock }
    }

    /// How long to wait when the bucket is empty.
    pub(super) fn admit(&self, sender: &Sender) -> Result<(), Duration> {
        if self.buckets.len() > CROWD {
            self.buckets.retain_recent();
        }
        self.buckets.check_key(sender).map_err(|not_yet| not_yet.wait_time_from(self.clock.now()))
    }

    pub(super) fn sweep(&self) {
        self.buckets.retain_recent();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::UtcTime;

    #[test]
    fn the_bucket_empties_refills_evenly_and_is_one_senders_own() {
        let clock = Clock::manual(UtcTime(0));
        let limit = RequestLimit::new(300, clock.clone());
        let anna = Sender::Principal(Uuid::nil(), "anna".into());
        let admitted = (0..400).filter(|_| limit.admit(&anna).is_ok()).count();
        assert_eq!(admitted, 300);
        let wait = limit.admit(&anna).expect_err("empty");
        assert!(wait <= Duration::from_millis(200), "{wait:?}");
        assert!(limit.admit(&Sender::Address(IpAddr::from([192, 0, 2, 1]))).is_ok());
        clock.advance(Duration::from_secs(1));
        assert_eq!((0..10).filter(|_| limit.admit(&anna).is_ok()).count(), 5);
        clock.advance(Duration::from_secs(3600));
        limit.sweep();
        assert!(limit.buckets.is_empty());
    }
}
