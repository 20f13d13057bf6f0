//! A voice that goes on: what the throat does to a sound (linear prediction), and the sound itself, whose last pitch
//! period is repeated (ITU-T G.722 Appendix IV works so). A period of the excitation is repeated with less of a seam than
//! a period of the sound.

use super::{BLEND_SEAM, LONGEST, WIDE};

/// Coefficients at 8 kHz; at 16 kHz there are twice as many.
pub const ORDER: usize = 8;
/// Samples at 8 kHz that the prediction is made from: 30 ms, the newest count most.
const WINDOW: usize = 240;
/// White noise (−40 dB) and a spread of 40 Hz keep the prediction tame.
const NOISE: f32 = 1.0001;
const SPREAD_HZ: f32 = 40.0;
/// Each coefficient is drawn in, so that nothing rings for long.
const DRAWN_IN: f32 = 0.99;

#[derive(Debug, Clone)]
pub struct Voice {
    factor: usize,
    pitch: usize,
    /// `sample + Σ coefficients[k] · sample[−1 − k]` is the excitation.
    coefficients: [f32; ORDER * WIDE],
    /// The excitation of the last two longest periods, newest last.
    excitation: [f32; 2 * LONGEST * WIDE],
    /// What was said last, newest first.
    memory: [f32; ORDER * WIDE],
    position: usize,
}

impl Voice {
    /// Goes on after `past`, which is 2 × [`LONGEST`] + [`ORDER`] samples long at least, times `factor`.
    pub fn after(past: &[i16], pitch: usize, factor: usize) -> Voice {
        let order = ORDER * factor;
        let coefficients = prediction(past, factor);
        let mut excitation = [0.0; 2 * LONGEST * WIDE];
        let length = 2 * LONGEST * factor;
        for (out, window) in excitation[..length].iter_mut().zip(past[past.len() - length - order..].windows(order + 1))
        {
            let before = window[..order].iter().rev();
            let predicted: f32 = before.zip(&coefficients).map(|(sample, a)| f32::from(*sample) * a).sum();
            *out = f32::from(window[order]) + predicted;
        }
        let mut memory = [0.0; ORDER * WIDE];
        memory.iter_mut().zip(past[past.len() - order..].iter().rev()).for_each(|(kept, s)| *kept = f32::from(*s));
        Voice { factor, pitch, coefficients, excitation, memory, position: 0 }
    }

    /// The next sample.
    pub fn speak(&mut self) -> f32 {
        let order = ORDER * self.factor;
        let predicted: f32 = self.memory[..order].iter().zip(&self.coefficients).map(|(s, a)| s * a).sum();
        let sample = self.excited() - predicted;
        self.memory.copy_within(..order - 1, 1);
        self.memory[0] = sample;
        self.position += 1;
        sample
    }

    fn excited(&self) -> f32 {
        let pitch = self.pitch;
        let period = 2 * LONGEST * self.factor - pitch;
        let position = self.position % pitch;
        // The end of a period glides into the sample before the period, so that the seam does not click.
        let seam = pitch / BLEND_SEAM;
        let into = (position + seam + 1).saturating_sub(pitch);
        let weight = into as f32 / (seam + 1) as f32;
        self.excitation[period + position] * (1.0 - weight) + self.excitation[period + position - pitch] * weight
    }
}

/// The coefficients for `past`, by autocorrelation and the recursion of Levinson and Durbin.
fn prediction(past: &[i16], factor: usize) -> [f32; ORDER * WIDE] {
    let (order, length) = (ORDER * factor, WINDOW * factor);
    let mut weighted = [0.0; WINDOW * WIDE];
    for (n, (out, sample)) in weighted[..length].iter_mut().zip(&past[past.len() - length..]).enumerate() {
        *out = f32::from(*sample) * (std::f32::consts::FRAC_PI_2 * (n as f32 + 0.5) / length as f32).sin();
    }
    let weighted = &weighted[..length];
    let rate = 8_000.0 * factor as f32;
    let correlation = |lag: usize| {
        let sum: f32 = weighted[lag..].iter().zip(weighted).map(|(a, b)| a * b).sum();
        sum * (-0.5 * (std::f32::consts::TAU * SPREAD_HZ / rate * lag as f32).powi(2)).exp()
    };
    let mut coefficients = [0.0f32; ORDER * WIDE];
    let mut error = correlation(0) * NOISE + 1.0;
    let mut lags = [0.0; ORDER * WIDE];
    lags[..order].iter_mut().enumerate().for_each(|(n, lag)| *lag = correlation(n + 1));
    for n in 0..order {
        let known: f32 = (0..n).map(|k| coefficients[k] * lags[n - 1 - k]).sum();
        let reflection = -(lags[n] + known) / error;
        let before = coefficients;
        (0..n).for_each(|k| coefficients[k] += reflection * before[n - 1 - k]);
        coefficients[n] = reflection;
        error *= 1.0 - reflection * reflection;
    }
    let mut drawn = 1.0;
    for coefficient in &mut coefficients {
        drawn *= DRAWN_IN;
        *coefficient *= drawn;
    }
    coefficients
}
