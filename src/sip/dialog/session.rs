//! A confirmed dialog: offers in both directions, the wait for an ACK, its timer, and the end.

use std::time::Instant;

use crate::sip::event::{CallEvent, CallFailure, Command, EndedBy, OfferOutcome};
use crate::sip::message::{Checked, Reason, Request, Response};
use crate::sip::sdp::SessionDescription;
use crate::sip::transaction::{Backoff, ServerKey};
use crate::sip::transport::Hop;

use super::call::{ALLOW, Asking, Common, Phase, over};
use super::exchange::{By, Exchange, Given, Proposal, Verdict};
use super::info::{self, Keys};
use super::refer::Refer;
use super::reliable::Sent;
use super::timer::{Due, SessionTimer};
use super::{Act, Dialog, Purpose, Step, options};

pub use super::exchange::offer_of;

pub(super) struct Session {
    dialog: Dialog,
    exchange: Exchange,
    timer: SessionTimer,
    /// Our 2xx that waits for its ACK.
    unacknowledged: Option<Unacknowledged>,
    /// Hung up before the ACK came; the BYE waits for it (RFC 3261 §15).
    bye_wanted: bool,
    keys: Keys,
    /// A PRACK may still come for a ringing that the 2xx overtook (RFC 3262 §3).
    overtaken: Option<(Sent, Request)>,
    pub(super) refer: Refer,
}

struct Unacknowledged {
    key: ServerKey,
    response: Response,
    sequence: u32,
    repeat: Backoff,
    give_up: Instant,
    answer: AnswerIn,
    /// It is the 2xx that answered the call.
    first: bool,
}

/// Where the answer to an offer of ours comes, if we made one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AnswerIn {
    Nothing,
    Ack,
    /// It came before the 2xx.
    Prack,
}

/// Our own first 2xx.
pub(super) struct Opening {
    pub key: ServerKey,
    pub response: Response,
    pub answer: AnswerIn,
    pub invite: Request,
}

impl Session {
    /// After a 2xx of the peer.
    pub fn confirmed(dialog: Dialog, exchange: Exchange, timer: SessionTimer) -> Session {
        Session {
            dialog,
            exchange,
            timer,
            unacknowledged: None,
            bye_wanted: false,
            keys: Keys::default(),
            overtaken: None,
            refer: Refer::default(),
        }
    }

    /// After our own first 2xx.
    pub fn answered(
        dialog: Dialog,
        exchange: Exchange,
        timer: SessionTimer,
        opening: Opening,
        reliable: Sent,
        step: &mut Step<'_>,
    ) -> Session {
        let mut session = Session::confirmed(dialog, exchange, timer);
        let Opening { key, response, answer, invite } = opening;
        session.overtaken = reliable.is_waiting().then_some((reliable, invite));
        session.await_ack(key, response, answer, true, step);
        session
    }

    pub fn is_with(&self, tag: &str) -> bool {
        self.dialog.remote_tag == tag
    }

    fn await_ack(&mut self, key: ServerKey, response: Response, answer: AnswerIn, first: bool, step: &mut Step<'_>) {
        self.unacknowledged = Some(Unacknowledged {
            sequence: response.cseq().map(|cseq| cseq.number).unwrap_or_default(),
            key,
            response,
            repeat: Backoff::start(step.now, step.timers.t1),
            give_up: step.now + step.timers.give_up(),
            answer,
            first,
        });
    }

    pub fn command(&mut self, command: Command, common: &mut Common, step: &mut Step<'_>) -> Option<Phase> {
        match command {
            Command::HangUp => return self.hang_up(common, step),
            Command::AcceptOffer(session) => self.accept_offer(session, common, step),
            Command::RefuseOffer => self.exchange.refuse(488, step),
            Command::RefuseMedia(problem) => self.exchange.refuse_media(problem, step),
            Command::Offer(session) => {
                if self.is_changing() || common.quiet {
                    step.out.push(Act::OfferDone(OfferOutcome::Refused(491)));
                } else {
                    self.offer(Proposal::asked(session, By::Invite), common, step);
                }
            }
            Command::Refer { to, referred_by } => {
                self.refer.send(&to, referred_by.as_deref(), &mut self.dialog, common, step);
            }
            Command::AnswerRefer(code) => self.refer.decide(code, &mut self.dialog, common, step),
            Command::ReportRefer(code) => self.refer.report(code, &mut self.dialog, common, step),
            Command::Key(key) => {
                self.keys.add(key);
                self.send_key(common, step);
            }
            Command::Ringing(_) | Command::Answer(_) | Command::Reject(_) | Command::Because(_) => {}
        }
        None
    }

    fn hang_up(&mut self, common: &mut Common, step: &mut Step<'_>) -> Option<Phase> {
        common.tell(CallEvent::Ended { by: EndedBy::Us }, step);
        self.close(common, step);
        if self.unacknowledged.as_ref().is_some_and(|waiting| waiting.first) {
            self.bye_wanted = true;
            return None;
        }
        common.bye(&mut self.dialog, &cleared(), step);
        Some(over(step))
    }

    /// Answers what is still open before the dialog goes.
    fn close(&mut self, common: &mut Common, step: &mut Step<'_>) {
        self.refer.close(&mut self.dialog, common, step);
        self.exchange.close(step);
    }

    /// An offer is under way in either direction.
    fn is_changing(&self) -> bool {
        self.exchange.is_busy() || self.unacknowledged.is_some()
    }

    fn accept_offer(&mut self, session: SessionDescription, common: &mut Common, step: &mut Step<'_>) {
        let accepted = self.exchange.accept(session, &mut self.dialog, Some(&mut self.timer), common, step);
        if let Some(Given { key, response, by_invite: true, answer_due }) = accepted {
            let answer = if answer_due { AnswerIn::Ack } else { AnswerIn::Nothing };
            self.await_ack(key, response, answer, false, step);
        }
    }

    fn offer(&mut self, proposal: Proposal, common: &mut Common, step: &mut Step<'_>) {
        self.exchange.offer(proposal, &mut self.dialog, Some(&self.timer), common, step);
    }

    fn send_key(&mut self, common: &mut Common, step: &mut Step<'_>) {
        if common.quiet {
            return;
        }
        let Some(key) = self.keys.take() else { return };
        common.auth.begin();
        let info = self.dialog.request(rsip::Method::Info, step, &common.local);
        let info = info.with_body("application/dtmf-relay", Keys::body(key));
        step.send(info, self.dialog.hop(), Purpose::Info);
    }

    pub fn response(
        &mut self,
        purpose: Purpose,
        request: &Request,
        response: &Response,
        source: Hop,
        common: &mut Common,
        step: &mut Step<'_>,
    ) -> Option<Phase> {
        let code = response.code();
        if code < 200 {
            return None;
        }
        if matches!(code, 401 | 407) && !matches!(purpose, Purpose::Refer | Purpose::Notify) {
            let sequence = self.dialog.next_sequence();
            if let Some(again) = common.authorized(request, response, sequence, step) {
                step.send(again, self.dialog.hop(), purpose);
                return None;
            }
        }
        match purpose {
            Purpose::Reinvite | Purpose::Update => self.offer_done(purpose, response, source, common, step),
            Purpose::Refresh => self.refreshed(response, source, common, step),
            Purpose::Info => {
                self.keys.done();
                if matches!(code, 408 | 481) {
                    return self.lost(common, step);
                }
                self.send_key(common, step);
                None
            }
            Purpose::Refer | Purpose::Notify => {
                self.refer.response(purpose, request, response, &mut self.dialog, common, step);
                None
            }
            Purpose::Invite | Purpose::Cancel | Purpose::Bye | Purpose::Prack => None,
        }
    }

    fn offer_done(
        &mut self,
        purpose: Purpose,
        response: &Response,
        source: Hop,
        common: &mut Common,
        step: &mut Step<'_>,
    ) -> Option<Phase> {
        let verdict = match response.code() {
            200..=299 => {
                self.dialog.refresh(&response.fields.list("Contact"), source);
                if purpose == Purpose::Reinvite {
                    let sequence = response.cseq().map(|cseq| cseq.number).unwrap_or_default();
                    common.acknowledge(&self.dialog, sequence, step);
                }
                self.timer.taken(&response.fields, step.now);
                self.exchange.answered(response, common, step)
            }
            422 if self.timer.raise(&response.fields) => {
                if let Some(proposal) = self.exchange.withdraw() {
                    self.offer(proposal, common, step);
                }
                Verdict::GoesOn
            }
            _ => self.exchange.refused(response, common, step),
        };
        match verdict {
            Verdict::GoesOn => None,
            Verdict::RefreshFailed => {
                self.timer.refresh_failed(step.now);
                None
            }
            Verdict::Lost => self.lost(common, step),
        }
    }

    /// Sends a sign of life: UPDATE where the peer takes it, else a re-INVITE that changes nothing (RFC 4028 §9).
    fn refresh(&mut self, common: &mut Common, step: &mut Step<'_>) {
        if common.quiet {
            return;
        }
        if common.allows_update {
            common.auth.begin();
            let mut update = self.dialog.request(rsip::Method::Update, step, &common.local);
            update.fields.push("Supported", options::SUPPORTED);
            self.timer.ask(&mut update.fields);
            return step.send(update, self.dialog.hop(), Purpose::Refresh);
        }
        match self.exchange.ours() {
            Some(ours) if !self.is_changing() => {
                let proposal = Proposal { session: ours.clone(), by: By::Invite, tries: 0, refresh: true };
                self.offer(proposal, common, step);
            }
            // A change that is under way refreshes the session, too.
            _ => self.timer.refresh_failed(step.now),
        }
    }

    fn refreshed(
        &mut self,
        response: &Response,
        source: Hop,
        common: &mut Common,
        step: &mut Step<'_>,
    ) -> Option<Phase> {
        match response.code() {
            200..=299 => {
                self.dialog.refresh(&response.fields.list("Contact"), source);
                self.timer.taken(&response.fields, step.now);
            }
            408 | 481 => return self.lost(common, step),
            422 if self.timer.raise(&response.fields) => self.refresh(common, step),
            405 | 501 => {
                common.allows_update = false;
                self.refresh(common, step);
            }
            _ => self.timer.refresh_failed(step.now),
        }
        None
    }

    /// A request of ours got no answer at all.
    pub fn failed(&mut self, purpose: Purpose, common: &mut Common, step: &mut Step<'_>) -> Option<Phase> {
        match purpose {
            Purpose::Reinvite | Purpose::Update | Purpose::Refresh | Purpose::Info => self.lost(common, step),
            Purpose::Refer | Purpose::Notify => {
                self.refer.failed(purpose, 408, common, step);
                None
            }
            Purpose::Invite | Purpose::Cancel | Purpose::Bye | Purpose::Prack => None,
        }
    }

    /// A request of the peer; always answered.
    pub fn request(&mut self, asking: &Asking<'_>, common: &mut Common, step: &mut Step<'_>) -> Option<Phase> {
        let Asking { request, checked, key, .. } = *asking;
        if !self.dialog.admit(checked.cseq.number) {
            step.respond(key, Response::to(request, 500).with("Retry-After", "1"));
            return None;
        }
        match &request.method {
            method if method.is(rsip::Method::Bye) => {
                step.respond(key, Response::to(request, 200));
                common.tell_why(&request.fields, step);
                common.tell(CallEvent::Ended { by: EndedBy::Peer }, step);
                self.close(common, step);
                return Some(over(step));
            }
            method if method.is(rsip::Method::Invite) || method.is(rsip::Method::Update) => {
                if let Err(refusal) = self.asked_to_change(asking, common, step) {
                    step.respond(key, *refusal);
                }
            }
            method if method.is(rsip::Method::Refer) => self.refer.asked(request, key, common, step),
            method if method.is(rsip::Method::Notify) => self.refer.notified(request, key, common, step),
            method if method.is(rsip::Method::Info) => {
                let (response, pressed) = info::read(request);
                step.respond(key, response);
                if let Some(pressed) = pressed {
                    common.tell(CallEvent::Key(pressed), step);
                }
            }
            method if method.is(rsip::Method::Options) => step.respond(key, options::answer(request)),
            method if method.is(rsip::Method::PRack) => {
                let known = self.overtaken.as_mut().is_some_and(|(sent, invite)| sent.acknowledge(request, invite));
                step.respond(key, Response::to(request, if known { 200 } else { 481 }));
            }
            _ => step.respond(key, Response::to(request, 405).with("Allow", ALLOW)),
        }
        None
    }

    /// A re-INVITE or UPDATE; the refusal that it is owed.
    fn asked_to_change(
        &mut self,
        asking: &Asking<'_>,
        common: &mut Common,
        step: &mut Step<'_>,
    ) -> Result<(), Box<Response>> {
        let Asking { request, key, source, .. } = *asking;
        let refusal = |code: u16| Box::new(Response::to(request, code));
        let update = request.is(rsip::Method::Update);
        if common.quiet {
            return Err(refusal(481));
        }
        if let Some(least) = self.timer.too_short(&request.fields) {
            return Err(Box::new(Response::to(request, 422).with("Min-SE", least.to_string())));
        }
        let offer = offer_of(request)?;
        if update && offer.is_none() {
            // It changes no session, so nothing stands against it.
            self.dialog.refresh(&request.fields.list("Contact"), source);
            let mut response = common.accept(request);
            self.timer.accept(&request.fields, &mut response.fields, step.now);
            step.respond(key, response);
            return Ok(());
        }
        if self.exchange.is_offering() {
            return Err(refusal(491));
        }
        if self.exchange.is_asked() || self.unacknowledged.is_some() {
            return Err(Box::new(Response::to(request, 500).with("Retry-After", "2")));
        }
        self.exchange.ask(asking, offer, common, step);
        Ok(())
    }

    pub fn ack(
        &mut self,
        request: &Request,
        checked: &Checked,
        common: &mut Common,
        step: &mut Step<'_>,
    ) -> Option<Phase> {
        let waiting = self.unacknowledged.take_if(|waiting| waiting.sequence == checked.cseq.number)?;
        if self.bye_wanted {
            self.close(common, step);
            common.bye(&mut self.dialog, &cleared(), step);
            return Some(over(step));
        }
        let session = match waiting.answer {
            AnswerIn::Nothing => None,
            AnswerIn::Prack => self.exchange.theirs().cloned(),
            AnswerIn::Ack => match SessionDescription::parse(&String::from_utf8_lossy(&request.body)) {
                Ok(session) => {
                    self.exchange.settle(session.clone());
                    Some(session)
                }
                Err(_) => return Some(self.unanswered(common, step)),
            },
        };
        if waiting.first || session.is_some() {
            common.tell(CallEvent::Answered { session: session.map(Box::new) }, step);
        }
        None
    }

    /// The ACK owed us an answer.
    fn unanswered(&mut self, common: &mut Common, step: &mut Step<'_>) -> Phase {
        self.close(common, step);
        common.bye(&mut self.dialog, &Reason::sip(488, "No usable session"), step);
        let problem = "the ACK has no usable session description".to_owned();
        common.tell(CallEvent::Failed(CallFailure::BadAnswer(problem)), step);
        over(step)
    }

    /// The dialog is dead on the other side.
    pub fn lost(&mut self, common: &mut Common, step: &mut Step<'_>) -> Option<Phase> {
        self.close(common, step);
        common.bye(&mut self.dialog, &Reason::q850(102, "Recovery on timer expiry"), step);
        common.tell(CallEvent::Ended { by: EndedBy::Lost }, step);
        Some(over(step))
    }

    pub fn tick(&mut self, common: &mut Common, step: &mut Step<'_>) -> Option<Phase> {
        if let Some(waiting) = &mut self.unacknowledged {
            if step.now >= waiting.give_up {
                self.unacknowledged = None;
                return self.lost(common, step);
            }
            if waiting.repeat.fired(step.now, step.timers.t2) {
                step.respond(&waiting.key, waiting.response.clone());
            }
        }
        self.refer.tick(&mut self.dialog, common, step);
        if let Some(proposal) = self.exchange.due(self.unacknowledged.is_some(), step) {
            self.offer(proposal, common, step);
        }
        match self.timer.tick(step.now) {
            Due::Nothing => None,
            Due::Refresh => {
                self.refresh(common, step);
                None
            }
            Due::Expired => self.lost(common, step),
        }
    }

    pub fn remote_tag(&self) -> &str {
        &self.dialog.remote_tag
    }

    pub fn wake_at(&self) -> Option<Instant> {
        let waiting = self.unacknowledged.as_ref().map(|waiting| waiting.repeat.at.min(waiting.give_up));
        let others = [self.exchange.wake_at(), self.timer.wake_at(), self.refer.wake_at()];
        others.into_iter().chain([waiting]).flatten().min()
    }
}

fn cleared() -> Reason {
    Reason::q850(16, "Normal call clearing")
}
