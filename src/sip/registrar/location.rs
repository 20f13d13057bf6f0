//! The location table: the bindings of each extension, their ends and their probes.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::sip::message::SipUri;
use crate::sip::transport::{Hop, Link};

use super::request::{Flow, Refusal, Registration, Wanted, Wish};
use super::{DEAD_AFTER, MAX_CONTACTS, Policy, SHORTEST};

/// Names a binding as long as it is not replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BindingId(u64);

/// One place where an extension can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    pub id: BindingId,
    pub contact: SipUri,
    /// Where the REGISTER came from: the only way to the phone.
    pub hop: Hop,
    pub path: Vec<String>,
    /// q in thousandths.
    pub priority: u16,
    pub expires_at: Instant,
    registered_at: Instant,
    call_id: String,
    sequence: u32,
    flow: Option<Flow>,
    probe: Probe,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probe {
    Never,
    Due { at: Instant, unanswered: u32 },
    Asked { unanswered: u32 },
}

/// The bindings of all extensions. Bounded: users are configured, and each has at most [`MAX_CONTACTS`].
#[derive(Debug, Default)]
pub struct Location {
    policy: Policy,
    bindings: HashMap<String, Vec<Binding>>,
    last: u64,
}

impl Location {
    pub fn new(policy: Policy) -> Location {
        Location { policy, ..Location::default() }
    }

    /// Carries the request of `user`, who signed in, out: whole or not at all.
    pub fn register(&mut self, user: &str, wanted: &Registration, hop: Hop, now: Instant) -> Result<(), Refusal> {
        self.expire(now);
        let before = self.bindings.get(user).cloned().unwrap_or_default();
        let after = match &wanted.wanted {
            Wanted::List => return Ok(()),
            Wanted::RemoveAll => {
                before.iter().try_for_each(|binding| binding.in_order(wanted))?;
                Vec::new()
            }
            Wanted::Contacts(wishes) => self.with(before, wishes, wanted, hop, now)?,
        };
        if after.is_empty() {
            self.bindings.remove(user);
        } else {
            self.bindings.insert(user.to_owned(), after);
        }
        Ok(())
    }

    fn with(
        &mut self,
        before: Vec<Binding>,
        wishes: &[Wish],
        wanted: &Registration,
        hop: Hop,
        now: Instant,
    ) -> Result<Vec<Binding>, Refusal> {
        let too_short = |wish: &Wish| wish.expires.is_some_and(|time| !time.is_zero() && time < SHORTEST);
        if wishes.iter().any(too_short) {
            return Err(Refusal { code: 423, reason: "Interval Too Brief", shortest: Some(SHORTEST) });
        }
        for known in before.iter().filter(|binding| wishes.iter().any(|wish| binding.is_meant_by(wish))) {
            known.in_order(wanted)?;
        }
        let mut after = before;
        for wish in wishes {
            after.retain(|binding| !binding.is_meant_by(wish));
            let granted = wish.expires.unwrap_or(self.policy.longest).min(self.policy.longest);
            if !granted.is_zero() {
                after.push(self.binding(wish, granted, wanted, hop, now));
            }
        }
        while after.len() > MAX_CONTACTS {
            let first = after.iter().enumerate().min_by_key(|(_, binding)| binding.expires_at).map(|(at, _)| at);
            after.remove(first.unwrap_or_default());
        }
        Ok(after)
    }

    fn binding(&mut self, wish: &Wish, granted: Duration, wanted: &Registration, hop: Hop, now: Instant) -> Binding {
        self.last += 1;
        Binding {
            id: BindingId(self.last),
            contact: wish.contact.clone(),
            hop,
            path: wanted.path.clone(),
            priority: wish.priority,
            expires_at: now + granted,
            registered_at: now,
            call_id: wanted.call_id.clone(),
            sequence: wanted.sequence,
            flow: wish.flow.clone(),
            probe: self.policy.probe_every.map_or(Probe::Never, |every| Probe::Due { at: now + every, unanswered: 0 }),
        }
    }

    /// All bindings of `user`, in the order of their coming.
    pub fn of(&self, user: &str, now: Instant) -> Vec<&Binding> {
        let all = self.bindings.get(user).map(Vec::as_slice).unwrap_or_default();
        all.iter().filter(|binding| binding.expires_at > now).collect()
    }

    /// Who is to be rung: groups of equal q, the highest first. Of the flows of one device only the youngest, for it
    /// would ring more than once (RFC 5626 §7).
    pub fn targets(&self, user: &str, now: Instant) -> Vec<Vec<Binding>> {
        let mut all = self.of(user, now);
        all.sort_by_key(|binding| (std::cmp::Reverse(binding.priority), std::cmp::Reverse(binding.registered_at)));
        let mut groups: Vec<Vec<Binding>> = Vec::new();
        let mut devices: Vec<&str> = Vec::new();
        for binding in all {
            if let Some(Flow { instance, .. }) = &binding.flow {
                if devices.contains(&instance.as_str()) {
                    continue;
                }
                devices.push(instance);
            }
            match groups.last_mut() {
                Some(group) if group.first().is_some_and(|first| first.priority == binding.priority) => {
                    group.push(binding.clone());
                }
                _ => groups.push(vec![binding.clone()]),
            }
        }
        groups
    }

    /// Bindings that want to be probed now; each has to be reported with [`Location::probed`].
    pub fn due_probes(&mut self, now: Instant) -> Vec<Binding> {
        self.expire(now);
        let mut due = Vec::new();
        for binding in self.bindings.values_mut().flatten() {
            if let Probe::Due { at, unanswered } = binding.probe
                && at <= now
            {
                binding.probe = Probe::Asked { unanswered };
                due.push(binding.clone());
            }
        }
        due
    }

    /// The fate of a probe. A lost connection is the end of what was registered over it.
    pub fn probed(&mut self, id: BindingId, outcome: Probed, now: Instant) {
        let every = self.policy.probe_every.unwrap_or(self.policy.longest);
        let mut gone = false;
        for binding in self.bindings.values_mut().flatten().filter(|binding| binding.id == id) {
            let Probe::Asked { unanswered } = binding.probe else { continue };
            let unanswered = if outcome == Probed::Alive { 0 } else { unanswered + 1 };
            let lost = outcome == Probed::Refused && matches!(binding.hop.link, Link::Connection(_));
            gone = lost || unanswered >= DEAD_AFTER;
            binding.probe = Probe::Due { at: now + every, unanswered };
        }
        if gone {
            self.keep(|binding| binding.id != id);
        }
    }

    /// When something ends or is to be probed next.
    pub fn wake_at(&self) -> Option<Instant> {
        let wakes = self.bindings.values().flatten().map(|binding| match binding.probe {
            Probe::Due { at, .. } => at.min(binding.expires_at),
            Probe::Never | Probe::Asked { .. } => binding.expires_at,
        });
        wakes.min()
    }

    /// Removes what is over.
    pub fn expire(&mut self, now: Instant) {
        self.keep(|binding| binding.expires_at > now);
    }

    pub fn len(&self) -> usize {
        self.bindings.values().map(Vec::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.bindings.is_empty()
    }

    fn keep(&mut self, stays: impl Fn(&Binding) -> bool) {
        self.bindings.retain(|_, all| {
            all.retain(&stays);
            !all.is_empty()
        });
    }
}

/// What became of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probed {
    /// Any final response: somebody is there.
    Alive,
    Silent,
    /// The network or the connection refused it.
    Refused,
}

impl Binding {
    /// Contact value for the list in a 200.
    pub fn listed(&self, now: Instant) -> String {
        let left = self.expires_at.saturating_duration_since(now).as_secs().max(1);
        let mut value = format!("<{}>;expires={left}", self.contact);
        if self.priority < 1000 {
            value.push_str(&format!(";q=0.{:03}", self.priority));
        }
        if let Some(Flow { instance, number }) = &self.flow {
            let instance = crate::sip::message::params::quote(instance);
            value.push_str(&format!(";+sip.instance={instance};reg-id={number}"));
        }
        value
    }

    /// Whether `wish` is about this binding: the same flow of the same device, or the same URI.
    fn is_meant_by(&self, wish: &Wish) -> bool {
        match (&self.flow, &wish.flow) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => self.contact.is_equivalent(&wish.contact),
        }
    }

    /// A request that was overtaken by a later one of the same phone must not undo it (RFC 3261 §10.3, step 7).
    fn in_order(&self, wanted: &Registration) -> Result<(), Refusal> {
        if self.call_id == wanted.call_id && wanted.sequence <= self.sequence {
            return Err(Refusal::new(400, "CSeq Is Not Higher Than The Last"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
