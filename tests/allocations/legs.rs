//! A leg with a peer that says back what it hears.
#![allow(clippy::disallowed_methods)]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use trunkline::media::{Codec, HeardFrame, LegOptions, Peer, Playout};

use crate::counting;
use crate::media_stage::*;

/// Frames before the count begins, and while it goes on: five seconds.
const BEFORE: u64 = 150;
const COUNTED: u64 = 250;
/// Allowed in that time: one for each of ten packets would be ten times as many.
const MOST: u64 = 50;

struct Echo(Arc<AtomicU64>);

impl Peer for Echo {
    fn heard(&mut self, frame: HeardFrame<'_>, playout: &mut dyn Playout) {
        playout.push(frame.pcm, frame.rate);
        if self.0.fetch_add(1, Ordering::SeqCst) == BEFORE {
            counting::begin();
        }
    }

    fn key(&mut self, _: char, _: &mut dyn Playout) {}
    fn played(&mut self, _: u64, _: &mut dyn Playout) {}

    fn poll(&mut self, _: &mut Context<'_>, _: &mut dyn Playout) -> Poll<()> {
        Poll::Pending
    }
}

async fn allocations(recording: Option<PathBuf>) -> u64 {
    let plane = plane();
    let leg = plane.open(LegOptions { bind: LOCAL, recording }).await.expect("a leg");
    let mut phone = Phone::new(&leg).await;
    let frames = Arc::new(AtomicU64::new(0));
    let heard = frames.clone();
    leg.control.attach(Box::new(move || {
        counting::watch();
        Box::new(Echo(heard))
    }));
    leg.control.connect(remote(phone.port, Codec::Pcmu));
    phone.speak(440.0, (BEFORE + COUNTED + 20) as usize).await;
    within_patience(|| frames.load(Ordering::SeqCst) >= BEFORE + COUNTED).await;
    let count = counting::count();
    eprintln!("{count} allocations for {COUNTED} packets each way\n{}", counting::told());
    plane.stop().await;
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leg_carries_sound_both_ways_without_asking_for_memory() {
    let _turn = counting::TURN.lock().await;
    let count = allocations(None).await;
    assert!(count <= MOST, "{count} allocations:\n{}", counting::told());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recording_asks_for_memory_by_the_batch_and_not_by_the_packet() {
    let _turn = counting::TURN.lock().await;
    let folder = tempfile::tempdir().expect("a folder");
    let count = allocations(Some(folder.path().join("call.wav"))).await;
    assert!(count <= MOST, "{count} allocations:\n{}", counting::told());
}
