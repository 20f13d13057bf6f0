//! What is kept of a tool that was called: that it was, when, for how long and what came of it; not what was said.

use serde::{Deserialize, Serialize};

use crate::clock::UtcTime;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolUse {
    pub name: String,
    pub at: UtcTime,
    /// Milliseconds.
    pub took_ms: u64,
    pub outcome: ToolOutcome,
}

/// What a caller wants the people here to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenMessage {
    pub at: UtcTime,
    pub text: String,
    /// The number to call back; the caller's own where none was named.
    pub call_back: String,
    /// Who called; empty when that was not said.
    pub name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToolOutcome {
    Answered,
    /// The system could not be reached, was late, or answered with an error.
    Failed,
    /// The agent has no such tool.
    Unknown,
    WrongArguments,
    /// The caller must say yes first.
    Unconfirmed,
    /// Too many ran at once.
    TooMany,
    /// The agent, or the call, waited no longer.
    Cancelled,
}

impl ToolOutcome {
    /// The record's word.
    pub fn word(self) -> &'static str {
        match self {
            ToolOutcome::Answered => "answered",
            ToolOutcome::Failed => "failed",
            ToolOutcome::Unknown => "unknown",
            ToolOutcome::WrongArguments => "wrong-arguments",
            ToolOutcome::Unconfirmed => "unconfirmed",
            ToolOutcome::TooMany => "too-many",
            ToolOutcome::Cancelled => "cancelled",
        }
    }
}
