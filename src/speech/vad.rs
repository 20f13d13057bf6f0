//! Voice activity: when a person begins and stops speaking (earshot on 16 ms frames).
//!
//! | State | Frame | Then |
//! |---|---|---|
//! | silent | voiced (score ≥ `on`) for `least` in all, with no more than one other frame between two such | speaking; started at the first of them |
//! | silent | two others in a row | counting begins anew |
//! | speaking | voiced (score ≥ `off`) | the end moves on |
//! | speaking | not voiced for `hangover` | silent; stopped at the end of the last frame that was |
//!
//! A frame is voiced only if it is also 6 dB louder than the noise of the line ([`Floor`]): the detector's score
//! sinks slowly after speech, the level at once, so that the two together tell the end well.

use std::time::{Duration, Instant};

use earshot::{DefaultPredictor, Detector};

/// Samples of a frame of the detector, at 16 kHz.
const FRAME: usize = 256;
const FRAME_TIME: Duration = Duration::from_millis(16);
/// No line is assumed to be quieter than this (RMS): about -63 dBFS.
const QUIET: f32 = 22.0;
/// How much louder than the line's noise speech is.
const ABOVE_NOISE: f32 = 2.0;
/// The most noise that is assumed when a stream begins, RMS: it may begin in the middle of a word.
const LOUDEST_START: f32 = 200.0;
/// How quickly the noise is believed to have grown when no frame is as quiet as it was: 1 dB a second.
const GROWTH: f32 = 1.002;

/// When speech counts as such.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VadSettings {
    /// Score (0–1) from which a frame begins speech.
    pub on: f32,
    /// Score below which a frame of running speech counts as silence.
    pub off: f32,
    /// Voiced time before speech has started.
    pub least: Duration,
    /// Silence before speech has stopped.
    pub hangover: Duration,
}

impl Default for VadSettings {
    fn default() -> Self {
        Self { on: 0.45, off: 0.35, least: Duration::from_millis(64), hangover: Duration::from_millis(500) }
    }
}

/// A change. `sample` counts 16 kHz samples from the first one pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// The first voiced frame began then.
    Started { at: Instant, sample: u64 },
    /// The last voiced frame ended then.
    Stopped { at: Instant, sample: u64 },
}

/// One stream's detector.
pub struct Vad {
    settings: VadSettings,
    detector: Box<Detector<DefaultPredictor>>,
    /// Samples that do not yet fill a frame.
    pending: Vec<i16>,
    /// Samples framed so far.
    framed: u64,
    floor: Floor,
    state: State,
}

/// The noise of the line: the level of its quietest frames, RMS; `None` before the first.
#[derive(Debug, Clone, Copy)]
struct Floor(Option<f32>);

#[derive(Debug, Clone, Copy)]
enum State {
    /// `voiced` frames since `first`; `gap`: the last one was not.
    Silent { first: u64, voiced: u32, gap: bool },
    /// Voiced up to `end`.
    Speaking { end: u64 },
}

const SILENT: State = State::Silent { first: 0, voiced: 0, gap: false };

impl Vad {
    pub fn new(settings: VadSettings) -> Vad {
        let detector = Box::new(Detector::new(DefaultPredictor::new()));
        Vad { settings, detector, pending: Vec::with_capacity(2 * FRAME), framed: 0, floor: Floor(None), state: SILENT }
    }

    /// Silence before speech has stopped, from now on.
    pub fn set_hangover(&mut self, hangover: Duration) {
        self.settings.hangover = hangover;
    }

    pub fn is_speaking(&self) -> bool {
        matches!(self.state, State::Speaking { .. })
    }

    /// Hears `pcm` (16 kHz, any length), whose first sample was heard at `at`. Returns the changes, in order.
    pub fn push(&mut self, pcm: &[i16], at: Instant) -> Vec<Activity> {
        let start = self.framed + self.pending.len() as u64;
        let time = |sample: u64| instant(at, start, sample);
        self.pending.extend_from_slice(pcm);
        let mut changes = Vec::new();
        let mut used = 0;
        while let Some(frame) = self.pending.get(used..used + FRAME) {
            let score = self.detector.predict_i16(frame);
            let score = if self.floor.is_exceeded_by(frame) { score } else { 0.0 };
            used += FRAME;
            changes.extend(self.frame(score, &time));
        }
        self.pending.drain(..used);
        changes
    }

    fn frame(&mut self, score: f32, time: &impl Fn(u64) -> Instant) -> Option<Activity> {
        let begin = self.framed;
        self.framed += FRAME as u64;
        match self.state {
            State::Silent { first, voiced, .. } if score >= self.settings.on => {
                let first = if voiced == 0 { begin } else { first };
                self.state = State::Silent { first, voiced: voiced + 1, gap: false };
                if FRAME_TIME * (voiced + 1) < self.settings.least {
                    return None;
                }
                self.state = State::Speaking { end: self.framed };
                Some(Activity::Started { at: time(first), sample: first })
            }
            State::Silent { first, voiced, gap } => {
                self.state = if gap || voiced == 0 { SILENT } else { State::Silent { first, voiced, gap: true } };
                None
            }
            State::Speaking { .. } if score >= self.settings.off => {
                self.state = State::Speaking { end: self.framed };
                None
            }
            State::Speaking { end } if span(self.framed - end) >= self.settings.hangover => {
                self.state = SILENT;
                Some(Activity::Stopped { at: time(end), sample: end })
            }
            State::Speaking { .. } => None,
        }
    }
}

impl Floor {
    fn is_exceeded_by(&mut self, frame: &[i16]) -> bool {
        let energy: f32 = frame.iter().map(|sample| f32::from(*sample).powi(2)).sum();
        let level = (energy / frame.len() as f32).sqrt();
        let noise = level.min(self.0.map_or(LOUDEST_START, |noise| noise * GROWTH)).max(QUIET);
        self.0 = Some(noise);
        level > noise * ABOVE_NOISE
    }
}

/// When `sample` was heard, if `start` was heard at `at`.
fn instant(at: Instant, start: u64, sample: u64) -> Instant {
    if sample >= start { at + span(sample - start) } else { at.checked_sub(span(start - sample)).unwrap_or(at) }
}

fn span(samples: u64) -> Duration {
    Duration::from_micros(samples * 125 / 2)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    /// Feeds scores straight into the state table: one frame each.
    fn walk(scores: &[f32]) -> Vec<(char, u64)> {
        let mut vad = Vad::new(VadSettings {
            least: Duration::from_millis(48),
            hangover: Duration::from_millis(48),
            ..VadSettings::default()
        });
        let zero = Instant::now();
        let time = |sample| zero + span(sample);
        let changes = scores.iter().filter_map(|score| vad.frame(*score, &time));
        changes
            .map(|change| match change {
                Activity::Started { at, sample } => {
                    assert_eq!(at, time(sample));
                    ('+', sample / FRAME as u64)
                }
                Activity::Stopped { at, sample } => {
                    assert_eq!(at, time(sample));
                    ('-', sample / FRAME as u64)
                }
            })
            .collect()
    }

    #[test]
    fn walks_the_table() {
        assert_eq!(walk(&[0.9, 0.9, 0.1, 0.9]), [('+', 0)], "one other frame between");
        assert_eq!(walk(&[0.9, 0.9, 0.1, 0.1, 0.9, 0.9]), [], "two others in a row begin anew");
        assert_eq!(walk(&[0.0, 0.9, 0.9, 0.9, 0.4, 0.1, 0.4, 0.1, 0.1, 0.1]), [('+', 1), ('-', 7)], "hysteresis");
        assert_eq!(walk(&[0.9, 0.9, 0.9, 0.1, 0.1]), [('+', 0)], "hang-over not over");
        assert_eq!(walk(&[0.44; 20]), [], "below `on`");
    }

    #[test]
    fn silence_and_noise_are_not_speech() {
        let mut vad = Vad::new(VadSettings::default());
        let mut seed = 1u32;
        let mut noise = |level: i32| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((seed >> 16) as i32 * 2 * level / 65_536 - level) as i16
        };
        for level in [0, 100, 1000, 3000] {
            for _ in 0..200 {
                let frame: Vec<i16> = (0..320).map(|_| noise(level)).collect();
                assert_eq!(vad.push(&frame, Instant::now()), [], "noise of level {level}");
            }
        }
    }
}
