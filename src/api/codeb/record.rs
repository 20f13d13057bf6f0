//! The call record on the wire.

use serde::Serialize;

use crate::call::Call;
use crate::clock::UtcTime;

use super::status;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CallRecord {
    call_id: String,
    tenant: String,
    requested_by: String,
    phone: String,
    display_name: String,
    email: String,
    voice: String,
    language: String,
    model: String,
    status: &'static str,
    created_at_utc: String,
    scheduled_for_utc: Option<String>,
    dispatched_at_utc: Option<String>,
    answered_at_utc: Option<String>,
    ended_at_utc: Option<String>,
    ended_reason: &'static str,
    duration_sec: u64,
    trunk_id: String,
    transcript_path: String,
    error_detail: String,
    attempt: u32,
    retries_left: u32,
    retry_delay_minutes: u32,
}

impl CallRecord {
    pub(super) fn of(call: Call) -> CallRecord {
        CallRecord {
            status: status::word(&call),
            created_at_utc: call.created_at.rfc3339(),
            scheduled_for_utc: call.scheduled_for.map(UtcTime::rfc3339),
            dispatched_at_utc: call.dispatched_at.map(UtcTime::rfc3339),
            answered_at_utc: call.answered_at.map(UtcTime::rfc3339),
            ended_at_utc: call.ended_at.map(UtcTime::rfc3339),
            ended_reason: call.ended_at.and(call.end_reason).map_or("", status::reason),
            duration_sec: seconds_between(call.answered_at, call.ended_at),
            call_id: call.alias,
            tenant: call.tenant,
            requested_by: call.requested_by,
            phone: call.phone,
            display_name: call.display_name,
            email: call.email.unwrap_or_default(),
            voice: call.voice,
            language: call.language,
            model: call.model,
            trunk_id: call.trunk_id,
            transcript_path: call.transcript_file,
            error_detail: call.error_detail,
            attempt: call.attempt,
            retries_left: call.retries_left,
            retry_delay_minutes: call.retry_delay_minutes,
        }
    }
}

/// Whole seconds, rounded down; 0 while one end is open.
pub(super) fn seconds_between(from: Option<UtcTime>, to: Option<UtcTime>) -> u64 {
    from.zip(to).map_or(0, |(from, to)| to.since(from).as_secs())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::call::record::EndedBy;
    use crate::call::{CallStatus, EndReason};
    use serde_json::json;

    pub(in super::super) fn at(text: &str) -> UtcTime {
        UtcTime::parse(text).expect("time")
    }

    /// The call of the document's examples while it is live.
    pub(in super::super) fn outbound() -> Call {
        // Read as the store reads it, so that a field added with a default needs no change here.
        let kept = r#"{
            "id": "00000000-0000-0000-0000-000000000000",
            "organization": "00000000-0000-0000-0000-000000000000",
            "tenant": "phone.codeb.io",
            "alias": "oac-2f9e1b7c3a48",
            "direction": "outbound",
            "requested_by": "stefan",
            "phone": "+4915157610183",
            "display_name": "Reminder",
            "email": "ops@example.com",
            "prompt": "secret instructions",
            "engine_key": "sealed",
            "model": "models/gemini-3.1-flash-live-preview",
            "voice": "Aoede",
            "language": "en-US",
            "max_seconds": 180,
            "record_call": true,
            "save_transcript": true,
            "status": "in_progress",
            "created_at": 0,
            "scheduled_for": null,
            "dispatched_at": 0,
            "answered_at": 0,
            "ended_at": null,
            "retry_at": null,
            "end_reason": null,
            "ended_by": null,
            "error_detail": "",
            "sip_code": null,
            "trunk": "pbx",
            "trunk_id": "tr_6022a99586cdc7b0",
            "attempt": 1,
            "retries_left": 2,
            "retry_delay_minutes": 5,
            "transcript_file": "",
            "transcript_size": 0,
            "transcript_saved_at": null,
            "recording": null,
            "caller_turns": 0,
            "agent_turns": 0,
            "tokens_prompt": 0,
            "tokens_total": 0,
            "quality": null
        }"#;
        Call {
            created_at: at("2026-06-04T17:55:12.401Z"),
            dispatched_at: Some(at("2026-06-04T17:55:13.118Z")),
            answered_at: Some(at("2026-06-04T17:55:18.622Z")),
            ..serde_json::from_str(kept).expect("a call record")
        }
    }

    /// The same call, ended and with its transcript.
    pub(in super::super) fn ended() -> Call {
        Call {
            status: CallStatus::Completed,
            ended_at: Some(at("2026-06-04T17:57:44.012Z")),
            end_reason: Some(EndReason::Finished),
            ended_by: Some(EndedBy::Callee),
            retries_left: 0,
            engine_key: None,
            transcript_file: "outbound-ai-20260604-175513-oac-2f9e1b7c3a48.txt".into(),
            transcript_size: 8412,
            transcript_saved_at: Some(at("2026-06-04T17:57:44.649Z")),
            caller_turns: 6,
            agent_turns: 6,
            tokens_prompt: 1240,
            tokens_total: 18420,
            ..outbound()
        }
    }

    fn wire(call: Call) -> serde_json::Value {
        serde_json::to_value(CallRecord::of(call)).expect("JSON")
    }

    #[test]
    fn a_live_call_has_the_body_of_the_documents_list_example() {
        let expected = json!({
            "callId": "oac-2f9e1b7c3a48",
            "tenant": "phone.codeb.io",
            "requestedBy": "stefan",
            "phone": "+4915157610183",
            "displayName": "Reminder",
            "email": "ops@example.com",
            "voice": "Aoede",
            "language": "en-US",
            "model": "models/gemini-3.1-flash-live-preview",
            "status": "in-flight",
            "createdAtUtc": "2026-06-04T17:55:12.401Z",
            "scheduledForUtc": null,
            "dispatchedAtUtc": "2026-06-04T17:55:13.118Z",
            "answeredAtUtc": "2026-06-04T17:55:18.622Z",
            "endedAtUtc": null,
            "endedReason": "",
            "durationSec": 0,
            "trunkId": "tr_6022a99586cdc7b0",
            "transcriptPath": "",
            "errorDetail": "",
            "attempt": 1,
            "retriesLeft": 2,
            "retryDelayMinutes": 5
        });
        assert_eq!(wire(outbound()), expected);
    }

    #[test]
    fn an_ended_call_holds_everything_of_the_documents_detail_example() {
        let expected = json!({
            "callId": "oac-2f9e1b7c3a48",
            "tenant": "phone.codeb.io",
            "requestedBy": "stefan",
            "phone": "+4915157610183",
            "displayName": "Reminder",
            "status": "ended-success",
            "createdAtUtc": "2026-06-04T17:55:12.401Z",
            "dispatchedAtUtc": "2026-06-04T17:55:13.118Z",
            "answeredAtUtc": "2026-06-04T17:55:18.622Z",
            "endedAtUtc": "2026-06-04T17:57:44.012Z",
            "endedReason": "finished",
            "durationSec": 145,
            "trunkId": "tr_6022a99586cdc7b0",
            "transcriptPath": "outbound-ai-20260604-175513-oac-2f9e1b7c3a48.txt",
            "attempt": 1,
            "retriesLeft": 0
        });
        let shown = wire(ended());
        for (name, value) in expected.as_object().expect("object") {
            assert_eq!(&shown[name], value, "{name}");
        }
    }

    #[test]
    fn a_waiting_call_has_nulls_empty_strings_and_zeros() {
        let shown = wire(Call {
            status: CallStatus::Scheduled,
            scheduled_for: Some(at("2026-06-05T08:00:00Z")),
            dispatched_at: None,
            answered_at: None,
            trunk_id: String::new(),
            email: None,
            ..outbound()
        });
        assert_eq!(shown["scheduledForUtc"], "2026-06-05T08:00:00.000Z");
        for name in ["dispatchedAtUtc", "answeredAtUtc", "endedAtUtc"] {
            assert!(shown[name].is_null(), "{name}");
        }
        for name in ["trunkId", "email", "endedReason", "transcriptPath", "errorDetail"] {
            assert_eq!(shown[name], "", "{name}");
        }
        assert_eq!(shown["durationSec"], 0);
    }

    #[test]
    fn key_and_prompt_are_never_shown() {
        for call in [outbound(), ended()] {
            let text = wire(call).to_string();
            assert!(!text.contains("secret instructions") && !text.contains("sealed"), "{text}");
        }
    }
}
