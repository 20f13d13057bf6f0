//! Sample rate conversion between 8, 16, 24 and 48 kHz: one polyphase FIR, streaming.
//!
//! The filter is a Kaiser-windowed sinc whose pass band ends at 85 % and whose stop band begins at 100 % of the lower
//! Nyquist frequency, so that aliases and images stay below −60 dB. Its delay is 29 samples of the lower rate:
//! 3.6 ms at 8 kHz, 1.8 ms at 16 kHz.

/// Rates that a [`Resampler`] knows, Hz.
pub const RATES: [u32; 4] = [8_000, 16_000, 24_000, 48_000];

/// Half-length of the filter in samples of the lower rate.
const REACH: usize = 29;
/// Stop band of about −66 dB (Kaiser: 0.1102 · (A − 8.7)).
const BETA: f64 = 6.3;
/// Middle of the transition band as part of the lower Nyquist frequency.
const CUTOFF: f64 = 0.925;

#[derive(Debug, Clone)]
pub struct Resampler {
    from: u32,
    to: u32,
    up: usize,
    down: usize,
    /// Filter of each phase, newest input first, one after the other.
    taps: Vec<f32>,
    /// Taps of one phase.
    length: usize,
    /// The last `length` inputs, newest first from `newest`, kept twice so that every window is contiguous.
    history: Vec<f32>,
    newest: usize,
    /// Phase of the next output within the current input sample; `up` and above = in a later one.
    phase: usize,
}

impl Resampler {
    /// A converter between two of [`RATES`]; `None` for any other rate.
    pub fn new(from: u32, to: u32) -> Option<Resampler> {
        if !RATES.contains(&from) || !RATES.contains(&to) {
            return None;
        }
        let common = gcd(from, to);
        let (up, down) = ((to / common) as usize, (from / common) as usize);
        let length = if from == to { 1 } else { (2 * REACH * up.max(down) + 1).div_ceil(up) };
        Some(Resampler {
            from,
            to,
            up,
            down,
            taps: if from == to { vec![1.0] } else { filter(up, down, length) },
            length,
            history: vec![0.0; 2 * length],
            newest: 0,
            phase: 0,
        })
    }

    pub fn from(&self) -> u32 {
        self.from
    }

    pub fn to(&self) -> u32 {
        self.to
    }

    /// Delay in samples of the output.
    pub fn delay(&self) -> usize {
        if self.from == self.to { 0 } else { REACH * self.up.max(self.down) / self.down }
    }

    /// Converts `input` and hands every finished sample to `output`. Any length; the state goes on in the next call.
    pub fn process(&mut self, input: &[i16], mut output: impl FnMut(i16)) {
        if self.from == self.to {
            input.iter().for_each(|&sample| output(sample));
            return;
        }
        for &sample in input {
            self.remember(f32::from(sample));
            while self.phase < self.up {
                output(self.dot());
                self.phase += self.down;
            }
            self.phase -= self.up;
        }
    }

    /// Pushes out what the filter still holds.
    pub fn finish(&mut self, output: impl FnMut(i16)) {
        if self.from != self.to {
            const SILENCE: [i16; REACH * 6] = [0; REACH * 6];
            let inputs = (REACH * self.up.max(self.down)).div_ceil(self.up);
            self.process(&SILENCE[..inputs.min(SILENCE.len())], output);
        }
    }

    fn remember(&mut self, sample: f32) {
        self.newest = if self.newest == 0 { self.length - 1 } else { self.newest - 1 };
        self.history[self.newest] = sample;
        self.history[self.newest + self.length] = sample;
    }

    fn dot(&self) -> i16 {
        let taps = &self.taps[self.phase * self.length..(self.phase + 1) * self.length];
        let window = &self.history[self.newest..self.newest + self.length];
        let sum: f32 = taps.iter().zip(window).map(|(tap, sample)| tap * sample).sum();
        // `as` saturates: an overshoot of the filter clips instead of wrapping.
        sum.round() as i16
    }
}

/// Converts a whole stretch between two of [`RATES`], without delay and to the sample as long as it was; unchanged when
/// a rate is unknown. Takes memory: for what happens once, not for every frame.
pub fn converted(pcm: &[i16], from: u32, to: u32) -> Vec<i16> {
    let Some(mut resampler) = Resampler::new(from, to) else { return pcm.to_vec() };
    let length = (pcm.len() as u64 * u64::from(to) / u64::from(from)) as usize;
    let mut late = Vec::with_capacity(length + 2 * REACH);
    resampler.process(pcm, |sample| late.push(sample));
    let delay = resampler.delay();
    resampler.finish(|sample| late.push(sample));
    late.into_iter().skip(delay).chain(std::iter::repeat(0)).take(length).collect()
}

/// The prototype at the common rate `from · up`, dealt out to phases, each with unity gain at 0 Hz.
fn filter(up: usize, down: usize, length: usize) -> Vec<f32> {
    let wide = up.max(down) as f64;
    let centre = REACH as f64 * wide;
    let mut taps = vec![0.0f64; up * length];
    for index in 0..=2 * REACH * up.max(down) {
        let offset = (index as f64 - centre) / wide;
        let window = bessel(BETA * (1.0 - (offset / REACH as f64).powi(2)).max(0.0).sqrt()) / bessel(BETA);
        taps[(index % up) * length + index / up] = sinc(CUTOFF * offset) * window;
    }
    for phase in taps.chunks_mut(length) {
        let gain: f64 = phase.iter().sum();
        phase.iter_mut().for_each(|tap| *tap /= gain);
    }
    taps.into_iter().map(|tap| tap as f32).collect()
}

fn sinc(x: f64) -> f64 {
    let angle = std::f64::consts::PI * x;
    if angle.abs() < 1e-9 { 1.0 } else { angle.sin() / angle }
}

/// Modified Bessel function of the first kind, order 0.
fn bessel(x: f64) -> f64 {
    let mut term = 1.0;
    let mut sum = 1.0;
    for k in 1..40 {
        term *= (x / 2.0 / f64::from(k)).powi(2);
        sum += term;
    }
    sum
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEVEL: f64 = 16_000.0;

    fn tone(hz: f64, rate: u32, length: usize) -> Vec<i16> {
        let step = std::f64::consts::TAU * hz / f64::from(rate);
        (0..length).map(|i| (LEVEL * (step * i as f64).sin()).round() as i16).collect()
    }

    fn convert(from: u32, to: u32, input: &[i16]) -> Vec<i16> {
        let mut output = Vec::new();
        Resampler::new(from, to).unwrap().process(input, |sample| output.push(sample));
        output
    }

    fn decibels(pcm: &[i16]) -> f64 {
        let power = pcm.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / pcm.len() as f64;
        10.0 * (power.max(1e-9) / (LEVEL * LEVEL / 2.0)).log10()
    }

    /// Power of all but the component at `hz`, relative to the tone.
    fn residue(pcm: &[i16], hz: f64, rate: u32) -> f64 {
        let step = std::f64::consts::TAU * hz / f64::from(rate);
        let n = pcm.len() as f64;
        let (mut re, mut im) = (0.0, 0.0);
        for (i, &s) in pcm.iter().enumerate() {
            re += f64::from(s) * (step * i as f64).cos();
            im += f64::from(s) * (step * i as f64).sin();
        }
        let tone = 2.0 * (re * re + im * im) / (n * n);
        let all = pcm.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / n;
        10.0 * ((all - tone).max(1e-9) / (LEVEL * LEVEL / 2.0)).log10()
    }

    fn pairs() -> impl Iterator<Item = (u32, u32)> {
        RATES.into_iter().flat_map(|from| RATES.into_iter().map(move |to| (from, to))).filter(|(from, to)| from != to)
    }

    #[test]
    fn aliases_stay_below_60_db() {
        for (from, to) in pairs().filter(|(from, to)| from > to) {
            let (low, high) = (f64::from(to) / 2.0, f64::from(from) / 2.0);
            for step in 0..=40 {
                let hz = low * 1.001 + (high * 0.995 - low * 1.001) * f64::from(step) / 40.0;
                let output = convert(from, to, &tone(hz, from, from as usize / 2));
                let level = decibels(&output[output.len() / 4..output.len() * 3 / 4]);
                assert!(level < -60.0, "{from} to {to}: {hz:.0} Hz comes out at {level:.1} dB");
            }
        }
    }

    #[test]
    fn images_stay_below_60_db() {
        for (from, to) in pairs().filter(|(from, to)| from < to) {
            for part in [0.05, 0.3, 0.6, 0.85] {
                let hz = (f64::from(from) / 2.0 * part / 10.0).round() * 10.0;
                let output = convert(from, to, &tone(hz, from, from as usize));
                let middle = &output[to as usize / 4..to as usize / 4 + to as usize / 2];
                let level = residue(middle, hz, to);
                assert!(level < -60.0, "{from} to {to}: {hz:.0} Hz leaves {level:.1} dB");
            }
        }
    }

    #[test]
    fn speech_band_is_flat() {
        for (from, to) in pairs() {
            for hz in [100.0, 300.0, 1_000.0, 2_500.0, 3_400.0] {
                let output = convert(from, to, &tone(hz, from, from as usize / 2));
                let level = decibels(&output[output.len() / 4..output.len() * 3 / 4]);
                assert!(level.abs() < 0.3, "{from} to {to}: {hz} Hz at {level:.2} dB");
            }
        }
    }

    #[test]
    fn delay_is_what_it_says_and_below_4_ms() {
        for (from, to) in pairs() {
            let resampler = Resampler::new(from, to).unwrap();
            assert!(resampler.delay() as f64 / f64::from(to) < 0.004);
            let mut input = vec![0i16; from as usize / 10];
            input[0] = i16::MAX;
            let output = convert(from, to, &input);
            let peak = output.iter().enumerate().max_by_key(|(_, s)| s.unsigned_abs()).unwrap().0;
            assert!(peak.abs_diff(resampler.delay()) <= 1, "{from} to {to}: {peak} {}", resampler.delay());
        }
    }

    #[test]
    fn pieces_give_the_same_as_the_whole() {
        for (from, to) in pairs() {
            let input = tone(700.0, from, 4_801);
            let whole = convert(from, to, &input);
            let mut resampler = Resampler::new(from, to).unwrap();
            let mut pieces = Vec::new();
            for piece in input.chunks(37) {
                resampler.process(piece, |sample| pieces.push(sample));
            }
            assert_eq!(whole, pieces);
            assert!(
                (whole.len() as f64 - 4_801.0 * f64::from(to) / f64::from(from)).abs() <= 1.0 * f64::from(to) / 8e3
            );
        }
    }

    #[test]
    fn a_whole_stretch_is_converted_in_its_place() {
        for (from, to) in pairs() {
            let out = converted(&tone(700.0, from, from as usize / 10), from, to);
            let expected = tone(700.0, to, to as usize / 10);
            assert_eq!(out.len(), expected.len());
            let inside = out.len() / 5..out.len() * 4 / 5;
            let error = out[inside.clone()].iter().zip(&expected[inside]).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            assert!(error < 1_500, "{from} to {to}: {error}");
        }
    }

    #[test]
    fn same_rate_is_untouched_and_odd_rates_are_refused() {
        assert_eq!(convert(8_000, 8_000, &[1, -2, 3]), [1, -2, 3]);
        assert!(Resampler::new(44_100, 8_000).is_none() && Resampler::new(8_000, 0).is_none());
    }

    #[test]
    fn full_scale_clips_instead_of_wrapping() {
        let square: Vec<i16> = (0..2_400).map(|i| if i / 30 % 2 == 0 { i16::MAX } else { i16::MIN }).collect();
        let output = convert(24_000, 8_000, &square);
        let flips = output.windows(2).filter(|w| i32::from(w[0]) - i32::from(w[1]) > 60_000).count();
        assert!(flips <= 41, "{flips}");
    }
}
