//! What the user agent keeps for registered phones and text messages, and our requests that belong to no call: probes
//! and texts. They are non-INVITE transactions of their own, answered once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::message::{MessageKey, MessageOutcome};
use super::ring::Ringing;
use super::schedule::Wake;
use super::{CallKey, Output, UserAgent};
use crate::sip::dialog::LocalEnd;
use crate::sip::digest::client::Authentication;
use crate::sip::message::{Request, Response};
use crate::sip::registrar::location::Probed;
use crate::sip::registrar::{BindingId, Location, Policy};
use crate::sip::transaction::table::Clients;
use crate::sip::transaction::{ClientKey, ClientOutput, ServerKey};
use crate::sip::transport::Hop;

/// What phones and texts need beyond [`super::Settings`].
#[derive(Default)]
pub struct PhoneSettings {
    pub policy: Policy,
    /// Names of the trunks that carry text messages.
    pub texting: HashSet<String>,
    /// The value of Date (RFC 3261 §20.17).
    pub date: Option<Box<dyn Fn() -> String + Send>>,
}

#[derive(Default)]
pub(super) struct Phones {
    pub location: Location,
    pub texting: HashSet<String>,
    pub date: Option<Box<dyn Fn() -> String + Send>>,
    /// Calls that ring one or several phones, by the key that their owner knows.
    pub ringing: HashMap<CallKey, Ringing>,
    /// The call of each phone that is or was rung, to the call that its owner knows.
    pub branches: HashMap<CallKey, CallKey>,
    /// Texts that came in and wait for their answer: the answer without its verdict.
    pub unanswered: HashMap<ServerKey, Response>,
    errands: Clients<Errand>,
}

/// A request of ours outside of calls.
pub(super) struct Errand {
    pub purpose: Purpose,
    pub request: Arc<Request>,
    pub to: Hop,
    pub local: LocalEnd,
    pub auth: Authentication,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    Probe(BindingId),
    Text(MessageKey),
}

/// Why there was no final answer.
enum NoAnswer {
    Silent,
    Refused,
}

impl UserAgent {
    /// Takes phones in and texts, as the settings say.
    pub fn with_phones(mut self, settings: PhoneSettings) -> UserAgent {
        let PhoneSettings { policy, texting, date } = settings;
        self.phones = Phones { location: Location::new(policy), texting, date, ..Phones::default() };
        self
    }

    /// Sends `errand` with a fresh branch.
    pub(super) fn run_errand(&mut self, errand: Errand, now: Instant) {
        let Errand { purpose, mut request, to, local, auth } = errand;
        let whole = Arc::make_mut(&mut request);
        whole.fields.remove("Via");
        whole.fields.push_front("Via", local.via(&(self.settings.tokens)()));
        let Ok(datagram) = request.write() else { return self.errand_failed(purpose, &NoAnswer::Refused, now) };
        let key = ClientKey::of_request(&request);
        let timers = self.settings.timers;
        let errand = Errand { purpose, request, to, local, auth };
        let outputs = self.phones.errands.start(key.clone(), datagram, to, errand, None, timers, now);
        self.errand_outputs(&key, outputs, now);
    }

    /// Whether the response was to one of ours.
    pub(super) fn on_errand_response(&mut self, key: &ClientKey, response: &Response, now: Instant) -> bool {
        if self.phones.errands.find(key).is_none() {
            return false;
        }
        let outputs = self.phones.errands.response(key, response, now);
        let heard = outputs.contains(&ClientOutput::Deliver) && response.code() >= 200;
        let errand = self.phones.errands.find(key).filter(|_| heard);
        let answered = errand.map(|errand| (errand.owner.purpose, errand.owner.again(response)));
        self.errand_outputs(key, outputs, now);
        match answered {
            Some((Purpose::Probe(binding), _)) => self.probed(binding, Probed::Alive, now),
            Some((Purpose::Text(_), Some(again))) => self.authorize_errand(again, response, now),
            Some((Purpose::Text(text), None)) => self.text_done(text, MessageOutcome::of(response)),
            None => {}
        }
        true
    }

    /// Whether the socket refused one of ours.
    pub(super) fn errand_transport_failed(&mut self, key: &ClientKey, problem: &'static str, now: Instant) -> bool {
        let known = self.phones.errands.find(key).is_some();
        let outputs = self.phones.errands.transport_failed(key, problem, self.settings.timers, now);
        self.errand_outputs(key, outputs, now);
        known
    }

    pub(super) fn errand_sent_on(&mut self, key: &ClientKey, line: u64) {
        self.phones.errands.sent_on(key, line);
    }

    /// A connection is gone: what nobody answered goes out once more when it stood, or has failed.
    pub(super) fn errands_lost(&mut self, line: u64, opened: bool, problem: &'static str, now: Instant) {
        for key in self.phones.errands.unanswered_on(line) {
            let again = if opened { self.phones.errands.again(&key) } else { Vec::new() };
            if again.is_empty() {
                self.errand_transport_failed(&key, problem, now);
            } else {
                self.errand_outputs(&key, again, now);
            }
        }
    }

    pub(super) fn tick_errand(&mut self, key: &ClientKey, now: Instant) {
        if self.phones.errands.wake_at(key).is_some_and(|at| at <= now) {
            let outputs = self.phones.errands.tick(key, now);
            self.errand_outputs(key, outputs, now);
        }
    }

    fn errand_outputs(&mut self, key: &ClientKey, outputs: Vec<ClientOutput>, now: Instant) {
        let Some(errand) = self.phones.errands.find(key) else { return };
        let (to, purpose) = (errand.to, errand.owner.purpose);
        let mut failure = None;
        for output in outputs {
            match output {
                ClientOutput::Send(datagram) => {
                    self.out.push(Output::Transmit { to, datagram, transaction: Some(key.clone()) });
                }
                ClientOutput::Deliver => {}
                ClientOutput::TimedOut => failure = Some(NoAnswer::Silent),
                ClientOutput::Failed => failure = Some(NoAnswer::Refused),
            }
        }
        self.schedule.at(self.phones.errands.wake_at(key), Wake::Errand(key.clone()));
        self.phones.errands.reap(key);
        if let Some(failure) = failure {
            self.errand_failed(purpose, &failure, now);
        }
    }

    fn errand_failed(&mut self, purpose: Purpose, failure: &NoAnswer, now: Instant) {
        match (purpose, failure) {
            (Purpose::Probe(binding), NoAnswer::Silent) => self.probed(binding, Probed::Silent, now),
            (Purpose::Probe(binding), NoAnswer::Refused) => self.probed(binding, Probed::Refused, now),
            (Purpose::Text(text), NoAnswer::Silent) => self.text_done(text, MessageOutcome::Silent),
            (Purpose::Text(text), NoAnswer::Refused) => {
                self.text_done(text, MessageOutcome::Unreachable("the network refused the packet".into()));
            }
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
        self.phones.errands.len()
    }
}

impl Errand {
    /// What is sent again when `response` is a challenge.
    fn again(&self, response: &Response) -> Option<Errand> {
        let Errand { purpose, request, to, local, auth } = self;
        let again = || Errand {
            purpose: *purpose,
            request: request.clone(),
            to: *to,
            local: local.clone(),
            auth: auth.clone(),
        };
        matches!(response.code(), 401 | 407).then(again)
    }
}

/// How long a phone with RFC 5626 may leave its flow quiet (§4.4): below the memory of common NATs for TCP.
pub(super) const FLOW_TIMER: Duration = Duration::from_secs(120);
