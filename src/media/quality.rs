//! How good a leg sounds: the E-model (ITU-T G.107, and G.107.1 for wide band) and levels.
//!
//! Each codec is rated on the scale of its own band: narrow band from 93.2 (G.107), wide band from 129 (G.107.1), which
//! is brought back by 1.29 before it becomes a score. A wide-band score is so the opinion among wide-band calls, not a
//! comparison with narrow band: 4.3 of G.722 sounds better than 4.4 of G.711.

use std::time::Duration;

use crate::media::Codec;

/// Numbers of the last second (levels) and since the start (the rest).
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct Quality {
    pub packets_received: u64,
    pub packets_sent: u64,
    /// Sequence numbers that never came.
    pub lost: u64,
    pub late: u64,
    pub duplicate: u64,
    pub reordered: u64,
    /// Packets dropped because they came from an address that the signalling does not allow, or were not RTP.
    pub foreign: u64,
    /// Packets of an encrypted leg that were dropped: not authentic, or seen before.
    #[serde(default)]
    pub refused: u64,
    /// Every packet of the leg, both ways, was encrypted.
    #[serde(default)]
    pub encrypted: bool,
    /// RFC 3550 §6.4.1 interarrival jitter, milliseconds.
    pub jitter_ms: f32,
    /// From RTCP (RFC 3550 §6.4.1), milliseconds.
    pub round_trip_ms: Option<f32>,
    /// Loss that the peer reports of our packets, 0 to 1.
    pub remote_loss: Option<f32>,
    /// Estimated by the E-model (ITU-T G.107), 1 to 4.5.
    pub mos: f32,
    /// RMS of the last second, dBFS.
    pub level_in_db: f32,
    pub level_out_db: f32,
    /// Delay of the jitter buffer, milliseconds.
    pub buffer_ms: f32,
}

/// How a codec sounds and how it bears loss (ITU-T G.113).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Impairment {
    /// Rating of a connection without any impairment but the default noise.
    pub best: f32,
    /// Divides the rating before it becomes a score.
    pub scale: f32,
    /// Equipment impairment without loss, Ie.
    pub equipment: f32,
    /// Robustness against loss, Bpl.
    pub robustness: f32,
}

/// G.711 with concealment (G.113 Appendix I; G.107 §7 for the rating).
pub const G711: Impairment = Impairment { best: 93.2, scale: 1.0, equipment: 0.0, robustness: 25.1 };

/// G.722 at 64 kbit/s: Ie,wb 13 (G.113 Appendix IV). No Bpl was published for a concealment like ours; that of G.711
/// with a repeated waveform, which it is, scaled by the wider scale.
pub const G722: Impairment = Impairment { best: 129.0, scale: 1.29, equipment: 13.0, robustness: 19.4 };

/// Opus in wide band at 28 kbit/s. G.113 has none; of its codecs G.722.2 at 23.85 kbit/s (Ie,wb 8) is nearest in make
/// and rate. Its own concealment and error correction bear loss about as well as G.711's.
pub const OPUS: Impairment = Impairment { best: 129.0, scale: 1.29, equipment: 8.0, robustness: 25.1 };

impl Impairment {
    pub fn of(codec: Codec) -> Impairment {
        match codec {
            Codec::Pcmu | Codec::Pcma => G711,
            Codec::G722 => G722,
            Codec::Opus => OPUS,
        }
    }
}

/// Mean opinion score, 1 to 4.5, from the loss (0 to 1, late packets included) and the one-way delay from mouth to ear.
pub fn mos(codec: Impairment, loss: f32, delay: Duration) -> f32 {
    score((codec.best - delay_impairment(delay) - loss_impairment(codec, loss)) / codec.scale)
}

/// Ie,eff of G.107 §7.5 with random loss (BurstR = 1).
fn loss_impairment(codec: Impairment, loss: f32) -> f32 {
    let percent = loss.clamp(0.0, 1.0) * 100.0;
    // What total loss costs: 95 on the narrow scale, and as much of the wide one.
    let most = 95.0 * codec.scale;
    codec.equipment + (most - codec.equipment) * percent / (percent + codec.robustness)
}

/// Idd of G.107 §7.4: nothing up to 100 ms, then ever more.
fn delay_impairment(delay: Duration) -> f32 {
    let milliseconds = delay.as_secs_f32() * 1e3;
    if milliseconds <= 100.0 {
        return 0.0;
    }
    let x = (milliseconds / 100.0).log2();
    25.0 * ((1.0 + x.powi(6)).powf(1.0 / 6.0) - 3.0 * (1.0 + (x / 3.0).powi(6)).powf(1.0 / 6.0) + 2.0)
}

/// G.107 Annex B.
fn score(rating: f32) -> f32 {
    let r = rating.clamp(0.0, 100.0);
    (1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6).clamp(1.0, 4.5)
}

/// Quietest level that is told.
pub const FLOOR_DB: f32 = -96.0;

/// Sum of the squares.
pub fn energy(pcm: &[i16]) -> u64 {
    // A square fits 31 bits, so that eight of them can be added at once.
    pcm.iter().map(|&sample| u64::from((i32::from(sample) * i32::from(sample)).unsigned_abs())).sum()
}

/// Collects samples and tells their RMS level in dBFS (0 = a full-scale square, −3 = a full-scale sine).
#[derive(Debug, Clone, Copy, Default)]
pub struct LevelMeter {
    sum: u64,
    samples: u64,
}

impl LevelMeter {
    pub fn add(&mut self, pcm: &[i16]) {
        self.add_energy(energy(pcm), pcm.len());
    }

    /// So many samples with this [`energy`].
    pub fn add_energy(&mut self, energy: u64, samples: usize) {
        self.sum += energy;
        self.samples += samples as u64;
    }

    pub fn add_silence(&mut self, samples: usize) {
        self.samples += samples as u64;
    }

    /// The level since the last call; [`FLOOR_DB`] when there was nothing.
    pub fn take(&mut self) -> f32 {
        let LevelMeter { sum, samples } = std::mem::take(self);
        if sum == 0 {
            return FLOOR_DB;
        }
        let mean = sum as f64 / samples as f64 / (32_768.0 * 32_768.0);
        (10.0 * mean.log10() as f32).max(FLOOR_DB)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mos_matches_the_published_curve() {
        let at = |loss, ms| mos(G711, loss, Duration::from_millis(ms));
        assert!((at(0.0, 20) - 4.41).abs() < 0.01, "{}", at(0.0, 20));
        // Idd(200 ms) = 3.2 and Idd(400 ms) = 24 or so on the curve of G.107 figure 2.
        assert!((delay_impairment(Duration::from_millis(200)) - 3.2).abs() < 0.3);
        assert!((delay_impairment(Duration::from_millis(400)) - 24.0).abs() < 2.0);
        // Ie,eff of 3 % random loss: 95 * 3 / 28.1.
        assert!((loss_impairment(G711, 0.03) - 10.14).abs() < 0.01);
        assert!(at(0.01, 50) > at(0.03, 50) && at(0.03, 50) > at(0.03, 300));
        assert!(at(1.0, 5_000) >= 1.0);
    }

    #[test]
    fn wide_band_is_rated_on_its_own_scale() {
        let at = |codec, loss, ms| mos(Impairment::of(codec), loss, Duration::from_millis(ms));
        // R = (129 − 13) / 1.29 = 89.9 and (129 − 8) / 1.29 = 93.8.
        assert!((at(Codec::G722, 0.0, 20) - 4.34).abs() < 0.01, "{}", at(Codec::G722, 0.0, 20));
        assert!((at(Codec::Opus, 0.0, 20) - 4.42).abs() < 0.01, "{}", at(Codec::Opus, 0.0, 20));
        for codec in [Codec::Pcmu, Codec::G722, Codec::Opus] {
            assert!(at(codec, 0.01, 50) > at(codec, 0.05, 50) && at(codec, 0.05, 50) > at(codec, 0.05, 400));
            assert!((1.0..1.5).contains(&at(codec, 1.0, 50)), "{codec:?} {}", at(codec, 1.0, 50));
        }
        assert!(at(Codec::Opus, 0.05, 50) > at(Codec::G722, 0.05, 50));
    }

    #[test]
    fn levels_are_in_db_below_full_scale() {
        let mut meter = LevelMeter::default();
        assert_eq!(meter.take(), FLOOR_DB);
        let sine: Vec<i16> = (0..8_000).map(|i| (32_767.0 * (f64::from(i) * 0.3).sin()) as i16).collect();
        meter.add(&sine);
        assert!((meter.take() + 3.01).abs() < 0.02);
        meter.add(&[i16::MIN; 100]);
        assert_eq!(meter.take(), 0.0);
        meter.add(&[0; 100]);
        assert_eq!(meter.take(), FLOOR_DB);
    }
}
