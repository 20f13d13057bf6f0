//! A loud frame that says when it was sent: how long it took is known wherever it is seen.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::pump::LOUD;

/// Loud samples before the time: what a decoder and an encoder make of µ-law is the same octets.
const BEGINNING: usize = 16;
/// Four bits of the time an octet, as small positive samples: never the second zero, which is written as the first.
const NIBBLES: usize = 16;

fn epoch() -> Instant {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    *EPOCH.get_or_init(Instant::now)
}

/// Writes `at` into a frame of 160 octets.
pub fn write(at: Instant, frame: &mut [u8]) {
    let nanoseconds = at.saturating_duration_since(epoch()).as_nanos() as u64;
    frame[..BEGINNING].fill(LOUD);
    for (place, octet) in frame[BEGINNING..BEGINNING + NIBBLES].iter_mut().enumerate() {
        *octet = 0xC0 | ((nanoseconds >> (place * 4)) & 0x0F) as u8;
    }
}

/// How long ago the frame was sent, if it is one of these.
pub fn age(frame: &[u8]) -> Option<Duration> {
    let (beginning, rest) = frame.split_at_checked(BEGINNING)?;
    let time = rest.get(..NIBBLES)?;
    if beginning.iter().any(|octet| *octet != LOUD) || time.iter().any(|octet| octet & 0xF0 != 0xC0) {
        return None;
    }
    let nanoseconds = time.iter().rev().fold(0_u64, |so_far, octet| so_far << 4 | u64::from(octet & 0x0F));
    Some(epoch().elapsed().saturating_sub(Duration::from_nanos(nanoseconds)))
}
