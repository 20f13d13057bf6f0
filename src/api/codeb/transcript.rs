//! Transcripts on the wire: the list item and the whole.

use serde::Serialize;

use crate::call::{Call, Direction, Speaker, Turn};
use crate::clock::UtcTime;

use super::record::seconds_between;
use super::status;

/// The list shows the mode of the conversation here, the whole transcript the model.
const MODE: &str = "live-voice-ai";
/// Whose storage the file is in.
const SCOPE: &str = "tenant";

/// Keys that a direction does not use are left out.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Item {
    call_id: String,
    caller_source: &'static str,
    started_utc: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_utc: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtime_utc: Option<String>,
    duration_sec: u64,
    rule: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    phone: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    display_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<String>,
    outcome: &'static str,
    voice: String,
    language: String,
    model: &'static str,
    tokens_total: u64,
    tokens_prompt: u64,
    turn_count: u32,
    size: u64,
    source: &'static str,
    file: String,
}

impl Item {
    pub(super) fn of(call: Call) -> Item {
        let inbound = call.direction == Direction::Inbound;
        Item {
            caller_source: source_word(call.direction),
            started_utc: started(&call).rfc3339(),
            ended_utc: call.ended_at.map(UtcTime::rfc3339),
            mtime_utc: call.transcript_saved_at.map(UtcTime::rfc3339),
            duration_sec: seconds_between(Some(started(&call)), call.ended_at),
            rule: rule(&call),
            outcome: outcome(&call),
            call_id: call.alias,
            phone: (!inbound).then_some(call.phone),
            display_name: (!inbound).then_some(call.display_name),
            number: inbound.then_some(call.number),
            voice: call.voice,
            language: call.language,
            model: MODE,
            tokens_total: call.tokens_total,
            tokens_prompt: call.tokens_prompt,
            turn_count: call.caller_turns.saturating_add(call.agent_turns),
            size: call.transcript_size,
            source: SCOPE,
            file: call.transcript_file,
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Whole {
    call_id: String,
    caller_source: &'static str,
    tenant: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    requested_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phone: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    display_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<String>,
    voice: String,
    language: String,
    model: String,
    trunk_id: String,
    started_utc: String,
    answered_utc: Option<String>,
    ended_utc: Option<String>,
    duration_sec: u64,
    answered: bool,
    outcome: &'static str,
    error_detail: String,
    input_turns: u32,
    output_turns: u32,
    tokens_total: u64,
    turns: Vec<WireTurn>,
}

#[derive(Debug, Serialize)]
struct WireTurn {
    speaker: &'static str,
    text: String,
    ts: String,
}

impl Whole {
    pub(super) fn of(call: Call, turns: Vec<Turn>) -> Whole {
        let inbound = call.direction == Direction::Inbound;
        Whole {
            caller_source: source_word(call.direction),
            started_utc: started(&call).rfc3339(),
            answered_utc: call.answered_at.map(UtcTime::rfc3339),
            ended_utc: call.ended_at.map(UtcTime::rfc3339),
            duration_sec: seconds_between(Some(started(&call)), call.ended_at),
            answered: call.answered_at.is_some(),
            outcome: outcome(&call),
            call_id: call.alias,
            tenant: call.tenant,
            requested_by: (!inbound).then_some(call.requested_by),
            phone: (!inbound).then_some(call.phone),
            display_name: (!inbound).then_some(call.display_name),
            email: (!inbound).then(|| call.email.unwrap_or_default()),
            number: inbound.then_some(call.number),
            voice: call.voice,
            language: call.language,
            model: call.model,
            trunk_id: call.trunk_id,
            error_detail: call.error_detail,
            input_turns: call.caller_turns,
            output_turns: call.agent_turns,
            tokens_total: call.tokens_total,
            turns: turns.into_iter().map(wire_turn).collect(),
        }
    }
}

fn wire_turn(turn: Turn) -> WireTurn {
    let speaker = match turn.speaker {
        Speaker::Agent => "AI",
        Speaker::Caller => "Caller",
    };
    WireTurn { speaker, text: turn.text, ts: turn.started_at.rfc3339() }
}

fn source_word(direction: Direction) -> &'static str {
    match direction {
        Direction::Outbound => "outbound-ai",
        Direction::Inbound => "vnum",
    }
}

/// An outbound call starts when it goes to the trunk, before it is answered.
fn started(call: &Call) -> UtcTime {
    match call.direction {
        Direction::Outbound => call.dispatched_at.unwrap_or(call.created_at),
        Direction::Inbound => call.created_at,
    }
}

fn outcome(call: &Call) -> &'static str {
    call.end_reason.map_or("", status::reason)
}

fn rule(call: &Call) -> String {
    match call.direction {
        Direction::Outbound => format!("outbound: {} ({})", call.phone, call.display_name),
        Direction::Inbound => format!("vnum:{}", call.number_name),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::record::tests::{at, ended};
    use super::*;
    use crate::call::EndReason;

    fn inbound() -> Call {
        Call {
            alias: "vnum16ff4e0186".into(),
            direction: Direction::Inbound,
            phone: "+35699123456".into(),
            number: "666".into(),
            number_name: "Shortletsmalta".into(),
            created_at: at("2026-06-04T17:14:03.836Z"),
            ended_at: Some(at("2026-06-04T17:15:19.500Z")),
            end_reason: Some(EndReason::EmptyRoom),
            caller_turns: 4,
            agent_turns: 4,
            tokens_total: 6240,
            transcript_size: 3104,
            transcript_file: "vnum-666-20260604-171403-vnum16ff4e0186.txt".into(),
            ..ended()
        }
    }

    #[test]
    fn an_outbound_item_has_the_documented_body() {
        let expected = json!({
            "callId": "oac-2f9e1b7c3a48",
            "callerSource": "outbound-ai",
            "startedUtc": "2026-06-04T17:55:13.118Z",
            "endedUtc": "2026-06-04T17:57:44.012Z",
            "mtimeUtc": "2026-06-04T17:57:44.649Z",
            "durationSec": 150,
            "rule": "outbound: +4915157610183 (Reminder)",
            "phone": "+4915157610183",
            "displayName": "Reminder",
            "outcome": "finished",
            "voice": "Aoede",
            "language": "en-US",
            "model": "live-voice-ai",
            "tokensTotal": 18420,
            "tokensPrompt": 1240,
            "turnCount": 12,
            "size": 8412,
            "source": "tenant",
            "file": "outbound-ai-20260604-175513-oac-2f9e1b7c3a48.txt"
        });
        assert_eq!(serde_json::to_value(Item::of(ended())).expect("JSON"), expected);
    }

    #[test]
    fn an_inbound_item_holds_the_documented_keys_and_none_of_an_outbound_one() {
        let expected = json!({
            "callId": "vnum16ff4e0186",
            "startedUtc": "2026-06-04T17:14:03.836Z",
            "endedUtc": "2026-06-04T17:15:19.500Z",
            "durationSec": 75,
            "rule": "vnum:Shortletsmalta",
            "number": "666",
            "outcome": "empty-room",
            "tokensTotal": 6240,
            "turnCount": 8,
            "size": 3104,
            "file": "vnum-666-20260604-171403-vnum16ff4e0186.txt"
        });
        let shown = serde_json::to_value(Item::of(inbound())).expect("JSON");
        for (name, value) in expected.as_object().expect("object") {
            assert_eq!(&shown[name], value, "{name}");
        }
        assert_eq!(shown["callerSource"], "vnum");
        assert!(shown.get("phone").is_none() && shown.get("displayName").is_none());
    }

    #[test]
    fn a_whole_transcript_has_the_documented_body() {
        let turn = |speaker, text: &str, from: &str| Turn {
            speaker,
            text: text.into(),
            started_at: at(from),
            ended_at: at(from),
            delay_ms: Some(300),
            interrupted: false,
        };
        let turns = vec![
            turn(
                Speaker::Agent,
                "Hi Stefan, calling about your dental appointment tomorrow at 14:00.",
                "2026-06-04T17:55:19.450Z",
            ),
            turn(Speaker::Caller, "Hi, yes, what about it?", "2026-06-04T17:55:23.880Z"),
        ];
        let expected = json!({
            "callId": "oac-2f9e1b7c3a48",
            "callerSource": "outbound-ai",
            "tenant": "phone.codeb.io",
            "requestedBy": "stefan",
            "phone": "+4915157610183",
            "displayName": "Reminder",
            "email": "ops@example.com",
            "voice": "Aoede",
            "language": "en-US",
            "model": "models/gemini-3.1-flash-live-preview",
            "trunkId": "tr_6022a99586cdc7b0",
            "startedUtc": "2026-06-04T17:55:13.118Z",
            "answeredUtc": "2026-06-04T17:55:18.622Z",
            "endedUtc": "2026-06-04T17:57:44.012Z",
            "durationSec": 150,
            "answered": true,
            "outcome": "finished",
            "errorDetail": "",
            "inputTurns": 6,
            "outputTurns": 6,
            "tokensTotal": 18420,
            "turns": [
                {"speaker": "AI", "text": "Hi Stefan, calling about your dental appointment tomorrow at 14:00.", "ts": "2026-06-04T17:55:19.450Z"},
                {"speaker": "Caller", "text": "Hi, yes, what about it?", "ts": "2026-06-04T17:55:23.880Z"}
            ]
        });
        assert_eq!(serde_json::to_value(Whole::of(ended(), turns)).expect("JSON"), expected);
    }

    #[test]
    fn an_unanswered_call_says_so_and_an_inbound_one_has_its_number_instead_of_a_phone() {
        let shown = serde_json::to_value(Whole::of(Call { answered_at: None, ..ended() }, vec![])).expect("JSON");
        assert!(shown["answeredUtc"].is_null());
        assert_eq!(shown["answered"], false);
        assert_eq!(shown["turns"], json!([]));
        let shown = serde_json::to_value(Whole::of(inbound(), vec![])).expect("JSON");
        assert_eq!(shown["number"], "666");
        for name in ["phone", "displayName", "email", "requestedBy"] {
            assert!(shown.get(name).is_none(), "{name}");
        }
    }
}
