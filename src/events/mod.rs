//! What leaves the box because something happened: the outbox of events and the mail queue.
//!
//! Events are appended inside the store change that they report. This version keeps them for later deliverers and
//! sends mail; it knows nothing of calls beyond the data that an event carries.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::{Clock, UtcTime};
use crate::config::MailConfig;
use crate::store::{Change, Store, StoreError};

/// Something that happened, in the words of the core.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Event {
    pub id: Uuid,
    pub organization: Uuid,
    pub at: UtcTime,
    pub kind: EventKind,
    /// The record concerned (a call's id).
    pub subject: Uuid,
    pub data: serde_json::Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    CallQueued,
    CallRinging,
    CallAnswered,
    /// An attempt ended, finally or not.
    CallEnded,
    /// The call reached its final status.
    CallFinished,
    TranscriptSaved,
}

/// Appends to the outbox inside the change that the event reports.
pub fn append(change: &mut Change<'_>, event: &Event) -> Result<(), StoreError> {
    let _ = change;
    todo!("events: {event:?}")
}

/// A mail to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mail {
    pub to: String,
    pub subject: String,
    pub text: String,
}

/// Where a queued mail stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct QueuedMail {
    pub id: Uuid,
    pub mail: Mail,
    pub queued_at: UtcTime,
    pub attempts: u32,
    pub next_attempt_at: UtcTime,
    /// The last failure, in the operator's words.
    pub problem: Option<String>,
    pub state: MailState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MailState {
    Waiting,
    Sent,
    /// Not delivered within 24 hours, or refused for good; kept and visible.
    Failed,
}

/// Queues a mail inside a change (the one that ends a call).
pub fn queue_mail(change: &mut Change<'_>, id: Uuid, mail: Mail, at: UtcTime) -> Result<(), StoreError> {
    let _ = change;
    todo!("events: {id} {mail:?} {at:?}")
}

/// Sends queued mail over SMTP, retries for 24 hours; without SMTP settings mail stays `Waiting` and visible.
pub struct Mailer {
    pub(crate) _todo: (),
}

impl Mailer {
    pub fn start(config: Option<&MailConfig>, store: Store, clock: Clock) -> Result<Mailer, String> {
        let _ = (store, clock);
        todo!("events: {config:?}")
    }

    /// Wakes the sender: something was queued.
    pub fn wake(&self) {
        todo!("events")
    }

    pub async fn stop(self) {
        todo!("events")
    }
}

/// Mail in the queue and its history, newest first (for operators and tests).
pub fn mails(store: &Store, limit: usize) -> Result<Vec<QueuedMail>, StoreError> {
    let _ = store;
    todo!("events: {limit}")
}
