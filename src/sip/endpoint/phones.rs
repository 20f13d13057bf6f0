//! Registered phones and text messages, as the owners of calls and texts see them.

use std::net::IpAddr;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::inbox::{Inbox, Order};
use super::{CallControl, Destination, EVENT_QUEUE, Endpoint, InviteError, OutboundInvite};
use crate::clock::Clock;
use crate::config::{SipConfig, TrunkConfig};
use crate::sip::agent::{MessageKey, MessageOrder, MessageOutcome, Origin, PhoneSettings, ReceivedMessage, RingOrder};
use crate::sip::event::CallEvent;
use crate::sip::pager::Content;
use crate::sip::registrar::Policy;
use crate::sip::transaction::ServerKey;

/// Texts that may wait for their owner; more get 503.
pub(super) const TEXT_QUEUE: usize = 64;

/// What the driver is told about phones and texts.
pub enum PhoneOrder {
    Text {
        key: MessageKey,
        order: Box<MessageOrder>,
        done: oneshot::Sender<MessageOutcome>,
    },
    Answer {
        key: ServerKey,
        code: u16,
        retry_after: Option<Duration>,
    },
    /// Our address towards the first phone of that extension.
    Whereabouts {
        user: String,
        answer: oneshot::Sender<Option<IpAddr>>,
    },
}

/// A text from a trunk that carries them, or from an extension. Answered with 500 when it is dropped.
pub struct IncomingMessage {
    pub origin: Origin,
    pub from: String,
    pub from_name: Option<String>,
    pub to: String,
    pub content: Content,
    /// Call-ID, CSeq number and From tag: the same for the same text, however often it is sent.
    pub identity: (String, u32, String),
    pub in_reply_to: Option<String>,
    reply: Reply,
}

/// The answer that a text is owed, given once.
struct Reply {
    key: ServerKey,
    inbox: std::sync::Arc<Inbox>,
    given: bool,
}

impl Reply {
    fn give(&mut self, code: u16, retry_after: Option<Duration>) {
        if !std::mem::replace(&mut self.given, true) {
            self.inbox.push(Order::Phones(PhoneOrder::Answer { key: self.key.clone(), code, retry_after }));
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.give(500, None);
    }
}

impl IncomingMessage {
    pub(super) fn new(message: ReceivedMessage, inbox: std::sync::Arc<Inbox>) -> IncomingMessage {
        let ReceivedMessage { key, origin, from, from_name, to, content, identity, in_reply_to } = message;
        let reply = Reply { key, inbox, given: false };
        IncomingMessage { origin, from, from_name, to, content, identity, in_reply_to, reply }
    }

    /// 200: it is ours now.
    pub fn accept(mut self) {
        self.reply.give(200, None);
    }

    /// `code` of 400 to 699; `retry_after` goes with a 503.
    pub fn refuse(mut self, code: u16, retry_after: Option<Duration>) {
        self.reply.give(code, retry_after);
    }
}

impl Endpoint {
    /// Texts that come in; `None` when somebody has them already. While nobody takes them they are answered 503.
    pub fn take_messages(&self) -> Option<mpsc::Receiver<IncomingMessage>> {
        self.shared.texts.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Sends a text and waits for its fate, at most 64·T1 and what the peer's challenges cost. Whoever calls bounds how
    /// many are under way.
    pub async fn send_message(&self, order: MessageOrder) -> MessageOutcome {
        let (done, outcome) = oneshot::channel();
        let key = MessageKey(self.shared.inbox.next_call().0);
        self.shared.inbox.push(Order::Phones(PhoneOrder::Text { key, order: Box::new(order), done }));
        outcome.await.unwrap_or_else(|_| MessageOutcome::Unreachable("the SIP endpoint is stopping".into()))
    }

    /// Our address towards the extension's phone, for a session description; `None` when none is registered.
    pub async fn address_towards_extension(&self, user: &str) -> Option<IpAddr> {
        let (answer, answered) = oneshot::channel();
        self.shared.inbox.push(Order::Phones(PhoneOrder::Whereabouts { user: user.to_owned(), answer }));
        answered.await.ok().flatten()
    }

    /// Rings every phone of an extension.
    pub(super) fn ring(
        &self,
        user: String,
        call: OutboundInvite,
    ) -> Result<(CallControl, mpsc::Receiver<CallEvent>), InviteError> {
        if self.shared.stopping.load(Ordering::Acquire) {
            return Err(InviteError::Stopping);
        }
        let (sender, events) = mpsc::channel(EVENT_QUEUE);
        let call_id = format!("{:016x}{:016x}", rand::random::<u64>(), rand::random::<u64>());
        let key = self.shared.inbox.next_call();
        let control = CallControl::new(key, &call_id, self.shared.inbox.clone(), None);
        let OutboundInvite { caller_name, offer, ring_timeout, .. } = call;
        let order = RingOrder { user, caller_name, offer, ring_timeout, call_id };
        if !self.shared.inbox.push_ring(key, order, sender.clone()) {
            let retry_after = Some(Duration::from_secs(1));
            let event = CallEvent::Rejected { code: 503, reason: "Dialling Queue Full".into(), retry_after };
            let _ = sender.try_send(event);
        }
        Ok((control, events))
    }
}

impl Destination {
    /// The extension that is meant, if it is one.
    pub(super) fn extension(&self) -> Option<&str> {
        match self {
            Destination::Extension(user) => Some(user),
            Destination::Number(_) | Destination::Uri(_) | Destination::Referred(_) => None,
        }
    }
}

/// What the configuration says about phones and texts.
pub(super) fn settings(config: &SipConfig, trunks: &[TrunkConfig], clock: &Clock) -> PhoneSettings {
    let probe_every = Some(Duration::from_secs(config.probe_seconds)).filter(|every| !every.is_zero());
    let policy = Policy { longest: Duration::from_secs(config.registration_seconds.max(1)), probe_every };
    let texting = trunks.iter().filter(|trunk| trunk.messages).map(|trunk| trunk.name.clone()).collect();
    let clock = clock.clone();
    let date = Box::new(move || clock.utc().format("%a, %d %b %Y %H:%M:%S GMT"));
    PhoneSettings { policy, texting, date: Some(date) }
}
