//! What was said so far, as the chat endpoint is told it: an agent's turn holds only what the caller really heard, and each
//! call of a tool has a result.

use std::cmp::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::mouth::Said;
use super::calls::Called;
use super::wire::{Message, ToolCall};

/// Newest turns that are sent; older ones are forgotten.
const MOST_TURNS: usize = 60;

#[derive(Debug)]
pub(super) struct History {
    system: String,
    turns: Vec<Turn>,
    /// Calls so far.
    calls: u32,
}

#[derive(Debug)]
enum Turn {
    Caller(String),
    Agent(Answer),
}

/// What the endpoint wrote at one request.
#[derive(Debug)]
struct Answer {
    number: u64,
    sentences: Vec<Sentence>,
    uses: Vec<Use>,
}

#[derive(Debug)]
struct Sentence {
    said: Said,
    /// How much of it the caller heard; `None`: all.
    heard: Option<Duration>,
    /// That is our own guess; the call has not said so.
    guessed: bool,
}

/// A call of a tool.
#[derive(Debug)]
struct Use {
    id: String,
    name: String,
    arguments: Value,
    output: Option<Value>,
}

impl History {
    pub(super) fn new(system: String) -> History {
        History { system, turns: Vec::new(), calls: 0 }
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
        self.forget();
    }

    fn forget(&mut self) {
        let surplus = self.turns.len().saturating_sub(MOST_TURNS);
        self.turns.drain(..surplus);
    }

    pub(super) fn agent(&mut self, said: Said) {
        let number = said.answer;
        self.in_answer(number, |answer| answer.sentences.push(Sentence { said, heard: None, guessed: false }));
    }

    /// A tool is called in `answer`; its name among all calls of the conversation.
    pub(super) fn call(&mut self, answer: u64, called: &Called) -> String {
        self.calls += 1;
        let mut uses = self.turns.iter().flat_map(Turn::uses);
        // Some servers number the calls of each answer anew. Nine letters and digits suit the strictest of them.
        let id = match &called.id {
            id if !id.is_empty() && uses.all(|known| known.id != *id) => id.clone(),
            _ => format!("call{:05}", self.calls),
        };
        let (name, arguments) = (called.name.clone(), called.arguments.clone().unwrap_or_else(|| json!({})));
        let call = Use { id: id.clone(), name, arguments, output: None };
        self.in_answer(answer, |answer| answer.uses.push(call));
        id
    }

    /// What came of a call; a later word on it counts.
    pub(super) fn result(&mut self, id: &str, output: Value) {
        let mut uses = self.turns.iter_mut().rev().filter_map(|turn| match turn {
            Turn::Agent(answer) => answer.uses.iter_mut().find(|known| known.id == id),
            Turn::Caller(_) => None,
        });
        if let Some(known) = uses.next() {
            known.output = Some(output);
        }
    }

    /// A new one if there is none of this number.
    fn in_answer(&mut self, number: u64, change: impl FnOnce(&mut Answer)) {
        let known = self.turns.iter_mut().rev().find_map(|turn| match turn {
            Turn::Agent(answer) if answer.number == number => Some(answer),
            _ => None,
        });
        if let Some(answer) = known {
            return change(answer);
        }
        let mut answer = Answer { number, sentences: Vec::new(), uses: Vec::new() };
        change(&mut answer);
        self.turns.push(Turn::Agent(answer));
        self.forget();
    }

    /// Of `item` only `played` was heard, and nothing after it. A later word on the same counts.
    pub(super) fn truncate(&mut self, item: u64, played: Duration) {
        self.cut(item, played, false);
    }

    /// The same, by our own clock, until the call says what is true.
    pub(super) fn guess(&mut self, item: u64, played: Duration) {
        self.cut(item, played, true);
    }

    fn cut(&mut self, item: u64, played: Duration, guessed: bool) {
        if !self.sentences().any(|sentence| sentence.said.item == item) {
            return;
        }
        for sentence in self.sentences() {
            let heard = match sentence.said.item.cmp(&item) {
                // The call tells of every item that it cut.
                Ordering::Less if !sentence.guessed => continue,
                Ordering::Less => None,
                Ordering::Equal => Some(played),
                Ordering::Greater => Some(Duration::ZERO),
            };
            (sentence.heard, sentence.guessed) = (heard, guessed);
        }
    }

    /// All of `item` was heard.
    pub(super) fn played(&mut self, item: u64) {
        let of = self.sentences().filter(|sentence| sentence.said.item == item);
        of.for_each(|sentence| (sentence.heard, sentence.guessed) = (None, false));
    }

    fn sentences(&mut self) -> impl Iterator<Item = &mut Sentence> {
        self.turns.iter_mut().flat_map(|turn| match turn {
            Turn::Agent(answer) => answer.sentences.as_mut_slice(),
            Turn::Caller(_) => &mut [],
        })
    }

    pub(super) fn messages(&self) -> Vec<Message> {
        let mut messages = vec![Message::System { content: self.system.clone() }];
        for turn in &self.turns {
            match turn {
                Turn::Caller(text) => match messages.last_mut() {
                    // A turn of which nothing was heard brings two turns of the caller together.
                    Some(Message::User { content }) => {
                        content.push('\n');
                        content.push_str(text);
                    }
                    _ => messages.push(Message::User { content: text.clone() }),
                },
                Turn::Agent(answer) => answer.tell(&mut messages),
            }
        }
        messages
    }
}

impl Turn {
    fn uses(&self) -> &[Use] {
        match self {
            Turn::Agent(answer) => &answer.uses,
            Turn::Caller(_) => &[],
        }
    }
}

impl Answer {
    fn tell(&self, messages: &mut Vec<Message>) {
        let heard: Vec<String> = self.sentences.iter().map(Sentence::heard).filter(|text| !text.is_empty()).collect();
        let content = (!heard.is_empty()).then(|| heard.join(" "));
        if content.is_none() && self.uses.is_empty() {
            return;
        }
        let call = |call: &Use| ToolCall::new(&call.id, &call.name, &call.arguments);
        messages.push(Message::Assistant { content, tool_calls: self.uses.iter().map(call).collect() });
        messages.extend(self.uses.iter().map(|call| Message::Tool {
            tool_call_id: call.id.clone(),
            content: match &call.output {
                Some(Value::String(text)) => text.clone(),
                Some(output) => output.to_string(),
                None => cancelled().to_string(),
            },
        }));
    }
}

/// What the endpoint is told of a call whose result nobody waited for.
pub(super) fn cancelled() -> Value {
    json!({ "error": "cancelled: the conversation went on before there was a result" })
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
        Said { answer: item / 10, item, text: text.to_owned(), length: Duration::from_secs(4) }
    }

    fn called(id: &str, name: &str) -> Called {
        Called { id: id.into(), name: name.into(), arguments: Some(json!({ "n": 1 })) }
    }

    fn told(history: &History) -> Vec<(&'static str, String)> {
        let tell = |message| match message {
            Message::System { content } => ("system", content),
            Message::User { content } => ("user", content),
            Message::Assistant { content, tool_calls } => {
                let calls = serde_json::to_value(&tool_calls).expect("JSON");
                let calls = calls.as_array().expect("calls").iter().map(|call| format!(" +{}", call["id"]));
                ("assistant", content.into_iter().chain(calls).collect())
            }
            Message::Tool { tool_call_id, content } => ("tool", format!("{tool_call_id}: {content}")),
        };
        history.messages().into_iter().map(tell).collect()
    }

    #[test]
    fn an_interrupted_turn_holds_only_what_was_heard() {
        let mut history = History::new("Be kind.".into());
        history.caller("Hi");
        history.agent(said(1, "One two three four."));
        history.agent(said(2, "Five six seven eight."));
        history.agent(said(3, "Nine."));
        history.guess(2, Duration::from_secs(2));
        history.caller("Stop");
        assert_eq!(
            told(&history),
            [
                ("system", "Be kind.".into()),
                ("user", "Hi".into()),
                ("assistant", "One two three four. Five six…".into()),
                ("user", "Stop".into())
            ]
        );
        history.truncate(3, Duration::from_secs(9));
        assert!(told(&history)[2].1.ends_with("eight. Nine."), "the call knows better");
        history.truncate(1, Duration::ZERO);
        assert_eq!(told(&history)[1], ("user", "Hi\nStop".into()), "nothing heard: the turn never was");
        history.played(1);
        assert_eq!(told(&history)[2].1, "One two three four.");
        history.truncate(99, Duration::ZERO);
        history.played(99);
    }

    #[test]
    fn every_item_that_the_call_cut_keeps_what_was_heard_of_it() {
        let mut history = History::new(String::new());
        for (item, text) in [(1, "One two three four."), (2, "Five six."), (11, "Seven.")] {
            history.agent(said(item, text));
        }
        history.guess(1, Duration::from_secs(3));
        for (item, played) in [(1, 2), (2, 0), (11, 0)] {
            history.truncate(item, Duration::from_secs(played));
        }
        assert_eq!(told(&history)[1..], [("assistant", "One two…".to_owned())]);
    }

    #[test]
    fn each_call_has_a_name_of_its_own_and_a_result_although_none_came() {
        let mut history = History::new(String::new());
        history.caller("Look.");
        let first = history.call(1, &called("a", "look"));
        let [second, third] = ["a", ""].map(|id| history.call(1, &called(id, "look")));
        assert_eq!([&*first, &*second, &*third], ["a", "call00002", "call00003"]);
        // Said later than it was written.
        history.agent(said(12, "One moment."));
        history.result("a", json!({ "n": 2 }));
        history.result("call00003", "two".into());
        history.agent(said(21, "It is two."));
        history.caller("Thanks.");
        let cancelled = format!("call00002: {}", cancelled());
        assert_eq!(
            told(&history)[1..],
            [
                ("user", "Look.".to_owned()),
                ("assistant", "One moment. +\"a\" +\"call00002\" +\"call00003\"".into()),
                ("tool", "a: {\"n\":2}".into()),
                ("tool", cancelled),
                ("tool", "call00003: two".into()),
                ("assistant", "It is two.".into()),
                ("user", "Thanks.".into()),
            ]
        );
        history.result("call00002", "late".into());
        assert_eq!(told(&history)[4].1, "call00002: late");
        history.truncate(12, Duration::ZERO);
        assert!(told(&history)[2].1.starts_with(" +"), "what was not heard is dropped, the calls are not");
        let message = serde_json::to_value(&history.messages()[2]).expect("JSON");
        assert_eq!((&message["role"], &message["content"]), (&json!("assistant"), &Value::Null));
        assert_eq!(message["tool_calls"][0]["function"], json!({ "name": "look", "arguments": "{\"n\":1}" }));
    }

    #[test]
    fn forgets_the_oldest_turns() {
        let mut history = History::new(String::new());
        for n in 0..200 {
            history.caller(&format!("{n}"));
            history.agent(said(10 * n, "x"));
            history.call(n, &called("", "look"));
        }
        assert_eq!(history.turns.len(), MOST_TURNS);
        let results = told(&history).iter().filter(|(role, _)| *role == "tool").count();
        assert_eq!(results, MOST_TURNS / 2, "a call and its result go together");
    }
}
