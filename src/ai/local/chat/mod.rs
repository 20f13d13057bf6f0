//! The chat brain: a conversation with an OpenAI-compatible endpoint.
//!
//! Words of the caller flow in; sentences to speak flow out as soon as each is complete, while the rest is still being
//! written. An interruption ends the request and cuts the history down to what was heard.

mod client;
mod history;
mod sse;
mod wire;

use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc;

use self::history::History;
use super::super::engine::Usage;
use super::mouth::Said;
use crate::speech::Splitter;

use self::client::Piece;

pub(in crate::ai) use self::client::Client as ChatClient;

/// What an answer ends with when the agent wants to hang up.
const HANG_UP: &str = "[hangup]";
/// And when it wants the caller connected to a person.
const TRANSFER: &str = "[transfer]";
const ANSWERED: &str = "(The phone was answered. Speak first.)";
const NOISE: &str = "(Noise on the line interrupted you. Go on.)";
const APOLOGY: &str = "I am sorry, I cannot answer just now. Please say that again.";

pub(super) struct Chat {
    client: ChatClient,
    history: History,
    language: String,
    /// There is somebody whom a caller can be connected to.
    person: bool,
    state: State,
    hangs_up: bool,
    transfers: bool,
    interrupted: bool,
}

enum State {
    Listening,
    Answering { from: mpsc::Receiver<Piece>, splitter: Splitter },
}

#[derive(Debug, PartialEq)]
pub(super) enum Thought {
    Say(String),
    Usage(Usage),
    /// The answer is complete.
    Complete,
    Failed(String),
}

impl Chat {
    pub(super) fn new(client: ChatClient, instructions: &str, language: &str, person: bool) -> Chat {
        let history = History::new(system(instructions, language, person));
        Chat {
            client,
            history,
            language: language.to_owned(),
            person,
            state: State::Listening,
            hangs_up: false,
            transfers: false,
            interrupted: false,
        }
    }

    pub(super) fn set_instructions(&mut self, instructions: &str) {
        self.history.set_system(system(instructions, &self.language, self.person));
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
        self.interrupted = agent_was_speaking || self.is_answering();
        self.state = State::Listening;
        (self.hangs_up, self.transfers) = (false, false);
    }

    pub(super) fn said(&mut self, said: Said) {
        self.history.agent(said);
    }

    pub(super) fn truncate(&mut self, item: u64, played: Duration) {
        self.history.truncate(item, played);
    }

    pub(super) fn is_answering(&self) -> bool {
        matches!(self.state, State::Answering { .. })
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
        self.interrupted = false;
        (self.hangs_up, self.transfers) = (false, false);
        self.history.caller(text);
        let from = self.client.ask(&self.history.messages());
        self.state = State::Answering { from, splitter: Splitter::default() };
    }

    /// What the endpoint has written; `Pending` while it writes or nothing was asked.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Vec<Thought>> {
        let State::Answering { from, splitter } = &mut self.state else { return Poll::Pending };
        let Poll::Ready(piece) = from.poll_recv(context) else { return Poll::Pending };
        let (sentences, last) = match piece {
            Some(Piece::Text(text)) => (splitter.push(&text), None),
            Some(Piece::Usage(usage)) => (Vec::new(), Some(Thought::Usage(usage))),
            Some(Piece::Done) => (splitter.finish(), Some(Thought::Complete)),
            Some(Piece::Failed(problem)) => (vec![APOLOGY.to_owned()], Some(Thought::Failed(problem))),
            None => (vec![APOLOGY.to_owned()], Some(Thought::Failed(String::from("the chat request was given up")))),
        };
        if matches!(last, Some(Thought::Complete | Thought::Failed(_))) {
            self.state = State::Listening;
        }
        let mut thoughts: Vec<Thought> = sentences.into_iter().filter_map(|text| self.spoken(&text)).collect();
        thoughts.extend(last);
        Poll::Ready(thoughts)
    }

    /// `text` without the marks of hanging up and of connecting the caller.
    fn spoken(&mut self, text: &str) -> Option<Thought> {
        let (text, hangs_up) = without(text, HANG_UP);
        let (text, transfers) = without(&text, TRANSFER);
        self.hangs_up |= hangs_up;
        self.transfers |= transfers && self.person;
        let kept = text.trim();
        (!kept.is_empty()).then(|| Thought::Say(kept.to_owned()))
    }
}

/// `text` without `mark`, in whatever case it is written, and whether it was there.
fn without(text: &str, mark: &str) -> (String, bool) {
    // `to_ascii_lowercase` keeps every byte's place.
    match text.to_ascii_lowercase().find(mark) {
        Some(at) => (format!("{}{}", &text[..at], &text[at + mark.len()..]), true),
        None => (text.to_owned(), false),
    }
}

fn system(instructions: &str, language: &str, person: bool) -> String {
    let transfer = if person {
        format!(
            " When the caller asks for a person, or you cannot help, say that you connect them and write {TRANSFER} at \
             the very end."
        )
    } else {
        String::new()
    };
    format!(
        "{instructions}\n\nYou are speaking on the telephone, in the language {language}. Answer in one to three short \
         spoken sentences, without lists, markup or emoji; write numbers as they are spoken. The caller's words come \
         from a speech recogniser and may hold mistakes. When the conversation is over, say goodbye and write \
         {HANG_UP} at the very end.{transfer}"
    )
}
