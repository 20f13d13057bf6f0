//! Where calls lie in the store, and the one way to write them: record and indexes always change together.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::record::{Call, CallStatus, Direction, EndedBy, Turn};
use crate::clock::UtcTime;
use crate::store::{Change, StoreError, Table};

pub(super) const CALLS: Table<Uuid, Call> = Table::new("calls");
/// Turns in the order in which they were closed.
pub(super) const TURNS: Table<(Uuid, u64), Turn> = Table::new("call_turns");
pub(super) const BY_ALIAS: Table<String, Uuid> = Table::new("calls_by_alias");
/// Organization, creation, id. The value answers most filters without the record.
pub(super) const BY_CREATION: Table<(Uuid, UtcTime, Uuid), Summary> = Table::new("calls_by_creation");
/// Calls that wait for a time or a line, and which of both.
pub(super) const BY_DUE: Table<(UtcTime, Uuid), CallStatus> = Table::new("calls_by_due");
/// Calls with an attempt under way.
pub(super) const LIVE: Table<Uuid, ()> = Table::new("calls_live");
pub(super) const BY_TRANSCRIPT: Table<String, Uuid> = Table::new("calls_by_transcript");

/// What lists filter by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Summary {
    pub(super) direction: Direction,
    pub(super) status: CallStatus,
    pub(super) by_api: bool,
    pub(super) transcript: bool,
    pub(super) started: Option<UtcTime>,
}

impl Summary {
    fn of(call: &Call) -> Summary {
        Summary {
            direction: call.direction,
            status: call.status,
            by_api: call.ended_by == Some(EndedBy::Api),
            transcript: !call.transcript_file.is_empty(),
            started: call.started_at(),
        }
    }
}

/// Writes `call` and moves its index entries.
pub(super) fn save(change: &mut Change<'_>, call: &Call) -> Result<(), StoreError> {
    let before = change.get(&CALLS, &call.id)?;
    match before.as_ref().and_then(Call::due_at) {
        Some(due) if Some(due) != call.due_at() => {
            change.delete(&BY_DUE, &(due, call.id))?;
        }
        _ => {}
    }
    if let Some(due) = call.due_at() {
        change.put(&BY_DUE, &(due, call.id), &call.status)?;
    }
    if call.is_live() {
        change.put(&LIVE, &call.id, &())?;
    } else if before.as_ref().is_some_and(Call::is_live) {
        change.delete(&LIVE, &call.id)?;
    }
    if before.is_none() {
        change.put(&BY_ALIAS, &call.alias, &call.id)?;
    }
    if !call.transcript_file.is_empty() {
        change.put(&BY_TRANSCRIPT, &call.transcript_file, &call.id)?;
    }
    change.put(&BY_CREATION, &(call.organization, call.created_at, call.id), &Summary::of(call))?;
    change.put(&CALLS, &call.id, call)
}
