//! The bounds on what one source may have of us.
//!
//! | What | Bound | Beyond it |
//! |---|---|---|
//! | dialogs at once | `max_dialogs_per_source` | 503 |
//! | wrong passwords | [`FREE_TRIES`], forgotten ten minutes after the last | 503 for 1 s, then 2 s, 4 s … up to [`LONGEST_LOCK`] |
//! | answers to a stranger (neither trunk nor in a call) | [`BURST`] at once, then one every 50 ms | silence |
//!
//! A wrong password counts only when it answers a nonce that we sent to that very address, so nobody can lock others
//! out with forged sources. Strangers get bounded answers because a forged source would make us throw them at its
//! owner. Networks of IPv6 count as one source up to /64. Every table has a fixed size.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

pub struct Guard {
    limit: usize,
    dialogs: HashMap<IpAddr, usize>,
    tries: Tries,
    answers: Answers,
}

/// Wrong passwords that cost nothing: people mistype.
pub const FREE_TRIES: u32 = 5;
/// The longest that a source is refused after a wrong password.
pub const LONGEST_LOCK: Duration = Duration::from_secs(300);
const FIRST_LOCK: Duration = Duration::from_secs(1);
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);
/// Sources in one generation of the table of tries.
const MAX_SOURCES: usize = 4_096;
/// Answers that a stranger gets at once.
pub const BURST: u32 = 50;
const ANSWER_EVERY: Duration = Duration::from_millis(50);
const BUCKETS: usize = 4_096;

impl Guard {
    pub fn new(limit: usize) -> Guard {
        Guard { limit, dialogs: HashMap::new(), tries: Tries::default(), answers: Answers::new() }
    }

    /// Takes a place for one dialog; `false` when the source has none left.
    pub fn enter(&mut self, source: IpAddr) -> bool {
        let held = self.dialogs.entry(source).or_default();
        let free = *held < self.limit;
        if free {
            *held += 1;
        } else if *held == 0 {
            self.dialogs.remove(&source);
        }
        free
    }

    pub fn leave(&mut self, source: IpAddr) {
        if let Some(held) = self.dialogs.get_mut(&source) {
            *held = held.saturating_sub(1);
            if *held == 0 {
                self.dialogs.remove(&source);
            }
        }
    }

    /// Notes a wrong password.
    pub fn failed(&mut self, source: IpAddr, now: Instant) {
        self.tries.failed(network(source), now);
    }

    /// How long the source is still refused for its wrong passwords.
    pub fn locked_for(&self, source: IpAddr, now: Instant) -> Option<Duration> {
        let until = self.tries.find(network(source))?.locked_until;
        until.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    /// Whether a stranger at `source` gets one more answer.
    pub fn may_answer(&mut self, source: IpAddr, now: Instant) -> bool {
        self.answers.take(network(source), now)
    }
}

/// What counts as one source.
fn network(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(_) => source,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
    }
}

#[derive(Clone, Copy)]
struct Record {
    failures: u32,
    last: Instant,
    locked_until: Instant,
}

/// Two generations: when the young one is full it becomes the old one, and what was old is forgotten. Whoever fails
/// again is young again.
#[derive(Default)]
struct Tries {
    young: HashMap<IpAddr, Record>,
    old: HashMap<IpAddr, Record>,
}

impl Tries {
    fn find(&self, source: IpAddr) -> Option<&Record> {
        self.young.get(&source).or_else(|| self.old.get(&source))
    }

    fn failed(&mut self, source: IpAddr, now: Instant) {
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

/// A fixed number of buckets; sources share one by a hash that nobody outside can foresee. Each holds the instant at
/// which it will be full again.
struct Answers {
    full_at: Vec<Option<Instant>>,
    hash: RandomState,
}

impl Answers {
    fn new() -> Answers {
        Answers { full_at: vec![None; BUCKETS], hash: RandomState::new() }
    }

    fn take(&mut self, source: IpAddr, now: Instant) -> bool {
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

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("address")
    }

    #[test]
    fn a_source_gets_its_places_back_and_no_more() {
        let (a, b) = (ip("192.0.2.1"), ip("192.0.2.2"));
        let mut guard = Guard::new(2);
        assert!(guard.enter(a) && guard.enter(a) && !guard.enter(a));
        assert!(guard.enter(b));
        guard.leave(a);
        assert!(guard.enter(a) && !guard.enter(a));
        guard.leave(a);
        guard.leave(a);
        guard.leave(b);
        guard.leave(b);
        assert!(guard.dialogs.is_empty());
    }

    #[test]
    fn wrong_passwords_lock_for_ever_longer_and_are_forgotten() {
        let (mut now, source, mut guard) = (Instant::now(), ip("192.0.2.1"), Guard::new(1));
        for _ in 0..FREE_TRIES {
            guard.failed(source, now);
            assert_eq!(guard.locked_for(source, now), None);
        }
        let mut locks = Vec::new();
        for _ in 0..40 {
            guard.failed(source, now);
            let lock = guard.locked_for(source, now).expect("locked");
            locks.push(lock.as_secs());
            assert_eq!(guard.locked_for(ip("192.0.2.2"), now), None, "only the source itself");
            now += lock;
            assert_eq!(guard.locked_for(source, now), None, "and no longer");
        }
        assert_eq!(locks[..10], [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
        assert_eq!(locks.last(), Some(&300));
        now += FORGOTTEN_AFTER;
        guard.failed(source, now);
        assert_eq!(guard.locked_for(source, now), None, "a new beginning");
    }

    #[test]
    fn a_network_of_ipv6_is_one_source() {
        let (now, mut guard) = (Instant::now(), Guard::new(1));
        for host in 0..=FREE_TRIES {
            guard.failed(ip(&format!("2001:db8:1:2::{host:x}")), now);
        }
        assert!(guard.locked_for(ip("2001:db8:1:2:ffff::1"), now).is_some());
        assert!(guard.locked_for(ip("2001:db8:1:3::1"), now).is_none());
    }

    #[test]
    fn the_table_of_tries_is_bounded_and_keeps_whoever_goes_on() {
        let (now, mut guard) = (Instant::now(), Guard::new(1));
        let persistent = ip("192.0.2.1");
        for number in 0..100_000_u32 {
            guard.failed(IpAddr::from(number.to_be_bytes()), now);
            if number % 1_000 == 0 {
                guard.failed(persistent, now);
            }
            assert!(guard.tries.young.len() + guard.tries.old.len() <= 2 * MAX_SOURCES);
        }
        assert_eq!(guard.locked_for(persistent, now), Some(LONGEST_LOCK));
    }

    #[test]
    fn a_stranger_gets_a_burst_of_answers_and_then_a_trickle() {
        let (now, source, mut guard) = (Instant::now(), ip("192.0.2.1"), Guard::new(1));
        let answered = |guard: &mut Guard, at: Instant| (0..1_000).filter(|_| guard.may_answer(source, at)).count();
        assert_eq!(answered(&mut guard, now), BURST as usize);
        assert_eq!(answered(&mut guard, now + Duration::from_secs(1)), 20);
        assert_eq!(answered(&mut guard, now + Duration::from_secs(3_600)), BURST as usize);
        assert_eq!(guard.answers.full_at.len(), BUCKETS);
    }
}
