//! An outbound INVITE before its final answer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::sip::event::{CallEvent, CallFailure, Command, EndedBy, OfferOutcome};
use crate::sip::message::{NameAddr, Reason, Request, Response};
use crate::sip::sdp::SessionDescription;
use crate::sip::transaction::ClientKey;
use crate::sip::transport::Hop;

use super::call::{Asking, Common, Phase, over};
use super::forks::{Fork, Forks, session_of};
use super::redirect::Redirects;
use super::session::Session;
use super::timer::SessionTimer;
use super::{Act, LocalEnd, Purpose, Step, info, options};

pub(super) struct Dialling {
    /// As last sent.
    invite: Arc<Request>,
    way: Way,
    offer: SessionDescription,
    timer: SessionTimer,
    ring_until: Option<Instant>,
    /// Any provisional response came: only now may it be cancelled (RFC 3261 §9.1).
    provisional: bool,
    cancel: Cancel,
    forks: Forks,
    /// When the next address gets its try: not a word has come so far.
    next_at: Option<Instant>,
}

/// Where the call goes.
pub(super) struct Way {
    pub to: Hop,
    /// Where else the trunk can be reached, best first.
    pub others: VecDeque<Target>,
    pub redirects: Redirects,
    /// The trunk is held to be down: the call is a try, and not a long one.
    pub down: bool,
}

/// One address of the called host, and how we name ourselves towards it.
pub struct Target {
    pub to: Hop,
    pub local: LocalEnd,
}

#[derive(Clone)]
enum Cancel {
    No,
    Wanted(Reason),
    Sent { give_up: Instant },
}

impl Dialling {
    pub fn start(
        invite: Request,
        way: Way,
        offer: SessionDescription,
        timer: SessionTimer,
        ring_until: Instant,
        step: &mut Step<'_>,
    ) -> Dialling {
        let invite = Arc::new(invite);
        step.out.push(Act::Send { request: invite.clone(), to: way.to, purpose: Purpose::Invite });
        Dialling {
            next_at: patience(&way, step),
            invite,
            way,
            offer,
            timer,
            ring_until: Some(ring_until),
            provisional: false,
            cancel: Cancel::No,
            forks: Forks::default(),
        }
    }

    pub fn command(&mut self, command: Command, common: &mut Common, step: &mut Step<'_>) {
        match command {
            Command::HangUp => {
                common.tell(CallEvent::Ended { by: EndedBy::Us }, step);
                self.cancel(Reason::sip(487, "Request Terminated"), common, step);
            }
            Command::Offer(session) if !common.quiet => match self.forks.open() {
                Some(fork) => fork.offer(session, common, step),
                None => step.out.push(Act::OfferDone(OfferOutcome::Refused(0))),
            },
            Command::Offer(_) => step.out.push(Act::OfferDone(OfferOutcome::Refused(0))),
            Command::AcceptOffer(session) => {
                if let Some(Fork { dialog, exchange, .. }) = self.forks.asked() {
                    exchange.accept(session, dialog, None, common, step);
                }
            }
            Command::RefuseOffer => {
                if let Some(fork) = self.forks.asked() {
                    fork.exchange.refuse(488, step);
                }
            }
            Command::RefuseMedia(problem) => {
                if let Some(fork) = self.forks.asked() {
                    fork.exchange.refuse_media(problem, step);
                }
            }
            // These belong to calls that come in, or to a confirmed dialog.
            _ => {}
        }
    }

    pub fn response(
        &mut self,
        response: &Response,
        source: Hop,
        common: &mut Common,
        step: &mut Step<'_>,
    ) -> Option<Phase> {
        self.next_at = None;
        match response.code() {
            ..=199 => {
                self.provisional(response, source, common, step);
                return None;
            }
            200..=299 => return Some(self.answered(response, source, common, step)),
            _ => self.close_forks(common, step),
        }
        match response.code() {
            401 | 407 if !common.quiet => self.challenged(response, common, step),
            422 if !common.quiet && self.timer.raise(&response.fields) => {
                let mut again = Request::clone(&self.invite);
                self.timer.ask(&mut again.fields);
                self.send_again(again, response, common, step);
                None
            }
            // This one is overloaded or down: RFC 3263 §4.3.
            503 if self.try_next(common, step) => None,
            code => {
                self.way.redirects.take(response);
                if (300..600).contains(&code) && self.redirected(response, common, step) {
                    return None;
                }
                common.tell_why(&response.fields, step);
                let (reason, retry_after) = (response.reason.clone(), response.retry_after());
                common.tell(CallEvent::Rejected { code, reason, retry_after }, step);
                Some(over(step))
            }
        }
    }

    fn provisional(&mut self, response: &Response, source: Hop, common: &mut Common, step: &mut Step<'_>) {
        self.provisional = true;
        if let Cancel::Wanted(reason) = self.cancel.clone() {
            self.send_cancel(&reason, common, step);
        }
        if response.code() == 100 {
            return;
        }
        if let Some(session) = self.forks.ringing(&self.invite, &self.offer, response, source, common, step) {
            common.tell(CallEvent::Ringing { code: response.code(), session: session.map(Box::new) }, step);
        }
    }

    fn answered(&mut self, response: &Response, source: Hop, common: &mut Common, step: &mut Step<'_>) -> Phase {
        let fork = self.forks.remove(&response.to_tag().unwrap_or_default());
        self.close_forks(common, step);
        let early = fork.as_ref().map(|fork| &fork.dialog);
        let Some(mut dialog) = common.dialog_of(&self.invite, response, source, early) else {
            common.tell(CallEvent::Failed(CallFailure::BadAnswer("the answer opens no dialog".into())), step);
            return over(step);
        };
        let sequence = response.cseq().map(|cseq| cseq.number).unwrap_or_default();
        common.acknowledge(&dialog, sequence, step);
        let verdict = if common.quiet { Err(String::new()) } else { self.usable_answer(fork.as_ref(), response) };
        match verdict {
            Ok(session) => {
                let exchange = Fork::goes_on(fork, &self.offer, &session);
                self.timer.taken(&response.fields, step.now);
                common.tell(CallEvent::Answered { session: Some(Box::new(session)) }, step);
                Phase::Live(Box::new(Session::confirmed(dialog, exchange, self.timer.clone())))
            }
            Err(problem) => {
                if let Some(mut fork) = fork {
                    fork.exchange.close(step);
                }
                let why = if common.quiet {
                    Reason::sip(487, "Request Terminated")
                } else {
                    Reason::sip(488, "No usable session")
                };
                common.bye(&mut dialog, &why, step);
                common.tell(CallEvent::Failed(CallFailure::BadAnswer(problem)), step);
                over(step)
            }
        }
    }

    /// The answer of this fork; some peers give it in a provisional response only.
    fn usable_answer(&self, fork: Option<&Fork>, response: &Response) -> Result<SessionDescription, String> {
        let given = session_of(response)?;
        match fork {
            Some(fork) => fork.answer(given, &self.offer),
            None => {
                let session = given.ok_or("the answer has no session description")?;
                self.offer.agree(&session).map_err(|error| error.to_string())?;
                Ok(session)
            }
        }
    }

    fn challenged(&mut self, response: &Response, common: &mut Common, step: &mut Step<'_>) -> Option<Phase> {
        let sequence = common.next_invite_sequence(sequence_of(response));
        let Some(again) = common.authorized(&self.invite, response, sequence, step) else {
            common.tell(CallEvent::Failed(CallFailure::Unauthorized), step);
            return Some(over(step));
        };
        self.invite = Arc::new(again);
        self.provisional = false;
        step.out.push(Act::Send { request: self.invite.clone(), to: self.way.to, purpose: Purpose::Invite });
        None
    }

    /// Goes where a redirection led; `false` when nowhere is left that may be called.
    fn redirected(&mut self, response: &Response, common: &mut Common, step: &mut Step<'_>) -> bool {
        if common.quiet {
            return false;
        }
        let Some(target) = self.way.redirects.next_target() else { return false };
        common.auth.begin();
        let mut again = Request::clone(&self.invite);
        again.uri = target;
        again.fields.remove("Authorization");
        again.fields.remove("Proxy-Authorization");
        self.send_again(again, response, common, step);
        true
    }

    /// The INVITE anew, under the next CSeq, after a refusal.
    fn send_again(&mut self, mut again: Request, refusal: &Response, common: &Common, step: &mut Step<'_>) {
        let sequence = common.next_invite_sequence(sequence_of(refusal));
        again.fields.set("CSeq", format!("{sequence} INVITE"));
        again.fields.remove("Via");
        again.fields.push_front("Via", common.local.via(&step.token()));
        self.invite = Arc::new(again);
        self.provisional = false;
        step.out.push(Act::Send { request: self.invite.clone(), to: self.way.to, purpose: Purpose::Invite });
    }

    fn close_forks(&mut self, common: &mut Common, step: &mut Step<'_>) {
        let highest = self.forks.close(step);
        common.counted(highest);
    }

    /// A response to a PRACK, or to an offer of ours in an early dialog.
    pub fn early_response(
        &mut self,
        purpose: Purpose,
        request: &Request,
        response: &Response,
        common: &mut Common,
        step: &mut Step<'_>,
    ) {
        let Some(fork) = self.forks.find(&tag_of(request)) else { return };
        match response.code() {
            ..=199 => {}
            401 | 407 => {
                let sequence = fork.dialog.next_sequence();
                match common.authorized(request, response, sequence, step) {
                    Some(again) => step.send(again, fork.dialog.hop(), purpose),
                    None => drop(fork.exchange.refused(response, common, step)),
                }
            }
            200..=299 if purpose == Purpose::Update => drop(fork.exchange.answered(response, common, step)),
            _ if purpose == Purpose::Update => drop(fork.exchange.refused(response, common, step)),
            // The INVITE's own answer tells what became of the call.
            _ => {}
        }
    }

    /// An offer of ours in an early dialog got no answer at all.
    pub fn offer_failed(&mut self, request: &Request, step: &mut Step<'_>) {
        if let Some(fork) = self.forks.find(&tag_of(request)) {
            fork.exchange.close(step);
        }
    }

    /// A request of the peer in one of the early dialogs.
    pub fn request(&mut self, asking: &Asking<'_>, common: &mut Common, step: &mut Step<'_>) {
        let Asking { request, checked, key, .. } = *asking;
        let asked = self.forks.asked().is_some();
        let Some(fork) = self.forks.find(checked.from_tag()) else {
            let code = if request.is(rsip::Method::Bye) { 200 } else { 481 };
            return step.respond(key, Response::to(request, code));
        };
        if !fork.dialog.admit(checked.cseq.number) {
            return step.respond(key, Response::to(request, 500).with("Retry-After", "1"));
        }
        if request.is(rsip::Method::Update) {
            return fork.update(asking, asked, common, step);
        }
        let response = if request.is(rsip::Method::Info) {
            let (response, key) = info::read(request);
            if let Some(key) = key {
                common.tell(CallEvent::Key(key), step);
            }
            response
        } else if request.is(rsip::Method::Options) {
            options::answer(request)
        } else if request.is(rsip::Method::Invite) {
            // Ours is under way (RFC 3261 §14.2).
            Response::to(request, 491)
        } else {
            // A BYE of the called side does not belong here (RFC 3261 §15); its final answer is still owed.
            Response::to(request, if request.is(rsip::Method::Bye) { 200 } else { 481 })
        };
        step.respond(key, response);
    }

    /// Whether `request` is the attempt at hand and not one that was left for another address.
    pub fn is_at(&self, request: &Request) -> bool {
        self.invite.fields.first("Via") == request.fields.first("Via")
    }

    /// The attempt at hand came to nothing.
    pub fn failed(&mut self, failure: CallFailure, common: &mut Common, step: &mut Step<'_>) -> Option<Phase> {
        if self.try_next(common, step) {
            return None;
        }
        common.tell(CallEvent::Failed(failure), step);
        Some(over(step))
    }

    /// Sends the INVITE to the next address as a new transaction (RFC 3263 §4.3); `false` when there is none or nobody
    /// wants the call any more. The transaction that is left lives on: should it be answered after all, the answer is
    /// cancelled or hung up.
    fn try_next(&mut self, common: &mut Common, step: &mut Step<'_>) -> bool {
        if common.quiet {
            return false;
        }
        let Some(Target { to, local }) = self.way.others.pop_front() else { return false };
        step.out.push(Act::Silent(self.way.to));
        common.local = local;
        common.auth.begin();
        let mut again = Request::clone(&self.invite);
        again.fields.remove("Authorization");
        again.fields.remove("Proxy-Authorization");
        again.fields.set("Via", common.local.via(&step.token()));
        again.fields.set("Contact", common.local.contact.clone());
        self.invite = Arc::new(again);
        self.way.to = to;
        self.provisional = false;
        self.close_forks(common, step);
        self.next_at = patience(&self.way, step);
        step.out.push(Act::Send { request: self.invite.clone(), to, purpose: Purpose::Invite });
        true
    }

    /// Gives the call up; a CANCEL goes out as soon as it may.
    fn cancel(&mut self, reason: Reason, common: &Common, step: &mut Step<'_>) {
        self.ring_until = None;
        self.next_at = None;
        if matches!(self.cancel, Cancel::No) {
            if self.provisional {
                self.send_cancel(&reason, common, step);
            } else {
                self.cancel = Cancel::Wanted(reason);
            }
        }
    }

    fn send_cancel(&mut self, reason: &Reason, common: &Common, step: &mut Step<'_>) {
        self.cancel = Cancel::Sent { give_up: step.now + step.timers.give_up() };
        let mut cancel = cancel_of(&self.invite, &common.local.user_agent);
        common.say_why(reason, &mut cancel);
        step.send(cancel, self.way.to, Purpose::Cancel);
        step.out.push(Act::Expire(ClientKey::of_request(&self.invite)));
    }

    pub fn tick(&mut self, common: &mut Common, step: &mut Step<'_>) -> Option<Phase> {
        if let Cancel::Sent { give_up } = self.cancel
            && step.now >= give_up
        {
            return Some(over(step));
        }
        if self.next_at.is_some_and(|at| step.now >= at) {
            self.next_at = None;
            if !self.try_next(common, step) {
                common.tell(CallEvent::Failed(CallFailure::TrunkDown), step);
                self.cancel(Reason::sip(408, "Request Timeout"), common, step);
            }
        }
        if self.ring_until.is_some_and(|until| step.now >= until) {
            let failure = if self.provisional { CallFailure::NoAnswer } else { CallFailure::TrunkSilent };
            common.tell(CallEvent::Failed(failure), step);
            self.cancel(Reason::q850(19, "No answer from user"), common, step);
        }
        for fork in self.forks.iter_mut() {
            fork.tick(common, step);
        }
        None
    }

    pub fn wake_at(&self) -> Option<Instant> {
        let own = match &self.cancel {
            Cancel::Sent { give_up } => [Some(*give_up), None],
            Cancel::No | Cancel::Wanted(_) => [self.ring_until, self.next_at],
        };
        let offers = self.forks.iter().filter_map(|fork| fork.exchange.wake_at());
        own.into_iter().flatten().chain(offers).min()
    }
}

/// An address that has said nothing for 8·T1, four transmissions, is left for the next one; the last has all of timer B,
/// but not when the trunk has left the health check unanswered as well.
fn patience(way: &Way, step: &Step<'_>) -> Option<Instant> {
    (!way.others.is_empty() || way.down).then(|| step.now + step.timers.patience())
}

/// The CANCEL of an INVITE (RFC 3261 §9.1).
pub(super) fn cancel_of(invite: &Request, user_agent: &str) -> Request {
    let fields = &invite.fields;
    let mut cancel = Request::new(rsip::Method::Cancel.into(), invite.uri.clone());
    for name in ["Via", "Route", "From", "To", "Call-ID"] {
        for value in fields.all(name) {
            cancel.fields.push(name, value);
        }
    }
    let number = fields.first("CSeq").and_then(|cseq| cseq.split(' ').next()).unwrap_or("1");
    cancel.fields.push("CSeq", format!("{number} CANCEL"));
    cancel.fields.push("Max-Forwards", "70");
    cancel.fields.push("User-Agent", user_agent);
    cancel
}

fn sequence_of(response: &Response) -> u32 {
    response.cseq().map(|cseq| cseq.number).unwrap_or_default()
}

/// The peer's tag in a request of ours.
fn tag_of(request: &Request) -> String {
    let to = request.fields.first("To").and_then(|to| NameAddr::parse(to).ok());
    to.and_then(|to| to.tag().map(str::to_owned)).unwrap_or_default()
}
