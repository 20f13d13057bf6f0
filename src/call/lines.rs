//! The lines of the trunks: how many calls each may carry, and which trunk a call goes through.
//!
//! Of the trunks that may carry a call (named by it, or whose destinations hold its number), those that are down or in
//! trouble are asked only when no other is left. When all are down, the call is a try all the same: the trunk may have
//! come back since it was last asked, and a refusal would be no better. The try is short (8·T1 a server), ends as
//! `trunk-down`, goes on to the next trunk, and counts among the retries. Of the rest the lowest priority comes first; among equals calls are
//! shared by weight, or, where all weights are 0, taken in the order of the configuration. A trunk whose lines or whose
//! calls of this second are used up is passed over.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::config::TrunkConfig;
use crate::sip::endpoint::Origin;
use crate::sip::trunk::pace::Pace;

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
    /// It does not answer, or we are not registered with it.
    down: bool,
    priority: u16,
    weight: u16,
    destinations: Vec<String>,
    pace: Pace,
}

/// A reserved line; dropping it gives it back.
pub(super) struct Line {
    lines: Lines,
    group: usize,
    pub(super) trunk: String,
}

/// What a call asks of a trunk.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wish<'a> {
    /// The only trunk that it may go through.
    pub(super) named: Option<&'a str>,
    /// Its number, where it has one.
    pub(super) number: Option<&'a str>,
    /// Trunks that this attempt went to already.
    pub(super) tried: &'a [String],
}

/// Why there is no line now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoLine {
    /// One becomes free when a call ends or a trunk comes back.
    Busy,
    /// The calls of this second are used up; then there are new ones.
    Paced(Instant),
    /// No trunk carries such a call.
    Nowhere,
}

impl Group {
    fn of(name: Option<String>, limit: usize) -> Group {
        Group {
            name,
            limit,
            used: 0,
            troubled_until: None,
            down: false,
            priority: 0,
            weight: 0,
            destinations: Vec::new(),
            pace: Pace::new(0),
        }
    }

    fn of_trunk(trunk: &TrunkConfig) -> Group {
        Group {
            priority: trunk.priority,
            weight: trunk.weight,
            destinations: trunk.destinations.clone(),
            pace: Pace::new(trunk.calls_per_second),
            ..Group::of(Some(trunk.name.clone()), trunk.max_calls)
        }
    }

    fn carries(&self, wish: &Wish<'_>) -> bool {
        let Some(name) = &self.name else { return false };
        let destination = |number: &str| self.destinations.iter().any(|start| number.starts_with(start.as_str()));
        match (wish.named, wish.number) {
            (Some(named), _) => named == name,
            (None, Some(number)) => self.destinations.is_empty() || destination(number),
            (None, None) => true,
        }
    }

    fn is_well(&self, now: Instant) -> bool {
        !self.down && self.troubled_until.is_none_or(|until| now >= until)
    }
}

impl Lines {
    pub(super) fn new(trunks: &[TrunkConfig], extension_lines: usize, freed: Arc<Notify>) -> Lines {
        let mut groups: Vec<Group> = trunks.iter().map(Group::of_trunk).collect();
        groups.push(Group::of(None, extension_lines));
        Lines(Arc::new(Shared { groups: Mutex::new(groups), freed }))
    }

    /// A line for a call that goes out; `random` decides among weights.
    pub(super) fn outbound(&self, wish: &Wish<'_>, now: Instant, random: u64) -> Result<Line, NoLine> {
        let mut groups = self.lock();
        let carrying: Vec<usize> = (0..groups.len()).filter(|at| groups[*at].carries(wish)).collect();
        if carrying.is_empty() {
            return Err(NoLine::Nowhere);
        }
        let tried = |at: &usize| groups[*at].name.as_ref().is_some_and(|name| wish.tried.contains(name));
        let mut fit: Vec<usize> = carrying.iter().copied().filter(|at| !tried(at)).collect();
        // A busy but healthy trunk is worth waiting for; only when none is healthy are the others asked. A second try
        // waits for nothing.
        let any_well = carrying.iter().any(|at| groups[*at].is_well(now));
        if any_well && wish.tried.is_empty() {
            fit.retain(|at| groups[*at].is_well(now));
        }
        fit.retain(|at| groups[*at].used < groups[*at].limit);
        let soonest = fit.iter().map(|at| groups[*at].pace.wait(now)).min().unwrap_or_default();
        fit.retain(|at| groups[*at].pace.wait(now).is_zero());
        let Some(index) = choose(&groups, &fit, now, random) else {
            return Err(if soonest.is_zero() { NoLine::Busy } else { NoLine::Paced(now + soonest) });
        };
        groups[index].pace.take(now);
        Ok(self.take(&mut groups, index))
    }

    /// Whether any trunk carries such a call at all.
    pub(super) fn reach(&self, wish: &Wish<'_>) -> bool {
        self.lock().iter().any(|group| group.carries(wish))
    }

    /// Whether any call could go out now.
    pub(super) fn any_free(&self) -> bool {
        self.lock().iter().any(|group| group.name.is_some() && group.used < group.limit)
    }

    /// `trunk` went down or came back.
    pub(super) fn set_down(&self, trunk: &str, down: bool) {
        for group in self.lock().iter_mut().filter(|group| group.name.as_deref() == Some(trunk)) {
            group.down = down;
        }
        if !down {
            self.0.freed.notify_one();
        }
    }

    /// Calls that `trunk` carries now.
    pub(super) fn used(&self, trunk: &str) -> usize {
        self.lock().iter().find(|group| group.name.as_deref() == Some(trunk)).map_or(0, |group| group.used)
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

/// The healthiest, then the lowest priority, then by weight.
fn choose(groups: &[Group], fit: &[usize], now: Instant, random: u64) -> Option<usize> {
    let rank = |at: &usize| (!groups[*at].is_well(now), groups[*at].priority);
    let best = fit.iter().map(rank).min()?;
    let equals: Vec<usize> = fit.iter().copied().filter(|at| rank(at) == best).collect();
    let total: u64 = equals.iter().map(|at| u64::from(groups[*at].weight)).sum();
    if total == 0 {
        return equals.first().copied();
    }
    let draw = random % total;
    let mut sum = 0;
    equals.into_iter().find(|at| {
        sum += u64::from(groups[*at].weight);
        draw < sum
    })
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
        with(name, &format!("max_calls = {max_calls}"))
    }

    fn with(name: &str, more: &str) -> TrunkConfig {
        toml::from_str(&format!("name = \"{name}\"\nhost = \"127.0.0.1\"\n{more}")).expect("valid trunk")
    }

    fn anything() -> Wish<'static> {
        Wish::default()
    }

    fn chosen(lines: &Lines, wish: &Wish<'_>, now: Instant) -> Result<String, NoLine> {
        lines.outbound(wish, now, 0).map(|line| line.trunk.clone())
    }

    fn lines(trunks: &[TrunkConfig]) -> Lines {
        Lines::new(trunks, 1, Arc::new(Notify::new()))
    }

    #[test]
    fn inbound_and_outbound_calls_share_a_trunks_lines() {
        let lines = lines(&[trunk("a", 2)]);
        let out = lines.outbound(&anything(), Instant::now(), 0).expect("free");
        let inward = lines.inbound(&Origin::Trunk("a".into())).expect("free");
        assert!(lines.outbound(&anything(), Instant::now(), 0).is_err());
        assert!(lines.inbound(&Origin::Trunk("a".into())).is_none());
        drop(out);
        assert!(lines.outbound(&anything(), Instant::now(), 0).is_ok());
        drop(inward);
    }

    #[test]
    fn the_first_trunk_is_preferred_and_the_next_one_takes_the_overflow() {
        let lines = lines(&[trunk("a", 1), trunk("b", 1)]);
        let first = lines.outbound(&anything(), Instant::now(), 0).expect("free");
        let second = lines.outbound(&anything(), Instant::now(), 0).expect("free");
        assert_eq!((first.trunk.as_str(), second.trunk.as_str()), ("a", "b"));
    }

    #[test]
    fn a_trunk_in_trouble_rests_until_it_answers_or_time_passes() {
        let lines = lines(&[trunk("a", 9), trunk("b", 9)]);
        let now = Instant::now();
        lines.in_trouble("a", now);
        assert_eq!(chosen(&lines, &anything(), now).expect("free"), "b");
        assert_eq!(chosen(&lines, &anything(), now + REST_AFTER_TROUBLE).expect("free"), "a");
        lines.works("a");
        assert_eq!(chosen(&lines, &anything(), now).expect("free"), "a");
    }

    #[test]
    fn when_every_trunk_is_in_trouble_the_first_is_asked_again() {
        let lines = lines(&[trunk("a", 9), trunk("b", 9)]);
        let now = Instant::now();
        lines.in_trouble("a", now);
        lines.in_trouble("b", now);
        assert_eq!(chosen(&lines, &anything(), now).expect("free"), "a");
        assert_eq!(chosen(&lines, &Wish { tried: &["a".into()], ..anything() }, now).expect("free"), "b");
        let both = Wish { tried: &["a".into(), "b".into()], ..anything() };
        assert_eq!(chosen(&lines, &both, now), Err(NoLine::Busy));
    }

    #[test]
    fn extensions_have_lines_of_their_own() {
        let lines = lines(&[trunk("a", 0)]);
        let first = lines.inbound(&Origin::Extension("10".into()));
        assert!(first.is_some());
        assert!(lines.inbound(&Origin::Extension("11".into())).is_none());
        assert!(lines.inbound(&Origin::Trunk("unknown".into())).is_none());
    }

    #[test]
    fn a_trunk_that_is_down_is_skipped_until_it_is_back() {
        let lines = lines(&[trunk("a", 9), trunk("b", 1)]);
        let now = Instant::now();
        lines.set_down("a", true);
        let held = lines.outbound(&anything(), now, 0).expect("free");
        assert_eq!(held.trunk, "b");
        assert_eq!(chosen(&lines, &anything(), now), Err(NoLine::Busy), "worth waiting for");
        lines.set_down("b", true);
        assert_eq!(chosen(&lines, &anything(), now).expect("free"), "a", "nothing better is left");
        lines.set_down("a", false);
        assert_eq!(chosen(&lines, &anything(), now).expect("free"), "a");
    }

    #[test]
    fn priority_comes_first_and_weights_share() {
        let lines = lines(&[
            with("last", "priority = 2"),
            with("light", "priority = 1\nweight = 1\nmax_calls = 5000"),
            with("heavy", "priority = 1\nweight = 3\nmax_calls = 5000"),
        ]);
        let now = Instant::now();
        let mut heavy = 0;
        for random in 0..1_000 {
            let line = lines.outbound(&anything(), now, random).expect("free");
            assert_ne!(line.trunk, "last");
            heavy += i32::from(line.trunk == "heavy");
        }
        assert_eq!(heavy, 750);
    }

    #[test]
    fn a_call_goes_where_its_number_or_its_order_says() {
        let lines =
            lines(&[with("home", "destinations = [\"+49\"]"), with("abroad", "destinations = [\"+43\", \"+1\"]")]);
        let now = Instant::now();
        let number = |number| Wish { number: Some(number), ..anything() };
        assert_eq!(chosen(&lines, &number("+4930"), now).expect("free"), "home");
        assert_eq!(chosen(&lines, &number("+1555"), now).expect("free"), "abroad");
        assert_eq!(chosen(&lines, &number("+33"), now), Err(NoLine::Nowhere));
        assert!(lines.reach(&number("+43")) && !lines.reach(&number("+33")));
        let named = |name| Wish { named: Some(name), number: Some("+4930"), ..anything() };
        assert_eq!(chosen(&lines, &named("abroad"), now).expect("free"), "abroad");
        assert_eq!(chosen(&lines, &named("gone"), now), Err(NoLine::Nowhere));
    }

    #[test]
    fn the_calls_of_a_second_run_over_to_the_next_trunk_and_then_wait() {
        let lines = lines(&[with("a", "calls_per_second = 2"), with("b", "calls_per_second = 1\npriority = 1")]);
        let now = Instant::now();
        let names: Vec<_> = (0..3).map(|_| chosen(&lines, &anything(), now).expect("free")).collect();
        assert_eq!(names, ["a", "a", "b"]);
        let until = now + Duration::from_millis(500);
        assert_eq!(chosen(&lines, &anything(), now), Err(NoLine::Paced(until)));
        assert_eq!(chosen(&lines, &anything(), until).expect("free"), "a");
    }
}
