//! What is kept of a text message, and how it is read.

use std::ops::Bound;

use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::tables::{BY_CREATION, MESSAGES};
use crate::call::record::Direction;
use crate::clock::UtcTime;
use crate::store::{Order, Store, StoreError};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    pub id: Uuid,
    pub organization: Uuid,
    pub direction: Direction,
    /// Trunk that it came or goes through; `""` towards and from extensions.
    pub trunk: String,
    pub from: String,
    pub to: String,
    pub text: String,
    pub status: MessageStatus,
    pub created_at: UtcTime,
    /// When the peer took it.
    #[serde(default)]
    pub sent_at: Option<UtcTime>,
    /// When it is tried next, while it is queued.
    #[serde(default)]
    pub due_at: Option<UtcTime>,
    #[serde(default)]
    pub attempts: u32,
    #[serde(default)]
    pub sip_code: Option<u16>,
    /// In words, for operators; empty when nothing went wrong.
    #[serde(default)]
    pub error_detail: String,
    /// What a delivery report said.
    #[serde(default)]
    pub delivery: Option<Delivery>,
    #[serde(default)]
    pub reported_at: Option<UtcTime>,
    /// Who ordered it; the extension that sent it.
    #[serde(default)]
    pub requested_by: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageStatus {
    Received,
    Queued,
    Sent,
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    Delivered,
    Displayed,
    Failed,
}

/// A piece of a list, newest first.
#[derive(Debug, Clone)]
pub struct MessagePage {
    pub items: Vec<Message>,
    /// Where the next piece begins; `None` at the end.
    pub next: Option<Uuid>,
}

impl Message {
    /// Names its transaction at every try.
    pub(super) fn call_id(&self) -> String {
        self.id.simple().to_string()
    }

    /// The record in words and times, for events and the API.
    pub fn shown(&self) -> serde_json::Value {
        let time = |time: Option<UtcTime>| time.map(UtcTime::rfc3339);
        json!({
            "id": self.id,
            "direction": self.direction,
            "trunk": self.trunk,
            "from": self.from,
            "to": self.to,
            "text": self.text,
            "status": self.status,
            "created_at": self.created_at.rfc3339(),
            "sent_at": time(self.sent_at),
            "next_attempt_at": time(self.due_at),
            "attempts": self.attempts,
            "sip_code": self.sip_code,
            "error_detail": self.error_detail,
            "delivery": self.delivery,
            "reported_at": time(self.reported_at),
            "requested_by": self.requested_by,
        })
    }
}

pub(super) fn message(store: &Store, organization: Uuid, id: Uuid) -> Result<Option<Message>, StoreError> {
    Ok(store.read()?.get(&MESSAGES, &id)?.filter(|message| message.organization == organization))
}

/// Ids are in the order of time, so an id says where a piece begins, whatever came since.
pub(super) fn page(
    store: &Store,
    organization: Uuid,
    before: Option<Uuid>,
    limit: usize,
) -> Result<MessagePage, StoreError> {
    let snapshot = store.read()?;
    let first = (organization, Uuid::nil());
    let last = (organization, before.unwrap_or(Uuid::max()));
    let end = if before.is_some() { Bound::Excluded(&last) } else { Bound::Included(&last) };
    let mut ids = Vec::new();
    snapshot.scan(&BY_CREATION, Bound::Included(&first), end, Order::Descending, &mut |(_, id), ()| {
        ids.push(id);
        ids.len() <= limit
    })?;
    let more = ids.len() > limit;
    ids.truncate(limit);
    let next = ids.last().copied().filter(|_| more);
    let items = ids.iter().filter_map(|id| snapshot.get(&MESSAGES, id).transpose()).collect::<Result<_, _>>()?;
    Ok(MessagePage { items, next })
}
