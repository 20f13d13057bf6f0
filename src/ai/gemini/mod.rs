//! Gemini Live (BidiGenerateContent), by the Gemini API or by Vertex AI.
//!
//! | What happens | What is said to the service |
//! |---|---|
//! | the connection stands | `setup`, and nothing else until `setupComplete` |
//! | `setupComplete` of a connection that begins with a history | the turns of the call so far |
//! | sound of the caller | `realtimeInput.audio`, PCM at the phone's own rate |
//! | the phone is answered | the greeting, as a turn or beside the sound |
//! | keys | after a pause in them, `realtimeInput.text` |
//! | hold, transfer | what is left of the sound, `audioStreamEnd` |
//! | the result of a tool | `toolResponse` with its id; none when the call ends, and for a person when nobody came |
//! | new instructions | `contextUpdate` |
//! | `goAway`, a lost connection | see `passage` |
//!
//! `turn` says what comes of the service's messages, `setup` what the first one holds, `model` which model takes what.

pub mod heard;
mod history;
mod model;
mod passage;
mod service;
mod setup;
mod turn;
mod wire;

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub use service::Service;

use super::engine::{CallerFrame, Command, Event, Party, SessionOptions, Usage, Wants};
use super::remote::{Desk, Dialect, Fate, Line, sentence};
use super::socket::{Message, SocketError, Target};
use super::tools::{self, Tools};
use crate::config::{GreetBy, Secret};
use heard::{Content, Count, Heard};
use passage::{Entry, Loss, Passage, Scene, Step};
use setup::Wanted;
use turn::Turn;

/// Keys belong together while no longer pause is between them.
const KEY_PAUSE: Duration = Duration::from_millis(1_000);
/// Keys that are told at once.
const MOST_KEYS: usize = 32;
/// Tools that may be at work.
const MOST_TOOLS: usize = 64;
/// Sound that is kept while there is no connection.
const MISSED: Duration = Duration::from_secs(3);
/// Sound in one message of what was kept.
const PIECE: Duration = Duration::from_millis(100);

const TAKES_OVER: &str = "You have just taken this call over from a colleague; the conversation so far is known to you. \
                          Tell the caller in one short sentence who you are, and go on.";

/// A conversation with the model.
pub struct Gemini {
    service: Service,
    key: Option<Secret>,
    wanted: Wanted,
    tools: Tools,
    passage: Passage,
    turn: Turn,
    /// Sound that is not sent yet, and its rate.
    pcm: Vec<i16>,
    rate: u32,
    /// Tools at work.
    at_work: Vec<Work>,
    /// The tool whose answer is that nobody came.
    transfer: Option<Work>,
    calls: u64,
    keys: String,
    keys_due: Option<Instant>,
    greeted: bool,
    /// The call was another agent's before.
    takes_over: bool,
    /// A message that could not be read was told.
    told: bool,
}

/// A tool that the model waits for.
#[derive(Debug)]
struct Work {
    id: String,
    /// The service gave it.
    has_id: bool,
    name: String,
}

impl Gemini {
    pub fn new(service: Service, options: SessionOptions) -> Gemini {
        let tools = Tools::new(&options);
        let wanted = Wanted::new(&service, &options, &tools);
        let (mut turn, passage) = (Turn::new(), Passage::new(service.config.resumption));
        for spoken in &options.history {
            match spoken.by {
                Party::Agent => turn.history.former(&spoken.text),
                Party::Caller => turn.history.caller(&spoken.text, true),
            }
        }
        let takes_over = !turn.history.is_empty();
        Gemini {
            passage: if takes_over { passage.continuing() } else { passage },
            takes_over,
            service,
            key: options.key,
            wanted,
            tools,
            turn,
            pcm: Vec::new(),
            rate: 8_000,
            at_work: Vec::new(),
            transfer: None,
            calls: 0,
            keys: String::new(),
            keys_due: None,
            greeted: false,
            told: false,
        }
    }

    /// What is known to break the configured model, in sentences for the log.
    pub fn warnings(service: &Service, options: &SessionOptions) -> Vec<String> {
        let wanted = Wanted::new(service, options, &Tools::new(options));
        let setup = setup::content(service, &wanted, &Entry::New);
        let found = model::warnings(&wanted.model, service.config.vertex.is_some(), &setup);
        found.into_iter().map(|says| format!("[engine.gemini] with {}: {says}", wanted.model)).collect()
    }

    fn scene(&self) -> Scene {
        let quiet = self.turn.is_quiet() && self.at_work.is_empty() && self.transfer.is_none() && self.keys.is_empty();
        Scene { quiet, history: !self.turn.history.is_empty() }
    }

    fn step(&mut self, desk: &mut Desk) {
        match self.passage.step(self.scene(), desk.now) {
            Step::Nothing => {}
            Step::Prepare => desk.prepare(),
            Step::Abandon => desk.abandon(),
            Step::TakeOver => {
                desk.take_over();
                self.turn.broken(desk);
                self.forget_tools(desk);
                self.go_on(desk);
            }
        }
    }

    /// Over another connection.
    fn go_on(&mut self, desk: &mut Desk) {
        if self.greeted && !self.turn.has_spoken() {
            self.greet(desk);
        }
        self.catch_up(desk);
    }

    /// `setupComplete`.
    fn completed(&mut self, line: Line, desk: &mut Desk) {
        let first = line == Line::Live && self.passage.is_first();
        let Some(entry) = self.passage.completed(line == Line::Next) else { return };
        if entry == Entry::Replay {
            self.replay(line, desk);
        }
        if first {
            desk.event(Event::Ready);
        } else if line == Line::Live {
            self.go_on(desk);
        }
    }

    /// What was said so far, for a connection that knows nothing of it.
    fn replay(&mut self, line: Line, desk: &mut Desk) {
        let turns = self.turn.history.turns();
        // With an announced history `turnComplete` ends that and asks for nothing; without, it would ask for an answer.
        let complete = self.service.config.vertex.is_none();
        desk.send(line, |out| {
            wire::turns(turns.iter().map(|(role, text)| (*role, text.as_str())), complete, out);
        });
        // Whoever takes a call over is told to speak when it has the caller.
        let owed = line == Line::Next || self.turn.has_spoken() || !self.takes_over;
        if owed && self.turn.history.wants_answer() {
            desk.send(line, |out| wire::text("Go on with the conversation.", out));
        }
    }

    /// What the caller said while there was no connection.
    fn catch_up(&mut self, desk: &mut Desk) {
        let (pcm, rate) = (std::mem::take(&mut self.pcm), self.rate);
        for piece in pcm.chunks(samples(PIECE, rate)) {
            desk.send(Line::Live, |out| wire::audio(piece, rate, out));
        }
    }

    fn greet(&mut self, desk: &mut Desk) {
        let config = &self.service.config;
        let beside = match config.greet_by {
            GreetBy::Auto => self.wanted.family.takes_text_beside_sound(),
            GreetBy::Content => false,
            GreetBy::Input => true,
        };
        self.greeted = true;
        self.turn.asks();
        let text = if self.takes_over { TAKES_OVER } else { config.greeting.as_str() };
        desk.send(Line::Live, |out| match beside {
            true => wire::text(text, out),
            false => wire::turns([("user", text)].into_iter(), true, out),
        });
    }

    fn say(&mut self, text: &str, desk: &mut Desk) {
        self.passage.touched();
        self.turn.asks();
        self.turn.history.caller(text, true);
        desk.send(Line::Live, |out| wire::text(text, out));
    }

    fn press(&mut self, key: char, desk: &mut Desk) {
        self.keys.push(key);
        self.keys_due = Some(desk.now + KEY_PAUSE);
        if key == '#' || self.keys.len() >= MOST_KEYS {
            self.tell_keys(desk);
        }
    }

    fn tell_keys(&mut self, desk: &mut Desk) {
        self.keys_due = None;
        let keys = std::mem::take(&mut self.keys);
        if !keys.is_empty() {
            self.say(&format!("The caller pressed {keys} on the telephone."), desk);
        }
    }

    /// No sound comes for a while.
    fn pause(&mut self, desk: &mut Desk) {
        self.catch_up(desk);
        desk.send(Line::Live, wire::stream_end);
    }

    fn tool_result(&mut self, id: &str, output: &Value, desk: &mut Desk) {
        // One that was cancelled, or belongs to a connection that is gone, is not waited for.
        let Some(index) = self.at_work.iter().position(|work| work.id == id) else { return };
        let work = self.at_work.remove(index);
        let aside = self.wanted.family.goes_on_during_tools();
        if tools::goes_on(&work.name, output) {
            return self.answer(&work, output, None, desk);
        }
        if aside {
            return self.answer(&work, output, Some("SILENT"), desk);
        }
        // A model that waits says nothing: right for a call that ends or is in other hands.
        if work.name == tools::TRANSFER_CALL {
            self.transfer = Some(work);
        }
    }

    fn answer(&mut self, work: &Work, output: &Value, scheduling: Option<&str>, desk: &mut Desk) {
        let id = work.has_id.then_some(work.id.as_str());
        desk.send(Line::Live, |out| wire::tool_result(id, &work.name, output, scheduling, out));
    }

    /// Tools of a connection that is gone.
    fn forget_tools(&mut self, desk: &mut Desk) {
        for work in self.at_work.drain(..) {
            desk.event(Event::ToolCancel { id: work.id });
        }
        self.transfer = None;
    }

    fn take(&mut self, heard: Heard<'_>, desk: &mut Desk) {
        if let Some(activity) = heard.voice_activity.and_then(|activity| activity.voice_activity_type) {
            match activity.as_str() {
                "ACTIVITY_START" if self.may_be_interrupted() => self.turn.interrupted(desk),
                "ACTIVITY_END" => self.turn.stopped(desk),
                _ => {}
            }
        }
        if let Some(content) = heard.server_content {
            self.take_content(&content, desk);
        }
        for call in heard.tool_call.into_iter().flat_map(|call| call.function_calls) {
            self.take_call(call, desk);
        }
        for id in heard.tool_call_cancellation.into_iter().flat_map(|cancelled| cancelled.ids) {
            if let Some(index) = self.at_work.iter().position(|work| work.id == id) {
                self.at_work.remove(index);
                desk.event(Event::ToolCancel { id });
            }
        }
        if let Some(used) = heard.usage_metadata {
            let count = |count: Option<Count>| count.map_or(0, |Count(number)| number);
            let (prompt_tokens, total_tokens) = (count(used.prompt_token_count), count(used.total_token_count));
            desk.event(Event::Usage(Usage { prompt_tokens, total_tokens }));
        }
        if let Some(update) = heard.session_resumption_update {
            let handle = update.new_handle.filter(|handle| !handle.is_empty() && update.resumable == Some(true));
            self.passage.resumable(handle);
        }
        if let Some(going) = heard.go_away {
            let left = going.left();
            desk.event(Event::GoingAway { left });
            self.passage.going_away(left, desk.now);
        }
    }

    fn take_content(&mut self, content: &Content<'_>, desk: &mut Desk) {
        if let Some(words) = &content.input_transcription {
            self.passage.touched();
            self.turn.caller_words(words, desk);
        }
        for part in content.model_turn.iter().flat_map(|turn| turn.parts.iter()) {
            self.passage.touched();
            let Some(blob) = part.inline_data.as_ref().filter(|_| part.thought != Some(true)) else { continue };
            // What an interruption in the same message cuts off is not worth a sound.
            if content.interrupted == Some(true) {
                continue;
            }
            if let Err(problem) = self.turn.sound(blob, desk) {
                self.complain(problem, desk);
            }
        }
        if let Some(words) = &content.output_transcription {
            self.turn.agent_words(words, desk);
        }
        if content.interrupted == Some(true) {
            self.turn.interrupted(desk);
        }
        if content.generation_complete == Some(true) {
            self.turn.generation_complete(desk);
        }
        if content.turn_complete == Some(true) {
            let goes_on = matches!(content.interaction_status.as_deref(), Some("IN_PROGRESS" | "REQUIRES_ACTION"));
            self.turn.complete(goes_on, desk);
        }
    }

    fn take_call(&mut self, call: heard::ToolCall, desk: &mut Desk) {
        self.passage.touched();
        self.turn.answers(desk);
        self.calls += 1;
        let has_id = call.id.as_ref().is_some_and(|id| !id.is_empty());
        let id = call.id.filter(|_| has_id).unwrap_or_else(|| format!("call-{}", self.calls));
        if self.at_work.len() >= MOST_TOOLS {
            return self.complain("more calls of tools than can be at work", desk);
        }
        self.at_work.push(Work { id: id.clone(), has_id, name: call.name.clone() });
        desk.event(self.tools.event(id, call.name, call.args.unwrap_or_else(|| json!({}))));
    }

    fn may_be_interrupted(&self) -> bool {
        self.service.config.activity.as_ref().and_then(|activity| activity.interrupts) != Some(false)
    }

    /// Services have been known to say a wrong key back.
    fn without_key(&self, said: String) -> String {
        match self.key.as_ref().or(self.service.config.api_key.as_ref()) {
            Some(key) if !key.is_empty() => said.replace(key.expose(), "…"),
            _ => said,
        }
    }

    /// Once a call is enough.
    fn complain(&mut self, problem: &str, desk: &mut Desk) {
        if !std::mem::replace(&mut self.told, true) {
            tracing::warn!("Gemini sent {problem}");
            desk.problem(format!("Gemini sent {problem}"));
        }
    }
}

impl Dialect for Gemini {
    fn wants(&self) -> Wants {
        Wants::Linear
    }

    fn target(&self) -> Option<Result<Target, String>> {
        Some(self.service.target(self.key.as_ref()))
    }

    fn opened(&mut self, line: Line, desk: &mut Desk) {
        if let Some(entry) = self.passage.entry(line == Line::Next) {
            let setup = setup::content(&self.service, &self.wanted, entry);
            desk.send(line, |out| wire::write(&json!({ "setup": setup }), out));
        }
    }

    fn read(&mut self, line: Line, message: Message<'_>, desk: &mut Desk) {
        let octets = match message {
            Message::Text(text) => text.as_bytes(),
            Message::Binary(octets) => octets,
            _ => return,
        };
        match heard::read(octets) {
            Ok(heard) => {
                if heard.setup_complete.is_some() {
                    self.completed(line, desk);
                }
                if line == Line::Live && self.passage.is_open() {
                    self.take(heard, desk);
                }
            }
            Err(problem) => self.complain(problem, desk),
        }
        self.step(desk);
    }

    fn is_ready(&self) -> bool {
        self.passage.is_open()
    }

    fn listens(&self) -> bool {
        !self.passage.is_first()
    }

    fn speech(&mut self, heard: CallerFrame<'_>, _at: Instant, out: &mut Vec<u8>) {
        let CallerFrame::Linear { pcm, rate } = heard else { return };
        if rate != self.rate {
            // The phone changed its codec.
            if self.passage.is_open() && !self.pcm.is_empty() {
                wire::audio(&self.pcm, self.rate, out);
                self.pcm.clear();
                self.rate = rate;
                self.pcm.extend_from_slice(pcm);
                return;
            }
            self.pcm.clear();
            self.rate = rate;
        }
        self.pcm.extend_from_slice(pcm);
        if !self.passage.is_open() {
            let much = self.pcm.len().saturating_sub(samples(MISSED, rate));
            self.pcm.drain(..much);
        } else if self.pcm.len() >= samples(Duration::from_millis(self.service.config.audio_ms.into()), rate) {
            wire::audio(&self.pcm, rate, out);
            self.pcm.clear();
        }
    }

    fn command(&mut self, command: Command, desk: &mut Desk) {
        match command {
            Command::Greet => self.greet(desk),
            Command::Key(key) => self.press(key, desk),
            Command::Text(text) => self.say(&text, desk),
            Command::ToolResult { id, output } => self.tool_result(&id, &output, desk),
            Command::UpdateInstructions(text) => {
                desk.send(Line::Live, |out| wire::instructions(&text, out));
                self.wanted.instructions = text;
            }
            Command::Truncate { item, played } => self.turn.heard(item, Some(played)),
            Command::Played { item } => self.turn.heard(item, None),
            Command::Hold(true) | Command::TransferBegun => self.pause(desk),
            Command::TransferFailed { outcome } => {
                let said = format!("Nobody could be reached ({outcome}). The caller is back.");
                match self.transfer.take() {
                    Some(work) => self.answer(&work, &json!({ "error": said }), None, desk),
                    None => self.say(&said, desk),
                }
            }
            // The service has ears of its own.
            Command::CallerBegan { .. } | Command::CallerStopped { .. } | Command::Hold(false) | Command::Stop => {}
        }
        self.step(desk);
    }

    fn ended(&mut self, error: &SocketError, desk: &mut Desk) -> Fate {
        let was_open = self.passage.is_open();
        let loss = self.passage.lost(error, self.scene());
        match loss {
            Loss::Again(pause) => {
                if was_open {
                    tracing::info!("the connection to Gemini was lost and is made again");
                    self.turn.broken(desk);
                    self.forget_tools(desk);
                }
                if self.passage.is_open() {
                    self.go_on(desk);
                }
                if pause.is_zero() { Fate::Again } else { Fate::After(pause) }
            }
            Loss::Over => Fate::Over(Some(self.without_key(explain(error, &self.wanted.model)))),
        }
    }

    fn next_ended(&mut self, error: &SocketError, desk: &mut Desk) {
        tracing::info!("the next connection to Gemini could not be set up: {}", self.without_key(sentence(error)));
        self.passage.next_lost(error, desk.now);
    }

    fn due(&self) -> Option<Instant> {
        [self.passage.due(), self.turn.due(), self.keys_due].into_iter().flatten().min()
    }

    fn on_time(&mut self, desk: &mut Desk) {
        if self.keys_due.is_some_and(|due| due <= desk.now) {
            if self.passage.is_open() {
                self.tell_keys(desk);
            } else {
                self.keys_due = Some(desk.now + KEY_PAUSE);
            }
        }
        self.turn.on_time(desk);
        self.step(desk);
    }
}

/// The operator's sentence.
fn explain(error: &SocketError, model: &str) -> String {
    let SocketError::Closed(code, reason) = error else { return sentence(error) };
    let reason = reason.to_ascii_lowercase();
    let advice = match code {
        _ if reason.contains("api key") || reason.contains("api_key") => "check [engine.gemini] api_key".into(),
        _ if reason.contains("quota") || reason.contains("billing") => {
            "no quota is left: look at the account's limits".into()
        }
        1008 if reason.contains("not found") || reason.contains("not supported") => {
            format!("{model} is unknown to the service, or not for live speech: check [engine.gemini] model")
        }
        1007 => "it does not take the setup for this model: check [engine.gemini], above all `setup`".into(),
        1008 => format!("it refuses us: check the key and whether it may use {model}"),
        1011 => "the service has a problem of its own".into(),
        _ => return sentence(error),
    };
    format!("{}: {advice}", sentence(error))
}

/// Samples of a span.
fn samples(span: Duration, rate: u32) -> usize {
    (span.as_millis() as usize * rate as usize / 1_000).max(1)
}
