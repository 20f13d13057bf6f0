//! Answers to strangers, by source: few, because a forged source would make us throw them at its owner.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::BURST;

const ANSWER_EVERY: Duration = Duration::from_millis(50);
pub(super) const BUCKETS: usize = 4_096;

/// A fixed number of buckets; sources share one by a hash that nobody outside can foresee. Each holds the instant at
/// which it will be full again.
pub(super) struct Answers {
    pub(super) full_at: Vec<Option<Instant>>,
    hash: RandomState,
}

impl Answers {
    pub(super) fn new() -> Answers {
        Answers { full_at: vec![None; BUCKETS], hash: RandomState::new() }
    }

    pub(super) fn take(&mut self, source: IpAddr, now: Instant) -> bool {
        let place = usize::try_from(self.hash.hash_one(source) % BUCKETS as u64).unwrap_or_default();
        let Some(bucket) = self.full_at.get_mut(place) else { return false };
        let full_at = bucket.map_or(now, |at| at.max(now));
        if full_at.saturating_duration_since(now) > ANSWER_EVERY * (BURST - 1) {
            return false;
        }
        *bucket = Some(full_at + ANSWER_EVERY);
        true
    }
}
