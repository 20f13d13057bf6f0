//! How turns of a conversation are taken.

use serde::Deserialize;

/// `[engine.turns]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TurnsConfig {
    pub ears: TurnEars,
    /// Speech before the box takes it for an interruption, milliseconds.
    pub interrupt_after_ms: u64,
    /// Silence before the box takes a turn of the caller as finished, milliseconds.
    pub pause_ms: u64,
    /// The agent's own sound comes back from phones weakened by at least so many dB.
    pub echo_loss_db: u32,
    /// Silence of both after which the agent is asked to speak; 0 = never.
    pub silence_seconds: u64,
    /// So often, before the call ends as an empty room.
    pub silence_prompts: u32,
    /// What the agent is told then.
    pub silence_text: String,
}

/// Who says that the caller speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TurnEars {
    /// The voice AI.
    #[default]
    Service,
    /// The box, ahead of it.
    Box,
}

impl Default for TurnsConfig {
    fn default() -> Self {
        Self {
            ears: TurnEars::Service,
            interrupt_after_ms: 200,
            pause_ms: 700,
            echo_loss_db: 20,
            silence_seconds: 0,
            silence_prompts: 2,
            silence_text:
                "[The caller has been silent for a while. Ask in one short sentence whether somebody is there.]".into(),
        }
    }
}
