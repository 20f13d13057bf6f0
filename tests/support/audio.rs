//! Samples: WAV files, G.711, resampling. Written for the tests alone, so that a mistake of the product cannot hide in
//! its own mirror.

use std::f64::consts::PI;
use std::path::Path;

pub fn write_wav(path: &Path, pcm: &[i16], rate: u32) {
    let spec =
        hound::WavSpec { channels: 1, sample_rate: rate, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
    let mut writer = hound::WavWriter::create(path, spec).expect("wav created");
    for sample in pcm {
        writer.write_sample(*sample).expect("sample written");
    }
    writer.finalize().expect("wav finished");
}

/// All channels interleaved, and the rate.
pub fn try_read_wav(path: &Path) -> Option<(Vec<i16>, u32)> {
    let mut reader = hound::WavReader::open(path).ok()?;
    let rate = reader.spec().sample_rate;
    Some((reader.samples::<i16>().collect::<Result<_, _>>().ok()?, rate))
}

/// One channel of a WAV file.
#[track_caller]
pub fn read_channel(path: &Path, channel: usize) -> (Vec<i16>, u32) {
    let mut reader = hound::WavReader::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let channels = usize::from(reader.spec().channels);
    let rate = reader.spec().sample_rate;
    let all: Vec<i16> = reader.samples::<i16>().map(|sample| sample.expect("whole file")).collect();
    (all.into_iter().skip(channel).step_by(channels).collect(), rate)
}

/// µ-law (ITU-T G.711 table 2), by search over the decoder: slow and plain.
pub fn to_ulaw(pcm: &[i16]) -> Vec<u8> {
    encode(pcm, ulaw)
}

/// A-law (ITU-T G.711 table 1).
pub fn to_alaw(pcm: &[i16]) -> Vec<u8> {
    encode(pcm, alaw)
}

pub fn from_ulaw(bytes: &[u8]) -> Vec<i16> {
    bytes.iter().map(|byte| ulaw(*byte)).collect()
}

pub fn from_alaw(bytes: &[u8]) -> Vec<i16> {
    bytes.iter().map(|byte| alaw(*byte)).collect()
}

fn encode(pcm: &[i16], decode: fn(u8) -> i16) -> Vec<u8> {
    let mut levels: Vec<(i16, u8)> = (0..=255).map(|byte| (decode(byte), byte)).collect();
    levels.sort_unstable();
    pcm.iter()
        .map(|sample| {
            let above = levels.partition_point(|(level, _)| level < sample).min(255);
            let below = above.saturating_sub(1);
            let distance = |at: usize| (i32::from(levels[at].0) - i32::from(*sample)).abs();
            levels[if distance(below) <= distance(above) { below } else { above }].1
        })
        .collect()
}

fn ulaw(byte: u8) -> i16 {
    let inverted = !byte;
    let magnitude = ((i16::from(inverted & 0x0f) << 3) + 0x84) << ((inverted >> 4) & 7);
    if inverted & 0x80 == 0 { magnitude - 0x84 } else { 0x84 - magnitude }
}

fn alaw(byte: u8) -> i16 {
    let even = byte ^ 0x55;
    let exponent = (even >> 4) & 7;
    let mantissa = i16::from(even & 0x0f) << 4;
    let magnitude = if exponent == 0 { mantissa + 8 } else { (mantissa + 0x108) << (exponent - 1) };
    if even & 0x80 == 0 { -magnitude } else { magnitude }
}

/// Resamples by a windowed sinc that cuts at the lower of both rates; without delay.
pub fn resample(pcm: &[i16], from: f64, to: f64) -> Vec<i16> {
    let ratio = from / to;
    let cut = (to / from).min(1.0) * 0.95;
    let half = (24.0 / cut).ceil();
    let count = (pcm.len() as f64 / ratio) as usize;
    (0..count)
        .map(|index| {
            let centre = index as f64 * ratio;
            let first = (centre - half).ceil().max(0.0) as usize;
            let last = ((centre + half) as usize).min(pcm.len().saturating_sub(1));
            let sum: f64 = (first..=last)
                .map(|at| {
                    let x = at as f64 - centre;
                    let window = 0.5 + 0.5 * (PI * x / half).cos();
                    f64::from(pcm[at]) * window * cut * sinc(x * cut)
                })
                .sum();
            sum.round().clamp(-32768.0, 32767.0) as i16
        })
        .collect()
}

fn sinc(x: f64) -> f64 {
    if x.abs() < 1e-9 { 1.0 } else { (PI * x).sin() / (PI * x) }
}

/// Root mean square in dBFS.
pub fn level_db(pcm: &[i16]) -> f64 {
    let energy: f64 = pcm.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    10.0 * (energy / pcm.len().max(1) as f64 / 32768.0_f64.powi(2)).max(1e-12).log10()
}
