//! Telephone rates to the 16 kHz that voice activity and the recogniser hear.

use super::RECOGNISER_HZ;

/// Taps of the interpolating half-band filter on each side of the new sample (input samples).
const SIDE: usize = 8;

/// Turns frames of any length and rate into 16 kHz, keeping state from frame to frame.
///
/// 8 kHz is doubled by a half-band filter (every other output sample is an input sample; delay: 8 input samples, 1 ms);
/// 16 kHz passes; any other rate is averaged over each output sample's span, or held.
#[derive(Debug, Default)]
pub struct To16k {
    rate: u32,
    /// 8 kHz: the last `2 * SIDE` input samples.
    past: Vec<f32>,
    /// Other rates: sum and share of the output sample that is being filled, in input samples.
    sum: f32,
    filled: f32,
}

impl To16k {
    /// Appends `pcm` at `rate` Hz to `out` at 16 kHz. A rate of 0 is silence of no length.
    pub fn push(&mut self, pcm: &[i16], rate: u32, out: &mut Vec<i16>) {
        if rate != self.rate {
            *self = To16k { rate, ..To16k::default() };
        }
        match rate {
            0 => {}
            RECOGNISER_HZ => out.extend_from_slice(pcm),
            8_000 => self.double(pcm, out),
            _ => self.average(pcm, out),
        }
    }

    fn double(&mut self, pcm: &[i16], out: &mut Vec<i16>) {
        self.past.resize(2 * SIDE, 0.0);
        out.reserve(pcm.len() * 2);
        for sample in pcm {
            self.past.rotate_left(1);
            self.past[2 * SIDE - 1] = f32::from(*sample);
            out.push(self.past[SIDE - 1] as i16);
            let half: f32 = HALF_BAND
                .iter()
                .enumerate()
                .map(|(n, tap)| tap * (self.past[SIDE - 1 - n] + self.past[SIDE + n]))
                .sum();
            // `as` saturates: overshoot is clipped, not wrapped.
            out.push(half.round() as i16);
        }
    }

    fn average(&mut self, pcm: &[i16], out: &mut Vec<i16>) {
        let span = self.rate as f32 / RECOGNISER_HZ as f32;
        for sample in pcm {
            let sample = f32::from(*sample);
            let mut left = 1.0;
            while self.filled + left >= span {
                let taken = span - self.filled;
                out.push(((self.sum + sample * taken) / span).round() as i16);
                left -= taken;
                self.sum = 0.0;
                self.filled = 0.0;
            }
            self.sum += sample * left;
            self.filled += left;
        }
    }
}

/// Windowed sinc half-way between two samples, from the middle outwards, scaled to unity gain:
/// `sin(π x) / (π x) · cos²(π x / 17)` at x = 0.5, 1.5, … 7.5. Within 0.4 dB up to 3.4 kHz, images 28 dB down or more.
const HALF_BAND: [f32; SIDE] = [0.631_2, -0.196_3, 0.102_0, -0.057_9, 0.032_1, -0.016_0, 0.006_4, -0.001_4];

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(frequency: f32, rate: u32, seconds: f32) -> Vec<i16> {
        let step = std::f32::consts::TAU * frequency / rate as f32;
        (0..(rate as f32 * seconds) as usize).map(|n| (10_000.0 * (step * n as f32).sin()) as i16).collect()
    }

    /// Amplitude of `frequency` in `pcm` at 16 kHz.
    fn level(pcm: &[i16], frequency: f32) -> f32 {
        let step = std::f32::consts::TAU * frequency / 16_000.0;
        let (sin, cos) = pcm.iter().enumerate().fold((0.0, 0.0), |(sin, cos), (n, sample)| {
            let (s, c) = (step * n as f32).sin_cos();
            (sin + s * f32::from(*sample), cos + c * f32::from(*sample))
        });
        2.0 * (sin * sin + cos * cos).sqrt() / pcm.len() as f32
    }

    #[test]
    fn doubles_the_telephone_band_without_images() {
        for frequency in [300.0, 1000.0, 2000.0, 3000.0, 3400.0] {
            let mut to = To16k::default();
            let mut out = Vec::new();
            for frame in tone(frequency, 8000, 1.0).chunks(160) {
                to.push(frame, 8000, &mut out);
            }
            assert_eq!(out.len(), 16_000);
            let kept = level(&out[400..15_600], frequency) / 10_000.0;
            let image = level(&out[400..15_600], 8000.0 - frequency) / 10_000.0;
            assert!((0.9..1.1).contains(&kept), "{frequency} Hz: {kept}");
            assert!(image < 0.06, "{frequency} Hz: image {image}");
        }
    }

    #[test]
    fn other_rates_keep_length_and_tone() {
        for rate in [11_025, 24_000, 44_100, 48_000] {
            let mut to = To16k::default();
            let mut out = Vec::new();
            for frame in tone(440.0, rate, 1.0).chunks(333) {
                to.push(frame, rate, &mut out);
            }
            assert!(out.len().abs_diff(16_000) < 10, "{rate}: {}", out.len());
            assert!(level(&out[..15_000], 440.0) > 9_000.0);
        }
        let mut out = Vec::new();
        To16k::default().push(&[1, 2, 3], 0, &mut out);
        assert!(out.is_empty());
    }
}
