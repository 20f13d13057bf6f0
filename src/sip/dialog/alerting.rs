//! An inbound INVITE before its final answer.

use std::time::{Duration, Instant};

use crate::sip::event::{CallEvent, Command, EndedBy, OfferOutcome};
use crate::sip::message::{Checked, Request, Response};
use crate::sip::sdp::SessionDescription;
use crate::sip::transaction::ServerKey;

use super::call::{Common, Phase, over};
use super::session::{Session, unacceptable};
use super::{Act, Dialog, Step};

pub(super) struct Alerting {
    invite: Request,
    key: ServerKey,
    dialog: Dialog,
    has_offer: bool,
    /// The last provisional response and when it is due again.
    provisional: Option<Response>,
    repeat_at: Instant,
}

/// Proxies give up after three minutes without a sign of life (RFC 3261 §13.3.1.1).
const SIGN_OF_LIFE: Duration = Duration::from_secs(60);

impl Alerting {
    pub fn new(invite: Request, key: ServerKey, dialog: Dialog, has_offer: bool, now: Instant) -> Alerting {
        Alerting { invite, key, dialog, has_offer, provisional: None, repeat_at: now + SIGN_OF_LIFE }
    }

    pub fn command(
        &mut self,
        command: Command,
        local_tag: &str,
        common: &mut Common,
        step: &mut Step<'_>,
    ) -> Option<Phase> {
        match command {
            Command::Ringing(session) => {
                self.ring(session.as_ref(), local_tag, common, step);
                None
            }
            Command::Answer(session) => Some(self.answer(&session, local_tag, common, step)),
            Command::Reject(code) => {
                let code = if (300..700).contains(&code) { code } else { 500 };
                self.refuse(code, local_tag, (code == 503).then_some(10), step);
                common.tell(CallEvent::Ended { by: EndedBy::Us }, step);
                Some(over(step))
            }
            Command::RefuseMedia(problem) => {
                step.respond(&self.key, unacceptable(&self.invite, problem).with_to_tag(local_tag));
                common.tell(CallEvent::Ended { by: EndedBy::Us }, step);
                Some(over(step))
            }
            Command::HangUp => {
                self.refuse(480, local_tag, None, step);
                common.tell(CallEvent::Ended { by: EndedBy::Us }, step);
                Some(over(step))
            }
            Command::Offer(_) => {
                step.out.push(Act::OfferDone(OfferOutcome::Refused(0)));
                None
            }
            // These belong to a confirmed dialog.
            _ => None,
        }
    }

    fn ring(&mut self, session: Option<&SessionDescription>, local_tag: &str, common: &Common, step: &mut Step<'_>) {
        let code = if session.is_some() { 183 } else { 180 };
        let mut response = Response::to(&self.invite, code).with_to_tag(local_tag);
        for route in self.invite.fields.all("Record-Route") {
            response.fields.push("Record-Route", route);
        }
        response.fields.push("Contact", common.local.contact.clone());
        if let Some(session) = session {
            response = response.with_body("application/sdp", session.write());
        }
        step.respond(&self.key, response.clone());
        self.provisional = Some(response);
        self.repeat_at = step.now + SIGN_OF_LIFE;
    }

    fn answer(
        &mut self,
        session: &SessionDescription,
        local_tag: &str,
        common: &mut Common,
        step: &mut Step<'_>,
    ) -> Phase {
        let response = common.accept(&self.invite, local_tag).with_body("application/sdp", session.write());
        step.respond(&self.key, response.clone());
        Phase::Live(Box::new(Session::answered(self.dialog.clone(), self.key.clone(), response, !self.has_offer, step)))
    }

    pub fn refuse(&self, code: u16, local_tag: &str, retry_after: Option<u32>, step: &mut Step<'_>) {
        let mut response = Response::to(&self.invite, code).with_to_tag(local_tag);
        if let Some(seconds) = retry_after {
            response.fields.push("Retry-After", seconds.to_string());
        }
        step.respond(&self.key, response);
    }

    /// A request inside the early dialog.
    pub fn request(
        &mut self,
        request: &Request,
        checked: &Checked,
        key: &ServerKey,
        common: &mut Common,
        step: &mut Step<'_>,
    ) -> Option<Phase> {
        if !self.dialog.admit(checked.cseq.number) {
            step.respond(key, Response::to(request, 500).with("Retry-After", "1"));
            return None;
        }
        if request.is(rsip::Method::Bye) {
            step.respond(key, Response::to(request, 200));
            self.refuse(487, &self.dialog.local_tag.clone(), None, step);
            common.tell(CallEvent::Ended { by: EndedBy::Peer }, step);
            return Some(over(step));
        }
        // A second INVITE or UPDATE before the first is answered (RFC 3261 §14.2, RFC 3311 §5.2).
        let response = if request.is(rsip::Method::Invite) || request.is(rsip::Method::Update) {
            Response::to(request, 500).with("Retry-After", "2")
        } else if request.is(rsip::Method::Options) || request.is(rsip::Method::Info) {
            Response::to(request, 200)
        } else {
            Response::to(request, 481)
        };
        step.respond(key, response);
        None
    }

    pub fn tick(&mut self, step: &mut Step<'_>) {
        if step.now >= self.repeat_at {
            self.repeat_at = step.now + SIGN_OF_LIFE;
            if let Some(response) = &self.provisional {
                step.respond(&self.key, response.clone());
            }
        }
    }

    pub fn wake_at(&self) -> Instant {
        self.repeat_at
    }
}
