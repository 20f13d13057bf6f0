//! The caller's frames into turns of speech: 16 kHz, voice activity, and the samples of each utterance.

use std::collections::VecDeque;
use std::time::Instant;

use crate::speech::{Activity, RECOGNISER_HZ, To16k, Vad, VadSettings};

/// Kept before the first voiced frame: soft beginnings of words.
const LEAD: u64 = 300 * 16;
/// Kept after the last voiced frame.
const TAIL: u64 = 300 * 16;
/// An utterance that is longer goes on as another one.
const LONGEST: u64 = 28 * RECOGNISER_HZ as u64;

#[derive(Debug, PartialEq)]
pub(super) enum Heard {
    Started {
        at: Instant,
    },
    Stopped {
        at: Instant,
    },
    /// Speech to be recognised, 16 kHz.
    Utterance(Vec<i16>),
}

pub(super) struct Ears {
    to_16k: To16k,
    vad: Vad,
    scratch: Vec<i16>,
    /// The latest samples; `first` is the number of the oldest one.
    kept: VecDeque<i16>,
    first: u64,
    /// First sample of the utterance that is going on.
    utterance: Option<u64>,
}

impl Ears {
    pub(super) fn new(settings: VadSettings) -> Ears {
        Ears {
            to_16k: To16k::default(),
            vad: Vad::new(settings),
            scratch: Vec::new(),
            kept: VecDeque::new(),
            first: 0,
            utterance: None,
        }
    }

    pub(super) fn are_hearing_speech(&self) -> bool {
        self.vad.is_speaking()
    }

    /// Hears a frame whose first sample was spoken at `at`.
    pub(super) fn hear(&mut self, pcm: &[i16], rate: u32, at: Instant) -> Vec<Heard> {
        self.scratch.clear();
        self.to_16k.push(pcm, rate, &mut self.scratch);
        self.kept.extend(&self.scratch);
        let mut heard = Vec::new();
        for change in self.vad.push(&self.scratch, at) {
            match change {
                Activity::Started { at, sample } => {
                    self.utterance = Some(sample.saturating_sub(LEAD).max(self.first));
                    heard.push(Heard::Started { at });
                }
                Activity::Stopped { at, sample } => {
                    heard.push(Heard::Stopped { at });
                    heard.extend(self.cut(sample + TAIL).map(Heard::Utterance));
                    self.utterance = None;
                }
            }
        }
        if self.utterance.is_some_and(|from| self.end() - from >= LONGEST) {
            heard.extend(self.cut(self.end()).map(Heard::Utterance));
        }
        self.forget();
        heard
    }

    /// What has been said so far of the utterance that is going on; the rest of it will be another one.
    pub(super) fn take(&mut self) -> Option<Vec<i16>> {
        self.cut(self.end())
    }

    fn end(&self) -> u64 {
        self.first + self.kept.len() as u64
    }

    fn cut(&mut self, to: u64) -> Option<Vec<i16>> {
        let from = self.utterance?;
        let to = to.min(self.end());
        self.utterance = Some(to);
        let position = |sample: u64| usize::try_from(sample.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let range = position(from).min(self.kept.len())..position(to).min(self.kept.len());
        (!range.is_empty()).then(|| self.kept.range(range).copied().collect())
    }

    /// Drops samples that no utterance can need any more.
    fn forget(&mut self) {
        // The detector may say up to its hang-over and a few frames later where speech began.
        let needed = self.utterance.unwrap_or_else(|| self.end().saturating_sub(4 * LEAD));
        let gone = usize::try_from(needed.saturating_sub(self.first)).unwrap_or(usize::MAX).min(self.kept.len());
        self.kept.drain(..gone);
        self.first += gone as u64;
    }
}
