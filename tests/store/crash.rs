//! An acknowledged write survives `kill -9`: a child process writes and says so, is killed, and the store is searched.

#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use trunkline::clock::Clock;
use trunkline::store::{OpenOptions, Store, StoreError, Table};

const RECORDS: Table<u64, String> = Table::new("crash-records");
const COUNT: Table<(), u64> = Table::new("crash-count");
const DIRECTORY: &str = "TRUNKLINE_TEST_CRASH_DIRECTORY";
const WRITERS: u64 = 8;
const ROUNDS: u32 = 8;

fn open(directory: &Path) -> Store {
    Store::open(directory, OpenOptions { cache_bytes: 1024 * 1024 }, Clock::system()).expect("the store opens")
}

fn value(key: u64) -> String {
    format!("{key}-").repeat(usize::try_from(key % 200).expect("small") + 1)
}

/// The child: writes without end, and prints the key of each write that was acknowledged.
#[test]
fn child_writes_until_it_is_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let store = open(Path::new(&directory));
        let writers: Vec<_> = (0..WRITERS).map(|_| tokio::spawn(write_without_end(store.clone()))).collect();
        for writer in writers {
            writer.await.expect("it is killed before it ends");
        }
    });
}

async fn write_without_end(store: Store) {
    loop {
        let write = store.write(|change| {
            let key = change.get(&COUNT, &())?.unwrap_or(0) + 1;
            change.put(&COUNT, &(), &key)?;
            change.put(&RECORDS, &key, &value(key))?;
            Ok::<u64, StoreError>(key)
        });
        let key = write.await.expect("written");
        let mut out = std::io::stdout().lock();
        writeln!(out, "acknowledged {key}").expect("the parent listens");
        out.flush().expect("the parent listens");
    }
}

#[test]
fn every_acknowledged_write_survives_kill_9() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut acknowledged = Vec::new();
    for round in 0..ROUNDS {
        let after = usize::from(rand::random::<u8>()) + 1;
        let keys = write_and_kill(directory.path(), after);
        assert!(keys.len() >= after, "round {round}");
        acknowledged.extend(keys);

        let store = open(directory.path());
        let snapshot = store.read().expect("a snapshot");
        for key in &acknowledged {
            let found = snapshot.get(&RECORDS, key).expect("readable");
            assert_eq!(found, Some(value(*key)), "round {round}: key {key} was acknowledged");
        }
        // The count and the records are of one change each: never one without the other.
        let count = snapshot.get(&COUNT, &()).expect("readable").unwrap_or(0);
        assert_eq!(snapshot.count(&RECORDS).expect("readable"), count, "round {round}");
        drop(snapshot);
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(store.close());
    }
    println!("{} acknowledged writes over {ROUNDS} kills", acknowledged.len());
}

/// Starts the child, kills it once it has acknowledged `after` writes, and returns all that it acknowledged.
fn write_and_kill(directory: &Path, after: usize) -> Vec<u64> {
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "crash::child_writes_until_it_is_killed", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the child starts");
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    let mut keys = Vec::new();
    let mut line = String::new();
    while out.read_line(&mut line).expect("readable") > 0 {
        // A line without its end was cut by the kill: an acknowledgement that nobody heard whole.
        if let Some((_, key)) = line.strip_suffix('\n').and_then(|line| line.split_once("acknowledged ")) {
            keys.push(key.parse().expect("a number"));
            if keys.len() == after {
                child.kill().expect("killed");
            }
        }
        line.clear();
    }
    child.wait().expect("ended");
    keys
}
