//! What was said so far, for a connection that continues another.

use std::collections::VecDeque;

/// Pieces that are kept, and octets of them in all; the oldest go first.
const PIECES: usize = 400;
const OCTETS: usize = 64 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Caller,
    Agent,
    /// What neither of them said.
    Note,
}

impl Role {
    pub fn word(self) -> &'static str {
        match self {
            Role::Caller => "user",
            Role::Agent => "assistant",
            Role::Note => "system",
        }
    }
}

#[derive(Debug, Default)]
pub struct History {
    said: VecDeque<(Role, u64, String)>,
    octets: usize,
}

impl History {
    /// `item`: of the agent, 0 otherwise.
    pub fn add(&mut self, role: Role, item: u64, text: &str) {
        let text = text.trim();
        if text.is_empty() {
            return;
        }
        self.octets += text.len();
        self.said.push_back((role, item, text.to_owned()));
        while self.said.len() > 1 && (self.said.len() > PIECES || self.octets > OCTETS) {
            if let Some((_, _, oldest)) = self.said.pop_front() {
                self.octets -= oldest.len();
            }
        }
    }

    /// Of `item` only this share was heard.
    pub fn cut(&mut self, item: u64, share: f64) {
        let Some(at) = self.said.iter().rposition(|(role, of, _)| *role == Role::Agent && *of == item) else { return };
        let text = &mut self.said[at].2;
        let before = text.len();
        text.truncate(heard(text, share).len());
        self.octets -= before - text.len();
        if text.is_empty() {
            self.said.remove(at);
        }
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (Role, &str)> {
        self.said.iter().map(|(role, _, text)| (*role, text.as_str()))
    }
}

/// The words of `text` that fit into `share` of it.
pub fn heard(text: &str, share: f64) -> &str {
    if share >= 1.0 {
        return text;
    }
    let end = text.floor_char_boundary((text.len() as f64 * share.max(0.0)) as usize);
    text[..end].rfind(char::is_whitespace).map_or("", |end| text[..end].trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_was_cut_is_remembered_as_far_as_it_was_heard() {
        let mut history = History::default();
        history.add(Role::Caller, 0, " hello ");
        history.add(Role::Agent, 1, "one two three four");
        history.add(Role::Agent, 2, "nothing of it");
        history.cut(1, 0.6);
        history.cut(2, 0.0);
        history.cut(9, 0.0);
        assert_eq!(history.iter().collect::<Vec<_>>(), [(Role::Caller, "hello"), (Role::Agent, "one two")]);
        assert_eq!(history.octets, "helloone two".len());
    }

    #[test]
    fn the_oldest_is_forgotten() {
        let mut history = History::default();
        for n in 0..2 * PIECES {
            history.add(Role::Caller, 0, &format!("{n}"));
        }
        assert_eq!(history.iter().count(), PIECES);
        assert_eq!(history.iter().next(), Some((Role::Caller, "400")));
        history.add(Role::Caller, 0, &"x".repeat(2 * OCTETS));
        assert_eq!((history.iter().count(), history.octets), (1, 2 * OCTETS));
    }
}
