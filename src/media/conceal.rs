//! Stands in for lost frames, after the manner of ITU-T G.711 Appendix I: repeats the last pitch period, fades out.
//!
//! The first 10 ms repeat at full level; from then on the level falls by 20 % every 10 ms, so that after 60 ms there
//! is silence. The first good frame after a loss is blended in over 5 ms. Unlike the appendix, nothing is held back
//! (the appendix delays the signal by 3.75 ms to smooth the start of a loss): delay is worth more here.

use crate::media::FRAME_SAMPLES;

/// Longest pitch period looked for: 15 ms (66 Hz).
const LONGEST: usize = 120;
/// Shortest pitch period looked for: 5 ms (200 Hz). Higher voices repeat several periods at once.
const SHORTEST: usize = 40;
/// Length of the stretch that is compared, 20 ms.
const COMPARED: usize = 160;
const HISTORY: usize = LONGEST + COMPARED;
/// Samples over which the first good frame is blended in.
const BLEND: usize = 40;
/// Samples at full level, then samples to fall to nothing.
const HOLD: usize = 80;
const FADE: usize = 400;

#[derive(Debug, Clone)]
pub struct Concealer {
    /// The last samples that were heard, newest last.
    history: [i16; HISTORY],
    loss: Loss,
}

#[derive(Debug, Clone, Copy)]
enum Loss {
    None,
    /// Repeating a period of `pitch` samples; `made` samples so far.
    Repeating {
        pitch: usize,
        made: usize,
    },
}

impl Default for Concealer {
    fn default() -> Self {
        Concealer { history: [0; HISTORY], loss: Loss::None }
    }
}

impl Concealer {
    /// Takes note of a good frame; the first one after a loss is blended with the repetition.
    pub fn good(&mut self, frame: &mut [i16]) {
        if let Loss::Repeating { pitch, made } = self.loss {
            let blend = BLEND.min(frame.len());
            for (index, sample) in frame[..blend].iter_mut().enumerate() {
                let weight = (index + 1) as f32 / (blend + 1) as f32;
                let stand_in = self.repeated(pitch, made + index);
                *sample = (f32::from(*sample) * weight + stand_in * (1.0 - weight)) as i16;
            }
            self.loss = Loss::None;
        }
        self.remember(frame);
    }

    /// Fills a frame in place of a lost one.
    pub fn lost(&mut self, frame: &mut [i16; FRAME_SAMPLES]) {
        let (pitch, made) = match self.loss {
            Loss::None => (self.pitch(), 0),
            Loss::Repeating { pitch, made } => (pitch, made),
        };
        for (index, sample) in frame.iter_mut().enumerate() {
            *sample = self.repeated(pitch, made + index) as i16;
        }
        self.loss = Loss::Repeating { pitch, made: (made + frame.len()).min(HOLD + FADE) };
    }

    /// Whether the repetition has faded to silence.
    pub fn is_silent(&self) -> bool {
        matches!(self.loss, Loss::Repeating { made, .. } if made >= HOLD + FADE)
    }

    /// Forgets everything: another voice begins.
    pub fn reset(&mut self) {
        *self = Concealer::default();
    }

    fn repeated(&self, pitch: usize, index: usize) -> f32 {
        let period = HISTORY - pitch;
        let gain = 1.0 - index.saturating_sub(HOLD) as f32 / FADE as f32;
        let position = index % pitch;
        // The last quarter of a period glides into the sample before the period, so that the seam does not click.
        let quarter = pitch / 4;
        let into = (position + quarter + 1).saturating_sub(pitch);
        let weight = into as f32 / (quarter + 1) as f32;
        let sample = f32::from(self.history[period + position]) * (1.0 - weight)
            + f32::from(self.history[period + position - pitch.min(period)]) * weight;
        sample * gain.max(0.0)
    }

    /// Lag with the best normalised correlation; first on every other sample, then finely.
    fn pitch(&self) -> usize {
        let coarse = self.best_lag(SHORTEST..=LONGEST, 2);
        self.best_lag(coarse.saturating_sub(1).max(SHORTEST)..=(coarse + 1).min(LONGEST), 1)
    }

    fn best_lag(&self, lags: std::ops::RangeInclusive<usize>, step: usize) -> usize {
        let recent = &self.history[LONGEST..];
        let score = |lag: usize| {
            let earlier = &self.history[LONGEST - lag..HISTORY - lag];
            let (mut cross, mut energy) = (0.0f32, 1.0f32);
            for (a, b) in recent.iter().zip(earlier).step_by(step) {
                cross += f32::from(*a) * f32::from(*b);
                energy += f32::from(*b) * f32::from(*b);
            }
            cross / energy.sqrt()
        };
        lags.step_by(step)
            .map(|lag| (lag, score(lag)))
            .fold((LONGEST, f32::MIN), |best, next| if next.1 > best.1 { next } else { best })
            .0
    }

    fn remember(&mut self, frame: &[i16]) {
        let new = &frame[frame.len().saturating_sub(HISTORY)..];
        self.history.copy_within(new.len().., 0);
        self.history[HISTORY - new.len()..].copy_from_slice(new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voice(frame: usize, hz: f64) -> [i16; FRAME_SAMPLES] {
        std::array::from_fn(|i| {
            let angle = std::f64::consts::TAU * hz * (frame * FRAME_SAMPLES + i) as f64 / 8_000.0;
            (6_000.0 * (angle.sin() + 0.5 * (2.0 * angle).sin())) as i16
        })
    }

    fn power(pcm: &[i16]) -> f64 {
        pcm.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / pcm.len() as f64
    }

    fn primed(hz: f64) -> Concealer {
        let mut concealer = Concealer::default();
        (0..5).for_each(|frame| concealer.good(&mut voice(frame, hz)));
        concealer
    }

    #[test]
    fn goes_on_with_the_same_pitch() {
        for hz in [80.0, 110.0, 155.0, 220.0, 310.0] {
            let mut filled = [0; FRAME_SAMPLES];
            primed(hz).lost(&mut filled);
            let real = voice(5, hz);
            let error: Vec<i16> = filled.iter().zip(&real).map(|(a, b)| a.saturating_sub(*b)).collect();
            assert!(power(&error[..80]) < 0.1 * power(&real[..80]), "{hz} Hz: {}", power(&error[..80]) / power(&real));
        }
    }

    #[test]
    fn fades_to_silence_within_60_ms() {
        let mut concealer = primed(120.0);
        let levels: Vec<f64> = (0..4)
            .map(|_| {
                let mut frame = [0; FRAME_SAMPLES];
                concealer.lost(&mut frame);
                power(&frame)
            })
            .collect();
        assert!(levels[0] > levels[1] && levels[1] > levels[2] && levels[2] > 0.0);
        assert_eq!(levels[3], 0.0);
        assert!(concealer.is_silent());
    }

    #[test]
    fn neither_the_start_nor_the_end_of_a_loss_clicks() {
        let mut concealer = primed(130.0);
        let before = voice(4, 130.0);
        let mut filled = [0; FRAME_SAMPLES];
        concealer.lost(&mut filled);
        let mut after = voice(6, 130.0);
        concealer.good(&mut after);
        let all: Vec<i16> = before.into_iter().chain(filled).chain(after).collect();
        let natural = before.windows(2).map(|w| w[1].abs_diff(w[0])).max().unwrap();
        let steepest = all.windows(2).map(|w| w[1].abs_diff(w[0])).max().unwrap();
        assert!(steepest < natural * 2, "{steepest} against {natural}");
    }

    #[test]
    fn without_a_past_it_is_silent() {
        let mut frame = [1; FRAME_SAMPLES];
        Concealer::default().lost(&mut frame);
        assert_eq!(frame, [0; FRAME_SAMPLES]);
    }
}
