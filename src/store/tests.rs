#![allow(clippy::disallowed_methods)]

use std::fs;
use std::io;
use std::ops::Bound;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc::sync_channel;

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};
use tempfile::TempDir;

use super::migrate::{Migrating, Migration};
use super::*;
use crate::clock::UtcTime;

const NUMBERS: Table<u64, String> = Table::new("test-numbers");
const NAMES: Table<(String, u64), u64> = Table::new("test-names");

fn options() -> OpenOptions {
    OpenOptions { cache_bytes: 1024 * 1024 }
}

fn clock() -> Clock {
    Clock::manual(UtcTime(1_700_000_000_000))
}

fn open() -> (TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), options(), clock()).unwrap();
    (directory, store)
}

async fn put(store: &Store, key: u64, value: &str) -> Result<(), StoreError> {
    let value = value.to_owned();
    store.write(move |change| change.put(&NUMBERS, &key, &value)).await
}

fn get(store: &Store, key: u64) -> Option<String> {
    store.read().unwrap().get(&NUMBERS, &key).unwrap()
}

/// Keeps the writer busy until the returned sender is used or dropped, so that what follows waits for one commit.
async fn hold(store: &Store) -> std::sync::mpsc::SyncSender<()> {
    let (release, released) = sync_channel::<()>(1);
    let (began, has_begun) = oneshot::channel();
    let store = store.clone();
    tokio::spawn(async move {
        let held = store.write(move |_| {
            let _ = began.send(());
            let _ = released.recv();
            Ok::<(), StoreError>(())
        });
        held.await.unwrap();
    });
    has_begun.await.unwrap();
    release
}

#[tokio::test]
async fn what_was_written_is_read_again_after_reopening() {
    let (directory, store) = open();
    put(&store, 1, "one").await.unwrap();
    put(&store, 2, "two").await.unwrap();
    assert!(store.write(|change| change.delete(&NUMBERS, &1)).await.map_err(|e: StoreError| e).unwrap());
    assert!(!store.write(|change| change.delete(&NUMBERS, &1)).await.map_err(|e: StoreError| e).unwrap());
    store.close().await;
    assert!(matches!(put(&store, 3, "three").await, Err(StoreError::Closed)));
    assert!(matches!(store.read().err(), Some(StoreError::Closed)));

    let store = Store::open(directory.path(), options(), clock()).unwrap();
    assert_eq!(get(&store, 1), None);
    assert_eq!(get(&store, 2).as_deref(), Some("two"));
    assert_eq!(store.read().unwrap().count(&NUMBERS).unwrap(), 1);
}

#[tokio::test]
async fn a_snapshot_does_not_see_later_writes() {
    let (_directory, store) = open();
    put(&store, 1, "before").await.unwrap();
    let snapshot = store.read().unwrap();
    put(&store, 1, "after").await.unwrap();
    assert_eq!(snapshot.get(&NUMBERS, &1).unwrap().as_deref(), Some("before"));
    assert_eq!(get(&store, 1).as_deref(), Some("after"));
}

#[tokio::test]
async fn changes_that_wait_together_share_one_commit_and_see_each_other() {
    let (_directory, store) = open();
    let before = store.written();
    let release = hold(&store).await;
    let writes: Vec<_> = (0..100u64)
        .map(|n| {
            let store = store.clone();
            let add = move |change: &mut Change<'_>| {
                let sum = change.get(&NAMES, &("sum".into(), 0))?.unwrap_or(0) + n;
                change.put(&NAMES, &("sum".into(), 0), &sum)
            };
            tokio::spawn(async move { store.write::<_, StoreError, _>(add).await })
        })
        .collect();
    while store.queue.max_capacity() - store.queue.capacity() < 100 {
        tokio::task::yield_now().await;
    }
    drop(release);
    for write in writes {
        write.await.unwrap().unwrap();
    }
    let after = store.written();
    assert_eq!(after.commits - before.commits, 1);
    assert_eq!(after.changes - before.changes, 100);
    assert_eq!(store.read().unwrap().get(&NAMES, &("sum".into(), 0)).unwrap(), Some(4950));
}

#[tokio::test]
async fn a_failing_or_panicking_change_leaves_its_neighbours_alone() {
    let (_directory, store) = open();
    let before = store.written().commits;
    let release = hold(&store).await;
    let write = |change: fn(&mut Change<'_>) -> Result<(), StoreError>| {
        let store = store.clone();
        tokio::spawn(async move { store.write(change).await })
    };
    let first = write(|change| change.put(&NUMBERS, &1, &"kept".into()));
    let failing = write(|change| {
        change.put(&NUMBERS, &1, &"lost".into())?;
        change.put(&NUMBERS, &2, &"lost".into())?;
        Err(StoreError::Read("on purpose".into()))
    });
    let panicking = write(|change| {
        change.delete(&NUMBERS, &1)?;
        panic!("on purpose")
    });
    let last = write(|change| {
        let seen = change.get(&NUMBERS, &1)?.unwrap_or_default();
        change.put(&NUMBERS, &3, &format!("saw {seen}"))
    });
    while store.queue.max_capacity() - store.queue.capacity() < 4 {
        tokio::task::yield_now().await;
    }
    drop(release);
    first.await.unwrap().unwrap();
    assert!(matches!(failing.await.unwrap(), Err(StoreError::Read(_))));
    assert!(matches!(panicking.await.unwrap(), Err(StoreError::Write(problem)) if problem.contains("panicked")));
    last.await.unwrap().unwrap();
    assert_eq!(store.written().commits - before, 1);
    assert_eq!(get(&store, 1).as_deref(), Some("kept"));
    assert_eq!(get(&store, 2), None);
    assert_eq!(get(&store, 3).as_deref(), Some("saw kept"));
}

#[tokio::test]
async fn a_full_queue_is_refused_at_once() {
    let (_directory, store) = open();
    let release = hold(&store).await;
    let mut accepted = Vec::new();
    for n in 0..QUEUE as u64 {
        let store = store.clone();
        accepted.push(tokio::spawn(async move { put(&store, n, "").await }));
    }
    while store.queue.capacity() > 0 {
        tokio::task::yield_now().await;
    }
    assert!(matches!(put(&store, 0, "one too many").await, Err(StoreError::Busy)));
    drop(release);
    for write in accepted {
        write.await.unwrap().unwrap();
    }
    assert_eq!(store.read().unwrap().count(&NUMBERS).unwrap(), QUEUE as u64);
}

#[tokio::test]
async fn a_range_in_a_change_merges_the_store_with_what_was_written_since() {
    let (_directory, store) = open();
    for n in [10, 20, 30, 40] {
        put(&store, n, "stored").await.unwrap();
    }
    let release = hold(&store).await;
    let earlier = tokio::spawn({
        let store = store.clone();
        async move {
            let change = store.write(|change| {
                change.put(&NUMBERS, &5, &"earlier".into())?;
                change.put(&NUMBERS, &20, &"earlier".into())?;
                change.delete(&NUMBERS, &30)
            });
            change.await.map_err(|error: StoreError| error)
        }
    });
    while store.queue.max_capacity() == store.queue.capacity() {
        tokio::task::yield_now().await;
    }
    let range = tokio::spawn({
        let store = store.clone();
        async move {
            let read = store.write(|change| {
                change.put(&NUMBERS, &25, &"own".into())?;
                change.put(&NUMBERS, &50, &"own".into())?;
                change.delete(&NUMBERS, &5)?;
                let keys = |records: Vec<(u64, String)>| records.into_iter().map(|(key, _)| key).collect::<Vec<_>>();
                Ok::<_, StoreError>((
                    change.range(&NUMBERS, Bound::Unbounded, Bound::Unbounded, 100)?,
                    keys(change.range(&NUMBERS, Bound::Excluded(&10), Bound::Included(&40), 2)?),
                    keys(change.range(&NUMBERS, Bound::Included(&41), Bound::Unbounded, 1)?),
                    keys(change.range(&NUMBERS, Bound::Included(&9), Bound::Excluded(&3), 9)?),
                    keys(change.range(&NUMBERS, Bound::Unbounded, Bound::Unbounded, 0)?),
                ))
            });
            read.await.unwrap()
        }
    });
    drop(release);
    earlier.await.unwrap().unwrap();
    let (all, two, one, reversed, none) = range.await.unwrap();
    let all: Vec<_> = all.iter().map(|(key, value)| (*key, value.as_str())).collect();
    assert_eq!(all, [(10, "stored"), (20, "earlier"), (25, "own"), (40, "stored"), (50, "own")]);
    assert_eq!((two, one), (vec![20, 25], vec![50]));
    assert!(reversed.is_empty() && none.is_empty());
}

#[tokio::test]
async fn scans_run_either_way_over_bounds_and_prefixes_until_told_to_stop() {
    let (_directory, store) = open();
    let fill = store.write(|change| {
        for (name, n) in [("a", 1), ("ab", 1), ("ab", 2), ("ab\0", 3), ("b", 1)] {
            change.put(&NAMES, &(name.into(), n), &n)?;
        }
        Ok::<_, StoreError>((
            change.range_prefix(&NAMES, &"ab".to_owned(), 10)?.len(),
            change.range_prefix(&NAMES, &"ab".to_owned(), 1)?.len(),
        ))
    });
    assert_eq!(fill.await.unwrap(), (2, 1));
    let snapshot = store.read().unwrap();
    let mut seen = Vec::new();
    let mut visit = |key: (String, u64), _| {
        seen.push(key.1);
        true
    };
    snapshot.scan_prefix(&NAMES, &"ab".to_owned(), Order::Descending, &mut visit).unwrap();
    assert_eq!(seen, [2, 1]);
    let mut first = None;
    let mut visit = |key, _| {
        first = Some(key);
        false
    };
    snapshot.scan(&NAMES, Bound::Unbounded, Bound::Unbounded, Order::Descending, &mut visit).unwrap();
    assert_eq!(first, Some(("b".into(), 1)));
}

#[tokio::test]
async fn a_record_of_another_form_is_named_not_guessed() {
    let (_directory, store) = open();
    put(&store, 1, "text").await.unwrap();
    let as_number: Table<u64, u64> = Table::new(NUMBERS.name);
    let error = store.read().unwrap().get(&as_number, &1).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { table: "test-numbers", .. }), "{error}");
    let other_key: Table<uuid::Uuid, String> = Table::new(NUMBERS.name);
    let scanned =
        store.read().unwrap().scan(&other_key, Bound::Unbounded, Bound::Unbounded, Order::Ascending, &mut |_, _| true);
    assert!(matches!(scanned, Err(StoreError::Corrupt { .. })));
}

#[tokio::test]
async fn a_second_opener_is_told_that_the_store_is_in_use() {
    let (directory, store) = open();
    assert!(matches!(Store::open(directory.path(), options(), clock()).err(), Some(OpenError::Locked { .. })));
    store.close().await;
    Store::open(directory.path(), options(), clock()).unwrap();
}

#[test]
fn the_directory_and_the_file_are_private() {
    use std::os::unix::fs::MetadataExt;
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("state").join("box");
    let _store = Store::open(&directory, options(), clock()).unwrap();
    assert_eq!(fs::metadata(&directory).unwrap().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(directory.join("trunkline.redb")).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn a_file_that_is_no_store_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("trunkline.redb");
    fs::write(&path, vec![b'x'; 8192]).unwrap();
    assert!(matches!(Store::open(directory.path(), options(), clock()).err(), Some(OpenError::Unusable { .. })));
    assert_eq!(fs::read(&path).unwrap(), vec![b'x'; 8192]);

    fs::remove_file(&path).unwrap();
    let foreign = redb::Database::create(&path).unwrap();
    let transaction = foreign.begin_write().unwrap();
    transaction.open_table(redb::TableDefinition::<u64, u64>::new("theirs")).unwrap();
    transaction.commit().unwrap();
    drop(foreign);
    let error = Store::open(directory.path(), options(), clock()).err().expect("refused");
    assert!(error.to_string().contains("not a store of Trunkline"), "{error}");
}

fn double(migrating: &mut Migrating<'_>) -> Result<(), String> {
    migrating.rewrite(NUMBERS.name, |key, value| {
        let text = value.as_str().ok_or("not a text")?;
        Ok((text != "drop me").then(|| (key, format!("{text}{text}").into())))
    })
}

fn fail(_: &mut Migrating<'_>) -> Result<(), String> {
    Err("on purpose".into())
}

fn open_migrated(directory: &TempDir, migrations: &[Migration]) -> Result<Store, OpenError> {
    let opened = schema::open(directory.path(), &options(), None, migrations)?;
    Ok(Store::run(opened, &options(), clock()).unwrap())
}

#[tokio::test]
async fn migrations_run_once_all_or_none_and_a_newer_store_is_refused() {
    let (directory, store) = open();
    put(&store, 1, "ab").await.unwrap();
    put(&store, 2, "drop me").await.unwrap();
    store.close().await;

    let failing = [Migration { name: "double", run: double }, Migration { name: "fail", run: fail }];
    let error = open_migrated(&directory, &failing).err().expect("refused");
    assert!(error.to_string().contains("fail: on purpose"), "{error}");

    let migrations = [Migration { name: "double", run: double }];
    for _ in 0..2 {
        let store = open_migrated(&directory, &migrations).unwrap();
        assert_eq!(get(&store, 1).as_deref(), Some("abab"), "neither twice nor by the failed attempt");
        assert_eq!(get(&store, 2), None);
        store.close().await;
    }

    let error = Store::open(directory.path(), options(), clock()).err().expect("refused");
    assert!(matches!(error, OpenError::Newer { found: 2, known: 1, .. }), "{error}");
    let store = open_migrated(&directory, &migrations).unwrap();
    assert_eq!(get(&store, 1).as_deref(), Some("abab"), "the refusal changed nothing");
}

#[tokio::test]
async fn a_backup_is_a_whole_store_and_never_overwrites() {
    let (directory, store) = open();
    for n in 0..500 {
        put(&store, n, &format!("value {n}")).await.unwrap();
    }
    let sealed = store.seal("a", b"secret");
    let elsewhere = tempfile::tempdir().unwrap();
    let to = elsewhere.path().join("trunkline.redb");
    let records = store.backup(&to).unwrap();
    assert!(records >= 500);
    assert!(store.backup(&to).unwrap_err().to_string().contains("exists"));
    put(&store, 999, "later").await.unwrap();

    fs::copy(directory.path().join("master.key"), elsewhere.path().join("master.key")).unwrap();
    let copy = Store::open(elsewhere.path(), options(), clock()).unwrap();
    assert_eq!(get(&copy, 499).as_deref(), Some("value 499"));
    assert_eq!(get(&copy, 999), None);
    assert!(copy.unseal("a", &sealed).is_some());
    assert!(store.backup(&elsewhere.path().join("missing/dir/file")).is_err());
}

/// A disk that can be full.
#[derive(Debug)]
struct Faulty {
    file: FileBackend,
    full: Arc<AtomicBool>,
}

impl Faulty {
    fn check(&self) -> io::Result<()> {
        if self.full.load(SeqCst) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl StorageBackend for Faulty {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check()?;
        self.file.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.check()?;
        self.file.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        self.file.write(offset, data)
    }
    fn close(&self) -> io::Result<()> {
        self.file.close()
    }
    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }
    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }
}

#[tokio::test]
async fn a_disk_that_fails_refuses_the_whole_commit_and_goes_on_when_it_works_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("faulty.redb");
    let full = Arc::new(AtomicBool::new(false));
    let opener = {
        let (path, full) = (path.clone(), Arc::clone(&full));
        move || {
            let file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
            let backend = Faulty { file: FileBackend::new(file)?, full: Arc::clone(&full) };
            redb::Builder::new().create_with_backend(backend)
        }
    };
    let opened = schema::open_with(directory.path(), &path, Box::new(opener), None, migrate::MIGRATIONS).unwrap();
    let store = Store::run(opened, &options(), clock()).unwrap();
    put(&store, 1, "before").await.unwrap();

    for round in 0..3 {
        full.store(true, SeqCst);
        let release = hold(&store).await;
        let writes: Vec<_> = (10..15u64)
            .map(|n| {
                let store = store.clone();
                tokio::spawn(async move { put(&store, n, "lost").await })
            })
            .collect();
        while store.queue.max_capacity() - store.queue.capacity() < 5 {
            tokio::task::yield_now().await;
        }
        drop(release);
        for write in writes {
            let error = write.await.unwrap().unwrap_err();
            assert!(matches!(error, StoreError::Write(_)), "{error}");
        }
        assert!(!store.alive(Duration::from_secs(5)).await);

        full.store(false, SeqCst);
        put(&store, 2, &format!("after {round}")).await.unwrap();
        assert!(store.alive(Duration::from_secs(5)).await);
        assert_eq!(get(&store, 1).as_deref(), Some("before"));
        assert_eq!(get(&store, 2), Some(format!("after {round}")));
        assert_eq!(get(&store, 10), None);
    }
}
