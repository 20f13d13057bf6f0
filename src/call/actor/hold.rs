//! Hold and resume on our side: the far end is asked, and only what it agrees to is done.
//!
//! | Order | State | Next |
//! |---|---|---|
//! | hold | talking | offer `inactive`; accepted: agent and leg are quiet |
//! | resume | on hold by us | offer `sendrecv`; accepted: both go on |
//! | either | already so | done at once |
//! | either | not live, or another change under way | not now |
//! | – | on hold by us, and the far end offers | answered `inactive`: our hold stands |

use tokio::sync::oneshot;

use super::outbound::ability;
use super::{Actor, wire};
use crate::call::Held;
use crate::call::machine::State;
use crate::sip::endpoint::OfferOutcome;
use crate::sip::sdp::{Direction, SessionDescription};

/// A change of ours that waits for the far end.
pub(in crate::call) struct Change {
    on: bool,
    session: SessionDescription,
    outcome: oneshot::Receiver<OfferOutcome>,
    reply: oneshot::Sender<Held>,
}

impl Actor {
    pub(super) fn on_hold_order(&mut self, on: bool, reply: oneshot::Sender<Held>) {
        let answer = |reply: oneshot::Sender<Held>, held: Held| {
            // Whoever asked may have gone away.
            let _ = reply.send(held);
        };
        let (Some(sip), Some(media), State::Talking { .. }) = (&self.sip, &self.media, &self.state) else {
            return answer(reply, Held::NotNow);
        };
        if self.voice.change.is_some() || self.moving.is_some() || self.is_being_transferred() {
            return answer(reply, Held::NotNow);
        }
        if self.voice.held_by_us == on {
            return answer(reply, Held::Done);
        }
        // Nothing is to be heard in either direction: there is no music on hold.
        let direction = if on { Direction::Inactive } else { Direction::SendRecv };
        let ability = ability(&self.room, &self.line.trunk, sip, media);
        let fresh = media.local.propose_again(&ability.terms());
        let session = wire::next_version(&media.local, SessionDescription { direction, ..fresh });
        let (done, outcome) = oneshot::channel();
        let (control, offer) = (sip.control.clone(), session.clone());
        tokio::spawn(async move {
            // An actor that is gone needs no outcome.
            let _ = done.send(control.offer(offer).await);
        });
        self.voice.change = Some(Change { on, session, outcome, reply });
    }

    /// The far end's word on our change.
    pub(super) fn on_changed(&mut self, change: Change, outcome: OfferOutcome) {
        let Change { on, session, reply, .. } = change;
        let held = match (outcome, &mut self.media) {
            (OfferOutcome::Accepted(answer), Some(media)) => match session.agree(&answer) {
                Ok(agreed) => {
                    media.remote = Some(wire::remote(&agreed));
                    media.local = session;
                    self.voice.held_by_us = on;
                    self.follow();
                    Held::Done
                }
                Err(_) => Held::Refused(488),
            },
            (OfferOutcome::Accepted(_), None) => Held::NotNow,
            (OfferOutcome::Refused(code), _) => Held::Refused(code),
        };
        let _ = reply.send(held);
    }
}

/// The end of a change that is under way; never when there is none.
pub(super) async fn changed(change: &mut Option<Change>) -> (Change, OfferOutcome) {
    let outcome = match change {
        Some(change) => (&mut change.outcome).await.unwrap_or(OfferOutcome::Refused(0)),
        None => std::future::pending().await,
    };
    match change.take() {
        Some(change) => (change, outcome),
        None => std::future::pending().await,
    }
}
