use std::ops::Bound;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::UtcTime;
use crate::store::{Change, Order, Store, StoreError, Table};

const EVENTS: Table<u64, Event> = Table::new("events");
/// The same by subject, in the order of the sequence.
const BY_SUBJECT: Table<(Uuid, u64), ()> = Table::new("events_by_subject");
/// The last number given out. Kept apart from the events, so that trimming never makes a number come again.
const LAST_SEQUENCE: Table<(), u64> = Table::new("events_sequence");

/// Events removed in one change by [`trim`].
const TRIM_AT_ONCE: usize = 500;

/// Something that happened, in the words of the core.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Event {
    pub id: Uuid,
    pub organization: Uuid,
    pub at: UtcTime,
    pub kind: EventKind,
    /// The record concerned (a call's id).
    pub subject: Uuid,
    pub data: serde_json::Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    CallQueued,
    CallRinging,
    CallAnswered,
    /// A transfer to a person came to its outcome.
    CallTransferred,
    /// An attempt ended, finally or not.
    CallEnded,
    /// The call reached its final status.
    CallFinished,
    TranscriptSaved,
    /// A text came in.
    MessageReceived,
    /// The peer took a text of ours.
    MessageSent,
    /// A text of ours will not arrive.
    MessageFailed,
    /// A report says that a text of ours arrived.
    MessageDelivered,
    /// A cap of the dial policy is reached, or nearly; the subject is the organization.
    TollFraudAlert,
    /// A call got no media ports, because all are in use; the subject is the organization.
    MediaPortsAlert,
}

/// An event with its place in the outbox: 1, 2, 3 … without a gap at the time of writing, never given twice.
#[derive(Debug, Clone)]
pub struct Sequenced {
    pub sequence: u64,
    pub event: Event,
}

/// Appends to the outbox inside the change that the event reports.
pub fn append(change: &mut Change<'_>, event: &Event) -> Result<(), StoreError> {
    let sequence = change.get(&LAST_SEQUENCE, &())?.unwrap_or(0) + 1;
    change.put(&LAST_SEQUENCE, &(), &sequence)?;
    change.put(&EVENTS, &sequence, event)?;
    change.put(&BY_SUBJECT, &(event.subject, sequence), &())
}

/// Events after `sequence` (0: from the oldest that is kept), oldest first, at most `limit`.
pub fn since(store: &Store, sequence: u64, limit: usize) -> Result<Vec<Sequenced>, StoreError> {
    let mut events = Vec::new();
    if limit == 0 {
        return Ok(events);
    }
    let visit = &mut |sequence, event| {
        events.push(Sequenced { sequence, event });
        events.len() < limit
    };
    store.read()?.scan(&EVENTS, Bound::Excluded(&sequence), Bound::Unbounded, Order::Ascending, visit)?;
    Ok(events)
}

/// Events about `subject`, oldest first, at most `limit`.
pub fn of_subject(store: &Store, subject: Uuid, limit: usize) -> Result<Vec<Sequenced>, StoreError> {
    let snapshot = store.read()?;
    let mut sequences = Vec::new();
    snapshot.scan_prefix(&BY_SUBJECT, &subject, Order::Ascending, &mut |(_, sequence), ()| {
        sequences.push(sequence);
        sequences.len() <= limit
    })?;
    let events = sequences.into_iter().take(limit).map(|sequence| {
        let event = snapshot.get(&EVENTS, &sequence)?;
        Ok(event.map(|event| Sequenced { sequence, event }))
    });
    events.filter_map(Result::transpose).collect()
}

/// Removes events that happened before `before`, oldest first, up to the first that did not; returns how many. Readers
/// that have not come so far by then miss them.
pub async fn trim(store: &Store, before: UtcTime) -> Result<usize, StoreError> {
    let mut removed = 0;
    loop {
        let now: usize = store.write(move |change| trim_some(change, before)).await?;
        removed += now;
        if now < TRIM_AT_ONCE {
            return Ok(removed);
        }
    }
}

fn trim_some(change: &mut Change<'_>, before: UtcTime) -> Result<usize, StoreError> {
    let oldest = change.range(&EVENTS, Bound::Unbounded, Bound::Unbounded, TRIM_AT_ONCE)?;
    let mut removed = 0;
    for (sequence, event) in oldest.into_iter().take_while(|(_, event)| event.at < before) {
        change.delete(&EVENTS, &sequence)?;
        change.delete(&BY_SUBJECT, &(event.subject, sequence))?;
        removed += 1;
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::store::OpenOptions;

    fn event(subject: u128, at: i64, kind: EventKind) -> Event {
        Event {
            id: Uuid::from_u128(subject << 64 | u128::from(at.unsigned_abs())),
            organization: Uuid::nil(),
            at: UtcTime(at),
            kind,
            subject: Uuid::from_u128(subject),
            data: serde_json::json!({ "attempt": 1 }),
        }
    }

    fn open(directory: &tempfile::TempDir) -> Store {
        let options = OpenOptions { cache_bytes: 1024 * 1024 };
        Store::open(directory.path(), options, Clock::manual(UtcTime(0))).unwrap()
    }

    async fn append_all(store: &Store, events: Vec<Event>) {
        let all = store.write(move |change| events.iter().try_for_each(|event| append(change, event)));
        all.await.map_err(|error: StoreError| error).unwrap();
    }

    fn sequences(events: &[Sequenced]) -> Vec<u64> {
        events.iter().map(|event| event.sequence).collect()
    }

    #[tokio::test]
    async fn events_are_read_in_the_order_in_which_they_were_written() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(&directory);
        let kinds = [EventKind::CallQueued, EventKind::CallRinging, EventKind::CallAnswered];
        append_all(&store, kinds.iter().map(|kind| event(1, 10, *kind)).collect()).await;
        append_all(&store, vec![event(2, 5, EventKind::CallQueued), event(1, 20, EventKind::CallEnded)]).await;

        let all = since(&store, 0, 100).unwrap();
        assert_eq!(sequences(&all), [1, 2, 3, 4, 5]);
        assert_eq!(all[1].event.kind, EventKind::CallRinging);
        assert_eq!(sequences(&since(&store, 3, 1).unwrap()), [4]);
        assert!(since(&store, 5, 10).unwrap().is_empty() && since(&store, 0, 0).unwrap().is_empty());
        assert_eq!(sequences(&of_subject(&store, Uuid::from_u128(1), 100).unwrap()), [1, 2, 3, 5]);
        assert_eq!(sequences(&of_subject(&store, Uuid::from_u128(1), 2).unwrap()), [1, 2]);
    }

    #[tokio::test]
    async fn an_event_of_a_change_that_fails_never_happened() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(&directory);
        let failing = store.write(|change| {
            append(change, &event(1, 1, EventKind::CallQueued))?;
            Err::<(), _>(StoreError::Busy)
        });
        assert!(failing.await.is_err());
        append_all(&store, vec![event(1, 2, EventKind::CallQueued)]).await;
        assert_eq!(sequences(&since(&store, 0, 10).unwrap()), [1]);
    }

    #[tokio::test]
    async fn trimming_removes_the_old_and_gives_no_number_twice() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(&directory);
        let old = i64::try_from(TRIM_AT_ONCE).unwrap() + 20;
        append_all(&store, (0..old).map(|at| event(1, at, EventKind::CallQueued)).collect()).await;
        assert_eq!(trim(&store, UtcTime(old - 1)).await.unwrap(), TRIM_AT_ONCE + 19);
        assert_eq!(since(&store, 0, 10).unwrap().len(), 1);
        assert_eq!(of_subject(&store, Uuid::from_u128(1), 10).unwrap().len(), 1);
        assert_eq!(trim(&store, UtcTime(i64::MAX)).await.unwrap(), 1);
        store.close().await;

        let store = open(&directory);
        append_all(&store, vec![event(2, 1, EventKind::CallQueued)]).await;
        assert_eq!(sequences(&since(&store, 0, 10).unwrap()), [old.unsigned_abs() + 1]);
    }
}
