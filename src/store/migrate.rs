//! Numbered migrations: how records of an older schema become records of this one.
//!
//! A store of schema `n` is brought to the newest by the migrations after the `n`-th, all in one transaction with the
//! new schema number: it is migrated entirely or not at all. A field added with `#[serde(default)]` needs none.

use redb::{ReadableTable, TableHandle, WriteTransaction};

/// One step; the first in the list leads from schema 1 to schema 2.
pub struct Migration {
    /// What it does, for the log.
    pub name: &'static str,
    pub run: fn(&mut Migrating<'_>) -> Result<(), String>,
}

/// The steps of this program, oldest first. Never change or remove one that was released.
pub const MIGRATIONS: &[Migration] = &[];

/// The schema that a program with these migrations writes.
pub(super) fn newest(migrations: &[Migration]) -> u32 {
    u32::try_from(migrations.len()).unwrap_or(u32::MAX).saturating_add(1)
}

/// The tables as a migration sees them: encoded keys and JSON, without the types of any room.
pub struct Migrating<'a> {
    transaction: &'a WriteTransaction,
}

/// A record in a migration.
pub type RawRecord = (Vec<u8>, serde_json::Value);

impl Migrating<'_> {
    /// Replaces every record of `table` by what `rewrite` makes of it; `None` removes it.
    pub fn rewrite(
        &mut self,
        table: &str,
        mut rewrite: impl FnMut(Vec<u8>, serde_json::Value) -> Result<Option<RawRecord>, String>,
    ) -> Result<(), String> {
        let mut records = self.transaction.open_table(definition(table)).map_err(text)?;
        let mut rewritten = Vec::new();
        for record in records.iter().map_err(text)? {
            let (key, value) = record.map_err(text)?;
            let value = serde_json::from_slice(value.value()).map_err(text)?;
            rewritten.push((key.value().to_vec(), rewrite(key.value().to_vec(), value)?));
        }
        for (old, _) in &rewritten {
            records.remove(old.as_slice()).map_err(text)?;
        }
        for (key, value) in rewritten.into_iter().filter_map(|(_, new)| new) {
            let bytes = serde_json::to_vec(&value).map_err(text)?;
            records.insert(key.as_slice(), bytes.as_slice()).map_err(text)?;
        }
        Ok(())
    }

    /// Removes a table with all its records.
    pub fn drop_table(&mut self, table: &str) -> Result<(), String> {
        self.transaction.delete_table(definition(table)).map(|_| ()).map_err(text)
    }

    /// Names of all tables.
    pub fn tables(&self) -> Result<Vec<String>, String> {
        Ok(self.transaction.list_tables().map_err(text)?.map(|table| table.name().to_owned()).collect())
    }
}

/// Runs what a store of schema `found` lacks, inside `transaction`.
pub(super) fn run(transaction: &WriteTransaction, found: u32, migrations: &[Migration]) -> Result<(), String> {
    let done = usize::try_from(found.saturating_sub(1)).unwrap_or(usize::MAX);
    for migration in migrations.iter().skip(done) {
        tracing::info!(migration = migration.name, "migrating the store");
        (migration.run)(&mut Migrating { transaction }).map_err(|problem| format!("{}: {problem}", migration.name))?;
    }
    Ok(())
}

fn definition(table: &str) -> redb::TableDefinition<'_, &'static [u8], &'static [u8]> {
    redb::TableDefinition::new(table)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
