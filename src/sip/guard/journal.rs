//! What the log says of refused sources: one stable line each, never more than the disk can bear.
//!
//! `SIP source refused address=203.0.113.9 reason=scanner requests=1`
//!
//! | reason | Who |
//! |---|---|
//! | `scanner` | a known tool for breaking in |
//! | `stranger` | asks a box that has no extensions and is no trunk of it |
//! | `flood` | sends more requests than a stranger may |
//! | `password` | guessed too many passwords and is locked out for a while |
//!
//! The address is the point of the line: a firewall needs it (`configs/fail2ban`). It is the only address that the log
//! holds, and never that of a trunk, or of a phone that has signed in. Of one source a line comes at most once a
//! minute, of all together at most five a second; `requests` counts what was refused since its last line. Nothing that
//! the source wrote stands in it, so it cannot be forged through a message. Its source address can be: see the jail.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::density::Bucket;

pub struct Journal {
    hash: RandomState,
    entries: Vec<Option<Entry>>,
    lines: Bucket,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    Scanner,
    Stranger,
    Flood,
    Password,
}

/// What is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    pub address: IpAddr,
    pub reason: Reason,
    pub requests: u64,
}

#[derive(Clone, Copy)]
struct Entry {
    source: IpAddr,
    last_line: Instant,
    since: u64,
}

const ENTRIES: usize = 2_048;
const LINE_EVERY: Duration = Duration::from_secs(60);
const ALL_EVERY: Duration = Duration::from_millis(200);
const ALL_BURST: u32 = 50;

impl Default for Journal {
    fn default() -> Journal {
        Journal::new()
    }
}

impl Journal {
    pub fn new() -> Journal {
        Journal { hash: RandomState::new(), entries: vec![None; ENTRIES], lines: Bucket::default() }
    }

    /// Notes a refused request; the line that it is worth, if any.
    pub fn note(&mut self, source: IpAddr, reason: Reason, now: Instant) -> Option<Line> {
        let place = usize::try_from(self.hash.hash_one(source) % ENTRIES as u64).unwrap_or_default();
        let place = self.entries.get_mut(place)?;
        let old = |entry: &Entry| now.saturating_duration_since(entry.last_line) >= LINE_EVERY;
        let since = match place {
            Some(entry) if entry.source == source => {
                entry.since = entry.since.saturating_add(1);
                if !old(entry) {
                    return None;
                }
                entry.since
            }
            // The place is another's, who is still fresh: this one goes unmentioned.
            Some(entry) if !old(entry) => return None,
            _ => 1,
        };
        if !self.lines.take(ALL_EVERY, ALL_BURST, now) {
            return None;
        }
        *place = Some(Entry { source, last_line: now, since: 0 });
        Some(Line { address: source, reason, requests: since })
    }
}

impl Reason {
    pub fn word(self) -> &'static str {
        match self {
            Reason::Scanner => "scanner",
            Reason::Stranger => "stranger",
            Reason::Flood => "flood",
            Reason::Password => "password",
        }
    }
}

impl Line {
    /// The words are part of the interface: `configs/fail2ban/filter.d/trunkline.conf` reads them.
    pub fn write(self) {
        let Line { address, reason, requests } = self;
        tracing::warn!(%address, reason = %reason.word(), requests, "SIP source refused");
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    fn ip(number: u32) -> IpAddr {
        IpAddr::from(number.to_be_bytes())
    }

    #[test]
    fn a_source_gets_a_line_a_minute_that_counts_what_came_between() {
        let (start, mut journal) = (Instant::now(), Journal::new());
        let source = ip(0xcb00_7109);
        let first = journal.note(source, Reason::Scanner, start).expect("a line");
        assert_eq!(first, Line { address: source, reason: Reason::Scanner, requests: 1 });
        for second in 1..60 {
            assert_eq!(journal.note(source, Reason::Scanner, start + Duration::from_secs(second)), None);
        }
        let next = journal.note(source, Reason::Flood, start + Duration::from_secs(60)).expect("a line");
        assert_eq!((next.reason, next.requests), (Reason::Flood, 60));
    }

    #[test]
    fn forged_sources_without_number_get_five_lines_a_second() {
        let (start, mut journal) = (Instant::now(), Journal::new());
        let lines = (0..200_000_u32).filter(|number| {
            let at = start + Duration::from_micros(u64::from(*number) * 50);
            journal.note(ip(number.wrapping_mul(2_654_435_761)), Reason::Stranger, at).is_some()
        });
        // Ten seconds.
        assert!((60..=101).contains(&lines.count()));
        assert_eq!(journal.entries.len(), ENTRIES);
    }
}
