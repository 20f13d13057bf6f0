//! Keys as tones in the sound (ITU-T Q.23), sent: 100 ms each, 80 ms apart, with soft edges. While one sounds it takes
//! the place of the speech of those 20 ms slots.

use std::collections::VecDeque;
use std::f32::consts::TAU;

use crate::media::dtmf::{COLUMNS, KEYS_WAITING, ROWS, place_of};
use crate::media::frame::Frame;

/// Slots of a tone and of the pause after it.
const TONE: u8 = 5;
const PAUSE: u8 = 4;
/// −9 and −7 dBm0: the higher one is a little louder, as long lines take more of it.
const LOW: f32 = 8_100.0;
const HIGH: f32 = 10_200.0;
/// Samples of an edge at 8 kHz: 2 ms.
const EDGE: u32 = 16;

#[derive(Debug, Clone, Default)]
pub struct ToneSender {
    waiting: VecDeque<(usize, usize)>,
    /// The key that sounds, or whose pause it is, and the slots of it that have gone.
    now: Option<((usize, usize), u8)>,
}

impl ToneSender {
    /// Queues keys; what is no key is skipped, and so is what exceeds 64 waiting keys. Returns how many were taken.
    pub fn queue(&mut self, keys: &str) -> usize {
        let room = KEYS_WAITING - self.waiting.len().min(KEYS_WAITING);
        let before = self.waiting.len();
        self.waiting.extend(keys.chars().filter_map(place_of).take(room));
        self.waiting.len() - before
    }

    /// Keys that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether a key sounds or waits.
    pub fn is_sending(&self) -> bool {
        !self.waiting.is_empty() || self.now.is_some()
    }

    /// Whether this slot would carry a tone.
    pub fn takes_slot(&self) -> bool {
        self.now.map_or(!self.waiting.is_empty(), |(_, slots)| slots < TONE)
    }

    /// What goes out in this slot at `rate` Hz; `None` = speech. Call once per slot.
    pub fn slot(&mut self, rate: u32) -> Option<Frame> {
        let (key, slots) = self.now.or_else(|| self.waiting.pop_front().map(|key| (key, 0)))?;
        self.now = (slots + 1 < TONE + PAUSE).then_some((key, slots + 1));
        (slots < TONE).then(|| tone(key, slots, rate))
    }
}

/// One slot of a key's tone.
fn tone((row, column): (usize, usize), slot: u8, rate: u32) -> Frame {
    let mut frame = Frame::silent(rate);
    let (low, high) = (ROWS.get(row).unwrap_or(&0.0), COLUMNS.get(column).unwrap_or(&0.0));
    let first = u32::from(slot) * frame.len() as u32;
    let last = u32::from(TONE) * frame.len() as u32;
    let edge = EDGE * rate / 8_000;
    for (n, sample) in (first..last).zip(frame.iter_mut()) {
        let gain = (n.min(last - n).min(edge)) as f32 / edge as f32;
        let wave = |hertz: f32| (TAU * ((hertz * n as f32 / rate as f32) % 1.0)).sin();
        *sample = (gain * (LOW * wave(*low) + HIGH * wave(*high))) as i16;
    }
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_100_ms_of_tone_and_80_ms_of_pause() {
        let mut sender = ToneSender::default();
        assert_eq!(sender.queue("7x8"), 2);
        let slots: Vec<bool> = (0..20)
            .map(|_| {
                let takes = sender.takes_slot();
                let frame = sender.slot(8_000);
                assert_eq!(takes, frame.is_some());
                takes
            })
            .collect();
        let expected: Vec<bool> = (0..20).map(|n| n < 18 && n % 9 < 5).collect();
        assert_eq!(slots, expected);
        assert!(!sender.is_sending());
        assert_eq!(sender.queue(&"3".repeat(100)), 64);
    }

    #[test]
    fn edges_are_soft_and_the_middle_has_its_level() {
        let mut sender = ToneSender::default();
        sender.queue("A");
        let pcm: Vec<i16> = (0..5).filter_map(|_| sender.slot(16_000)).flat_map(|frame| frame.to_vec()).collect();
        assert_eq!(pcm.len(), 1_600);
        assert!(pcm[0] == 0 && pcm[1_599].abs() < 1_500);
        let power = pcm[400..1_200].iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / 800.0;
        let expected = f64::from(LOW * LOW + HIGH * HIGH) / 2.0;
        assert!((power / expected - 1.0).abs() < 0.1, "{power} {expected}");
    }
}
