//! Telephone-events out. While a key sounds its packets take the place of the audio packets of those 20 ms slots.
//!
//! A press lasts [`TONE`] slots of 20 ms: an update every 20 ms with the growing duration, the first with the marker bit, then
//! the end three times at the same pace (RFC 4733 §2.5.1.2, §2.5.1.4). Then [`PAUSE`] slots of audio before the next.

use std::collections::VecDeque;

use crate::media::dtmf::{KEYS_WAITING, TelephoneEvent, code_of};

/// Slots of a press: 100 ms.
const TONE: u16 = 5;
/// Slots between two keys: 80 ms.
const PAUSE: u8 = 4;
const ENDS: u8 = 3;
/// −10 dBm0.
const VOLUME: u8 = 10;

#[derive(Debug, Clone, Default)]
pub struct KeySender {
    waiting: VecDeque<u8>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Idle,
    Tone {
        code: u8,
        start: u32,
        /// Ticks in a slot, and slots that have gone out.
        ticks: u16,
        slots: u16,
    },
    Ending {
        code: u8,
        start: u32,
        ticks: u16,
        left: u8,
    },
    Pause {
        left: u8,
    },
}

/// What goes out in a slot in place of audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyPacket {
    pub marker: bool,
    /// The press's own timestamp, not the slot's.
    pub timestamp: u32,
    pub payload: [u8; 4],
}

impl KeySender {
    /// Queues keys; what is no key is skipped, and so is what exceeds 64 waiting keys. Returns how many were taken.
    pub fn queue(&mut self, keys: &str) -> usize {
        let room = KEYS_WAITING - self.waiting.len().min(KEYS_WAITING);
        let before = self.waiting.len();
        self.waiting.extend(keys.chars().filter_map(code_of).take(room));
        self.waiting.len() - before
    }

    /// Keys that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether a key sounds or waits.
    pub fn is_sending(&self) -> bool {
        !self.waiting.is_empty() || matches!(self.state, State::Tone { .. } | State::Ending { .. })
    }

    /// Whether this slot would carry a key packet.
    pub fn takes_slot(&self) -> bool {
        match self.state {
            State::Tone { .. } | State::Ending { .. } => true,
            State::Idle => !self.waiting.is_empty(),
            State::Pause { .. } => false,
        }
    }

    /// What goes out in the slot that begins at `timestamp`, `clock` ticks a second; `None` = audio. Call once per slot.
    pub fn slot(&mut self, timestamp: u32, clock: u32) -> Option<KeyPacket> {
        match self.state {
            State::Idle => {
                let code = self.waiting.pop_front()?;
                let ticks = u16::try_from(clock / 50).unwrap_or(u16::MAX / TONE);
                self.state = State::Tone { code, start: timestamp, ticks, slots: 1 };
                Some(packet(code, timestamp, ticks, false, true))
            }
            State::Tone { code, start, ticks, slots } if slots + 1 < TONE => {
                self.state = State::Tone { code, start, ticks, slots: slots + 1 };
                Some(packet(code, start, ticks * (slots + 1), false, false))
            }
            State::Tone { code, start, ticks, .. } => {
                self.state = State::Ending { code, start, ticks, left: ENDS - 1 };
                Some(packet(code, start, ticks * TONE, true, false))
            }
            State::Ending { code, start, ticks, left } => {
                self.state = match left {
                    0 | 1 => State::Pause { left: PAUSE },
                    _ => State::Ending { code, start, ticks, left: left - 1 },
                };
                Some(packet(code, start, ticks * TONE, true, false))
            }
            State::Pause { left } => {
                self.state = if left <= 1 { State::Idle } else { State::Pause { left: left - 1 } };
                None
            }
        }
    }
}

fn packet(code: u8, timestamp: u32, duration: u16, end: bool, marker: bool) -> KeyPacket {
    KeyPacket { marker, timestamp, payload: TelephoneEvent { code, end, volume: VOLUME, duration }.write() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::dtmf::KeyReader;

    fn run(keys: &str, slots: u32) -> Vec<Option<KeyPacket>> {
        let mut sender = KeySender::default();
        sender.queue(keys);
        (0..slots).map(|slot| sender.slot(1_000 + slot * 160, 8_000)).collect()
    }

    #[test]
    fn a_press_has_one_timestamp_a_growing_duration_and_three_ends() {
        let sent: Vec<KeyPacket> = run("5", 20).into_iter().flatten().collect();
        let events: Vec<_> = sent.iter().map(|p| TelephoneEvent::read(&p.payload).unwrap()).collect();
        assert_eq!(events.iter().map(|e| e.duration).collect::<Vec<_>>(), [160, 320, 480, 640, 800, 800, 800]);
        assert_eq!(events.iter().map(|e| e.end).collect::<Vec<_>>(), [false, false, false, false, true, true, true]);
        assert_eq!(sent.iter().map(|p| p.marker).collect::<Vec<_>>(), [true, false, false, false, false, false, false]);
        assert!(sent.iter().all(|p| p.timestamp == 1_000));
        assert!(events.iter().all(|e| e.code == 5 && e.volume == 10));
    }

    #[test]
    fn keys_are_apart_and_come_back_as_they_were() {
        let slots = run("1*#d9", 60);
        let mut reader = KeyReader::default();
        let heard: String =
            slots.iter().flatten().filter_map(|p| reader.read(p.timestamp, 8_000, p.marker, &p.payload)).collect();
        assert_eq!(heard, "1*#D9");
        assert!(slots[7..11].iter().all(Option::is_none) && slots[11].is_some_and(|p| p.marker));
    }

    #[test]
    fn durations_are_in_ticks_of_the_clock() {
        let mut sender = KeySender::default();
        sender.queue("8");
        let sent: Vec<KeyPacket> = (0..7).filter_map(|slot| sender.slot(slot * 960, 48_000)).collect();
        let durations: Vec<u16> =
            sent.iter().filter_map(|p| TelephoneEvent::read(&p.payload)).map(|e| e.duration).collect();
        assert_eq!(durations, [960, 1_920, 2_880, 3_840, 4_800, 4_800, 4_800]);
    }

    #[test]
    fn what_is_no_key_is_skipped_and_the_queue_has_a_bound() {
        let mut sender = KeySender::default();
        assert_eq!(sender.queue("1 x2é"), 2);
        assert_eq!(sender.queue(&"3".repeat(100)), 62);
        assert!(sender.is_sending());
    }
}
