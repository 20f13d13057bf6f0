//! What a caller hears while somebody else's phone rings: 425 Hz, one second in five (ITU-T E.180, most of Europe).

use std::time::Duration;

use crate::media::{FRAME_SAMPLES, NARROW_BAND_HZ, Playout};

const TONE_HZ: f32 = 425.0;
/// −16 dBFS.
const LOUDNESS: f32 = 5_200.0;
const ON: u32 = NARROW_BAND_HZ;
const CADENCE: u32 = 5 * NARROW_BAND_HZ;
/// Soft edges, samples.
const EDGE: u32 = 40;
/// Kept queued: little enough to stop at once, enough for a late wake-up.
const AHEAD: Duration = Duration::from_millis(60);

/// The tone and where it stands.
#[derive(Debug, Default)]
pub struct Ringback {
    position: u32,
}

impl Ringback {
    /// Keeps the queue towards the phone filled; to be called at every wake-up.
    pub fn feed(&mut self, playout: &mut dyn Playout) {
        while playout.queued() < AHEAD {
            playout.push(&self.frame(), NARROW_BAND_HZ);
        }
    }

    fn frame(&mut self) -> [i16; FRAME_SAMPLES] {
        let mut pcm = [0; FRAME_SAMPLES];
        for sample in &mut pcm {
            let at = self.position;
            self.position = (self.position + 1) % CADENCE;
            if at < ON {
                let edge = at.min(ON - at).min(EDGE) as f32 / EDGE as f32;
                let phase = at as f32 * TONE_HZ / NARROW_BAND_HZ as f32;
                *sample = (LOUDNESS * edge * (phase.fract() * std::f32::consts::TAU).sin()) as i16;
            }
        }
        pcm
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_one_second_in_five() {
        let mut ringback = Ringback::default();
        let loud: Vec<bool> =
            (0..500).map(|_| ringback.frame().iter().any(|sample| sample.unsigned_abs() > 1_000)).collect();
        for (second, part) in loud.chunks(50).enumerate() {
            assert_eq!(part.iter().all(|loud| *loud), second % 5 == 0, "second {second}");
            assert_eq!(part.iter().any(|loud| *loud), second % 5 == 0, "second {second}");
        }
    }
}
