//! How calls and transcripts are read: by any of their names, and in pages, newest first.

use std::ops::Bound;

use uuid::Uuid;

use super::record::{Call, CallStatus, Direction, Turn};
use super::tables::{BY_ALIAS, BY_CREATION, BY_TRANSCRIPT, CALLS, Summary, TURNS};
use crate::clock::UtcTime;
use crate::store::{Order, Snapshot, Store, StoreError};

/// Reads calls and transcripts; cheap to clone.
#[derive(Clone)]
pub struct ReadModel {
    pub(crate) store: Store,
}

/// Filter over calls, newest first.
#[derive(Debug, Clone, Default)]
pub struct CallFilter {
    pub organization: Uuid,
    pub direction: Option<Direction>,
    /// Empty = all. Tells whether the record passes by the dialect's own status word.
    pub statuses: Vec<StatusFilter>,
    /// Only calls with a saved transcript.
    pub with_transcript: bool,
    /// Case-insensitive substring over phone, number, display name, number name and `rule`.
    pub text: Option<String>,
    /// Dispatch (outbound) or creation (inbound) at or after.
    pub since: Option<UtcTime>,
}

/// A core status with the facts that some dialects tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusFilter {
    pub status: CallStatus,
    /// `Some(true)`: only when the API ended it; `Some(false)`: only when it did not.
    pub ended_by_api: Option<bool>,
}

#[derive(Debug, Clone)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Rows after filtering.
    pub total: u64,
}

impl ReadModel {
    pub fn new(store: Store) -> ReadModel {
        ReadModel { store }
    }

    pub fn call(&self, organization: Uuid, id: Uuid) -> Result<Option<Call>, StoreError> {
        self.owned(&self.store.read()?, organization, Some(id))
    }

    /// By the `oac-…` or `vnum…` form.
    pub fn call_by_alias(&self, organization: Uuid, alias: &str) -> Result<Option<Call>, StoreError> {
        let snapshot = self.store.read()?;
        let id = snapshot.get(&BY_ALIAS, &alias.to_owned())?;
        self.owned(&snapshot, organization, id)
    }

    /// By transcript file name.
    pub fn call_by_transcript_file(&self, organization: Uuid, file: &str) -> Result<Option<Call>, StoreError> {
        let snapshot = self.store.read()?;
        let id = snapshot.get(&BY_TRANSCRIPT, &file.to_owned())?;
        self.owned(&snapshot, organization, id)
    }

    pub fn calls(&self, filter: &CallFilter, offset: u64, limit: usize) -> Result<Page<Call>, StoreError> {
        let snapshot = self.store.read()?;
        let text = filter.text.as_deref().map(str::to_lowercase).filter(|text| !text.is_empty());
        let mut page = Page { items: Vec::new(), total: 0 };
        let mut failure = None;
        let mut visit = |(_, _, id): (Uuid, UtcTime, Uuid), summary: Summary| {
            match matching(&snapshot, filter, text.as_deref(), id, &summary) {
                Ok(Match::No) => {}
                Ok(found) => {
                    let wanted = page.total >= offset && page.items.len() < limit;
                    page.total += 1;
                    if wanted {
                        match found.record(&snapshot, id) {
                            Ok(call) => page.items.extend(call),
                            Err(error) => failure = Some(error),
                        }
                    }
                }
                Err(error) => failure = Some(error),
            }
            failure.is_none()
        };
        let first = (filter.organization, UtcTime(i64::MIN), Uuid::nil());
        let last = (filter.organization, UtcTime(i64::MAX), Uuid::max());
        snapshot.scan(&BY_CREATION, Bound::Included(&first), Bound::Included(&last), Order::Descending, &mut visit)?;
        failure.map_or(Ok(page), Err)
    }

    /// Closed turns by the time of their first sound.
    pub fn turns(&self, call: Uuid) -> Result<Vec<Turn>, StoreError> {
        turns(&self.store.read()?, call)
    }

    fn owned(&self, snapshot: &Snapshot, organization: Uuid, id: Option<Uuid>) -> Result<Option<Call>, StoreError> {
        let Some(id) = id else { return Ok(None) };
        Ok(snapshot.get(&CALLS, &id)?.filter(|call| call.organization == organization))
    }
}

/// Closed turns of a call, by the time of their first sound.
pub(super) fn turns(snapshot: &Snapshot, call: Uuid) -> Result<Vec<Turn>, StoreError> {
    let mut turns = Vec::new();
    snapshot.scan(
        &TURNS,
        Bound::Included(&(call, 0)),
        Bound::Included(&(call, u64::MAX)),
        Order::Ascending,
        &mut |_, turn| {
            turns.push(turn);
            true
        },
    )?;
    turns.sort_by_key(|turn: &Turn| turn.started_at);
    Ok(turns)
}

enum Match {
    No,
    Summary,
    /// The record had to be read to decide.
    Record(Box<Call>),
}

impl Match {
    fn record(self, snapshot: &Snapshot, id: Uuid) -> Result<Option<Call>, StoreError> {
        match self {
            Match::No => Ok(None),
            Match::Summary => snapshot.get(&CALLS, &id),
            Match::Record(call) => Ok(Some(*call)),
        }
    }
}

fn matching(
    snapshot: &Snapshot,
    filter: &CallFilter,
    text: Option<&str>,
    id: Uuid,
    summary: &Summary,
) -> Result<Match, StoreError> {
    if !filter.passes(summary) {
        return Ok(Match::No);
    }
    let Some(text) = text else { return Ok(Match::Summary) };
    let call = snapshot.get(&CALLS, &id)?.filter(|call| mentions(call, text));
    Ok(call.map_or(Match::No, |call| Match::Record(Box::new(call))))
}

impl CallFilter {
    fn passes(&self, summary: &Summary) -> bool {
        self.direction.is_none_or(|direction| direction == summary.direction)
            && (self.statuses.is_empty() || self.statuses.iter().any(|status| status.passes(summary)))
            && (!self.with_transcript || summary.transcript)
            && self.since.is_none_or(|since| summary.started.is_some_and(|started| started >= since))
    }
}

impl StatusFilter {
    fn passes(self, summary: &Summary) -> bool {
        self.status == summary.status && self.ended_by_api.is_none_or(|by_api| by_api == summary.by_api)
    }
}

/// `text` is in lower case.
fn mentions(call: &Call, text: &str) -> bool {
    [&call.phone, &call.number, &call.display_name, &call.number_name, &call.rule()]
        .iter()
        .any(|field| field.to_lowercase().contains(text))
}
