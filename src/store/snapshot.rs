use std::ops::Bound;

use redb::{ReadOnlyTable, ReadTransaction, ReadableTableMetadata, TableError};

use super::table::{self, Bounds, Raw, encode_bounds, encode_key, prefix_bounds};
use super::{Key, PrefixOf, StoreError, Table, Value};

/// A consistent view of the store.
pub struct Snapshot {
    transaction: ReadTransaction,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Ascending,
    Descending,
}

impl Snapshot {
    pub(super) fn new(transaction: ReadTransaction) -> Snapshot {
        Snapshot { transaction }
    }

    pub fn get<K: Key, V: Value>(&self, table: &Table<K, V>, key: &K) -> Result<Option<V>, StoreError> {
        let Some(records) = open_table(&self.transaction, table.name)? else { return Ok(None) };
        let bytes = records.get(encode_key(key).as_slice()).map_err(StoreError::read)?;
        bytes.map(|bytes| table.decode_value(bytes.value())).transpose()
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
        self.scan_bounds(table, &encode_bounds(from, to), order, visit)
    }

    /// Like [`Snapshot::scan`], over the records whose key begins with `prefix`.
    pub fn scan_prefix<K: Key, V: Value, P: PrefixOf<K>>(
        &self,
        table: &Table<K, V>,
        prefix: &P,
        order: Order,
        visit: &mut dyn FnMut(K, V) -> bool,
    ) -> Result<(), StoreError> {
        self.scan_bounds(table, &prefix_bounds(prefix), order, visit)
    }

    pub fn count<K: Key, V: Value>(&self, table: &Table<K, V>) -> Result<u64, StoreError> {
        open_table(&self.transaction, table.name)?.map_or(Ok(0), |records| records.len().map_err(StoreError::read))
    }

    fn scan_bounds<K: Key, V: Value>(
        &self,
        table: &Table<K, V>,
        bounds: &Bounds,
        order: Order,
        visit: &mut dyn FnMut(K, V) -> bool,
    ) -> Result<(), StoreError> {
        let Some(records) = open_table(&self.transaction, table.name)?.filter(|_| !table::is_empty(bounds)) else {
            return Ok(());
        };
        let mut range = records.range::<&[u8]>(table::as_slices(bounds)).map_err(StoreError::read)?;
        loop {
            let next = match order {
                Order::Ascending => range.next(),
                Order::Descending => range.next_back(),
            };
            let Some(record) = next else { return Ok(()) };
            let (key, value) = record.map_err(StoreError::read)?;
            if !visit(table.decode_key(key.value())?, table.decode_value(value.value())?) {
                return Ok(());
            }
        }
    }
}

pub(super) type Records = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// `None` when nothing has been written to the table yet.
pub(super) fn open_table(transaction: &ReadTransaction, name: &'static str) -> Result<Option<Records>, StoreError> {
    match transaction.open_table(Raw::new(name)) {
        Ok(records) => Ok(Some(records)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(StoreError::read(error)),
    }
}
