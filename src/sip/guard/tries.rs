//! Wrong passwords, by source.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::{FREE_TRIES, LONGEST_LOCK};

const FIRST_LOCK: Duration = Duration::from_secs(1);
pub(super) const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);
/// Sources in one generation of the table of tries.
pub(super) const MAX_SOURCES: usize = 4_096;

#[derive(Clone, Copy)]
pub(super) struct Record {
    failures: u32,
    last: Instant,
    pub(super) locked_until: Instant,
}

/// Two generations: when the young one is full it becomes the old one, and what was old is forgotten. Whoever fails
/// again is young again.
#[derive(Default)]
pub(super) struct Tries {
    pub(super) young: HashMap<IpAddr, Record>,
    pub(super) old: HashMap<IpAddr, Record>,
}

impl Tries {
    pub(super) fn find(&self, source: IpAddr) -> Option<&Record> {
        self.young.get(&source).or_else(|| self.old.get(&source))
    }

    pub(super) fn failed(&mut self, source: IpAddr, now: Instant) {
        let known = self.find(source).filter(|known| now.saturating_duration_since(known.last) < FORGOTTEN_AFTER);
        let failures = known.map_or(0, |known| known.failures).saturating_add(1);
        let lock = match failures.checked_sub(FREE_TRIES + 1) {
            None => Duration::ZERO,
            Some(beyond) => (FIRST_LOCK * (1 << beyond.min(16))).min(LONGEST_LOCK),
        };
        self.old.remove(&source);
        self.young.insert(source, Record { failures, last: now, locked_until: now + lock });
        if self.young.len() >= MAX_SOURCES {
            self.old = std::mem::take(&mut self.young);
        }
    }
}
