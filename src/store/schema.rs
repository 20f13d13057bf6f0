use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use redb::{Database, DatabaseError, Durability, ReadTransaction, WriteTransaction};

use super::disk::{Disk, Opener};
use super::migrate::{self, Migration};
use super::snapshot::open_table;
use super::table::{Raw, encode_key};
use super::vault::{KeySource, Sealed, Vault};
use super::{OpenError, OpenOptions, Table};

const FILE: &str = "trunkline.redb";

/// Facts about the store itself.
pub(super) const META: Table<String, serde_json::Value> = Table::new("meta");
pub(super) const HEARTBEAT: &str = "heartbeat";
const SCHEMA: &str = "schema";
/// A known text sealed under the master key, by which a wrong key is noticed at the start and not at the first secret.
const KEY_CHECK: &str = "master-key-check";

pub(super) struct Opened {
    pub(super) disk: Disk,
    pub(super) vault: Vault,
}

/// Opens or creates the store in `directory`.
pub(super) fn open(
    directory: &Path,
    options: &OpenOptions,
    credentials: Option<&Path>,
    migrations: &[Migration],
) -> Result<Opened, OpenError> {
    make_directory(directory).map_err(|error| OpenError::unusable(directory, error))?;
    let path = directory.join(FILE);
    let opener: Opener = Box::new({
        let (path, cache_bytes) = (path.clone(), options.cache_bytes);
        move || open_file(&path, cache_bytes)
    });
    open_with(directory, &path, opener, credentials, migrations)
}

/// The same over any redb file.
pub(super) fn open_with(
    directory: &Path,
    path: &Path,
    opener: Opener,
    credentials: Option<&Path>,
    migrations: &[Migration],
) -> Result<Opened, OpenError> {
    let unusable = |problem: String| OpenError::unusable(path, problem);
    let disk = Disk::open(opener).map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::Locked { path: path.display().to_string() },
        other => unusable(explain(&other)),
    })?;
    sync_directory(directory).map_err(|error| OpenError::unusable(directory, error))?;

    let meta = Meta::read(&disk.begin_read().map_err(|error| unusable(error.to_string()))?).map_err(unusable)?;
    let known = migrate::newest(migrations);
    if let Some(found) = meta.schema.filter(|found| *found > known) {
        return Err(OpenError::Newer { path: path.display().to_string(), found, known });
    }
    let vault = Vault::open(&KeySource { directory, credentials }, meta.key_check.as_ref())
        .map_err(|problem| OpenError::unusable(path, problem))?;
    if meta.schema != Some(known) || meta.key_check.is_none() {
        bring_up(&disk, &meta, &vault, migrations).map_err(unusable)?;
    }
    Ok(Opened { disk, vault })
}

/// Writes the schema number and key check of a new store, or migrates an older one: one transaction.
fn bring_up(disk: &Disk, meta: &Meta, vault: &Vault, migrations: &[Migration]) -> Result<(), String> {
    let mut transaction = disk.begin_write().map_err(|error| error.to_string())?;
    transaction.set_durability(Durability::Immediate).map_err(|error| error.to_string())?;
    transaction.set_quick_repair(true);
    if let Some(found) = meta.schema {
        migrate::run(&transaction, found, migrations).map_err(|problem| format!("migration failed: {problem}"))?;
    }
    put(&transaction, SCHEMA, &migrate::newest(migrations).into())?;
    if meta.key_check.is_none() {
        put(&transaction, KEY_CHECK, &vault.check().0.into())?;
    }
    transaction.commit().map_err(|error| error.to_string())
}

struct Meta {
    schema: Option<u32>,
    key_check: Option<Sealed>,
}

impl Meta {
    fn read(transaction: &ReadTransaction) -> Result<Meta, String> {
        let schema = match get(transaction, SCHEMA)? {
            None => None,
            Some(value) => Some(
                value
                    .as_u64()
                    .and_then(|number| u32::try_from(number).ok())
                    .ok_or("its schema number cannot be understood; restore a backup")?,
            ),
        };
        if schema.is_none() && transaction.list_tables().map_err(|error| error.to_string())?.next().is_some() {
            return Err("it is not a store of Trunkline; move the file away".into());
        }
        let key_check = get(transaction, KEY_CHECK)?.and_then(|value| value.as_str().map(|text| Sealed(text.into())));
        Ok(Meta { schema, key_check })
    }
}

fn get(transaction: &ReadTransaction, name: &str) -> Result<Option<serde_json::Value>, String> {
    let Some(records) = open_table(transaction, META.name).map_err(|error| error.to_string())? else {
        return Ok(None);
    };
    let key = encode_key(&name.to_owned());
    match records.get(key.as_slice()).map_err(|error| error.to_string())? {
        Some(bytes) => serde_json::from_slice(bytes.value()).map(Some).map_err(|error| error.to_string()),
        None => Ok(None),
    }
}

fn put(transaction: &WriteTransaction, name: &str, value: &serde_json::Value) -> Result<(), String> {
    let mut records = transaction.open_table(Raw::new(META.name)).map_err(|error| error.to_string())?;
    let bytes = serde_json::to_vec(value).map_err(|error| error.to_string())?;
    let key = encode_key(&name.to_owned());
    records.insert(key.as_slice(), bytes.as_slice()).map(|_| ()).map_err(|error| error.to_string())
}

fn open_file(path: &Path, cache_bytes: usize) -> Result<Database, DatabaseError> {
    let file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    redb::Builder::new().set_cache_size(cache_bytes).create_file(file)
}

/// Mode 0700 when it is made here; a directory that exists is the operator's (systemd `StateDirectory`).
fn make_directory(directory: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().recursive(true).mode(0o700).create(directory) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(io::Error::new(
            ErrorKind::PermissionDenied,
            "the directory cannot be made: permission denied; make it and give it to the service's user",
        )),
        other => other,
    }
}

/// A file survives a power cut only once its directory entry is on the disk.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    fs::File::open(directory)?.sync_all()
}

fn explain(error: &DatabaseError) -> String {
    use redb::StorageError::{Corrupted, Io};
    match error {
        DatabaseError::Storage(Io(io)) if io.kind() == ErrorKind::PermissionDenied => {
            "permission denied; the file must belong to the service's user".into()
        }
        DatabaseError::Storage(Io(io)) if io.kind() == ErrorKind::InvalidData => {
            format!("{io}; it is not a store of Trunkline, or damaged: restore a backup")
        }
        DatabaseError::Storage(Corrupted(problem)) => format!("{problem}; restore a backup"),
        other => other.to_string(),
    }
}
