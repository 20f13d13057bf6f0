//! The box's own voice AI: ears (voice activity, recogniser), a brain (script or chat), a mouth (flite).
//!
//! Frames of the caller flow into [`ears`]; each utterance goes to the recogniser's thread and comes back as words;
//! the brain turns words and keys into texts; [`mouth`] turns texts into sentence items. Everything of one session
//! happens in [`LocalSession`], polled on its media thread; nothing here blocks.
//!
//! Turn-taking:
//!
//! | When | Then |
//! |---|---|
//! | the caller begins to speak | what is being said and thought is dropped, [`Event::SpeechStarted`] |
//! | the caller stops | recognition starts, [`Event::SpeechStopped`] |
//! | words are there and the caller is silent | they are one turn: the brain answers |
//! | words are there and the caller speaks again | they wait for the rest |
//! | a key is pressed while the agent speaks | like beginning and stopping to speak |
//! | everything was played and the caller is silent for the brain's patience | the script hears a silence |
//! | the agent has hung up, or only speaks | the caller is no longer listened to |
//!
//! Without a recogniser the caller's speech interrupts nothing, because nothing could be made of it.

mod brain;
mod chat;
mod ears;
mod mouth;
mod script;
mod words;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use self::brain::{Brain, Effect};
use self::ears::{Ears, Heard};
use self::mouth::{Mouth, Uttered};
use super::alarm::Alarm;
use super::engine::{CallerFrame, Command, Event, Session, SessionOptions};
use crate::clock::Clock;
use crate::speech::{RecogniseError, Speech, VadSettings, Voice};

pub(in crate::ai) use self::chat::ChatClient;

/// Utterances of one call that may be at the recogniser; more are lost, and it is said so.
const MOST_PENDING: usize = 8;
/// How long the call may keep us waiting for [`Command::Played`] after everything should have been played.
const PLAYED_GRACE: Duration = Duration::from_millis(1_500);

type Recognition = oneshot::Receiver<Result<String, RecogniseError>>;

/// What a session needs of its surroundings.
pub(super) struct Parts {
    pub(super) speech: Speech,
    pub(super) clock: Clock,
    pub(super) chat: Option<ChatClient>,
}

pub(super) struct LocalSession {
    speech: Speech,
    clock: Clock,
    ears: Ears,
    mouth: Mouth,
    brain: Brain,
    out: VecDeque<Event>,
    recognitions: VecDeque<Recognition>,
    /// Words of the turn that the caller is in.
    turn: Vec<String>,
    /// An utterance has ended and its turn has not been given to the brain.
    turn_open: bool,
    /// The agent has begun to say something and [`Event::TurnEnd`] is owed.
    turn_end_owed: bool,
    /// Said to the brain: everything was played.
    played: bool,
    /// The caller was last active, or the agent last sounded, then.
    quiet_since: Instant,
    /// [`Event::SpeechStarted`] was sent, and its end is owed.
    speech_shown: bool,
    /// The far end has put the call on hold.
    on_hold: bool,
    held_keys: String,
    keys_due: Option<Instant>,
    alarm: Alarm,
    waker: Option<Waker>,
    ended: bool,
}

impl LocalSession {
    pub(super) fn new(parts: Parts, options: &SessionOptions) -> LocalSession {
        let Parts { speech, clock, chat } = parts;
        let voice = Voice::named(&options.voice);
        let recognises = speech.has_model();
        let now = clock.now();
        let mut out = VecDeque::from([Event::Ready]);
        if chat.is_some() && !recognises && !options.speak_only {
            let message = String::from("the chat brain cannot hear: no speech model is installed");
            out.push_back(Event::Error { message, fatal: false });
        }
        LocalSession {
            brain: Brain::new(options, recognises, chat),
            ears: Ears::new(VadSettings::default()),
            mouth: Mouth::new(speech.clone(), voice),
            speech,
            clock,
            out,
            recognitions: VecDeque::new(),
            turn: Vec::new(),
            turn_open: false,
            turn_end_owed: false,
            played: true,
            quiet_since: now,
            speech_shown: false,
            on_hold: false,
            held_keys: String::new(),
            keys_due: None,
            alarm: Alarm::default(),
            waker: None,
            ended: false,
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// The caller interrupts: from here on nothing comes out that was said or thought before.
    fn barge_in(&mut self, now: Instant) {
        let sounding = self.mouth.is_sounding(now);
        if !sounding {
            self.all_was_played(now);
        }
        self.played = true;
        if let Some((item, played)) = self.mouth.hush(now) {
            self.brain.guess(item, played);
        }
        self.out.retain(|event| {
            !matches!(event, Event::Audio(_) | Event::AudioEnd { .. } | Event::AgentText { .. } | Event::TurnEnd)
        });
        if std::mem::take(&mut self.turn_end_owed) {
            self.out.push_back(Event::TurnEnd);
        }
        self.brain.interrupted(sounding);
    }

    fn speech_started(&mut self, at: Instant) {
        self.barge_in(self.clock.now());
        self.out.push_back(Event::SpeechStarted { at });
        self.speech_shown = true;
        self.brain_hears_speech();
    }

    fn brain_hears_speech(&mut self) {
        let effects = self.brain.speech(self.clock.now());
        self.perform(effects);
    }

    fn speech_stopped(&mut self, at: Instant) {
        if std::mem::take(&mut self.speech_shown) {
            self.out.push_back(Event::SpeechStopped { at });
        }
    }

    fn utterance(&mut self, pcm: Vec<i16>) {
        self.turn_open = true;
        if !self.speech.has_model() {
            return;
        }
        if self.recognitions.len() >= MOST_PENDING {
            self.error("the recogniser is overloaded: some words were lost");
            return;
        }
        self.recognitions.push_back(self.speech.recognise(pcm));
    }

    /// The caller interrupts without a voice: the call flushes its playout on [`Event::SpeechStarted`].
    fn cut_in(&mut self, now: Instant) {
        if self.mouth.is_sounding(now) && !self.speech_shown {
            self.barge_in(now);
            self.out.extend([Event::SpeechStarted { at: now }, Event::SpeechStopped { at: now }]);
        }
        self.quiet_since = now;
    }

    fn key(&mut self, key: char) {
        let now = self.clock.now();
        self.cut_in(now);
        if key == '#' && self.brain.is_recording() {
            // The words before the key belong to the message: first they must be read.
            if let Some(pcm) = self.ears.take() {
                self.utterance(pcm);
            }
        }
        self.held_keys.push(key);
        self.keys_due = Some(now + self.brain.key_pause());
    }

    /// Gives keys to the brain when no more are to be expected.
    fn release_keys(&mut self, now: Instant) {
        let waits_for_words = self.brain.is_recording() && !self.recognitions.is_empty();
        if self.keys_due.is_some_and(|due| due <= now) && !waits_for_words {
            self.keys_due = None;
            let keys = std::mem::take(&mut self.held_keys);
            self.close_turn(now);
            let effects = self.brain.keys(&keys, now);
            self.perform(effects);
        }
    }

    /// Words that were recognised but not answered yet.
    fn close_turn(&mut self, now: Instant) {
        if self.brain.is_recording() && self.turn_open && self.recognitions.is_empty() {
            self.turn_open = false;
            let text = std::mem::take(&mut self.turn).join(" ");
            let effects = self.brain.words(&text, now);
            self.perform(effects);
        }
    }

    fn poll_recognition(&mut self, context: &mut Context<'_>) {
        while let Some(front) = self.recognitions.front_mut() {
            let Poll::Ready(answer) = Pin::new(front).poll(context) else { break };
            self.recognitions.pop_front();
            let text = match answer {
                Ok(Ok(text)) => text,
                Ok(Err(error)) => {
                    self.error(&error.to_string());
                    String::new()
                }
                Err(_) => {
                    self.error("the recogniser has ended");
                    String::new()
                }
            };
            let last = self.recognitions.is_empty() && !self.ears.are_hearing_speech();
            if !text.is_empty() {
                self.turn.push(text.clone());
            }
            if !text.is_empty() || (last && !self.turn.is_empty()) {
                self.out.push_back(Event::CallerText { text, last });
            }
        }
        self.answer_turn();
    }

    /// A turn that is complete goes to the brain.
    fn answer_turn(&mut self) {
        if !self.turn_open || !self.recognitions.is_empty() || self.ears.are_hearing_speech() {
            return;
        }
        self.turn_open = false;
        let now = self.clock.now();
        self.quiet_since = self.quiet_since.max(now);
        let text = std::mem::take(&mut self.turn).join(" ");
        if self.speech.has_model() {
            let effects = self.brain.words(&text, now);
            self.perform(effects);
        }
    }

    fn poll_brain(&mut self, context: &mut Context<'_>) {
        while let Poll::Ready(effects) = self.brain.poll(context) {
            self.perform(effects);
        }
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Say(text) => self.mouth.say(self.brain.answer(), text),
                Effect::Tone => self.mouth.tone(),
                Effect::Event(event) => self.out.push_back(event),
            }
            self.played = false;
        }
        if self.brain.is_done() {
            // From now on nobody listens for the end of what the caller is saying.
            self.speech_stopped(self.clock.now());
        }
    }

    fn poll_mouth(&mut self, context: &mut Context<'_>) {
        let now = self.clock.now();
        while let Poll::Ready(uttered) = self.mouth.poll(context, now) {
            match uttered {
                Uttered::Item(events, said) => {
                    self.turn_end_owed = true;
                    self.out.extend(events);
                    if let Some(said) = said {
                        self.brain.said(said);
                    }
                }
                Uttered::Failed => self.error("the speaker is overloaded: a text was not spoken"),
            }
        }
        if self.mouth.is_empty() && self.brain.handed_on() {
            return;
        }
        if self.mouth.is_empty() && !self.brain.is_busy() {
            if std::mem::take(&mut self.turn_end_owed) {
                self.out.push_back(Event::TurnEnd);
            }
            self.out.extend(self.brain.take_transfer());
            if let Some(outcome) = self.brain.take_hang_up() {
                self.out.push_back(Event::HangUp { outcome });
            }
        }
    }

    /// What is due at `now`: the end of the playout, a silence, keys.
    fn keep_time(&mut self, now: Instant) {
        self.release_keys(now);
        if self.is_waiting_for_caller() && self.sounds_until().is_none_or(|until| until <= now) {
            self.all_was_played(now);
        }
        if self.silence_due().is_some_and(|due| due <= now) {
            self.quiet_since = now;
            let effects = self.brain.silence(now);
            self.perform(effects);
        }
    }

    fn all_was_played(&mut self, now: Instant) {
        if !std::mem::replace(&mut self.played, true) {
            self.quiet_since = self.quiet_since.max(now);
            let effects = self.brain.played(now);
            self.perform(effects);
        }
    }

    /// Everything was handed on, and nobody speaks or is being understood.
    fn is_waiting_for_caller(&self) -> bool {
        self.mouth.is_empty()
            && !self.brain.is_busy()
            && !self.ears.are_hearing_speech()
            && self.recognitions.is_empty()
            && self.keys_due.is_none()
    }

    /// When what was handed on has been played, should the call not say so itself.
    fn sounds_until(&self) -> Option<Instant> {
        self.mouth.plays_until().map(|until| until + PLAYED_GRACE)
    }

    fn silence_due(&self) -> Option<Instant> {
        let waits = self.played && !self.on_hold && self.is_waiting_for_caller();
        self.brain.patience().filter(|_| waits).map(|patience| self.quiet_since + patience)
    }

    /// When to look again. Whatever is due by `now` has been done, except that the mouth may still be waiting for the
    /// speaker's thread, which wakes by itself.
    fn deadline(&self, now: Instant) -> Option<Instant> {
        let resume = self.mouth.resumes_at().filter(|at| *at > now);
        let playout = self.sounds_until().filter(|_| !self.played && self.is_waiting_for_caller());
        let keys = self.keys_due.filter(|_| !self.brain.is_recording() || self.recognitions.is_empty());
        [playout, keys, self.silence_due(), resume].into_iter().flatten().min()
    }

    fn error(&mut self, message: &str) {
        self.out.push_back(Event::Error { message: message.to_owned(), fatal: false });
    }

    fn listens(&self) -> bool {
        !self.ended && self.brain.listens()
    }
}

impl Session for LocalSession {
    fn hear(&mut self, heard: CallerFrame<'_>, at: Instant) {
        let CallerFrame::Linear { pcm, rate } = heard else { return };
        if !self.listens() {
            return;
        }
        for heard in self.ears.hear(pcm, rate, at) {
            let now = self.clock.now();
            match heard {
                Heard::Started { .. } if !self.speech.has_model() && self.mouth.is_sounding(now) => {}
                Heard::Started { at } => self.speech_started(at),
                Heard::Stopped { at } => {
                    self.quiet_since = now;
                    if !self.speech_shown {
                        self.brain_hears_speech();
                    }
                    self.speech_stopped(at);
                }
                Heard::Utterance(pcm) => self.utterance(pcm),
            }
            self.wake();
        }
    }

    fn command(&mut self, command: Command) {
        let now = self.clock.now();
        match command {
            Command::Greet => {
                let effects = self.brain.greet(now);
                self.perform(effects);
            }
            Command::Key(key) if self.listens() => self.key(key),
            Command::Text(text) if self.listens() => {
                self.cut_in(now);
                let effects = self.brain.words(&text, now);
                self.perform(effects);
            }
            Command::UpdateInstructions(text) => self.brain.set_instructions(&text),
            Command::Truncate { item, played } => self.brain.truncate(item, played),
            Command::Played { item } => {
                self.mouth.played(item);
                self.brain.item_played(item);
            }
            Command::ToolResult { id, output } => {
                self.brain.result(&id, output);
                if self.brain.is_done() {
                    self.speech_stopped(now);
                }
            }
            Command::Hold(on_hold) => {
                self.on_hold = on_hold;
                self.quiet_since = now;
            }
            Command::TransferBegun => {
                self.barge_in(now);
                self.brain.transfer_begun(now);
                self.on_hold = true;
            }
            Command::TransferFailed { outcome } => {
                self.on_hold = false;
                self.quiet_since = now;
                let effects = self.brain.transfer_failed(&outcome, now);
                self.perform(effects);
            }
            Command::Stop => {
                self.mouth.hush(now);
                self.out.clear();
                self.out.push_back(Event::Ended);
                self.ended = true;
            }
            Command::Key(_) | Command::Text(_) | Command::CallerBegan { .. } | Command::CallerStopped { .. } => {}
        }
        self.wake();
    }

    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        loop {
            if let Some(event) = self.out.pop_front() {
                return Poll::Ready(event);
            }
            if self.ended {
                return Poll::Pending;
            }
            self.poll_recognition(context);
            self.poll_brain(context);
            self.keep_time(self.clock.now());
            self.poll_mouth(context);
            if !self.out.is_empty() || self.brain.is_fresh() {
                continue;
            }
            let now = self.clock.now();
            match self.deadline(now) {
                Some(due) if due <= now => {}
                Some(due) => {
                    self.alarm.set(due - now, due, context);
                    break;
                }
                None => break,
            }
        }
        self.waker = Some(context.waker().clone());
        Poll::Pending
    }
}
