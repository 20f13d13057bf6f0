//! An outbound INVITE before its final answer.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use crate::sip::event::{CallEvent, CallFailure};
use crate::sip::message::{Request, Response, media_type};
use crate::sip::sdp::SessionDescription;
use crate::sip::transaction::ClientKey;
use crate::sip::transport::Hop;

use super::call::{Common, Phase, over};
use super::session::Session;
use super::{Act, Dialog, LocalEnd, Purpose, Step};

pub(super) struct Dialling {
    /// As last sent.
    invite: Arc<Request>,
    to: Hop,
    offer: SessionDescription,
    ring_until: Option<Instant>,
    /// Any provisional response came: only now may it be cancelled (RFC 3261 §9.1).
    provisional: bool,
    cancel: Cancel,
    /// Early media by To tag: each fork has its own.
    early: HashMap<String, SessionDescription>,
    /// Where else the trunk can be reached, best first.
    others: VecDeque<Target>,
    /// When the next of them gets its try: not a word has come so far.
    next_at: Option<Instant>,
}

/// One address of the called host, and how we name ourselves towards it.
pub struct Target {
    pub to: Hop,
    pub local: LocalEnd,
}

#[derive(Clone, Copy, PartialEq)]
enum Cancel {
    No,
    Wanted,
    Sent { give_up: Instant },
}

/// Forks whose early media is remembered.
const MAX_FORKS: usize = 16;

impl Dialling {
    pub fn start(
        invite: Request,
        to: Hop,
        offer: SessionDescription,
        ring_until: Instant,
        others: VecDeque<Target>,
        step: &mut Step<'_>,
    ) -> Dialling {
        let invite = Arc::new(invite);
        step.out.push(Act::Send { request: invite.clone(), to, purpose: Purpose::Invite });
        Dialling {
            next_at: patience(&others, step),
            others,
            invite,
            to,
            offer,
            ring_until: Some(ring_until),
            provisional: false,
            cancel: Cancel::No,
            early: HashMap::new(),
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
                self.provisional(response, common, step);
                None
            }
            200..=299 => Some(self.answered(response, source, common, step)),
            401 | 407 if !common.quiet => self.challenged(response, common, step),
            // This one is overloaded or down: RFC 3263 §4.3.
            503 if self.try_next(common, step) => None,
            code => {
                let (reason, retry_after) = (response.reason.clone(), response.retry_after());
                common.tell(CallEvent::Rejected { code, reason, retry_after }, step);
                Some(over(step))
            }
        }
    }

    fn provisional(&mut self, response: &Response, common: &mut Common, step: &mut Step<'_>) {
        self.provisional = true;
        if self.cancel == Cancel::Wanted {
            self.send_cancel(common, step);
        }
        if response.code() == 100 {
            return;
        }
        let session = session_of(response).ok().flatten();
        if let Some(session) = &session
            && self.early.len() < MAX_FORKS
        {
            self.early.insert(response.to_tag().unwrap_or_default(), session.clone());
        }
        common.tell(CallEvent::Ringing { code: response.code(), session }, step);
    }

    fn answered(&mut self, response: &Response, source: Hop, common: &mut Common, step: &mut Step<'_>) -> Phase {
        let Some(mut dialog) = Dialog::from_response(&self.invite, response, source) else {
            common.tell(CallEvent::Failed(CallFailure::BadAnswer("the answer opens no dialog".into())), step);
            return over(step);
        };
        let sequence = response.cseq().map(|cseq| cseq.number).unwrap_or_default();
        common.acknowledge(&dialog, sequence, step);
        let verdict = if common.quiet { Err(String::new()) } else { self.usable_answer(response) };
        match verdict {
            Ok(session) => {
                common.tell(CallEvent::Answered { session: Some(session) }, step);
                Phase::Live(Box::new(Session::confirmed(dialog)))
            }
            Err(problem) => {
                common.bye(&mut dialog, step);
                common.tell(CallEvent::Failed(CallFailure::BadAnswer(problem)), step);
                over(step)
            }
        }
    }

    /// The answer of this fork; some peers give it in a provisional response only.
    fn usable_answer(&mut self, response: &Response) -> Result<SessionDescription, String> {
        let tag = response.to_tag().unwrap_or_default();
        let session = match session_of(response)? {
            Some(session) => session,
            None => self.early.remove(&tag).ok_or("the answer has no session description")?,
        };
        self.offer.agree(&session).map_err(|error| error.to_string())?;
        Ok(session)
    }

    fn challenged(&mut self, response: &Response, common: &mut Common, step: &mut Step<'_>) -> Option<Phase> {
        let sequence = response.cseq().map(|cseq| cseq.number.saturating_add(1)).unwrap_or_default();
        let Some(again) = common.authorized(&self.invite, response, sequence, step) else {
            common.tell(CallEvent::Failed(CallFailure::Unauthorized), step);
            return Some(over(step));
        };
        self.invite = Arc::new(again);
        self.provisional = false;
        step.out.push(Act::Send { request: self.invite.clone(), to: self.to, purpose: Purpose::Invite });
        None
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
        let Some(Target { to, local }) = self.others.pop_front() else { return false };
        step.out.push(Act::Silent(self.to));
        common.local = local;
        common.auth.begin();
        let mut again = Request::clone(&self.invite);
        again.fields.remove("Authorization");
        again.fields.remove("Proxy-Authorization");
        again.fields.set("Via", common.local.via(&step.token()));
        again.fields.set("Contact", common.local.contact.clone());
        self.invite = Arc::new(again);
        self.to = to;
        self.provisional = false;
        self.early.clear();
        self.next_at = patience(&self.others, step);
        step.out.push(Act::Send { request: self.invite.clone(), to, purpose: Purpose::Invite });
        true
    }

    /// Gives the call up; a CANCEL goes out as soon as it may.
    pub fn cancel(&mut self, common: &Common, step: &mut Step<'_>) {
        self.ring_until = None;
        self.next_at = None;
        if self.cancel == Cancel::No {
            self.cancel = Cancel::Wanted;
            if self.provisional {
                self.send_cancel(common, step);
            }
        }
    }

    fn send_cancel(&mut self, common: &Common, step: &mut Step<'_>) {
        self.cancel = Cancel::Sent { give_up: step.now + step.timers.give_up() };
        let cancel = cancel_of(&self.invite, &common.local.user_agent);
        step.send(cancel, self.to, Purpose::Cancel);
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
            self.try_next(common, step);
        }
        if self.ring_until.is_some_and(|until| step.now >= until) {
            let failure = if self.provisional { CallFailure::NoAnswer } else { CallFailure::TrunkSilent };
            common.tell(CallEvent::Failed(failure), step);
            self.cancel(common, step);
        }
        None
    }

    pub fn wake_at(&self) -> Option<Instant> {
        match self.cancel {
            Cancel::Sent { give_up } => Some(give_up),
            Cancel::No | Cancel::Wanted => [self.ring_until, self.next_at].into_iter().flatten().min(),
        }
    }
}

/// An address that has said nothing for 8·T1, four transmissions, is left for the next one; the last has all of timer B.
fn patience(others: &VecDeque<Target>, step: &Step<'_>) -> Option<Instant> {
    (!others.is_empty()).then(|| step.now + step.timers.t1 * 8)
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

/// The session description of a response: none, one, or why it cannot be read.
fn session_of(response: &Response) -> Result<Option<SessionDescription>, String> {
    if response.body.is_empty() {
        return Ok(None);
    }
    if media_type(&response.fields).is_some_and(|kind| kind != "application/sdp") {
        return Err("the answer's body is not a session description".into());
    }
    let text = String::from_utf8_lossy(&response.body);
    SessionDescription::parse(&text).map(Some).map_err(|error| error.to_string())
}
