//! A confirmed dialog: offers in both directions, the wait for an ACK, and the end.

use std::time::{Duration, Instant};

use crate::sip::event::{CallEvent, CallFailure, Command, EndedBy, OfferOutcome};
use crate::sip::message::{Checked, Request, Response, media_type};
use crate::sip::sdp::SessionDescription;
use crate::sip::transaction::{Backoff, ServerKey};
use crate::sip::transport::Hop;

use super::call::{ALLOW, Common, Phase, over};
use super::{Act, Dialog, Purpose, Step};

pub(super) struct Session {
    dialog: Dialog,
    /// Our 2xx that waits for its ACK.
    unacknowledged: Option<Unacknowledged>,
    /// The peer's offer that waits for our owner's word.
    asked: Option<Asked>,
    /// Our own offer.
    offering: Offering,
    /// Hung up before the ACK came; the BYE waits for it (RFC 3261 §15).
    bye_wanted: bool,
}

struct Unacknowledged {
    key: ServerKey,
    response: Response,
    sequence: u32,
    repeat: Backoff,
    give_up: Instant,
    /// The 2xx held our offer; the answer comes in the ACK.
    answer_due: bool,
    /// It is the 2xx that answered the call.
    first: bool,
}

struct Asked {
    key: ServerKey,
    request: Request,
    has_offer: bool,
    give_up: Instant,
}

enum Offering {
    Idle,
    Sent {
        session: SessionDescription,
        tries: u8,
    },
    /// After a 491.
    Again {
        at: Instant,
        session: SessionDescription,
        tries: u8,
    },
}

/// How often a re-INVITE that met the peer's is tried again.
const GLARE_TRIES: u8 = 4;

impl Session {
    /// After a 2xx of the peer.
    pub fn confirmed(dialog: Dialog) -> Session {
        Session { dialog, unacknowledged: None, asked: None, offering: Offering::Idle, bye_wanted: false }
    }

    /// After our own first 2xx.
    pub fn answered(
        dialog: Dialog,
        key: ServerKey,
        response: Response,
        answer_due: bool,
        step: &mut Step<'_>,
    ) -> Session {
        let mut session = Session::confirmed(dialog);
        session.await_ack(key, response, answer_due, true, step);
        session
    }

    fn await_ack(&mut self, key: ServerKey, response: Response, answer_due: bool, first: bool, step: &mut Step<'_>) {
        self.unacknowledged = Some(Unacknowledged {
            sequence: response.cseq().map(|cseq| cseq.number).unwrap_or_default(),
            key,
            response,
            repeat: Backoff::start(step.now, step.timers.t1),
            give_up: step.now + step.timers.give_up(),
            answer_due,
            first,
        });
    }

    pub fn command(
        &mut self,
        command: Command,
        local_tag: &str,
        common: &mut Common,
        step: &mut Step<'_>,
    ) -> Option<Phase> {
        match command {
            Command::HangUp => return self.hang_up(common, step),
            Command::AcceptOffer(session) => self.accept_offer(&session, local_tag, common, step),
            Command::RefuseOffer => self.refuse_offer(488, step),
            Command::Offer(session) => self.offer(session, 0, common, step),
            Command::Ringing(_) | Command::Answer(_) | Command::Reject(_) => {}
        }
        None
    }

    fn hang_up(&mut self, common: &mut Common, step: &mut Step<'_>) -> Option<Phase> {
        common.tell(CallEvent::Ended { by: EndedBy::Us }, step);
        self.close_offers(step);
        if self.unacknowledged.as_ref().is_some_and(|waiting| waiting.first) {
            self.bye_wanted = true;
            return None;
        }
        common.bye(&mut self.dialog, step);
        Some(over(step))
    }

    /// Answers what is still open before the dialog goes.
    fn close_offers(&mut self, step: &mut Step<'_>) {
        self.refuse_offer(487, step);
        if !matches!(std::mem::replace(&mut self.offering, Offering::Idle), Offering::Idle) {
            step.out.push(Act::OfferDone(OfferOutcome::Refused(0)));
        }
    }

    fn accept_offer(
        &mut self,
        session: &SessionDescription,
        local_tag: &str,
        common: &mut Common,
        step: &mut Step<'_>,
    ) {
        let Some(asked) = self.asked.take() else { return };
        let response = common.accept(&asked.request, local_tag).with_body("application/sdp", session.write());
        step.respond(&asked.key, response.clone());
        if asked.request.is(rsip::Method::Invite) {
            self.await_ack(asked.key, response, !asked.has_offer, false, step);
        }
    }

    fn refuse_offer(&mut self, code: u16, step: &mut Step<'_>) {
        if let Some(asked) = self.asked.take() {
            step.respond(&asked.key, Response::to(&asked.request, code));
        }
    }

    /// Sends our re-INVITE, unless an offer is under way in either direction.
    fn offer(&mut self, session: SessionDescription, tries: u8, common: &mut Common, step: &mut Step<'_>) {
        let busy = self.asked.is_some() || self.unacknowledged.is_some() || !matches!(self.offering, Offering::Idle);
        if busy || common.quiet {
            step.out.push(Act::OfferDone(OfferOutcome::Refused(491)));
            return;
        }
        common.auth.begin();
        let mut invite = self.dialog.request(rsip::Method::Invite, step, &common.local);
        invite.fields.push("Allow", ALLOW);
        let invite = invite.with_body("application/sdp", session.write());
        step.send(invite, self.dialog.hop(), Purpose::Reinvite);
        self.offering = Offering::Sent { session, tries };
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
        match (purpose, response.code()) {
            (_, ..=199) => None,
            (Purpose::Reinvite, 200..=299) => self.offer_answered(response, source, common, step),
            (Purpose::Reinvite, 401 | 407) => {
                let sequence = self.dialog.next_sequence();
                match common.authorized(request, response, sequence, step) {
                    Some(again) => step.send(again, self.dialog.hop(), Purpose::Reinvite),
                    None => self.offer_refused(response.code(), step),
                }
                None
            }
            (Purpose::Reinvite, 491) => {
                self.glare(common, step);
                None
            }
            // The peer has no such dialog, or went silent (RFC 3261 §12.2.1.2).
            (Purpose::Reinvite, 408 | 481) => self.lost(common, step),
            (Purpose::Reinvite, code) => {
                self.offer_refused(code, step);
                None
            }
            (Purpose::Invite | Purpose::Cancel | Purpose::Bye, _) => None,
        }
    }

    fn offer_answered(
        &mut self,
        response: &Response,
        source: Hop,
        common: &mut Common,
        step: &mut Step<'_>,
    ) -> Option<Phase> {
        self.dialog.refresh(&response.fields.list("Contact"), source);
        let sequence = response.cseq().map(|cseq| cseq.number).unwrap_or_default();
        common.acknowledge(&self.dialog, sequence, step);
        let Offering::Sent { session, .. } = std::mem::replace(&mut self.offering, Offering::Idle) else { return None };
        let answer = SessionDescription::parse(&String::from_utf8_lossy(&response.body));
        match answer.and_then(|answer| session.agree(&answer).map(|_| answer)) {
            Ok(answer) => step.out.push(Act::OfferDone(OfferOutcome::Accepted(answer))),
            // Both sides now disagree on the session; RFC 3261 §13.2.2.4 leaves only the end.
            Err(_) => {
                step.out.push(Act::OfferDone(OfferOutcome::Refused(0)));
                return self.lost(common, step);
            }
        }
        None
    }

    fn offer_refused(&mut self, code: u16, step: &mut Step<'_>) {
        self.offering = Offering::Idle;
        step.out.push(Act::OfferDone(OfferOutcome::Refused(code)));
    }

    /// Both sides offered at once: the owner of the Call-ID waits 2.1 to 4 s, the other 0 to 2 s (RFC 3261 §14.1).
    fn glare(&mut self, common: &Common, step: &mut Step<'_>) {
        let Offering::Sent { session, tries } = std::mem::replace(&mut self.offering, Offering::Idle) else { return };
        if tries + 1 >= GLARE_TRIES {
            step.out.push(Act::OfferDone(OfferOutcome::Refused(491)));
            return;
        }
        let spread = u32::from_str_radix(step.token().get(..4).unwrap_or("0"), 16).unwrap_or_default() % 200;
        let tens_ms = if common.outbound { 210 + spread * 190 / 200 } else { spread };
        // Scaled like every other interval, so that a short T1 makes for short waits.
        let wait = step.timers.t1 * tens_ms / 50;
        self.offering = Offering::Again { at: step.now + wait, session, tries: tries + 1 };
    }

    /// A request of the peer; always answered.
    #[allow(clippy::too_many_arguments)]
    pub fn request(
        &mut self,
        request: &Request,
        checked: &Checked,
        key: &ServerKey,
        source: Hop,
        local_tag: &str,
        common: &mut Common,
        step: &mut Step<'_>,
    ) -> Option<Phase> {
        if !self.dialog.admit(checked.cseq.number) {
            step.respond(key, Response::to(request, 500).with("Retry-After", "1"));
            return None;
        }
        match &request.method {
            method if method.is(rsip::Method::Bye) => {
                step.respond(key, Response::to(request, 200));
                common.tell(CallEvent::Ended { by: EndedBy::Peer }, step);
                self.close_offers(step);
                return Some(over(step));
            }
            method if method.is(rsip::Method::Invite) || method.is(rsip::Method::Update) => {
                self.asked_to_change(request, key, source, local_tag, common, step);
            }
            method if method.is(rsip::Method::Info) => step.respond(key, info(request)),
            method if method.is(rsip::Method::Options) => {
                step.respond(key, Response::to(request, 200).with("Allow", ALLOW).with("Accept", "application/sdp"))
            }
            // We never send a reliable provisional response, so no PRACK can fit one (RFC 3262 §3).
            method if method.is(rsip::Method::PRack) => step.respond(key, Response::to(request, 481)),
            _ => step.respond(key, Response::to(request, 405).with("Allow", ALLOW)),
        }
        None
    }

    fn asked_to_change(
        &mut self,
        request: &Request,
        key: &ServerKey,
        source: Hop,
        local_tag: &str,
        common: &mut Common,
        step: &mut Step<'_>,
    ) {
        let refusal = |code: u16| Response::to(request, code);
        if matches!(self.offering, Offering::Sent { .. }) {
            return step.respond(key, refusal(491));
        }
        if self.asked.is_some() || self.unacknowledged.is_some() {
            return step.respond(key, refusal(500).with("Retry-After", "2"));
        }
        if common.quiet {
            return step.respond(key, refusal(481));
        }
        let session = match offer_of(request) {
            Ok(session) => session,
            Err(response) => return step.respond(key, *response),
        };
        self.dialog.refresh(&request.fields.list("Contact"), source);
        if session.is_none() && request.is(rsip::Method::Update) {
            return step.respond(key, common.accept(request, local_tag));
        }
        if request.is(rsip::Method::Invite) {
            step.respond(key, refusal(100));
        }
        self.asked = Some(Asked {
            key: key.clone(),
            request: request.clone(),
            has_offer: session.is_some(),
            give_up: step.now + step.timers.give_up(),
        });
        common.tell(CallEvent::Offer { session }, step);
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
            self.close_offers(step);
            common.bye(&mut self.dialog, step);
            return Some(over(step));
        }
        let session = SessionDescription::parse(&String::from_utf8_lossy(&request.body)).ok();
        if waiting.answer_due && session.is_none() {
            self.close_offers(step);
            common.bye(&mut self.dialog, step);
            let problem = "the ACK has no usable session description".to_owned();
            common.tell(CallEvent::Failed(CallFailure::BadAnswer(problem)), step);
            return Some(over(step));
        }
        if waiting.first || waiting.answer_due {
            common.tell(CallEvent::Answered { session: session.filter(|_| waiting.answer_due) }, step);
        }
        None
    }

    /// The dialog is dead on the other side.
    pub fn lost(&mut self, common: &mut Common, step: &mut Step<'_>) -> Option<Phase> {
        self.close_offers(step);
        common.bye(&mut self.dialog, step);
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
        if self.asked.as_ref().is_some_and(|asked| step.now >= asked.give_up) {
            self.refuse_offer(500, step);
        }
        if let Offering::Again { at, .. } = &self.offering
            && step.now >= *at
            && let Offering::Again { session, tries, .. } = std::mem::replace(&mut self.offering, Offering::Idle)
        {
            if self.asked.is_some() || self.unacknowledged.is_some() {
                let at = step.now + step.timers.t2.max(Duration::from_millis(1));
                self.offering = Offering::Again { at, session, tries };
            } else {
                self.offer(session, tries, common, step);
            }
        }
        None
    }

    pub fn wake_at(&self) -> Option<Instant> {
        let waiting = self.unacknowledged.as_ref().map(|waiting| waiting.repeat.at.min(waiting.give_up));
        let asked = self.asked.as_ref().map(|asked| asked.give_up);
        let again = match &self.offering {
            Offering::Again { at, .. } => Some(*at),
            Offering::Idle | Offering::Sent { .. } => None,
        };
        [waiting, asked, again].into_iter().flatten().min()
    }
}

/// The offer in a request: none, one, or the refusal it is owed.
pub fn offer_of(request: &Request) -> Result<Option<SessionDescription>, Box<Response>> {
    if request.body.is_empty() {
        return Ok(None);
    }
    let coded = request.fields.first("Content-Encoding").is_some_and(|coding| !coding.eq_ignore_ascii_case("identity"));
    if coded || media_type(&request.fields).is_none_or(|kind| kind != "application/sdp") {
        let response = Response::to(request, 415).with("Accept", "application/sdp");
        return Err(Box::new(if coded { response.with("Accept-Encoding", "identity") } else { response }));
    }
    match SessionDescription::parse(&String::from_utf8_lossy(&request.body)) {
        Ok(session) => Ok(Some(session)),
        Err(crate::sip::sdp::SdpError::Syntax { .. }) => {
            let mut response = Response::to(request, 400);
            response.reason = "Malformed Session Description".into();
            Err(Box::new(response))
        }
        Err(_) => Err(Box::new(Response::to(request, 488))),
    }
}

/// INFO of before RFC 6086 is taken note of; packages are not spoken.
fn info(request: &Request) -> Response {
    if request.fields.first("Info-Package").is_some() {
        return Response::to(request, 469).with("Recv-Info", "");
    }
    match media_type(&request.fields).as_deref() {
        None | Some("application/dtmf-relay" | "application/dtmf") => Response::to(request, 200),
        Some(_) => Response::to(request, 415).with("Accept", "application/sdp, application/dtmf-relay"),
    }
}
