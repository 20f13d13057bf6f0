//! Answers of DNS for as long as their TTL says, negative ones included; and beyond, while DNS is down (RFC 8767).
//!
//! | Entry | Looked at | Given |
//! |---|---|---|
//! | none | | nothing: ask |
//! | within its TTL | | fresh |
//! | past its TTL | not asked since, or the last failure is [`AFTER_FAILURE`] ago | stale: ask, and use it when asking fails |
//! | past its TTL | asking failed less than [`AFTER_FAILURE`] ago | fresh enough: do not ask again yet |
//! | past [`LONGEST_STALE`] | | nothing |
//!
//! A negative answer is never given beyond its TTL.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::record::{Answer, Question};

#[derive(Debug, Default)]
pub struct Cache(HashMap<Question, Entry>);

#[derive(Debug)]
struct Entry {
    answer: Answer,
    fresh_until: Instant,
    stale_until: Instant,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    Fresh { answer: Answer, until: Instant },
    Stale(Answer),
    Unknown,
}

/// Beyond it the entry that ends first makes room.
const MOST: usize = 1_024;
/// A TTL of 0 would have every call ask.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(24 * 3_600);
/// RFC 2308 §5 recommends hours as the upper bound; a trunk that was just entered into DNS should not wait so long.
const LONGEST_NEGATIVE: Duration = Duration::from_secs(300);
/// RFC 8767 §5 recommends one to three days.
const LONGEST_STALE: Duration = Duration::from_secs(3 * 24 * 3_600);
/// RFC 8767 §5: the failure recheck timer.
const AFTER_FAILURE: Duration = Duration::from_secs(30);

impl Cache {
    pub fn look(&self, question: &Question, now: Instant) -> Look {
        match self.0.get(question) {
            Some(Entry { answer, fresh_until, .. }) if now < *fresh_until => {
                Look::Fresh { answer: answer.clone(), until: *fresh_until }
            }
            Some(Entry { answer, stale_until, .. }) if now < *stale_until => Look::Stale(answer.clone()),
            _ => Look::Unknown,
        }
    }

    pub fn keep(&mut self, question: Question, answer: Answer, ttl: Duration, now: Instant) {
        let negative = answer == Answer::Nothing;
        let ttl = ttl.clamp(SHORTEST, if negative { LONGEST_NEGATIVE } else { LONGEST });
        let fresh_until = now + ttl;
        let stale_until = if negative { fresh_until } else { fresh_until + LONGEST_STALE };
        if self.0.len() >= MOST && !self.0.contains_key(&question) {
            self.make_room(now);
        }
        self.0.insert(question, Entry { answer, fresh_until, stale_until });
    }

    /// DNS did not answer: what was known is good for a while longer.
    pub fn failed(&mut self, question: &Question, now: Instant) {
        if let Some(entry) = self.0.get_mut(question) {
            entry.fresh_until = entry.fresh_until.max(now + AFTER_FAILURE).min(entry.stale_until);
        }
    }

    fn make_room(&mut self, now: Instant) {
        self.0.retain(|_, entry| entry.stale_until > now);
        if self.0.len() >= MOST {
            let first = self.0.iter().min_by_key(|(_, entry)| entry.fresh_until).map(|(question, _)| question.clone());
            first.map(|question| self.0.remove(&question));
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::super::record::Kind;
    use super::*;

    fn question(name: &str) -> Question {
        Question::new(name, Kind::A)
    }

    fn addresses() -> Answer {
        Answer::Addresses(vec!["192.0.2.1".parse().expect("address")])
    }

    #[test]
    fn the_rows_of_the_table() {
        let (now, mut cache) = (Instant::now(), Cache::default());
        let after = |seconds: u64| now + Duration::from_secs(seconds);
        assert_eq!(cache.look(&question("a"), now), Look::Unknown);
        cache.keep(question("a"), addresses(), Duration::from_secs(60), now);
        assert!(matches!(cache.look(&question("A."), after(59)), Look::Fresh { .. }));
        assert_eq!(cache.look(&question("a"), after(60)), Look::Stale(addresses()));
        cache.failed(&question("a"), after(60));
        assert!(matches!(cache.look(&question("a"), after(89)), Look::Fresh { .. }));
        assert_eq!(cache.look(&question("a"), after(90)), Look::Stale(addresses()));
        assert_eq!(cache.look(&question("a"), after(60) + LONGEST_STALE), Look::Unknown);
    }

    #[test]
    fn a_no_is_kept_for_its_time_and_no_longer() {
        let (now, mut cache) = (Instant::now(), Cache::default());
        cache.keep(question("a"), Answer::Nothing, Duration::from_secs(86_400), now);
        assert!(matches!(cache.look(&question("a"), now + LONGEST_NEGATIVE / 2), Look::Fresh { .. }));
        cache.failed(&question("a"), now + LONGEST_NEGATIVE);
        assert_eq!(cache.look(&question("a"), now + LONGEST_NEGATIVE), Look::Unknown);
    }

    #[test]
    fn however_many_names_are_asked_for_the_table_stays_small() {
        let (now, mut cache) = (Instant::now(), Cache::default());
        for at in 0..5_000_u64 {
            cache.keep(question(&format!("n{at}")), addresses(), Duration::from_secs(10 + at), now);
        }
        assert_eq!(cache.0.len(), MOST);
        assert!(matches!(cache.look(&question("n4999"), now), Look::Fresh { .. }));
    }
}
