use std::collections::{BTreeMap, HashMap};

use super::table::{self, Bounds};

/// Written bytes of a record; `None` where it was deleted.
pub(super) type Written = Option<Vec<u8>>;

/// Writes that have not reached the file yet, by table and key.
#[derive(Default)]
pub(super) struct Overlay {
    tables: HashMap<&'static str, BTreeMap<Vec<u8>, Written>>,
    bytes: usize,
}

impl Overlay {
    /// `None` when the overlay says nothing of this record.
    pub(super) fn get(&self, table: &'static str, key: &[u8]) -> Option<&Written> {
        self.tables.get(table)?.get(key)
    }

    pub(super) fn set(&mut self, table: &'static str, key: Vec<u8>, value: Written) {
        self.bytes += key.len() + value.as_ref().map_or(0, Vec::len);
        self.tables.entry(table).or_default().insert(key, value);
    }

    /// Later writes win.
    pub(super) fn absorb(&mut self, later: Overlay) {
        self.bytes += later.bytes;
        for (table, records) in later.tables {
            self.tables.entry(table).or_default().extend(records);
        }
    }

    pub(super) fn range<'a>(
        &'a self,
        table: &'static str,
        bounds: &Bounds,
    ) -> impl Iterator<Item = (&'a Vec<u8>, &'a Written)> {
        let records = self.tables.get(table).filter(|_| !table::is_empty(bounds));
        records.map(|records| records.range::<[u8], _>(table::as_slices(bounds))).into_iter().flatten()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// Bytes ever written to it, an upper bound of what it holds.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn tables(&self) -> impl Iterator<Item = (&'static str, &BTreeMap<Vec<u8>, Written>)> {
        self.tables.iter().map(|(name, records)| (*name, records))
    }
}
