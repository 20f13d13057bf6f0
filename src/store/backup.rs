use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use redb::{Database, ReadTransaction, TableHandle};

use super::StoreError;
use super::schema::sync_directory;

type Definition<'a> = redb::TableDefinition<'a, &'static [u8], &'static [u8]>;

/// Copies every table of `from` into a fresh file at `to`, which must not exist. The file takes its name only once it is
/// whole and on the disk.
pub(super) fn copy(from: &ReadTransaction, to: &Path, cache_bytes: usize) -> Result<u64, StoreError> {
    if to.exists() {
        return Err(StoreError::Write(format!("{} exists; name a new file", to.display())));
    }
    let partial = partial_name(to);
    let copied = copy_tables(from, &partial, cache_bytes);
    let finished = copied.and_then(|records| {
        fs::rename(&partial, to).map_err(StoreError::write)?;
        let directory = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        sync_directory(directory).map_err(StoreError::write)?;
        Ok(records)
    });
    if finished.is_err() {
        let _ = fs::remove_file(&partial);
    }
    finished
}

fn partial_name(to: &Path) -> PathBuf {
    let mut name = to.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}

fn copy_tables(from: &ReadTransaction, to: &Path, cache_bytes: usize) -> Result<u64, StoreError> {
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(to)
        .map_err(|error| StoreError::Write(format!("{}: {error}", to.display())))?;
    let copy: Database =
        redb::Builder::new().set_cache_size(cache_bytes).create_file(file).map_err(StoreError::write)?;
    let transaction = copy.begin_write().map_err(StoreError::write)?;
    let mut records = 0;
    for table in from.list_tables().map_err(StoreError::read)? {
        let definition = Definition::new(table.name());
        let source = from.open_table(definition).map_err(StoreError::read)?;
        let mut target = transaction.open_table(definition).map_err(StoreError::write)?;
        for record in source.range::<&[u8]>(..).map_err(StoreError::read)? {
            let (key, value) = record.map_err(StoreError::read)?;
            target.insert(key.value(), value.value()).map_err(StoreError::write)?;
            records += 1;
        }
    }
    transaction.commit().map_err(StoreError::write)?;
    Ok(records)
}
