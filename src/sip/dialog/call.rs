//! A call: one INVITE usage from its first request to its last response.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::sip::digest::client::Authentication;
use crate::sip::event::{CallEvent, CallFailure, Command, EndedBy, OfferOutcome};
use crate::sip::message::{Checked, Request, Response};
use crate::sip::sdp::SessionDescription;
use crate::sip::transaction::{ClientKey, ServerKey};
use crate::sip::transport::Hop;

use super::alerting::Alerting;
pub use super::dialling::Target;
use super::dialling::{Dialling, cancel_of};
use super::session::Session;
use super::{Act, Dialog, LocalEnd, Purpose, Step};

/// What the peer's requests are answered with as to what we understand.
pub const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, INFO";

pub struct Call {
    pub call_id: String,
    pub local_tag: String,
    pub(super) common: Common,
    phase: Phase,
}

/// An outbound call to be started.
pub struct Dial {
    /// Complete but for its Via.
    pub invite: Request,
    pub to: Hop,
    pub offer: SessionDescription,
    pub ring_until: Instant,
    pub local: LocalEnd,
    /// Tried in turn when `to` is silent, unreachable or answers 503.
    pub others: VecDeque<Target>,
    pub auth: Authentication,
    pub call_id: String,
    pub local_tag: String,
}

/// An INVITE that becomes a call.
pub struct Arrival {
    pub invite: Request,
    pub key: ServerKey,
    pub peer: Hop,
    pub has_offer: bool,
    pub local: LocalEnd,
    pub local_tag: String,
}

/// What every phase needs.
pub(super) struct Common {
    pub local: LocalEnd,
    pub auth: Authentication,
    pub outbound: bool,
    /// A last event was given; nothing more is told.
    pub quiet: bool,
    /// ACKs of 2xx, to be sent again when the 2xx is.
    acks: Vec<SentAck>,
}

struct SentAck {
    remote_tag: String,
    sequence: u32,
    request: Arc<Request>,
    to: Hop,
}

pub(super) enum Phase {
    Dialling(Box<Dialling>),
    Alerting(Box<Alerting>),
    Live(Box<Session>),
    /// Kept until late messages can come no more.
    Over {
        until: Instant,
    },
}

/// Forked 2xx that are remembered for repeating their ACK.
const MAX_ACKS: usize = 32;

impl Common {
    fn new(local: LocalEnd, auth: Authentication, outbound: bool) -> Common {
        Common { local, auth, outbound, quiet: false, acks: Vec::new() }
    }

    pub fn tell(&mut self, event: CallEvent, step: &mut Step<'_>) {
        if !self.quiet {
            self.quiet = event.is_last();
            step.out.push(Act::Event(event));
        }
    }

    /// Acknowledges a 2xx in `dialog`.
    pub fn acknowledge(&mut self, dialog: &Dialog, sequence: u32, step: &mut Step<'_>) {
        let request = Arc::new(dialog.ack(sequence, step, &self.local));
        let to = dialog.hop();
        step.out.push(Act::Ack { request: request.clone(), to });
        if self.acks.len() >= MAX_ACKS {
            self.acks.remove(0);
        }
        self.acks.push(SentAck { remote_tag: dialog.remote_tag.clone(), sequence, request, to });
    }

    /// Repeats the ACK of a 2xx that was acknowledged before.
    fn acknowledge_again(&self, remote_tag: &str, sequence: u32, step: &mut Step<'_>) -> bool {
        let before = self.acks.iter().find(|ack| ack.remote_tag == remote_tag && ack.sequence == sequence);
        if let Some(ack) = before {
            step.out.push(Act::Ack { request: ack.request.clone(), to: ack.to });
        }
        before.is_some()
    }

    pub fn bye(&mut self, dialog: &mut Dialog, step: &mut Step<'_>) {
        self.auth.begin();
        let request = dialog.request(rsip::Method::Bye, step, &self.local);
        step.send(request, dialog.hop(), Purpose::Bye);
    }

    /// The same request again with an answer to the challenge, under a new CSeq; `None` when it must not be.
    pub fn authorized(
        &mut self,
        request: &Request,
        challenge: &Response,
        sequence: u32,
        step: &mut Step<'_>,
    ) -> Option<Request> {
        let (method, uri) = (request.method.to_string(), request.uri.to_string());
        let (name, value) = self.auth.answer(challenge, &method, &uri, &step.token())?;
        let mut again = request.clone();
        again.fields.remove("Via");
        again.fields.push_front("Via", self.local.via(&step.token()));
        again.fields.set("CSeq", format!("{sequence} {method}"));
        again.fields.set(name, value);
        Some(again)
    }

    /// A 2xx that carries a Contact and what a dialog needs.
    pub fn accept(&self, request: &Request, local_tag: &str) -> Response {
        let mut response = Response::to(request, 200).with_to_tag(local_tag);
        for route in request.fields.all("Record-Route") {
            response.fields.push("Record-Route", route);
        }
        response.with("Contact", self.local.contact.clone()).with("Allow", ALLOW)
    }
}

impl Call {
    pub fn dial(mut dial: Dial, step: &mut Step<'_>) -> Call {
        dial.invite.fields.push_front("Via", dial.local.via(&step.token()));
        let common = Common::new(dial.local, dial.auth, true);
        let dialling = Dialling::start(dial.invite, dial.to, dial.offer, dial.ring_until, dial.others, step);
        let phase = Phase::Dialling(Box::new(dialling));
        Call { call_id: dial.call_id, local_tag: dial.local_tag, common, phase }
    }

    /// An inbound call that passed the guard. `None` when the INVITE has no Contact to call back.
    pub fn incoming(arrival: Arrival, checked: &Checked, now: Instant) -> Option<Call> {
        let Arrival { invite, key, peer, has_offer, local, local_tag } = arrival;
        let dialog = Dialog::from_request(&invite, checked, &local_tag, peer)?;
        let common = Common::new(local, Authentication::default(), false);
        let phase = Phase::Alerting(Box::new(Alerting::new(invite, key, dialog, has_offer, now)));
        Some(Call { call_id: checked.call_id.clone(), local_tag, common, phase })
    }

    pub fn command(&mut self, command: Command, step: &mut Step<'_>) {
        match &mut self.phase {
            Phase::Dialling(dialling) if command == Command::HangUp => {
                self.common.tell(CallEvent::Ended { by: EndedBy::Us }, step);
                dialling.cancel(&self.common, step);
            }
            Phase::Alerting(alerting) => {
                let next = alerting.command(command, &self.local_tag, &mut self.common, step);
                self.enter(next);
            }
            Phase::Live(session) => {
                let next = session.command(command, &self.local_tag, &mut self.common, step);
                self.enter(next);
            }
            Phase::Dialling(_) | Phase::Over { .. } => {
                if matches!(command, Command::Offer(_)) {
                    step.out.push(Act::OfferDone(OfferOutcome::Refused(0)));
                }
            }
        }
    }

    /// A response to one of our requests.
    pub fn response(
        &mut self,
        purpose: Purpose,
        request: &Request,
        response: &Response,
        source: Hop,
        step: &mut Step<'_>,
    ) {
        let sequence = response.cseq().map(|cseq| cseq.number).unwrap_or_default();
        let tag = response.to_tag().unwrap_or_default();
        let success = (200..300).contains(&response.code());
        let invite = matches!(purpose, Purpose::Invite | Purpose::Reinvite);
        if invite && success && self.common.acknowledge_again(&tag, sequence, step) {
            return;
        }
        let next = match &mut self.phase {
            Phase::Dialling(dialling) if purpose == Purpose::Invite && dialling.is_at(request) => {
                dialling.response(response, source, &mut self.common, step)
            }
            Phase::Live(session) if purpose != Purpose::Invite => {
                session.response(purpose, request, response, source, &mut self.common, step)
            }
            _ => {
                self.stray_response(purpose, request, response, source, step);
                None
            }
        };
        self.enter(next);
    }

    /// A 2xx that no longer fits: another fork, or a call that was given up. A late sign of life of an address that was
    /// left for another. And challenges of a BYE.
    fn stray_response(
        &mut self,
        purpose: Purpose,
        request: &Request,
        response: &Response,
        source: Hop,
        step: &mut Step<'_>,
    ) {
        match (purpose, response.code()) {
            (Purpose::Invite, ..=199) => {
                step.send(cancel_of(request, &self.common.local.user_agent), source, Purpose::Cancel);
                step.out.push(Act::Expire(ClientKey::of_request(request)));
            }
            (Purpose::Invite | Purpose::Reinvite, 200..=299) => {
                let Some(mut dialog) = Dialog::from_response(request, response, source) else { return };
                let sequence = response.cseq().map(|cseq| cseq.number).unwrap_or_default();
                self.common.acknowledge(&dialog, sequence, step);
                if purpose == Purpose::Invite {
                    self.common.bye(&mut dialog, step);
                }
            }
            (Purpose::Bye, 401 | 407) => {
                let sequence = response.cseq().map(|cseq| cseq.number.saturating_add(1)).unwrap_or_default();
                if let Some(again) = self.common.authorized(request, response, sequence, step) {
                    step.send(again, source, Purpose::Bye);
                }
            }
            _ => {}
        }
    }

    /// One of our requests got no answer, or could not be sent.
    pub fn failed(&mut self, purpose: Purpose, request: &Request, failure: CallFailure, step: &mut Step<'_>) {
        let next = match &mut self.phase {
            Phase::Dialling(dialling) if purpose == Purpose::Invite && dialling.is_at(request) => {
                dialling.failed(failure, &mut self.common, step)
            }
            Phase::Live(session) if purpose == Purpose::Reinvite => session.lost(&mut self.common, step),
            _ => None,
        };
        self.enter(next);
    }

    /// A request of the peer inside this call's dialog; ACK excepted. Always answered.
    pub fn request(&mut self, request: &Request, checked: &Checked, key: &ServerKey, source: Hop, step: &mut Step<'_>) {
        let next = match &mut self.phase {
            Phase::Live(session) => {
                session.request(request, checked, key, source, &self.local_tag, &mut self.common, step)
            }
            Phase::Alerting(alerting) => alerting.request(request, checked, key, &mut self.common, step),
            Phase::Dialling(_) | Phase::Over { .. } => {
                let code = if request.is(rsip::Method::Bye) { 200 } else { 481 };
                step.respond(key, Response::to(request, code));
                None
            }
        };
        self.enter(next);
    }

    /// CANCEL of the INVITE that opened this call, already answered itself.
    pub fn cancelled(&mut self, step: &mut Step<'_>) {
        if let Phase::Alerting(alerting) = &self.phase {
            alerting.refuse(487, &self.local_tag, None, step);
            self.common.tell(CallEvent::Ended { by: EndedBy::Peer }, step);
            self.phase = over(step);
        }
    }

    /// ACK of one of our 2xx.
    pub fn ack(&mut self, request: &Request, checked: &Checked, step: &mut Step<'_>) {
        if let Phase::Live(session) = &mut self.phase {
            let next = session.ack(request, checked, &mut self.common, step);
            self.enter(next);
        }
    }

    pub fn tick(&mut self, step: &mut Step<'_>) {
        let next = match &mut self.phase {
            Phase::Dialling(dialling) => dialling.tick(&mut self.common, step),
            Phase::Alerting(alerting) => {
                alerting.tick(step);
                None
            }
            Phase::Live(session) => session.tick(&mut self.common, step),
            Phase::Over { .. } => None,
        };
        self.enter(next);
    }

    pub fn wake_at(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Dialling(dialling) => dialling.wake_at(),
            Phase::Alerting(alerting) => Some(alerting.wake_at()),
            Phase::Live(session) => session.wake_at(),
            Phase::Over { until } => Some(*until),
        }
    }

    /// Nothing about it can come any more.
    pub fn is_gone(&self, now: Instant) -> bool {
        matches!(self.phase, Phase::Over { until } if now >= until)
    }

    /// Over for its owner, whatever the wire still owes.
    pub fn is_over(&self) -> bool {
        self.common.quiet
    }

    /// A BYE waits for the ACK of our 2xx.
    pub fn owes_bye(&self) -> bool {
        matches!(&self.phase, Phase::Live(_)) && self.common.quiet
    }

    fn enter(&mut self, next: Option<Phase>) {
        if let Some(next) = next {
            self.phase = next;
        }
    }
}

/// Late messages come for at most as long as transactions live.
pub(super) fn over(step: &Step<'_>) -> Phase {
    Phase::Over { until: step.now + step.timers.give_up() }
}
