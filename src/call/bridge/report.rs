//! What the agent's side of a leg tells the actor.

use std::time::{Duration, Instant};

use crate::ai::Usage;

/// What the actor learns.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::call) enum Report {
    /// The first sound of an agent's item went out at `at`, `delay` after the caller's last word.
    AgentBegan {
        item: u64,
        at: Instant,
        delay: Option<Duration>,
    },
    /// The text of an item so far.
    AgentWords {
        item: u64,
        text: String,
    },
    /// An item was played out, or cut: then `text` is what was heard.
    ItemOver {
        item: u64,
        text: String,
        interrupted: bool,
        at: Instant,
    },
    AgentTurnEnd,
    CallerBegan {
        at: Instant,
    },
    CallerStopped {
        at: Instant,
    },
    CallerWords {
        text: String,
        last: bool,
    },
    /// The agent's speech was thrown away.
    BargeIn(BargeIn),
    /// Somebody was heard within the last second.
    Active,
    Usage(Usage),
    /// The agent is through and all it said has gone out. Last report but for items.
    Done {
        outcome: Option<String>,
    },
    Failed {
        message: String,
    },
    /// The agent failed, and the caller is told so; [`Report::Done`] follows.
    Faulted {
        message: String,
    },
    /// The agent wants the caller connected to a person; what it said before has gone out.
    TransferRequested {
        destination: String,
        whisper: Option<String>,
    },
    /// The agent asks for a tool that is not of this thread; answered with [`crate::ai::Command::ToolResult`].
    ToolCalled {
        id: String,
        name: String,
        arguments: serde_json::Value,
        /// The last item of the agent so far.
        after: u64,
    },
    /// The answer is not waited for any more.
    ToolCancelled {
        id: String,
    },
    /// The next agent has the call.
    Succeeded,
    /// It could not be reached: the one before still has it.
    NotSucceeded,
}

/// An interruption, measured at the packets of the agent's speech that have really left.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::call) struct BargeIn {
    /// When the service said that the caller speaks.
    pub(in crate::call) detected: Instant,
    /// From the caller's first sound to the last packet of agent speech.
    pub(in crate::call) since_onset: Duration,
    /// From `detected` to the last packet of agent speech; zero when none left any more.
    pub(in crate::call) since_detection: Duration,
}

impl Report {
    pub(super) fn may_be_dropped(&self) -> bool {
        matches!(self, Report::Active | Report::AgentWords { .. } | Report::CallerWords { last: false, .. })
    }
}
