//! Where samples lie: both channels of the last second by position, contiguous while the time agrees.

use std::time::{Duration, Instant};

use crate::media::recorder::Side;

/// Samples a second.
const RATE: u64 = 8_000;
/// Positions kept open for samples that are still to come.
const OPEN: u64 = RATE * 2 / 5;
/// Positions of a stretch.
const STRETCH: u64 = RATE * 3 / 10;
/// Positions in the window.
const WINDOW: u64 = RATE;
/// A frame that is less than this (20 ms) off the end of the one before follows it without a seam: the time of a frame
/// moves with the estimate of the network's delay and with clock drift, its samples do not.
const SEAM: u64 = RATE / 50;
/// The same for a silent frame, where a seam is not heard (2 ms).
const SILENT_SEAM: u64 = RATE / 500;
/// Largest sample of a silent frame.
const SILENT: u16 = 200;

#[derive(Debug)]
pub struct Layout {
    origin: Instant,
    /// Position of the first sample of the window.
    start: u64,
    /// Interleaved, left first.
    window: Vec<i16>,
    /// Where each side's last frame ended.
    ends: [Option<u64>; 2],
}

#[derive(Debug)]
pub struct Stretch {
    pub start: u64,
    /// Interleaved, left first.
    pub stereo: Vec<i16>,
}

impl Layout {
    pub fn new(origin: Instant) -> Layout {
        Layout { origin, start: 0, window: vec![0; 2 * WINDOW as usize], ends: [None; 2] }
    }

    pub fn lay(&mut self, side: Side, at: Instant, pcm: &[i16]) {
        let channel = match side {
            Side::Phone => 0,
            Side::Box => 1,
        };
        let told = self.position(at);
        let seam = if pcm.iter().all(|sample| sample.unsigned_abs() <= SILENT) { SILENT_SEAM } else { SEAM };
        let begin = self.ends[channel].filter(|end| end.abs_diff(told) <= seam).unwrap_or(told);
        for (position, sample) in (begin..).zip(pcm) {
            let Some(offset) = position.checked_sub(self.start).filter(|offset| *offset < WINDOW) else { continue };
            self.window[2 * offset as usize + channel] = *sample;
        }
        self.ends[channel] = Some(begin + pcm.len() as u64);
    }

    /// A stretch that no frame will reach into any more.
    pub fn finished(&mut self, now: Instant) -> Option<Stretch> {
        let closed = self.position(now).saturating_sub(OPEN);
        (closed >= self.start + STRETCH).then(|| self.cut(STRETCH))
    }

    /// All that is left up to `now` and to the last frame.
    pub fn rest(&mut self, now: Instant) -> Stretch {
        let end = self.ends.iter().flatten().copied().fold(self.position(now), u64::max);
        self.cut(end.saturating_sub(self.start).min(WINDOW))
    }

    fn cut(&mut self, length: u64) -> Stretch {
        let samples = 2 * length as usize;
        let stretch = Stretch { start: self.start, stereo: self.window[..samples].to_vec() };
        self.window.copy_within(samples.., 0);
        let left = self.window.len() - samples;
        self.window[left..].fill(0);
        self.start += length;
        stretch
    }

    fn position(&self, at: Instant) -> u64 {
        let passed: Duration = at.saturating_duration_since(self.origin);
        (passed.as_micros() as u64 * RATE + 500_000) / 1_000_000
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn channel(stretches: &[Stretch], channel: usize) -> Vec<i16> {
        stretches.iter().flat_map(|stretch| stretch.stereo.iter().skip(channel).step_by(2).copied()).collect()
    }

    #[test]
    fn both_sides_lie_where_they_were_on_the_wire() {
        let origin = Instant::now();
        let mut layout = Layout::new(origin);
        let mut stretches = Vec::new();
        for n in 0..200u32 {
            let at = origin + n * 20 * MS;
            // The phone's frames are told up to 8 ms off, the box speaks only between 1 and 2 s.
            layout.lay(Side::Phone, at + (n * 7 % 9) * MS, &[n as i16 + 1_001; 160]);
            if (50..100).contains(&n) {
                layout.lay(Side::Box, at, &[-(n as i16); 160]);
            }
            stretches.extend(std::iter::from_fn(|| layout.finished(at)));
        }
        stretches.push(layout.rest(origin + 4_000 * MS));
        let (left, right) = (channel(&stretches, 0), channel(&stretches, 1));
        assert_eq!((left.len(), right.len()), (32_000, 32_000));
        assert!(left.iter().enumerate().all(|(i, s)| i64::from(*s) == i as i64 / 160 + 1_001));
        let expected = |i: usize| if (8_000..16_000).contains(&i) { -(i as i64 / 160) } else { 0 };
        assert!(right.iter().enumerate().all(|(i, s)| i64::from(*s) == expected(i)));
    }

    #[test]
    fn a_long_gap_is_silence_and_what_comes_far_too_late_is_left_out() {
        let origin = Instant::now();
        let mut layout = Layout::new(origin);
        layout.lay(Side::Phone, origin, &[1; 160]);
        let mut stretches: Vec<Stretch> = std::iter::from_fn(|| layout.finished(origin + 3_000 * MS)).collect();
        layout.lay(Side::Phone, origin + 500 * MS, &[2; 160]);
        layout.lay(Side::Phone, origin + 3_000 * MS, &[3; 160]);
        stretches.push(layout.rest(origin + 3_020 * MS));
        let left = channel(&stretches, 0);
        assert_eq!(left.len(), 24_160);
        assert!(left.iter().all(|s| *s != 2) && left[24_000..].iter().all(|s| *s == 3));
    }
}
