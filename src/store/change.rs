use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use redb::ReadTransaction;

use super::overlay::{Overlay, Written};
use super::snapshot::{Records, open_table};
use super::table::{self, Bounds, encode_bounds, encode_key, prefix_bounds};
use super::{Key, PrefixOf, StoreError, Table, Value};

/// What the store held when the commit began. Only the writer changes the store, so this stays true during the commit.
pub(super) struct Base {
    transaction: ReadTransaction,
    tables: RefCell<HashMap<&'static str, Option<Records>>>,
    /// A read failed: redb will refuse everything until the file is opened anew.
    failed: Cell<bool>,
}

/// A change in progress: sees its own writes, the commit's earlier changes and the store.
pub struct Change<'a> {
    base: &'a Base,
    earlier: &'a Overlay,
    own: Overlay,
}

impl<'a> Change<'a> {
    pub(super) fn new(base: &'a Base, earlier: &'a Overlay) -> Change<'a> {
        Change { base, earlier, own: Overlay::default() }
    }

    pub(super) fn into_writes(self) -> Overlay {
        self.own
    }

    pub fn get<K: Key, V: Value>(&self, table: &Table<K, V>, key: &K) -> Result<Option<V>, StoreError> {
        self.bytes(table.name, &encode_key(key))?.map(|bytes| table.decode_value(&bytes)).transpose()
    }

    pub fn put<K: Key, V: Value>(&mut self, table: &Table<K, V>, key: &K, value: &V) -> Result<(), StoreError> {
        self.own.set(table.name, encode_key(key), Some(table.encode_value(value)?));
        Ok(())
    }

    /// Whether there was one.
    pub fn delete<K: Key, V: Value>(&mut self, table: &Table<K, V>, key: &K) -> Result<bool, StoreError> {
        let key = encode_key(key);
        let existed = self.bytes(table.name, &key)?.is_some();
        if existed {
            self.own.set(table.name, key, None);
        }
        Ok(existed)
    }

    /// Records in key order, at most `limit`.
    pub fn range<K: Key, V: Value>(
        &self,
        table: &Table<K, V>,
        from: Bound<&K>,
        to: Bound<&K>,
        limit: usize,
    ) -> Result<Vec<(K, V)>, StoreError> {
        self.range_bounds(table, &encode_bounds(from, to), limit)
    }

    /// Like [`Change::range`], over the records whose key begins with `prefix`.
    pub fn range_prefix<K: Key, V: Value, P: PrefixOf<K>>(
        &self,
        table: &Table<K, V>,
        prefix: &P,
        limit: usize,
    ) -> Result<Vec<(K, V)>, StoreError> {
        self.range_bounds(table, &prefix_bounds(prefix), limit)
    }

    fn bytes(&self, table: &'static str, key: &[u8]) -> Result<Written, StoreError> {
        match self.own.get(table, key).or_else(|| self.earlier.get(table, key)) {
            Some(written) => Ok(written.clone()),
            None => self.base.get(table, key),
        }
    }

    fn range_bounds<K: Key, V: Value>(
        &self,
        table: &Table<K, V>,
        bounds: &Bounds,
        limit: usize,
    ) -> Result<Vec<(K, V)>, StoreError> {
        let mut written: BTreeMap<&Vec<u8>, &Written> = self.earlier.range(table.name, bounds).collect();
        written.extend(self.own.range(table.name, bounds));

        let mut found = Vec::new();
        let mut add = |key: &[u8], value: &[u8]| {
            found.push((table.decode_key(key)?, table.decode_value(value)?));
            Ok::<bool, StoreError>(found.len() < limit)
        };
        if limit == 0 {
            return Ok(Vec::new());
        }
        // A merge in key order: what was written hides what the store holds under the same key.
        let mut written = written.into_iter().peekable();
        let mut more = true;
        self.base.scan(table.name, bounds, &mut |key, value| {
            while let Some((earlier, bytes)) = written.next_if(|(written, _)| written.as_slice() < key) {
                if let Some(bytes) = bytes {
                    more = add(earlier, bytes)?;
                    if !more {
                        return Ok(false);
                    }
                }
            }
            match written.next_if(|(written, _)| written.as_slice() == key) {
                Some((_, None)) => {}
                Some((_, Some(bytes))) => more = add(key, bytes)?,
                None => more = add(key, value)?,
            }
            Ok(more)
        })?;
        while more && let Some((key, bytes)) = written.next() {
            if let Some(bytes) = bytes {
                more = add(key, bytes)?;
            }
        }
        Ok(found)
    }
}

impl Base {
    pub(super) fn new(transaction: ReadTransaction) -> Base {
        Base { transaction, tables: RefCell::default(), failed: Cell::new(false) }
    }

    pub(super) fn failed(&self) -> bool {
        self.failed.get()
    }

    fn get(&self, table: &'static str, key: &[u8]) -> Result<Written, StoreError> {
        self.with_table(table, |records| match records.get(key).map_err(StoreError::read)? {
            Some(bytes) => Ok(Some(bytes.value().to_vec())),
            None => Ok(None),
        })
        .map(Option::flatten)
    }

    fn scan(
        &self,
        table: &'static str,
        bounds: &Bounds,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        if table::is_empty(bounds) {
            return Ok(());
        }
        self.with_table(table, |records| {
            for record in records.range::<&[u8]>(table::as_slices(bounds)).map_err(StoreError::read)? {
                let (key, value) = record.map_err(StoreError::read)?;
                if !visit(key.value(), value.value())? {
                    break;
                }
            }
            Ok(())
        })
        .map(|_| ())
    }

    fn with_table<T>(
        &self,
        name: &'static str,
        read: impl FnOnce(&Records) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let known = self.tables.borrow().contains_key(name);
        let opened = if known { Ok(()) } else { self.open_table(name) };
        let outcome = opened.and_then(|()| match self.tables.borrow().get(name) {
            Some(Some(records)) => read(records).map(Some),
            Some(None) | None => Ok(None),
        });
        if matches!(outcome, Err(StoreError::Read(_))) {
            self.failed.set(true);
        }
        outcome
    }

    fn open_table(&self, name: &'static str) -> Result<(), StoreError> {
        let records = open_table(&self.transaction, name)?;
        self.tables.borrow_mut().insert(name, records);
        Ok(())
    }
}
