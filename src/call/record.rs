//! What is kept of a call, and how it is read.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::UtcTime;
use crate::media::Quality;
use crate::store::{Sealed, Store, StoreError};

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
    pub display_name: String,
    pub email: Option<String>,
    /// Inbound: the number called and its record's name.
    #[serde(default)]
    pub number: String,
    #[serde(default)]
    pub number_name: String,
    pub prompt: String,
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
    pub retry_delay_minutes: u32,
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
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    Outbound,
    Inbound,
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

/// Reads calls and transcripts; cheap to clone.
#[derive(Clone)]
pub struct ReadModel {
    pub(crate) store: Store,
}

/// Filter over calls, newest first.
#[derive(Debug, Clone, Default)]
pub struct CallFilter {
    pub organization: Uuid,
    pub direction: Option<Direction>,
    /// Empty = all. Tells whether the record passes by the dialect's own status word.
    pub statuses: Vec<StatusFilter>,
    /// Only calls with a saved transcript.
    pub with_transcript: bool,
    /// Case-insensitive substring over phone, number, display name, number name and `rule`.
    pub text: Option<String>,
    /// Dispatch (outbound) or creation (inbound) at or after.
    pub since: Option<UtcTime>,
}

/// A core status with the facts that some dialects tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusFilter {
    pub status: CallStatus,
    /// `Some(true)`: only when the API ended it; `Some(false)`: only when it did not.
    pub ended_by_api: Option<bool>,
}

#[derive(Debug, Clone)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Rows after filtering.
    pub total: u64,
}

impl ReadModel {
    pub fn new(store: Store) -> ReadModel {
        ReadModel { store }
    }

    pub fn call(&self, organization: Uuid, id: Uuid) -> Result<Option<Call>, StoreError> {
        todo!("call: {organization} {id}")
    }

    /// By the `oac-…` or `vnum…` form.
    pub fn call_by_alias(&self, organization: Uuid, alias: &str) -> Result<Option<Call>, StoreError> {
        todo!("call: {organization} {alias}")
    }

    /// By transcript file name.
    pub fn call_by_transcript_file(&self, organization: Uuid, file: &str) -> Result<Option<Call>, StoreError> {
        todo!("call: {organization} {file}")
    }

    pub fn calls(&self, filter: &CallFilter, offset: u64, limit: usize) -> Result<Page<Call>, StoreError> {
        todo!("call: {filter:?} {offset} {limit}")
    }

    pub fn turns(&self, call: Uuid) -> Result<Vec<Turn>, StoreError> {
        todo!("call: {call}")
    }
}
