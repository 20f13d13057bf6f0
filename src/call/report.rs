//! The mail that tells how a call went.

use super::record::{Call, CallStatus, Direction, Turn};
use super::tools::TakenMessage;
use super::transcript::file;
use crate::events::Mail;

/// The mail owed for a call at its final status; `None` when nobody asked for one, or an inbound call had no
/// conversation.
pub(super) fn mail(call: &Call, turns: &[Turn]) -> Option<Mail> {
    let to = call.email.clone().filter(|to| !to.is_empty())?;
    if call.direction == Direction::Inbound && call.answered_at.is_none() {
        return None;
    }
    Some(Mail { to, subject: subject(call), text: text(call, turns) })
}

fn subject(call: &Call) -> String {
    let whom = match call.direction {
        Direction::Outbound => format!("Call to {}", call.display_name),
        Direction::Inbound => format!("Call on {}", call.number_name),
    };
    // A header takes one line.
    format!("{whom}: {}", outcome(call)).replace(|c: char| c.is_control(), " ")
}

fn outcome(call: &Call) -> &'static str {
    match call.status {
        CallStatus::Completed => "finished",
        CallStatus::NoAnswer => "no answer",
        CallStatus::Busy => "busy",
        CallStatus::Canceled => "cancelled",
        _ => "failed",
    }
}

fn text(call: &Call, turns: &[Turn]) -> String {
    let reason = call.end_reason.map(super::EndReason::word).unwrap_or_default();
    let seconds = call.talk_seconds();
    let mut text = format!(
        "Outcome: {}\nEnd reason: {reason}\nDuration: {}:{:02} min\n",
        outcome(call),
        seconds / 60,
        seconds % 60
    );
    if call.attempt > 1 {
        text.push_str(&format!("Attempts: {}\n", call.attempt));
    }
    for TakenMessage { text: words, call_back, name, .. } in &call.messages {
        text.push_str(&format!("\nMessage: {words}\nCall back: {call_back}\n"));
        if !name.is_empty() {
            text.push_str(&format!("From: {name}\n"));
        }
    }
    text.push('\n');
    text.push_str(&file::text(call, turns));
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::call::ledger::tests::a_call;
    use crate::call::record::{EndReason, Speaker};
    use crate::clock::{Clock, UtcTime};

    #[test]
    fn it_says_outcome_duration_reason_and_every_turn() {
        let clock = Clock::manual(UtcTime(1_000_000));
        let mut call = a_call(&clock);
        call.status = CallStatus::Completed;
        call.end_reason = Some(EndReason::Finished);
        call.answered_at = Some(clock.utc());
        call.ended_at = Some(clock.utc() + Duration::from_secs(145));
        let turn = Turn {
            speaker: Speaker::Agent,
            text: "Good morning.".into(),
            started_at: clock.utc(),
            ended_at: clock.utc(),
            delay_ms: None,
            interrupted: false,
        };
        let mail = mail(&call, &[turn]).expect("wanted");
        assert_eq!((mail.to.as_str(), mail.subject.as_str()), ("alice@example.com", "Call to Alice: finished"));
        assert!(mail.text.contains("Outcome: finished\nEnd reason: finished\nDuration: 2:25 min\n"), "{}", mail.text);
        assert!(mail.text.contains("AI: Good morning."), "{}", mail.text);
    }

    #[test]
    fn a_failed_call_is_reported_too_and_names_the_cause() {
        let clock = Clock::manual(UtcTime(1_000_000));
        let mut call = a_call(&clock);
        call.status = CallStatus::Failed;
        call.end_reason = Some(EndReason::Rejected);
        call.error_detail = "number is not on the dial whitelist".into();
        let mail = mail(&call, &[]).expect("wanted");
        assert!(mail.subject.ends_with(": failed"));
        assert!(mail.text.contains("number is not on the dial whitelist"), "{}", mail.text);
    }

    #[test]
    fn nobody_is_mailed_without_an_address_or_for_an_inbound_call_that_was_never_answered() {
        let clock = Clock::manual(UtcTime(1_000_000));
        let mut call = a_call(&clock);
        call.direction = Direction::Inbound;
        assert_eq!(mail(&call, &[]), None);
        call.answered_at = Some(clock.utc());
        assert!(mail(&call, &[]).is_some());
        call.email = None;
        assert_eq!(mail(&call, &[]), None);
    }

    #[test]
    fn a_name_cannot_break_out_of_the_subject_line() {
        let clock = Clock::manual(UtcTime(1_000_000));
        let mut call = a_call(&clock);
        call.display_name = "Eve\r\nBcc: all@example.com".into();
        let mail = mail(&call, &[]).expect("wanted");
        assert!(!mail.subject.contains(['\r', '\n']));
    }
}
