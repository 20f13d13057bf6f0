//! One call's sound as phones and ears share it, and what they write down of it.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::report::Spread;
use super::rtp::FRAME;

/// Places of the 20 ms frame that calls take one after the other: neighbours are far apart.
pub const PLACES: u32 = 64;
const STEP: u32 = 27;

/// When within its frame a call's phone speaks.
pub fn place(call: u32) -> Duration {
    FRAME * (call.wrapping_mul(STEP) % PLACES) / PLACES
}

/// The phone's end of a call.
#[derive(Debug)]
pub struct Line {
    pub call: u32,
    /// Does not block.
    pub socket: UdpSocket,
    pub remote: SocketAddr,
}

/// A pulse that a phone spoke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spoken {
    pub call: u32,
    pub number: u16,
    /// Microseconds of the tool's clock.
    pub at: u64,
    /// The network of the faults lost it: nobody can hear it.
    pub lost: bool,
}

/// A pulse that came, at the service or at the phone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    pub call: u32,
    pub number: u16,
    /// Microseconds since it left whoever sent it last.
    pub last_leg: u64,
    /// Microseconds of the whole way, without what a service held it back.
    pub whole: u64,
}

/// What was written down since the last look.
#[derive(Default)]
pub struct Notes {
    pub spoken: Mutex<Vec<Spoken>>,
    pub heard: Mutex<Vec<Heard>>,
    /// How late our own packets left: a large value says that this machine, not the gateway, was at its limit.
    pub lateness: Mutex<Spread>,
    /// Frames that the phones spoke, whatever became of their packets; of calls from this number on.
    pub frames: AtomicU64,
    pub frames_from: AtomicU32,
    pub sent: AtomicU64,
    pub received: AtomicU64,
    /// Pulses that came out of another call than the one that they went into.
    pub strays: AtomicU64,
}

pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
