//! What the agent is to say, in order, into events: each sentence is an item.
//!
//! Only the first text in the row is being synthesised; its audio is handed on as soon as it is there, but not more
//! than [`AHEAD`] before it will be heard, so that a long text neither fills the playout queue nor is synthesised in
//! vain. [`Mouth::hush`] drops everything; nothing of it can come out afterwards.

use std::collections::VecDeque;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::super::engine::{Audio, Event, Sound};
use crate::speech::{Speech, Spoken, Voice};

const AHEAD: Duration = Duration::from_secs(12);
/// Texts and sounds in the row; a brain that says more is cut short.
const ROOM: usize = 256;
const TONE_HZ: u32 = 16_000;

pub(super) struct Mouth {
    speech: Speech,
    voice: Voice,
    row: VecDeque<Piece>,
    last_item: u64,
    /// When everything handed on so far will have been heard, if it plays without a break.
    plays_until: Option<Instant>,
    /// Items with their expected beginnings and lengths, the latest ones.
    timeline: VecDeque<(u64, Instant, Duration)>,
    /// The item whose end has not been reported by [`Mouth::played`] yet.
    unheard: Option<u64>,
}

enum Piece {
    /// Of the brain's answer of that number.
    Text(u64, String),
    Speaking {
        answer: u64,
        from: mpsc::Receiver<Spoken>,
        said: bool,
    },
    Tone,
}

/// A sentence that was handed on.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Said {
    /// Of the brain, which wrote it.
    pub(super) answer: u64,
    pub(super) item: u64,
    pub(super) text: String,
    pub(super) length: Duration,
}

pub(super) enum Uttered {
    /// These events, for this sentence (`None`: a tone).
    Item(Vec<Event>, Option<Said>),
    /// A text could not be spoken.
    Failed,
}

impl Mouth {
    pub(super) fn new(speech: Speech, voice: Voice) -> Mouth {
        Mouth {
            speech,
            voice,
            row: VecDeque::new(),
            last_item: 0,
            plays_until: None,
            timeline: VecDeque::new(),
            unheard: None,
        }
    }

    /// Text without a word in it is nothing to say.
    pub(super) fn say(&mut self, answer: u64, text: String) {
        if text.chars().any(char::is_alphanumeric) {
            self.add(Piece::Text(answer, text));
        }
    }

    pub(super) fn tone(&mut self) {
        self.add(Piece::Tone);
    }

    fn add(&mut self, piece: Piece) {
        if self.row.len() < ROOM {
            self.row.push_back(piece);
        } else {
            tracing::warn!("the agent has too much to say at once: a text was dropped");
        }
    }

    /// Drops what has not been handed on, and forgets what has: the call flushes it. Returns the item that is being
    /// heard `now` and how much of it was, by the clock; the call knows better and will say so.
    pub(super) fn hush(&mut self, now: Instant) -> Option<(u64, Duration)> {
        self.row.clear();
        let sounding = self.unheard.take().is_some();
        self.plays_until = None;
        let mut items = std::mem::take(&mut self.timeline).into_iter();
        let current = items.find(|(_, begins, length)| *begins + *length > now).filter(|_| sounding);
        current.map(|(item, begins, _)| (item, now.saturating_duration_since(begins)))
    }

    /// Nothing is left to be handed on.
    pub(super) fn is_empty(&self) -> bool {
        self.row.is_empty()
    }

    /// Whether the caller may still hear something.
    pub(super) fn is_sounding(&self, now: Instant) -> bool {
        !self.row.is_empty() || (self.unheard.is_some() && self.plays_until.is_some_and(|until| now < until))
    }

    /// When everything will have been heard; past when nothing sounds.
    pub(super) fn plays_until(&self) -> Option<Instant> {
        self.unheard.and(self.plays_until)
    }

    /// The call has played all of `item`.
    pub(super) fn played(&mut self, item: u64) {
        if self.unheard.is_some_and(|last| item >= last) {
            self.unheard = None;
        }
    }

    /// When to poll again although nothing wakes: the row waits for the playout to come nearer.
    pub(super) fn resumes_at(&self) -> Option<Instant> {
        self.plays_until.filter(|_| !self.row.is_empty()).and_then(|until| until.checked_sub(AHEAD))
    }

    /// The next sentence or tone, when there is one. `Pending` with an empty row: there will be none.
    pub(super) fn poll(&mut self, context: &mut Context<'_>, now: Instant) -> Poll<Uttered> {
        if self.resumes_at().is_some_and(|resume| now < resume) {
            return Poll::Pending;
        }
        loop {
            match self.row.front_mut() {
                None => return Poll::Pending,
                Some(Piece::Tone) => {
                    self.row.pop_front();
                    let events = self.item(None, tone(), TONE_HZ, now);
                    return Poll::Ready(Uttered::Item(events, None));
                }
                Some(piece @ Piece::Text(..)) => {
                    let Piece::Text(answer, text) = &mut *piece else { continue };
                    let (answer, from) = (*answer, self.speech.speak(std::mem::take(text), self.voice));
                    *piece = Piece::Speaking { answer, from, said: false };
                }
                Some(Piece::Speaking { answer, from, said }) => match from.poll_recv(context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Some(spoken)) => {
                        *said = true;
                        if !spoken.pcm.is_empty() {
                            let answer = *answer;
                            return Poll::Ready(self.sentence(answer, spoken, now));
                        }
                    }
                    Poll::Ready(None) => {
                        let said = *said;
                        self.row.pop_front();
                        if !said {
                            return Poll::Ready(Uttered::Failed);
                        }
                    }
                },
            }
        }
    }

    fn sentence(&mut self, answer: u64, spoken: Spoken, now: Instant) -> Uttered {
        let length = length(spoken.pcm.len(), spoken.rate);
        let events = self.item(Some(spoken.text.clone()), spoken.pcm, spoken.rate, now);
        Uttered::Item(events, Some(Said { answer, item: self.last_item, text: spoken.text, length }))
    }

    fn item(&mut self, text: Option<String>, pcm: Vec<i16>, rate: u32, now: Instant) -> Vec<Event> {
        self.last_item += 1;
        let item = self.last_item;
        let begins = self.plays_until.map_or(now, |until| until.max(now));
        let span = length(pcm.len(), rate);
        self.plays_until = Some(begins + span);
        self.timeline.retain(|(_, begins, length)| *begins + *length > now);
        self.timeline.push_back((item, begins, span));
        self.unheard = Some(item);
        let text = text.map(|text| Event::AgentText { item, text, last: true });
        text.into_iter()
            .chain([Event::Audio(Audio { item, sound: Sound::Linear { pcm, rate } }), Event::AudioEnd { item }])
            .collect()
    }
}

fn length(samples: usize, rate: u32) -> Duration {
    Duration::from_secs_f64(samples as f64 / f64::from(rate.max(1)))
}

/// 1 kHz for 400 ms with soft edges.
fn tone() -> Vec<i16> {
    const SAMPLES: usize = 6_400;
    const EDGE: usize = 160;
    (0..SAMPLES)
        .map(|n| {
            let edge = n.min(SAMPLES - n).min(EDGE) as f32 / EDGE as f32;
            (8_000.0 * edge * (std::f32::consts::TAU * 1_000.0 * n as f32 / TONE_HZ as f32).sin()) as i16
        })
        .collect()
}
