//! Offers and answers inside a dialog (RFC 3264 over RFC 3261 §14, RFC 3311 §5), in both directions, early and confirmed.
//!
//! | Under way | Input | Output | Next |
//! |---|---|---|---|
//! | nothing | offer of ours | re-INVITE, or UPDATE in an early dialog | ours |
//! | nothing | offer of the peer | Offer | the peer's |
//! | ours | offer of the peer | 491 | ours |
//! | ours | 2xx with an answer | ACK (INVITE), OfferDone accepted | nothing |
//! | ours | 2xx that cannot be used | ACK, BYE, Ended lost | – |
//! | ours | 491 | – (again after the wait of §14.1, four times at most) | ours, again |
//! | ours | 500 with Retry-After up to 10 s | – (again after it) | ours, again |
//! | ours | 408, 481, no answer | BYE, Ended lost | – |
//! | ours | any other refusal | OfferDone refused: what stood before stands | nothing |
//! | the peer's | another offer of the peer | 500 with Retry-After | the peer's |
//! | the peer's | offer of ours | OfferDone refused 491 | the peer's |
//! | the peer's | accepted | 2xx with the answer | nothing |
//! | the peer's | refused, or no word for 64·T1 | 488, 500: what stood before stands | nothing |
//!
//! Versions of our description are counted here: each that differs from the one before is one higher, whoever made it.

use std::time::{Duration, Instant};

use crate::sip::event::{CallEvent, OfferOutcome};
use crate::sip::message::{Request, Response, media_type};
use crate::sip::sdp::{SdpError, SessionDescription};
use crate::sip::transaction::ServerKey;
use crate::sip::transport::Hop;

use super::call::{ALLOW, Asking, Common};
use super::timer::SessionTimer;
use super::{Act, Dialog, Purpose, Step, options};

#[derive(Default)]
pub(super) struct Exchange {
    /// What stands on each side.
    ours: Option<SessionDescription>,
    theirs: Option<SessionDescription>,
    /// The peer's offer that waits for our owner's word.
    asked: Option<Asked>,
    /// Our own offer.
    offering: Offering,
    /// The highest version of a description of ours that went out.
    version: u64,
}

struct Asked {
    key: ServerKey,
    request: Request,
    source: Hop,
    offer: Option<SessionDescription>,
    give_up: Instant,
}

#[derive(Default)]
enum Offering {
    #[default]
    Idle,
    Sent(Proposal),
    Again {
        at: Instant,
        proposal: Proposal,
    },
}

/// An offer of ours.
#[derive(Clone)]
pub(super) struct Proposal {
    pub session: SessionDescription,
    pub by: By,
    pub tries: u8,
    /// The session timer's: nobody waits for its outcome.
    pub refresh: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Invite,
    Update,
}

/// What an answer to our offer means for the dialog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    GoesOn,
    /// A refresh of the session was refused; the timer decides.
    RefreshFailed,
    Lost,
}

/// An accepted offer of the peer: what was answered.
pub(super) struct Given {
    pub key: ServerKey,
    pub response: Response,
    pub by_invite: bool,
    /// The 2xx held our offer; the answer comes in the ACK.
    pub answer_due: bool,
}

/// How often an offer that met the peer's is tried again.
const TRIES: u8 = 4;
/// Retry-After that is waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

impl Proposal {
    pub fn asked(session: SessionDescription, by: By) -> Proposal {
        Proposal { session, by, tries: 0, refresh: false }
    }
}

impl Exchange {
    pub fn new(ours: Option<SessionDescription>, theirs: Option<SessionDescription>) -> Exchange {
        let version = ours.as_ref().map(|ours| ours.version).unwrap_or_default();
        Exchange { ours, theirs, version, ..Exchange::default() }
    }

    pub fn theirs(&self) -> Option<&SessionDescription> {
        self.theirs.as_ref()
    }

    pub fn ours(&self) -> Option<&SessionDescription> {
        self.ours.as_ref()
    }

    /// The peer's description, learnt outside of an offer made here.
    pub fn settle(&mut self, theirs: SessionDescription) {
        self.theirs = Some(theirs);
    }

    pub fn is_busy(&self) -> bool {
        self.asked.is_some() || !matches!(self.offering, Offering::Idle)
    }

    pub fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    pub fn is_offering(&self) -> bool {
        matches!(self.offering, Offering::Sent(_))
    }

    /// Takes the offer in a re-INVITE, UPDATE or PRACK that nothing stands against, and asks our owner.
    pub fn ask(
        &mut self,
        asking: &Asking<'_>,
        offer: Option<SessionDescription>,
        common: &mut Common,
        step: &mut Step<'_>,
    ) {
        if asking.request.is(rsip::Method::Invite) {
            step.respond(asking.key, Response::to(asking.request, 100));
        }
        self.asked = Some(Asked {
            key: asking.key.clone(),
            request: asking.request.clone(),
            source: asking.source,
            offer: offer.clone(),
            give_up: step.now + step.timers.give_up(),
        });
        common.tell(CallEvent::Offer { session: offer.map(Box::new) }, step);
    }

    /// Our owner's answer; our offer, when the peer asked for one.
    pub fn accept(
        &mut self,
        session: SessionDescription,
        dialog: &mut Dialog,
        timer: Option<&mut SessionTimer>,
        common: &Common,
        step: &mut Step<'_>,
    ) -> Option<Given> {
        let asked = self.asked.take()?;
        let session = self.versioned(session);
        let mut response = common.accept(&asked.request);
        if let Some(timer) = timer {
            timer.accept(&asked.request.fields, &mut response.fields, step.now);
        }
        let response = response.with_body("application/sdp", session.write());
        step.respond(&asked.key, response.clone());
        dialog.refresh(&asked.request.fields.list("Contact"), asked.source);
        let answer_due = asked.offer.is_none();
        self.theirs = asked.offer.or(self.theirs.take());
        self.ours = Some(session);
        let by_invite = asked.request.is(rsip::Method::Invite);
        Some(Given { key: asked.key, response, by_invite, answer_due })
    }

    /// What stood before stands.
    pub fn refuse(&mut self, code: u16, step: &mut Step<'_>) {
        if let Some(asked) = self.asked.take() {
            step.respond(&asked.key, Response::to(&asked.request, code));
        }
    }

    /// [`Exchange::refuse`] with what is wrong with the offer.
    pub fn refuse_media(&mut self, problem: SdpError, step: &mut Step<'_>) {
        if let Some(asked) = self.asked.take() {
            step.respond(&asked.key, unacceptable(&asked.request, problem));
        }
    }

    /// Answers what is still open before the dialog goes.
    pub fn close(&mut self, step: &mut Step<'_>) {
        self.refuse(487, step);
        let told = match std::mem::take(&mut self.offering) {
            Offering::Idle => false,
            Offering::Sent(proposal) | Offering::Again { proposal, .. } => !proposal.refresh,
        };
        if told {
            step.out.push(Act::OfferDone(OfferOutcome::Refused(0)));
        }
    }

    /// Sends our offer; nothing may be under way.
    pub fn offer(
        &mut self,
        mut proposal: Proposal,
        dialog: &mut Dialog,
        timer: Option<&SessionTimer>,
        common: &mut Common,
        step: &mut Step<'_>,
    ) {
        common.auth.begin();
        proposal.session = self.versioned(proposal.session);
        let (method, purpose) = match proposal.by {
            By::Invite => (rsip::Method::Invite, Purpose::Reinvite),
            By::Update => (rsip::Method::Update, Purpose::Update),
        };
        let mut request = dialog.request(method, step, &common.local);
        request.fields.push("Allow", ALLOW);
        request.fields.push("Supported", options::SUPPORTED);
        if let Some(timer) = timer {
            timer.ask(&mut request.fields);
        }
        let request = request.with_body("application/sdp", proposal.session.write());
        step.send(request, dialog.hop(), purpose);
        self.offering = Offering::Sent(proposal);
    }

    /// A 2xx to our offer, acknowledged where that is owed.
    pub fn answered(&mut self, response: &Response, common: &mut Common, step: &mut Step<'_>) -> Verdict {
        let Offering::Sent(proposal) = std::mem::take(&mut self.offering) else { return Verdict::GoesOn };
        let answer = SessionDescription::parse(&String::from_utf8_lossy(&response.body));
        let agreed = answer.and_then(|answer| proposal.session.agree(&answer).map(|_| answer));
        match agreed {
            Ok(answer) => {
                let changed = self.theirs.as_ref() != Some(&answer);
                self.theirs = Some(answer.clone());
                self.ours = Some(proposal.session);
                if !proposal.refresh {
                    step.out.push(Act::OfferDone(OfferOutcome::Accepted(answer)));
                } else if changed {
                    common.tell(CallEvent::Answered { session: Some(Box::new(answer)) }, step);
                }
                Verdict::GoesOn
            }
            // A refresh that says nothing of the session leaves it as it is.
            Err(_) if proposal.refresh && response.body.is_empty() => Verdict::GoesOn,
            // Both sides now disagree on the session; RFC 3261 §13.2.2.4 leaves only the end.
            Err(_) => {
                self.told(&proposal, 0, step);
                Verdict::Lost
            }
        }
    }

    /// Any other final response.
    pub fn refused(&mut self, response: &Response, common: &mut Common, step: &mut Step<'_>) -> Verdict {
        let Offering::Sent(proposal) = std::mem::take(&mut self.offering) else { return Verdict::GoesOn };
        let code = response.code();
        let wait = match code {
            491 => Some(glare(common.outbound, step)),
            500 => response.retry_after().filter(|wait| *wait <= LONGEST_WAIT),
            _ => None,
        };
        if let Some(wait) = wait
            && proposal.tries + 1 < TRIES
        {
            let proposal = Proposal { tries: proposal.tries + 1, ..proposal };
            self.offering = Offering::Again { at: step.now + wait, proposal };
            return Verdict::GoesOn;
        }
        self.told(&proposal, code, step);
        match code {
            // The peer has no such dialog, or went silent (RFC 3261 §12.2.1.2).
            408 | 481 => Verdict::Lost,
            _ if proposal.refresh => Verdict::RefreshFailed,
            _ => Verdict::GoesOn,
        }
    }

    /// What was sent and is to be sent anew at once: with a longer session interval, or as the other method.
    pub fn withdraw(&mut self) -> Option<Proposal> {
        match std::mem::take(&mut self.offering) {
            Offering::Sent(proposal) => Some(proposal),
            other => {
                self.offering = other;
                None
            }
        }
    }

    fn told(&self, proposal: &Proposal, code: u16, step: &mut Step<'_>) {
        if !proposal.refresh {
            step.out.push(Act::OfferDone(OfferOutcome::Refused(code)));
        }
    }

    /// An offer that is due again, unless the peer's is under way (`held`: or the ACK of one).
    pub fn due(&mut self, held: bool, step: &mut Step<'_>) -> Option<Proposal> {
        if self.asked.as_ref().is_some_and(|asked| step.now >= asked.give_up) {
            self.refuse(500, step);
        }
        match std::mem::take(&mut self.offering) {
            Offering::Again { at, proposal } if step.now >= at => {
                if !held && self.asked.is_none() {
                    return Some(proposal);
                }
                let at = step.now + step.timers.t2.max(Duration::from_millis(1));
                self.offering = Offering::Again { at, proposal };
                None
            }
            other => {
                self.offering = other;
                None
            }
        }
    }

    pub fn wake_at(&self) -> Option<Instant> {
        let asked = self.asked.as_ref().map(|asked| asked.give_up);
        let again = match &self.offering {
            Offering::Again { at, .. } => Some(*at),
            Offering::Idle | Offering::Sent(_) => None,
        };
        asked.into_iter().chain(again).min()
    }

    /// One version higher than all before when it differs from what stands (RFC 3264 §8).
    fn versioned(&mut self, mut session: SessionDescription) -> SessionDescription {
        if let Some(before) = &self.ours {
            session.version = before.version;
            if session != *before || before.version != self.version {
                session.version = self.version.saturating_add(1);
            }
        }
        self.version = session.version;
        session
    }
}

/// The owner of the Call-ID waits 2.1 to 4 s, the other 0 to 2 s (RFC 3261 §14.1).
fn glare(outbound: bool, step: &mut Step<'_>) -> Duration {
    let spread = u32::from_str_radix(step.token().get(..4).unwrap_or("0"), 16).unwrap_or_default() % 200;
    let tens_ms = if outbound { 210 + spread * 190 / 200 } else { spread };
    // Scaled like every other interval, so that a short T1 makes for short waits.
    step.timers.t1 * tens_ms / 50
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
        Err(SdpError::Syntax { .. }) => {
            let mut response = Response::to(request, 400);
            response.reason = "Malformed Session Description".into();
            Err(Box::new(response))
        }
        Err(problem) => Err(Box::new(unacceptable(request, problem))),
    }
}

/// 488 with the reason (RFC 3261 §21.4.26, §20.43).
pub fn unacceptable(request: &Request, problem: SdpError) -> Response {
    let (code, text) = problem.warning();
    Response::to(request, 488).with("Warning", format!("{code} trunkline \"{text}\""))
}
