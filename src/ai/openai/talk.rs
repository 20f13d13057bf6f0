//! The conversation on the live line: answers, their items, tools, interruptions.
//!
//! | What happens | What follows |
//! |---|---|
//! | an answer begins | it is the running one; no other is asked for until its `response.done` |
//! | sound or words of an item | that item's, unless it was cut: what comes late of a cut answer is thrown away |
//! | the caller begins to speak | [`Event::SpeechStarted`], always; the running answer is cut; `response.cancel` only where the service does not stop by itself |
//! | the call tells how much was heard | `conversation.item.truncate` with just that |
//! | a tool is called | told to the call once; its result goes out after `response.done`, then an answer is asked for |
//! | keys, a text | what plays stops; an item of the caller's; an answer is asked for |

mod loss;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::history::{History, Role};
use super::item::{Item, rate};
use super::render;
use super::settings::Call;
use super::wire::{self, Said};
use crate::ai::engine::{Event, Party, Sound, Usage};
use crate::ai::remote::{Desk, Line};
use crate::ai::tools;
use crate::config::RealtimeFormat;

/// Items, names and calls that are remembered.
const MOST: usize = 64;
/// Keys that follow each other faster than this belong together.
const KEY_PAUSE: Duration = Duration::from_secs(1);
const MOST_KEYS: usize = 64;
/// A caller who stopped speaking so long ago gets no answer any more.
const NO_ANSWER: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub struct Talk {
    pub call: Call,
    pub history: History,
    /// The running answer; its name may be empty.
    running: Option<String>,
    /// The last one that ended.
    last_over: String,
    /// An answer was asked for and has not begun.
    asked: bool,
    /// With these instructions; still known while it runs.
    wish: Option<String>,
    /// An answer is wanted once the running one is over, with these instructions.
    owed: Option<Option<String>>,
    /// Answers and items whose late sound and words are thrown away.
    cut: VecDeque<String>,
    items: VecDeque<Item>,
    last_item: u64,
    /// Tools that were called, by their calls' names.
    calls: VecDeque<(String, String)>,
    results: Vec<(String, Value)>,
    /// Those of a connection that is gone, without results.
    stranded: VecDeque<(String, String)>,
    /// The caller is in the middle of saying something.
    pub(super) caller_speaks: bool,
    /// The caller speaks, or spoke then and is owed an answer.
    pub(super) caller: Option<Instant>,
    /// What the caller said and nobody has written down yet.
    unwritten: usize,
    /// Words of the caller so far, and the item that they belong to.
    heard: (String, String),
    keys: String,
    keys_due: Option<Instant>,
    /// Which connection items belong to.
    line: u32,
    told: bool,
    octets: Vec<u8>,
}

impl Talk {
    pub fn new(mut call: Call) -> Talk {
        let mut history = History::default();
        for spoken in std::mem::take(&mut call.history) {
            let role = if spoken.by == Party::Agent { Role::Agent } else { Role::Caller };
            history.add(role, 0, &spoken.text);
        }
        Talk {
            call,
            history,
            running: None,
            last_over: String::new(),
            asked: false,
            wish: None,
            owed: None,
            cut: VecDeque::new(),
            items: VecDeque::new(),
            last_item: 0,
            calls: VecDeque::new(),
            results: Vec::new(),
            stranded: VecDeque::new(),
            caller_speaks: false,
            caller: None,
            unwritten: 0,
            heard: Default::default(),
            keys: String::new(),
            keys_due: None,
            line: 0,
            told: false,
            octets: Vec::new(),
        }
    }

    pub fn read(&mut self, said: &Said<'_>, desk: &mut Desk) {
        match &*said.kind {
            "response.output_audio.delta" | "response.audio.delta" => self.sound(said, desk),
            "response.output_audio.done" | "response.audio.done" => self.end_item(said, desk),
            "response.output_audio_transcript.delta" | "response.audio_transcript.delta" => self.words(said, desk),
            "response.output_audio_transcript.done" | "response.audio_transcript.done" => self.all_words(said, desk),
            "response.created" => self.begin(said.response["id"].as_str().unwrap_or_default()),
            "response.done" => self.answer_over(&said.response, desk),
            "response.function_call_arguments.done" if !said.name.is_empty() => {
                self.tool(&said.call_id, &said.name, &said.arguments, desk);
            }
            "response.output_item.done" => self.tool_item(&said.item, desk),
            "input_audio_buffer.speech_started" => self.speech_started(desk),
            "input_audio_buffer.speech_stopped" => {
                self.caller = Some(desk.now);
                self.caller_speaks = false;
                desk.event(Event::SpeechStopped { at: desk.now });
            }
            "input_audio_buffer.committed" if self.call.transcription.is_some() => self.unwritten += 1,
            "conversation.item.input_audio_transcription.delta" => self.caller_words(said, desk),
            "conversation.item.input_audio_transcription.completed" => self.all_caller_words(said, desk),
            "conversation.item.input_audio_transcription.failed" => {
                self.unwritten = self.unwritten.saturating_sub(1);
                desk.problem(format!("the caller was not understood: {}", wire::complaint(&said.error)));
            }
            "error" => self.complaint(&said.error, desk),
            _ => {}
        }
    }

    /// An answer runs.
    fn begin(&mut self, name: &str) {
        if !self.cut.iter().any(|cut| cut == name) {
            self.running = Some(name.to_owned());
            if !std::mem::take(&mut self.asked) {
                self.wish = None;
            }
            self.caller = None;
        }
    }

    /// Whether what `said` belongs to was cut.
    fn is_cut(&self, said: &Said<'_>) -> bool {
        let named = |name: &str| !name.is_empty() && self.cut.iter().any(|cut| cut == name);
        named(&said.response_id) || named(&said.item_id)
    }

    /// A server that does not say when an answer begins.
    fn begin_unsaid(&mut self, said: &Said<'_>) {
        if self.running.is_none() && self.last_over != *said.response_id {
            self.begin(&said.response_id);
        }
    }

    /// The item that `said` belongs to, a new one if need be.
    fn item(&mut self, said: &Said<'_>) -> usize {
        let (name, answer) = (&*said.item_id, &*said.response_id);
        let known = self.items.iter().rposition(|item| {
            item.line == self.line
                && if name.is_empty() { item.answer == answer && !item.ended } else { item.name == name }
        });
        known.unwrap_or_else(|| {
            if self.items.len() == MOST {
                self.items.pop_front();
            }
            self.last_item += 1;
            self.items.push_back(Item {
                id: self.last_item,
                name: name.to_owned(),
                answer: answer.to_owned(),
                content: said.content_index.as_u64().unwrap_or_default(),
                line: self.line,
                text: String::new(),
                text_over: false,
                samples: 0,
                odd: None,
                ended: false,
                played: false,
            });
            self.items.len() - 1
        })
    }

    fn sound(&mut self, said: &Said<'_>, desk: &mut Desk) {
        if self.is_cut(said) || said.delta.is_empty() {
            return;
        }
        self.begin_unsaid(said);
        let at = self.item(said);
        let (item, octets) = (&mut self.items[at], &mut self.octets);
        let sound = match self.call.output {
            RealtimeFormat::Pcmu | RealtimeFormat::Pcma => {
                let mut octets = desk.octets();
                if !wire::octets(&said.delta, &mut octets) {
                    return self.tell_once("sound that is no base64", desk);
                }
                item.samples += octets.len() as u64;
                if self.call.output == RealtimeFormat::Pcmu { Sound::Ulaw(octets) } else { Sound::Alaw(octets) }
            }
            RealtimeFormat::Pcm | RealtimeFormat::Pcm16000 => {
                octets.clear();
                octets.extend(item.odd);
                if !wire::octets(&said.delta, octets) {
                    return self.tell_once("sound that is no base64", desk);
                }
                let (pairs, rest) = octets.as_chunks::<2>();
                item.odd = rest.first().copied();
                let mut pcm = desk.samples();
                pcm.extend(pairs.iter().map(|pair| i16::from_le_bytes(*pair)));
                item.samples += pcm.len() as u64;
                Sound::Linear { pcm, rate: rate(self.call.output) }
            }
        };
        desk.speech(item.id, sound);
    }

    fn words(&mut self, said: &Said<'_>, desk: &mut Desk) {
        if self.is_cut(said) || said.delta.is_empty() {
            return;
        }
        self.begin_unsaid(said);
        let at = self.item(said);
        let item = &mut self.items[at];
        item.text.push_str(&said.delta);
        desk.event(Event::AgentText { item: item.id, text: said.delta.to_string(), last: false });
    }

    fn all_words(&mut self, said: &Said<'_>, desk: &mut Desk) {
        if self.is_cut(said) {
            return;
        }
        let at = self.item(said);
        let item = &mut self.items[at];
        if std::mem::replace(&mut item.text_over, true) {
            return;
        }
        let text = if item.text.is_empty() { said.transcript.to_string() } else { String::new() };
        item.text.push_str(&text);
        desk.event(Event::AgentText { item: item.id, text, last: true });
        self.history.add(Role::Agent, item.id, &item.text);
    }

    fn end_item(&mut self, said: &Said<'_>, desk: &mut Desk) {
        if !self.is_cut(said) {
            let at = self.item(said);
            self.items[at].end(desk);
        }
    }

    /// Everything that was begun is closed.
    fn end_items(&mut self, desk: &mut Desk) {
        for item in self.items.iter_mut().filter(|item| !item.ended || !item.text_over) {
            item.end(desk);
            if !std::mem::replace(&mut item.text_over, true) && !item.text.is_empty() {
                desk.event(Event::AgentText { item: item.id, text: String::new(), last: true });
                self.history.add(Role::Agent, item.id, &item.text);
            }
        }
    }

    fn answer_over(&mut self, response: &Value, desk: &mut Desk) {
        let (name, status) = (response["id"].as_str().unwrap_or_default(), response["status"].as_str());
        let number = |name: &str| response["usage"][name].as_u64().unwrap_or_default();
        if response["usage"].is_object() {
            desk.event(Event::Usage(Usage {
                prompt_tokens: number("input_tokens"),
                total_tokens: number("total_tokens"),
            }));
        }
        if status == Some("cancelled") {
            remember(&mut self.cut, name);
        }
        if self.running.as_deref().is_some_and(|running| running != name && !running.is_empty() && !name.is_empty()) {
            // The end of one before.
            return;
        }
        self.end_items(desk);
        for item in response["output"].as_array().into_iter().flatten() {
            self.tool_item(item, desk);
        }
        let details = &response["status_details"];
        match status {
            Some("failed") => desk.problem(format!("an answer failed: {}", wire::complaint(&details["error"]))),
            Some("incomplete") => {
                let reason = details["reason"].as_str().unwrap_or("for no given reason");
                desk.problem(format!("an answer was not finished: {reason}"));
            }
            _ => {}
        }
        self.running = None;
        self.asked = false;
        name.clone_into(&mut self.last_over);
        let goes_on = self.send_results(desk);
        if let Some(instructions) = self.owed.take() {
            self.ask(instructions, desk);
        } else if !goes_on {
            desk.event(Event::TurnEnd);
        }
    }

    /// Asks for an answer, now or once the running one is over.
    pub(super) fn ask(&mut self, instructions: Option<String>, desk: &mut Desk) {
        if self.running.is_some() || self.asked {
            self.owed = Some(instructions);
        } else {
            self.asked = true;
            send(desk, &render::response(instructions.as_deref()));
            self.wish = instructions;
        }
    }

    fn tool_item(&mut self, item: &Value, desk: &mut Desk) {
        if item["type"] == "function_call" && item["status"] != "incomplete" {
            let text = |name: &str| item[name].as_str().unwrap_or_default();
            self.tool(text("call_id"), text("name"), text("arguments"), desk);
        }
    }

    fn tool(&mut self, call: &str, name: &str, arguments: &str, desk: &mut Desk) {
        if call.is_empty() || name.is_empty() || self.calls.iter().any(|(known, _)| known == call) {
            return;
        }
        if self.calls.len() == MOST {
            self.calls.pop_front();
        }
        self.calls.push_back((call.to_owned(), name.to_owned()));
        let arguments = if arguments.trim().is_empty() { "{}" } else { arguments };
        match serde_json::from_str(arguments) {
            Ok(arguments) => desk.event(self.call.tools.event(call.to_owned(), name.to_owned(), arguments)),
            Err(_) => self.result(call.to_owned(), json!({ "error": "the arguments are no JSON" }), desk),
        }
    }

    /// A tool was used.
    pub fn result(&mut self, call: String, output: Value, desk: &mut Desk) {
        if let Some(at) = self.stranded.iter().position(|(known, _)| *known == call) {
            if let Some((_, name)) = self.stranded.remove(at)
                && tools::goes_on(&name, &output)
            {
                self.add(Role::Note, &loss::note(&name, &output), desk);
            }
        } else if self.calls.iter().any(|(known, _)| *known == call) {
            self.results.push((call, output));
            if self.running.is_none() && !self.asked {
                self.send_results(desk);
            }
        }
    }

    /// `true` when the agent goes on.
    fn send_results(&mut self, desk: &mut Desk) -> bool {
        let mut goes_on = false;
        for (call, output) in std::mem::take(&mut self.results) {
            let named = self.calls.iter().find(|(known, _)| *known == call).map_or("", |(_, name)| name);
            goes_on |= tools::goes_on(named, &output);
            send(desk, &render::tool_output(&call, &output));
        }
        if goes_on {
            self.ask(None, desk);
        }
        goes_on
    }

    fn speech_started(&mut self, desk: &mut Desk) {
        self.caller = Some(desk.now);
        self.caller_speaks = true;
        desk.event(Event::SpeechStarted { at: desk.now });
        self.stop_answer(!self.call.interrupts(), desk);
    }

    /// Nothing of the running answer is said any more; `cancel`: and the service must be told.
    pub(super) fn stop_answer(&mut self, cancel: bool, desk: &mut Desk) {
        if let Some(running) = &self.running {
            remember(&mut self.cut, running);
            if cancel {
                send(desk, &render::cancel());
            }
        }
        for item in self.items.iter_mut().filter(|item| !item.ended) {
            item.ended = true;
            remember(&mut self.cut, &item.name);
            if !std::mem::replace(&mut item.text_over, true) {
                self.history.add(Role::Agent, item.id, &item.text);
            }
        }
    }

    /// The caller interrupts without a voice.
    fn cut_in(&mut self, desk: &mut Desk) {
        if self.running.is_some() || self.items.iter().any(|item| !item.played) {
            desk.event(Event::SpeechStarted { at: desk.now });
            desk.event(Event::SpeechStopped { at: desk.now });
            self.stop_answer(true, desk);
        }
    }

    fn caller_words(&mut self, said: &Said<'_>, desk: &mut Desk) {
        if self.heard.0 != *said.item_id {
            self.heard = (said.item_id.to_string(), String::new());
        }
        self.heard.1.push_str(&said.delta);
        // Each is everything so far: pieces of words cannot be told from words.
        let text = self.heard.1.trim().to_owned();
        if !text.is_empty() {
            desk.event(Event::CallerText { text, last: false });
        }
    }

    fn all_caller_words(&mut self, said: &Said<'_>, desk: &mut Desk) {
        self.unwritten = self.unwritten.saturating_sub(1);
        let (item, so_far) = std::mem::take(&mut self.heard);
        let text = said.transcript.trim();
        self.history.add(Role::Caller, 0, text);
        let same = item == *said.item_id && !so_far.trim().is_empty();
        // What was told cannot be taken back.
        let text = if same && !text.starts_with(so_far.trim()) { so_far.trim() } else { text };
        if !text.is_empty() {
            desk.event(Event::CallerText { text: text.to_owned(), last: true });
        }
    }

    fn complaint(&mut self, error: &Value, desk: &mut Desk) {
        match error["code"].as_str() {
            Some("session_expired") => {
                return desk.fail(format!("the service ended the session: {}", wire::complaint(error)));
            }
            Some("conversation_already_has_active_response") => {
                // The one that it speaks of ends with a `response.done`.
                self.asked = false;
                self.owed.get_or_insert(None);
                self.running.get_or_insert_default();
                return;
            }
            Some("response_cancel_not_active") => return,
            _ => {}
        }
        if error["event_id"].as_str().is_none_or(|event| event == render::RESPONSE_EVENT) {
            self.asked = false;
        }
        desk.problem(format!("the service complains: {}", wire::complaint(error)));
    }

    /// What the service says cannot be understood; told once.
    pub fn tell_once(&mut self, what: &str, desk: &mut Desk) {
        if !std::mem::replace(&mut self.told, true) {
            tracing::warn!("the service sent {what}");
            desk.problem(format!("the service sent {what}"));
        }
    }

    pub fn greet(&mut self, desk: &mut Desk) {
        if self.call.greet {
            // They stand in place of the session's.
            let instructions = format!("{}\n\n{}", self.call.instructions, self.call.greeting);
            self.ask(Some(instructions), desk);
        }
    }

    /// A sentence, and nothing else; `false` while an answer runs.
    pub fn say(&mut self, text: &str, desk: &mut Desk) -> bool {
        let idle = self.running.is_none() && !self.asked;
        if idle {
            self.asked = true;
            send(desk, &render::sentence(text));
        }
        idle
    }

    pub fn key(&mut self, key: char, desk: &mut Desk) {
        if self.keys.len() < MOST_KEYS {
            self.keys.push(key);
        }
        self.keys_due = Some(desk.now + KEY_PAUSE);
        self.cut_in(desk);
    }

    pub fn keys_due(&self) -> Option<Instant> {
        self.keys_due
    }

    /// The caller has pressed all keys.
    pub fn release_keys(&mut self, desk: &mut Desk) {
        self.keys_due = None;
        let keys = std::mem::take(&mut self.keys);
        self.add(Role::Caller, &format!("[The caller pressed on the keypad: {keys}]"), desk);
    }

    pub fn text(&mut self, text: &str, desk: &mut Desk) {
        self.cut_in(desk);
        self.add(Role::Caller, text, desk);
    }

    fn add(&mut self, role: Role, text: &str, desk: &mut Desk) {
        send(desk, &render::message(role, text, self.call.dialect));
        self.history.add(role, 0, text);
        self.ask(None, desk);
    }

    pub fn hold(&mut self, on_hold: bool, desk: &mut Desk) {
        if on_hold {
            // The beginning of a word that will not end.
            send(desk, &render::clear());
            self.caller = None;
        }
    }

    pub fn instructions(&mut self, text: String, desk: &mut Desk) {
        self.call.instructions = text;
        send(desk, &render::instructions(&self.call));
    }

    pub fn transfer_begun(&mut self, desk: &mut Desk) {
        self.owed = None;
        self.stop_answer(true, desk);
        self.hold(true, desk);
    }

    pub fn transfer_failed(&mut self, outcome: &str, desk: &mut Desk) {
        let note =
            format!("The person could not be reached ({outcome}). The caller is on the line again: say so and go on.");
        self.add(Role::Note, &note, desk);
    }

    /// Of `id` only so much was heard.
    pub fn truncate(&mut self, id: u64, heard: Duration, desk: &mut Desk) {
        let Some(item) = self.items.iter_mut().find(|item| item.id == id) else { return };
        item.played = true;
        let came = Duration::from_secs_f64(item.samples as f64 / f64::from(rate(self.call.output)));
        let heard = heard.min(came);
        let share = if came.is_zero() { 0.0 } else { heard.as_secs_f64() / came.as_secs_f64() };
        self.history.cut(id, share);
        if self.call.truncate && item.line == self.line && item.samples > 0 && !item.name.is_empty() {
            send(desk, &render::truncate(&item.name, item.content, heard.as_millis() as u64));
        }
        self.played(id);
    }

    pub fn played(&mut self, id: u64) {
        self.items.iter_mut().filter(|item| item.id == id).for_each(|item| item.played = true);
        while self.items.pop_front_if(|item| item.played && item.ended && item.text_over).is_some() {}
    }

    /// Neither speaks, and nothing is waited for.
    pub fn is_at_rest(&self, now: Instant) -> bool {
        let answered = self.caller.is_none_or(|since| now.saturating_duration_since(since) >= NO_ANSWER);
        self.is_silent() && answered && self.unwritten == 0 && self.results.is_empty() && self.keys_due.is_none()
    }

    /// The agent does not speak and is not about to.
    pub fn is_silent(&self) -> bool {
        let unsaid = self.items.iter().any(|item| item.samples > 0 && !item.played);
        self.running.is_none() && !self.asked && self.owed.is_none() && !unsaid
    }

    /// Tells the conversation so far to another connection.
    pub fn move_to(&mut self, line: Line, desk: &mut Desk) {
        for (role, text) in self.history.iter() {
            let message = render::message(role, text, self.call.dialect);
            desk.send(line, |out| write(&message, out));
        }
    }

    /// What is still owed after a change of connections.
    pub fn resume(&mut self, desk: &mut Desk) {
        if let Some(instructions) = self.owed.take() {
            self.ask(instructions, desk);
        }
    }
}

fn remember(cut: &mut VecDeque<String>, name: &str) {
    if !name.is_empty() && !cut.iter().any(|known| known == name) {
        if cut.len() == MOST {
            cut.pop_front();
        }
        cut.push_back(name.to_owned());
    }
}

pub(super) fn send(desk: &mut Desk, event: &Value) {
    desk.send(Line::Live, |out| write(event, out));
}

/// A `Value` can always be written.
pub fn write(event: &Value, out: &mut Vec<u8>) {
    let _ = serde_json::to_writer(out, event);
}
