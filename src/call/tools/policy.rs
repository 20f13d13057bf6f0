//! An agent that must confirm: the first tool of a call that changes something needs the caller's yes.
//!
//! | State | What happens | Next |
//! |---|---|---|
//! | free | | everything goes through |
//! | nothing asked | a tool that changes something | asked: the agent is told to repeat the details |
//! | asked | the agent speaks, and not what it had begun before it asked | repeated |
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

#[derive(Debug)]
struct Asked {
    name: String,
    arguments: Value,
    /// The agent's last item then.
    after: u64,
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

    /// The first sound of the agent's `item` is heard.
    pub(in crate::call) fn agent_speaks(&mut self, item: u64) {
        if let State::Asked(asked, stage @ Stage::Asked) = &mut self.0
            && item > asked.after
        {
            *stage = Stage::Repeated;
        }
    }

    /// The caller's speech begins, or a key was pressed.
    pub(in crate::call) fn caller_speaks(&mut self) {
        if let State::Asked(_, stage @ Stage::Repeated) = &mut self.0 {
            *stage = Stage::Answered;
        }
    }

    /// Whether a tool that changes something may be used now; `after`: the agent's last item.
    pub(super) fn allows(&mut self, name: &str, arguments: &Value, after: u64) -> bool {
        match &self.0 {
            State::Free => return true,
            State::Asked(asked, stage) if asked.name == name && asked.arguments == *arguments => {
                if *stage == Stage::Answered {
                    self.0 = State::Free;
                    return true;
                }
            }
            _ => {
                let asked = Asked { name: name.to_owned(), arguments: arguments.clone(), after };
                self.0 = State::Asked(asked, Stage::Asked);
            }
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
        assert!(free.allows("book", &book, 3) && free.allows("pay", &other, 3));

        let mut policy = Policy::new(true);
        assert!(!policy.allows("book", &book, 3), "asked");
        assert!(!policy.allows("book", &book, 3), "the same again");
        policy.caller_speaks();
        policy.agent_speaks(3);
        policy.caller_speaks();
        assert!(!policy.allows("book", &book, 3), "what was begun before is no repetition");
        assert!(!policy.allows("book", &book, 3), "what the caller said before the agent repeated it is no answer");
        policy.agent_speaks(4);
        assert!(!policy.allows("book", &book, 3), "repeated, but not answered");
        policy.caller_speaks();
        assert!(!policy.allows("book", &other, 3), "something else was confirmed");
        policy.agent_speaks(4);
        policy.caller_speaks();
        policy.agent_speaks(4);
        assert!(policy.allows("book", &other, 3), "answered");
        assert!(policy.allows("pay", &book, 3), "only the first one is confirmed");
    }

    #[test]
    fn another_tool_with_the_same_arguments_is_not_the_one_that_was_confirmed() {
        let mut policy = Policy::new(true);
        let same = json!({});
        assert!(!policy.allows("book", &same, 3));
        policy.agent_speaks(4);
        policy.caller_speaks();
        assert!(!policy.allows("cancel", &same, 3));
    }
}
