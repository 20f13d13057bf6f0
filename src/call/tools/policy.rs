//! An agent that must confirm: the first tool of a call that changes something needs the caller's yes.
//!
//! | State | What happens | Next |
//! |---|---|---|
//! | free | | everything goes through |
//! | nothing asked | a tool that changes something | asked: the agent is told to repeat the details |
//! | asked | the agent speaks | repeated |
//! | repeated | the caller speaks, or presses a key | answered |
//! | answered | the same tool with the same arguments | free, and it goes through |
//! | asked, repeated | the same again | refused once more |
//! | asked, repeated, answered | another tool, or other arguments | asked, for that one |
//!
//! Whether the caller said yes is the agent's to understand; that the caller was asked is not.

use serde_json::{Value, json};

#[derive(Debug, Default)]
pub(in crate::call) struct Policy(State);

#[derive(Debug, Default)]
enum State {
    #[default]
    Free,
    Nothing,
    Asked(Asked, Stage),
}

#[derive(Debug, PartialEq)]
struct Asked {
    name: String,
    arguments: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Asked,
    Repeated,
    Answered,
}

impl Policy {
    pub(super) fn new(confirms: bool) -> Policy {
        Policy(if confirms { State::Nothing } else { State::Free })
    }

    /// The agent's speech begins.
    pub(in crate::call) fn agent_speaks(&mut self) {
        if let State::Asked(_, stage @ Stage::Asked) = &mut self.0 {
            *stage = Stage::Repeated;
        }
    }

    /// The caller's speech begins, or a key was pressed.
    pub(in crate::call) fn caller_speaks(&mut self) {
        if let State::Asked(_, stage @ Stage::Repeated) = &mut self.0 {
            *stage = Stage::Answered;
        }
    }

    /// Whether a tool that changes something may be used now.
    pub(super) fn allows(&mut self, name: &str, arguments: &Value) -> bool {
        let wanted = Asked { name: name.to_owned(), arguments: arguments.clone() };
        match &self.0 {
            State::Free => return true,
            State::Asked(asked, stage) if *asked == wanted => {
                if *stage == Stage::Answered {
                    self.0 = State::Free;
                    return true;
                }
            }
            _ => self.0 = State::Asked(wanted, Stage::Asked),
        }
        false
    }
}

/// What the agent is told in place of a result.
pub(super) fn instruction() -> Value {
    json!({
        "confirmation_needed": "Nothing was done yet. Repeat the details to the caller and ask whether they are right. \
                                Once the caller has said yes, call this tool again with the very same arguments."
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_of_the_table() {
        let (book, other) = (json!({ "day": "monday" }), json!({ "day": "tuesday" }));
        let mut free = Policy::new(false);
        assert!(free.allows("book", &book) && free.allows("pay", &other));

        let mut policy = Policy::new(true);
        assert!(!policy.allows("book", &book), "asked");
        assert!(!policy.allows("book", &book), "the same again");
        policy.caller_speaks();
        assert!(!policy.allows("book", &book), "what the caller said before the agent repeated it is no answer");
        policy.agent_speaks();
        assert!(!policy.allows("book", &book), "repeated, but not answered");
        policy.caller_speaks();
        assert!(!policy.allows("book", &other), "something else was confirmed");
        policy.agent_speaks();
        policy.caller_speaks();
        policy.agent_speaks();
        assert!(policy.allows("book", &other), "answered");
        assert!(policy.allows("pay", &book), "only the first one is confirmed");
    }

    #[test]
    fn another_tool_with_the_same_arguments_is_not_the_one_that_was_confirmed() {
        let mut policy = Policy::new(true);
        let same = json!({});
        assert!(!policy.allows("book", &same));
        policy.agent_speaks();
        policy.caller_speaks();
        assert!(!policy.allows("cancel", &same));
    }
}
