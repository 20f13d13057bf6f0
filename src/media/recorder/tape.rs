//! Where samples lie: what both sides said lately, by position.

use std::ops::Range;
use std::time::{Duration, Instant};

use crate::media::receive::Heard;
use crate::media::resample::Resampler;

// Lengths are milliseconds; positions are samples.

/// Sound of one side that goes to the writer at once.
const BATCH: Duration = Duration::from_millis(150);
/// Frames in that.
const FRAMES: usize = 9;
/// A frame of the box that is less than this off the end of the one before follows it without a seam.
const SEAM: u64 = 20;
/// The same for a silent frame, where a seam is not heard; and for every frame of the phone, whose places the jitter
/// buffer moves in silence only.
const SMALL_SEAM: u64 = 2;
/// Largest sample of a silent frame.
const SILENT: u16 = 200;
/// Octets of a position in the file: a sample of each side.
pub const OCTETS: usize = 4;

/// Which side of the call a frame belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Phone,
    Box,
}

/// Frames of both sides, in the order in which they were laid: a later one covers what an earlier one left.
#[derive(Debug, Default)]
pub struct Batch {
    /// When the oldest was laid.
    begun: Option<Instant>,
    sides: [Frames; 2],
}

#[derive(Debug, Default)]
struct Frames {
    /// First position and length of each.
    places: Vec<(u64, usize)>,
    samples: Vec<i16>,
}

impl Frames {
    fn lay(&mut self, start: u64, pcm: &[i16]) {
        // As much as a batch takes: doubling would take nearly twice that.
        if self.samples.capacity() == 0 {
            self.samples.reserve_exact(FRAMES * pcm.len());
        }
        match self.places.last_mut() {
            Some((last, length)) if *last + *length as u64 == start => *length += pcm.len(),
            _ => self.places.push((start, pcm.len())),
        }
        self.samples.extend_from_slice(pcm);
    }

    fn clear(&mut self) {
        self.places.clear();
        self.samples.clear();
    }
}

impl Batch {
    pub fn clear(&mut self) {
        self.begun = None;
        self.sides.iter_mut().for_each(Frames::clear);
    }

    /// What each frame covers, in no order.
    pub fn places(&self) -> impl Iterator<Item = Range<u64>> {
        self.sides.iter().flat_map(|side| &side.places).map(|(start, length)| *start..*start + *length as u64)
    }

    /// Writes what lies behind position `from` into the file's octets there; what lies outside is left out.
    pub fn write(&self, from: u64, octets: &mut [u8]) {
        for (side, frames) in self.sides.iter().enumerate() {
            let mut samples = frames.samples.as_slice();
            for (start, length) in &frames.places {
                let (frame, rest) = samples.split_at(*length);
                samples = rest;
                let before = from.saturating_sub(*start).min(*length as u64) as usize;
                let first = usize::try_from(start.saturating_sub(from)).unwrap_or(usize::MAX);
                let places = octets.chunks_exact_mut(OCTETS).skip(first);
                for (place, sample) in places.zip(&frame[before..]) {
                    place[2 * side..2 * side + 2].copy_from_slice(&sample.to_le_bytes());
                }
            }
        }
    }
}

#[derive(Debug)]
pub struct Layout {
    /// Samples a second.
    rate: u32,
    /// Brings the sound of a side that comes at another rate to ours.
    converters: [Option<Resampler>; 2],
    converted: Vec<i16>,
    origin: Instant,
    batch: Box<Batch>,
    /// Where each side's last frame ended; one that stands in for another does not count.
    ends: [Option<u64>; 2],
}

impl Layout {
    pub fn new(origin: Instant, rate: u32) -> Layout {
        let batch = Box::default();
        Layout { rate, converters: [None, None], converted: Vec::new(), origin, batch, ends: [None; 2] }
    }

    /// Lays a frame of the phone. What stands in for a frame makes place for it should it still come, and covers nothing
    /// that came.
    pub fn lay_heard(&mut self, heard: &Heard, now: Instant) {
        let Some(at) = heard.wire else { return };
        let end = self.ends[Side::Phone as usize];
        let sent = heard.unblended.as_deref().unwrap_or(&heard.pcm);
        if !heard.stands_in {
            return self.lay(Side::Phone, at, sent, sent.rate(), now);
        }
        // The end of the real sound stays, and is where the sound that stands in begins at the earliest.
        self.lay(Side::Phone, at.max(end.map_or(at, |end| self.instant(end))), sent, sent.rate(), now);
        self.ends[Side::Phone as usize] = end;
    }

    /// Lays a frame that has `rate` samples a second.
    pub fn lay(&mut self, side: Side, at: Instant, pcm: &[i16], rate: u32, now: Instant) {
        self.batch.begun.get_or_insert(now);
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
        self.batch.sides[channel].lay(begin, pcm);
        self.ends[channel] = Some(begin + pcm.len() as u64);
    }

    /// What has been laid, once it is worth a write; `spare` takes its place.
    pub fn finished(&mut self, now: Instant, spare: impl FnOnce() -> Box<Batch>) -> Option<Box<Batch>> {
        let begun = self.batch.begun?;
        (now.saturating_duration_since(begun) >= BATCH).then(|| std::mem::replace(&mut self.batch, spare()))
    }

    /// What has been laid since, and how long the whole recording is that ends at `now` or with the last frame.
    pub fn rest(self, now: Instant) -> (Box<Batch>, u64) {
        let end = self.ends.iter().flatten().copied().fold(self.position(now), u64::max);
        (self.batch, end)
    }

    fn position(&self, at: Instant) -> u64 {
        let passed: Duration = at.saturating_duration_since(self.origin);
        (passed.as_micros() as u64 * u64::from(self.rate) + 500_000) / 1_000_000
    }

    /// The instant that [`Layout::position`] puts at `position`.
    fn instant(&self, position: u64) -> Instant {
        self.origin + Duration::from_micros(position * 1_000_000 / u64::from(self.rate))
    }
}

/// A recording in memory.
#[cfg(test)]
pub struct File {
    pub layout: Layout,
    octets: Vec<u8>,
}

#[cfg(test)]
impl File {
    pub fn new(origin: Instant, rate: u32) -> File {
        File { layout: Layout::new(origin, rate), octets: Vec::new() }
    }

    pub fn roll(&mut self, now: Instant) {
        if let Some(batch) = self.layout.finished(now, Box::default) {
            self.take(&batch);
        }
    }

    fn take(&mut self, batch: &Batch) {
        let end = batch.places().map(|place| place.end).max().unwrap_or(0) as usize;
        self.octets.resize(self.octets.len().max(end * OCTETS), 0);
        batch.write(0, &mut self.octets);
    }

    /// Both sides, the phone's first.
    pub fn finish(mut self, now: Instant) -> (Vec<i16>, Vec<i16>) {
        let layout = std::mem::replace(&mut self.layout, Layout::new(now, 8_000));
        let (batch, end) = layout.rest(now);
        self.take(&batch);
        self.octets.resize(end as usize * OCTETS, 0);
        let side = |side: usize| {
            let samples = self.octets.chunks_exact(OCTETS);
            samples.map(|both| i16::from_le_bytes([both[2 * side], both[2 * side + 1]])).collect()
        };
        (side(0), side(1))
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn both_sides_lie_where_they_were_on_the_wire() {
        let origin = Instant::now();
        let mut file = File::new(origin, 8_000);
        for n in 0..200u32 {
            let at = origin + n * 20 * MS;
            // The places of both wobble a little; the box speaks only between 1 and 2 s.
            file.layout.lay(Side::Phone, at + (n % 3) * MS, &[n as i16 + 1_001; 160], 8_000, at);
            if (50..100).contains(&n) {
                file.layout.lay(Side::Box, at + ((n - 50) * 7 % 9) * MS, &[-(n as i16) - 201; 160], 8_000, at);
            }
            file.roll(at);
        }
        let (left, right) = file.finish(origin + 4_000 * MS);
        assert_eq!((left.len(), right.len()), (32_000, 32_000));
        assert!(left.iter().enumerate().all(|(i, s)| i64::from(*s) == i as i64 / 160 + 1_001));
        let expected = |i: usize| if (8_000..16_000).contains(&i) { -(i as i64 / 160) - 201 } else { 0 };
        assert!(right.iter().enumerate().all(|(i, s)| i64::from(*s) == expected(i)));
    }

    #[test]
    fn a_long_gap_is_silence_and_what_comes_late_finds_its_place_all_the_same() {
        let origin = Instant::now();
        let mut file = File::new(origin, 8_000);
        file.layout.lay(Side::Phone, origin, &[1; 160], 8_000, origin);
        file.roll(origin + 3_000 * MS);
        file.layout.lay(Side::Phone, origin + 500 * MS, &[2; 160], 8_000, origin + 3_000 * MS);
        file.layout.lay(Side::Phone, origin + 3_000 * MS, &[3; 160], 8_000, origin + 3_000 * MS);
        let (left, _) = file.finish(origin + 3_020 * MS);
        assert_eq!(left.len(), 24_160);
        let expected = |i: usize| match i {
            0..160 => 1,
            4_000..4_160 => 2,
            24_000.. => 3,
            _ => 0,
        };
        assert!(left.iter().enumerate().all(|(i, s)| *s == expected(i)));
    }

    #[test]
    fn a_wide_tape_takes_both_rates_without_a_seam() {
        let origin = Instant::now();
        let mut file = File::new(origin, 16_000);
        let tone = |rate: u32, n: u32| -> Vec<i16> {
            let length = rate / 50;
            let step = std::f64::consts::TAU * 400.0 / f64::from(rate);
            (n * length..(n + 1) * length).map(|n| (9_000.0 * (step * f64::from(n)).sin()) as i16).collect()
        };
        for n in 0..100u32 {
            let at = origin + n * 20 * MS;
            file.layout.lay(Side::Phone, at, &tone(16_000, n), 16_000, at);
            file.layout.lay(Side::Box, at, &tone(8_000, n), 8_000, at);
            file.roll(at);
        }
        let (left, right) = file.finish(origin + 2_000 * MS);
        for (side, pcm) in [left, right].into_iter().enumerate() {
            assert_eq!(pcm.len(), 32_000);
            let steepest = pcm[400..].windows(2).map(|w| w[1].abs_diff(w[0])).max().unwrap();
            assert!(steepest < 1_600, "a click of {steepest} on side {side}");
        }
    }
}
