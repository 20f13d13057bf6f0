//! Sources that are no strangers: trunks, and whoever has signed in or taken part in a call lately.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::density::Bucket;

/// One place for each source, by a hash that nobody outside can foresee; a newcomer takes the place of the older.
pub(super) struct Known {
    hash: RandomState,
    vouched: Vec<Option<(IpAddr, Instant)>>,
    requests: Vec<Bucket>,
}

const KNOWN_FOR: Duration = Duration::from_secs(600);
const PLACES: usize = 8_192;
/// New requests of one known source: 4,000 a second, 8,000 at once. No trunk sends so many; a forger of its address may.
const DRAIN: Duration = Duration::from_micros(250);
const AT_ONCE: u32 = 8_000;

impl Known {
    pub(super) fn new() -> Known {
        Known { hash: RandomState::new(), vouched: vec![None; PLACES], requests: vec![Bucket::default(); PLACES] }
    }

    pub(super) fn note(&mut self, source: IpAddr, now: Instant) {
        let place = self.place(source);
        if let Some(place) = self.vouched.get_mut(place) {
            *place = Some((source, now + KNOWN_FOR));
        }
    }

    pub(super) fn knows(&self, source: IpAddr, now: Instant) -> bool {
        let place = self.vouched.get(self.place(source));
        matches!(place, Some(Some((known, until))) if *known == source && *until > now)
    }

    /// Counts a new request; `false` beyond the bound.
    pub(super) fn take(&mut self, source: IpAddr, now: Instant) -> bool {
        let place = self.place(source);
        self.requests.get_mut(place).is_some_and(|bucket| bucket.take(DRAIN, AT_ONCE, now))
    }

    fn place(&self, source: IpAddr) -> usize {
        usize::try_from(self.hash.hash_one(source) % PLACES as u64).unwrap_or_default()
    }
}
