//! The driver's part in calls to phones and in text messages.

use std::collections::HashMap;

use tokio::sync::{mpsc, oneshot};

use super::{Driver, IncomingMessage};
use crate::sip::agent::{MessageKey, MessageOutcome, ReceivedMessage};
use crate::sip::endpoint::phones::PhoneOrder;

/// Where texts go, and who waits for the fate of ours.
pub(in crate::sip::endpoint) struct Texts {
    incoming: mpsc::Sender<IncomingMessage>,
    waiting: HashMap<MessageKey, oneshot::Sender<MessageOutcome>>,
}

impl Texts {
    pub fn new(incoming: mpsc::Sender<IncomingMessage>) -> Texts {
        Texts { incoming, waiting: HashMap::new() }
    }
}

/// Seconds after which a text that found no place may come again.
const TEXTS_RETRY: std::time::Duration = std::time::Duration::from_secs(5);

impl Driver {
    pub(super) fn take_phone_order(&mut self, order: PhoneOrder) {
        let now = self.clock.now();
        match order {
            PhoneOrder::Text { key, order, done } => {
                self.texts.waiting.insert(key, done);
                self.agent.send_message(key, &order, now);
            }
            PhoneOrder::Answer { key, code, retry_after } => self.agent.answer_message(&key, code, retry_after, now),
            PhoneOrder::Whereabouts { user, answer } => {
                // Whoever asked may have gone.
                let _ = answer.send(self.agent.address_towards_extension(&user, now));
            }
        }
    }

    pub(super) fn deliver_text(&mut self, message: ReceivedMessage) {
        let key = message.key.clone();
        let Ok(place) = self.texts.incoming.try_reserve() else {
            return self.agent.answer_message(&key, 503, Some(TEXTS_RETRY), self.clock.now());
        };
        place.send(IncomingMessage::new(message, self.inbox.clone()));
    }

    pub(super) fn text_done(&mut self, key: MessageKey, outcome: MessageOutcome) {
        if let Some(done) = self.texts.waiting.remove(&key) {
            let _ = done.send(outcome);
        }
    }
}
