//! Writes what an actor has to say to the store, in order, without making the actor wait for the disk.
//!
//! One entry is one store change: record, turns, events and mail together (transactional outbox). Entries that wait
//! are merged. When the disk fails the entry is kept and tried again, so that nothing is lost or doubled.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::ledger;
use super::record::{Call, Turn};
use super::report;
use super::tables::{self, TURNS};
use super::toll;
use super::transcript::file;
use crate::clock::Clock;
use crate::directory::Directory;
use crate::events::{self, Event, EventKind};
use crate::store::{Change, Store, StoreError};

/// Entries that may wait while the disk is slow; then the actor waits too.
const WAITING: usize = 64;
/// Pauses between tries of a failed write.
const PAUSES: [Duration; 8] = [
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(15),
    Duration::from_secs(30),
];

/// One change of the store.
#[derive(Debug, Clone, Default)]
pub(super) struct Entry {
    /// The record as it is now; the newest one wins.
    pub(super) call: Option<Box<Call>>,
    pub(super) turns: Vec<(u64, Turn)>,
    pub(super) events: Vec<Event>,
    /// The attempt is settled for good: write the transcript file and queue the mail.
    pub(super) closing: Option<Closing>,
}

/// What the end of a call owes besides its record.
#[derive(Debug, Clone)]
pub(super) struct Closing {
    /// All turns of the call.
    pub(super) turns: Vec<Turn>,
    /// The call has a transcript to keep.
    pub(super) transcript: bool,
    pub(super) mail: bool,
}

/// What the scribe needs of the room.
#[derive(Clone)]
pub(super) struct Desk {
    pub(super) store: Store,
    pub(super) clock: Clock,
    /// Folder of the transcript files.
    pub(super) transcripts: PathBuf,
    pub(super) directory: Directory,
}

/// Hands entries of one call to its writer task; the task ends with the handle.
pub(super) struct Scribe(mpsc::Sender<Box<Note>>);

/// An entry, and who waits for it to be on disk.
type Note = (Entry, Option<oneshot::Sender<Box<Call>>>);

impl Scribe {
    pub(super) fn start(desk: Desk, call: Uuid) -> Scribe {
        let (entries, inbox) = mpsc::channel(WAITING);
        tokio::spawn(keep_writing(desk, call, inbox));
        Scribe(entries)
    }

    /// Queues `entry`. Waits only when the disk is far behind.
    pub(super) async fn note(&self, entry: Entry) {
        // The task ends only after this handle.
        let _ = self.0.send(Box::new((entry, None))).await;
    }

    /// Queues the last entry and waits until it is on disk; returns the record as written, `None` when it could not
    /// be written in spite of many tries.
    pub(super) async fn close(&self, entry: Entry) -> Option<Box<Call>> {
        let (written, done) = oneshot::channel();
        self.0.send(Box::new((entry, Some(written)))).await.ok()?;
        done.await.ok()
    }
}

async fn keep_writing(desk: Desk, call: Uuid, mut inbox: mpsc::Receiver<Box<Note>>) {
    while let Some(note) = inbox.recv().await {
        let (mut entry, mut done) = *note;
        while done.is_none() {
            let Ok((next, next_done)) = inbox.try_recv().map(|note| *note) else { break };
            entry.append(next);
            done = next_done;
        }
        let written = desk.write_until_it_holds(call, entry).await;
        if let (Some(done), Some(call)) = (done, written) {
            let _ = done.send(call);
        }
    }
}

impl Entry {
    fn append(&mut self, next: Entry) {
        self.call = next.call.or(self.call.take());
        self.turns.extend(next.turns);
        self.events.extend(next.events);
        self.closing = next.closing.or(self.closing.take());
    }

    fn apply(&self, change: &mut Change<'_>, id: Uuid, clock: &Clock, directory: &Directory) -> Result<(), StoreError> {
        if let Some(call) = &self.call {
            tables::save(change, call)?;
            toll::charge(directory, change, call, &self.events)?;
        }
        for (number, turn) in &self.turns {
            change.put(&TURNS, &(id, *number), turn)?;
        }
        for event in &self.events {
            events::append(change, event)?;
        }
        if let (Some(call), Some(closing)) = (&self.call, self.closing.as_ref().filter(|closing| closing.mail))
            && let Some(mail) = report::mail(call, &closing.turns)
        {
            events::queue_mail(change, clock.id(), mail, clock.utc())?;
        }
        Ok(())
    }
}

impl Desk {
    /// The record as written; `None` when the store stayed out of order for minutes, or is closed.
    async fn write_until_it_holds(&self, call: Uuid, mut entry: Entry) -> Option<Box<Call>> {
        self.save_transcript(&mut entry).await;
        for pause in PAUSES.into_iter().map(Some).chain([None]) {
            match self.write(call, entry.clone()).await {
                Ok(()) => return entry.call,
                Err(StoreError::Closed) => break,
                Err(error) => {
                    metrics::counter!("trunkline_call_write_failures_total").increment(1);
                    tracing::warn!(%call, %error, "a call's record could not be written; trying again");
                }
            }
            tokio::time::sleep(pause?).await;
            // What kept the store from writing may have kept the file from it, too.
            self.try_transcript(&mut entry).await;
        }
        tracing::error!(%call, "a call's record was not written; it will be closed as restarted at the next start");
        None
    }

    async fn write(&self, call: Uuid, entry: Entry) -> Result<(), StoreError> {
        let (clock, directory) = (self.clock.clone(), self.directory.clone());
        self.store.write(move |change| entry.apply(change, call, &clock, &directory)).await
    }

    /// Writes the transcript file, if one is owed, and enters it into the record. After a few tries in vain the record
    /// goes on without it: the turns are in the store all the same.
    pub(super) async fn save_transcript(&self, entry: &mut Entry) {
        for pause in PAUSES.into_iter().take(3) {
            if self.try_transcript(entry).await {
                return;
            }
            tokio::time::sleep(pause).await;
        }
        self.try_transcript(entry).await;
    }

    /// One try; `true` when none is owed any more.
    async fn try_transcript(&self, entry: &mut Entry) -> bool {
        let (Some(call), Some(closing)) = (&mut entry.call, &mut entry.closing) else { return true };
        if !closing.transcript {
            return true;
        }
        let (name, text) = (file::name(call), file::text(call, &closing.turns));
        let (directory, size) = (self.transcripts.clone(), text.len() as u64);
        match tokio::task::spawn_blocking(move || file::write(&directory, &name, &text)).await {
            Ok(Ok(())) => {
                closing.transcript = false;
                call.transcript_file = file::name(call);
                call.transcript_size = size;
                call.transcript_saved_at = Some(self.clock.utc());
                entry.events.push(ledger::event(call, EventKind::TranscriptSaved, &self.clock));
                true
            }
            Ok(Err(error)) => {
                tracing::warn!(call = %call.id, %error, "a transcript file could not be written");
                false
            }
            Err(_) => true,
        }
    }

    /// One entry, once (restart, calls that wait).
    pub(super) async fn write_once(&self, call: Uuid, mut entry: Entry) -> Result<Option<Box<Call>>, StoreError> {
        self.save_transcript(&mut entry).await;
        let written = entry.call.clone();
        self.write(call, entry).await.map(|()| written)
    }
}

/// Whether the end of `call` leaves a transcript: every dispatched outbound call, and the answered inbound ones whose
/// number keeps them.
pub(super) fn owes_transcript(call: &Call) -> bool {
    call.save_transcript
        && match call.direction {
            super::Direction::Outbound => call.dispatched_at.is_some(),
            super::Direction::Inbound => call.answered_at.is_some(),
        }
}
