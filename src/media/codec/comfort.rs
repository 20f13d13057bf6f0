//! Comfort noise (RFC 3389): how loud and of what colour the silence is that a sender does not send.

/// Reflection coefficients that are used; more are allowed and make no audible difference.
const ORDER: usize = 10;
/// RMS of full scale: 0 dBov.
const FULL_SCALE: f32 = 32_768.0;
/// Noise until the sender says how loud it is: that of a quiet line.
const UNTOLD: u8 = 70;

/// Makes noise like the one that was described last.
#[derive(Debug, Clone)]
pub struct Noise {
    /// RMS of the excitation.
    gain: f32,
    reflections: [f32; ORDER],
    /// Backward prediction errors of the lattice.
    memory: [f32; ORDER],
    random: u32,
}

impl Default for Noise {
    fn default() -> Noise {
        let mut noise = Noise { gain: 0.0, reflections: [0.0; ORDER], memory: [0.0; ORDER], random: 0x2545_F491 };
        noise.describe(&[UNTOLD]);
        noise
    }
}

impl Noise {
    /// Takes a payload: the level in −dBov, then quantised reflection coefficients (RFC 3389 §3).
    pub fn describe(&mut self, payload: &[u8]) {
        let Some((level, spectrum)) = payload.split_first() else { return };
        self.reflections = [0.0; ORDER];
        for (room, octet) in self.reflections.iter_mut().zip(spectrum) {
            // ±1 would be a tone without end.
            *room = ((f32::from(*octet) - 127.0) / 128.0).clamp(-0.98, 0.98);
        }
        let decibels = -f32::from(level & 0x7F);
        // The filter makes the excitation louder by 1 / Π (1 − k²).
        let calm: f32 = self.reflections.iter().map(|k| 1.0 - k * k).product();
        self.gain = FULL_SCALE * 10f32.powf(decibels / 20.0) * calm.sqrt();
    }

    /// Fills a frame.
    pub fn fill(&mut self, pcm: &mut [i16]) {
        for sample in pcm {
            // Uniform between ±√3 has an RMS of one.
            let excitation = self.uniform() * 3f32.sqrt() * self.gain;
            *sample = self.filtered(excitation) as i16;
        }
    }

    /// All-pole lattice.
    fn filtered(&mut self, excitation: f32) -> f32 {
        let mut forward = excitation;
        for stage in (0..ORDER).rev() {
            let k = self.reflections[stage];
            forward -= k * self.memory[stage];
            if let Some(next) = self.memory.get(stage + 1).map(|_| self.memory[stage] + k * forward) {
                self.memory[stage + 1] = next;
            }
        }
        self.memory[0] = forward;
        forward
    }

    /// Xorshift: noise has to sound random, not to be so.
    fn uniform(&mut self) -> f32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        (self.random as f32 / u32::MAX as f32) * 2.0 - 1.0
    }
}

/// The payload that we send: silence of our own has no colour.
pub fn payload() -> [u8; 1] {
    [UNTOLD]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(payload: &[u8]) -> f32 {
        let mut noise = Noise::default();
        noise.describe(payload);
        let mut pcm = [0i16; 16_000];
        noise.fill(&mut pcm);
        let power = pcm.iter().map(|&s| f32::from(s).powi(2)).sum::<f32>() / pcm.len() as f32;
        10.0 * (power / FULL_SCALE.powi(2)).log10()
    }

    #[test]
    fn noise_has_the_level_that_was_told_whatever_its_colour() {
        for decibels in [30u8, 45, 60] {
            for spectrum in [&[][..], &[200, 90], &[60, 160, 110, 140], &[220; 12]] {
                let payload: Vec<u8> = [&[decibels], spectrum].concat();
                let got = level(&payload);
                let slack = if spectrum.len() > 4 { 3.0 } else { 1.0 };
                assert!((got + f32::from(decibels)).abs() < slack, "{payload:?}: {got}");
            }
        }
    }

    #[test]
    fn a_spectrum_colours_the_noise() {
        // A first coefficient of −0.7 makes neighbours alike: low noise.
        let mut noise = Noise::default();
        noise.describe(&[30, 37]);
        let mut pcm = [0i16; 8_000];
        noise.fill(&mut pcm);
        let products: f64 = pcm.windows(2).map(|w| f64::from(w[0]) * f64::from(w[1])).sum();
        let power: f64 = pcm.iter().map(|&s| f64::from(s).powi(2)).sum();
        assert!((products / power - 0.7).abs() < 0.1, "{}", products / power);
    }

    #[test]
    fn nothing_of_a_stranger_makes_it_run_away() {
        let mut noise = Noise::default();
        noise.describe(&[0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 0]);
        let mut pcm = [0i16; 8_000];
        noise.fill(&mut pcm);
        noise.describe(&[127]);
        (0..10).for_each(|_| noise.fill(&mut pcm));
        assert!(pcm.iter().all(|sample| sample.abs() < 8), "{:?}", pcm.iter().max());
        noise.describe(&[]);
    }
}
