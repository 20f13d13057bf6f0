//! How turns are taken in a call, by the configuration and the service.

use std::time::Duration;

use crate::ai::attention::Rules;
use crate::call::bridge::{Silence, TurnRules};
use crate::config::{EngineConfig, EngineKind, TurnEars};

/// For a conversation with the service of `engine`; nothing for one that only reads a text out.
pub(super) fn rules(engine: &EngineConfig, speak_only: bool) -> TurnRules {
    // The local voice hears for itself, and its script knows what to do about silence.
    let local = engine.kind == EngineKind::Local;
    if speak_only || engine.kind == EngineKind::Echo || (local && engine.chat.is_none()) {
        return TurnRules::default();
    }
    let turns = &engine.turns;
    let ears = (turns.ears == TurnEars::Box && !local).then(|| Rules {
        least: Duration::from_millis(turns.interrupt_after_ms),
        pause: Duration::from_millis(turns.pause_ms),
        echo_loss: turns.echo_loss_db as f32,
    });
    let silence = (turns.silence_seconds > 0).then(|| Silence {
        after: Duration::from_secs(turns.silence_seconds),
        times: turns.silence_prompts,
        text: turns.silence_text.clone(),
    });
    TurnRules { ears, silence }
}
