//! The conversation on the live line: one stream of sound, without turns. What has no borders on the wire gets them here:
//!
//! | What happens | What follows |
//! |---|---|
//! | sound that is audible | an item begins, with the words that came before it |
//! | silence in the stream | the item's for [`TAIL`], then the item is over; silence between items is not played: whatever waited for the phone is caught up then |
//! | no sound for [`TAIL`] | the item is over |
//! | words of the caller | told at once; the turn is over when the agent speaks, or after [`PAUSE`] |
//! | a tool is called | told to the call; its results go out when all are there and the working model has stopped |
//! | the call is to end, or a person to come | told when the agent has been silent for [`SETTLED`], at the latest after [`PATIENCE`] |
//!
//! Nothing is ever flushed for a caller who speaks at the same time: the service hears both and falls silent by itself.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::level::is_audible;
use super::render::{self, Manner};
use super::settings::Call;
use super::wire::Said;
use crate::ai::engine::{Event, Sound, Usage};
use crate::ai::openai::history::{History, Role};
use crate::ai::openai::wire::{complaint, octets};
use crate::ai::remote::{Desk, Line};
use crate::ai::tools::{self, END_CALL, TRANSFER_CALL};
use crate::config::RealtimeFormat;

pub const TAIL: Duration = Duration::from_millis(600);
pub const PAUSE: Duration = Duration::from_secs(2);
pub const SETTLED: Duration = Duration::from_millis(1_200);
const PATIENCE: Duration = Duration::from_secs(15);
/// Keys that follow each other faster than this belong together.
const KEY_PAUSE: Duration = Duration::from_secs(1);
const MOST_KEYS: usize = 64;
/// Items and calls that are remembered.
const MOST: usize = 64;
/// Octets of words that wait for their sound.
const MOST_WORDS: usize = 4_096;
/// For speech that a lost connection broke off.
const GO_ON: &str = "[The line broke while you were speaking. Go on right after the last word of your last message and repeat \
                     nothing of it.]";

#[derive(Debug)]
pub struct Talk {
    pub call: Call,
    pub history: History,
    /// What was said since the next connection was told of the history.
    since: Option<Vec<(Role, String)>>,
    item: Option<Item>,
    last_item: u64,
    /// Lengths of items, the latest.
    lengths: VecDeque<(u64, Duration)>,
    /// Words of the agent without a sound.
    words: String,
    /// Half a sample.
    odd: Option<u8>,
    octets: Vec<u8>,
    last_sound: Option<Instant>,
    /// What the caller has said in this turn, and when last.
    caller: String,
    caller_last: Option<Instant>,
    /// Answers that the working model writes.
    running: Vec<String>,
    uses: Vec<Use>,
    held: Vec<(Event, Instant)>,
    keys: String,
    keys_due: Option<Instant>,
    /// Nobody listens: the caller is on hold, or being connected to a person.
    away: bool,
    parked: bool,
    told: bool,
}

#[derive(Debug)]
struct Item {
    id: u64,
    text: String,
    length: Duration,
    /// Silence at its end.
    quiet: Duration,
    last: Instant,
}

#[derive(Debug)]
struct Use {
    call: String,
    name: String,
    output: Option<Value>,
    /// Its connection is gone.
    stranded: bool,
}

impl Talk {
    pub fn new(call: Call) -> Talk {
        Talk {
            call,
            history: History::default(),
            since: None,
            item: None,
            last_item: 0,
            lengths: VecDeque::new(),
            words: String::new(),
            odd: None,
            octets: Vec::new(),
            last_sound: None,
            caller: String::new(),
            caller_last: None,
            running: Vec::new(),
            uses: Vec::new(),
            held: Vec::new(),
            keys: String::new(),
            keys_due: None,
            away: false,
            parked: false,
            told: false,
        }
    }

    pub fn read(&mut self, said: &Said<'_>, desk: &mut Desk) {
        match &*said.kind {
            "session.output_audio.delta" => self.sound(&said.delta, desk),
            "session.output_transcript.delta" => self.agent_words(&said.delta, desk),
            "session.input_transcript.delta" => self.caller_words(&said.delta, desk),
            "session.delegation.created" if said.delegation["target"] == "client" => {
                let delegation = said.delegation["id"].as_str();
                let text = "[Nobody can do that in this call: say so, and go on.]";
                send_all(desk, &render::append(Manner::Commentary, text, delegation));
            }
            "response.event" => self.work(&said.event, desk),
            "error" => desk.problem(format!("the service complains: {}", complaint(&said.error))),
            _ => {}
        }
    }

    fn sound(&mut self, delta: &str, desk: &mut Desk) {
        let Some(sound) = self.decode(delta, desk) else {
            return self.tell_once("sound that is no base64", desk);
        };
        let (audible, span) = (is_audible(&sound), sound.span());
        if self.parked || span.is_zero() || (self.item.is_none() && !audible) {
            return desk.keep(sound);
        }
        if audible {
            self.last_sound = Some(desk.now);
        }
        if self.item.is_none() {
            self.begin_item(desk);
        }
        let Some(item) = &mut self.item else { return };
        item.length += span;
        item.last = desk.now;
        item.quiet = if audible { Duration::ZERO } else { item.quiet + span };
        let over = item.quiet >= TAIL;
        desk.speech(item.id, sound);
        if over {
            self.end_item(desk);
        }
    }

    fn decode(&mut self, delta: &str, desk: &mut Desk) -> Option<Sound> {
        let rate = match self.call.format {
            RealtimeFormat::Pcmu | RealtimeFormat::Pcma => {
                let mut sound = desk.octets();
                octets(delta, &mut sound).then_some(())?;
                let ulaw = self.call.format == RealtimeFormat::Pcmu;
                return Some(if ulaw { Sound::Ulaw(sound) } else { Sound::Alaw(sound) });
            }
            RealtimeFormat::Pcm => 24_000,
            RealtimeFormat::Pcm16000 => 16_000,
        };
        self.octets.clear();
        self.octets.extend(self.odd);
        octets(delta, &mut self.octets).then_some(())?;
        let (pairs, rest) = self.octets.as_chunks::<2>();
        self.odd = rest.first().copied();
        let mut pcm = desk.samples();
        pcm.extend(pairs.iter().map(|pair| i16::from_le_bytes(*pair)));
        Some(Sound::Linear { pcm, rate })
    }

    fn begin_item(&mut self, desk: &mut Desk) {
        self.end_caller(desk);
        self.last_item += 1;
        let text = std::mem::take(&mut self.words);
        if !text.is_empty() {
            desk.event(Event::AgentText { item: self.last_item, text: text.clone(), last: false });
        }
        let (id, length, quiet) = (self.last_item, Duration::ZERO, Duration::ZERO);
        self.item = Some(Item { id, text, length, quiet, last: desk.now });
    }

    fn end_item(&mut self, desk: &mut Desk) {
        let Some(item) = self.item.take() else { return };
        self.odd = None;
        if self.lengths.len() == MOST {
            self.lengths.pop_front();
        }
        self.lengths.push_back((item.id, item.length));
        desk.event(Event::AudioEnd { item: item.id });
        desk.event(Event::AgentText { item: item.id, text: String::new(), last: true });
        desk.event(Event::TurnEnd);
        self.add(Role::Agent, item.id, &item.text);
    }

    /// Words come a little before their sound, or after it.
    fn agent_words(&mut self, delta: &str, desk: &mut Desk) {
        match &mut self.item {
            Some(item) if !self.parked => {
                item.text.push_str(delta);
                desk.event(Event::AgentText { item: item.id, text: delta.to_owned(), last: false });
            }
            _ if self.parked || self.words.len() + delta.len() > MOST_WORDS => {}
            _ => self.words.push_str(delta),
        }
    }

    fn caller_words(&mut self, delta: &str, desk: &mut Desk) {
        if self.caller.len() + delta.len() > MOST_WORDS {
            self.end_caller(desk);
        }
        self.caller.push_str(delta);
        self.caller_last = Some(desk.now);
        // Each is everything so far: pieces of words cannot be told from words.
        let text = self.caller.trim().to_owned();
        if !text.is_empty() {
            desk.event(Event::CallerText { text, last: false });
        }
    }

    fn end_caller(&mut self, desk: &mut Desk) {
        self.caller_last = None;
        let text = std::mem::take(&mut self.caller).trim().to_owned();
        if !text.is_empty() {
            self.add(Role::Caller, 0, &text);
            desk.event(Event::CallerText { text, last: true });
        }
    }

    fn add(&mut self, role: Role, item: u64, text: &str) {
        self.history.add(role, item, text);
        if let Some(since) = self.since.as_mut().filter(|since| since.len() < MOST && !text.trim().is_empty()) {
            since.push((role, text.trim().to_owned()));
        }
    }

    /// An event of the model that works.
    fn work(&mut self, event: &Value, desk: &mut Desk) {
        let id = event["response"]["id"].as_str().unwrap_or_default();
        match event["type"].as_str().unwrap_or_default() {
            "response.created" if self.running.len() < MOST && !self.running.iter().any(|known| known == id) => {
                self.running.push(id.to_owned());
            }
            "response.output_item.done" if event["item"]["type"] == "function_call" => self.tool(&event["item"], desk),
            kind @ ("response.completed" | "response.failed" | "response.incomplete" | "response.cancelled") => {
                self.running.retain(|known| known != id);
                let usage = &event["response"]["usage"];
                if usage.is_object() {
                    let number = |name: &str| usage[name].as_u64().unwrap_or_default();
                    let (prompt_tokens, total_tokens) = (number("input_tokens"), number("total_tokens"));
                    desk.event(Event::Usage(Usage { prompt_tokens, total_tokens }));
                }
                if kind != "response.completed" {
                    let error = &event["response"]["error"];
                    desk.problem(format!("delegated work was not finished: {}", complaint(error)));
                }
                self.send_results(desk);
            }
            _ => {}
        }
    }

    fn tool(&mut self, item: &Value, desk: &mut Desk) {
        let text = |name: &str| item[name].as_str().unwrap_or_default();
        let (call, name) = (text("call_id"), text("name"));
        if call.is_empty() || name.is_empty() || self.uses.iter().any(|known| known.call == call) {
            return;
        }
        if self.uses.len() == MOST {
            return self.tell_once("more calls of tools than can be at work", desk);
        }
        self.uses.push(Use { call: call.to_owned(), name: name.to_owned(), output: None, stranded: false });
        let arguments = Some(text("arguments")).filter(|text| !text.trim().is_empty()).unwrap_or("{}");
        match serde_json::from_str(arguments) {
            Ok(arguments) => {
                let event = self.call.tools.event(call.to_owned(), name.to_owned(), arguments);
                if matches!(name, END_CALL | TRANSFER_CALL) {
                    self.held.push((event, desk.now));
                } else {
                    desk.event(event);
                }
            }
            Err(_) => self.result(call, json!({ "error": "the arguments are no JSON" }), desk),
        }
    }

    /// A tool was used.
    pub fn result(&mut self, call: &str, output: Value, desk: &mut Desk) {
        let Some(at) = self.uses.iter().position(|known| known.call == call) else { return };
        if self.uses[at].stranded {
            let known = self.uses.remove(at);
            if tools::goes_on(&known.name, &output) {
                let text = format!("The tool {} answered: {output}", known.name);
                self.append(Manner::Commentary, &text, desk);
            }
            return;
        }
        self.uses[at].output = Some(output);
        self.send_results(desk);
    }

    fn send_results(&mut self, desk: &mut Desk) {
        let waits = self.uses.iter().any(|known| known.output.is_none() && !known.stranded);
        if waits || !self.running.is_empty() {
            return;
        }
        let mut goes_on = false;
        self.uses.retain(|known| {
            let Some(output) = &known.output else { return true };
            goes_on |= tools::goes_on(&known.name, output);
            send(desk, &render::tool_output(&known.call, output));
            false
        });
        if goes_on {
            send(desk, &render::go_on());
        }
    }

    /// What the service says cannot be understood; told once.
    pub fn tell_once(&mut self, what: &str, desk: &mut Desk) {
        if !std::mem::replace(&mut self.told, true) {
            tracing::warn!("the service sent {what}");
            desk.problem(format!("the service sent {what}"));
        }
    }

    fn append(&mut self, manner: Manner, text: &str, desk: &mut Desk) {
        send_all(desk, &render::append(manner, text, None));
    }

    pub fn greet(&mut self, desk: &mut Desk) {
        if self.call.greet {
            let greeting = self.call.greeting.clone();
            self.append(Manner::Commentary, &greeting, desk);
        }
    }

    pub fn key(&mut self, key: char, desk: &Desk) {
        if self.keys.len() < MOST_KEYS {
            self.keys.push(key);
        }
        self.keys_due = Some(desk.now + KEY_PAUSE);
    }

    pub fn text(&mut self, text: &str, desk: &mut Desk) {
        self.add(Role::Caller, 0, text);
        self.append(Manner::Commentary, text, desk);
    }

    pub fn instructions(&mut self, text: String, desk: &mut Desk) {
        let appended = format!("New instructions, in place of those before: {text}");
        self.call.instructions = text;
        self.append(Manner::Instructions, &appended, desk);
        if let Some(update) = render::update(&self.call) {
            send(desk, &update);
        }
    }

    pub fn hold(&mut self, on_hold: bool, desk: &mut Desk) {
        self.away = on_hold;
        send(desk, &render::mute(on_hold || self.parked));
    }

    pub fn transfer_begun(&mut self, desk: &mut Desk) {
        self.end_item(desk);
        self.parked = true;
        self.words.clear();
        send(desk, &render::mute(true));
    }

    pub fn transfer_failed(&mut self, outcome: &str, desk: &mut Desk) {
        self.parked = false;
        if !self.away {
            send(desk, &render::mute(false));
        }
        let note =
            format!("The person could not be reached ({outcome}). The caller is on the line again: say so and go on.");
        self.add(Role::Note, 0, &note);
        self.append(Manner::Commentary, &note, desk);
    }

    /// Of `id` only so much was heard.
    pub fn truncate(&mut self, id: u64, heard: Duration) {
        let length = self.lengths.iter().find(|(item, _)| *item == id).map_or(Duration::ZERO, |(_, length)| *length);
        if !length.is_zero() {
            self.history.cut(id, heard.as_secs_f64() / length.as_secs_f64());
        }
    }

    pub fn due(&self) -> Option<Instant> {
        let item = self.item.as_ref().map(|item| item.last + TAIL);
        let caller = self.caller_last.map(|last| last + PAUSE);
        let held = self.held.iter().map(|(_, since)| self.settled(*since)).min();
        [item, caller, held, self.keys_due].into_iter().flatten().min()
    }

    /// When the agent will have been silent for long enough, for what is held since then.
    fn settled(&self, since: Instant) -> Instant {
        let last = self.last_sound.map_or(since, |last| last.max(since));
        (last + SETTLED).min(since + PATIENCE)
    }

    /// `ready`: something can be said to the service.
    pub fn on_time(&mut self, ready: bool, desk: &mut Desk) {
        let now = desk.now;
        if self.item.as_ref().is_some_and(|item| item.last + TAIL <= now) {
            self.end_item(desk);
        }
        if self.caller_last.is_some_and(|last| last + PAUSE <= now) {
            self.end_caller(desk);
        }
        for (event, since) in std::mem::take(&mut self.held) {
            if self.settled(since) <= now {
                desk.event(event);
            } else {
                self.held.push((event, since));
            }
        }
        if self.keys_due.is_some_and(|due| due <= now) {
            self.keys_due = None;
            if ready {
                let keys = std::mem::take(&mut self.keys);
                self.text(&format!("[The caller pressed on the keypad: {keys}]"), desk);
            }
        }
    }

    /// Neither speaks, and nobody works.
    pub fn is_at_rest(&self) -> bool {
        self.item.is_none() && self.caller.is_empty() && self.running.is_empty() && self.uses.is_empty()
    }

    /// The agent says nothing.
    pub fn is_silent(&self) -> bool {
        self.item.is_none()
    }

    /// What a connection begins with; from now on it is remembered what else is said.
    pub fn start(&mut self) -> Value {
        self.since = Some(Vec::new());
        render::start(&self.call, self.history.iter())
    }

    /// The live connection is gone, or about to be. `true` when the agent was interrupted by that.
    pub fn moved(&mut self, desk: &mut Desk) -> bool {
        let interrupted = self.item.as_ref().is_some_and(|item| item.quiet.is_zero());
        self.end_item(desk);
        self.end_caller(desk);
        self.words.clear();
        self.running.clear();
        self.uses.iter_mut().for_each(|known| known.stranded = true);
        interrupted
    }

    /// Another connection is the live one: it is told what it does not know.
    pub fn resume(&mut self, interrupted: bool, desk: &mut Desk) {
        for (role, text) in self.since.take().into_iter().flatten() {
            let who = match role {
                Role::Caller => "The caller said: ",
                Role::Agent => "You said: ",
                Role::Note => "",
            };
            self.append(Manner::Thinking, &format!("{who}{text}"), desk);
        }
        if self.away || self.parked {
            send(desk, &render::mute(true));
        }
        let mut results = Vec::new();
        self.uses.retain(|known| match &known.output {
            Some(output) if known.stranded => {
                results.push(format!("The tool {} answered: {output}", known.name));
                false
            }
            _ => true,
        });
        for result in results {
            self.append(Manner::Commentary, &result, desk);
        }
        if interrupted {
            self.append(Manner::Commentary, GO_ON, desk);
        }
        if !self.keys.is_empty() {
            self.keys_due = Some(desk.now);
        }
    }
}

fn send_all(desk: &mut Desk, events: &[Value]) {
    events.iter().for_each(|event| send(desk, event));
}

pub fn send(desk: &mut Desk, event: &Value) {
    desk.send(Line::Live, |out| write(event, out));
}

/// A `Value` can always be written.
pub fn write(event: &Value, out: &mut Vec<u8>) {
    let _ = serde_json::to_writer(out, event);
}
