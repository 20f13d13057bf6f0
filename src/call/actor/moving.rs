//! The caller's side moves to another dialog, and the agent's conversation goes on there, in the same media leg.
//!
//! | What comes | When | Answer |
//! |---|---|---|
//! | REFER | somebody talks, nothing else is under way, and `transfer::route` allows the target | 202, INVITE to the target |
//! | REFER | otherwise | 403, or 603 while something else is under way |
//! | the target rings | | NOTIFY of its 1xx |
//! | the target answers | | NOTIFY of 200, BYE; its dialog is the call's |
//! | the trunk fails before the target rings | another leads there | INVITE through that one |
//! | the target refuses, fails | | NOTIFY of the refusal; the call goes on |
//! | the referrer leaves meanwhile | | the call waits for the target |
//! | INVITE that replaces our dialog (RFC 3891) | somebody talks, and it can be agreed on | 200; BYE in the old dialog |
//! | INVITE that replaces our dialog | otherwise | 488, or 503 |

use super::wire::{self, Ability};
use super::{Actor, SipLeg, outbound};
use crate::call::internal;
use crate::call::lines::Line;
use crate::call::machine::{Event, State};
use crate::call::outcome;
use crate::call::record::Direction;
use crate::call::transfer::dial::{self, Dialling};
use crate::call::transfer::route::{self, Route, Through};
use crate::call::transfer::{TransferError, TransferMode, TransferOutcome};
use crate::sip::endpoint::{CallEvent, CallFailure, IncomingCall, Referral};
use crate::sip::sdp::SessionDescription;

/// A longer Referred-By is not passed on: the INVITE must stay a small message.
const LONGEST_REFERRED_BY: usize = 512;

/// The dialog that the call is about to move to.
pub(in crate::call) struct Moving {
    pub(in crate::call) sip: SipLeg,
    local: SessionDescription,
    early: Option<Box<SessionDescription>>,
    /// Of another trunk than the call's.
    line: Option<Line>,
    route: Route,
    referred_by: Option<String>,
    tried: Vec<String>,
    rang: bool,
}

impl Actor {
    pub(super) async fn on_referral(&mut self, referral: Referral) {
        let Some(sip) = &self.sip else { return };
        let talking = matches!(self.state, State::Talking { .. });
        if !talking || self.moving.is_some() || self.is_being_transferred() || self.room.is_draining() {
            return sip.control.answer_refer(603);
        }
        let from = self.room.trunk(&self.line.trunk);
        let route = match route::judge(&self.room, self.call.organization, &referral.target, from) {
            Ok(route) => route,
            Err(error) => {
                tracing::info!(call = %self.call.id, %error, "a REFER of the far end was refused");
                return sip.control.answer_refer(if error == TransferError::Forbidden { 403 } else { 503 });
            }
        };
        sip.control.answer_refer(202);
        let destination = referral.target.uri.to_string();
        self.note_transfer(&destination, TransferMode::Moved);
        let referred_by = referral.referred_by.filter(|value| value.len() <= LONGEST_REFERRED_BY);
        if let Err(code) = self.move_to(route, referred_by, Vec::new()).await {
            self.not_moved(code).await;
        }
    }

    async fn move_to(&mut self, route: Route, referred_by: Option<String>, tried: Vec<String>) -> Result<(), u16> {
        let port = self.media.as_ref().map(|media| media.leg.local_rtp_port).ok_or(503_u16)?;
        // On the same trunk the new leg takes the place of the old one.
        let same = tried.is_empty()
            && match &route.through {
                Through::AnyTrunk => !self.line.trunk.is_empty(),
                Through::Trunk(name) => *name == self.line.trunk,
                Through::Extension(_) => self.line.trunk.is_empty(),
            };
        let line = if same { None } else { Some(dial::line(&self.room, &route, &tried).ok_or(503_u16)?) };
        let replaces = self.call.direction == Direction::Outbound && !self.line.trunk.is_empty();
        let (call, said) = (self.call.id, referred_by.clone());
        let dialling = Dialling { call, route: &route, port, referred_by: said, caller_name: None, replaces };
        let through = line.as_ref().unwrap_or(&self.line);
        let tried = tried.into_iter().chain([through.trunk.clone()]).collect();
        let dialled = dialling.through(&self.room, through).await;
        let (sip, local) = dialled.map_err(|error| if error == TransferError::Malformed { 404_u16 } else { 503 })?;
        self.moving = Some(Moving { sip, local, early: None, line, route, referred_by, tried, rang: false });
        Ok(())
    }

    pub(super) async fn on_moving(&mut self, event: Option<CallEvent>) {
        match event {
            Some(CallEvent::Ringing { code, session }) => {
                if let Some(moving) = &mut self.moving {
                    moving.early = session.or(moving.early.take());
                    moving.rang = true;
                }
                self.report_refer(code);
            }
            Some(CallEvent::Answered { session }) => self.on_moved(session).await,
            Some(CallEvent::Rejected { code, .. }) => {
                self.not_reached(code, outcome::of_response(code, "").trunk_trouble).await;
            }
            Some(CallEvent::Failed(CallFailure::NoAnswer)) => self.not_moved(480).await,
            Some(CallEvent::Failed(failure)) => {
                self.not_reached(503, outcome::of_failure(&failure).trunk_trouble).await;
            }
            None => self.not_moved(503).await,
            Some(CallEvent::Ended { .. }) => self.not_moved(487).await,
            Some(_) => {}
        }
    }

    /// The target was not reached; where that is the trunk's `trouble`, another one is tried.
    async fn not_reached(&mut self, code: u16, trouble: bool) {
        let Some(Moving { route, referred_by, tried, rang, .. }) = self.moving.take() else { return };
        if let Some(trunk) = tried.last().filter(|_| trouble) {
            self.room.lines.in_trouble(trunk, self.room.clock.now());
        }
        if !trouble || rang || self.move_to(route, referred_by, tried).await.is_err() {
            self.not_moved(code).await;
        }
    }

    async fn on_moved(&mut self, session: Option<Box<SessionDescription>>) {
        let (Some(moving), Some(media)) = (&mut self.moving, &mut self.media) else { return };
        let answer = session.or(moving.early.take());
        let Some(agreed) = answer.and_then(|answer| moving.local.agree(&answer).ok()) else {
            moving.sip.control.hang_up();
            return self.not_moved(488).await;
        };
        let Some(Moving { sip, local, line, .. }) = self.moving.take() else { return };
        media.local = local;
        media.remote = Some(wire::remote(&agreed));
        self.report_refer(200);
        self.adopt(sip);
        let trunk = line.as_ref().map_or(&self.line.trunk, |line| &line.trunk).clone();
        // Of a call that we placed the whole is charged anyhow.
        if self.call.direction == Direction::Inbound {
            self.leg_answered(trunk);
        }
        if let Some(line) = line {
            self.call.trunk.clone_from(&line.trunk);
            self.call.trunk_id = match line.trunk.as_str() {
                "" => String::new(),
                trunk => crate::call::ledger::trunk_id(trunk),
            };
            self.line = line;
        }
        self.follow();
        self.settle_transfer(TransferOutcome::Answered).await;
    }

    async fn not_moved(&mut self, code: u16) {
        self.moving = None;
        self.report_refer(code);
        self.settle_transfer(TransferOutcome::of_code(code)).await;
        // The referrer has left already.
        if self.sip.is_none() {
            Box::pin(self.feed(Event::PeerLeft)).await;
        }
    }

    fn report_refer(&self, code: u16) {
        if let Some(sip) = &self.sip {
            sip.control.report_refer(code);
        }
    }

    /// An INVITE that takes the place of the caller's dialog.
    pub(super) async fn on_replacement(&mut self, incoming: IncomingCall) {
        if let Err(code) = self.replace(&incoming) {
            return incoming.control.reject(code);
        }
        let IncomingCall { control, events, caller, origin, .. } = incoming;
        self.room.traces.joined(self.call.id, control.sip_call_id());
        self.adopt(SipLeg::new(control, events, origin.extension()));
        self.follow();
        self.note_transfer(&caller, TransferMode::Moved);
        self.settle_transfer(TransferOutcome::Answered).await;
    }

    fn replace(&mut self, incoming: &IncomingCall) -> Result<(), u16> {
        let talking = matches!(self.state, State::Talking { .. } | State::Stopping { .. });
        let media = self.media.as_mut().filter(|_| talking && self.moving.is_none()).ok_or(503_u16)?;
        let trunk = self.room.trunk(&self.line.trunk);
        let ability = match trunk {
            Some(trunk) => Ability::of_trunk(trunk),
            None => internal::ability(&self.room, incoming)?,
        };
        let (id, terms, address) = (outbound::session_id(), ability.terms(), media.local.address);
        match &incoming.offer {
            Some(offer) => {
                let (answer, agreed) = offer.answer_under(id, address, &terms, None).map_err(|_| 488_u16)?;
                media.remote = Some(wire::remote(&agreed));
                media.local = answer;
            }
            None => media.local = SessionDescription::propose(id, address, &terms),
        }
        incoming.control.answer(media.local.clone());
        Ok(())
    }

    /// From now on `sip` is the call's dialog; the one before is ended.
    fn adopt(&mut self, sip: SipLeg) {
        self.room.registry.note_leg(self.call.id, sip.control.key());
        self.legs_ended();
        // What was agreed with the dialog before does not bind the new one.
        self.voice.change = None;
        self.voice.held_by_us = false;
        if let Some(before) = self.sip.replace(sip) {
            before.control.hang_up();
        }
    }
}
