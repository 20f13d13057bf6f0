//! Commits and acknowledged writes a second, and how long one write takes, with 1, 10 and 100 writers at once.
//!
//! `cargo bench --bench store [-- DIRECTORY]`: the store lies in DIRECTORY, else in the directory for temporary files;
//! what is measured is that disk's fsync more than anything else.

#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use trunkline::clock::Clock;
use trunkline::store::{OpenOptions, Store, StoreError, Table};

const RECORDS: Table<u64, String> = Table::new("bench");
const LASTS: Duration = Duration::from_secs(4);
const WARM_UP: Duration = Duration::from_millis(500);
/// About as long as a call's record.
const RECORD_BYTES: usize = 1200;

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let parent = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let parent = parent.map_or_else(std::env::temp_dir, Into::into);
    println!("store in {}, records of {RECORD_BYTES} bytes, {} s each", parent.display(), LASTS.as_secs());
    println!(
        "{:>8} {:>11} {:>11} {:>14} {:>12} {:>12}",
        "writers", "writes/s", "commits/s", "writes/commit", "p50", "p99"
    );
    for writers in [1, 10, 100] {
        let directory = tempfile::tempdir_in(&parent).expect("a directory");
        runtime.block_on(measure(directory.path(), writers));
    }
}

async fn measure(directory: &Path, writers: u64) {
    let store = Store::open(directory, OpenOptions { cache_bytes: 16 << 20 }, Clock::system()).expect("it opens");
    let next = Arc::new(AtomicU64::new(0));
    run(&store, &next, writers, WARM_UP).await;
    let (before, began) = (store.written(), Instant::now());
    let times = run(&store, &next, writers, LASTS).await;
    let (after, seconds) = (store.written(), began.elapsed().as_secs_f64());
    store.close().await;

    let commits = after.commits - before.commits;
    let changes = after.changes - before.changes;
    #[allow(clippy::cast_precision_loss)]
    let rate = |count: u64| count as f64 / seconds;
    println!(
        "{writers:>8} {:>11.0} {:>11.0} {:>14.1} {:>9} µs {:>9} µs",
        rate(changes),
        rate(commits),
        rate(changes) / rate(commits),
        times.value_at_quantile(0.5),
        times.value_at_quantile(0.99),
    );
}

/// Microseconds from the call to the acknowledgement, of every write.
async fn run(store: &Store, next: &Arc<AtomicU64>, writers: u64, lasts: Duration) -> Histogram<u64> {
    let tasks: Vec<_> = (0..writers).map(|_| tokio::spawn(write(store.clone(), Arc::clone(next), lasts))).collect();
    let mut all = Histogram::new(3).expect("valid");
    for task in tasks {
        all.add(task.await.expect("it writes")).expect("it grows");
    }
    all
}

async fn write(store: Store, next: Arc<AtomicU64>, lasts: Duration) -> Histogram<u64> {
    let mut times = Histogram::new(3).expect("valid");
    let began = Instant::now();
    while began.elapsed() < lasts {
        let key = next.fetch_add(1, Ordering::Relaxed);
        let one = Instant::now();
        let written = store.write(move |change| change.put(&RECORDS, &key, &"x".repeat(RECORD_BYTES)));
        let written: Result<(), StoreError> = written.await;
        written.expect("written");
        times.record(u64::try_from(one.elapsed().as_micros()).unwrap_or(u64::MAX)).expect("it grows");
    }
    times
}
