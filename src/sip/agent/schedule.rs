//! When somebody wants to be woken: one time for each, however often it changes.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use super::CallKey;
use crate::sip::transaction::{ClientKey, ServerKey};
use crate::sip::transport::TrunkId;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wake {
    Client(ClientKey),
    Server(ServerKey),
    Call(CallKey),
    /// A trunk registers or is asked whether it lives.
    Trunk(TrunkId),
    /// A request of ours outside of calls.
    Errand(ClientKey),
    /// The bindings of registered phones.
    Phones,
}

/// Both hold the same pairs.
#[derive(Default)]
pub struct Schedule {
    by_time: BTreeSet<(Instant, Wake)>,
    times: HashMap<Wake, Instant>,
}

impl Schedule {
    /// The time from now on; `None` = never.
    pub fn at(&mut self, time: Option<Instant>, wake: Wake) {
        let before = match time {
            Some(time) => self.times.insert(wake.clone(), time),
            None => self.times.remove(&wake),
        };
        if before == time {
            return;
        }
        if let Some(before) = before {
            self.by_time.remove(&(before, wake.clone()));
        }
        if let Some(time) = time {
            self.by_time.insert((time, wake));
        }
    }

    pub fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(time, _)| *time)
    }

    pub fn due(&mut self, now: Instant) -> Option<Wake> {
        if self.next()? > now {
            return None;
        }
        let (_, wake) = self.by_time.pop_first()?;
        self.times.remove(&wake);
        Some(wake)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_the_last_time_of_each_counts_and_nothing_piles_up() {
        let (now, mut schedule) = (Instant::now(), Schedule::default());
        let after = |ms: u64| now + Duration::from_millis(ms);
        for ms in 0..1_000 {
            schedule.at(Some(after(ms)), Wake::Call(CallKey(1)));
            schedule.at(Some(after(50)), Wake::Call(CallKey(2)));
            schedule.at(Some(after(1)), Wake::Call(CallKey(3)));
        }
        schedule.at(None, Wake::Call(CallKey(3)));
        assert_eq!((schedule.by_time.len(), schedule.times.len()), (2, 2));
        assert_eq!(schedule.next(), Some(after(50)));
        assert_eq!(schedule.due(after(49)), None);
        assert_eq!(schedule.due(after(50)), Some(Wake::Call(CallKey(2))));
        assert_eq!(schedule.due(after(998)), None);
        assert_eq!(schedule.due(after(999)), Some(Wake::Call(CallKey(1))));
        assert_eq!((schedule.next(), schedule.times.len()), (None, 0));
    }
}
