//! Whisper's ears: 80 (or more) log-mel bands, 100 frames a second.
//!
//! Short-time spectrum with a periodic Hann window of 400 samples every 160, reflected at the ends; triangular filters
//! on Slaney's mel scale with equal area; logarithm, floored 8 below the maximum, scaled to about ±1.
//! (Slaney, Auditory Toolbox, 1998; Radford et al., Robust Speech Recognition via Large-Scale Weak Supervision, 2022, §2.2.)

use std::sync::Arc;

use realfft::{RealFftPlanner, RealToComplex};

const WINDOW: usize = 400;
/// Samples from one frame to the next at 16 kHz.
pub(super) const HOP: usize = 160;
const BINS: usize = WINDOW / 2 + 1;
const RATE: f32 = 16_000.0;

pub(super) struct Mel {
    bands: usize,
    window: Vec<f32>,
    /// For each band the first bin and the weights from there on.
    filters: Vec<(usize, Vec<f32>)>,
    transform: Arc<dyn RealToComplex<f32>>,
}

impl Mel {
    pub(super) fn new(bands: usize) -> Mel {
        let turn = std::f32::consts::TAU / WINDOW as f32;
        Mel {
            bands,
            window: (0..WINDOW).map(|n| 0.5 - 0.5 * (turn * n as f32).cos()).collect(),
            filters: filters(bands),
            transform: RealFftPlanner::new().plan_fft_forward(WINDOW),
        }
    }

    /// `pcm` followed by silence up to `frames` frames, as `bands × frames` values, band by band.
    pub(super) fn spectrum(&self, pcm: &[i16], frames: usize) -> Result<Vec<f32>, String> {
        let signal = |at: isize| sample(pcm, at, frames * HOP);
        let mut input = self.transform.make_input_vec();
        let mut output = self.transform.make_output_vec();
        let mut scratch = self.transform.make_scratch_vec();
        let mut power = [0.0; BINS];
        let mut values = vec![0.0; self.bands * frames];
        for frame in 0..frames {
            let start = (frame * HOP) as isize - (WINDOW / 2) as isize;
            for (n, (slot, weight)) in input.iter_mut().zip(&self.window).enumerate() {
                *slot = signal(start + n as isize) * weight;
            }
            self.transform
                .process_with_scratch(&mut input, &mut output, &mut scratch)
                .map_err(|error| error.to_string())?;
            for (power, bin) in power.iter_mut().zip(&output) {
                *power = bin.norm_sqr();
            }
            for (band, (first, weights)) in self.filters.iter().enumerate() {
                let energy: f32 = weights.iter().zip(&power[*first..]).map(|(weight, power)| weight * power).sum();
                values[band * frames + frame] = energy.max(1e-10).log10();
            }
        }
        scale(&mut values);
        Ok(values)
    }
}

/// Sample `at` of `pcm` padded with zeros to `length`, mirrored at both ends; ±1.
fn sample(pcm: &[i16], at: isize, length: usize) -> f32 {
    let last = length as isize - 1;
    let at = at.abs();
    let at = if at > last { 2 * last - at } else { at };
    let sample = usize::try_from(at).ok().and_then(|at| pcm.get(at));
    f32::from(sample.copied().unwrap_or(0)) / 32_768.0
}

fn scale(values: &mut [f32]) {
    let floor = values.iter().copied().fold(f32::MIN, f32::max) - 8.0;
    for value in values {
        *value = (value.max(floor) + 4.0) / 4.0;
    }
}

fn filters(bands: usize) -> Vec<(usize, Vec<f32>)> {
    let top = mel(RATE / 2.0);
    let edges: Vec<f32> = (0..bands + 2).map(|n| hertz(top * n as f32 / (bands + 1) as f32)).collect();
    edges.windows(3).map(|edge| triangle(edge[0], edge[1], edge[2])).collect()
}

/// A triangle of unit area over the bins of the spectrum.
fn triangle(low: f32, middle: f32, high: f32) -> (usize, Vec<f32>) {
    let weight = |bin: usize| {
        let frequency = bin as f32 * RATE / WINDOW as f32;
        let slope = ((frequency - low) / (middle - low)).min((high - frequency) / (high - middle));
        slope.max(0.0) * 2.0 / (high - low)
    };
    let first = (0..BINS).find(|bin| weight(*bin) > 0.0).unwrap_or(0);
    let weights = (first..BINS).map(weight).take_while(|weight| *weight > 0.0).collect();
    (first, weights)
}

/// Slaney: linear below 1 kHz (3 mel for 200 Hz), logarithmic above (27 mel for a factor of 6.4).
fn mel(hertz: f32) -> f32 {
    if hertz < 1000.0 { hertz * 3.0 / 200.0 } else { 15.0 + (hertz / 1000.0).ln() * 27.0 / 6.4_f32.ln() }
}

fn hertz(mel: f32) -> f32 {
    if mel < 15.0 { mel * 200.0 / 3.0 } else { 1000.0 * ((mel - 15.0) * 6.4_f32.ln() / 27.0).exp() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_lights_the_band_it_lies_in() {
        let tone = |frequency: f32| -> Vec<i16> {
            (0..16_000).map(|n| (8000.0 * (std::f32::consts::TAU * frequency * n as f32 / RATE).sin()) as i16).collect()
        };
        let mel = Mel::new(80);
        for frequency in [300.0, 1000.0, 3000.0] {
            let values = mel.spectrum(&tone(frequency), 100).expect("spectrum");
            let at = |band: usize| values[band * 100 + 50];
            let loudest = (0..80).max_by(|a, b| at(*a).total_cmp(&at(*b))).expect("bands");
            let centre = hertz(super::mel(8000.0) * (loudest + 1) as f32 / 81.0);
            assert!((centre / frequency).ln().abs() < 0.1, "{frequency} Hz lit {centre} Hz");
        }
    }

    #[test]
    fn every_band_hears_something_and_silence_is_flat() {
        assert!(filters(80).iter().all(|(_, weights)| !weights.is_empty()));
        let values = Mel::new(80).spectrum(&[], 10).expect("spectrum");
        assert!(values.iter().all(|value| (value - values[0]).abs() < 1e-6));
    }

    #[test]
    fn the_scale_is_its_own_inverse() {
        for frequency in [0.0, 500.0, 999.0, 1000.0, 4000.0, 8000.0] {
            assert!((hertz(mel(frequency)) - frequency).abs() < 0.5);
        }
    }
}
