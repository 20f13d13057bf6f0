//! Keys, in and out: as RFC 4733 telephone-events, and as tones in the sound.

mod listener;
mod presses;
mod reader;
mod sender;
mod tones;

pub use listener::ToneListener;
pub use presses::{Presses, Way};
pub use reader::KeyReader;
pub use sender::{KeyPacket, KeySender};
pub use tones::ToneSender;

/// Keys that may wait.
pub const KEYS_WAITING: usize = 64;

/// Frequencies of ITU-T Q.23, Hz.
const ROWS: [f32; 4] = [697.0, 770.0, 852.0, 941.0];
const COLUMNS: [f32; 4] = [1_209.0, 1_336.0, 1_477.0, 1_633.0];
const PAD: [[char; 4]; 4] = [['1', '2', '3', 'A'], ['4', '5', '6', 'B'], ['7', '8', '9', 'C'], ['*', '0', '#', 'D']];

/// Keys by event code, RFC 4733 §3.2.
const KEYS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '*', '#', 'A', 'B', 'C', 'D'];

/// The four octets of a telephone-event payload, RFC 4733 §2.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TelephoneEvent {
    pub code: u8,
    pub end: bool,
    /// Power below 0 dBm0, 0 to 63.
    pub volume: u8,
    /// Ticks since the event's timestamp.
    pub duration: u16,
}

impl TelephoneEvent {
    /// Reads the first event of a payload; `None` when it is too short.
    pub fn read(payload: &[u8]) -> Option<TelephoneEvent> {
        let [code, flags, high, low] = *payload.first_chunk::<4>()?;
        let duration = u16::from_be_bytes([high, low]);
        Some(TelephoneEvent { code, end: flags & 0x80 != 0, volume: flags & 0x3F, duration })
    }

    pub fn write(self) -> [u8; 4] {
        let [high, low] = self.duration.to_be_bytes();
        [self.code, (u8::from(self.end) << 7) | (self.volume & 0x3F), high, low]
    }
}

fn key_of(code: u8) -> Option<char> {
    KEYS.get(usize::from(code)).copied()
}

fn code_of(key: char) -> Option<u8> {
    let key = key.to_ascii_uppercase();
    KEYS.iter().position(|known| *known == key).and_then(|code| u8::try_from(code).ok())
}

/// The key of a row and a column of tones.
fn key_at(row: usize, column: usize) -> Option<char> {
    PAD.get(row)?.get(column).copied()
}

fn place_of(key: char) -> Option<(usize, usize)> {
    let key = key.to_ascii_uppercase();
    let row = PAD.iter().position(|row| row.contains(&key))?;
    Some((row, PAD.get(row)?.iter().position(|known| *known == key)?))
}
