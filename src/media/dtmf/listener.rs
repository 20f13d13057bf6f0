//! Keys as tones in the sound (ITU-T Q.23), found as Q.24 asks: for lines that know no events.
//!
//! Every 5 ms the last 20 ms are looked at (Hann window, the eight frequencies of Q.23). Such a look sees a key when
//!
//! | Property | Accepted | Q.24 |
//! |---|---|---|
//! | level of each tone | above −41 dBFS | operates down to −25 dBm0 or so (operators' table) |
//! | higher tone against the lower | −10 to +6 dB | −8 to +4 dB |
//! | frequency of each, by how its phase moves from look to look | within 2.5 % | takes 1.5 %, refuses 3.5 % |
//! | part of both tones in all the power | 88 % and more | works at a noise 15 dB below |
//!
//! A press is [`LOOKS`] such looks in a row: tones of 40 ms are taken, of 24 ms refused. It is over when both tones are
//! gone for [`GAPS`] looks: a dropout of 10 ms does not cut it, a pause of 30 ms does. Speech has power beside two of
//! its harmonics, and pitch that moves: both make it fail (talk-off).

use std::f32::consts::{PI, TAU};

use crate::media::NARROW_BAND_HZ;
use crate::media::dtmf::{COLUMNS, ROWS, key_at};

/// Samples of a look and between two looks, at 8 kHz.
const WINDOW: usize = 160;
const HOP: usize = 40;
/// Looks in a row that make a press.
const LOOKS: u32 = 4;
/// Looks in a row without the tones that end it.
const GAPS: u32 = 3;
/// Amplitude of a tone, of 32,768.
const QUIETEST: f32 = 300.0;
/// Twist as amplitudes, higher over lower: −10 and +6 dB.
const TWIST: std::ops::RangeInclusive<f32> = 0.316..=1.995;
const DEVIATION: f32 = 0.025;
const SHARE: f32 = 0.88;
/// Part of a press's amplitude below which its tones are gone.
const GONE: f32 = 0.4;

/// Finds keys in the sound of one direction.
#[derive(Debug, Clone)]
pub struct ToneListener {
    rate: u32,
    /// Hann window times cosine and sine of each frequency: rows, then columns.
    waves: Vec<Wave>,
    window: Vec<f32>,
    /// The last samples, oldest first.
    samples: Vec<f32>,
    /// Of these, so many have come since the last look.
    fresh: usize,
    press: Press,
}

/// One frequency, and what the last look saw of it.
#[derive(Debug, Clone)]
struct Wave {
    hertz: f32,
    cosine: Vec<f32>,
    sine: Vec<f32>,
    /// How far the phase moves from look to look.
    turn: (f32, f32),
    seen: (f32, f32),
    amplitude: f32,
    /// From the nominal frequency, Hz.
    offset: f32,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Press {
    None,
    /// Seen so many times in a row; not told yet.
    Rising {
        key: (usize, usize),
        looks: u32,
    },
    /// Told. `gaps`: looks in a row without it; `other`: another key that rises meanwhile.
    Down {
        key: (usize, usize),
        amplitude: f32,
        gaps: u32,
        other: Option<((usize, usize), u32)>,
    },
}

impl ToneListener {
    /// For sound of 8 or 16 kHz.
    pub fn new(rate: u32) -> ToneListener {
        let length = WINDOW * (rate / NARROW_BAND_HZ).max(1) as usize;
        let window: Vec<f32> =
            (0..length).map(|n| 0.5 - 0.5 * (TAU * (n as f32 + 0.5) / length as f32).cos()).collect();
        let waves = ROWS.iter().chain(&COLUMNS).map(|hertz| Wave::new(*hertz, rate, &window)).collect();
        ToneListener { rate, waves, samples: vec![0.0; length], window, fresh: 0, press: Press::None }
    }

    /// Hears the next samples; returns the key that is newly pressed in them. Another rate begins anew.
    pub fn hear(&mut self, pcm: &[i16], rate: u32) -> Option<char> {
        if rate != self.rate {
            *self = ToneListener::new(rate);
        }
        let hop = HOP * self.samples.len() / WINDOW;
        let mut key = None;
        for piece in pcm.chunks(hop) {
            self.samples.rotate_left(piece.len());
            let start = self.samples.len() - piece.len();
            self.samples[start..].iter_mut().zip(piece).for_each(|(room, sample)| *room = f32::from(*sample));
            self.fresh += piece.len();
            if self.fresh >= hop {
                self.fresh -= hop;
                let seen = self.look();
                key = self.follow(seen).or(key);
            }
        }
        key
    }

    /// Row and column of the key that this look sees.
    fn look(&mut self) -> Option<(usize, usize)> {
        let mut power = 0.0;
        for (sample, weight) in self.samples.iter().zip(&self.window) {
            power += (sample * weight) * (sample * weight);
        }
        let length = self.samples.len() as f32;
        // Even the quietest key has more; silence needs no looks.
        let silent = power < QUIETEST * QUIETEST * length * 0.1;
        for wave in &mut self.waves {
            wave.look(&self.samples, silent);
        }
        if silent {
            return None;
        }
        let (rows, columns) = self.waves.split_at(ROWS.len());
        let (row, low) = loudest(rows)?;
        let (column, high) = loudest(columns)?;
        let share = (low.power(length) + high.power(length)) / power;
        let fits =
            low.is_true() && high.is_true() && TWIST.contains(&(high.amplitude / low.amplitude)) && share > SHARE;
        fits.then_some((row, column))
    }

    fn follow(&mut self, seen: Option<(usize, usize)>) -> Option<char> {
        let amplitude = |(row, column): (usize, usize)| {
            let of = |index: usize| self.waves.get(index).map_or(0.0, |wave| wave.amplitude);
            of(row).min(of(ROWS.len() + column))
        };
        let mut told = None;
        let mut down = |key: (usize, usize)| {
            told = key_at(key.0, key.1);
            Press::Down { key, amplitude: amplitude(key), gaps: 0, other: None }
        };
        self.press = match (self.press, seen) {
            (Press::None | Press::Rising { .. }, None) => Press::None,
            (Press::Rising { key, looks }, Some(now)) if key == now => match looks + 1 {
                LOOKS => down(key),
                looks => Press::Rising { key, looks },
            },
            (Press::None | Press::Rising { .. }, Some(key)) => Press::Rising { key, looks: 1 },
            (Press::Down { key, amplitude: loud, gaps, other }, seen) => {
                let gone = amplitude(key) < loud * GONE;
                let other = seen.filter(|now| *now != key).map(|now| match other {
                    Some((before, looks)) if before == now => (now, looks + 1),
                    _ => (now, 1),
                });
                match (other, if gone { gaps + 1 } else { 0 }) {
                    (Some((key, LOOKS)), _) => down(key),
                    (_, GAPS) => other.map_or(Press::None, |(key, looks)| Press::Rising { key, looks }),
                    (other, gaps) => Press::Down { key, amplitude: loud.max(amplitude(key)), gaps, other },
                }
            }
        };
        told
    }
}

fn loudest(waves: &[Wave]) -> Option<(usize, &Wave)> {
    waves.iter().enumerate().max_by(|a, b| a.1.amplitude.total_cmp(&b.1.amplitude))
}

impl Wave {
    fn new(hertz: f32, rate: u32, window: &[f32]) -> Wave {
        let step = TAU * hertz / rate as f32;
        let hop = (HOP * window.len() / WINDOW) as f32;
        let wave = |of: fn(f32) -> f32| window.iter().enumerate().map(|(n, w)| w * of(step * n as f32)).collect();
        Wave {
            hertz,
            cosine: wave(f32::cos),
            sine: wave(f32::sin),
            turn: ((step * hop).cos(), (step * hop).sin()),
            seen: (0.0, 0.0),
            amplitude: 0.0,
            offset: f32::MAX,
        }
    }

    fn look(&mut self, samples: &[f32], silent: bool) {
        let (mut re, mut im) = (0.0, 0.0);
        if !silent {
            for (sample, (cosine, sine)) in samples.iter().zip(self.cosine.iter().zip(&self.sine)) {
                re += sample * cosine;
                im -= sample * sine;
            }
        }
        // What the last look saw, turned on by a hop of the nominal frequency: the rest of the turn is the deviation.
        let (before_re, before_im) = self.seen;
        let expected_re = before_re * self.turn.0 - before_im * self.turn.1;
        let expected_im = before_re * self.turn.1 + before_im * self.turn.0;
        let turned = (im * expected_re - re * expected_im).atan2(re * expected_re + im * expected_im);
        let looks_a_second = NARROW_BAND_HZ as f32 / HOP as f32;
        self.offset = if silent { f32::MAX } else { turned / TAU * looks_a_second };
        self.seen = (re, im);
        // A Hann window of N samples answers a sine of amplitude A with A · N / 4, less beside its middle.
        let bin = NARROW_BAND_HZ as f32 / WINDOW as f32;
        self.amplitude = (re * re + im * im).sqrt() * 4.0 / samples.len() as f32 / response(self.offset / bin);
    }

    fn is_true(&self) -> bool {
        self.amplitude > QUIETEST && self.offset.abs() <= self.hertz * DEVIATION
    }

    /// Power that a sine of this amplitude has under the window.
    fn power(&self, length: f32) -> f32 {
        self.amplitude * self.amplitude * length * 3.0 / 16.0
    }
}

/// Answer of a Hann window to a frequency so many bins beside its middle; never less than half.
fn response(bins: f32) -> f32 {
    match bins.abs() {
        ..1e-3 => 1.0,
        // 0.5 at one bin.
        x if x < 0.99 => (PI * x).sin() / (PI * x) / (1.0 - x * x),
        _ => 0.5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::dtmf::ToneSender;

    struct Tones {
        rate: u32,
        pcm: Vec<f64>,
    }

    impl Tones {
        fn new(rate: u32) -> Tones {
            Tones { rate, pcm: vec![0.0; rate as usize / 10 + 37] }
        }

        fn silence(mut self, ms: f64) -> Tones {
            self.pcm.extend(vec![0.0; (ms * f64::from(self.rate) / 1e3) as usize]);
            self
        }

        /// Two tones; levels in dBFS of a full-scale sine.
        fn pair(mut self, low: (f64, f64), high: (f64, f64), ms: f64) -> Tones {
            let at = self.pcm.len();
            let wave = |(hertz, level): (f64, f64), n: usize| {
                32_767.0
                    * 10f64.powf(level / 20.0)
                    * (std::f64::consts::TAU * hertz * n as f64 / f64::from(self.rate)).sin()
            };
            let length = (ms * f64::from(self.rate) / 1e3) as usize;
            self.pcm.extend((at..at + length).map(|n| wave(low, n) + wave(high, n)));
            self
        }

        fn noise(mut self, level: f64) -> Tones {
            let mut random = 7u32;
            let amplitude = 32_767.0 * 10f64.powf(level / 20.0) * 3f64.sqrt();
            for sample in &mut self.pcm {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *sample += amplitude * (f64::from(random >> 8) / f64::from(1 << 23) - 1.0);
            }
            self
        }

        fn keys(self) -> String {
            let rate = self.rate;
            let whole = self.silence(100.0);
            let pcm: Vec<i16> = whole.pcm.iter().map(|s| s.clamp(-32_768.0, 32_767.0) as i16).collect();
            let mut listener = ToneListener::new(rate);
            pcm.chunks(rate as usize / 50).filter_map(|frame| listener.hear(frame, rate)).collect()
        }
    }

    const FIVE: ((f64, f64), (f64, f64)) = ((770.0, -13.0), (1_336.0, -11.0));

    fn five(rate: u32, ms: f64) -> Tones {
        Tones::new(rate).pair(FIVE.0, FIVE.1, ms)
    }

    #[test]
    fn every_key_of_our_own_is_heard_once_at_both_rates() {
        for rate in [8_000, 16_000] {
            let mut sender = ToneSender::default();
            sender.queue("1234567890*#ABCD1155");
            let mut listener = ToneListener::new(rate);
            let mut keys = String::new();
            for _ in 0..400 {
                let frame = sender.slot(rate).unwrap_or(crate::media::frame::Frame::silent(rate));
                keys.extend(listener.hear(&frame, rate));
            }
            assert_eq!(keys, "1234567890*#ABCD1155");
        }
    }

    #[test]
    fn tones_of_40_ms_are_taken_and_of_24_ms_refused() {
        for rate in [8_000, 16_000] {
            // At every place between two looks.
            for shift in 0..12 {
                let at = f64::from(shift) * 0.43;
                let of = |ms| Tones::new(rate).silence(at).pair(FIVE.0, FIVE.1, ms).keys();
                assert_eq!(of(40.0), "5", "{shift}");
                assert_eq!(of(23.0), "", "{shift}");
            }
        }
    }

    #[test]
    fn a_pause_parts_two_presses_and_a_dropout_does_not() {
        for shift in 0..12 {
            let twice = |pause| {
                let first = Tones::new(8_000).silence(f64::from(shift) * 0.43).pair(FIVE.0, FIVE.1, 60.0);
                first.silence(pause).pair(FIVE.0, FIVE.1, 60.0).keys()
            };
            assert_eq!((twice(30.0).as_str(), twice(40.0).as_str(), twice(8.0).as_str()), ("55", "55", "5"), "{shift}");
        }
        let other = five(8_000, 60.0).pair((697.0, -13.0), (1_209.0, -11.0), 60.0);
        assert_eq!(other.keys(), "51");
    }

    #[test]
    fn frequencies_within_one_and_a_half_percent_are_taken_and_three_and_a_half_refused() {
        for (row, column) in (0..4).flat_map(|row| (0..4).map(move |column| (row, column))) {
            let (low, high) = (f64::from(ROWS[row]), f64::from(COLUMNS[column]));
            let key = key_at(row, column).unwrap().to_string();
            for off in [-0.015, 0.0, 0.015] {
                let at = |shift: f64| (1.0 + off) * shift;
                let heard = Tones::new(8_000).pair((at(low), -15.0), (at(high), -15.0), 60.0).keys();
                assert_eq!(heard, key, "{off}");
            }
            for off in [-0.035, 0.035] {
                let wrong_low = Tones::new(8_000).pair((low * (1.0 + off), -15.0), (high, -15.0), 100.0).keys();
                let wrong_high = Tones::new(8_000).pair((low, -15.0), (high * (1.0 + off), -15.0), 100.0).keys();
                assert_eq!((wrong_low.as_str(), wrong_high.as_str()), ("", ""), "{key} {off}");
            }
        }
    }

    #[test]
    fn levels_twist_and_noise_as_q24_asks() {
        let pair = |low: f64, high: f64| Tones::new(8_000).pair((852.0, low), (1_477.0, high), 50.0);
        for (low, high) in [(-4.0, -4.0), (-31.0, -31.0), (-20.0, -28.0), (-20.0, -16.0)] {
            assert_eq!(pair(low, high).keys(), "9", "{low} {high}");
        }
        assert_eq!(pair(-10.0, -24.0).keys(), "", "14 dB of twist");
        assert_eq!(pair(-55.0, -55.0).keys(), "", "too quiet");
        // Noise 15 dB below the pair.
        assert_eq!(pair(-20.0, -20.0).noise(-35.0).keys(), "9");
        assert_eq!(pair(-30.0, -30.0).noise(-20.0).keys(), "", "drowned");
        assert_eq!(Tones::new(8_000).silence(3_000.0).noise(-15.0).keys(), "");
    }

    #[test]
    fn one_tone_three_tones_and_the_tones_of_a_line_are_no_key() {
        let single = |hertz| Tones::new(8_000).pair((hertz, -12.0), (hertz, -90.0), 300.0).keys();
        assert_eq!([425.0, 770.0, 1_336.0, 2_100.0].map(single).concat(), "");
        // Dial tone, busy, ring-back of several countries.
        for (a, b) in [(350.0, 440.0), (480.0, 620.0), (440.0, 480.0), (400.0, 450.0)] {
            assert_eq!(Tones::new(8_000).pair((a, -13.0), (b, -13.0), 1_000.0).keys(), "");
        }
        let mut three = five(8_000, 200.0);
        let third = Tones::new(8_000).pair((1_000.0, -13.0), (1_000.0, -90.0), 200.0);
        three.pcm.iter_mut().zip(third.pcm).for_each(|(a, b)| *a += b);
        assert_eq!(three.keys(), "");
    }

    #[test]
    fn a_change_of_rate_begins_anew() {
        let mut listener = ToneListener::new(8_000);
        assert_eq!(listener.hear(&[0; 320], 16_000), None);
        let pcm: Vec<i16> = five(16_000, 100.0).pcm.iter().map(|s| *s as i16).collect();
        let keys: String = pcm.chunks(320).filter_map(|frame| listener.hear(frame, 16_000)).collect();
        assert_eq!(keys, "5");
    }
}
