//! What a step of the machine means for the record, and the events that report it.

use serde_json::json;
use uuid::Uuid;

use super::machine::{Progress, Settlement};
use super::record::{Call, CallStatus, Direction};
use crate::clock::{Clock, UtcTime};
use crate::events::{Event, EventKind};

/// Enters progress into the record; returns the event it raises, if any.
pub(super) fn progress(call: &mut Call, progress: Progress, clock: &Clock) -> Option<Event> {
    let now = clock.utc();
    match progress {
        Progress::Queued => {
            call.status = CallStatus::Queued;
            None
        }
        Progress::Dialing => {
            begin_attempt(call);
            call.status = CallStatus::Dialing;
            call.dispatched_at = Some(now);
            None
        }
        Progress::Ringing => {
            call.status = CallStatus::Ringing;
            Some(event(call, EventKind::CallRinging, clock))
        }
        Progress::Answered => {
            call.status = CallStatus::InProgress;
            call.answered_at = Some(now);
            Some(event(call, EventKind::CallAnswered, clock))
        }
    }
}

/// Clears what the attempt before left behind.
fn begin_attempt(call: &mut Call) {
    if call.retry_at.take().is_some() {
        call.attempt += 1;
        call.retries_left = call.retries_left.saturating_sub(1);
    }
    call.answered_at = None;
    call.ended_at = None;
    call.end_reason = None;
    call.ended_by = None;
    call.error_detail.clear();
    call.sip_code = None;
    call.network.causes.clear();
    call.quality = None;
}

/// Enters the outcome of an attempt that ended at `at`; returns the events it raises. `attempted`: something had been
/// dialled or answered.
pub(super) fn settle(
    call: &mut Call,
    settlement: &Settlement,
    attempted: bool,
    at: UtcTime,
    clock: &Clock,
) -> Vec<Event> {
    let ending = settlement.ending();
    call.ended_at = Some(at);
    call.end_reason = Some(ending.reason);
    call.ended_by = Some(ending.by);
    call.error_detail.clone_from(&ending.detail);
    let recording_lost = call.record_call && call.answered_at.is_some() && call.recording.is_none();
    if recording_lost && call.error_detail.is_empty() {
        call.error_detail = "the recording could not be written".into();
    }
    call.sip_code = ending.sip_code;
    match settlement {
        Settlement::Retry { after, .. } => {
            call.status = CallStatus::RetryWait;
            call.retry_at = Some(clock.utc() + *after);
        }
        Settlement::Final(_) => {
            call.status = ending.status;
            call.retry_at = None;
            call.engine_key = None;
        }
    }
    let mut events = Vec::new();
    if attempted {
        events.push(event(call, EventKind::CallEnded, clock));
    }
    if call.status.is_final() {
        events.push(event(call, EventKind::CallFinished, clock));
        metrics::counter!("trunkline_calls_total", "status" => status_word(call.status)).increment(1);
    }
    events
}

/// An event about `call` as it stands. `data` holds the core's own words; a dialect maps them.
pub(super) fn event(call: &Call, kind: EventKind, clock: &Clock) -> Event {
    Event { id: clock.id(), organization: call.organization, at: clock.utc(), kind, subject: call.id, data: data(call) }
}

/// Everything of the record that a subscriber may see: no prompt, no key.
fn data(call: &Call) -> serde_json::Value {
    let time = |time: Option<UtcTime>| time.map(UtcTime::rfc3339);
    let (from, to) = match call.direction {
        Direction::Outbound => (String::new(), call.phone.clone()),
        Direction::Inbound => (call.phone.clone(), call.number.clone()),
    };
    let mut data = json!({
        "call_id": call.id,
        "alias": call.alias,
        "tenant": call.tenant,
        "direction": call.direction,
        "status": call.status,
        "from": from,
        "to": to,
        "phone": call.phone,
        "display_name": call.display_name,
        "number": call.number,
        "number_name": call.number_name,
        "rule": call.rule(),
        "requested_by": call.requested_by,
        "voice": call.voice,
        "language": call.language,
        "model": call.model,
        "trunk_id": call.trunk_id,
        "created_at": call.created_at.rfc3339(),
        "scheduled_for": time(call.scheduled_for),
        "started_at": time(call.started_at()),
        "answered_at": time(call.answered_at),
        "ended_at": time(call.ended_at),
        "duration_seconds": call.talk_seconds(),
        "end_reason": call.end_reason.map(super::EndReason::word),
        "ended_by": call.ended_by,
        "error_detail": call.error_detail,
        "sip_code": call.sip_code,
        "attempt": call.attempt,
        "retries_left": call.retries_left,
        "retry_at": time(call.retry_at),
        "transcript_file": call.transcript_file,
        "transcript_size": call.transcript_size,
        "transcript_saved_at": time(call.transcript_saved_at),
        "caller_turns": call.caller_turns,
        "agent_turns": call.agent_turns,
        "tokens_prompt": call.tokens_prompt,
        "tokens_total": call.tokens_total,
        "outcome": call.outcome,
        "network": network(call),
        "transfers": call.transfers,
    });
    data["agent"] = json!(call.agent);
    data["tools"] = json!(call.tools);
    data["messages"] = json!(call.messages);
    data
}

/// What the network said, but for its signed tokens.
fn network(call: &Call) -> serde_json::Value {
    let told = &call.network;
    json!({
        "original_called": told.original_called,
        "diversions": told.diversions,
        "asserted": told.asserted,
        "verstat": told.verstat,
        "causes": told.causes,
    })
}

/// The status in events' and metrics' spelling.
pub(super) fn status_word(status: CallStatus) -> &'static str {
    match status {
        CallStatus::Scheduled => "scheduled",
        CallStatus::Queued => "queued",
        CallStatus::Dialing => "dialing",
        CallStatus::Ringing => "ringing",
        CallStatus::InProgress => "in_progress",
        CallStatus::RetryWait => "retry_wait",
        CallStatus::Completed => "completed",
        CallStatus::NoAnswer => "no_answer",
        CallStatus::Busy => "busy",
        CallStatus::Canceled => "canceled",
        CallStatus::Failed => "failed",
    }
}

/// `tr_` and the first 16 hex digits of SHA-256 of the trunk's name.
pub(super) fn trunk_id(trunk: &str) -> String {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(trunk.as_bytes());
    digest.iter().take(8).fold(String::from("tr_"), |id, byte| format!("{id}{byte:02x}"))
}

/// A random id in the CodeB form.
pub(super) fn alias(direction: Direction) -> String {
    let random: u64 = rand::random();
    match direction {
        Direction::Outbound => format!("oac-{:012x}", random >> 16),
        Direction::Inbound => format!("vnum{:010x}", random >> 24),
    }
}

/// What an engine key is sealed under.
pub(super) fn key_context(call: Uuid) -> String {
    format!("call:{call}:engine-key")
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::call::machine::Ending;
    use crate::call::record::{EndReason, EndedBy};
    use crate::store::Sealed;

    pub(in crate::call) fn a_call(clock: &Clock) -> Call {
        Call {
            id: clock.id(),
            organization: Uuid::from_u128(7),
            tenant: "phone.example.com".into(),
            alias: "oac-2f9e1b7c3a48".into(),
            direction: Direction::Outbound,
            requested_by: "alice".into(),
            phone: "+14155550123".into(),
            uri: None,
            wanted_trunk: None,
            display_name: "Alice".into(),
            email: Some("alice@example.com".into()),
            number: String::new(),
            number_name: String::new(),
            prompt: "Say hello.".into(),
            agent: None,
            engine_key: Some(Sealed("sealed".into())),
            model: "models/local-script".into(),
            voice: "Aoede".into(),
            language: "en-US".into(),
            max_seconds: 300,
            record_call: true,
            save_transcript: true,
            status: CallStatus::Queued,
            created_at: clock.utc(),
            scheduled_for: None,
            dispatched_at: None,
            answered_at: None,
            ended_at: None,
            retry_at: None,
            end_reason: None,
            ended_by: None,
            error_detail: String::new(),
            sip_code: None,
            trunk: String::new(),
            trunk_id: String::new(),
            attempt: 1,
            retries_left: 1,
            retry_delay_minutes: 5,
            retry_delay_ms: 300_000,
            transcript_file: String::new(),
            transcript_size: 0,
            transcript_saved_at: None,
            recording: None,
            caller_turns: 0,
            agent_turns: 0,
            tokens_prompt: 0,
            tokens_total: 0,
            quality: None,
            outcome: None,
            network: Default::default(),
            transfers: Vec::new(),
            tools: Vec::new(),
            messages: Vec::new(),
        }
    }

    fn busy() -> Ending {
        Ending {
            status: CallStatus::Busy,
            reason: EndReason::Busy,
            by: EndedBy::Callee,
            detail: "486 Busy Here".into(),
            sip_code: Some(486),
        }
    }

    #[test]
    fn a_retry_counts_up_and_clears_the_attempt_before() {
        let clock = Clock::manual(UtcTime(1_000_000));
        let mut call = a_call(&clock);
        progress(&mut call, Progress::Dialing, &clock);
        assert_eq!((call.attempt, call.retries_left), (1, 1));
        let retry = Settlement::Retry { ending: busy(), after: Duration::from_secs(300) };
        let events = settle(&mut call, &retry, true, clock.utc(), &clock);
        assert_eq!(events.iter().map(|event| event.kind).collect::<Vec<_>>(), [EventKind::CallEnded]);
        assert_eq!(call.status, CallStatus::RetryWait);
        assert_eq!(call.due_at(), Some(clock.utc() + Duration::from_secs(300)));
        assert_eq!((call.attempt, call.retries_left, call.sip_code), (1, 1, Some(486)));
        assert!(call.engine_key.is_some(), "the next attempt needs it");

        progress(&mut call, Progress::Dialing, &clock);
        assert_eq!((call.attempt, call.retries_left, call.sip_code, call.ended_at), (2, 0, None, None));
        assert!(call.end_reason.is_none() && call.error_detail.is_empty());
    }

    #[test]
    fn the_final_status_erases_the_engine_key_and_raises_both_events() {
        let clock = Clock::manual(UtcTime(1_000_000));
        let mut call = a_call(&clock);
        progress(&mut call, Progress::Dialing, &clock);
        let events = settle(&mut call, &Settlement::Final(busy()), true, clock.utc(), &clock);
        assert_eq!(
            events.iter().map(|event| event.kind).collect::<Vec<_>>(),
            [EventKind::CallEnded, EventKind::CallFinished]
        );
        assert!(call.engine_key.is_none());
        assert_eq!(call.due_at(), None);
        let data = &events[1].data;
        assert_eq!(data["status"], "busy");
        assert_eq!(data["end_reason"], "busy");
        assert_eq!(data["to"], "+14155550123");
        assert!(data.get("prompt").is_none() && data.get("engine_key").is_none());
    }

    #[test]
    fn a_call_cancelled_before_any_attempt_has_finished_but_not_ended_one() {
        let clock = Clock::manual(UtcTime(1_000_000));
        let mut call = a_call(&clock);
        let events = settle(&mut call, &Settlement::Final(busy()), false, clock.utc(), &clock);
        assert_eq!(events.iter().map(|event| event.kind).collect::<Vec<_>>(), [EventKind::CallFinished]);
    }

    #[test]
    fn aliases_and_trunk_ids_have_their_forms() {
        let out = alias(Direction::Outbound);
        assert!(out.starts_with("oac-") && out.len() == 16, "{out}");
        let inward = alias(Direction::Inbound);
        assert!(inward.starts_with("vnum") && inward.len() == 14, "{inward}");
        let id = trunk_id("office");
        assert!(id.starts_with("tr_") && id.len() == 19, "{id}");
        assert_eq!(id, trunk_id("office"));
        assert_ne!(id, trunk_id("carrier"));
    }
}
