//! Requests of ours that belong to no call: REGISTER and OPTIONS to trunks, texts, probes of phones. Each is a non-INVITE
//! transaction, answered once. They go the way that calls go: large ones by TCP ([`super::way`]), and to the next server of
//! a trunk when one is of no use (RFC 3263 §4.3).
//!
//! | Under way to a server | Input | Then |
//! |---|---|---|
//! | another has not been tried | nothing at all for 8·T1 | the next one |
//! | another has not been tried | 503, timer F, no connection | the next one |
//! | the last | 503 | that answer |
//! | the last | timer F, no connection | failed |
//! | any | 408 to OPTIONS | as 503: whoever answered speaks for somebody silent |
//! | any | 401, 407 to a text | the same to this server, with credentials, once |
//! | any | another final answer | that answer |
//! | any of TLS | an answer in plain text | not heard |
//!
//! The next server gets the same request in a new transaction; only a REGISTER is written anew, under the next CSeq
//! (RFC 3261 §10.2), by the registration that owns it. A text carries one Call-ID and CSeq to every server.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::message::{MessageKey, MessageOutcome};
use super::schedule::Wake;
use super::{Output, UserAgent};
use crate::sip::digest::client::Authentication;
use crate::sip::message::{Request, Response};
use crate::sip::registrar::BindingId;
use crate::sip::registrar::location::Probed;
use crate::sip::transaction::{ClientKey, ClientOutput};
use crate::sip::transport::{Hop, Transport, TrunkId};
use crate::sip::trunk::health::Health;

/// A request of ours outside of calls.
#[derive(Clone)]
pub(super) struct Errand {
    pub purpose: Purpose,
    pub request: Arc<Request>,
    pub to: Hop,
    /// Other servers that have not been tried, best first.
    pub others: VecDeque<Hop>,
    /// User part of its Contact, where it has one.
    pub contact: String,
    pub auth: Authentication,
    /// When the next server gets its try, if nobody has said a word.
    leave_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    Probe(BindingId),
    Text(MessageKey),
    Register(TrunkId),
    Options(TrunkId),
}

/// Why a server is of no use now.
pub(super) enum Useless {
    Silent,
    Unreachable,
    Answered(Response),
}

impl Errand {
    /// To the first of `servers`, the others to follow; `None` when there is none.
    pub fn new(purpose: Purpose, request: Request, mut servers: VecDeque<Hop>) -> Option<Errand> {
        let to = servers.pop_front()?;
        let (contact, auth) = (String::new(), Authentication::default());
        Some(Errand { purpose, request: Arc::new(request), to, others: servers, contact, auth, leave_at: None })
    }

    pub fn signed_by(self, auth: Authentication) -> Errand {
        Errand { auth, ..self }
    }

    /// Its Contact names that user.
    pub fn reached_as(self, contact: String) -> Errand {
        Errand { contact, ..self }
    }

    /// Every server from the one at hand.
    pub fn servers(&self) -> VecDeque<Hop> {
        std::iter::once(self.to).chain(self.others.iter().copied()).collect()
    }

    /// Whether that answer only says that the server is of no use now.
    fn is_left_by(&self, code: u16) -> bool {
        match self.purpose {
            Purpose::Options(_) => !Health::is_good(code),
            Purpose::Register(_) | Purpose::Text(_) => code == 503,
            Purpose::Probe(_) => false,
        }
    }
}

impl UserAgent {
    /// Sends `errand` to the server at hand, with a fresh branch.
    pub(super) fn run_errand(&mut self, mut errand: Errand, now: Instant) {
        let local = self.local_end(errand.to, &errand.contact);
        let whole = Arc::make_mut(&mut errand.request);
        whole.fields.remove("Via");
        whole.fields.push_front("Via", local.via(&(self.settings.tokens)()));
        let outgoing = match self.outgoing(&errand.request, errand.to, true, now) {
            Ok(outgoing) => outgoing,
            Err(problem) => {
                tracing::warn!(%problem, method = %errand.request.method, "a request was not sent");
                errand.others.clear();
                return self.leave_server(errand, &Useless::Unreachable, now);
            }
        };
        let key = ClientKey::of_request(&errand.request);
        errand.leave_at = (!errand.others.is_empty()).then(|| now + self.settings.timers.patience());
        let outputs = self.errands.send(key.clone(), outgoing, errand, self.settings.timers, now);
        self.errand_outputs(&key, outputs, now);
    }

    /// Whether the response was to one of ours.
    pub(super) fn on_errand_response(
        &mut self,
        key: &ClientKey,
        response: &Response,
        source: Hop,
        now: Instant,
    ) -> bool {
        let Some(client) = self.errands.find(key) else { return false };
        // What was asked over TLS is not answered in plain text.
        if client.to.transport == Transport::Tls && source.transport != Transport::Tls {
            return true;
        }
        let outputs = self.errands.response(key, response, now);
        let heard = outputs.contains(&ClientOutput::Deliver) && response.code() >= 200;
        let errand = self.errands.find(key).filter(|_| heard).map(|client| client.owner.clone());
        self.errand_outputs(key, outputs, now);
        if let Some(errand) = errand {
            self.note_answer(errand.to.address, response, now);
            self.errand_answered(errand, response, now);
        }
        true
    }

    fn errand_answered(&mut self, errand: Errand, response: &Response, now: Instant) {
        if errand.is_left_by(response.code()) {
            return self.leave_server(errand, &Useless::Answered(response.clone()), now);
        }
        match errand.purpose {
            Purpose::Probe(binding) => self.probed(binding, Probed::Alive, now),
            Purpose::Text(_) if matches!(response.code(), 401 | 407) => self.authorize_errand(errand, response, now),
            Purpose::Text(text) => self.text_done(text, MessageOutcome::of(response)),
            Purpose::Options(trunk) => self.lived(trunk, Ok(()), now),
            Purpose::Register(trunk) => self.register_answered(trunk, &errand, response, now),
        }
    }

    /// Whether the socket refused one of ours, or its connection failed.
    pub(super) fn errand_transport_failed(&mut self, key: &ClientKey, problem: &'static str, now: Instant) -> bool {
        let Some(before) = self.errands.find(key).map(|client| client.to) else { return false };
        let outputs = self.errands.transport_failed(key, problem, self.settings.timers, now);
        let after = self.errands.find(key).map(|client| client.to);
        self.note_fallback(before, after, now);
        self.errand_outputs(key, outputs, now);
        true
    }

    /// A connection is gone: what nobody answered goes out once more when it stood, or has failed.
    pub(super) fn errands_lost(&mut self, line: u64, opened: bool, problem: &'static str, now: Instant) {
        for key in self.errands.unanswered_on(line) {
            let again = if opened { self.errands.again(&key) } else { Vec::new() };
            if again.is_empty() {
                self.errand_transport_failed(&key, problem, now);
            } else {
                self.errand_outputs(&key, again, now);
            }
        }
    }

    pub(super) fn tick_errand(&mut self, key: &ClientKey, now: Instant) {
        if self.errand_leaves_at(key).is_some_and(|at| at <= now) {
            // What its server says later is not heard.
            let Some(errand) = self.errands.forget(key) else { return };
            return self.leave_server(errand, &Useless::Silent, now);
        }
        if self.errands.wake_at(key).is_some_and(|at| at <= now) {
            let outputs = self.errands.tick(key, now);
            self.errand_outputs(key, outputs, now);
        }
    }

    fn errand_leaves_at(&self, key: &ClientKey) -> Option<Instant> {
        let client = self.errands.find(key).filter(|client| client.is_unanswered())?;
        client.owner.leave_at
    }

    fn errand_outputs(&mut self, key: &ClientKey, outputs: Vec<ClientOutput>, now: Instant) {
        let Some(client) = self.errands.find(key) else { return };
        let to = client.to;
        let mut useless = None;
        for output in outputs {
            match output {
                ClientOutput::Send(datagram) => {
                    self.out.push(Output::Transmit { to, datagram, transaction: Some(key.clone()) });
                }
                ClientOutput::Deliver => {}
                ClientOutput::TimedOut => useless = Some(Useless::Silent),
                ClientOutput::Failed => useless = Some(Useless::Unreachable),
            }
        }
        let wake_at = self.errands.wake_at(key).into_iter().chain(self.errand_leaves_at(key)).min();
        self.schedule.at(wake_at, Wake::Errand(key.clone()));
        let over = self.errands.reap(key);
        if let (Some(useless), Some(errand)) = (useless, over) {
            self.leave_server(errand, &useless, now);
        }
    }

    /// The server at hand is of no use now: the next has its turn, or the errand came to nothing.
    fn leave_server(&mut self, mut errand: Errand, useless: &Useless, now: Instant) {
        if !matches!(useless, Useless::Answered(_)) {
            self.trunks.silent(errand.to.address, now);
        }
        if let Purpose::Register(trunk) = errand.purpose {
            return self.register_useless(trunk, &errand, useless, now);
        }
        let Some(next) = errand.others.pop_front() else {
            return self.errand_failed(errand.purpose, useless, now);
        };
        let contact = self.local_end(next, &errand.contact).contact;
        let request = Arc::make_mut(&mut errand.request);
        request.fields.remove("Authorization");
        request.fields.remove("Proxy-Authorization");
        if request.fields.first("Contact").is_some() {
            request.fields.set("Contact", contact);
        }
        errand.auth.begin();
        errand.to = next;
        self.run_errand(errand, now);
    }

    fn errand_failed(&mut self, purpose: Purpose, useless: &Useless, now: Instant) {
        match (purpose, useless) {
            (Purpose::Probe(binding), Useless::Silent) => self.probed(binding, Probed::Silent, now),
            (Purpose::Probe(binding), _) => self.probed(binding, Probed::Refused, now),
            (Purpose::Text(text), Useless::Silent) => self.text_done(text, MessageOutcome::Silent),
            (Purpose::Text(text), Useless::Answered(response)) => self.text_done(text, MessageOutcome::of(response)),
            (Purpose::Text(text), Useless::Unreachable) => {
                self.text_done(text, MessageOutcome::Unreachable("the network refused the packet".into()));
            }
            (Purpose::Options(trunk), _) => self.lived(trunk, Err("none of its servers answers OPTIONS"), now),
            (Purpose::Register(_), _) => {}
        }
    }

    /// The same once more with credentials, under the next CSeq.
    fn authorize_errand(&mut self, mut again: Errand, challenge: &Response, now: Instant) {
        let (method, uri) = (again.request.method.to_string(), again.request.uri.to_string());
        let answer = again.auth.answer(challenge, &method, &uri, &(self.settings.tokens)());
        let Some((name, value)) = answer else {
            if let Purpose::Text(text) = again.purpose {
                self.text_done(text, MessageOutcome::Unauthorized);
            }
            return;
        };
        let number = challenge.cseq().map(|cseq| cseq.number.saturating_add(1)).unwrap_or_default();
        let request = Arc::make_mut(&mut again.request);
        request.fields.set("CSeq", format!("{number} {method}"));
        request.fields.set(name, value);
        self.run_errand(again, now);
    }

    /// Requests of our own that wait for their answer.
    pub(super) fn errands_under_way(&self) -> usize {
        self.errands.len()
    }
}
