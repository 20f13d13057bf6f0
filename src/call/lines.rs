//! The lines of the trunks: how many calls each may carry, and which trunk a call goes through.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::config::TrunkConfig;
use crate::sip::endpoint::Origin;

/// A trunk that could not be reached is left alone for so long while another one works.
const REST_AFTER_TROUBLE: Duration = Duration::from_secs(30);

/// Counts calls in both directions; cheap to clone.
#[derive(Clone)]
pub(super) struct Lines(Arc<Shared>);

struct Shared {
    groups: Mutex<Vec<Group>>,
    /// Rung when a line becomes free.
    freed: Arc<Notify>,
}

/// The lines of one trunk, or of all extensions together (name `None`, last in the list).
struct Group {
    name: Option<String>,
    limit: usize,
    used: usize,
    troubled_until: Option<Instant>,
}

/// A reserved line; dropping it gives it back.
pub(super) struct Line {
    lines: Lines,
    group: usize,
    pub(super) trunk: String,
}

impl Lines {
    pub(super) fn new(trunks: &[TrunkConfig], extension_lines: usize, freed: Arc<Notify>) -> Lines {
        let group = |name, limit| Group { name, limit, used: 0, troubled_until: None };
        let mut groups: Vec<Group> =
            trunks.iter().map(|trunk| group(Some(trunk.name.clone()), trunk.max_calls)).collect();
        groups.push(group(None, extension_lines));
        Lines(Arc::new(Shared { groups: Mutex::new(groups), freed }))
    }

    /// A line of the first trunk in configured order that has one, is not in trouble and is not among `tried`. When
    /// every other trunk is in trouble too, one of those.
    pub(super) fn outbound(&self, tried: &[String], now: Instant) -> Option<Line> {
        let mut groups = self.lock();
        let free = |group: &Group| {
            group.used < group.limit && group.name.as_ref().is_some_and(|name| !tried.iter().any(|t| t == name))
        };
        let rested = |group: &Group| group.troubled_until.is_none_or(|until| now >= until);
        // A busy but healthy trunk is worth waiting for; only when none is healthy are the others asked.
        let any_healthy = groups.iter().any(|group| group.name.is_some() && rested(group));
        let index =
            groups.iter().position(|group| free(group) && (rested(group) || !any_healthy || !tried.is_empty()))?;
        Some(self.take(&mut groups, index))
    }

    /// A line for a call that came in; `None` when all are busy.
    pub(super) fn inbound(&self, origin: &Origin) -> Option<Line> {
        let mut groups = self.lock();
        let index = groups.iter().position(|group| match origin {
            Origin::Trunk(name) => group.name.as_ref() == Some(name),
            Origin::Extension(_) => group.name.is_none(),
        })?;
        (groups[index].used < groups[index].limit).then(|| self.take(&mut groups, index))
    }

    /// A line for a call to an extension; `None` when all are busy.
    pub(super) fn extension(&self) -> Option<Line> {
        self.inbound(&Origin::Extension(String::new()))
    }

    /// `trunk` could not be reached.
    pub(super) fn in_trouble(&self, trunk: &str, now: Instant) {
        for group in self.lock().iter_mut().filter(|group| group.name.as_deref() == Some(trunk)) {
            group.troubled_until = Some(now + REST_AFTER_TROUBLE);
        }
    }

    /// `trunk` answered something.
    pub(super) fn works(&self, trunk: &str) {
        for group in self.lock().iter_mut().filter(|group| group.name.as_deref() == Some(trunk)) {
            group.troubled_until = None;
        }
    }

    fn take(&self, groups: &mut [Group], index: usize) -> Line {
        groups[index].used += 1;
        Line { lines: self.clone(), group: index, trunk: groups[index].name.clone().unwrap_or_default() }
    }

    // A poisoned lock only means that a thread panicked between two counter updates that cannot panic.
    fn lock(&self) -> MutexGuard<'_, Vec<Group>> {
        self.0.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.lines.lock()[self.group].used -= 1;
        self.lines.0.freed.notify_one();
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    fn trunk(name: &str, max_calls: usize) -> TrunkConfig {
        let text = format!("name = \"{name}\"\nhost = \"127.0.0.1\"\nmax_calls = {max_calls}");
        toml::from_str(&text).expect("valid trunk")
    }

    fn lines(trunks: &[TrunkConfig]) -> Lines {
        Lines::new(trunks, 1, Arc::new(Notify::new()))
    }

    #[test]
    fn inbound_and_outbound_calls_share_a_trunks_lines() {
        let lines = lines(&[trunk("a", 2)]);
        let out = lines.outbound(&[], Instant::now()).expect("free");
        let inward = lines.inbound(&Origin::Trunk("a".into())).expect("free");
        assert!(lines.outbound(&[], Instant::now()).is_none());
        assert!(lines.inbound(&Origin::Trunk("a".into())).is_none());
        drop(out);
        assert!(lines.outbound(&[], Instant::now()).is_some());
        drop(inward);
    }

    #[test]
    fn the_first_trunk_is_preferred_and_the_next_one_takes_the_overflow() {
        let lines = lines(&[trunk("a", 1), trunk("b", 1)]);
        let first = lines.outbound(&[], Instant::now()).expect("free");
        let second = lines.outbound(&[], Instant::now()).expect("free");
        assert_eq!((first.trunk.as_str(), second.trunk.as_str()), ("a", "b"));
    }

    #[test]
    fn a_trunk_in_trouble_rests_until_it_answers_or_time_passes() {
        let lines = lines(&[trunk("a", 9), trunk("b", 9)]);
        let now = Instant::now();
        lines.in_trouble("a", now);
        assert_eq!(lines.outbound(&[], now).expect("free").trunk, "b");
        assert_eq!(lines.outbound(&[], now + REST_AFTER_TROUBLE).expect("free").trunk, "a");
        lines.works("a");
        assert_eq!(lines.outbound(&[], now).expect("free").trunk, "a");
    }

    #[test]
    fn when_every_trunk_is_in_trouble_the_first_is_asked_again() {
        let lines = lines(&[trunk("a", 9), trunk("b", 9)]);
        let now = Instant::now();
        lines.in_trouble("a", now);
        lines.in_trouble("b", now);
        assert_eq!(lines.outbound(&[], now).expect("free").trunk, "a");
        assert_eq!(lines.outbound(&["a".into()], now).expect("free").trunk, "b");
        assert!(lines.outbound(&["a".into(), "b".into()], now).is_none());
    }

    #[test]
    fn extensions_have_lines_of_their_own() {
        let lines = lines(&[trunk("a", 0)]);
        let first = lines.inbound(&Origin::Extension("10".into()));
        assert!(first.is_some());
        assert!(lines.inbound(&Origin::Extension("11".into())).is_none());
        assert!(lines.inbound(&Origin::Trunk("unknown".into())).is_none());
    }
}
