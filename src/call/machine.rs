//! The life of a call as a pure function of (state, event, now) to (state, actions).
//!
//! *settle* fixes the outcome (once per attempt; a retry is an outcome too) and is followed by nothing but the end
//! of the SIP leg. *release* gives the line back and ends the actor.
//!
//! | State | Event | Next | Actions |
//! |---|---|---|---|
//! | waiting (scheduled, retry) | due, no line free | waiting (queued) | save queued |
//! | waiting | line free | dialing | save dialing, invite |
//! | waiting | forbidden | gone | settle failed/rejected, release |
//! | waiting | unready (no trunk carries it) | gone | settle failed/error, release |
//! | waiting | hang-up | gone | settle canceled/cancelled, release |
//! | waiting | stop, restart | waiting | – (goes on later) |
//! | dialing | ringing | ringing | save ringing |
//! | dialing | trunk trouble, another trunk has a line | dialing | next trunk |
//! | dialing, ringing | answered | talking | connect, save answered |
//! | dialing, ringing | refusal or failure | gone | settle by `outcome`, release |
//! | dialing | forbidden, unready | gone | settle, release |
//! | dialing, ringing, answering, talking | unusable session description | closing | hang up, settle failed/error |
//! | dialing, ringing | agent failed, leg lost, stop, guard time over | closing | hang up, settle (retried when left) |
//! | dialing, ringing | hang-up | closing | hang up, settle canceled/cancelled |
//! | dialing, ringing | restart | gone | settle restarted (retried when left), release |
//! | answering (inbound, 200 sent) | answered (ACK) | talking | connect, save answered |
//! | answering | peer left | gone | settle canceled/cancelled by the caller, release |
//! | answering | lost, failed | gone | settle failed/error, release |
//! | answering | hang-up, stop, agent failed, guard time over | closing | hang up, settle |
//! | talking | heard | talking | – (the quiet time begins anew) |
//! | talking | peer left | gone | settle completed/finished, release |
//! | talking | dialog lost | gone | settle failed/error, release |
//! | talking | agent done (and played) | closing | hang up, settle completed/finished by the agent |
//! | talking | agent failed, leg lost | closing | hang up, settle failed/error |
//! | talking | room empty (no RTP, or the agent says so), nobody heard for too long | closing | hang up, settle completed/empty-room |
//! | talking | maximum duration, stop | stopping | tell the agent to say goodbye |
//! | talking | hang-up | closing | hang up, settle completed/hangup by the API |
//! | talking | restart | gone | settle failed/restarted, release |
//! | stopping | agent done or failed, leg lost, room empty, grace over | closing | hang up, settle as it began |
//! | stopping | peer left, dialog lost | gone | settle as it began, release |
//! | stopping | hang-up | closing | hang up, settle completed/hangup by the API |
//! | closing | answered (a 200 that crossed our CANCEL) | closing | hang up |
//! | closing | any end of the SIP leg, guard time over | gone | release |
//! | any other pair | | as it was | – |

use std::time::{Duration, Instant};

use super::outcome::{self, Verdict};
use super::record::{CallStatus, Direction, EndReason, EndedBy};
use crate::directory::DialVerdict;
use crate::sip::endpoint::CallFailure;

#[cfg(test)]
mod tests;

/// What does not change during an attempt.
#[derive(Debug, Clone)]
pub struct Terms {
    pub direction: Direction,
    pub retries_left: u32,
    pub retry_delay: Duration,
    pub max_duration: Duration,
    /// A live call in which neither side is heard for so long ends.
    pub quiet_limit: Duration,
    /// How long the agent may say goodbye.
    pub goodbye: Duration,
    /// Guard over dialling and ringing, beyond the endpoint's own timers.
    pub setup_limit: Duration,
    /// Guard over the end of the SIP leg, beyond the endpoint's own timers.
    pub closing_limit: Duration,
}

#[derive(Debug, Clone, PartialEq)]
pub enum State {
    Waiting(Wait),
    Dialing {
        give_up: Instant,
    },
    Ringing {
        give_up: Instant,
    },
    /// Inbound: 200 sent, its ACK awaited.
    Answering {
        give_up: Instant,
    },
    Talking {
        until: Instant,
        quiet_since: Instant,
    },
    Stopping {
        ending: Ending,
        until: Instant,
    },
    /// Settled; the SIP leg is not gone yet.
    Closing {
        until: Instant,
    },
    Gone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    Scheduled,
    Queued,
    Retry,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The time has come, but every line is busy.
    Due,
    /// The time has come and a line is reserved.
    Line,
    /// The toll-fraud guard says no.
    Forbidden(DialVerdict),
    /// The box could not prepare the attempt.
    Unready(String),
    /// The far end's session description leaves no way to speak.
    Unusable(String),
    Ringing,
    Answered,
    /// `another`: a further trunk has a line for this attempt.
    Rejected {
        code: u16,
        /// Of ITU-T Q.850, from the telephone network behind the trunk.
        cause: Option<u16>,
        reason: String,
        another: bool,
    },
    Failed {
        failure: CallFailure,
        another: bool,
    },
    /// BYE or CANCEL of the far end.
    PeerLeft,
    /// The dialog died.
    Lost,
    /// The SIP leg ended as we asked.
    Left,
    /// RTP stopped, or the agent found that nobody is there.
    EmptyRoom,
    LegLost,
    /// Somebody spoke or pressed a key.
    Heard,
    /// The agent is through, and all it said has gone out.
    AgentDone,
    AgentFailed(String),
    /// The API ends the call.
    HangUp,
    /// The box stops and waits no longer.
    Stop,
    /// The box came up again and finds the attempt in its store.
    Restarted,
    /// Time passed.
    Tick,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    Save(Progress),
    /// Check the guard, then INVITE through the reserved line.
    Invite,
    /// INVITE through the line reserved for another trunk.
    NextTrunk,
    /// Join phone and agent, let the agent speak first.
    Connect,
    /// Tell the agent to say goodbye.
    StopAgent,
    /// End the SIP leg in whatever way it owes, and the media leg.
    HangUp,
    Settle(Settlement),
    Release,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    Queued,
    Dialing,
    Ringing,
    Answered,
}

/// The outcome of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum Settlement {
    Final(Ending),
    Retry { ending: Ending, after: Duration },
}

#[derive(Debug, Clone, PartialEq)]
pub struct Ending {
    pub status: CallStatus,
    pub reason: EndReason,
    pub by: EndedBy,
    pub detail: String,
    pub sip_code: Option<u16>,
}

impl Ending {
    fn new(status: CallStatus, reason: EndReason, by: EndedBy) -> Ending {
        Ending { status, reason, by, detail: String::new(), sip_code: None }
    }

    fn error(detail: impl Into<String>) -> Ending {
        Ending { detail: detail.into(), ..Ending::new(CallStatus::Failed, EndReason::Error, EndedBy::System) }
    }

    fn restarted(detail: &str) -> Ending {
        Ending { detail: detail.into(), ..Ending::new(CallStatus::Failed, EndReason::Restarted, EndedBy::System) }
    }

    fn completed(reason: EndReason, by: EndedBy) -> Ending {
        Ending::new(CallStatus::Completed, reason, by)
    }

    fn canceled(by: EndedBy) -> Ending {
        Ending::new(CallStatus::Canceled, EndReason::Cancelled, by)
    }

    fn of(verdict: Verdict) -> Ending {
        Ending {
            status: verdict.status,
            reason: verdict.reason,
            by: if verdict.sip_code.is_some() { EndedBy::Callee } else { EndedBy::System },
            detail: verdict.detail,
            sip_code: verdict.sip_code,
        }
    }
}

impl Settlement {
    pub fn ending(&self) -> &Ending {
        match self {
            Settlement::Final(ending) | Settlement::Retry { ending, .. } => ending,
        }
    }
}

type Step = (State, Vec<Action>);

/// One step. Pairs that the module's table does not name change nothing.
pub fn step(state: State, terms: &Terms, event: Event, now: Instant) -> Step {
    match state {
        State::Waiting(wait) => waiting(wait, terms, &event, now),
        State::Dialing { give_up } => dialing(give_up, terms, event, now),
        State::Ringing { give_up } => ringing(give_up, terms, event, now),
        State::Answering { give_up } => answering(give_up, terms, event, now),
        State::Talking { until, quiet_since } => talking(until, quiet_since, terms, event, now),
        State::Stopping { ending, until } => stopping(ending, until, terms, &event, now),
        State::Closing { until } => closing(until, &event, now),
        State::Gone => (State::Gone, Vec::new()),
    }
}

impl State {
    /// An inbound call right after our 200.
    pub fn answering(terms: &Terms, now: Instant) -> State {
        State::Answering { give_up: now + terms.setup_limit }
    }

    /// The state that a record without a running actor stands for; `None` when it is final.
    pub fn of_record(status: CallStatus, direction: Direction, now: Instant) -> Option<State> {
        Some(match (status, direction) {
            (CallStatus::Scheduled, _) => State::Waiting(Wait::Scheduled),
            (CallStatus::Queued, _) => State::Waiting(Wait::Queued),
            (CallStatus::RetryWait, _) => State::Waiting(Wait::Retry),
            (CallStatus::Dialing, Direction::Outbound) => State::Dialing { give_up: now },
            (CallStatus::Ringing, Direction::Outbound) => State::Ringing { give_up: now },
            (CallStatus::Dialing | CallStatus::Ringing, Direction::Inbound) => State::Answering { give_up: now },
            (CallStatus::InProgress, _) => State::Talking { until: now, quiet_since: now },
            _ => return None,
        })
    }

    /// When [`Event::Tick`] is due next.
    pub fn deadline(&self, terms: &Terms) -> Option<Instant> {
        match self {
            State::Waiting(_) | State::Gone => None,
            State::Dialing { give_up } | State::Ringing { give_up } | State::Answering { give_up } => Some(*give_up),
            State::Talking { until, quiet_since } => Some((*until).min(*quiet_since + terms.quiet_limit)),
            State::Stopping { until, .. } | State::Closing { until } => Some(*until),
        }
    }
}

fn waiting(wait: Wait, terms: &Terms, event: &Event, now: Instant) -> Step {
    match event {
        Event::Due if wait != Wait::Queued => (State::Waiting(Wait::Queued), vec![Action::Save(Progress::Queued)]),
        Event::Line => {
            let state = State::Dialing { give_up: now + terms.setup_limit };
            (state, vec![Action::Save(Progress::Dialing), Action::Invite])
        }
        Event::Forbidden(verdict) => gone(Settlement::Final(forbidden(*verdict))),
        Event::Unready(detail) => gone(Settlement::Final(Ending::error(detail.clone()))),
        Event::HangUp => gone(Settlement::Final(Ending::canceled(EndedBy::Api))),
        _ => (State::Waiting(wait), Vec::new()),
    }
}

fn dialing(give_up: Instant, terms: &Terms, event: Event, now: Instant) -> Step {
    match event {
        Event::Ringing => (State::Ringing { give_up }, vec![Action::Save(Progress::Ringing)]),
        Event::Rejected { code, cause, another: true, .. } if outcome::of_refusal(code, cause, "").trunk_trouble => {
            next_trunk(terms, now)
        }
        Event::Failed { failure, another: true } if outcome::of_failure(&failure).trunk_trouble => {
            next_trunk(terms, now)
        }
        event => unanswered(State::Dialing { give_up }, give_up, terms, event, now),
    }
}

fn next_trunk(terms: &Terms, now: Instant) -> Step {
    (State::Dialing { give_up: now + terms.setup_limit }, vec![Action::NextTrunk])
}

fn ringing(give_up: Instant, terms: &Terms, event: Event, now: Instant) -> Step {
    unanswered(State::Ringing { give_up }, give_up, terms, event, now)
}

/// What dialling and ringing have in common.
fn unanswered(state: State, give_up: Instant, terms: &Terms, event: Event, now: Instant) -> Step {
    let lost = |detail: &str| retry_or_final(terms, Ending::error(detail), true);
    match event {
        Event::Answered => talk(terms, now),
        Event::Rejected { code, cause, reason, .. } => refused(terms, outcome::of_refusal(code, cause, &reason)),
        Event::Failed { failure, .. } => refused(terms, outcome::of_failure(&failure)),
        Event::PeerLeft | Event::Lost | Event::Left => gone(lost("the call was lost before it was answered")),
        Event::Forbidden(verdict) => gone(Settlement::Final(forbidden(verdict))),
        Event::Unready(detail) => gone(lost(&detail)),
        Event::LegLost => close(terms, now, lost("the media leg was lost")),
        Event::Unusable(detail) => close(terms, now, Settlement::Final(Ending::error(detail))),
        Event::AgentFailed(detail) => close(terms, now, lost(&detail)),
        Event::AgentDone => close(terms, now, lost("the voice AI left before the call was answered")),
        Event::HangUp => close(terms, now, Settlement::Final(Ending::canceled(EndedBy::Api))),
        Event::Stop => close(terms, now, retry_or_final(terms, Ending::restarted("the box was stopped"), true)),
        Event::Restarted => gone(retry_or_final(terms, Ending::restarted("the box restarted"), true)),
        Event::Tick if now >= give_up => {
            close(terms, now, retry_or_final(terms, Ending::of(outcome::of_failure(&CallFailure::NoAnswer)), true))
        }
        _ => (state, Vec::new()),
    }
}

fn answering(give_up: Instant, terms: &Terms, event: Event, now: Instant) -> Step {
    let failed = |detail: &str| Settlement::Final(Ending::error(detail));
    match event {
        Event::Answered => talk(terms, now),
        Event::PeerLeft => gone(Settlement::Final(Ending::canceled(EndedBy::Caller))),
        Event::Lost | Event::Left | Event::Rejected { .. } | Event::Failed { .. } => {
            gone(failed("the caller's side did not acknowledge the answer"))
        }
        Event::LegLost => close(terms, now, failed("the media leg was lost")),
        Event::AgentFailed(detail) | Event::Unusable(detail) => close(terms, now, failed(&detail)),
        Event::AgentDone => close(terms, now, failed("the voice AI left before the call began")),
        Event::HangUp => close(terms, now, Settlement::Final(Ending::canceled(EndedBy::Api))),
        Event::Stop => close(terms, now, Settlement::Final(Ending::restarted("the box was stopped"))),
        Event::Restarted => gone(Settlement::Final(Ending::restarted("the box restarted"))),
        Event::Tick if now >= give_up => close(terms, now, failed("the answer was not acknowledged")),
        _ => (State::Answering { give_up }, Vec::new()),
    }
}

fn talking(until: Instant, quiet_since: Instant, terms: &Terms, event: Event, now: Instant) -> Step {
    let done = |reason, by| Settlement::Final(Ending::completed(reason, by));
    match event {
        Event::Heard => (State::Talking { until, quiet_since: now }, Vec::new()),
        Event::PeerLeft => gone(done(EndReason::Finished, far_end(terms))),
        Event::Lost | Event::Left => gone(Settlement::Final(Ending::error("the connection to the far end was lost"))),
        Event::AgentDone => close(terms, now, done(EndReason::Finished, EndedBy::Agent)),
        Event::AgentFailed(detail) | Event::Unusable(detail) => {
            close(terms, now, Settlement::Final(Ending::error(detail)))
        }
        Event::LegLost => close(terms, now, Settlement::Final(Ending::error("the media leg was lost"))),
        Event::EmptyRoom => close(terms, now, done(EndReason::EmptyRoom, EndedBy::System)),
        Event::HangUp => close(terms, now, done(EndReason::Hangup, EndedBy::Api)),
        Event::Stop => say_goodbye(terms, now, Ending::restarted("the box was stopped")),
        Event::Restarted => gone(Settlement::Final(Ending::restarted("the box restarted"))),
        Event::Tick if now >= until => {
            say_goodbye(terms, now, Ending::completed(EndReason::MaxDuration, EndedBy::System))
        }
        Event::Tick if now >= quiet_since + terms.quiet_limit => {
            close(terms, now, done(EndReason::EmptyRoom, EndedBy::System))
        }
        _ => (State::Talking { until, quiet_since }, Vec::new()),
    }
}

fn stopping(ending: Ending, until: Instant, terms: &Terms, event: &Event, now: Instant) -> Step {
    match event {
        Event::PeerLeft | Event::Lost | Event::Left => gone(Settlement::Final(ending)),
        Event::HangUp => close(terms, now, Settlement::Final(Ending::completed(EndReason::Hangup, EndedBy::Api))),
        Event::AgentDone | Event::AgentFailed(_) | Event::LegLost | Event::EmptyRoom => {
            close(terms, now, Settlement::Final(ending))
        }
        Event::Tick if now >= until => close(terms, now, Settlement::Final(ending)),
        _ => (State::Stopping { ending, until }, Vec::new()),
    }
}

fn closing(until: Instant, event: &Event, now: Instant) -> Step {
    match event {
        // RFC 3261 §9.1: the callee may have answered before our CANCEL reached it.
        Event::Answered => (State::Closing { until }, vec![Action::HangUp]),
        Event::PeerLeft | Event::Lost | Event::Left | Event::Rejected { .. } | Event::Failed { .. } => {
            (State::Gone, vec![Action::Release])
        }
        Event::Tick if now >= until => (State::Gone, vec![Action::Release]),
        _ => (State::Closing { until }, Vec::new()),
    }
}

fn talk(terms: &Terms, now: Instant) -> Step {
    let state = State::Talking { until: now + terms.max_duration, quiet_since: now };
    (state, vec![Action::Connect, Action::Save(Progress::Answered)])
}

fn say_goodbye(terms: &Terms, now: Instant, ending: Ending) -> Step {
    (State::Stopping { ending, until: now + terms.goodbye }, vec![Action::StopAgent])
}

fn refused(terms: &Terms, verdict: Verdict) -> Step {
    let retry = verdict.retry;
    gone(retry_or_final(terms, Ending::of(verdict), retry))
}

/// The SIP leg is over: settle and give the line back.
fn gone(settlement: Settlement) -> Step {
    (State::Gone, vec![Action::Settle(settlement), Action::Release])
}

/// The SIP leg must still be ended: settle now, release when it is gone.
fn close(terms: &Terms, now: Instant, settlement: Settlement) -> Step {
    (State::Closing { until: now + terms.closing_limit }, vec![Action::HangUp, Action::Settle(settlement)])
}

fn retry_or_final(terms: &Terms, ending: Ending, retry: bool) -> Settlement {
    if retry && terms.retries_left > 0 && terms.direction == Direction::Outbound {
        Settlement::Retry { ending, after: terms.retry_delay }
    } else {
        Settlement::Final(ending)
    }
}

fn forbidden(verdict: DialVerdict) -> Ending {
    Ending { detail: verdict.words().into(), ..Ending::new(CallStatus::Failed, EndReason::Rejected, EndedBy::System) }
}

fn far_end(terms: &Terms) -> EndedBy {
    match terms.direction {
        Direction::Outbound => EndedBy::Callee,
        Direction::Inbound => EndedBy::Caller,
    }
}
