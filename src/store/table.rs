use std::marker::PhantomData;
use std::ops::Bound;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Key, PrefixOf, StoreError};

/// Every table of the file: encoded key to JSON.
pub(super) type Raw = redb::TableDefinition<'static, &'static [u8], &'static [u8]>;

/// A typed table; declare as a `const` in the room that owns the record.
///
/// Values are stored as JSON so that a field added with `#[serde(default)]` needs no migration.
pub struct Table<K, V> {
    pub name: &'static str,
    _types: PhantomData<fn() -> (K, V)>,
}

pub trait Value: Serialize + DeserializeOwned + Send + 'static {}
impl<T: Serialize + DeserializeOwned + Send + 'static> Value for T {}

impl<K, V> Table<K, V> {
    pub const fn new(name: &'static str) -> Self {
        Table { name, _types: PhantomData }
    }
}

impl<K: Key, V: Value> Table<K, V> {
    pub(super) fn encode_value(&self, value: &V) -> Result<Vec<u8>, StoreError> {
        serde_json::to_vec(value).map_err(|error| StoreError::Write(format!("table {}: {error}", self.name)))
    }

    pub(super) fn decode_value(&self, bytes: &[u8]) -> Result<V, StoreError> {
        serde_json::from_slice(bytes).map_err(|error| self.corrupt(error))
    }

    pub(super) fn decode_key(&self, mut bytes: &[u8]) -> Result<K, StoreError> {
        match K::decode(&mut bytes) {
            Some(key) if bytes.is_empty() => Ok(key),
            _ => Err(self.corrupt("its key has another form")),
        }
    }

    fn corrupt(&self, problem: impl std::fmt::Display) -> StoreError {
        StoreError::Corrupt { table: self.name, problem: problem.to_string() }
    }
}

pub(super) fn encode_key<K: Key>(key: &K) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(40);
    key.encode(&mut bytes);
    bytes
}

/// First and last encoded key of a range.
pub(super) type Bounds = (Bound<Vec<u8>>, Bound<Vec<u8>>);

pub(super) fn encode_bounds<K: Key>(from: Bound<&K>, to: Bound<&K>) -> Bounds {
    (from.map(encode_key), to.map(encode_key))
}

/// All keys that begin with `prefix`: up to, and without, the next byte string that does not.
pub(super) fn prefix_bounds<K: Key, P: PrefixOf<K>>(prefix: &P) -> Bounds {
    let first = encode_key(prefix);
    let mut end = first.clone();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return (Bound::Included(first), Bound::Excluded(end));
        }
    }
    (Bound::Included(first), Bound::Unbounded)
}

pub(super) fn as_slices(bounds: &Bounds) -> (Bound<&[u8]>, Bound<&[u8]>) {
    (bounds.0.as_ref().map(Vec::as_slice), bounds.1.as_ref().map(Vec::as_slice))
}

/// Whether no key can lie within; `BTreeMap::range` panics on such bounds.
pub(super) fn is_empty(bounds: &Bounds) -> bool {
    match as_slices(bounds) {
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (Bound::Included(from) | Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => from >= to,
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
    }
}
