//! What becomes of a conversation whose connection is gone. Nothing that was heard is asked for again:
//!
//! | What ran on it | What is owed on the next |
//! |---|---|
//! | an answer of which nothing was heard | it, as it was asked for |
//! | an answer that broke off | its rest |
//! | an answer of which all sound came, or that the caller cut off | nothing |
//! | nothing, and the caller has just spoken | an answer; where the words were lost, the question for them |
//! | a tool | its result, as a note, and an answer |

use serde_json::Value;

use super::{MOST, NO_ANSWER, Talk};
use crate::ai::engine::Event;
use crate::ai::openai::history::Role;
use crate::ai::openai::item::Item;
use crate::ai::remote::Desk;
use crate::ai::tools;

/// For an answer that a lost connection broke off.
const GO_ON: &str = "[The line broke while you were speaking. The caller heard your last message as far as it is written. \
                     Go on right after its last word and repeat nothing of it.]";
/// For a caller whose words went down with a connection.
const ASK_AGAIN: &str = "[The line broke, and the caller's last words were lost. Ask the caller to say them again.]";

impl Talk {
    /// The connection is gone, or about to be: what ran on it is over. What of it must be asked for again is owed; nothing
    /// that was heard is.
    pub fn moved(&mut self, desk: &mut Desk) {
        let running = self.running.take();
        let asked = std::mem::take(&mut self.asked);
        let wish = self.wish.take();
        let of = |item: &Item| item.line == self.line && running.as_ref() == Some(&item.answer) && item.samples > 0;
        let heard = self.items.iter().any(of);
        let unfinished = self.items.iter().any(|item| of(item) && !item.ended);
        let cut = running.as_ref().is_some_and(|name| self.cut.contains(name));
        self.end_items(desk);
        if cut {
            // The caller speaks: the next answer is one to that.
        } else if unfinished {
            self.owed = Some(Some(format!("{}\n\n{GO_ON}", self.call.instructions)));
        } else if running.is_some() && heard {
            desk.event(Event::TurnEnd);
        } else if asked || running.is_some() {
            self.owed.get_or_insert(wish);
        } else if self.caller.is_some_and(|since| desk.now.saturating_duration_since(since) < NO_ANSWER)
            && !self.caller_speaks
        {
            // An answer was about to come.
            let lost = (self.unwritten > 0).then(|| format!("{}\n\n{ASK_AGAIN}", self.call.instructions));
            self.owed.get_or_insert(lost);
        }
        for (call, output) in std::mem::take(&mut self.results) {
            let name = self.calls.iter().find(|(known, _)| *known == call).map_or("", |(_, name)| name);
            if tools::goes_on(name, &output) {
                self.history.add(Role::Note, 0, &note(name, &output));
                self.owed.get_or_insert(None);
            }
            self.calls.retain(|(known, _)| *known != call);
        }
        self.stranded.extend(self.calls.drain(..));
        let surplus = self.stranded.len().saturating_sub(MOST);
        self.stranded.drain(..surplus);
        self.line += 1;
        self.unwritten = 0;
        self.heard = Default::default();
        if std::mem::take(&mut self.caller_speaks) {
            // Nobody will say when that ends.
            desk.event(Event::SpeechStopped { at: desk.now });
        }
    }
}

/// The result of a tool that was called over a connection that is gone.
pub fn note(name: &str, output: &Value) -> String {
    format!("The tool {name}, which you called, answered: {output}")
}
