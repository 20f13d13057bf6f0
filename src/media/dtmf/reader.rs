//! Telephone-events in: one key per press, at its start.
//!
//! A press is known by its RTP timestamp: every packet of it, the three end packets included, carries the same one.
//! So any packet of a press, even only its last, tells the key, and a lost end does not hide the next press.

use crate::media::dtmf::{TelephoneEvent, key_of};

/// Senders that wrongly move the timestamp with every update move it by at most this, milliseconds. Two real presses of
/// a key are further apart: the shortest tone (40 ms) and the shortest pause (30 ms) of ITU-T Q.24 make 70 ms.
const CARELESS_STEP: u32 = 50;
/// A timestamp that lies back by less, milliseconds, is a late packet; by more, it is a new clock.
const STALE: u32 = 10_000;

#[derive(Debug, Clone, Copy, Default)]
pub struct KeyReader {
    last: Option<Press>,
}

#[derive(Debug, Clone, Copy)]
struct Press {
    code: u8,
    /// Ticks a second.
    clock: u32,
    timestamp: u32,
    /// Longest duration that was told.
    duration: u16,
    ended: bool,
}

impl KeyReader {
    /// The key that this packet newly presses, if any; its clock has so many ticks a second. Never fails: what is no key
    /// event is nothing.
    pub fn read(&mut self, timestamp: u32, clock: u32, marker: bool, payload: &[u8]) -> Option<char> {
        let event = TelephoneEvent::read(payload)?;
        let key = key_of(event.code)?;
        self.last = self.last.filter(|last| last.clock == clock);
        let known = self.last.filter(|last| last.holds(timestamp, marker, event));
        let stale = self.last.is_some_and(|last| last.is_after(timestamp));
        if known.is_none() && stale {
            return None;
        }
        self.last = Some(Press {
            code: event.code,
            clock,
            timestamp,
            duration: known
                .filter(|last| last.timestamp == timestamp)
                .map_or(event.duration, |last| last.duration.max(event.duration)),
            ended: event.end || known.is_some_and(|last| last.ended),
        });
        known.is_none().then_some(key)
    }

    /// A new source: its timestamps have nothing to do with the former ones.
    pub fn reset(&mut self) {
        self.last = None;
    }
}

impl Press {
    fn holds(self, timestamp: u32, marker: bool, event: TelephoneEvent) -> bool {
        if timestamp == self.timestamp {
            return true;
        }
        let step = timestamp.wrapping_sub(self.timestamp);
        // RFC 4733 §2.5.1.3: a press longer than 65,535 ticks goes on as a new segment where the old one ended.
        let next_segment = self.duration >= 0xF000 && step <= u32::from(u16::MAX);
        let careless = step <= self.clock / 1_000 * CARELESS_STEP;
        event.code == self.code && !self.ended && !marker && (next_segment || careless)
    }

    fn is_after(self, timestamp: u32) -> bool {
        timestamp != self.timestamp && self.timestamp.wrapping_sub(timestamp) < self.clock / 1_000 * STALE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(code: u8) -> Vec<(bool, [u8; 4])> {
        let event = |duration, end| TelephoneEvent { code, end, volume: 10, duration }.write();
        let mut packets: Vec<_> = (1..5).map(|n| (n == 1, event(n * 160, false))).collect();
        packets.extend(std::iter::repeat_n((false, event(800, true)), 3));
        packets
    }

    fn keys(packets: &[(u32, bool, [u8; 4])]) -> String {
        let mut reader = KeyReader::default();
        packets
            .iter()
            .filter_map(|(timestamp, marker, payload)| reader.read(*timestamp, 8_000, *marker, payload))
            .collect()
    }

    fn at(timestamp: u32, code: u8) -> Vec<(u32, bool, [u8; 4])> {
        press(code).into_iter().map(|(marker, payload)| (timestamp, marker, payload)).collect()
    }

    #[test]
    fn a_press_is_one_key_whichever_of_its_packets_are_lost() {
        for lost in 0..127u32 {
            let left: Vec<_> =
                at(5_000, 11).into_iter().enumerate().filter(|(i, _)| lost >> i & 1 == 0).map(|(_, p)| p).collect();
            assert_eq!(keys(&left), "#", "lost {lost:07b}");
        }
    }

    #[test]
    fn the_same_key_twice_is_two_presses_even_without_the_end_of_the_first() {
        for lost_ends in 0..=3 {
            let mut packets = at(u32::MAX - 200, 5);
            packets.truncate(7 - lost_ends);
            packets.extend(at(1_000, 5));
            assert_eq!(keys(&packets), "55", "{lost_ends} ends lost");
        }
    }

    #[test]
    fn a_late_packet_of_the_former_press_is_nothing() {
        let mut packets = at(5_000, 1);
        let late = packets.pop().unwrap();
        packets.extend(at(7_000, 2));
        packets.push(late);
        packets.extend(at(9_000, 3));
        assert_eq!(keys(&packets), "123");
    }

    #[test]
    fn a_very_long_press_is_one_key() {
        let event = |duration| TelephoneEvent { code: 7, end: false, volume: 0, duration }.write();
        let first = (1..=409u32).map(|n| (100, n == 1, event((n * 160) as u16)));
        let second = (1..20u32).map(|n| (100 + 65_535, false, event((n * 160) as u16)));
        assert_eq!(keys(&first.chain(second).collect::<Vec<_>>()), "7");
    }

    #[test]
    fn a_timestamp_that_moves_with_every_update_is_still_one_key() {
        let packets: Vec<_> = at(5_000, 9)
            .into_iter()
            .enumerate()
            .map(|(i, (ts, marker, payload))| (ts + 160 * i.min(4) as u32, marker, payload))
            .collect();
        assert_eq!(keys(&packets), "9");
    }

    #[test]
    fn a_faster_clock_is_six_times_the_ticks() {
        let event = |duration, end| TelephoneEvent { code: 5, end, volume: 10, duration }.write();
        let mut reader = KeyReader::default();
        let mut presses = 0;
        // Timestamps that move with every update are still one press; the next is 100 ms later.
        for (timestamp, end) in [(0, false), (960, false), (1_920, true), (6_720, false), (6_720, true)] {
            presses += u32::from(reader.read(timestamp, 48_000, false, &event(960, end)).is_some());
        }
        assert_eq!(presses, 2);
        // Back to the slow clock: its timestamps have nothing to do with the former ones.
        assert_eq!(reader.read(5, 8_000, true, &event(160, false)), Some('5'));
    }

    #[test]
    fn other_events_and_short_payloads_are_nothing() {
        let mut reader = KeyReader::default();
        assert_eq!(reader.read(1, 8_000, true, &[16, 0, 0, 160]), None);
        assert_eq!(reader.read(2, 8_000, true, &[1, 0, 0]), None);
        assert_eq!(reader.read(3, 8_000, true, &[15, 0, 0, 160, 9, 9]), Some('D'));
    }
}
