//! The embedded store: redb behind typed tables, one writer with group commit, sealed secrets.
//!
//! Changes (closures) flow in and are acknowledged after the fsync of the commit that holds them; reads go to
//! snapshots. Records are serde types of the rooms above; this room knows only their keys, bytes and tables.

use std::marker::PhantomData;
use std::ops::Bound;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::clock::Clock;

/// A typed table; declare as a `const` in the room that owns the record.
///
/// Values are stored as JSON so that a field added with `#[serde(default)]` needs no migration.
pub struct Table<K, V> {
    pub name: &'static str,
    _types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Table<K, V> {
    pub const fn new(name: &'static str) -> Self {
        Table { name, _types: PhantomData }
    }
}

/// Order-preserving bytes of a key. Implemented for `Uuid`, `u64`, `i64`, [`crate::clock::UtcTime`], `String`, `[u8; 32]`, `()` and
/// tuples of two or three of them (strings inside tuples are terminated by a zero byte and may not hold one).
pub trait Key: Sized + Clone + Send + 'static {
    fn encode(&self, out: &mut Vec<u8>);
    /// `None` when the bytes are not of this key; advances `bytes`.
    fn decode(bytes: &mut &[u8]) -> Option<Self>;
}

pub trait Value: Serialize + DeserializeOwned + Send + 'static {}
impl<T: Serialize + DeserializeOwned + Send + 'static> Value for T {}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the store {path} is in use by another process; stop it first")]
    Locked { path: String },
    #[error(
        "the store {path} was written by a newer version (schema {found}, this program knows {known}); update Trunkline or restore a backup"
    )]
    Newer { path: String, found: u32, known: u32 },
    #[error("the store {path} cannot be opened: {problem}")]
    Unusable { path: String, problem: String },
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk is full or failing; nothing of the change was kept.
    #[error("the change could not be written: {0}")]
    Write(String),
    #[error("the store could not be read: {0}")]
    Read(String),
    #[error("record in table {table} cannot be understood: {problem}")]
    Corrupt { table: &'static str, problem: String },
    #[error("the store is closing")]
    Closed,
    /// The queue of the writer is full.
    #[error("the store is overloaded")]
    Busy,
}

/// How the store is opened.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    pub cache_bytes: usize,
}

/// Handle on the store; cheap to clone.
#[derive(Clone)]
pub struct Store {
    pub(crate) _todo: (),
}

impl Store {
    /// Opens or creates `directory/trunkline.redb`, migrates its schema, makes or reads the master key.
    pub fn open(directory: &Path, options: OpenOptions, clock: Clock) -> Result<Store, OpenError> {
        todo!("store: {directory:?} {options:?} {clock:?}")
    }

    /// Runs `change` on the writer thread, in one commit with whatever else is waiting; returns after the fsync. When
    /// `change` returns an error nothing of it is kept and the others in the commit are not touched.
    pub async fn write<T, E, F>(&self, change: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&mut Change<'_>) -> Result<T, E> + Send + 'static,
    {
        let _ = change;
        todo!("store")
    }

    /// A consistent view; cheap, never waits for the writer.
    pub fn read(&self) -> Result<Snapshot, StoreError> {
        todo!("store")
    }

    /// Encrypts a secret under the master key (AEAD, random nonce). `context` (table and key) is authenticated.
    pub fn seal(&self, context: &str, secret: &[u8]) -> Sealed {
        todo!("store: {context} {secret:?}")
    }

    /// `None` when the secret was sealed under another key or context.
    pub fn unseal(&self, context: &str, sealed: &Sealed) -> Option<zeroize::Zeroizing<Vec<u8>>> {
        todo!("store: {context} {sealed:?}")
    }

    /// A write and its fsync within `limit` (readiness, watchdog).
    pub async fn alive(&self, limit: Duration) -> bool {
        todo!("store: {limit:?}")
    }

    /// Commits what waits and closes the file.
    pub async fn close(&self) {
        todo!("store")
    }
}

/// An encrypted secret, base64 in the record.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Sealed(pub String);

/// A change in progress: sees its own writes, the commit's earlier changes and the store.
pub struct Change<'a> {
    pub(crate) _todo: PhantomData<&'a ()>,
}

impl Change<'_> {
    pub fn get<K: Key, V: Value>(&self, table: &Table<K, V>, key: &K) -> Result<Option<V>, StoreError> {
        let _ = key;
        todo!("store: {}", table.name)
    }

    pub fn put<K: Key, V: Value>(&mut self, table: &Table<K, V>, key: &K, value: &V) -> Result<(), StoreError> {
        let _ = (key, value);
        todo!("store: {}", table.name)
    }

    /// Whether there was one.
    pub fn delete<K: Key, V: Value>(&mut self, table: &Table<K, V>, key: &K) -> Result<bool, StoreError> {
        let _ = key;
        todo!("store: {}", table.name)
    }

    /// Records in key order, at most `limit`.
    pub fn range<K: Key, V: Value>(
        &self,
        table: &Table<K, V>,
        from: Bound<&K>,
        to: Bound<&K>,
        limit: usize,
    ) -> Result<Vec<(K, V)>, StoreError> {
        let _ = (from, to, limit);
        todo!("store: {}", table.name)
    }
}

/// A consistent view of the store.
pub struct Snapshot {
    pub(crate) _todo: (),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Ascending,
    Descending,
}

impl Snapshot {
    pub fn get<K: Key, V: Value>(&self, table: &Table<K, V>, key: &K) -> Result<Option<V>, StoreError> {
        let _ = key;
        todo!("store: {}", table.name)
    }

    /// Calls `visit` for each record in key order until it returns `false`.
    pub fn scan<K: Key, V: Value>(
        &self,
        table: &Table<K, V>,
        from: Bound<&K>,
        to: Bound<&K>,
        order: Order,
        visit: &mut dyn FnMut(K, V) -> bool,
    ) -> Result<(), StoreError> {
        let _ = (from, to, order, visit);
        todo!("store: {}", table.name)
    }

    pub fn count<K: Key, V: Value>(&self, table: &Table<K, V>) -> Result<u64, StoreError> {
        todo!("store: {}", table.name)
    }
}
