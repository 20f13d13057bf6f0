//! The early dialogs of one INVITE: each phone behind a forking proxy is one, with its own session, its own order of
//! reliable responses and its own offers.
//!
//! | Response | Early dialog | Told |
//! |---|---|---|
//! | 101–198 of a new tag | opens | Ringing |
//! | 101–198 of a known tag | becomes the newest | Ringing |
//! | the same, with a session, after one that was reliable | its session stays (RFC 3261 §13.2.1) | Ringing |
//! | 199 (RFC 6228) | ends | Ringing, with the session of the newest that is left |
//! | 2xx | becomes the call; the others wait for their own end | – |

use crate::sip::event::OfferOutcome;
use crate::sip::message::{Request, Response};
use crate::sip::sdp::SessionDescription;
use crate::sip::transport::Hop;

use super::call::{Asking, Common};
use super::exchange::{By, Exchange, Proposal, offer_of};
use super::reliable::{Order, Received, rack};
use super::{Act, Dialog, Purpose, Step};

/// Newest last.
#[derive(Default)]
pub(super) struct Forks(Vec<Fork>);

pub(super) struct Fork {
    pub dialog: Dialog,
    pub exchange: Exchange,
    received: Received,
    /// The answer came reliably: it stands.
    settled: bool,
}

/// Forks that are remembered. A reliable response of one more is not acknowledged, so that fork gives up by itself.
const MAX_FORKS: usize = 16;

impl Forks {
    /// Takes a 101–199. `None` = not to be told: it came before, or out of order.
    pub fn ringing(
        &mut self,
        invite: &Request,
        offer: &SessionDescription,
        response: &Response,
        source: Hop,
        common: &mut Common,
        step: &mut Step<'_>,
    ) -> Option<Option<SessionDescription>> {
        let session = session_of(response).ok().flatten();
        let Some(mut fork) = self.take(invite, offer, response, source) else { return Some(session) };
        let order = fork.received.take(response);
        match order {
            Order::Not => {
                self.0.push(fork);
                return None;
            }
            Order::Next(number) => acknowledge(&mut fork.dialog, number, response, common, step),
            Order::Plain => {}
        }
        if response.code() == 199 {
            fork.exchange.close(step);
            return Some(self.0.iter().rev().find_map(|fork| fork.exchange.theirs().cloned()));
        }
        let session = session.filter(|_| !fork.settled);
        if let Some(session) = &session {
            fork.exchange.settle(session.clone());
            fork.settled = order != Order::Plain && offer.agree(session).is_ok();
        }
        self.0.push(fork);
        Some(session)
    }

    /// The fork that a response belongs to, found or opened; `None` when there are too many or it opens no dialog.
    fn take(&mut self, invite: &Request, offer: &SessionDescription, response: &Response, source: Hop) -> Option<Fork> {
        if let Some(fork) = self.remove(&response.to_tag().unwrap_or_default()) {
            return Some(fork);
        }
        if self.0.len() >= MAX_FORKS {
            return None;
        }
        Some(Fork {
            dialog: Dialog::from_response(invite, response, source)?,
            exchange: Exchange::new(Some(offer.clone()), None),
            received: Received::default(),
            settled: false,
        })
    }

    pub fn remove(&mut self, tag: &str) -> Option<Fork> {
        let at = self.0.iter().position(|fork| fork.dialog.remote_tag == tag)?;
        Some(self.0.remove(at))
    }

    pub fn find(&mut self, tag: &str) -> Option<&mut Fork> {
        self.0.iter_mut().find(|fork| fork.dialog.remote_tag == tag)
    }

    /// The one whose offer waits for our owner.
    pub fn asked(&mut self) -> Option<&mut Fork> {
        self.0.iter_mut().find(|fork| fork.exchange.is_asked())
    }

    /// The newest in which we may offer (RFC 3311 §5.1).
    pub fn open(&mut self) -> Option<&mut Fork> {
        self.0.iter_mut().rev().find(|fork| fork.settled && !fork.exchange.is_busy())
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Fork> {
        self.0.iter_mut()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Fork> {
        self.0.iter()
    }

    /// Ends what is open in all of them; the highest CSeq that they used.
    pub fn close(&mut self, step: &mut Step<'_>) -> u32 {
        let mut highest = 0;
        for mut fork in self.0.drain(..) {
            fork.exchange.close(step);
            highest = highest.max(fork.dialog.last_sequence());
        }
        highest
    }
}

impl Fork {
    /// The session that its 2xx agrees on.
    pub fn answer(
        &self,
        given: Option<SessionDescription>,
        offer: &SessionDescription,
    ) -> Result<SessionDescription, String> {
        let early = self.exchange.theirs().cloned();
        if self.settled
            && let Some(early) = early
        {
            return Ok(early);
        }
        let session = given.or(early).ok_or("the answer has no session description")?;
        offer.agree(&session).map_err(|error| error.to_string())?;
        Ok(session)
    }

    /// What the confirmed dialog begins with.
    pub fn goes_on(fork: Option<Fork>, offer: &SessionDescription, answer: &SessionDescription) -> Exchange {
        let mut exchange = fork.map_or_else(|| Exchange::new(Some(offer.clone()), None), |fork| fork.exchange);
        exchange.settle(answer.clone());
        exchange
    }

    /// An UPDATE of the peer. Before our offer is answered it may bring none of its own (RFC 3311 §5.2).
    pub fn update(&mut self, asking: &Asking<'_>, asked: bool, common: &mut Common, step: &mut Step<'_>) {
        let refusal = |code: u16| Response::to(asking.request, code);
        let offer = match offer_of(asking.request) {
            Ok(offer) => offer,
            Err(response) => return step.respond(asking.key, *response),
        };
        if offer.is_none() {
            self.dialog.refresh(&asking.request.fields.list("Contact"), asking.source);
            return step.respond(asking.key, common.accept(asking.request));
        }
        if !self.settled || self.exchange.is_offering() {
            return step.respond(asking.key, refusal(491));
        }
        if asked || common.quiet {
            return step.respond(asking.key, refusal(500).with("Retry-After", "2"));
        }
        self.exchange.ask(asking, offer, common, step);
    }

    pub fn offer(&mut self, session: SessionDescription, common: &mut Common, step: &mut Step<'_>) {
        if common.allows_update {
            self.exchange.offer(Proposal::asked(session, By::Update), &mut self.dialog, None, common, step);
        } else {
            step.out.push(Act::OfferDone(OfferOutcome::Refused(0)));
        }
    }

    /// Our offer is due again.
    pub fn tick(&mut self, common: &mut Common, step: &mut Step<'_>) {
        if let Some(proposal) = self.exchange.due(false, step) {
            self.exchange.offer(proposal, &mut self.dialog, None, common, step);
        }
    }
}

/// The PRACK of a reliable response.
fn acknowledge(dialog: &mut Dialog, number: u32, response: &Response, common: &mut Common, step: &mut Step<'_>) {
    let Some(rack) = rack(number, response) else { return };
    common.auth.begin();
    let mut prack = dialog.request(rsip::Method::PRack, step, &common.local);
    prack.fields.push("RAck", rack);
    step.send(prack, dialog.hop(), Purpose::Prack);
}

/// The session description of a response: none, one, or why it cannot be read.
pub(super) fn session_of(response: &Response) -> Result<Option<SessionDescription>, String> {
    if response.body.is_empty() {
        return Ok(None);
    }
    if crate::sip::message::media_type(&response.fields).is_some_and(|kind| kind != "application/sdp") {
        return Err("the answer's body is not a session description".into());
    }
    let text = String::from_utf8_lossy(&response.body);
    SessionDescription::parse(&text).map(Some).map_err(|error| error.to_string())
}
