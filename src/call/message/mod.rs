//! Text messages (SMS over SIP MESSAGE): taken in, sent, and kept.
//!
//! Orders of the API and texts of trunks and extensions flow in; records, events and texts to the endpoint flow out. A
//! text is acknowledged, to the peer or to the API, once it is on disk with its event.
//!
//! | Status | Input | Record and event | Next |
//! |---|---|---|---|
//! | – | text comes in, for the first time | written, `message_received` | received |
//! | received | the same text again (Call-ID, CSeq, From tag) within a day | nothing | received |
//! | – | order of the API, within the dial policy | written | queued |
//! | any | the same order under the same idempotency key | nothing | as it was |
//! | queued | due, 2xx | `message_sent` | sent |
//! | queued | due, 408, 480, 5xx, silence or no way, tries left | next try noted | queued |
//! | queued | due, the same, no tries left | `message_failed` | failed |
//! | queued | due, any other refusal | `message_failed` | failed |
//! | queued | due, no longer within the dial policy | `message_failed` | failed |
//! | received, sent, failed | older than `[state] message_days` | removed | – |
//! | sent | delivery report | `message_delivered` or `message_failed` | sent with its fate |
//!
//! Every try of one text carries the same Call-ID and CSeq, so that a peer whose answer was lost can know it again. What
//! was under way when the box stopped is tried again.

mod inbound;
mod outbound;
mod record;
mod send;
mod tables;
mod trim;

use std::sync::Arc;

use uuid::Uuid;

pub use record::{Delivery, Message, MessagePage, MessageStatus};
pub use send::{SendError, SendMessage, Sending};
#[cfg(test)]
pub(crate) use trim::tests;
pub use trim::trim;

use super::record::Direction;
use super::room::Room;
use crate::clock::Clock;
use crate::events::{Event, EventKind};
use crate::store::StoreError;

/// Handle on text messages; cheap to clone.
#[derive(Clone)]
pub struct Messages {
    room: Arc<Room>,
}

impl Messages {
    /// Begins to take texts in and to send what waits.
    pub(super) fn start(room: &Arc<Room>) -> Messages {
        let messages = Messages { room: Arc::clone(room) };
        if let Some(texts) = room.endpoint.take_messages() {
            tokio::spawn(inbound::run(Arc::clone(room), texts));
        }
        tokio::spawn(outbound::run(Arc::clone(room)));
        messages
    }

    /// Takes an order; returns once it is on disk, never waits for the peer.
    pub async fn send(&self, order: SendMessage) -> Result<Sending, SendError> {
        send(&self.room, order).await
    }

    pub fn message(&self, organization: Uuid, id: Uuid) -> Result<Option<Message>, StoreError> {
        record::message(&self.room.store, organization, id)
    }

    /// Newest first, those older than `before`.
    pub fn messages(&self, organization: Uuid, before: Option<Uuid>, limit: usize) -> Result<MessagePage, StoreError> {
        record::page(&self.room.store, organization, before, limit)
    }
}

/// Takes an order; returns once it is on disk, never waits for the peer.
pub(super) async fn send(room: &Room, order: SendMessage) -> Result<Sending, SendError> {
    let sending = send::accept(room, order).await?;
    if !sending.replayed {
        room.texts_due.notify_one();
    }
    Ok(sending)
}

/// An event about `message` as it stands. The text is part of it: a subscriber wants to read what came in.
fn event(message: &Message, kind: EventKind, clock: &Clock) -> Event {
    Event {
        id: clock.id(),
        organization: message.organization,
        at: clock.utc(),
        kind,
        subject: message.id,
        data: message.shown(),
    }
}

fn count(direction: Direction, status: &'static str) {
    let direction = match direction {
        Direction::Inbound => "inbound",
        Direction::Outbound => "outbound",
    };
    metrics::counter!("trunkline_messages_total", "direction" => direction, "status" => status).increment(1);
}
