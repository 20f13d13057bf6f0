//! Whose turn it is, and what is said in it.
//!
//! | What comes | What is told | Next |
//! |---|---|---|
//! | the first sound, words or tool of an answer | the caller's words end | answering |
//! | sound | speech of the item; after an end of sound, of the next item | answering |
//! | `generationComplete` | end of the item's sound | answering |
//! | `interrupted` | the caller speaks: whatever plays stops; what comes is another item | as before |
//! | `turnComplete` | end of sound if it is still open, end of the turn | quiet |
//! | `turnComplete` while the model is in progress or waits for a tool | end of sound if it is still open | answering |
//! | the caller's words | whole words of them | as before |
//! | nothing of the caller for [`PAUSE`] after an interruption | the caller has stopped | as before |

use std::time::{Duration, Instant};

use super::heard::{Blob, Transcription};
use super::history::History;
use crate::ai::engine::{Event, Sound};
use crate::ai::remote::Desk;

/// Silence of the caller's words after which the caller is taken to have stopped.
const PAUSE: Duration = Duration::from_secs(2);
/// Octets of words without a space that are held back; some languages have none.
const MOST_HELD: usize = 256;

#[derive(Debug)]
pub struct Turn {
    /// What the agent says now.
    item: u64,
    /// Sound of it came, and its end was not told.
    sounding: bool,
    /// Its end was told.
    ended: bool,
    /// Up to which item everything was played or cut.
    over: u64,
    answering: bool,
    /// We asked for something, and no answer has begun.
    asked: bool,
    /// The agent has been heard in this call.
    spoke: bool,
    /// The caller's words that may go on in the middle of a word.
    held: String,
    /// Words of the caller are told, and their end is not.
    caller_open: bool,
    /// The caller interrupted; the last sign of speech.
    speech: Option<Instant>,
    pub history: History,
    /// Room to work in.
    octets: Vec<u8>,
}

impl Turn {
    pub fn new() -> Turn {
        Turn {
            item: 1,
            sounding: false,
            ended: false,
            over: 0,
            answering: false,
            asked: false,
            spoke: false,
            held: String::new(),
            caller_open: false,
            speech: None,
            history: History::default(),
            octets: Vec::new(),
        }
    }

    /// Nobody is in the middle of anything, as far as can be known.
    pub fn is_quiet(&self) -> bool {
        !self.answering && !self.asked && !self.caller_open && self.speech.is_none() && self.held.is_empty()
    }

    pub fn has_spoken(&self) -> bool {
        self.spoke
    }

    /// The model was asked for something.
    pub fn asks(&mut self) {
        self.asked = true;
    }

    /// The model answers: what the caller said before is whole.
    pub fn answers(&mut self, desk: &mut Desk) {
        self.asked = false;
        if !std::mem::replace(&mut self.answering, true) {
            self.end_speech(desk);
            self.end_words(desk);
        }
    }

    /// A piece of the agent's sound.
    pub fn sound(&mut self, blob: &Blob<'_>, desk: &mut Desk) -> Result<(), &'static str> {
        let mut pcm = desk.samples();
        let rate = match blob.sound(&mut self.octets, &mut pcm) {
            Ok(rate) => rate,
            Err(problem) => {
                desk.keep(Sound::Linear { pcm, rate: 1 });
                return Err(problem);
            }
        };
        if pcm.is_empty() {
            desk.keep(Sound::Linear { pcm, rate });
            return Ok(());
        }
        self.answers(desk);
        if self.ended {
            self.next_item();
        }
        self.sounding = true;
        self.spoke = true;
        let sound = Sound::Linear { pcm, rate };
        self.history.sounded(self.item, sound.span());
        desk.speech(self.item, sound);
        Ok(())
    }

    pub fn agent_words(&mut self, words: &Transcription, desk: &mut Desk) {
        let Some(text) = words.text.as_ref().filter(|text| !text.is_empty()) else { return };
        self.answers(desk);
        self.history.agent(self.item, text);
        // What was played before its words came is told already.
        if self.item > self.over {
            desk.event(Event::AgentText { item: self.item, text: text.clone(), last: false });
        }
    }

    pub fn caller_words(&mut self, words: &Transcription, desk: &mut Desk) {
        if let Some(text) = words.text.as_ref().filter(|text| !text.is_empty()) {
            if let Some(speech) = &mut self.speech {
                *speech = desk.now;
            }
            self.held.push_str(text);
            let whole = match self.held.rfind(char::is_whitespace) {
                Some(end) => end,
                None if self.held.len() > MOST_HELD => self.held.len(),
                None => 0,
            };
            let rest = self.held.split_off(whole);
            let text = std::mem::replace(&mut self.held, rest).trim().to_owned();
            if !text.is_empty() {
                self.caller_open = true;
                self.history.caller(&text, false);
                desk.event(Event::CallerText { text, last: false });
            }
        }
        if words.finished == Some(true) {
            self.end_words(desk);
        }
    }

    /// The caller interrupts, or begins to speak.
    pub fn interrupted(&mut self, desk: &mut Desk) {
        desk.event(Event::SpeechStarted { at: desk.now });
        self.speech = Some(desk.now);
        self.next_item();
    }

    /// The service heard the end of the caller's speech.
    pub fn stopped(&mut self, desk: &mut Desk) {
        self.speech = None;
        desk.event(Event::SpeechStopped { at: desk.now });
    }

    pub fn generation_complete(&mut self, desk: &mut Desk) {
        if std::mem::take(&mut self.sounding) {
            self.ended = true;
            desk.event(Event::AudioEnd { item: self.item });
        }
    }

    /// `goes_on`: the model has not done yet.
    pub fn complete(&mut self, goes_on: bool, desk: &mut Desk) {
        self.generation_complete(desk);
        self.next_item();
        if goes_on {
            return;
        }
        self.asked = false;
        let answered = std::mem::take(&mut self.answering);
        if self.speech.is_none() && answered {
            // Words that came after the answer had begun.
            self.end_words(desk);
        }
        if answered {
            desk.event(Event::TurnEnd);
        }
    }

    /// The connection is gone, and with it the rest of what was being said.
    pub fn broken(&mut self, desk: &mut Desk) {
        self.asked = false;
        if self.answering {
            self.complete(false, desk);
        }
    }

    /// Everything of `item` was played, or the caller cut it after `played`.
    pub fn heard(&mut self, item: u64, played: Option<Duration>) {
        self.over = self.over.max(item);
        if let Some(played) = played {
            self.history.cut(item, played);
        }
    }

    pub fn due(&self) -> Option<Instant> {
        self.speech.map(|last| last + PAUSE)
    }

    pub fn on_time(&mut self, desk: &mut Desk) {
        if self.due().is_some_and(|due| due <= desk.now) {
            self.end_speech(desk);
        }
    }

    fn next_item(&mut self) {
        self.item += 1;
        self.sounding = false;
        self.ended = false;
    }

    fn end_speech(&mut self, desk: &mut Desk) {
        if let Some(at) = self.speech.take() {
            desk.event(Event::SpeechStopped { at });
        }
    }

    fn end_words(&mut self, desk: &mut Desk) {
        let text = std::mem::take(&mut self.held).trim().to_owned();
        if std::mem::take(&mut self.caller_open) || !text.is_empty() {
            self.history.caller(&text, true);
            desk.event(Event::CallerText { text, last: true });
        }
    }
}
