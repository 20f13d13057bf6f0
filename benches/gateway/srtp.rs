//! What encryption costs: one packet of G.711, 172 octets, sealed and opened.

use std::time::{Duration, Instant};

use trunkline::media::srtp::{Channel, TRAILER};
use trunkline::media::{SrtpKey, SrtpKeys, Suite};

use super::report;

const PACKETS: u16 = 60_000;
const ROUNDS: u32 = 5;
const LENGTH: usize = 172;
const SUITES: [Suite; 5] = [
    Suite::AesCm128HmacSha1_80,
    Suite::AesCm128HmacSha1_32,
    Suite::AesCm256HmacSha1_80,
    Suite::AeadAes128Gcm,
    Suite::AeadAes256Gcm,
];

pub fn packets() {
    report::title("SRTP: a packet of 172 octets");
    for suite in SUITES {
        let secret: Vec<u8> = (0..suite.key_length() + suite.salt_length()).map(|at| at as u8 * 7).collect();
        let (mut protect, mut open) = (Duration::MAX, Duration::MAX);
        for _ in 0..ROUNDS {
            let (sealed, opened) = round(&SrtpKey::new(suite, &secret, &[]));
            (protect, open) = (protect.min(sealed), open.min(opened));
        }
        println!("{suite:<24?} protect {protect:>9?}   open {open:>9?}   (best of {ROUNDS} rounds of {PACKETS})");
    }
}

/// Time for a packet in each direction.
fn round(key: &SrtpKey) -> (Duration, Duration) {
    let mut sender = Channel::new(&SrtpKeys { send: key.clone(), receive: key.clone() });
    let mut receiver = Channel::new(&SrtpKeys { send: key.clone(), receive: key.clone() });
    let mut wires: Vec<([u8; LENGTH + TRAILER], usize)> = (0..PACKETS).map(|number| (packet(number), 0)).collect();
    let start = Instant::now();
    for (wire, length) in &mut wires {
        *length = sender.protect(wire, LENGTH).expect("room");
    }
    let protect = start.elapsed() / u32::from(PACKETS);
    let start = Instant::now();
    for (wire, length) in &mut wires {
        receiver.open(&mut wire[..*length], start).expect("authentic");
    }
    (protect, start.elapsed() / u32::from(PACKETS))
}

fn packet(number: u16) -> [u8; LENGTH + TRAILER] {
    let mut packet = [0x55; LENGTH + TRAILER];
    (packet[0], packet[1]) = (0x80, 0);
    packet[2..4].copy_from_slice(&number.to_be_bytes());
    packet
}
