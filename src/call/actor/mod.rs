//! One task per attempt: feeds the machine with what happens and carries out what it decides.
//!
//! Events of the SIP leg, the media leg and the bridge, orders and time flow in; commands to them and entries for the
//! store flow out. No decision is made here: those are the machine's.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::bridge::Report;
use super::lines::Line;
use super::machine::{self, Action, Event, Progress, State, Terms};
use super::record::{Call, EndedBy};
use super::registry::Order;
use super::room::Room;
use super::scribe::{Entry, Scribe};
use super::transcript::Assembly;
use super::transfer::leg::UnderWay;
use super::transfer::{self as handover, PersonNews};
use super::{Cause, HungUp, LiveFact, ledger, outcome};
use crate::ai::Command;
use crate::clock::UtcTime;
use crate::directory::DialPlace;
use crate::media::{Leg, LegEvent, Remote};
use crate::sip::endpoint::{CallControl, CallEvent, EndedBy as LegEnd, OfferOutcome};
use crate::sip::sdp::SessionDescription;

mod fault;
mod hold;
pub(super) mod keys;
mod moving;
pub(super) mod outbound;
mod settle;
mod tools;
mod transfer;
mod turns;
mod voice;
pub(super) mod wire;

pub(super) use moving::Moving;
pub(super) use tools::Errands;
pub(super) use voice::Voice;

/// How often turns in the making are looked after.
const TURN_TICK: Duration = Duration::from_millis(200);

pub(super) struct Actor {
    pub(super) room: Arc<Room>,
    pub(super) terms: Terms,
    pub(super) state: State,
    pub(super) call: Call,
    pub(super) scribe: Scribe,
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) sip: Option<SipLeg>,
    pub(super) media: Option<MediaLeg>,
    pub(super) voice: Voice,
    pub(super) errands: Errands,
    pub(super) assembly: Assembly,
    pub(super) transfer: Option<UnderWay>,
    pub(super) moving: Option<Moving>,
    /// Given back when the actor ends.
    pub(super) line: Line,
    /// Trunks that this attempt went to, and the line of the next one.
    pub(super) tried: Vec<String>,
    pub(super) next_line: Option<Line>,
    /// Who waits for the end.
    pub(super) waiting: Vec<oneshot::Sender<HungUp>>,
    pub(super) settled: bool,
}

pub(super) struct SipLeg {
    pub(super) control: CallControl,
    pub(super) events: mpsc::Receiver<CallEvent>,
    /// The peer, when it is one of the box's own phones.
    pub(super) extension: Option<String>,
    /// Its place among the calls that cost money, where nobody else holds it.
    pub(super) _place: Option<DialPlace>,
}

impl SipLeg {
    pub(super) fn new(control: CallControl, events: mpsc::Receiver<CallEvent>, extension: Option<String>) -> SipLeg {
        SipLeg { control, events, extension, _place: None }
    }
}

pub(super) struct MediaLeg {
    pub(super) leg: Leg,
    /// Our side of the session.
    pub(super) local: SessionDescription,
    /// The far end's side, once agreed.
    pub(super) remote: Option<Remote>,
}

enum Happening {
    Sip(Option<CallEvent>),
    Leg(Option<LegEvent>),
    Report(Option<Report>),
    Order(Order),
    Changed(Box<(hold::Change, OfferOutcome)>),
    Person(PersonNews),
    Moving(Option<CallEvent>),
    Tool(tools::Finished),
    Time,
}

impl Actor {
    /// Lives until the machine releases the call.
    pub(super) async fn run(mut self: Box<Self>) {
        while self.state != State::Gone {
            let happening = self.next().await;
            // Boxed: what a call waits for is small, what it does now and then is not.
            Box::pin(self.on(happening)).await;
        }
    }

    async fn next(&mut self) -> Happening {
        let wake = self.wake_at();
        tokio::select! {
            biased;
            event = next_of(self.sip.as_mut().map(|sip| &mut sip.events)) => Happening::Sip(event),
            event = next_of(self.media.as_mut().map(|media| &mut media.leg.events)) => Happening::Leg(event),
            Some(order) = self.orders.recv() => Happening::Order(order),
            report = next_of(self.voice.reports.as_mut()) => Happening::Report(report),
            changed = hold::changed(&mut self.voice.change) => Happening::Changed(Box::new(changed)),
            news = next_of_person(self.transfer.as_mut()) => Happening::Person(news),
            event = next_of(self.moving.as_mut().map(|moving| &mut moving.sip.events)) => Happening::Moving(event),
            finished = self.errands.next() => Happening::Tool(finished),
            () = sleep_until(wake) => Happening::Time,
        }
    }

    fn wake_at(&self) -> Option<Instant> {
        let turns = (self.assembly.pending() && !self.settled).then(|| self.room.clock.now() + TURN_TICK);
        let transfer = self.transfer.as_ref().and_then(|transfer| transfer.state.deadline());
        let tools = self.errands.deadline().filter(|_| !self.settled);
        self.state.deadline(&self.terms).into_iter().chain(turns).chain(transfer).chain(tools).min()
    }

    async fn on(&mut self, happening: Happening) {
        match happening {
            Happening::Sip(Some(event)) => self.on_sip(event).await,
            Happening::Sip(None) => {
                self.sip = None;
                self.feed(Event::Lost).await;
            }
            Happening::Leg(Some(event)) => self.on_leg(event).await,
            Happening::Leg(None) => {
                self.media = None;
                self.feed(Event::LegLost).await;
            }
            Happening::Report(Some(report)) => self.on_report(report).await,
            Happening::Report(None) => self.voice.reports = None,
            Happening::Order(Order::HangUp(reply)) => {
                // After the outcome the record tells; whoever asked looks there when the reply is dropped.
                if !self.settled {
                    self.waiting.push(reply);
                    self.feed(Event::HangUp).await;
                }
            }
            Happening::Order(Order::Hold(on, reply)) => self.on_hold_order(on, reply),
            Happening::Order(Order::Keys(keys, reply)) => self.on_keys_order(keys, reply),
            Happening::Changed(changed) => self.on_changed(changed.0, changed.1),
            Happening::Order(Order::Stop) => self.feed(Event::Stop).await,
            Happening::Order(Order::Transfer(order, reply)) => {
                // Whoever asked may have gone away.
                let _ = reply.send(self.transfer(*order).await);
            }
            Happening::Order(Order::Replace(incoming)) => self.on_replacement(*incoming).await,
            Happening::Person(news) => self.on_person(news).await,
            Happening::Moving(event) => self.on_moving(event).await,
            Happening::Tool(finished) => self.on_tool_finished(finished).await,
            Happening::Time => {
                self.assembly.tick(self.room.clock.utc());
                // A held call is quiet, not deserted; its maximum duration goes on. Two people are heard by RTP alone.
                if self.is_on_hold() || self.is_being_transferred() {
                    self.feed(Event::Heard).await;
                }
                self.tools_on_time().await;
                self.feed_transfer(handover::Event::Tick).await;
                self.feed(Event::Tick).await;
            }
        }
        if !self.settled {
            self.save_turns().await;
        }
    }

    async fn on_sip(&mut self, event: CallEvent) {
        match event {
            CallEvent::Ringing { session, .. } => {
                self.voice.early = session.or(self.voice.early.take());
                self.room.lines.works(&self.line.trunk);
                self.feed(Event::Ringing).await;
            }
            CallEvent::Answered { session } => self.on_answered(session).await,
            CallEvent::Rejected { code, reason, .. } => {
                self.sip = None;
                let cause = self.call.network.q850();
                let another = self.reserve_another(outcome::of_refusal(code, cause, "").trunk_trouble);
                self.feed(Event::Rejected { code, cause, reason, another }).await;
            }
            CallEvent::Failed(failure) => {
                self.sip = None;
                let another = self.reserve_another(outcome::of_failure(&failure).trunk_trouble);
                self.feed(Event::Failed { failure, another }).await;
            }
            CallEvent::Offer { session } => self.on_offer(session.as_deref()),
            CallEvent::Key(key) => {
                // It goes the way of one in the stream, with which it counts once.
                if let Some(media) = &self.media {
                    media.leg.control.key(key);
                }
            }
            CallEvent::Because(reasons) => self.call.network.causes = reasons.iter().map(Cause::from).collect(),
            CallEvent::Refer(news) => self.feed_transfer(handover::Event::Refer(news)).await,
            CallEvent::Referred(referral) => self.on_referral(*referral).await,
            // The referrer need not wait for what it asked for.
            CallEvent::Ended { by: LegEnd::Peer } if self.moving.is_some() => self.sip = None,
            CallEvent::Ended { by } => {
                self.sip = None;
                self.feed(match by {
                    LegEnd::Peer => Event::PeerLeft,
                    LegEnd::Us => Event::Left,
                    LegEnd::Lost => Event::Lost,
                })
                .await;
            }
        }
    }

    async fn on_leg(&mut self, event: LegEvent) {
        match event {
            LegEvent::Connected => {}
            LegEvent::Key(key) => {
                self.voice.toolbox.policy().caller_speaks();
                self.room.tell(self.call.id, LiveFact::Key(key));
                self.tool_hears_key(key).await;
            }
            LegEvent::SendKey(key) => {
                if let Some(sip) = &self.sip {
                    sip.control.press(key);
                }
            }
            LegEvent::Quality(quality) => {
                let quality = *quality;
                self.call.quality = Some(quality);
                self.room.traces.quality(self.call.id, self.room.clock.utc(), quality);
                self.room.tell(self.call.id, LiveFact::Quality(quality));
            }
            // A far end that put us on hold may say `sendonly` and yet send nothing.
            LegEvent::Silent if self.is_on_hold() => {}
            LegEvent::Silent => self.feed(Event::EmptyRoom).await,
            LegEvent::Closed(report) => {
                self.keep_report(&report);
                self.media = None;
                self.feed(Event::LegLost).await;
            }
        }
    }

    /// Steps the machine, and again with whatever its actions lead to.
    pub(super) async fn feed(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let state = std::mem::replace(&mut self.state, State::Gone);
            let (state, actions) = machine::step(state, &self.terms, event, self.room.clock.now());
            self.state = state;
            for action in actions {
                events.extend(self.perform(action).await);
            }
        }
    }

    pub(super) async fn perform(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Save(progress) => self.save(progress).await,
            Action::Invite => return self.invite().await,
            Action::NextTrunk => return self.next_trunk().await,
            Action::Connect => self.connect(),
            // An agent that does not have the caller cannot say goodbye.
            Action::StopAgent if self.is_being_transferred() => return Some(Event::AgentDone),
            Action::StopAgent => self.voice.tell(Command::Stop),
            Action::HangUp => {
                if let Some(sip) = &self.sip {
                    sip.control.hang_up();
                }
                if let Some(media) = &self.media {
                    media.leg.control.close();
                }
                // The far end has left for a dialog that is not there yet: nobody else will say that it is gone.
                if self.sip.is_none() {
                    return Some(Event::Left);
                }
            }
            Action::Settle(settlement) => self.settle(&settlement).await,
            Action::Release => {}
        }
        None
    }

    async fn save(&mut self, progress: Progress) {
        let event = ledger::progress(&mut self.call, progress, &self.room.clock);
        self.room.tell(self.call.id, LiveFact::Status(self.call.status));
        if progress == Progress::Ringing {
            self.voice.warm_up(&self.room, &self.call, self.media.as_ref());
        }
        self.note(event.into_iter().collect()).await;
    }

    /// Record, closed turns and `events` in one change.
    pub(super) async fn note(&mut self, events: Vec<crate::events::Event>) {
        let turns = self.closed_turns();
        self.scribe.note(Entry { call: Some(Box::new(self.call.clone())), turns, events, closing: None }).await;
    }

    async fn save_turns(&mut self) {
        let turns = self.closed_turns();
        if !turns.is_empty() {
            self.scribe.note(Entry { call: Some(Box::new(self.call.clone())), turns, ..Entry::default() }).await;
        }
    }

    /// `at` as wall-clock time.
    pub(super) fn utc(&self, at: Instant) -> UtcTime {
        self.room.clock.utc() - self.room.clock.now().saturating_duration_since(at)
    }

    pub(super) fn ended_by_api(&self) -> bool {
        self.call.ended_by == Some(EndedBy::Api)
    }
}

/// The next item, or never when there is nothing to listen to.
async fn next_of<T>(receiver: Option<&mut mpsc::Receiver<T>>) -> Option<T> {
    match receiver {
        Some(receiver) => receiver.recv().await,
        None => std::future::pending().await,
    }
}

async fn next_of_person(transfer: Option<&mut UnderWay>) -> PersonNews {
    match transfer.and_then(|transfer| transfer.person.as_mut()) {
        Some(person) => person.next().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
