//! The file as it was written: values with their places, so that every mistake names its line.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// A read-only view of the parsed file.
pub(super) struct Tree<'i> {
    text: &'i str,
    pub(super) root: DeTable<'i>,
}

/// The values of one section, as far as they have the type that is asked for.
#[derive(Clone, Copy)]
pub(super) struct Entries<'t, 'i>(pub(super) &'t DeTable<'i>);

impl<'i> Tree<'i> {
    pub(super) fn new(text: &'i str, root: DeTable<'i>) -> Tree<'i> {
        Tree { text, root }
    }

    /// 1-based line of a place.
    pub(super) fn line(&self, place: &Range<usize>) -> usize {
        line_of(self.text, place.start)
    }

    pub(super) fn section(&self, name: &str) -> Option<Entries<'_, 'i>> {
        self.root.get(name)?.get_ref().as_table().map(Entries)
    }

    /// The tables of `[[name]]` with their places.
    pub(super) fn many(&self, name: &str) -> Vec<(Range<usize>, Entries<'_, 'i>)> {
        let array = self.root.get(name).and_then(|value| value.get_ref().as_array());
        array.into_iter().flat_map(tables).collect()
    }
}

fn tables<'t, 'i>(array: &'t DeArray<'i>) -> impl Iterator<Item = (Range<usize>, Entries<'t, 'i>)> {
    array.iter().filter_map(|item| item.get_ref().as_table().map(|table| (item.span(), Entries(table))))
}

impl<'t, 'i> Entries<'t, 'i> {
    pub(super) fn value(self, key: &str) -> Option<&'t Spanned<DeValue<'i>>> {
        self.0.get(key)
    }

    pub(super) fn text(self, key: &str) -> Option<&'t str> {
        self.value(key)?.get_ref().as_str()
    }

    pub(super) fn flag(self, key: &str) -> Option<bool> {
        self.value(key)?.get_ref().as_bool()
    }

    /// A section inside this one.
    pub(super) fn section(self, key: &str) -> Option<Entries<'t, 'i>> {
        self.value(key)?.get_ref().as_table().map(Entries)
    }

    pub(super) fn has(self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// Where the key is written.
    pub(super) fn place(self, key: &str) -> Option<Range<usize>> {
        self.0.get_key_value(key).map(|(key, _)| key.span())
    }

    pub(super) fn socket_address(self, key: &str) -> Option<std::net::SocketAddr> {
        self.text(key)?.parse().ok()
    }
}

/// A whole number in any of TOML's notations.
pub(super) fn whole(value: &DeValue<'_>) -> Option<i64> {
    let number = value.as_integer()?;
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

pub(super) fn line_of(text: &str, offset: usize) -> usize {
    let end = offset.min(text.len());
    1 + text.as_bytes()[..end].iter().filter(|byte| **byte == b'\n').count()
}
