//! A real limit of the operating system in place of a full disk: the file may not grow, then it may again.

#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic)]

use std::process::Command;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use trunkline::clock::Clock;
use trunkline::store::{OpenOptions, Store, StoreError, Table};

const RECORDS: Table<u64, String> = Table::new("full-records");
const CHILD: &str = "TRUNKLINE_TEST_FULL_DISK";

async fn put(store: &Store, key: u64) -> Result<(), StoreError> {
    store.write(move |change| change.put(&RECORDS, &key, &"x".repeat(60_000))).await
}

/// Runs in a process of its own, because the limit holds for the whole process; see below.
#[test]
fn child_fills_the_disk() {
    let Some(directory) = std::env::var_os(CHILD) else { return };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let store = Store::open(directory.as_ref(), OpenOptions { cache_bytes: 1024 * 1024 }, Clock::system())
            .expect("the store opens");
        put(&store, 0).await.expect("there is room");
        let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).expect("a limit");
        setrlimit(Resource::RLIMIT_FSIZE, 8 * 1024 * 1024, hard).expect("limited");

        let mut kept = 1;
        let refused = loop {
            match put(&store, kept).await {
                Ok(()) => kept += 1,
                Err(error) => break error,
            }
            assert!(kept < 1000, "the limit never bit");
        };
        assert!(matches!(refused, StoreError::Write(_)), "{refused}");
        // Full for a while: refusals, and reads that go on.
        for _ in 0..3 {
            assert!(put(&store, kept).await.is_err());
            let snapshot = store.read().expect("readable while full");
            assert_eq!(snapshot.count(&RECORDS).expect("readable while full"), kept);
        }
        setrlimit(Resource::RLIMIT_FSIZE, hard, hard).expect("unlimited");
        put(&store, kept).await.expect("there is room again");
        let snapshot = store.read().expect("readable");
        for key in 0..=kept {
            assert!(snapshot.get(&RECORDS, &key).expect("readable").is_some(), "record {key}");
        }
        drop(snapshot);
        store.close().await;
        println!("kept {kept} records before the disk was full");
    });
}

#[test]
fn a_full_disk_refuses_writes_keeps_reads_and_recovers() {
    let directory = tempfile::tempdir().expect("a directory");
    // An ignored SIGXFSZ stays ignored in the child, which then sees an error in place of the signal.
    let child = Command::new("sh")
        .args(["-c", r#"trap "" XFSZ; exec "$0" --exact full_disk::child_fills_the_disk --nocapture"#])
        .arg(std::env::current_exe().expect("this test"))
        .env(CHILD, directory.path())
        .output()
        .expect("the child starts");
    let out = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{out}\n{}", String::from_utf8_lossy(&child.stderr));
    assert!(out.contains("before the disk was full"), "the child did not run: {out}");
}
