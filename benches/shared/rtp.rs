//! The RTP of a phone that speaks G.711: a packet of one value every 20 ms.

use std::time::Duration;

pub const FRAME: Duration = Duration::from_millis(20);
/// µ-law silence.
pub const QUIET: u8 = 0xff;
/// Octets of the header, and of a packet with 20 ms of sound.
pub const HEADER: usize = 12;
pub const PACKET: usize = HEADER + 160;

/// A packet of one value.
pub fn packet(sequence: u32, source: u32, value: u8) -> [u8; PACKET] {
    let mut packet = [value; PACKET];
    packet[0] = 0x80;
    packet[1] = if sequence == 0 { 0x80 } else { 0 };
    packet[2..4].copy_from_slice(&u16::try_from(sequence % 65_536).expect("reduced").to_be_bytes());
    packet[4..8].copy_from_slice(&sequence.wrapping_mul(160).to_be_bytes());
    packet[8..12].copy_from_slice(&source.to_be_bytes());
    packet
}
