//! What was said in a call, for a connection that knows nothing of it.

use std::collections::VecDeque;
use std::time::Duration;

/// Octets of words that are kept; the oldest go first.
const MOST: usize = 64 << 10;

/// No item of a session has this number.
const FORMER: u64 = u64::MAX;

/// Both sides' words, as far as they were heard.
#[derive(Debug, Default)]
pub struct History {
    said: VecDeque<Said>,
    octets: usize,
}

#[derive(Debug)]
struct Said {
    /// The item of the agent; `None`: the caller.
    item: Option<u64>,
    text: String,
    /// Length of the item's sound.
    sound: Duration,
    /// What comes next is another sentence.
    over: bool,
}

impl History {
    /// What another agent said, before the items of this one.
    pub fn former(&mut self, words: &str) {
        self.add(Some(FORMER), words, " ");
        self.close(Some(FORMER), true);
    }

    /// Words of the caller; `last`: the next belong to another turn.
    pub fn caller(&mut self, words: &str, last: bool) {
        self.add(None, words, " ");
        self.close(None, last);
    }

    /// A piece of what the agent says in `item`.
    pub fn agent(&mut self, item: u64, piece: &str) {
        self.add(Some(item), piece, "");
    }

    pub fn sounded(&mut self, item: u64, span: Duration) {
        if let Some(said) = self.said.iter_mut().rev().find(|said| said.item == Some(item)) {
            said.sound += span;
        } else {
            self.said.push_back(Said { item: Some(item), text: String::new(), sound: span, over: false });
        }
    }

    /// Only `played` of `item` was heard.
    pub fn cut(&mut self, item: u64, played: Duration) {
        let Some(said) = self.said.iter_mut().rev().find(|said| said.item == Some(item)) else { return };
        if played < said.sound {
            let part = played.as_secs_f64() / said.sound.as_secs_f64();
            let end = said.text.floor_char_boundary((said.text.len() as f64 * part) as usize);
            let end = said.text[..end].rfind(char::is_whitespace).unwrap_or(0);
            self.octets -= said.text.len() - end;
            said.text.truncate(end);
        }
        said.over = true;
    }

    pub fn is_empty(&self) -> bool {
        self.said.iter().all(|said| said.text.trim().is_empty())
    }

    /// The caller spoke last.
    pub fn wants_answer(&self) -> bool {
        let last = self.said.iter().rev().find(|said| !said.text.trim().is_empty());
        last.is_some_and(|said| said.item.is_none())
    }

    /// In turns: `user` and `model` in alternation, and the words.
    pub fn turns(&self) -> Vec<(&'static str, String)> {
        let mut turns: Vec<(&'static str, String)> = Vec::new();
        for said in self.said.iter().filter(|said| !said.text.trim().is_empty()) {
            let (role, text) = (if said.item.is_some() { "model" } else { "user" }, said.text.trim());
            match turns.last_mut() {
                Some((last, words)) if *last == role => {
                    words.push(' ');
                    words.push_str(text);
                }
                _ => turns.push((role, text.to_owned())),
            }
        }
        turns
    }

    fn add(&mut self, item: Option<u64>, words: &str, between: &str) {
        if words.is_empty() {
            return;
        }
        // Words may come after others have begun to speak.
        let known = self.said.iter_mut().rev().take(4).find(|said| said.item == item && !said.over);
        let said = match known {
            Some(said) => said,
            None => self.said.push_back_mut(Said { item, text: String::new(), sound: Duration::ZERO, over: false }),
        };
        let before = said.text.len();
        if before > 0 {
            said.text.push_str(between);
        }
        said.text.push_str(words);
        self.octets += said.text.len() - before;
        while self.octets > MOST
            && let Some(oldest) = self.said.pop_front()
        {
            self.octets -= oldest.text.len();
        }
    }

    fn close(&mut self, item: Option<u64>, over: bool) {
        if over && let Some(said) = self.said.iter_mut().rev().find(|said| said.item == item) {
            said.over = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(value: u64) -> Duration {
        Duration::from_millis(value)
    }

    #[test]
    fn both_sides_words_are_put_into_turns() {
        let mut history = History::default();
        assert!(history.is_empty() && !history.wants_answer());
        history.agent(1, "Good morn");
        history.agent(1, "ing.");
        history.sounded(1, ms(500));
        history.agent(2, "Who is there?");
        history.caller("it is", false);
        history.caller("Anna", true);
        history.caller("Anna Bo", true);
        assert!(history.wants_answer());
        history.agent(3, " Thanks.");
        assert!(!history.wants_answer());
        let turns = history.turns();
        let shown: Vec<(&str, &str)> = turns.iter().map(|(role, text)| (*role, text.as_str())).collect();
        assert_eq!(
            shown,
            [("model", "Good morning. Who is there?"), ("user", "it is Anna Anna Bo"), ("model", "Thanks.")]
        );
    }

    #[test]
    fn what_was_not_heard_was_not_said() {
        let mut history = History::default();
        history.sounded(1, ms(2_000));
        history.agent(1, "one two three four");
        history.cut(1, ms(1_000));
        assert_eq!(history.turns(), [("model", "one two".to_owned())]);
        history.agent(1, " late");
        history.cut(9, ms(1));
        history.sounded(2, ms(10));
        history.agent(2, "gone");
        history.cut(2, ms(0));
        assert_eq!(history.turns(), [("model", "one two late".to_owned())]);
    }

    #[test]
    fn it_does_not_grow_without_end() {
        let mut history = History::default();
        for item in 0..10_000 {
            history.agent(item, "twenty octets of text");
            history.caller("and an answer to it", true);
        }
        let octets: usize = history.turns().iter().map(|(_, text)| text.len()).sum();
        assert!(octets <= MOST && octets > MOST / 2, "{octets}");
        assert!(history.said.len() < 4_000);
    }
}
