use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::Durability;
use tokio::sync::{mpsc, oneshot};

use super::change::Base;
use super::disk::Disk;
use super::overlay::Overlay;
use super::table::Raw;
use super::{Change, StoreError, Written};
use crate::clock::Clock;

/// Changes that one commit may hold.
const MAX_CHANGES: usize = 1024;
/// Once a commit's changes have written so many bytes the rest wait for the next commit.
const MAX_BYTES: usize = 8 * 1024 * 1024;

pub(super) enum Message {
    Change(Box<dyn Job>),
    /// Commit what waits, close the file, then answer.
    Close(oneshot::Sender<()>),
}

/// A change with the one who waits for it.
pub(super) trait Job: Send {
    /// Runs the change; whether it is to be kept.
    fn run(&mut self, change: &mut Change<'_>) -> bool;
    /// Answers, after the commit.
    fn finish(self: Box<Self>, committed: Result<(), StoreError>);
}

pub(super) struct Pending<T, E, F> {
    change: Option<F>,
    outcome: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
}

impl<T, E, F> Pending<T, E, F>
where
    T: Send + 'static,
    E: From<StoreError> + Send + 'static,
    F: FnOnce(&mut Change<'_>) -> Result<T, E> + Send + 'static,
{
    pub(super) fn boxed(change: F, reply: oneshot::Sender<Result<T, E>>) -> Box<dyn Job> {
        Box::new(Pending { change: Some(change), outcome: None, reply })
    }
}

impl<T, E, F> Job for Pending<T, E, F>
where
    T: Send + 'static,
    E: From<StoreError> + Send + 'static,
    F: FnOnce(&mut Change<'_>) -> Result<T, E> + Send + 'static,
{
    fn run(&mut self, change: &mut Change<'_>) -> bool {
        let Some(run) = self.change.take() else { return false };
        // The closure owns what it captured and its writes are dropped with `change`: nothing half-done is seen later.
        let outcome = catch_unwind(AssertUnwindSafe(|| run(change)))
            .unwrap_or_else(|_| Err(StoreError::write("the change panicked").into()));
        let keep = outcome.is_ok();
        self.outcome = Some(outcome);
        keep
    }

    fn finish(self: Box<Self>, committed: Result<(), StoreError>) {
        let outcome = match (committed, self.outcome) {
            (Err(error), _) => Err(error.into()),
            (Ok(()), Some(outcome)) => outcome,
            (Ok(()), None) => Err(StoreError::Closed.into()),
        };
        // The caller may have gone; the change was carried out all the same.
        let _ = self.reply.send(outcome);
    }
}

#[derive(Default)]
pub(super) struct Counters {
    commits: AtomicU64,
    changes: AtomicU64,
}

impl Counters {
    pub(super) fn read(&self) -> Written {
        Written { commits: self.commits.load(Ordering::Relaxed), changes: self.changes.load(Ordering::Relaxed) }
    }

    fn add(&self, changes: u64) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.changes.fetch_add(changes, Ordering::Relaxed);
        metrics::counter!("trunkline_store_commits_total").increment(1);
        metrics::counter!("trunkline_store_changes_total").increment(changes);
    }
}

pub(super) fn start(
    disk: Arc<Disk>,
    queue: mpsc::Receiver<Message>,
    counters: Arc<Counters>,
    clock: Clock,
) -> std::io::Result<()> {
    let writer = Writer { disk, queue, counters, clock, waiting: VecDeque::new(), closing: Vec::new() };
    std::thread::Builder::new().name("store".into()).spawn(move || writer.run()).map(|_| ())
}

struct Writer {
    disk: Arc<Disk>,
    queue: mpsc::Receiver<Message>,
    counters: Arc<Counters>,
    clock: Clock,
    /// Taken from the queue, not yet run.
    waiting: VecDeque<Box<dyn Job>>,
    closing: Vec<oneshot::Sender<()>>,
}

impl Writer {
    fn run(mut self) {
        while self.fill() {
            self.commit_waiting();
        }
        self.disk.close();
        for reply in self.closing {
            let _ = reply.send(());
        }
    }

    /// Takes what waits, at least one message; `false` when nothing will come any more and all is written.
    fn fill(&mut self) -> bool {
        if self.waiting.is_empty() {
            match self.queue.blocking_recv() {
                Some(message) => self.take(message),
                None => return false,
            }
        }
        while self.waiting.len() < MAX_CHANGES
            && let Ok(message) = self.queue.try_recv()
        {
            self.take(message);
        }
        true
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Change(job) => self.waiting.push_back(job),
            Message::Close(reply) => {
                self.closing.push(reply);
                self.queue.close();
            }
        }
    }

    fn commit_waiting(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let mut done = Vec::with_capacity(self.waiting.len());
        let outcome = self.run_and_commit(&mut done);
        if let Err(error) = &outcome {
            // No record, key or number is in the text: it is redb's or the operating system's.
            tracing::error!(changes = done.len(), %error, "the store could not commit");
            metrics::counter!("trunkline_store_failures_total").increment(1);
            if let Err(problem) = self.disk.reopen() {
                tracing::error!(problem, "the store cannot be opened again; the next change tries once more");
            }
        }
        for job in done {
            job.finish(outcome.as_ref().map(|_| ()).map_err(repeat));
        }
    }

    /// Runs waiting changes and commits them; those that were run, or that fail without having been run, are in `done`.
    fn run_and_commit(&mut self, done: &mut Vec<Box<dyn Job>>) -> Result<(), StoreError> {
        let base = match self.base() {
            Ok(base) => base,
            Err(error) => {
                done.extend(self.waiting.drain(..));
                return Err(error);
            }
        };
        let mut batch = Overlay::default();
        let mut kept = 0;
        while batch.bytes() < MAX_BYTES
            && let Some(mut job) = self.waiting.pop_front()
        {
            let mut change = Change::new(&base, &batch);
            let keep = job.run(&mut change);
            let writes = change.into_writes();
            if keep {
                kept += 1;
                batch.absorb(writes);
            }
            done.push(job);
        }
        if base.failed() {
            return Err(StoreError::write("the store could not be read"));
        }
        if batch.is_empty() {
            return Ok(());
        }
        // Pages that only `base` still holds could not be reused by this commit.
        drop(base);
        self.commit(&batch)?;
        self.counters.add(kept);
        Ok(())
    }

    fn base(&self) -> Result<Base, StoreError> {
        let transaction = self.disk.begin_read().or_else(|_| {
            self.disk.reopen().map_err(StoreError::Write)?;
            self.disk.begin_read().map_err(StoreError::write)
        })?;
        Ok(Base::new(transaction))
    }

    fn commit(&self, batch: &Overlay) -> Result<(), StoreError> {
        let began = self.clock.now();
        let mut transaction = self.disk.begin_write()?;
        transaction.set_durability(Durability::Immediate).map_err(StoreError::write)?;
        // Costs a second fsync a commit; without it, opening after a crash walks the whole file.
        transaction.set_quick_repair(true);
        for (name, records) in batch.tables() {
            let mut table = transaction.open_table(Raw::new(name)).map_err(StoreError::write)?;
            for (key, value) in records {
                match value {
                    Some(value) => table.insert(key.as_slice(), value.as_slice()).map(|_| ()),
                    None => table.remove(key.as_slice()).map(|_| ()),
                }
                .map_err(StoreError::write)?;
            }
        }
        transaction.commit().map_err(StoreError::write)?;
        metrics::histogram!("trunkline_store_commit_seconds").record(self.clock.now().duration_since(began));
        Ok(())
    }
}

/// The same answer for one more change.
fn repeat(error: &StoreError) -> StoreError {
    match error {
        StoreError::Write(problem) | StoreError::Read(problem) => StoreError::Write(problem.clone()),
        StoreError::Closed => StoreError::Closed,
        StoreError::Busy => StoreError::Busy,
        StoreError::Corrupt { table, problem } => StoreError::Corrupt { table, problem: problem.clone() },
    }
}
