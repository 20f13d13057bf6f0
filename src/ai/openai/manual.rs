//! A service that does not look for turns (`turn_detection` "none") is told of them by the box's own ears.

use super::render;
use super::talk::{Talk, send};
use crate::ai::remote::Desk;

impl Talk {
    /// The caller began to speak: a running answer is not wanted any more.
    pub fn caller_began(&mut self, desk: &mut Desk) {
        if self.call.finds_no_turns() {
            self.caller_speaks = true;
            self.stop_answer(true, desk);
        }
    }

    /// The caller has finished: what was heard since the last time is the turn, and wants an answer.
    pub fn caller_stopped(&mut self, desk: &mut Desk) {
        if self.call.finds_no_turns() {
            self.caller = Some(desk.now);
            self.caller_speaks = false;
            send(desk, &render::commit());
            self.ask(None, desk);
        }
    }
}
