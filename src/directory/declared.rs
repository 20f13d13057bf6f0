use std::collections::HashSet;
use std::hash::Hash;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::store::{Change, Key, StoreError, Table};

/// Where a record comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Origin {
    /// Made by an operator or through the API; stays until it is removed there.
    #[default]
    Made,
    /// Declared in the configuration file; goes when it leaves the file.
    File,
}

/// A record with its origin, as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Kept<T> {
    #[serde(flatten)]
    pub(super) record: T,
    #[serde(default)]
    pub(super) origin: Origin,
}

impl<T> Kept<T> {
    pub(super) fn made(record: T) -> Kept<T> {
        Kept { record, origin: Origin::Made }
    }

    pub(super) fn declared(record: T) -> Kept<T> {
        Kept { record, origin: Origin::File }
    }
}

/// Removes the records of `organization` that an earlier configuration file declared and this one does not.
pub(super) fn remove_undeclared<T, K>(
    change: &mut Change<'_>,
    table: &Table<(Uuid, K), Kept<T>>,
    organization: Uuid,
    declared: &HashSet<K>,
) -> Result<(), StoreError>
where
    T: Serialize + DeserializeOwned + Send + 'static,
    K: Key + Hash + Eq,
{
    for (key, kept) in change.range_prefix(table, &organization, usize::MAX)? {
        if kept.origin == Origin::File && !declared.contains(&key.1) {
            change.delete(table, &key)?;
        }
    }
    Ok(())
}
