//! What the end-to-end tests share: the built gateway as a child process, real counterparts beside it (SIPp, baresip),
//! a small HTTP client, and ears.
//!
//! Everything runs on loopback ports that are free at the moment; every process is ended by the value that started it.

// Each test binary uses its own part of this.
#![allow(dead_code, unused_imports)]
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

pub mod audio;
pub mod baresip;
pub mod beats;
pub mod bot;
pub mod caller;
pub mod damage;
pub mod gateway;
pub mod http;
pub mod process;
pub mod rtp_phone;
pub mod sipp;

pub use gateway::{Gateway, Setup};

/// A port of 127.0.0.1 that is free now over UDP and TCP (a SIP server listens on both), and was not given before.
pub fn free_udp_port() -> u16 {
    free_port()
}

/// The same.
pub fn free_tcp_port() -> u16 {
    free_port()
}

fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    for _ in 0..200 {
        let stream = TcpListener::bind("127.0.0.1:0").expect("a free TCP port");
        let port = stream.local_addr().expect("bound").port();
        let free = UdpSocket::bind(("127.0.0.1", port)).is_ok();
        if free && GIVEN.lock().unwrap_or_else(PoisonError::into_inner).insert(port) {
            return port;
        }
    }
    panic!("no port is free over UDP and TCP");
}

/// First port of `count` UDP ports in a row, below the range from which the system hands out ports of its own.
pub fn free_udp_range(count: u16) -> u16 {
    for _ in 0..200 {
        let first = 10_000 + 2 * (rand::random::<u16>() % 9_000);
        let all: Vec<_> = (first..first + count).map_while(|port| UdpSocket::bind(("127.0.0.1", port)).ok()).collect();
        if all.len() == usize::from(count) {
            return first;
        }
    }
    panic!("no {count} free UDP ports in a row");
}

/// Asks `probe` until it answers; fails the test, naming `what`, when it has not within `limit`.
#[track_caller]
pub fn wait_for<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < end, "waited {limit:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Where `make model` puts the recogniser's model; `None` when it is not there.
pub fn model_directory() -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".cache/model");
    folder.join("model.bin").is_file().then_some(folder)
}

/// Tests that run calls take turns: two cores carry one test's sound without holes, not four tests' at once.
pub fn take_turn() -> std::sync::MutexGuard<'static, ()> {
    static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
    TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
