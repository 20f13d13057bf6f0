//! The chat brain: a conversation with an OpenAI-compatible endpoint.
//!
//! Words of the caller flow in; sentences to speak flow out as soon as each is complete, while the rest is still being
//! written. An interruption ends the request and cuts the history down to what was heard.
//!
//! | An answer holds | What follows |
//! |---|---|
//! | text | it is spoken |
//! | calls of the agent's own tools | the call is told when the answer is complete; what is being said goes on |
//! | the hanging up, a person, keys | the call is told once everything before them was handed on |
//! | any of them, and all results are there | the endpoint is asked again, unless the call ends or a person comes |
//! | the caller interrupts before that | [`Event::ToolCancel`]; the endpoint is told that there was no result |
//!
//! An endpoint that takes no tools ([`Piece::NoTools`], or `tools = false`) is asked to write [`HANG_UP`] and
//! [`TRANSFER`] instead.

mod calls;
mod client;
mod history;
mod sse;
mod wire;

use std::collections::VecDeque;
use std::task::{Context, Poll};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;

use self::history::History;
use super::super::engine::{Event, SessionOptions, Usage};
use super::mouth::Said;
use crate::ai::tools::{self, END_CALL, SEND_DTMF, TRANSFER_CALL, Tools};
use crate::speech::Splitter;

use self::calls::Called;
use self::client::{Piece, Question};

pub(in crate::ai) use self::client::Client as ChatClient;

/// What an answer ends with when the agent wants to hang up and has no tool for it.
const HANG_UP: &str = "[hangup]";
/// And when it wants the caller connected to a person.
const TRANSFER: &str = "[transfer]";
const ANSWERED: &str = "(The phone was answered. Speak first.)";
const NOISE: &str = "(Noise on the line interrupted you. Go on.)";
const APOLOGY: &str = "I am sorry, I cannot answer just now. Please say that again.";
/// How often the endpoint may use tools before it must answer the caller.
const MOST_ROUNDS: u32 = 8;

pub(super) struct Chat {
    client: ChatClient,
    history: History,
    instructions: String,
    language: String,
    tools: Tools,
    /// They, as the endpoint is told of them.
    declared: Vec<Value>,
    /// There are more than those that every agent has.
    has_own_tools: bool,
    /// There is somebody whom a caller can be connected to.
    person: bool,
    /// The endpoint was told of the tools.
    with_tools: bool,
    state: State,
    /// Requests so far.
    answer: u64,
    /// Of them, those since the caller's turn.
    rounds: u32,
    /// Asked, and not polled since.
    fresh: bool,
    out: VecDeque<Thought>,
    hangs_up: bool,
    transfers: bool,
    interrupted: bool,
}

enum State {
    Listening,
    Answering {
        from: mpsc::Receiver<Piece>,
        splitter: Splitter,
        calls: Vec<Called>,
    },
    /// The answer is complete but for the results of its calls.
    Using(Vec<Use>),
}

struct Use {
    id: String,
    name: String,
    step: Step,
}

enum Step {
    /// The call is told of it when everything was said, with these arguments.
    Held(Value),
    Told,
    Over {
        goes_on: bool,
    },
}

impl Use {
    /// The agent will say something because of it.
    fn keeps_busy(&self) -> bool {
        match self.step {
            Step::Held(_) => true,
            Step::Told => tools::goes_on(&self.name, &Value::Null),
            Step::Over { goes_on } => goes_on,
        }
    }
}

#[derive(Debug, PartialEq)]
pub(super) enum Thought {
    Say(String),
    Usage(Usage),
    /// [`Event::ToolCall`] and [`Event::ToolCancel`].
    Tool(Event),
    /// The answer is complete.
    Complete,
    Failed(String),
}

impl Chat {
    pub(super) fn new(client: ChatClient, options: &SessionOptions) -> Chat {
        // The call's own model and key belong to other services: a LAN endpoint must not see the key.
        let tools = Tools::new(options);
        let mut chat = Chat {
            with_tools: client.takes_tools(),
            client,
            history: History::new(String::new()),
            instructions: options.briefing_with_history(),
            language: options.language.clone(),
            declared: wire::declared(&tools.declared()),
            tools,
            has_own_tools: !options.tools.is_empty(),
            person: options.person.is_some(),
            state: State::Listening,
            answer: 0,
            rounds: 0,
            fresh: false,
            out: VecDeque::new(),
            hangs_up: false,
            transfers: false,
            interrupted: false,
        };
        chat.history.set_system(chat.system());
        chat
    }

    pub(super) fn set_instructions(&mut self, instructions: &str) {
        instructions.clone_into(&mut self.instructions);
        self.history.set_system(self.system());
    }

    pub(super) fn greet(&mut self) {
        self.ask(ANSWERED);
    }

    /// A turn of the caller; empty when the recogniser made nothing of it.
    pub(super) fn heard(&mut self, text: &str) {
        match (text.is_empty(), self.interrupted) {
            (false, _) => self.ask(text),
            (true, true) => self.ask(NOISE),
            (true, false) => {}
        }
    }

    pub(super) fn key_pressed(&mut self, keys: &str) {
        self.ask(&format!("(The caller pressed {keys} on the keypad.)"));
    }

    /// The caller speaks: the answer that is being written is no longer wanted.
    pub(super) fn interrupt(&mut self, agent_was_speaking: bool) {
        self.interrupted = agent_was_speaking || self.is_busy();
        self.give_up();
    }

    /// Nothing more comes of the answer; tools whose results are not there are told so.
    fn give_up(&mut self) {
        if let State::Using(uses) = std::mem::replace(&mut self.state, State::Listening) {
            let told = uses.into_iter().filter(|call| matches!(call.step, Step::Told));
            self.out.extend(told.map(|call| Thought::Tool(Event::ToolCancel { id: call.id })));
        }
        (self.hangs_up, self.transfers) = (false, false);
    }

    pub(super) fn said(&mut self, said: Said) {
        self.history.agent(said);
    }

    pub(super) fn truncate(&mut self, item: u64, played: Duration) {
        self.history.truncate(item, played);
    }

    /// Of `item` about so much was heard; the call knows better and will say so.
    pub(super) fn guess(&mut self, item: u64, played: Duration) {
        self.history.guess(item, played);
    }

    pub(super) fn played(&mut self, item: u64) {
        self.history.played(item);
    }

    /// The number of the answer that sentences belong to.
    pub(super) fn answer(&self) -> u64 {
        self.answer
    }

    /// More will be said without the caller's doing.
    pub(super) fn is_busy(&self) -> bool {
        match &self.state {
            State::Listening => false,
            State::Answering { .. } => true,
            State::Using(uses) => uses.iter().any(Use::keeps_busy),
        }
    }

    /// There is something to be polled for that wakes nobody.
    pub(super) fn is_fresh(&self) -> bool {
        self.fresh || !self.out.is_empty()
    }

    /// The agent has said goodbye.
    pub(super) fn hangs_up(&self) -> bool {
        self.hangs_up
    }

    /// The agent has said that it connects the caller to a person.
    pub(super) fn transfers(&self) -> bool {
        self.transfers
    }

    fn ask(&mut self, text: &str) {
        self.give_up();
        self.interrupted = false;
        self.rounds = 0;
        self.history.caller(text);
        self.request();
    }

    fn request(&mut self) {
        if self.with_tools && !self.client.takes_tools() {
            self.with_tools = false;
            self.history.set_system(self.system());
        }
        let tools = if self.with_tools { self.declared.as_slice() } else { &[] };
        let may_call = self.rounds < MOST_ROUNDS;
        let from = self.client.ask(Question { messages: &self.history.messages(), tools, may_call });
        self.state = State::Answering { from, splitter: Splitter::default(), calls: Vec::new() };
        self.answer += 1;
        self.fresh = true;
    }

    /// What the endpoint has written; `Pending` while it writes or nothing was asked.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Vec<Thought>> {
        self.fresh = false;
        if !self.out.is_empty() {
            return Poll::Ready(self.out.drain(..).collect());
        }
        let State::Answering { from, splitter, calls } = &mut self.state else { return Poll::Pending };
        let Poll::Ready(piece) = from.poll_recv(context) else { return Poll::Pending };
        let (sentences, last) = match piece {
            Some(Piece::Text(text)) => (splitter.push(&text), None),
            Some(Piece::Usage(usage)) => (Vec::new(), Some(Thought::Usage(usage))),
            Some(Piece::Call(call)) => {
                calls.push(call);
                (Vec::new(), None)
            }
            Some(Piece::NoTools) => return Poll::Ready(self.without_tools()),
            Some(Piece::Done) => (splitter.finish(), Some(Thought::Complete)),
            Some(Piece::Failed(problem)) => (vec![APOLOGY.to_owned()], Some(Thought::Failed(problem))),
            None => (vec![APOLOGY.to_owned()], Some(Thought::Failed(String::from("the chat request was given up")))),
        };
        let calls = match last {
            Some(Thought::Complete) => std::mem::take(calls),
            _ => Vec::new(),
        };
        if matches!(last, Some(Thought::Complete | Thought::Failed(_))) {
            self.state = State::Listening;
        }
        let mut thoughts: Vec<Thought> = sentences.into_iter().filter_map(|text| self.spoken(text)).collect();
        thoughts.extend(last);
        if !calls.is_empty() && self.with_tools {
            thoughts.extend(self.use_tools(&calls));
        }
        Poll::Ready(thoughts)
    }

    /// Asks again, in the manner of endpoints without tools.
    fn without_tools(&mut self) -> Vec<Thought> {
        self.request();
        let lost = (self.has_own_tools && !self.with_tools)
            .then(|| String::from("the chat endpoint takes no tools: those of the agent cannot be used"));
        lost.into_iter().map(Thought::Failed).collect()
    }

    /// The answer that is complete asks for these.
    fn use_tools(&mut self, calls: &[Called]) -> Vec<Thought> {
        if self.rounds >= MOST_ROUNDS {
            let problem = String::from("the chat server calls tools without end");
            return vec![Thought::Say(APOLOGY.to_owned()), Thought::Failed(problem)];
        }
        let mut thoughts = Vec::new();
        let mut uses = Vec::new();
        for called in calls {
            let (id, name) = (self.history.call(self.answer, called), called.name.clone());
            let step = match &called.arguments {
                None => {
                    self.history.result(&id, json!({ "error": "the arguments are no JSON object" }));
                    Step::Over { goes_on: true }
                }
                Some(arguments) if waits(&name) => Step::Held(arguments.clone()),
                Some(arguments) => {
                    thoughts.push(Thought::Tool(self.tools.event(id.clone(), name.clone(), arguments.clone())));
                    Step::Told
                }
            };
            uses.push(Use { id, name, step });
        }
        self.state = State::Using(uses);
        thoughts
    }

    /// Everything that was written so far was handed on to be played; `true` when that changes something.
    pub(super) fn handed_on(&mut self) -> bool {
        let State::Using(uses) = &mut self.state else { return false };
        let before = self.out.len();
        for call in uses.iter_mut() {
            let Step::Held(arguments) = &mut call.step else { continue };
            let arguments = std::mem::take(arguments);
            call.step = Step::Told;
            self.out.push_back(Thought::Tool(self.tools.event(call.id.clone(), call.name.clone(), arguments)));
        }
        if self.out.len() > before {
            return true;
        }
        if !uses.iter().all(|call| matches!(call.step, Step::Over { .. })) {
            return false;
        }
        let goes_on = uses.iter().any(Use::keeps_busy);
        self.state = State::Listening;
        if goes_on {
            self.rounds += 1;
            self.request();
        }
        goes_on
    }

    /// What came of a tool; `true` when that is the end of the call.
    pub(super) fn result(&mut self, id: &str, output: Value) -> bool {
        let mut ends = false;
        if let State::Using(uses) = &mut self.state
            && let Some(call) = uses.iter_mut().find(|call| call.id == id)
        {
            let goes_on = tools::goes_on(&call.name, &output);
            ends = call.name == END_CALL && !goes_on;
            call.step = Step::Over { goes_on };
        }
        // One that was given up may have been carried out all the same.
        self.history.result(id, output);
        ends
    }

    /// `text` without the marks of hanging up and of connecting the caller, where the endpoint knows of them.
    fn spoken(&mut self, text: String) -> Option<Thought> {
        let text = if self.with_tools {
            text
        } else {
            let (text, hangs_up) = without(&text, HANG_UP);
            let (text, transfers) = without(&text, TRANSFER);
            self.hangs_up |= hangs_up;
            self.transfers |= transfers && self.person;
            text
        };
        let kept = text.trim();
        (!kept.is_empty()).then(|| Thought::Say(kept.to_owned()))
    }

    fn system(&self) -> String {
        let Chat { instructions, language, .. } = self;
        let ending = match (self.with_tools, self.person) {
            (true, _) => {
                format!(
                    "When the conversation is over, say goodbye and call {END_CALL}; never write such a call as text."
                )
            }
            (false, person) => {
                let mut ending =
                    format!("When the conversation is over, say goodbye and write {HANG_UP} at the very end.");
                if person {
                    ending.push_str(&format!(
                        " When the caller asks for a person, or you cannot help, say that you connect them and write \
                         {TRANSFER} at the very end."
                    ));
                }
                ending
            }
        };
        format!(
            "{instructions}\n\nYou are speaking on the telephone, in the language {language}. Answer in one to three short \
             spoken sentences, without lists, markup or emoji; write numbers as they are spoken. The caller's words \
             come from a speech recogniser and may hold mistakes. {ending}"
        )
    }
}

/// Whether a tool is used only once everything before it was said.
fn waits(name: &str) -> bool {
    matches!(name, END_CALL | TRANSFER_CALL | SEND_DTMF)
}

/// `text` without `mark`, in whatever case it is written, and whether it was there.
fn without(text: &str, mark: &str) -> (String, bool) {
    // `to_ascii_lowercase` keeps every byte's place.
    match text.to_ascii_lowercase().find(mark) {
        Some(at) => (format!("{}{}", &text[..at], &text[at + mark.len()..]), true),
        None => (text.to_owned(), false),
    }
}
