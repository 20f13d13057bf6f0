//! What bounds the damage when somebody dials who should not: hours, calls at once, minutes a day.
//!
//! | Bound | Counted | Beyond it |
//! |---|---|---|
//! | `hours`, in the organization's time zone | – | [`DialVerdict::OutsideHours`] |
//! | `max_calls` | places held: outbound calls, and second legs through a trunk (a person that is called), from the dial to the end | no place; whoever dials waits |
//! | `max_minutes_per_day` | talk time of ended outbound calls and second legs of that local day, on disk with the end of each call, and what live ones have held so far | [`DialVerdict::MinutesUsed`] |
//!
//! At four fifths and at the whole of either cap an alert is raised, once a day each.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{DialVerdict, Directory};
use crate::clock::UtcTime;
use crate::config::{Config, Hours};
use crate::store::{Change, StoreError, Table};

/// By organization and local day (`20261121`).
const USAGE: Table<(Uuid, u64), Usage> = Table::new("dial_usage");
/// Days that are kept.
const DAYS: usize = 400;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Usage {
    seconds: u64,
}

/// The bounds and what is live; one for the box.
pub(super) struct Policy {
    zone: TimeZone,
    hours: Option<Hours>,
    max_calls: Option<usize>,
    max_minutes: Option<u64>,
    live: Mutex<Live>,
}

#[derive(Default)]
struct Live {
    next: u64,
    places: HashMap<u64, Instant>,
    /// What was raised already.
    raised: HashSet<(u64, DialCap, bool)>,
}

/// One of the outbound calls that may be at once; dropping it gives it back.
pub struct DialPlace {
    policy: Arc<Policy>,
    number: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DialCap {
    Calls,
    Minutes,
}

/// A cap that is reached, or nearly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct DialAlert {
    pub cap: DialCap,
    /// `false`: four fifths are used.
    pub reached: bool,
    pub used: u64,
    pub limit: u64,
}

impl Policy {
    pub(super) fn new(config: &Config) -> Policy {
        Policy {
            // Configuration was checked.
            zone: TimeZone::get(&config.organization.time_zone).unwrap_or(TimeZone::UTC),
            hours: config.dial.hours.clone(),
            max_calls: config.dial.max_calls,
            max_minutes: config.dial.max_minutes_per_day,
            live: Mutex::default(),
        }
    }

    /// Weekday from Monday, minute of the day, and the day itself.
    fn local(&self, at: UtcTime) -> (u32, u32, u64) {
        let time = jiff::Timestamp::from_millisecond(at.0).unwrap_or_default().to_zoned(self.zone.clone());
        let number = |number: i8| u32::from(number.unsigned_abs());
        let day =
            u64::from(time.year().unsigned_abs()) * 10_000 + u64::from(number(time.month()) * 100 + number(time.day()));
        (number(time.weekday().to_monday_zero_offset()), number(time.hour()) * 60 + number(time.minute()), day)
    }

    fn is_open(&self, at: UtcTime) -> bool {
        let (weekday, minute, _) = self.local(at);
        self.hours.as_ref().is_none_or(|hours| hours.hold(weekday, minute))
    }

    fn held(&self, now: Instant) -> (usize, Duration) {
        let live = self.lock();
        (live.places.len(), live.places.values().map(|begin| now.saturating_duration_since(*begin)).sum())
    }

    /// The alert when it is news today.
    fn news(&self, day: u64, cap: DialCap, used: u64, limit: u64) -> Option<DialAlert> {
        let reached = used >= limit;
        // Of a few calls at once four fifths are no news.
        let nearly = used * 5 >= limit * 4 && limit >= 5;
        let mut live = self.lock();
        live.raised.retain(|(raised, _, _)| *raised == day);
        ((reached || nearly) && live.raised.insert((day, cap, reached))).then_some(DialAlert {
            cap,
            reached,
            used,
            limit,
        })
    }

    // A poisoned lock only means that a thread panicked between changes that are each whole.
    fn lock(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for DialPlace {
    fn drop(&mut self) {
        self.policy.lock().places.remove(&self.number);
    }
}

impl Directory {
    /// A place among the outbound calls that may be at once; `None` when all are taken. To be held from the dial to the
    /// end of the call.
    pub fn dial_place(&self) -> Option<DialPlace> {
        let mut live = self.policy.lock();
        if self.policy.max_calls.is_some_and(|most| live.places.len() >= most) {
            return None;
        }
        live.next += 1;
        let number = live.next;
        live.places.insert(number, self.store.clock().now());
        Some(DialPlace { policy: self.policy.clone(), number })
    }

    /// What hours and minutes say to a call at `at`; `None` when they have nothing against it.
    pub(super) fn judge_time(&self, organization: Uuid, at: UtcTime) -> Result<Option<DialVerdict>, StoreError> {
        if !self.policy.is_open(at) {
            return Ok(Some(DialVerdict::OutsideHours));
        }
        let (_, _, today) = self.policy.local(self.store.clock().utc());
        let (_, _, day) = self.policy.local(at);
        let Some(most) = self.policy.max_minutes.filter(|_| day == today) else { return Ok(None) };
        let used = self.seconds_used(organization, today)?;
        Ok((used >= most * 60).then_some(DialVerdict::MinutesUsed))
    }

    /// Of the local day, live calls included.
    fn seconds_used(&self, organization: Uuid, day: u64) -> Result<u64, StoreError> {
        let ended = self.store.read()?.get(&USAGE, &(organization, day))?.unwrap_or_default().seconds;
        let (_, live) = self.policy.held(self.store.clock().now());
        Ok(ended + live.as_secs())
    }

    /// Enters the talk time of an outbound call that ended at `at`, inside the change that records its end.
    pub fn charge(
        &self,
        change: &mut Change<'_>,
        organization: Uuid,
        at: UtcTime,
        seconds: u64,
    ) -> Result<(), StoreError> {
        if seconds == 0 {
            return Ok(());
        }
        let (_, _, day) = self.policy.local(at);
        let mut usage = change.get(&USAGE, &(organization, day))?.unwrap_or_default();
        if usage.seconds == 0 {
            let kept = change.range_prefix(&USAGE, &organization, usize::MAX)?;
            for (key, _) in kept.iter().take(kept.len().saturating_sub(DAYS)) {
                change.delete(&USAGE, key)?;
            }
        }
        usage.seconds += seconds;
        change.put(&USAGE, &(organization, day), &usage)
    }

    /// Caps that are reached or nearly, and were not yet told today.
    pub fn dial_alerts(&self, organization: Uuid) -> Result<Vec<DialAlert>, StoreError> {
        let policy = &self.policy;
        let (_, _, day) = policy.local(self.store.clock().utc());
        let mut alerts = Vec::new();
        if let Some(most) = policy.max_calls {
            let (held, _) = policy.held(self.store.clock().now());
            alerts.extend(policy.news(day, DialCap::Calls, held as u64, most as u64));
        }
        if let Some(most) = policy.max_minutes {
            let used = self.seconds_used(organization, day)? / 60;
            alerts.extend(policy.news(day, DialCap::Minutes, used, most));
        }
        Ok(alerts)
    }

    /// How long until the next local day begins.
    pub fn until_tomorrow(&self) -> Duration {
        let (_, minute, _) = self.policy.local(self.store.clock().utc());
        Duration::from_secs(u64::from(24 * 60 - minute.min(24 * 60 - 1)) * 60)
    }
}
