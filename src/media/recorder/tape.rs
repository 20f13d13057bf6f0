//! Where samples lie: both channels of the last second by position, contiguous while the time agrees.

use std::time::{Duration, Instant};

use crate::media::receive::Heard;
use crate::media::resample::Resampler;

// Lengths are milliseconds; positions are samples.

/// Kept open for samples that are still to come: the jitter buffer's longest delay after a stall of the sender.
const OPEN: u64 = 800;
const STRETCH: u64 = 300;
const WINDOW: u64 = 1_400;
/// A frame of the box that is less than this off the end of the one before follows it without a seam.
const SEAM: u64 = 20;
/// The same for a silent frame, where a seam is not heard; and for every frame of the phone, whose places the jitter
/// buffer moves in silence only.
const SMALL_SEAM: u64 = 2;
/// Largest sample of a silent frame.
const SILENT: u16 = 200;

/// Which side of the call a frame belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Phone,
    Box,
}

#[derive(Debug)]
pub struct Layout {
    /// Samples a second.
    rate: u32,
    /// Brings the sound of a side that comes at another rate to ours.
    converters: [Option<Resampler>; 2],
    converted: Vec<i16>,
    origin: Instant,
    /// Position of the first sample of the window.
    start: u64,
    /// Interleaved, left first.
    window: Vec<i16>,
    /// Where each side's last frame ended; one that stands in for another does not count.
    ends: [Option<u64>; 2],
}

#[derive(Debug)]
pub struct Stretch {
    pub start: u64,
    /// Interleaved, left first.
    pub stereo: Vec<i16>,
}

impl Layout {
    pub fn new(origin: Instant, rate: u32) -> Layout {
        let window = vec![0; 2 * (u64::from(rate) * WINDOW / 1_000) as usize];
        Layout { rate, converters: [None, None], converted: Vec::new(), origin, start: 0, window, ends: [None; 2] }
    }

    /// Lays a frame of the phone. What stands in for a frame makes place for it should it still come.
    pub fn lay_heard(&mut self, heard: &Heard) {
        let Some(at) = heard.wire else { return };
        let end = self.ends[Side::Phone as usize];
        let sent = heard.unblended.as_deref().unwrap_or(&heard.pcm);
        self.lay(Side::Phone, at, sent, sent.rate());
        if heard.stands_in {
            self.ends[Side::Phone as usize] = end;
        }
    }

    /// Lays a frame that has `rate` samples a second.
    pub fn lay(&mut self, side: Side, at: Instant, pcm: &[i16], rate: u32) {
        if rate == self.rate {
            return self.place(side, at, pcm);
        }
        let mut converted = std::mem::take(&mut self.converted);
        converted.clear();
        let converter = &mut self.converters[side as usize];
        if converter.as_ref().is_none_or(|converter| converter.from() != rate) {
            *converter = Resampler::new(rate, self.rate);
        }
        if let Some(converter) = converter {
            converter.process(pcm, |sample| converted.push(sample));
        }
        self.place(side, at, &converted);
        self.converted = converted;
    }

    fn samples(&self, milliseconds: u64) -> u64 {
        u64::from(self.rate) * milliseconds / 1_000
    }

    fn place(&mut self, side: Side, at: Instant, pcm: &[i16]) {
        let channel = side as usize;
        let told = self.position(at);
        let small = side == Side::Phone || pcm.iter().all(|sample| sample.unsigned_abs() <= SILENT);
        let seam = self.samples(if small { SMALL_SEAM } else { SEAM });
        let begin = self.ends[channel].filter(|end| end.abs_diff(told) <= seam).unwrap_or(told);
        let most = self.samples(WINDOW);
        for (position, sample) in (begin..).zip(pcm) {
            let Some(offset) = position.checked_sub(self.start).filter(|offset| *offset < most) else { continue };
            self.window[2 * offset as usize + channel] = *sample;
        }
        self.ends[channel] = Some(begin + pcm.len() as u64);
    }

    /// A stretch that no frame will reach into any more.
    pub fn finished(&mut self, now: Instant) -> Option<Stretch> {
        let closed = self.position(now).saturating_sub(self.samples(OPEN));
        let stretch = self.samples(STRETCH);
        (closed >= self.start + stretch).then(|| self.cut(stretch))
    }

    /// All that is left up to `now` and to the last frame.
    pub fn rest(&mut self, now: Instant) -> Stretch {
        let end = self.ends.iter().flatten().copied().fold(self.position(now), u64::max);
        self.cut(end.saturating_sub(self.start).min(self.samples(WINDOW)))
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
        (passed.as_micros() as u64 * u64::from(self.rate) + 500_000) / 1_000_000
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
        let mut layout = Layout::new(origin, 8_000);
        let mut stretches = Vec::new();
        for n in 0..200u32 {
            let at = origin + n * 20 * MS;
            // The places of both wobble a little; the box speaks only between 1 and 2 s.
            layout.lay(Side::Phone, at + (n % 3) * MS, &[n as i16 + 1_001; 160], 8_000);
            if (50..100).contains(&n) {
                layout.lay(Side::Box, at + ((n - 50) * 7 % 9) * MS, &[-(n as i16) - 201; 160], 8_000);
            }
            stretches.extend(std::iter::from_fn(|| layout.finished(at)));
        }
        stretches.push(layout.rest(origin + 4_000 * MS));
        let (left, right) = (channel(&stretches, 0), channel(&stretches, 1));
        assert_eq!((left.len(), right.len()), (32_000, 32_000));
        assert!(left.iter().enumerate().all(|(i, s)| i64::from(*s) == i as i64 / 160 + 1_001));
        let expected = |i: usize| if (8_000..16_000).contains(&i) { -(i as i64 / 160) - 201 } else { 0 };
        assert!(right.iter().enumerate().all(|(i, s)| i64::from(*s) == expected(i)));
    }

    #[test]
    fn a_long_gap_is_silence_and_what_comes_far_too_late_is_left_out() {
        let origin = Instant::now();
        let mut layout = Layout::new(origin, 8_000);
        layout.lay(Side::Phone, origin, &[1; 160], 8_000);
        let mut stretches: Vec<Stretch> = std::iter::from_fn(|| layout.finished(origin + 3_000 * MS)).collect();
        layout.lay(Side::Phone, origin + 500 * MS, &[2; 160], 8_000);
        layout.lay(Side::Phone, origin + 3_000 * MS, &[3; 160], 8_000);
        stretches.push(layout.rest(origin + 3_020 * MS));
        let left = channel(&stretches, 0);
        assert_eq!(left.len(), 24_160);
        assert!(left.iter().all(|s| *s != 2) && left[24_000..].iter().all(|s| *s == 3));
    }

    #[test]
    fn a_wide_tape_takes_both_rates_without_a_seam() {
        let origin = Instant::now();
        let mut layout = Layout::new(origin, 16_000);
        let tone = |rate: u32, n: u32| -> Vec<i16> {
            let length = rate / 50;
            let step = std::f64::consts::TAU * 400.0 / f64::from(rate);
            (n * length..(n + 1) * length).map(|n| (9_000.0 * (step * f64::from(n)).sin()) as i16).collect()
        };
        let mut stretches = Vec::new();
        for n in 0..100u32 {
            let at = origin + n * 20 * MS;
            layout.lay(Side::Phone, at, &tone(16_000, n), 16_000);
            layout.lay(Side::Box, at, &tone(8_000, n), 8_000);
            stretches.extend(std::iter::from_fn(|| layout.finished(at)));
        }
        stretches.push(layout.rest(origin + 2_000 * MS));
        for side in 0..2 {
            let pcm = channel(&stretches, side);
            assert_eq!(pcm.len(), 32_000);
            let steepest = pcm[400..].windows(2).map(|w| w[1].abs_diff(w[0])).max().unwrap();
            assert!(steepest < 1_600, "a click of {steepest} on side {side}");
        }
    }
}
