//! What is kept of a call, and how it is read.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::network::Network;
use super::tools::{TakenMessage, ToolUse};
use crate::clock::UtcTime;
use crate::media::Quality;
use crate::store::Sealed;

pub use super::transfer::{Transfer, TransferMode, TransferOutcome};

pub use super::read_model::{CallFilter, Page, ReadModel, StatusFilter};

/// A call of any direction. The attempt fields are those of the newest attempt.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Call {
    pub id: Uuid,
    pub organization: Uuid,
    pub tenant: String,
    /// The CodeB form of the id: `oac-` + 12 hex (outbound), `vnum` + 10 hex (inbound); unique.
    pub alias: String,
    pub direction: Direction,
    pub requested_by: String,
    /// The far end: callee of an outbound, caller of an inbound call.
    pub phone: String,
    #[serde(default)]
    pub uri: Option<String>,
    /// The only trunk that it may go through.
    #[serde(default)]
    pub wanted_trunk: Option<String>,
    pub display_name: String,
    pub email: Option<String>,
    /// Inbound: the number called and its record's name.
    #[serde(default)]
    pub number: String,
    #[serde(default)]
    pub number_name: String,
    pub prompt: String,
    /// Name of the agent that has the call, or had it at last.
    #[serde(default)]
    pub agent: Option<String>,
    /// Caller-supplied engine key, sealed; erased at the final status.
    pub engine_key: Option<Sealed>,
    pub model: String,
    pub voice: String,
    pub language: String,
    pub max_seconds: u32,
    pub record_call: bool,
    pub save_transcript: bool,
    pub status: CallStatus,
    pub created_at: UtcTime,
    pub scheduled_for: Option<UtcTime>,
    pub dispatched_at: Option<UtcTime>,
    pub answered_at: Option<UtcTime>,
    pub ended_at: Option<UtcTime>,
    /// When the next attempt is due (`RetryWait`).
    pub retry_at: Option<UtcTime>,
    pub end_reason: Option<EndReason>,
    pub ended_by: Option<EndedBy>,
    /// In words, for operators; empty when nothing went wrong.
    pub error_detail: String,
    pub sip_code: Option<u16>,
    /// Trunk name; `""` before the first dispatch.
    pub trunk: String,
    /// `tr_` + 16 hex, stable for a trunk name.
    pub trunk_id: String,
    /// 1-based.
    pub attempt: u32,
    pub retries_left: u32,
    /// `retry_delay_ms` rounded up to minutes, for display.
    pub retry_delay_minutes: u32,
    #[serde(default)]
    pub retry_delay_ms: u64,
    /// File name in the transcript folder; `""` until saved.
    pub transcript_file: String,
    pub transcript_size: u64,
    pub transcript_saved_at: Option<UtcTime>,
    pub recording: Option<String>,
    pub caller_turns: u32,
    pub agent_turns: u32,
    pub tokens_prompt: u64,
    pub tokens_total: u64,
    pub quality: Option<Quality>,
    /// An outcome word of the agent (`confirmed`, `message`, …), when it gave one.
    #[serde(default)]
    pub outcome: Option<String>,
    #[serde(default)]
    pub network: Network,
    /// To persons, in the order in which they were asked for.
    #[serde(default)]
    pub transfers: Vec<Transfer>,
    /// Tools of the agent, in the order in which they were through.
    #[serde(default)]
    pub tools: Vec<ToolUse>,
    /// Messages of the caller for the people here.
    #[serde(default)]
    pub messages: Vec<TakenMessage>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    Outbound,
    Inbound,
}

impl Call {
    /// When the dialer is to take the call up; `None` unless it waits.
    pub fn due_at(&self) -> Option<UtcTime> {
        match self.status {
            CallStatus::Scheduled => Some(self.scheduled_for.unwrap_or(self.created_at)),
            CallStatus::RetryWait => Some(self.retry_at.unwrap_or(self.created_at)),
            // A call that waits for a line keeps its place in the order of time.
            CallStatus::Queued => Some(
                self.retry_at
                    .unwrap_or_else(|| self.scheduled_for.map_or(self.created_at, |at| at.max(self.created_at))),
            ),
            _ => None,
        }
    }

    /// An attempt is under way: after a restart somebody has to close it.
    pub fn is_live(&self) -> bool {
        matches!(self.status, CallStatus::Dialing | CallStatus::Ringing | CallStatus::InProgress)
    }

    /// When the conversation's record begins: dispatch of an outbound call, arrival of an inbound one.
    pub fn started_at(&self) -> Option<UtcTime> {
        match self.direction {
            Direction::Outbound => self.dispatched_at,
            Direction::Inbound => Some(self.created_at),
        }
    }

    /// Answer to end, whole seconds rounded down; 0 before the end and without an answer.
    pub fn talk_seconds(&self) -> u64 {
        match (self.answered_at, self.ended_at) {
            (Some(answered), Some(ended)) => ended.since(answered).as_secs(),
            _ => 0,
        }
    }

    /// What the call was for, in a line.
    pub fn rule(&self) -> String {
        match self.direction {
            Direction::Outbound => format!("outbound: {} ({})", self.phone, self.display_name),
            Direction::Inbound => format!("vnum:{}", self.number_name),
        }
    }
}

/// The core lifecycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallStatus {
    Scheduled,
    Queued,
    Dialing,
    Ringing,
    InProgress,
    RetryWait,
    Completed,
    NoAnswer,
    Busy,
    Canceled,
    Failed,
}

impl CallStatus {
    pub fn is_final(self) -> bool {
        matches!(
            self,
            CallStatus::Completed | CallStatus::NoAnswer | CallStatus::Busy | CallStatus::Canceled | CallStatus::Failed
        )
    }
}

impl EndReason {
    /// The record's word, also in events and mail.
    pub fn word(self) -> &'static str {
        match self {
            EndReason::Finished => "finished",
            EndReason::NoAnswer => "no-answer",
            EndReason::Busy => "busy",
            EndReason::Rejected => "rejected",
            EndReason::MaxDuration => "max-duration",
            EndReason::EmptyRoom => "empty-room",
            EndReason::Hangup => "hangup",
            EndReason::Cancelled => "cancelled",
            EndReason::Restarted => "restarted",
            EndReason::Error => "error",
        }
    }
}

/// Why a call or an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The conversation came to its end (either side hung up after the answer, or the agent was done).
    Finished,
    NoAnswer,
    Busy,
    Rejected,
    MaxDuration,
    /// Nobody was heard for too long, or RTP stopped.
    EmptyRoom,
    /// Ended through the API while live.
    Hangup,
    /// Ended through the API before the answer.
    Cancelled,
    /// The box restarted under the call.
    Restarted,
    Error,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndedBy {
    Caller,
    Callee,
    Agent,
    Api,
    System,
}

/// A closed turn of the conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    pub speaker: Speaker,
    pub text: String,
    /// First sound of the turn.
    pub started_at: UtcTime,
    /// Last sound of the turn.
    pub ended_at: UtcTime,
    /// Agent: from the caller's last word to the first sound on the wire, milliseconds.
    #[serde(default)]
    pub delay_ms: Option<u32>,
    /// Agent: the caller interrupted it; `text` is what was heard of it.
    #[serde(default)]
    pub interrupted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Speaker {
    Agent,
    Caller,
}
