//! The agent's calls of tools: those that concern the sound are carried out here, the others are the actor's.

use serde_json::{Value, json};

use super::{Bridge, Report};
use crate::ai::{Command, tools};
use crate::call::keys::Keys;
use crate::media::Playout;

/// Tools that may wait for the actor at once. A service that asks for more is out of its mind.
const MOST: usize = 16;

/// Those that wait for their answer, by the names of their calls.
#[derive(Default)]
pub(super) struct Calls(Vec<String>);

impl Calls {
    /// Whether an answer to `id` is still wanted; it is so once.
    pub(super) fn is_answered(&mut self, id: &str) -> bool {
        let known = self.0.iter().position(|call| call == id);
        known.map(|at| self.0.swap_remove(at)).is_some()
    }

    pub(super) fn any(&self) -> bool {
        !self.0.is_empty()
    }

    pub(super) fn waits(&self, id: &str) -> bool {
        self.0.iter().any(|call| call == id)
    }

    fn begin(&mut self, id: &str) -> bool {
        let room = self.0.len() < MOST;
        if room {
            self.0.push(id.to_owned());
        }
        room
    }

    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

impl Bridge {
    pub(super) fn on_tool_call(&mut self, id: String, name: &str, arguments: Value, playout: &mut dyn Playout) {
        let text = |name: &str| arguments.get(name).and_then(Value::as_str).map(str::to_owned);
        match name {
            tools::END_CALL => {
                self.answer(id, json!({ "ok": true }));
                self.leave(Some(text("reason").unwrap_or_default()), playout);
            }
            tools::SEND_DTMF => match text("keys").and_then(|keys| Keys::parse(&keys)) {
                Some(keys) => {
                    self.answer(id, json!({ "ok": true }));
                    playout.send_keys(&keys.into_text());
                }
                None => self.answer(id, json!({ "error": "keys: one to 32 of 0 to 9, * and #" })),
            },
            tools::TRANSFER_CALL => match text("destination") {
                Some(destination) => {
                    self.answer(id, json!({ "ok": true }));
                    self.want_person(destination, text("whisper"), playout);
                }
                None => self.answer(id, json!({ "error": "there is nobody to transfer the call to" })),
            },
            _ if !self.calls.begin(&id) => {
                self.answer(id, json!({ "error": "too many tools at once; wait for the others" }));
            }
            name => {
                let (name, after) = (name.to_owned(), self.numbers.highest);
                self.report(Report::ToolCalled { id, name, arguments, after });
            }
        }
    }

    pub(super) fn on_tool_cancelled(&mut self, id: String) {
        if self.calls.is_answered(&id) {
            self.report(Report::ToolCancelled { id });
        }
    }

    fn answer(&mut self, id: String, output: Value) {
        self.session.command(Command::ToolResult { id, output });
    }
}
