//! Ears for damage: holds what was heard against what should have been spoken.
//!
//! No recogniser and no opinion: the reference is found in the recording by cross-correlation, and then every piece of
//! it is looked at. Three kinds of damage have a name of their own, because each points at one kind of mistake in a
//! gateway: a hole (lost or late packet, playout that ran dry), a wrong rate (samples taken for another clock), a
//! swapped law (µ-law read as A-law, or the reverse). Anything else shows as low likeness.

use realfft::RealFftPlanner;

use super::audio;

const RATE: usize = 8_000;
/// Pieces in which holes are looked for: 5 ms. Three silent ones in a row lie inside any hole of 20 ms.
const PIECE: usize = RATE / 200;
const SILENT_PIECES: usize = 3;
/// Likeness (normalised correlation) of a clean G.711 passage is above 0.95; unrelated speech is below 0.3.
const LIKE: f64 = 0.85;
/// A loud piece of 20 ms that is less like what was spoken is something else. Clean G.711 is above 0.95.
const SAME: f64 = 0.9;
/// The same for codecs that keep the sound and not the wave.
const ALIKE: f64 = 0.5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Law {
    AsSent,
    UlawReadAsAlaw,
    AlawReadAsUlaw,
}

/// What is wrong with a recording, in the order in which a person would name it.
#[derive(Debug, Clone, PartialEq)]
pub struct Damage {
    /// 0 (unrelated) to 1 (equal up to gain).
    pub likeness: f64,
    /// Start in the reference and length, milliseconds.
    pub holes: Vec<(usize, usize)>,
    /// Played at so many times the right speed.
    pub speed: f64,
    pub law: Law,
    /// Where the reference begins in the recording, samples.
    pub offset: usize,
}

impl Damage {
    pub fn none(&self) -> bool {
        self.likeness >= LIKE && self.holes.is_empty() && (self.speed - 1.0).abs() < 0.01 && self.law == Law::AsSent
    }
}

/// Looks for `reference` in `heard` (both 8 kHz) and says what became of it on a way that keeps the wave (G.711).
pub fn examine(reference: &[i16], heard: &[i16]) -> Damage {
    examine_by(reference, heard, SAME)
}

/// The same where a codec keeps the sound and not the wave.
pub fn examine_lossy(reference: &[i16], heard: &[i16]) -> Damage {
    examine_by(reference, heard, ALIKE)
}

fn examine_by(reference: &[i16], heard: &[i16], same: f64) -> Damage {
    let plain = find(reference, heard);
    let holes = holes(reference, heard, &plain, same);
    if plain.likeness >= LIKE {
        return Damage { likeness: plain.likeness, holes, speed: 1.0, law: Law::AsSent, offset: plain.offset };
    }
    let relabelled = [
        (Law::UlawReadAsAlaw, audio::from_ulaw(&audio::to_alaw(heard))),
        (Law::AlawReadAsUlaw, audio::from_alaw(&audio::to_ulaw(heard))),
    ];
    let (law, by_law) = relabelled
        .into_iter()
        .map(|(law, undone)| (law, find(reference, &undone)))
        .max_by(|a, b| a.1.likeness.total_cmp(&b.1.likeness))
        .unwrap_or((Law::AsSent, plain));
    let (speed, by_speed) = speeds()
        .map(|speed| (speed, find(&audio::resample(reference, RATE as f64 * speed, RATE as f64), heard)))
        .max_by(|a, b| a.1.likeness.total_cmp(&b.1.likeness))
        .unwrap_or((1.0, plain));
    let best = plain.likeness.max(0.5);
    if by_law.likeness > best && by_law.likeness >= by_speed.likeness {
        return Damage { likeness: plain.likeness, holes: Vec::new(), speed: 1.0, law, offset: by_law.offset };
    }
    if by_speed.likeness > best {
        return Damage {
            likeness: plain.likeness,
            holes: Vec::new(),
            speed,
            law: Law::AsSent,
            offset: by_speed.offset,
        };
    }
    Damage { likeness: plain.likeness, holes, speed: 1.0, law: Law::AsSent, offset: plain.offset }
}

/// The mistakes that a gateway can make with 8, 11.025, 12, 16, 24, 44.1 and 48 kHz.
fn speeds() -> impl Iterator<Item = f64> {
    let rates = [8_000.0, 11_025.0, 12_000.0, 16_000.0, 24_000.0, 44_100.0, 48_000.0];
    rates.into_iter().skip(1).flat_map(|rate| [rate / 8_000.0, 8_000.0 / rate])
}

#[derive(Debug, Clone, Copy)]
struct Found {
    likeness: f64,
    offset: usize,
    gain: f64,
}

/// The place of `heard` that is most like `reference`.
fn find(reference: &[i16], heard: &[i16]) -> Found {
    let nothing = Found { likeness: 0.0, offset: 0, gain: 1.0 };
    let reference: Vec<f64> = reference.iter().map(|sample| f64::from(*sample)).collect();
    // The recording may begin or end inside the reference: silence on both sides lets the edges be tried.
    let margin = RATE / 10;
    let mut padded = vec![0.0; margin];
    padded.extend(heard.iter().map(|sample| f64::from(*sample)));
    padded.resize(padded.len().max(reference.len()) + margin, 0.0);
    let energy: f64 = reference.iter().map(|sample| sample * sample).sum();
    if energy < 1.0 {
        return nothing;
    }
    let products = correlate(&padded, &reference);
    let mut sums = vec![0.0];
    for sample in &padded {
        sums.push(sums[sums.len() - 1] + sample * sample);
    }
    let last = padded.len() - reference.len();
    let mut best = nothing;
    for (lag, product) in products.iter().enumerate().take(last + 1) {
        let there: f64 = sums[lag + reference.len()] - sums[lag];
        if there < energy * 1e-4 {
            continue;
        }
        let likeness = product / (energy * there).sqrt();
        if likeness > best.likeness {
            best = Found { likeness, offset: lag, gain: product / energy };
        }
    }
    Found { offset: best.offset.saturating_sub(margin), ..best }
}

/// Cross-correlation by FFT: `out[lag] = Σ long[lag + i] · short[i]`.
fn correlate(long: &[f64], short: &[f64]) -> Vec<f64> {
    let size = (long.len() + short.len()).next_power_of_two();
    let mut planner = RealFftPlanner::<f64>::new();
    let forward = planner.plan_fft_forward(size);
    let backward = planner.plan_fft_inverse(size);
    let spectrum = |samples: &[f64]| {
        let mut input = samples.to_vec();
        input.resize(size, 0.0);
        let mut output = forward.make_output_vec();
        forward.process(&mut input, &mut output).expect("sizes agree");
        output
    };
    let mut product = spectrum(long);
    for (a, b) in product.iter_mut().zip(spectrum(short)) {
        *a *= b.conj();
    }
    let mut out = backward.make_output_vec();
    // A real signal's first and last bin are real; rounding may have left a trace.
    product[0].im = 0.0;
    let end = product.len() - 1;
    product[end].im = 0.0;
    backward.process(&mut product, &mut out).expect("sizes agree");
    out.iter().map(|sample| sample / size as f64).collect()
}

/// Runs of 5 ms pieces in which the reference speaks and the recording does not, or no longer follows.
fn holes(reference: &[i16], heard: &[i16], found: &Found, same: f64) -> Vec<(usize, usize)> {
    let loud = rms(reference) * 0.1;
    let mut holes = Vec::new();
    let mut silent = 0;
    let pieces = reference.len() / PIECE;
    for index in 0..=pieces {
        let at = index * PIECE;
        let missing = index < pieces && {
            let spoken = rms(&reference[at..at + PIECE]) * found.gain;
            let there = heard.get(found.offset + at..found.offset + at + PIECE).map_or(0.0, rms);
            spoken > loud * found.gain && there < spoken * 0.15
        };
        if missing {
            silent += 1;
            continue;
        }
        if silent >= SILENT_PIECES {
            holes.push(((index - silent) * 5, silent * 5));
        }
        silent = 0;
    }
    let mut others = strangers(reference, heard, found, same);
    others.retain(|(start, length)| holes.iter().all(|(hole, long)| start + length <= *hole || hole + long <= *start));
    holes.extend(jumps(reference, heard, found));
    holes.extend(others);
    holes
}

/// Frames that changed places, or came twice in place of others: loud pieces of 20 ms that are not what was spoken there.
fn strangers(reference: &[i16], heard: &[i16], found: &Found, same: f64) -> Vec<(usize, usize)> {
    // Clocks of one rate: the place is known to the sample or two.
    let (window, slack) = (RATE / 50, 2);
    let loud = rms(reference) * 0.7;
    let mut strangers: Vec<(usize, usize)> = Vec::new();
    for start in (0..reference.len().saturating_sub(window)).step_by(window / 2) {
        let piece = &reference[start..start + window];
        if rms(piece) < loud {
            continue;
        }
        let there = (found.offset + start).saturating_sub(slack)..=found.offset + start + slack;
        let likest = there.filter_map(|at| heard.get(at..at + window)).map(|there| like(piece, there));
        if likest.fold(-1.0, f64::max) < same {
            strangers.push((start * 1000 / RATE, 20));
        }
    }
    strangers
}

/// A packet that was dropped and not replaced leaves no silence: what follows comes too early. Each 200 ms of speech
/// is looked for on its own; where it is not in its place but 5 ms or more beside it, time is missing or added. (A voice
/// is like itself a pitch period later, so that another place may fit as well as its own.)
fn jumps(reference: &[i16], heard: &[i16], found: &Found) -> Vec<(usize, usize)> {
    let window = RATE / 5;
    let reach = RATE / 10;
    let loud = rms(reference) * 0.3;
    let mut jumps = Vec::new();
    let mut start = 0;
    while start + window <= reference.len() {
        let piece = &reference[start..start + window];
        let expected = found.offset + start;
        let from = expected.saturating_sub(reach);
        let to = (expected + window + reach).min(heard.len());
        if rms(piece) > loud && to > from + window {
            let there = find(piece, &heard[from..to]);
            let shift = (from + there.offset).abs_diff(expected);
            let here = heard.get(expected..expected + window).map_or(0.0, |here| like(piece, here));
            if there.likeness > LIKE && here < LIKE && shift >= RATE / 200 {
                jumps.push((start * 1000 / RATE, shift * 1000 / RATE));
            }
        }
        start += window;
    }
    jumps
}

/// Normalised correlation of two stretches of one length.
pub fn like(a: &[i16], b: &[i16]) -> f64 {
    let product: f64 = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
    product / (rms(a) * rms(b) * a.len() as f64).max(1.0)
}

fn rms(samples: &[i16]) -> f64 {
    let energy: f64 = samples.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    (energy / samples.len().max(1) as f64).sqrt()
}

/// Deliberate breakages, for tests that show that the ears work.
pub mod breakage {
    use super::{RATE, audio};

    /// 20 ms of silence at the loudest place of `from..to`.
    pub fn hole(heard: &[i16], from: usize, to: usize) -> Vec<i16> {
        let length = RATE / 50;
        let loudest = (from..to.saturating_sub(length))
            .step_by(length / 4)
            .max_by(|a, b| super::rms(&heard[*a..*a + length]).total_cmp(&super::rms(&heard[*b..*b + length])))
            .unwrap_or(from);
        let mut out = heard.to_vec();
        out[loudest..loudest + length].fill(0);
        out
    }

    /// 20 ms cut out, the rest moved up.
    pub fn skip(heard: &[i16], at: usize) -> Vec<i16> {
        let mut out = heard[..at].to_vec();
        out.extend_from_slice(&heard[at + RATE / 50..]);
        out
    }

    /// 20 ms twice, the rest moved down.
    pub fn repeat(heard: &[i16], at: usize) -> Vec<i16> {
        let mut out = heard[..at + RATE / 50].to_vec();
        out.extend_from_slice(&heard[at..]);
        out
    }

    /// Two neighbouring pieces of 20 ms in each other's place.
    pub fn swap(heard: &[i16], at: usize) -> Vec<i16> {
        let (mut out, length) = (heard.to_vec(), RATE / 50);
        out[at..at + 2 * length].rotate_left(length);
        out
    }

    /// 16 kHz samples sent as if they were 8 kHz: half the speed.
    pub fn wrong_rate(heard: &[i16]) -> Vec<i16> {
        audio::resample(heard, 8_000.0, 16_000.0)
    }

    /// µ-law bytes taken for A-law.
    pub fn swapped_law(heard: &[i16]) -> Vec<i16> {
        audio::from_alaw(&audio::to_ulaw(heard))
    }
}
