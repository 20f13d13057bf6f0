//! What the speech tests share: the model, a telephone line, a way to count wrong words.
#![allow(dead_code)]

use std::path::{Path, PathBuf};

use trunkline::config::SpeechConfig;
use trunkline::speech::{Speech, Voice};

/// The folder of the speech model. A machine without it cannot judge the recogniser: that is a failure.
pub fn model_directory() -> PathBuf {
    let named = std::env::var_os("TRUNKLINE_MODEL").map(PathBuf::from);
    let folder = named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/model"));
    assert!(folder.join("model.bin").is_file(), "no speech model in {}: run `make setup`", folder.display());
    folder
}

pub fn with_model() -> Speech {
    Speech::start(&SpeechConfig { model_directory: Some(model_directory()), threads: 2 }).expect("the model loads")
}

/// `text` spoken, 16 kHz, with a little silence around it.
pub fn say(speech: &Speech, text: &str, voice: Voice) -> Vec<i16> {
    let mut pcm = vec![0; 3_200];
    let mut from = speech.speak(text.to_owned(), voice);
    while let Some(spoken) = from.blocking_recv() {
        pcm.extend(spoken.pcm);
    }
    pcm.extend([0; 3_200]);
    pcm
}

/// 16 kHz to an 8 kHz telephone line: 300–3400 Hz, µ-law steps, a little hiss.
pub fn telephone(pcm: &[i16]) -> Vec<i16> {
    let low = filter(pcm, 3_400.0);
    let rumble = filter(pcm, 300.0);
    let hiss = noise(pcm.len(), 20);
    let band = low.iter().zip(&rumble).zip(&hiss).map(|((low, rumble), hiss)| low - rumble + f32::from(*hiss));
    band.step_by(2).map(|sample| mu_law(sample.clamp(-32_000.0, 32_000.0))).collect()
}

/// Through µ-law and back: 8 segments of 16 steps.
fn mu_law(sample: f32) -> i16 {
    let magnitude = sample.abs() + 132.0;
    let segment = (magnitude / 132.0).log2().floor().clamp(0.0, 7.0);
    let step = 8.0 * segment.exp2();
    let value = ((magnitude / step).floor() + 0.5) * step - 132.0;
    value.copysign(sample) as i16
}

/// A windowed-sinc low pass at 16 kHz.
fn filter(pcm: &[i16], cutoff: f32) -> Vec<f32> {
    const SIDE: isize = 60;
    let taps: Vec<f32> = (-SIDE..=SIDE)
        .map(|n| {
            let x = std::f32::consts::TAU * cutoff / 16_000.0 * n as f32;
            let sinc = if n == 0 { 1.0 } else { x.sin() / x };
            let window = 0.5 + 0.5 * (std::f32::consts::PI * n as f32 / (SIDE + 1) as f32).cos();
            sinc * window * 2.0 * cutoff / 16_000.0
        })
        .collect();
    let at =
        |index: isize| usize::try_from(index).ok().and_then(|index| pcm.get(index)).copied().map_or(0.0, f32::from);
    (0..pcm.len() as isize).map(|index| taps.iter().zip(-SIDE..).map(|(tap, n)| tap * at(index + n)).sum()).collect()
}

/// Repeatable white noise within ±`level`.
pub fn noise(count: usize, level: i32) -> Vec<i16> {
    let mut seed = 7u32;
    (0..count)
        .map(|_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((seed >> 16) as i32 * 2 * level / 65_536 - level) as i16
        })
        .collect()
}

/// Words to change, add or drop to get from `said` to `heard`.
pub fn word_errors(said: &str, heard: &str) -> usize {
    let words = |text: &str| -> Vec<String> {
        let plain: String = text.to_lowercase().chars().filter(|c| c.is_alphanumeric() || c.is_whitespace()).collect();
        plain.split_whitespace().map(str::to_owned).collect()
    };
    let (said, heard) = (words(said), words(heard));
    let mut row: Vec<usize> = (0..=heard.len()).collect();
    for (i, word) in said.iter().enumerate() {
        let mut previous = std::mem::replace(&mut row[0], i + 1);
        for (j, other) in heard.iter().enumerate() {
            let change = previous + usize::from(word != other);
            previous = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(previous + 1);
        }
    }
    row[heard.len()]
}
