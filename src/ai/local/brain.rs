//! The three brains behind one face: the script, a chat endpoint, and the one that only speaks.

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::super::engine::{Event, Person, SessionOptions};
use super::chat::{Chat, ChatClient, Thought};
use super::mouth::Said;
use super::script::{Act, Input, Script};

/// How long a chat waits for another key before it takes them as one number.
const KEY_PAUSE: Duration = Duration::from_millis(1_500);
/// Outcome of a call that ended as it should without anything to decide.
const FINISHED: &str = "finished";
/// What a person hears before the caller.
const WHISPER: &str = "You have a call. The caller asked the assistant for a person.";

pub(super) struct Brain {
    kind: Kind,
    /// Set once the agent wants to hang up, taken when everything was said.
    hang_up: Option<String>,
    /// Whom a caller may ask for, and that one did.
    person: Option<Person>,
    transfer: bool,
    done: bool,
}

enum Kind {
    Script(Script),
    Chat(Box<Chat>),
    SpeakOnly(String),
}

#[derive(Debug)]
pub(super) enum Effect {
    Say(String),
    Tone,
    Event(Event),
}

/// The script speaks the instructions themselves.
fn script_text(options: &SessionOptions) -> String {
    let greeting = options.greeting.iter().map(String::as_str);
    greeting.chain([options.instructions.as_str()]).collect::<Vec<_>>().join(" ")
}

impl Brain {
    pub(super) fn new(options: &SessionOptions, recognises: bool, chat: Option<ChatClient>) -> Brain {
        let kind = match chat {
            _ if options.speak_only => Kind::SpeakOnly(options.instructions.clone()),
            Some(client) => Kind::Chat(Box::new(Chat::new(client, options))),
            None => Kind::Script(Script::new(&script_text(options), recognises, options.person.is_some())),
        };
        Brain { kind, hang_up: None, person: options.person.clone(), transfer: false, done: false }
    }

    pub(super) fn greet(&mut self, now: Instant) -> Vec<Effect> {
        match &mut self.kind {
            Kind::Script(_) => self.script(Input::Greet, now),
            Kind::Chat(chat) => {
                chat.greet();
                Vec::new()
            }
            Kind::SpeakOnly(_) if self.done => Vec::new(),
            Kind::SpeakOnly(text) => {
                self.done = true;
                self.hang_up = Some(FINISHED.to_owned());
                vec![Effect::Say(text.clone())]
            }
        }
    }

    pub(super) fn words(&mut self, text: &str, now: Instant) -> Vec<Effect> {
        match &mut self.kind {
            Kind::Script(_) => self.script(Input::Words(text.to_owned()), now),
            Kind::Chat(chat) => {
                chat.heard(text);
                Vec::new()
            }
            Kind::SpeakOnly(_) => Vec::new(),
        }
    }

    pub(super) fn keys(&mut self, keys: &str, now: Instant) -> Vec<Effect> {
        match &mut self.kind {
            Kind::Script(_) => keys.chars().flat_map(|key| self.script(Input::Key(key), now)).collect(),
            Kind::Chat(chat) => {
                chat.key_pressed(keys);
                Vec::new()
            }
            Kind::SpeakOnly(_) => Vec::new(),
        }
    }

    /// The caller began to speak.
    pub(super) fn speech(&mut self, now: Instant) -> Vec<Effect> {
        if matches!(self.kind, Kind::Script(_)) { self.script(Input::Speech, now) } else { Vec::new() }
    }

    pub(super) fn silence(&mut self, now: Instant) -> Vec<Effect> {
        self.script(Input::Silence, now)
    }

    /// Everything was played.
    pub(super) fn played(&mut self, now: Instant) -> Vec<Effect> {
        self.script(Input::Played, now)
    }

    fn script(&mut self, input: Input, now: Instant) -> Vec<Effect> {
        let Kind::Script(script) = &mut self.kind else { return Vec::new() };
        let mut effects = Vec::new();
        for act in script.input(input, now) {
            match act {
                Act::Say(text) => effects.push(Effect::Say(text)),
                Act::Tone => effects.push(Effect::Tone),
                Act::HangUp(outcome) => self.hang_up = Some(outcome.to_owned()),
                Act::Transfer => self.transfer = true,
            }
        }
        self.done = script.is_done();
        effects
    }

    /// The caller is being connected to a person.
    pub(super) fn transfer_begun(&mut self, now: Instant) {
        self.transfer = false;
        self.script(Input::TransferBegun, now);
    }

    /// The caller is back.
    pub(super) fn transfer_failed(&mut self, outcome: &str, now: Instant) -> Vec<Effect> {
        match &mut self.kind {
            Kind::Script(_) => self.script(Input::TransferFailed, now),
            Kind::Chat(chat) => {
                chat.heard(&format!("(The call could not be connected to a person: {outcome}.)"));
                Vec::new()
            }
            Kind::SpeakOnly(_) => Vec::new(),
        }
    }

    /// The wish for a person, once.
    pub(super) fn take_transfer(&mut self) -> Option<Event> {
        let Person { destination, whisper } = self.person.clone().filter(|_| std::mem::take(&mut self.transfer))?;
        Some(Event::TransferRequested { destination, whisper: whisper.then(|| WHISPER.to_owned()) })
    }

    /// The answer that was being given is dropped.
    pub(super) fn interrupted(&mut self, agent_was_speaking: bool) {
        if let Kind::Chat(chat) = &mut self.kind {
            chat.interrupt(agent_was_speaking);
            self.hang_up = None;
            self.transfer = false;
        }
    }

    pub(super) fn said(&mut self, said: Said) {
        if let Kind::Chat(chat) = &mut self.kind {
            chat.said(said);
        }
    }

    pub(super) fn truncate(&mut self, item: u64, played: Duration) {
        if let Kind::Chat(chat) = &mut self.kind {
            chat.truncate(item, played);
        }
    }

    /// How much of `item` was heard, as far as can be known here.
    pub(super) fn guess(&mut self, item: u64, played: Duration) {
        if let Kind::Chat(chat) = &mut self.kind {
            chat.guess(item, played);
        }
    }

    /// All of `item` was heard.
    pub(super) fn item_played(&mut self, item: u64) {
        if let Kind::Chat(chat) = &mut self.kind {
            chat.played(item);
        }
    }

    /// What came of a tool.
    pub(super) fn result(&mut self, id: &str, output: serde_json::Value) {
        if let Kind::Chat(chat) = &mut self.kind {
            self.done |= chat.result(id, output);
        }
    }

    /// Everything that was to be said was handed on; `true` when there is more to do because of it.
    pub(super) fn handed_on(&mut self) -> bool {
        if let Kind::Chat(chat) = &mut self.kind { chat.handed_on() } else { false }
    }

    /// There is something to be polled for that wakes nobody.
    pub(super) fn is_fresh(&self) -> bool {
        matches!(&self.kind, Kind::Chat(chat) if chat.is_fresh())
    }

    /// The number of the answer that is being given.
    pub(super) fn answer(&self) -> u64 {
        if let Kind::Chat(chat) = &self.kind { chat.answer() } else { 0 }
    }

    pub(super) fn set_instructions(&mut self, text: &str) {
        match &mut self.kind {
            Kind::Script(script) => script.set_message(text),
            Kind::Chat(chat) => chat.set_instructions(text),
            Kind::SpeakOnly(instructions) => text.clone_into(instructions),
        }
    }

    /// What an endpoint has written since.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Vec<Effect>> {
        let Kind::Chat(chat) = &mut self.kind else { return Poll::Pending };
        let Poll::Ready(thoughts) = chat.poll(context) else { return Poll::Pending };
        let mut effects = Vec::new();
        for thought in thoughts {
            match thought {
                Thought::Say(text) => effects.push(Effect::Say(text)),
                Thought::Usage(usage) => effects.push(Effect::Event(Event::Usage(usage))),
                Thought::Tool(event) => effects.push(Effect::Event(event)),
                Thought::Complete if chat.transfers() => self.transfer = true,
                Thought::Complete if chat.hangs_up() => {
                    self.hang_up = Some(FINISHED.to_owned());
                }
                Thought::Complete => {}
                Thought::Failed(message) => effects.push(Effect::Event(Event::Error { message, fatal: false })),
            }
        }
        Poll::Ready(effects)
    }

    /// More will be said without the caller's doing.
    pub(super) fn is_busy(&self) -> bool {
        matches!(&self.kind, Kind::Chat(chat) if chat.is_busy())
    }

    pub(super) fn is_recording(&self) -> bool {
        matches!(&self.kind, Kind::Script(script) if script.is_recording())
    }

    /// The last words are being said; nothing changes that any more.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    pub(super) fn listens(&self) -> bool {
        !self.done && !matches!(self.kind, Kind::SpeakOnly(_))
    }

    pub(super) fn take_hang_up(&mut self) -> Option<String> {
        let outcome = self.hang_up.take();
        self.done |= outcome.is_some();
        outcome
    }

    pub(super) fn patience(&self) -> Option<Duration> {
        match &self.kind {
            Kind::Script(script) => script.patience(),
            Kind::Chat(_) | Kind::SpeakOnly(_) => None,
        }
    }

    /// How long to wait for more keys.
    pub(super) fn key_pause(&self) -> Duration {
        if matches!(self.kind, Kind::Chat(_)) { KEY_PAUSE } else { Duration::ZERO }
    }
}
