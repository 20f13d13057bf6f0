//! What becomes of a call whose agent has failed.
//!
//! | The call | `[engine]` | What follows |
//! |---|---|---|
//! | is not answered yet, or says goodbye | | failed, as without these settings |
//! | is live | neither | failed |
//! | is live | `fault_sentence` | the sentence; failed |
//! | is live, the number has a person | `fault_transfer` | the sentence if there is one; the person is called; nobody came: failed |
//!
//! Whatever the call came to, its record says why the agent failed.

use super::Actor;
use crate::ai::SessionFactory;
use crate::call::machine::{Event, Settlement, State};
use crate::call::record::Call;
use crate::call::room::Room;

/// What a caller hears then.
pub(super) fn sentence(room: &Room, call: &Call) -> Option<SessionFactory> {
    let text = room.config.engine.fault_sentence.clone()?;
    Some(room.engines.announcement(text, call.voice.clone(), call.language.clone()))
}

impl Actor {
    /// The caller is being told. A call that nobody has answered has nobody to tell; one that ends anyway just ends.
    pub(super) fn faulted(&mut self, message: String) -> Option<Event> {
        tracing::info!(call = %self.call.id, "the voice AI failed, and the caller is told");
        self.voice.fault = Some(message.clone());
        let live = matches!(self.state, State::Talking { .. } | State::Answering { .. });
        (!live).then_some(Event::AgentFailed(message))
    }

    /// The agent is through, or has failed without a word: what the machine is told of it, unless the caller goes on to a
    /// person.
    pub(super) async fn after_fault(&mut self, event: Event) -> Option<Event> {
        let ends = matches!(event, Event::AgentDone | Event::AgentFailed(_));
        let Some(message) = self.voice.fault.clone().filter(|_| ends) else { return Some(event) };
        let live = matches!(self.state, State::Talking { .. }) && !self.is_being_transferred();
        if live
            && self.room.config.engine.fault_transfer
            && let Some(person) = self.voice.person.take()
        {
            self.transfer_for_agent(person.destination, None).await;
        }
        Some(Event::AgentFailed(message))
    }

    /// The settlement, with the fault in it if it has no detail of its own.
    pub(super) fn with_fault(&self, settlement: &Settlement) -> Settlement {
        let mut settlement = settlement.clone();
        let (Settlement::Final(ending) | Settlement::Retry { ending, .. }) = &mut settlement;
        if let Some(fault) = self.voice.fault.as_ref().filter(|_| ending.detail.is_empty()) {
            ending.detail = format!("the voice AI failed: {fault}");
        }
        settlement
    }
}
