//! A loud piece of sound that says whose it is and when it was sent: how long it took is known wherever it is heard.
//!
//! What a decoder and an encoder make of its µ-law octets is the same octets, so it survives every part that does not
//! change the sound. It is found at any place of a frame and over the edge of two, because a box may shift what it plays.

use std::sync::OnceLock;
use std::time::Instant;

use super::rtp::QUIET;

/// The loudest value of µ-law.
pub const LOUD: u8 = 0x80;
/// Loud octets before the figures.
pub const BEGINNING: usize = 16;
/// Four bits an octet, as small positive samples: never the second zero, which is written as the first.
const NIBBLES: usize = 30;
/// Octets of the whole.
pub const LENGTH: usize = BEGINNING + NIBBLES;

/// Widths of the fields, bits; the rest of the nibbles is the check.
const CALL: u32 = 24;
const NUMBER: u32 = 16;
const STAMP: u32 = 40;
const PATH: u32 = 28;
const CHECK: u32 = 12;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pulse {
    pub call: u32,
    /// Counted within the call.
    pub number: u16,
    /// When whoever wrote it last sent it, [`microseconds`].
    pub stamp: u64,
    /// Microseconds that it was under way before; what a service holds it back is not counted.
    pub path: u64,
}

/// The one clock of phones and service.
pub fn microseconds() -> u64 {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    EPOCH.get_or_init(Instant::now).elapsed().as_micros() as u64
}

fn check(figures: u128) -> u128 {
    let mixed = (figures as u64 ^ (figures >> 64) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    u128::from(mixed >> (64 - CHECK))
}

fn part(value: u64, width: u32) -> u128 {
    u128::from(value) & ((1 << width) - 1)
}

impl Pulse {
    /// Writes it at the beginning of `frame`.
    pub fn write(&self, frame: &mut [u8]) {
        let mut figures = 0;
        let fields = [(self.path, PATH), (self.stamp, STAMP), (self.number.into(), NUMBER), (self.call.into(), CALL)];
        for (value, width) in fields {
            figures = figures << width | part(value, width);
        }
        figures |= check(figures) << (CALL + NUMBER + STAMP + PATH);
        frame[..BEGINNING].fill(LOUD);
        for (place, octet) in frame[BEGINNING..LENGTH].iter_mut().enumerate() {
            *octet = 0xC0 | ((figures >> (place * 4)) & 0x0F) as u8;
        }
    }

    /// The pulse at the beginning of `octets`.
    fn read(octets: &[u8]) -> Option<Pulse> {
        let (beginning, rest) = octets.split_at_checked(BEGINNING)?;
        let nibbles = rest.get(..NIBBLES)?;
        if beginning.iter().any(|octet| *octet != LOUD) || nibbles.iter().any(|octet| octet & 0xF0 != 0xC0) {
            return None;
        }
        let all = nibbles.iter().rev().fold(0_u128, |so_far, octet| so_far << 4 | u128::from(octet & 0x0F));
        let width = CALL + NUMBER + STAMP + PATH;
        let mut figures = all & ((1 << width) - 1);
        if check(figures) != all >> width {
            return None;
        }
        let mut take = |width: u32| {
            let value = figures & ((1 << width) - 1);
            figures >>= width;
            value as u64
        };
        let (call, number, stamp, path) = (take(CALL), take(NUMBER), take(STAMP), take(PATH));
        Some(Pulse { call: call as u32, number: number as u16, stamp, path })
    }
}

/// Finds the pulses of one stream of sound.
#[derive(Debug, Default)]
pub struct Finder {
    /// The end of what was heard before, while it may be the beginning of a pulse.
    tail: Vec<u8>,
}

impl Finder {
    /// The pulse that ends in `sound`; its octets that lie there are silenced.
    pub fn hear(&mut self, sound: &mut [u8]) -> Option<Pulse> {
        if self.tail.is_empty() && !sound.contains(&LOUD) {
            return None;
        }
        let before = self.tail.len();
        self.tail.extend_from_slice(sound);
        let last = self.tail.len().checked_sub(LENGTH);
        let found = last.and_then(|last| (0..=last).find_map(|at| Some((at, Pulse::read(&self.tail[at..])?))));
        let Some((at, pulse)) = found else {
            // Only what can still become a pulse is kept.
            let from = self.tail.len().saturating_sub(LENGTH - 1);
            let begins = self.tail[from..].iter().position(|octet| *octet == LOUD);
            let gone = begins.map_or(self.tail.len(), |begins| from + begins);
            self.tail.drain(..gone);
            return None;
        };
        sound[at.saturating_sub(before)..at + LENGTH - before].fill(QUIET);
        self.tail.clear();
        Some(pulse)
    }
}
