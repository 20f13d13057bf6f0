//! Requests a minute, per principal where one is known, else per address.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use governor::clock::Clock as GovernorClock;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use uuid::Uuid;

use crate::clock::Clock;
use crate::identity::network_of;

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
    swept: Mutex<Instant>,
}

/// Above so many senders the idle ones are forgotten by the second, not only by the hour, and addresses are counted by
/// network: one host may own 2^64 of them.
const CROWD: usize = 20_000;
const CROWD_SWEEP: Duration = Duration::from_secs(1);

impl RequestLimit {
    /// A bucket of `per_minute` requests that refills evenly. 0 is taken as 1: a box that answers nobody helps nobody.
    pub(super) fn new(per_minute: u32, clock: Clock) -> RequestLimit {
        let quota = Quota::per_minute(NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN));
        let (buckets, swept) =
            (RateLimiter::dashmap_with_clock(quota, BoxClock(clock.clone())), Mutex::new(clock.now()));
        RequestLimit { buckets, clock, swept }
    }

    /// How long to wait when the bucket is empty.
    pub(super) fn admit(&self, sender: &Sender) -> Result<(), Duration> {
        let checked = match sender {
            Sender::Address(address) if self.crowded() => {
                self.buckets.check_key(&Sender::Address(network_of(*address)))
            }
            sender => self.buckets.check_key(sender),
        };
        checked.map_err(|not_yet| not_yet.wait_time_from(self.clock.now()))
    }

    /// Whether there are too many senders even without those that have been idle.
    fn crowded(&self) -> bool {
        if self.buckets.len() <= CROWD {
            return false;
        }
        let now = self.clock.now();
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(*swept) >= CROWD_SWEEP {
            *swept = now;
            self.buckets.retain_recent();
        }
        drop(swept);
        self.buckets.len() > CROWD
    }

    pub(super) fn sweep(&self) {
        self.buckets.retain_recent();
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

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

    #[test]
    fn a_host_with_countless_addresses_fills_no_memory_and_gains_no_requests() {
        let clock = Clock::manual(UtcTime(0));
        let limit = RequestLimit::new(300, clock.clone());
        let anna = Sender::Principal(Uuid::nil(), "anna".into());
        let mut admitted = 0;
        for host in 0..50_000u32 {
            let [a, b] = [(host >> 16) as u16, (host & 0xffff) as u16];
            let address = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, a, b));
            admitted += usize::from(limit.admit(&Sender::Address(address)).is_ok());
        }
        assert!(admitted <= CROWD + 1 + 300, "{admitted}");
        assert!(limit.buckets.len() <= CROWD + 2);
        assert!(limit.admit(&anna).is_ok() && limit.admit(&Sender::Address(IpAddr::from([192, 0, 2, 1]))).is_ok());
        clock.advance(Duration::from_secs(120));
        assert!(!limit.crowded(), "the idle ones are forgotten");
    }
}
