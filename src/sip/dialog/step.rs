//! What a call is given to work with, and what it hands back.

use std::sync::Arc;
use std::time::Instant;

use crate::sip::event::{CallEvent, OfferOutcome};
use crate::sip::message::{Request, Response};
use crate::sip::transaction::{ClientKey, ServerKey, Timers};
use crate::sip::transport::{Hop, Transport};

/// One input's surroundings: time, randomness, and the place for outputs.
pub struct Step<'a> {
    pub now: Instant,
    pub timers: Timers,
    /// Fresh unguessable tokens.
    pub tokens: &'a mut dyn FnMut() -> String,
    pub out: &'a mut Vec<Act>,
}

#[derive(Debug, Clone)]
pub enum Act {
    /// A request in a new client transaction.
    Send {
        request: Arc<Request>,
        to: Hop,
        purpose: Purpose,
    },
    /// An ACK of a 2xx: outside transactions.
    Ack {
        request: Arc<Request>,
        to: Hop,
    },
    Respond {
        key: ServerKey,
        response: Response,
    },
    Event(CallEvent),
    OfferDone(OfferOutcome),
    /// A CANCEL of that INVITE transaction went out: it is waited for no longer than 64·T1.
    Expire(ClientKey),
    /// That address of a trunk gave no answer.
    Silent(Hop),
}

/// Why a request was sent; comes back with its responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Invite,
    Reinvite,
    Cancel,
    Bye,
    Prack,
    /// UPDATE with an offer.
    Update,
    /// UPDATE without one: keeps the session alive.
    Refresh,
    /// A key.
    Info,
    Refer,
    Notify,
}

/// How we name ourselves towards the peer of one call.
#[derive(Debug, Clone)]
pub struct LocalEnd {
    pub transport: Transport,
    /// `host:port` of Via.
    pub sent_by: String,
    /// Value of Contact.
    pub contact: String,
    pub user_agent: String,
}

impl LocalEnd {
    /// For a dialog of `sips:` URIs, whose Contact must be one (RFC 3261 §8.1.1.8, RFC 5630 §5.1.1.1).
    pub fn secured(mut self) -> LocalEnd {
        self.contact = self.contact.replacen("<sip:", "<sips:", 1).replacen(";transport=tls", "", 1);
        self
    }

    pub fn via(&self, token: &str) -> String {
        let (protocol, cookie) = (self.transport.protocol(), crate::sip::message::via::MAGIC_COOKIE);
        // Our connection may serve requests of the peer, too (RFC 5923 §4).
        let alias = if self.transport.is_reliable() { ";alias" } else { "" };
        format!("SIP/2.0/{protocol} {};rport{alias};branch={cookie}{token}", self.sent_by)
    }
}

impl Step<'_> {
    pub fn token(&mut self) -> String {
        (self.tokens)()
    }

    pub fn respond(&mut self, key: &ServerKey, response: Response) {
        self.out.push(Act::Respond { key: key.clone(), response });
    }

    pub fn send(&mut self, request: Request, to: Hop, purpose: Purpose) {
        self.out.push(Act::Send { request: Arc::new(request), to, purpose });
    }
}
