//! An inbound INVITE before its final answer.

use std::time::{Duration, Instant};

use crate::sip::event::{CallEvent, Command, EndedBy, OfferOutcome};
use crate::sip::message::{Reason, Request, Response};
use crate::sip::sdp::SessionDescription;
use crate::sip::transaction::ServerKey;

use super::call::{ALLOW, Asking, Common, Phase, over};
use super::exchange::{By, Exchange, Proposal, Verdict, offer_of, unacceptable};
use super::reliable::{Lapse, Sent};
use super::session::{AnswerIn, Opening, Session};
use super::timer::SessionTimer;
use super::{Act, Dialog, Purpose, Step, info, options};

pub(super) struct Alerting {
    invite: Request,
    key: ServerKey,
    dialog: Dialog,
    has_offer: bool,
    early: Early,
    exchange: Exchange,
    timer: SessionTimer,
    reliable: Sent,
    /// Ringing that waits for a PRACK.
    next_ringing: Option<Option<SessionDescription>>,
    /// The answer that waits for a PRACK.
    held: Option<SessionDescription>,
    /// The last provisional response that was not reliable, and when it is due again.
    provisional: Option<Response>,
    repeat_at: Instant,
}

/// How far offer and answer have come before the 2xx.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Early {
    /// The 2xx carries our description.
    Open,
    /// Our offer went out reliably; the PRACK brings the answer.
    Offered,
    /// Both sides have said theirs; the 2xx carries none.
    Agreed,
}

/// Proxies give up after three minutes without a sign of life (RFC 3261 §13.3.1.1).
const SIGN_OF_LIFE: Duration = Duration::from_secs(60);

impl Alerting {
    pub fn new(
        invite: Request,
        key: ServerKey,
        dialog: Dialog,
        offer: Option<SessionDescription>,
        timer: SessionTimer,
        now: Instant,
    ) -> Alerting {
        Alerting {
            reliable: Sent::new(&invite.fields),
            invite,
            key,
            dialog,
            has_offer: offer.is_some(),
            early: Early::Open,
            exchange: Exchange::new(None, offer),
            timer,
            next_ringing: None,
            held: None,
            provisional: None,
            repeat_at: now + SIGN_OF_LIFE,
        }
    }

    pub fn is_with(&self, tag: &str) -> bool {
        self.dialog.remote_tag == tag
    }

    pub fn command(&mut self, command: Command, common: &mut Common, step: &mut Step<'_>) -> Option<Phase> {
        match command {
            Command::Ringing(session) => self.ring(session, common, step),
            Command::Answer(session) => return self.answer(session, common, step),
            Command::Reject(code) => {
                let code = if (300..700).contains(&code) { code } else { 500 };
                self.refuse(code, (code == 503).then_some(10), common, step);
                common.tell(CallEvent::Ended { by: EndedBy::Us }, step);
                return Some(over(step));
            }
            Command::RefuseMedia(problem) if self.exchange.is_asked() => {
                self.exchange.refuse_media(problem, step);
                return self.go_on(common, step);
            }
            Command::RefuseMedia(problem) => {
                self.exchange.close(step);
                step.respond(&self.key, unacceptable(&self.invite, problem).with_to_tag(&common.local_tag));
                common.tell(CallEvent::Ended { by: EndedBy::Us }, step);
                return Some(over(step));
            }
            Command::HangUp => {
                self.refuse(480, None, common, step);
                common.tell(CallEvent::Ended { by: EndedBy::Us }, step);
                return Some(over(step));
            }
            Command::Offer(session) => {
                let may = self.early == Early::Agreed && common.allows_update && !self.reliable.is_waiting();
                if may && !self.exchange.is_busy() {
                    let proposal = Proposal::asked(session, By::Update);
                    self.exchange.offer(proposal, &mut self.dialog, None, common, step);
                } else {
                    step.out.push(Act::OfferDone(OfferOutcome::Refused(0)));
                }
            }
            Command::AcceptOffer(session) => {
                self.exchange.accept(session, &mut self.dialog, None, common, step);
                return self.go_on(common, step);
            }
            Command::RefuseOffer => {
                self.exchange.refuse(488, step);
                return self.go_on(common, step);
            }
            // These belong to a confirmed dialog.
            _ => {}
        }
        None
    }

    fn ring(&mut self, session: Option<SessionDescription>, common: &mut Common, step: &mut Step<'_>) {
        if self.held.is_some() {
            return;
        }
        // What was agreed stands; an offer of ours may only go out reliably (RFC 3261 §13.2.1).
        let session = session.filter(|_| self.early == Early::Open && (self.has_offer || self.reliable.covers(true)));
        if !self.reliable.covers(session.is_some()) {
            return self.ring_plainly(session.as_ref(), common, step);
        }
        if !self.has_offer && session.is_none() && self.early == Early::Open {
            // A reliable one would owe an offer that there is not yet (RFC 3262 §5).
            return;
        }
        if self.reliable.is_waiting() {
            self.next_ringing = Some(session);
            return;
        }
        let mut response = self.ringing(session.as_ref(), common);
        if let Some(session) = session {
            self.early = if self.has_offer { Early::Agreed } else { Early::Offered };
            self.exchange = Exchange::new(Some(session), self.exchange.theirs().cloned());
        }
        self.reliable.send(&mut response, step);
        step.respond(&self.key, response);
        self.repeat_at = step.now + SIGN_OF_LIFE;
    }

    fn ring_plainly(&mut self, session: Option<&SessionDescription>, common: &Common, step: &mut Step<'_>) {
        let response = self.ringing(session, common);
        step.respond(&self.key, response.clone());
        self.provisional = Some(response);
        self.repeat_at = step.now + SIGN_OF_LIFE;
    }

    fn ringing(&self, session: Option<&SessionDescription>, common: &Common) -> Response {
        let code = if session.is_some() { 183 } else { 180 };
        let mut response = Response::to(&self.invite, code).with_to_tag(&common.local_tag);
        for route in self.invite.fields.all("Record-Route") {
            response.fields.push("Record-Route", route);
        }
        response.fields.push("Contact", common.local.contact.clone());
        response.fields.push("Allow", ALLOW);
        match session {
            Some(session) => response.with_body("application/sdp", session.write()),
            None => response,
        }
    }

    fn answer(&mut self, session: SessionDescription, common: &mut Common, step: &mut Step<'_>) -> Option<Phase> {
        // No 2xx before the PRACK of a session, nor while an UPDATE is being answered (RFC 3262 §3, RFC 3311 §5.2).
        if self.reliable.holds_answer() || self.exchange.is_asked() {
            self.held = Some(session);
            return None;
        }
        let mut response = common.accept(&self.invite);
        self.timer.accept(&self.invite.fields, &mut response.fields, step.now);
        let mut exchange = std::mem::take(&mut self.exchange);
        let answer = match self.early {
            Early::Open => {
                response = response.with_body("application/sdp", session.write());
                exchange = Exchange::new(Some(session), exchange.theirs().cloned());
                if self.has_offer { AnswerIn::Nothing } else { AnswerIn::Ack }
            }
            // What the PRACK said is told with the ACK, when the call begins.
            Early::Agreed | Early::Offered if !self.has_offer => AnswerIn::Prack,
            Early::Agreed | Early::Offered => AnswerIn::Nothing,
        };
        step.respond(&self.key, response.clone());
        let opening = Opening { key: self.key.clone(), response, answer, invite: self.invite.clone() };
        let reliable = std::mem::replace(&mut self.reliable, Sent::new(&Default::default()));
        let session = Session::answered(self.dialog.clone(), exchange, self.timer.clone(), opening, reliable, step);
        Some(Phase::Live(Box::new(session)))
    }

    fn refuse(&mut self, code: u16, retry_after: Option<u32>, common: &Common, step: &mut Step<'_>) {
        self.exchange.close(step);
        let mut response = Response::to(&self.invite, code).with_to_tag(&common.local_tag);
        if let Some(seconds) = retry_after {
            response.fields.push("Retry-After", seconds.to_string());
        }
        step.respond(&self.key, response);
    }

    pub fn cancelled(&mut self, cancel: &Request, common: &mut Common, step: &mut Step<'_>) -> Phase {
        self.refuse(487, None, common, step);
        common.tell_why(&cancel.fields, step);
        common.tell(CallEvent::Ended { by: EndedBy::Peer }, step);
        over(step)
    }

    /// A request inside the early dialog.
    pub fn request(&mut self, asking: &Asking<'_>, common: &mut Common, step: &mut Step<'_>) -> Option<Phase> {
        let Asking { request, checked, key, .. } = *asking;
        if !self.dialog.admit(checked.cseq.number) {
            step.respond(key, Response::to(request, 500).with("Retry-After", "1"));
            return None;
        }
        if request.is(rsip::Method::Bye) {
            step.respond(key, Response::to(request, 200));
            return Some(self.cancelled(request, common, step));
        }
        if request.is(rsip::Method::PRack) {
            return self.acknowledged(asking, common, step);
        }
        if request.is(rsip::Method::Update) {
            self.update(asking, common, step);
            return None;
        }
        let response = if request.is(rsip::Method::Invite) {
            // A second INVITE before the first is answered (RFC 3261 §14.2).
            Response::to(request, 500).with("Retry-After", "2")
        } else if request.is(rsip::Method::Options) {
            options::answer(request)
        } else if request.is(rsip::Method::Info) {
            let (response, key) = info::read(request);
            if let Some(key) = key {
                common.tell(CallEvent::Key(key), step);
            }
            response
        } else {
            Response::to(request, 481)
        };
        step.respond(key, response);
        None
    }

    fn acknowledged(&mut self, asking: &Asking<'_>, common: &mut Common, step: &mut Step<'_>) -> Option<Phase> {
        let Asking { request, key, .. } = *asking;
        let session = match offer_of(request) {
            Ok(session) => session,
            Err(refusal) => {
                step.respond(key, *refusal);
                return None;
            }
        };
        if !self.reliable.acknowledge(request, &self.invite) {
            step.respond(key, Response::to(request, 481));
            return None;
        }
        match (self.early, session) {
            (Early::Offered, Some(answer)) => {
                self.early = Early::Agreed;
                self.exchange.settle(answer);
                step.respond(key, Response::to(request, 200));
            }
            // Our offer was passed over: the call cannot have a session (RFC 3262 §5).
            (Early::Offered, None) => {
                step.respond(key, Response::to(request, 200));
                self.refuse(488, None, common, step);
                common.tell(CallEvent::Ended { by: EndedBy::Lost }, step);
                return Some(over(step));
            }
            // A new offer in the PRACK of our answer: its answer goes into the 200 (RFC 3262 §5).
            (Early::Agreed, offer @ Some(_)) => self.exchange.ask(asking, offer, common, step),
            (Early::Agreed | Early::Open, _) => step.respond(key, Response::to(request, 200)),
        }
        self.go_on(common, step)
    }

    /// What waited for the PRACK, or for our word on an UPDATE.
    fn go_on(&mut self, common: &mut Common, step: &mut Step<'_>) -> Option<Phase> {
        if let Some(session) = self.held.take() {
            return self.answer(session, common, step);
        }
        if let Some(session) = self.next_ringing.take() {
            self.ring(session, common, step);
        }
        None
    }

    /// RFC 3311 §5.2.
    fn update(&mut self, asking: &Asking<'_>, common: &mut Common, step: &mut Step<'_>) {
        let Asking { request, key, source, .. } = *asking;
        let offer = match offer_of(request) {
            Ok(offer) => offer,
            Err(refusal) => return step.respond(key, *refusal),
        };
        if offer.is_none() {
            self.dialog.refresh(&request.fields.list("Contact"), source);
            return step.respond(key, common.accept(request));
        }
        if self.exchange.is_offering() || self.early == Early::Offered {
            return step.respond(key, Response::to(request, 491));
        }
        // The offer of the INVITE is not answered yet, or one before is not.
        if self.early == Early::Open || self.exchange.is_asked() || self.held.is_some() {
            return step.respond(key, Response::to(request, 500).with("Retry-After", "2"));
        }
        self.exchange.ask(asking, offer, common, step);
    }

    /// A response to our own UPDATE.
    pub fn response(
        &mut self,
        request: &Request,
        response: &Response,
        common: &mut Common,
        step: &mut Step<'_>,
    ) -> Option<Phase> {
        let verdict = match response.code() {
            ..=199 => return None,
            200..=299 => self.exchange.answered(response, common, step),
            401 | 407 => {
                let sequence = self.dialog.next_sequence();
                match common.authorized(request, response, sequence, step) {
                    Some(again) => {
                        step.send(again, self.dialog.hop(), Purpose::Update);
                        return None;
                    }
                    None => self.exchange.refused(response, common, step),
                }
            }
            _ => self.exchange.refused(response, common, step),
        };
        if verdict != Verdict::Lost {
            return None;
        }
        self.refuse(500, None, common, step);
        common.tell(CallEvent::Ended { by: EndedBy::Lost }, step);
        Some(over(step))
    }

    pub fn offer_failed(&mut self, step: &mut Step<'_>) {
        self.exchange.close(step);
    }

    pub fn tick(&mut self, common: &mut Common, step: &mut Step<'_>) -> Option<Phase> {
        match self.reliable.tick(step) {
            Lapse::Nothing => {}
            Lapse::Repeat(response) => step.respond(&self.key, *response),
            Lapse::Unheard => {
                self.refuse(504, None, common, step);
                common.tell(CallEvent::Because(vec![Reason::sip(504, "No PRACK")]), step);
                common.tell(CallEvent::Ended { by: EndedBy::Lost }, step);
                return Some(over(step));
            }
        }
        if let Some(proposal) = self.exchange.due(false, step) {
            self.exchange.offer(proposal, &mut self.dialog, None, common, step);
        }
        if step.now >= self.repeat_at {
            self.repeat_at = step.now + SIGN_OF_LIFE;
            self.give_sign_of_life(common, step);
        }
        // An UPDATE that nobody answered was refused above.
        if self.held.is_some() && !self.reliable.holds_answer() && !self.exchange.is_asked() {
            return self.go_on(common, step);
        }
        None
    }

    /// Whoever wants every response reliable gets a new one; a plain one is sent again.
    fn give_sign_of_life(&mut self, common: &mut Common, step: &mut Step<'_>) {
        if let Some(response) = &self.provisional {
            step.respond(&self.key, response.clone());
        } else if self.early != Early::Open && !self.reliable.is_waiting() {
            self.ring(None, common, step);
        }
    }

    pub fn wake_at(&self) -> Option<Instant> {
        let others = [self.reliable.wake_at(), self.exchange.wake_at()];
        others.into_iter().flatten().chain([self.repeat_at]).min()
    }
}
