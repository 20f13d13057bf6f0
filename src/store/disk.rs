use std::sync::{PoisonError, RwLock};

use redb::{Database, DatabaseError, ReadTransaction, ReadableDatabase, WriteTransaction};

use super::StoreError;

pub(super) type Opener = Box<dyn Fn() -> Result<Database, DatabaseError> + Send + Sync>;

/// The redb file. redb refuses everything after a failed read or write until the file is opened anew; `Disk` does that.
pub(super) struct Disk {
    slot: RwLock<Slot>,
    opener: Opener,
}

enum Slot {
    Open(Database),
    /// The file could not be opened again after a failure.
    Broken(String),
    Closed,
}

impl Disk {
    pub(super) fn open(opener: Opener) -> Result<Disk, DatabaseError> {
        let database = opener()?;
        Ok(Disk { slot: RwLock::new(Slot::Open(database)), opener })
    }

    pub(super) fn begin_read(&self) -> Result<ReadTransaction, StoreError> {
        match &*self.slot.read().unwrap_or_else(PoisonError::into_inner) {
            Slot::Open(database) => database.begin_read().map_err(StoreError::read),
            Slot::Broken(problem) => Err(StoreError::read(problem)),
            Slot::Closed => Err(StoreError::Closed),
        }
    }

    pub(super) fn begin_write(&self) -> Result<WriteTransaction, StoreError> {
        match &*self.slot.read().unwrap_or_else(PoisonError::into_inner) {
            Slot::Open(database) => database.begin_write().map_err(StoreError::write),
            Slot::Broken(problem) => Err(StoreError::write(problem)),
            Slot::Closed => Err(StoreError::Closed),
        }
    }

    /// Opens the file anew after a failure. Snapshots taken before answer [`StoreError::Read`] from now on.
    pub(super) fn reopen(&self) -> Result<(), String> {
        let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
        if matches!(*slot, Slot::Closed) {
            return Err(StoreError::Closed.to_string());
        }
        // The old handle must have let go of the file lock before the new one asks for it.
        *slot = Slot::Broken("the file is being opened anew".into());
        match (self.opener)() {
            Ok(database) => {
                *slot = Slot::Open(database);
                Ok(())
            }
            Err(error) => {
                *slot = Slot::Broken(error.to_string());
                Err(error.to_string())
            }
        }
    }

    pub(super) fn close(&self) {
        *self.slot.write().unwrap_or_else(PoisonError::into_inner) = Slot::Closed;
    }
}
