//! A call: one INVITE usage from its first request to its last response.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::sip::digest::client::Authentication;
use crate::sip::event::{CallEvent, CallFailure, Command, OfferOutcome};
use crate::sip::message::{Checked, Fields, Reason, Request, Response};
use crate::sip::sdp::SessionDescription;
use crate::sip::transaction::{ClientKey, ServerKey};
use crate::sip::transport::{Hop, Transport};

use super::alerting::Alerting;
pub use super::dialling::Target;
use super::dialling::{Dialling, Way, cancel_of};
use super::redirect::{DialPolicy, Redirects};
use super::session::Session;
use super::timer::{SessionTimer, Terms};
use super::{Act, Dialog, LocalEnd, Purpose, Step, options};

/// What the peer's requests are answered with as to what we understand.
pub const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, INFO, PRACK, REFER, NOTIFY";

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
    /// The trunk is held to be down: the call fails as soon as the last of them has been silent for 8·T1.
    pub down: bool,
    pub auth: Authentication,
    pub call_id: String,
    pub local_tag: String,
    pub timer: Terms,
    /// Where a redirection may lead.
    pub policy: DialPolicy,
}

/// An INVITE that becomes a call.
pub struct Arrival {
    pub invite: Request,
    pub key: ServerKey,
    pub peer: Hop,
    pub local: LocalEnd,
    pub local_tag: String,
    pub timer: Terms,
}

/// A request of the peer inside a dialog.
pub(super) struct Asking<'a> {
    pub request: &'a Request,
    pub checked: &'a Checked,
    pub key: &'a ServerKey,
    pub source: Hop,
}

/// What every phase needs.
pub(super) struct Common {
    pub local: LocalEnd,
    pub local_tag: String,
    pub auth: Authentication,
    pub outbound: bool,
    /// The peer's Allow names UPDATE.
    pub allows_update: bool,
    /// Our owner's word on why it ends the call.
    because: Vec<Reason>,
    /// CSeq of ours that early dialogs have used.
    sequence_floor: u32,
    /// A last event was given; nothing more is told.
    pub quiet: bool,
    /// Its Allow says so.
    pub refuses_refer: bool,
    /// ACKs of 2xx, to be sent again when the 2xx is.
    acks: Vec<SentAck>,
}

struct SentAck {
    remote_tag: String,
    sequence: u32,
    request: Arc<Request>,
    to: Hop,
}

/// How far a dialog is, as far as `Replaces` asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Early, or not that dialog.
    Unknown,
    Confirmed,
    Over,
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
    pub(super) fn new(local: LocalEnd, local_tag: String, auth: Authentication, outbound: bool) -> Common {
        Common {
            local,
            local_tag,
            auth,
            outbound,
            allows_update: false,
            refuses_refer: false,
            because: Vec::new(),
            sequence_floor: 0,
            quiet: false,
            acks: Vec::new(),
        }
    }

    /// What the peer says it can do.
    fn learn(&mut self, fields: &Fields) {
        let allowed = fields.list("Allow");
        if !allowed.is_empty() {
            let names = |wanted: &str| allowed.iter().any(|method| method == wanted);
            self.allows_update = names("UPDATE");
            self.refuses_refer = !names("REFER");
        }
    }

    /// Passes the peer's reasons on.
    pub fn tell_why(&mut self, fields: &Fields, step: &mut Step<'_>) {
        let reasons = Reason::read(fields);
        if !reasons.is_empty() {
            self.tell(CallEvent::Because(reasons), step);
        }
    }

    /// Writes our reasons: the owner's, else `usual`.
    pub fn say_why(&self, usual: &Reason, request: &mut Request) {
        let usual = if self.because.is_empty() { Some(usual) } else { None };
        for reason in self.because.iter().chain(usual) {
            request.fields.push("Reason", reason.to_string());
        }
    }

    /// Later dialogs of this call count above those that were.
    pub fn counted(&mut self, sequence: u32) {
        self.sequence_floor = self.sequence_floor.max(sequence);
    }

    pub fn next_invite_sequence(&self, last: u32) -> u32 {
        last.max(self.sequence_floor).saturating_add(1)
    }

    /// A dialog that a 2xx opens, counting on from what its early dialog used.
    pub fn dialog_of(
        &self,
        invite: &Request,
        response: &Response,
        source: Hop,
        early: Option<&Dialog>,
    ) -> Option<Dialog> {
        let mut dialog = Dialog::from_response(invite, response, source)?;
        dialog.continues(self.sequence_floor, early);
        Some(dialog)
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

    pub fn bye(&mut self, dialog: &mut Dialog, usual: &Reason, step: &mut Step<'_>) {
        self.auth.begin();
        let mut request = dialog.request(rsip::Method::Bye, step, &self.local);
        self.say_why(usual, &mut request);
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
    pub fn accept(&self, request: &Request) -> Response {
        let mut response = Response::to(request, 200).with_to_tag(&self.local_tag);
        for route in request.fields.all("Record-Route") {
            response.fields.push("Record-Route", route);
        }
        let response = response.with("Contact", self.local.contact.clone());
        response.with("Allow", ALLOW).with("Supported", options::SUPPORTED)
    }
}

impl Call {
    pub fn dial(mut dial: Dial, step: &mut Step<'_>) -> Call {
        let timer = SessionTimer::new(dial.timer);
        dial.invite.fields.push_front("Via", dial.local.via(&step.token()));
        dial.invite.fields.push("Supported", options::SUPPORTED_IN_INVITE);
        timer.ask(&mut dial.invite.fields);
        let common = Common::new(dial.local, dial.local_tag.clone(), dial.auth, true);
        let redirects = Redirects::new(dial.policy, &dial.invite.uri);
        let way = Way { to: dial.to, others: dial.others, redirects, down: dial.down };
        let dialling = Dialling::start(dial.invite, way, dial.offer, timer, dial.ring_until, step);
        let phase = Phase::Dialling(Box::new(dialling));
        Call { call_id: dial.call_id, local_tag: dial.local_tag, common, phase }
    }

    /// An inbound call that passed the guard. `None` when the INVITE has no Contact to call back.
    pub fn incoming(
        arrival: Arrival,
        offer: Option<SessionDescription>,
        checked: &Checked,
        now: Instant,
    ) -> Option<Call> {
        let Arrival { invite, key, peer, local, local_tag, timer } = arrival;
        let dialog = Dialog::from_request(&invite, checked, &local_tag, peer)?;
        let mut common = Common::new(local, local_tag.clone(), Authentication::default(), false);
        common.learn(&invite.fields);
        let timer = SessionTimer::new(timer);
        let phase = Phase::Alerting(Box::new(Alerting::new(invite, key, dialog, offer, timer, now)));
        Some(Call { call_id: checked.call_id.clone(), local_tag, common, phase })
    }

    pub fn command(&mut self, command: Command, step: &mut Step<'_>) {
        let next = match (&mut self.phase, command) {
            (_, Command::Because(reason)) => {
                self.common.because = vec![reason];
                None
            }
            (Phase::Dialling(dialling), command) => {
                dialling.command(command, &mut self.common, step);
                None
            }
            (Phase::Alerting(alerting), command) => alerting.command(command, &mut self.common, step),
            (Phase::Live(session), command) => session.command(command, &mut self.common, step),
            (Phase::Over { .. }, Command::Offer(_)) => {
                step.out.push(Act::OfferDone(OfferOutcome::Refused(0)));
                None
            }
            (Phase::Over { .. }, _) => None,
        };
        self.enter(next);
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
        self.common.learn(&response.fields);
        let next = match &mut self.phase {
            Phase::Dialling(dialling) if purpose == Purpose::Invite && dialling.is_at(request) => {
                dialling.response(response, source, &mut self.common, step)
            }
            Phase::Dialling(dialling) if matches!(purpose, Purpose::Prack | Purpose::Update) => {
                dialling.early_response(purpose, request, response, &mut self.common, step);
                None
            }
            Phase::Alerting(alerting) if purpose == Purpose::Update => {
                alerting.response(request, response, &mut self.common, step)
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
                let mut cancel = cancel_of(request, &self.common.local.user_agent);
                self.common.say_why(&Reason::answered_elsewhere(), &mut cancel);
                step.send(cancel, source, Purpose::Cancel);
                step.out.push(Act::Expire(ClientKey::of_request(request)));
            }
            (Purpose::Invite | Purpose::Reinvite, 200..=299) => {
                let Some(mut dialog) = self.common.dialog_of(request, response, source, None) else { return };
                let sequence = response.cseq().map(|cseq| cseq.number).unwrap_or_default();
                self.common.acknowledge(&dialog, sequence, step);
                if purpose == Purpose::Invite {
                    self.common.bye(&mut dialog, &Reason::answered_elsewhere(), step);
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
            Phase::Dialling(dialling) if purpose == Purpose::Update => {
                dialling.offer_failed(request, step);
                None
            }
            Phase::Alerting(alerting) if purpose == Purpose::Update => {
                alerting.offer_failed(step);
                None
            }
            Phase::Live(session) => session.failed(purpose, &mut self.common, step),
            _ => None,
        };
        self.enter(next);
    }

    /// A request of the peer inside this call's dialog; ACK excepted. Always answered.
    pub fn request(&mut self, request: &Request, checked: &Checked, key: &ServerKey, source: Hop, step: &mut Step<'_>) {
        let asking = Asking { request, checked, key, source };
        self.common.learn(&request.fields);
        let next = match &mut self.phase {
            Phase::Live(session) if session.is_with(checked.from_tag()) => {
                session.request(&asking, &mut self.common, step)
            }
            Phase::Alerting(alerting) if alerting.is_with(checked.from_tag()) => {
                alerting.request(&asking, &mut self.common, step)
            }
            Phase::Dialling(dialling) => {
                dialling.request(&asking, &mut self.common, step);
                None
            }
            // A fork that lost, or a call that is over.
            Phase::Live(_) | Phase::Alerting(_) | Phase::Over { .. } => {
                let code = if request.is(rsip::Method::Bye) { 200 } else { 481 };
                step.respond(key, Response::to(request, code));
                None
            }
        };
        self.enter(next);
    }

    /// CANCEL of the INVITE that opened this call, already answered itself.
    pub fn cancelled(&mut self, cancel: &Request, step: &mut Step<'_>) {
        if let Phase::Alerting(alerting) = &mut self.phase {
            let next = alerting.cancelled(cancel, &mut self.common, step);
            self.enter(Some(next));
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
            Phase::Alerting(alerting) => alerting.tick(&mut self.common, step),
            Phase::Live(session) => session.tick(&mut self.common, step),
            Phase::Over { .. } => None,
        };
        self.enter(next);
    }

    pub fn wake_at(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Dialling(dialling) => dialling.wake_at(),
            Phase::Alerting(alerting) => alerting.wake_at(),
            Phase::Live(session) => session.wake_at(),
            Phase::Over { until } => Some(*until),
        }
    }

    /// How far the dialog with `remote_tag` is that an INVITE wants to take the place of (RFC 3891 §3).
    pub fn standing(&self, remote_tag: &str) -> Standing {
        match &self.phase {
            Phase::Live(session) if session.remote_tag() != remote_tag => Standing::Unknown,
            Phase::Live(_) if self.common.quiet => Standing::Over,
            Phase::Live(_) => Standing::Confirmed,
            Phase::Over { .. } => Standing::Over,
            Phase::Dialling(_) | Phase::Alerting(_) => Standing::Unknown,
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

    /// It began over TLS and has to stay there.
    pub fn is_secure(&self) -> bool {
        self.common.local.transport == Transport::Tls
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
