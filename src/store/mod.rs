//! The embedded store: redb behind typed tables, one writer with group commit, sealed secrets.
//!
//! Changes (closures) flow in and are acknowledged after the fsync of the commit that holds them; reads go to
//! snapshots. Records are serde types of the rooms above; this room knows only their keys, bytes and tables.
//!
//! One thread writes. It takes every change that waits, runs them one after the other, and commits what they wrote in
//! one transaction with one acknowledgement each. A change sees its own writes, then those of the changes before it in
//! the same commit, then the store. A change that fails or panics leaves no trace and does not touch its neighbours; a
//! commit that fails leaves no trace of any of its changes, and the store goes on as soon as the disk does.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::clock::Clock;

mod backup;
mod change;
mod disk;
mod error;
mod key;
pub mod migrate;
mod overlay;
mod schema;
mod snapshot;
mod table;
mod vault;
mod writer;

pub use change::Change;
pub use error::{OpenError, StoreError};
pub use key::{Key, PrefixOf};
pub use snapshot::{Order, Snapshot};
pub use table::{Table, Value};
pub use vault::Sealed;

/// Changes that may wait for the writer; one more is refused with [`StoreError::Busy`].
const QUEUE: usize = 4096;

/// How the store is opened.
#[derive(Debug, Clone, Copy)]
pub struct OpenOptions {
    pub cache_bytes: usize,
}

/// What the writer has done since the store was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Transactions that reached the disk.
    pub commits: u64,
    /// Changes that these transactions held.
    pub changes: u64,
}

/// Handle on the store; cheap to clone. The file is closed by [`Store::close`], or a moment after the last handle is gone.
#[derive(Clone)]
pub struct Store {
    queue: mpsc::Sender<writer::Message>,
    inner: Arc<Inner>,
}

struct Inner {
    disk: Arc<disk::Disk>,
    vault: vault::Vault,
    counters: Arc<writer::Counters>,
    clock: Clock,
    cache_bytes: usize,
}

impl Store {
    /// Opens or creates `directory/trunkline.redb`, migrates its schema, makes or reads the master key.
    ///
    /// The key is the systemd credential `trunkline-master-key` when the service has one, else `directory/master.key`.
    pub fn open(directory: &Path, options: OpenOptions, clock: Clock) -> Result<Store, OpenError> {
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
        let opened = schema::open(directory, &options, credentials.as_deref().map(Path::new), migrate::MIGRATIONS)?;
        Self::run(opened, &options, clock).map_err(|problem| OpenError::unusable(directory, problem))
    }

    fn run(opened: schema::Opened, options: &OpenOptions, clock: Clock) -> Result<Store, String> {
        let disk = Arc::new(opened.disk);
        let counters = Arc::new(writer::Counters::default());
        let (queue, waiting) = mpsc::channel(QUEUE);
        writer::start(Arc::clone(&disk), waiting, Arc::clone(&counters), clock.clone())
            .map_err(|error| format!("the writer thread cannot be started: {error}"))?;
        let inner = Inner { disk, vault: opened.vault, counters, clock, cache_bytes: options.cache_bytes };
        Ok(Store { queue, inner: Arc::new(inner) })
    }

    /// Runs `change` on the writer thread, in one commit with whatever else is waiting; returns after the fsync. When
    /// `change` returns an error nothing of it is kept and the others in the commit are not touched.
    ///
    /// `change` must not block or wait for another write. Once submitted it is carried out even when the caller goes away.
    pub async fn write<T, E, F>(&self, change: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&mut Change<'_>) -> Result<T, E> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        match self.queue.try_send(writer::Message::Change(writer::Pending::boxed(change, reply))) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Err(StoreError::Busy.into()),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(StoreError::Closed.into()),
        }
        answer.await.unwrap_or_else(|_| Err(StoreError::Closed.into()))
    }

    /// A consistent view; cheap, never waits for the writer.
    pub fn read(&self) -> Result<Snapshot, StoreError> {
        self.inner.disk.begin_read().map(Snapshot::new)
    }

    /// Encrypts a secret under the master key (AEAD, random nonce). `context` (table and key) is authenticated.
    pub fn seal(&self, context: &str, secret: &[u8]) -> Sealed {
        self.inner.vault.seal(context, secret)
    }

    /// `None` when the secret was sealed under another key or context.
    pub fn unseal(&self, context: &str, sealed: &Sealed) -> Option<zeroize::Zeroizing<Vec<u8>>> {
        self.inner.vault.unseal(context, sealed)
    }

    /// A write and its fsync within `limit` (readiness, watchdog).
    pub async fn alive(&self, limit: Duration) -> bool {
        let now = self.inner.clock.utc();
        let beat = self.write(move |change| change.put(&schema::META, &schema::HEARTBEAT.to_owned(), &now.0.into()));
        matches!(tokio::time::timeout(limit, beat).await, Ok(Ok::<(), StoreError>(())))
    }

    /// Copies a consistent view of the whole store into a fresh file at `to` and returns the number of records. Blocks
    /// the calling thread; writes go on meanwhile. The master key is not part of the copy.
    pub fn backup(&self, to: &Path) -> Result<u64, StoreError> {
        backup::copy(&self.inner.disk.begin_read()?, to, self.inner.cache_bytes)
    }

    /// The clock that the store was opened with.
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    pub fn written(&self) -> Written {
        self.inner.counters.read()
    }

    /// Commits what waits and closes the file. Later writes and reads are answered with [`StoreError::Closed`].
    pub async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        // An error on either side means that the writer has gone already, and with it the file.
        if self.queue.send(writer::Message::Close(reply)).await.is_ok() {
            let _ = closed.await;
        }
    }
}

#[cfg(test)]
mod tests;
