//! How many changes the store acknowledges, each one on disk.

use std::time::{Duration, Instant};

use trunkline::clock::Clock;
use trunkline::store::{OpenOptions, Store, StoreError, Table};

use super::report::{Spread, title};

const ROWS: Table<u64, String> = Table::new("bench");
const MEASURED: Duration = Duration::from_secs(5);

pub fn commits() {
    title("store: changes acknowledged after their fsync, 200 bytes each");
    let folder = tempfile::tempdir().expect("a folder");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let store = Store::open(folder.path(), OpenOptions { cache_bytes: 16 << 20 }, Clock::system()).expect("a store");
    for writers in [1_u64, 16, 128] {
        let (count, spread) = runtime.block_on(write(&store, writers));
        println!(
            "{:<46} {:>9.0} changes/s",
            format!("{writers} writers, each waits for its answer"),
            count as f64 / MEASURED.as_secs_f64()
        );
        spread.print("      change → acknowledged");
    }
    runtime.block_on(store.close());
}

async fn write(store: &Store, writers: u64) -> (u64, Spread) {
    let end = Instant::now() + MEASURED;
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut times = Vec::new();
                let mut row = writer << 32;
                while Instant::now() < end {
                    let begin = Instant::now();
                    let value = "x".repeat(200);
                    let written: Result<(), StoreError> =
                        store.write(move |change| change.put(&ROWS, &row, &value)).await;
                    written.expect("written");
                    times.push(begin.elapsed());
                    row += 1;
                }
                times
            })
        })
        .collect();
    let mut spread = Spread::new();
    let mut count = 0;
    for task in tasks {
        for time in task.await.expect("the writer ends") {
            spread.record(time);
            count += 1;
        }
    }
    (count, spread)
}
