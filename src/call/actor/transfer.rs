//! A transfer of this call, from order to end; and moves of the caller's own leg.

use std::time::Duration;

use super::Actor;
use crate::ai::Command;
use crate::call::ledger;
use crate::call::machine;
use crate::call::transfer::dial;
use crate::call::transfer::leg::{Told, UnderWay};
use crate::call::transfer::route::{self, Through};
use crate::call::transfer::{
    Action, Event, Limits, Person, PersonNews, State, Transfer, TransferError, TransferMode, TransferOrder,
    TransferOutcome, TrunkLeg, step,
};
use crate::events::EventKind;

/// A whisper that lasts longer is cut short.
const LONGEST_WHISPER: Duration = Duration::from_secs(30);
/// Transfers that are kept in a record: a caller who asks again and again does not fill the disk.
const MOST_KEPT: usize = 50;

impl Actor {
    /// Begins a transfer, or says why not.
    pub(super) async fn transfer(&mut self, order: TransferOrder) -> Result<TransferMode, TransferError> {
        let talking = matches!(self.state, machine::State::Talking { .. });
        if !talking || self.is_being_transferred() || self.moving.is_some() || self.sip.is_none() {
            return Err(TransferError::NotLive);
        }
        if self.room.is_draining() {
            return Err(TransferError::Unavailable);
        }
        let target = route::read(&self.room, &order.destination)?;
        let route = route::judge(&self.room, self.call.organization, &target, None)?;
        // Of the phones of this box the peer knows nothing.
        let inside = matches!(route.through, Through::Extension(_));
        let takes_refer = !inside && self.room.trunk(&self.line.trunk).is_some_and(|trunk| trunk.refer);
        let whisper = order.whisper.as_ref().is_some_and(|text| !text.trim().is_empty());
        let (mode, event) = match order.mode {
            TransferMode::Refer if !takes_refer => return Err(TransferError::NoRefer),
            TransferMode::Refer => (TransferMode::Refer, Event::AskRefer { bridge: false, whisper }),
            // A person who is to hear something first must be called by us.
            TransferMode::Auto if takes_refer && !whisper => {
                (TransferMode::Refer, Event::AskRefer { bridge: true, whisper })
            }
            _ => (TransferMode::Bridge, Event::AskBridge { whisper }),
        };
        self.note_transfer(&order.destination, mode);
        self.note(Vec::new()).await;
        let state = State::Idle;
        let (tried, next_line) = (Vec::new(), None);
        let (whisper, person, late) = (order.whisper, None, None);
        self.transfer = Some(UnderWay { state, route, whisper, person, tried, next_line, late });
        self.feed_transfer(event).await;
        let refused = self.call.transfers.last().and_then(|transfer| transfer.outcome);
        if refused == Some(TransferOutcome::NotAllowed) { Err(TransferError::NoLine) } else { Ok(mode) }
    }

    /// The agent asks; it hears when nothing comes of it.
    pub(super) async fn transfer_for_agent(&mut self, destination: String, whisper: Option<String>) {
        let order = TransferOrder { destination: destination.clone(), whisper, mode: TransferMode::Auto };
        let Err(error) = self.transfer(order).await else { return };
        if error == TransferError::NoLine {
            // It was begun, and the agent told.
            return;
        }
        tracing::info!(call = %self.call.id, %error, "the agent's transfer was refused");
        let outcome = match error {
            TransferError::Forbidden => TransferOutcome::NotAllowed,
            _ => TransferOutcome::Failed,
        };
        if !self.is_being_transferred() {
            self.note_transfer(&destination, TransferMode::Auto);
            self.settle_transfer(outcome).await;
        }
        self.voice.tell(Command::TransferFailed { outcome: outcome.word().to_owned() });
    }

    pub(super) fn is_being_transferred(&self) -> bool {
        self.transfer.as_ref().is_some_and(|transfer| transfer.state != State::Over)
    }

    pub(super) async fn on_person(&mut self, news: PersonNews) {
        let room = self.room.clone();
        let Some(person) = self.transfer.as_mut().and_then(|transfer| transfer.person.as_mut()) else { return };
        let told = person.take(news, &room);
        if let Some(early) = person.early_sound() {
            self.voice.play_early(early);
        }
        let trunk = person.trunk().to_owned();
        let event = match told {
            Some(Told::Event(event)) => event,
            Some(Told::Trouble(outcome)) if self.reserve_another_for_person() => {
                tracing::info!(call = %self.call.id, ?outcome, "the person is called through another trunk");
                Event::Elsewhere
            }
            Some(Told::Trouble(outcome)) => Event::Failed(outcome),
            None => return,
        };
        if event == Event::Answered {
            self.leg_answered(trunk);
        }
        self.feed_transfer(event).await;
    }

    /// The leg to the person is over; whether there is a line of another trunk.
    fn reserve_another_for_person(&mut self) -> bool {
        let Some(transfer) = &mut self.transfer else { return false };
        // Its line and its place are given back first.
        transfer.person = None;
        transfer.next_line = dial::line(&self.room, &transfer.route, &transfer.tried);
        transfer.next_line.is_some()
    }

    /// A second leg through `trunk` was answered; one to a phone of the box costs nothing.
    pub(super) fn leg_answered(&mut self, trunk: String) {
        let answered_at = self.room.clock.utc();
        if let Some(transfer) = self.call.transfers.last_mut().filter(|_| !trunk.is_empty()) {
            transfer.leg = Some(TrunkLeg { trunk, answered_at, ended_at: None });
        }
    }

    /// Whatever second leg there was is over.
    pub(super) fn legs_ended(&mut self) {
        let now = self.room.clock.utc();
        for leg in self.call.transfers.iter_mut().filter_map(|transfer| transfer.leg.as_mut()) {
            leg.ended_at.get_or_insert(now);
        }
    }

    /// Steps the machine of the transfer, and that of the call with what comes of it.
    pub(super) async fn feed_transfer(&mut self, event: Event) {
        let mut next = Some(event);
        let mut outcome = Vec::new();
        while let Some(event) = next.take() {
            let Some(transfer) = &mut self.transfer else { return };
            let limits = Limits { setup: self.terms.setup_limit, whisper: LONGEST_WHISPER };
            let (state, actions) = step(transfer.state, event, limits, self.room.clock.now());
            transfer.state = state;
            for action in actions {
                match action {
                    Action::Dial => next = self.dial_person().await.err().map(Event::Failed),
                    Action::Done => outcome.push(machine::Event::AgentDone),
                    Action::Silent => outcome.push(machine::Event::EmptyRoom),
                    Action::Back(reason) => {
                        outcome.extend(self.transfer.as_mut().and_then(|transfer| transfer.late.take()));
                        self.voice.tell(Command::TransferFailed { outcome: reason.word().to_owned() });
                        self.follow_hold();
                    }
                    action => self.act(action).await,
                }
            }
        }
        for event in outcome {
            Box::pin(self.feed(event)).await;
        }
    }

    async fn act(&mut self, action: Action) {
        match action {
            Action::Park => self.voice.tell(Command::TransferBegun),
            Action::Note(outcome) => self.settle_transfer(outcome).await,
            Action::Drop => self.drop_person(),
            Action::Refer => self.send_refer(),
            Action::Join => {
                let person = self.transfer.as_mut().and_then(|transfer| transfer.person.as_mut());
                if let (Some(person), Some(media)) = (person, &self.media) {
                    person.join(&media.leg);
                }
            }
            Action::Whisper => {
                let Some(transfer) = &mut self.transfer else { return };
                let (text, call) = (transfer.whisper.clone().unwrap_or_default(), &self.call);
                let session = self.room.engines.announcement(text, call.voice.clone(), call.language.clone());
                if let Some(person) = &mut transfer.person {
                    person.whisper(session);
                }
            }
            Action::Dial | Action::Back(_) | Action::Done | Action::Silent => {}
        }
    }

    fn send_refer(&mut self) {
        let (Some(sip), Some(transfer)) = (&self.sip, &self.transfer) else { return };
        let Some(trunk) = self.room.trunk(&self.line.trunk) else { return };
        let us = trunk.caller_id.as_deref().or(Some(self.call.number.as_str()).filter(|number| !number.is_empty()));
        let referred_by = us.map(|us| format!("<sip:{us}@{}>", trunk.host));
        sip.control.refer(transfer.route.on(trunk).uri.to_string(), referred_by);
    }

    async fn dial_person(&mut self) -> Result<(), TransferOutcome> {
        // A refused REFER leads here, too.
        if let Some(transfer) = self.call.transfers.last_mut() {
            transfer.mode = TransferMode::Bridge;
        }
        let (Some(transfer), Some(media)) = (&mut self.transfer, &self.media) else {
            return Err(TransferOutcome::Failed);
        };
        let line = transfer.next_line.take().or_else(|| dial::line(&self.room, &transfer.route, &[]));
        let line = line.ok_or(TransferOutcome::NotAllowed)?;
        transfer.tried.push(line.trunk.clone());
        match Person::call(&self.room, &self.call, &media.leg, line, &transfer.route).await {
            Ok(person) => transfer.person = Some(person),
            Err(TransferError::NoLine) => return Err(TransferOutcome::NotAllowed),
            Err(_) => return Err(TransferOutcome::Failed),
        }
        Ok(())
    }

    pub(super) fn drop_person(&mut self) {
        if let Some(person) = self.transfer.as_mut().and_then(|transfer| transfer.person.take()) {
            person.hang_up();
            self.legs_ended();
        }
    }

    /// The call ends: so does whatever was done for it.
    pub(super) fn end_transfer(&mut self) {
        self.drop_person();
        self.legs_ended();
        self.moving = None;
        let now = self.room.clock.utc();
        let state = self.transfer.as_ref().map(|transfer| transfer.state);
        let taken_over = matches!(state, Some(State::Referring { accepted: true, .. }));
        let outcome = if taken_over { TransferOutcome::Unknown } else { TransferOutcome::Cancelled };
        for transfer in self.call.transfers.iter_mut().filter(|transfer| transfer.outcome.is_none()) {
            transfer.outcome = Some(outcome);
            transfer.settled_at = Some(now);
        }
        if let Some(transfer) = &mut self.transfer {
            transfer.state = State::Over;
        }
    }

    pub(super) fn note_transfer(&mut self, destination: &str, mode: TransferMode) {
        if self.call.transfers.len() >= MOST_KEPT {
            self.call.transfers.remove(0);
        }
        let asked_at = self.room.clock.utc();
        let destination = destination.trim().to_owned();
        self.call.transfers.push(Transfer { destination, mode, asked_at, settled_at: None, outcome: None, leg: None });
    }

    /// Enters the outcome of the newest transfer, with the event that it raises.
    pub(super) async fn settle_transfer(&mut self, outcome: TransferOutcome) {
        let now = self.room.clock.utc();
        if let Some(transfer) = self.call.transfers.last_mut() {
            transfer.outcome = Some(outcome);
            transfer.settled_at = Some(now);
        }
        metrics::counter!("trunkline_transfers_total", "outcome" => outcome.word()).increment(1);
        let event = ledger::event(&self.call, EventKind::CallTransferred, &self.room.clock);
        self.note(vec![event]).await;
    }
}
