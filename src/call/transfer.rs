//! Transfer of a live call to a person: a pure function of (state, event, now) to (state, actions).
//!
//! *park* silences the agent and lets the caller hear ringback; *back* gives the caller to the agent again and tells it
//! why. The person's leg is *dropped* in whatever way it owes (CANCEL, BYE). *done* tells the machine of the call that
//! our part in it is over. The end of the call itself is that machine's; it drops the person, too.
//!
//! | State | Event | Next | Actions |
//! |---|---|---|---|
//! | idle | asked, by REFER | referring | park, refer |
//! | idle | asked, by a bridge | ringing | park, dial |
//! | referring | REFER accepted | referring, accepted | – |
//! | referring | the peer reached the person | over | note answered, done |
//! | referring, accepted | no more news | over | note unknown, done |
//! | referring | REFER refused, a bridge may be tried | ringing | dial |
//! | referring | REFER refused, the person not reached, time over | over | note, back |
//! | ringing | answered, nothing to whisper | joined | note answered, join |
//! | ringing | answered | whispering | whisper |
//! | ringing | the trunk failed, and another leads there | ringing | dial |
//! | ringing | refused, failed | over | note, drop, back |
//! | ringing | time over | over | note no-answer, drop, back |
//! | whispering | whispered, time over | joined | note answered, join |
//! | whispering | the person left | over | note rejected, drop, back |
//! | joined | the person left | over | drop, done |
//! | joined | nothing is heard of the person any more | over | drop, silent |
//! | over | anything | over | – |
//! | any other pair | | as it was | – |

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::clock::UtcTime;
use crate::sip::endpoint::ReferNews;

pub(super) mod dial;
pub(super) mod leg;
pub(super) mod route;
#[cfg(test)]
mod tests;

pub(super) use leg::{Person, PersonNews};

/// How a call reaches the person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TransferMode {
    /// By REFER where the trunk allows it and the peer takes it, else by a bridge.
    #[default]
    Auto,
    /// The peer is asked to call the person; the box is out of it afterwards.
    Refer,
    /// The box calls the person and joins both.
    Bridge,
    /// Only in records: the far end moved the call to somebody else, and the agent went with it.
    Moved,
}

/// An order to transfer a live call.
#[derive(Debug, Clone)]
pub struct TransferOrder {
    /// A number, or a `sip:` URI.
    pub destination: String,
    /// What the person hears before the caller.
    pub whisper: Option<String>,
    pub mode: TransferMode,
}

/// Why a transfer was not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    #[error("there is no such call")]
    Unknown,
    #[error("the call is not live, or is being transferred already")]
    NotLive,
    #[error("the destination is neither a number nor a SIP URI")]
    Malformed,
    #[error("the dial rules do not allow this destination")]
    Forbidden,
    #[error("the call's trunk takes no REFER, or knows nothing of this destination")]
    NoRefer,
    #[error("every line of the trunk is busy")]
    NoLine,
    #[error("the box is stopping, or its store cannot be read")]
    Unavailable,
}

/// What became of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TransferOutcome {
    Answered,
    Busy,
    NoAnswer,
    Rejected,
    Failed,
    /// The dial rules, or no free line.
    NotAllowed,
    /// The peer took it over and told us no more.
    Unknown,
    /// The caller left, or the call ended otherwise, before anybody answered.
    Cancelled,
}

impl TransferOutcome {
    pub fn word(self) -> &'static str {
        match self {
            TransferOutcome::Answered => "answered",
            TransferOutcome::Busy => "busy",
            TransferOutcome::NoAnswer => "no-answer",
            TransferOutcome::Rejected => "rejected",
            TransferOutcome::Failed => "failed",
            TransferOutcome::NotAllowed => "not-allowed",
            TransferOutcome::Unknown => "unknown",
            TransferOutcome::Cancelled => "cancelled",
        }
    }

    /// What a final answer to an INVITE means.
    pub(super) fn of_code(code: u16) -> TransferOutcome {
        match code {
            200..=299 => TransferOutcome::Answered,
            486 | 600 => TransferOutcome::Busy,
            408 | 480 | 487 => TransferOutcome::NoAnswer,
            403 | 603 | 607 | 608 => TransferOutcome::Rejected,
            _ => TransferOutcome::Failed,
        }
    }
}

/// A transfer in the record of its call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    pub destination: String,
    pub mode: TransferMode,
    pub asked_at: UtcTime,
    /// When the outcome was known; of an answered one, when caller and person were joined.
    pub settled_at: Option<UtcTime>,
    pub outcome: Option<TransferOutcome>,
    /// The box's own leg through a trunk, from its answer on: what it adds to the day's minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leg: Option<TrunkLeg>,
}

/// A second leg that was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrunkLeg {
    pub trunk: String,
    pub answered_at: UtcTime,
    pub ended_at: Option<UtcTime>,
}

impl TrunkLeg {
    /// Its talk time when the call ended at `end`.
    pub(super) fn seconds(&self, end: UtcTime) -> u64 {
        self.ended_at.unwrap_or(end).since(self.answered_at).as_secs()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Idle,
    Referring { until: Instant, accepted: bool, bridge: bool, whisper: bool },
    Ringing { until: Instant, whisper: bool },
    Whispering { until: Instant },
    Joined,
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// `bridge`: where REFER is refused, the box dials.
    AskRefer {
        bridge: bool,
        whisper: bool,
    },
    AskBridge {
        whisper: bool,
    },
    Refer(ReferNews),
    Answered,
    Failed(TransferOutcome),
    /// The trunk failed before anybody was reached; a line of another one is reserved.
    Elsewhere,
    Whispered,
    PersonLeft,
    PersonSilent,
    Tick,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Park,
    Refer,
    Dial,
    Whisper,
    Join,
    Drop,
    Note(TransferOutcome),
    Back(TransferOutcome),
    Done,
    Silent,
}

/// Longest that each stage may last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// From REFER to its last news; also ringing, beyond the endpoint's own ring time.
    pub(super) setup: Duration,
    pub(super) whisper: Duration,
}

pub(super) fn step(state: State, event: Event, limits: Limits, now: Instant) -> (State, Vec<Action>) {
    use Action::{Back, Dial, Done, Drop, Join, Note, Park, Refer, Silent, Whisper};
    let back = |outcome| (State::Over, vec![Note(outcome), Back(outcome)]);
    let drop = |outcome| (State::Over, vec![Note(outcome), Drop, Back(outcome)]);
    let join = || (State::Joined, vec![Note(TransferOutcome::Answered), Join]);
    let until = now + limits.setup;
    match (state, event) {
        (State::Idle, Event::AskRefer { bridge, whisper }) => {
            (State::Referring { until, accepted: false, bridge, whisper }, vec![Park, Refer])
        }
        (State::Idle, Event::AskBridge { whisper }) => (State::Ringing { until, whisper }, vec![Park, Dial]),
        (State::Referring { until, accepted, bridge, whisper }, Event::Refer(news)) => match news {
            ReferNews::Accepted => (State::Referring { until, accepted: true, bridge, whisper }, Vec::new()),
            ReferNews::Progress(_) => (State::Referring { until, accepted, bridge, whisper }, Vec::new()),
            ReferNews::Done(200..=299) => (State::Over, vec![Note(TransferOutcome::Answered), Done]),
            ReferNews::Unknown => (State::Over, vec![Note(TransferOutcome::Unknown), Done]),
            ReferNews::Refused(_) if bridge && !accepted => {
                (State::Ringing { until: now + limits.setup, whisper }, vec![Dial])
            }
            ReferNews::Done(code) | ReferNews::Refused(code) => back(TransferOutcome::of_code(code)),
        },
        (State::Referring { until, .. }, Event::Tick) if now >= until => back(TransferOutcome::NoAnswer),
        (State::Ringing { whisper: false, .. }, Event::Answered) => join(),
        (State::Ringing { .. }, Event::Answered) => (State::Whispering { until: now + limits.whisper }, vec![Whisper]),
        (State::Ringing { whisper, .. }, Event::Elsewhere) => (State::Ringing { until, whisper }, vec![Dial]),
        (State::Ringing { .. }, Event::Failed(outcome)) => drop(outcome),
        // Early sound that pauses is no loss.
        (State::Ringing { .. }, Event::PersonLeft) => drop(TransferOutcome::Failed),
        (State::Ringing { until, .. }, Event::Tick) if now >= until => drop(TransferOutcome::NoAnswer),
        (State::Whispering { .. }, Event::Whispered) => join(),
        (State::Whispering { until }, Event::Tick) if now >= until => join(),
        (State::Whispering { .. }, Event::PersonLeft | Event::PersonSilent | Event::Failed(_)) => {
            drop(TransferOutcome::Rejected)
        }
        (State::Joined, Event::PersonLeft | Event::Failed(_)) => (State::Over, vec![Drop, Done]),
        (State::Joined, Event::PersonSilent) => (State::Over, vec![Drop, Silent]),
        (state, _) => (state, Vec::new()),
    }
}

impl State {
    pub(super) fn deadline(self) -> Option<Instant> {
        match self {
            State::Referring { until, .. } | State::Ringing { until, .. } | State::Whispering { until } => Some(until),
            State::Idle | State::Joined | State::Over => None,
        }
    }
}
