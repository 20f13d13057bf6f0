//! What was said, as the chat endpoint is told it: an agent's turn holds only what the caller really heard.

use std::cmp::Ordering;
use std::time::Duration;

use super::super::mouth::Said;
use super::wire::{Message, Role};

/// Newest turns that are sent; older ones are forgotten.
const MOST_TURNS: usize = 60;

#[derive(Debug)]
pub(super) struct History {
    system: String,
    turns: Vec<Turn>,
}

#[derive(Debug)]
enum Turn {
    Caller(String),
    Agent(Vec<Sentence>),
}

#[derive(Debug)]
struct Sentence {
    said: Said,
    /// How much of it the caller heard; `None`: all.
    heard: Option<Duration>,
}

impl History {
    pub(super) fn new(system: String) -> History {
        History { system, turns: Vec::new() }
    }

    pub(super) fn set_system(&mut self, system: String) {
        self.system = system;
    }

    /// Two turns of the caller in a row become one: some servers insist on taking turns.
    pub(super) fn caller(&mut self, text: &str) {
        match self.turns.last_mut() {
            Some(Turn::Caller(said)) => {
                said.push('\n');
                said.push_str(text);
            }
            _ => self.turns.push(Turn::Caller(text.to_owned())),
        }
        let surplus = self.turns.len().saturating_sub(MOST_TURNS);
        self.turns.drain(..surplus);
    }

    pub(super) fn agent(&mut self, said: Said) {
        let sentence = Sentence { said, heard: None };
        match self.turns.last_mut() {
            Some(Turn::Agent(sentences)) => sentences.push(sentence),
            _ => self.turns.push(Turn::Agent(vec![sentence])),
        }
    }

    /// Of `item` only `played` was heard, and nothing of the turn after it. A later word on the same turn counts.
    pub(super) fn truncate(&mut self, item: u64, played: Duration) {
        let turn = self.turns.iter_mut().rev().find_map(|turn| match turn {
            Turn::Agent(sentences) if sentences.iter().any(|sentence| sentence.said.item == item) => Some(sentences),
            _ => None,
        });
        for sentence in turn.into_iter().flatten() {
            sentence.heard = match sentence.said.item.cmp(&item) {
                Ordering::Less => None,
                Ordering::Equal => Some(played),
                Ordering::Greater => Some(Duration::ZERO),
            };
        }
    }

    pub(super) fn messages(&self) -> Vec<Message> {
        let system = Message { role: Role::System, content: self.system.clone() };
        let turns = self.turns.iter().map(|turn| match turn {
            Turn::Caller(text) => Message { role: Role::User, content: text.clone() },
            Turn::Agent(sentences) => Message { role: Role::Assistant, content: heard_of(sentences) },
        });
        let mut messages: Vec<Message> =
            [system].into_iter().chain(turns.filter(|turn| !turn.content.is_empty())).collect();
        // A turn of which nothing was heard brings two turns of the caller together.
        messages.dedup_by(|next, previous| {
            let same = next.role == Role::User && previous.role == Role::User;
            if same {
                previous.content.push('\n');
                previous.content.push_str(&next.content);
            }
            same
        });
        messages
    }
}

fn heard_of(sentences: &[Sentence]) -> String {
    let heard: Vec<String> = sentences.iter().map(Sentence::heard).filter(|text| !text.is_empty()).collect();
    heard.join(" ")
}

impl Sentence {
    /// The words that were heard, with a mark where they were cut off.
    fn heard(&self) -> String {
        let Some(played) = self.heard.filter(|played| *played < self.said.length) else {
            return self.said.text.clone();
        };
        let share = played.as_secs_f64() / self.said.length.as_secs_f64();
        let words: Vec<&str> = self.said.text.split_whitespace().collect();
        let count = (words.len() as f64 * share).floor() as usize;
        if count == 0 { String::new() } else { format!("{}…", words[..count].join(" ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(item: u64, text: &str) -> Said {
        Said { item, text: text.to_owned(), length: Duration::from_secs(4) }
    }

    fn told(history: &History) -> Vec<(Role, String)> {
        history.messages().into_iter().map(|message| (message.role, message.content)).collect()
    }

    #[test]
    fn an_interrupted_turn_holds_only_what_was_heard() {
        let mut history = History::new("Be kind.".into());
        history.caller("Hi");
        history.agent(said(1, "One two three four."));
        history.agent(said(2, "Five six seven eight."));
        history.agent(said(3, "Nine."));
        history.truncate(2, Duration::from_secs(2));
        history.caller("Stop");
        assert_eq!(
            told(&history),
            [
                (Role::System, "Be kind.".into()),
                (Role::User, "Hi".into()),
                (Role::Assistant, "One two three four. Five six…".into()),
                (Role::User, "Stop".into())
            ]
        );
        history.truncate(3, Duration::from_secs(9));
        assert!(told(&history)[2].1.ends_with("eight. Nine."), "the latest word counts");
        history.truncate(1, Duration::ZERO);
        assert_eq!(told(&history)[1], (Role::User, "Hi\nStop".into()), "nothing heard: the turn never was");
        history.truncate(99, Duration::ZERO);
    }

    #[test]
    fn forgets_the_oldest_turns() {
        let mut history = History::new(String::new());
        for n in 0..200 {
            history.caller(&format!("{n}"));
            history.agent(said(n, "x"));
        }
        assert!(told(&history).len() <= MOST_TURNS + 2);
    }
}
