//! Every way in which an INVITE can fail, reduced to one outcome.
//!
//! | Answer | Status, reason | Retried | Next trunk |
//! |---|---|---|---|
//! | 486, 600 and unknown 6xx | busy, busy | yes | no |
//! | 408, 480, 487 | no_answer, no-answer | yes | no |
//! | 403, 603 | failed, rejected | yes | no |
//! | 607, 608 (RFC 8197, RFC 8688) | failed, rejected | no: the callee said never | no |
//! | 404, 410, 414, 416, 484, 485, 604 | failed, error: not a number | no | no |
//! | 401, 407 | failed, error: the trunk refuses our credentials | no | no |
//! | 406, 415, 488, 606 | failed, error: no codec in common | no | no |
//! | 3xx | failed, error: redirected to where the box may not call (toll fraud) | no | no |
//! | 429, 430, 481, 482, 483, 491 | failed, error: the network | yes | no |
//! | 503 | failed, error: the trunk | yes | yes (RFC 3263 §4.3) |
//! | other 5xx | failed, error: the network | yes | no |
//! | other 4xx | failed, error: refused as 400 (RFC 3261 §8.1.3.2) | no | no |
//! | nothing (timer B), unreachable | failed, error: the trunk | yes | yes |
//! | ring timeout | no_answer, no-answer | yes | no |
//! | credentials refused twice, unusable answer | failed, error | no | no |
//!
//! A gateway often knows more than its status says: 408, 480, 487, 500, 502, 503 and 504 with `Reason: Q.850;cause=…` are
//! judged as the status that RFC 3398 §7.2.4.1 gives that cause:
//!
//! | Cause | judged as |
//! |---|---|
//! | 1, 2, 3 (no route, no such number) | 404 |
//! | 17 (busy) | 486 |
//! | 18, 19, 20 (nobody answers, absent) | 480 |
//! | 21 (rejected), 55, 57, 87 (barred) | 403 |
//! | 22, 23 (number changed) | 410 |
//! | 28 (number incomplete) | 484 |
//! | any other | its own status |

use super::record::{CallStatus, EndReason};
use crate::sip::endpoint::CallFailure;

/// What a failed INVITE means for the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub status: CallStatus,
    pub reason: EndReason,
    /// Worth another attempt, if any are left.
    pub retry: bool,
    /// It is the trunk that failed, not the callee: another trunk may do better.
    pub trunk_trouble: bool,
    /// In words, for operators.
    pub detail: String,
    pub sip_code: Option<u16>,
}

/// [`of_response`] with the telephone network's cause value.
pub fn of_refusal(code: u16, cause: Option<u16>, phrase: &str) -> Verdict {
    let judged = cause.filter(|_| matches!(code, 408 | 480 | 487 | 500 | 502 | 503 | 504)).and_then(status_of_cause);
    let Some(judged) = judged else { return of_response(code, phrase) };
    Verdict { sip_code: Some(code), ..of_response(judged, &format!("after {code} {phrase}")) }
}

fn status_of_cause(cause: u16) -> Option<u16> {
    Some(match cause {
        1..=3 => 404,
        17 => 486,
        18..=20 => 480,
        21 | 55 | 57 | 87 => 403,
        22 | 23 => 410,
        28 => 484,
        _ => return None,
    })
}

/// The verdict on a final answer of 300 to 699; `phrase` is the answer's own.
pub fn of_response(code: u16, phrase: &str) -> Verdict {
    let (status, reason, retry, meaning) = class_of(code);
    let mut detail = format!("{code} {}", phrase.trim());
    if !meaning.is_empty() {
        detail = format!("{meaning} ({})", detail.trim());
    }
    Verdict {
        status,
        reason,
        retry,
        trunk_trouble: code == 503,
        detail: detail.trim().to_owned(),
        sip_code: Some(code),
    }
}

fn class_of(code: u16) -> (CallStatus, EndReason, bool, &'static str) {
    use CallStatus::{Busy, Failed, NoAnswer};
    use EndReason::{Error, Rejected};
    match code {
        486 | 600 => (Busy, EndReason::Busy, true, ""),
        408 | 480 | 487 => (NoAnswer, EndReason::NoAnswer, true, ""),
        403 | 603 => (Failed, Rejected, true, "the call was rejected"),
        607 | 608 => (Failed, Rejected, false, "the callee wants no such calls"),
        404 | 410 | 414 | 416 | 484 | 485 | 604 => (Failed, Error, false, "the number does not exist or is incomplete"),
        401 | 407 => (Failed, Error, false, "the trunk refuses our credentials"),
        406 | 415 | 488 | 606 => (Failed, Error, false, "no audio codec in common"),
        300..=399 => (Failed, Error, false, "the trunk redirects the call to where it may not go"),
        429 | 430 | 481 | 482 | 483 | 491 => (Failed, Error, true, "the network could not set the call up"),
        500..=599 => (Failed, Error, true, "the network could not set the call up"),
        601..=699 => (Busy, EndReason::Busy, true, ""),
        _ => (Failed, Error, false, "the trunk refuses the call"),
    }
}

/// Said of a call that was tried although every trunk for it was down.
const TRUNK_DOWN: &str = "trunk-down: the trunk answered neither its health check nor the call";

/// The verdict on an INVITE without a final answer.
pub fn of_failure(failure: &CallFailure) -> Verdict {
    let no_answer = matches!(failure, CallFailure::NoAnswer);
    let trunk_trouble =
        matches!(failure, CallFailure::TrunkSilent | CallFailure::TrunkDown | CallFailure::Unreachable(_));
    Verdict {
        status: if no_answer { CallStatus::NoAnswer } else { CallStatus::Failed },
        reason: if no_answer { EndReason::NoAnswer } else { EndReason::Error },
        retry: no_answer || trunk_trouble,
        trunk_trouble,
        detail: match failure {
            CallFailure::TrunkSilent => "the trunk did not answer".to_owned(),
            CallFailure::TrunkDown => TRUNK_DOWN.to_owned(),
            CallFailure::Unreachable(problem) => format!("the trunk cannot be reached: {problem}"),
            CallFailure::Unauthorized => "the trunk refuses our credentials".to_owned(),
            CallFailure::NoAnswer => "nobody answered".to_owned(),
            CallFailure::BadAnswer(problem) => format!("the answer's session description cannot be used: {problem}"),
        },
        sip_code: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The module's table, row by row: codes, status, reason, retried.
    const TABLE: &[(&[u16], CallStatus, EndReason, bool)] = &[
        (&[486, 600, 601, 605, 609, 699], CallStatus::Busy, EndReason::Busy, true),
        (&[408, 480, 487], CallStatus::NoAnswer, EndReason::NoAnswer, true),
        (&[403, 603], CallStatus::Failed, EndReason::Rejected, true),
        (&[607, 608], CallStatus::Failed, EndReason::Rejected, false),
        (&[404, 410, 414, 416, 484, 485, 604], CallStatus::Failed, EndReason::Error, false),
        (&[401, 407, 406, 415, 488, 606], CallStatus::Failed, EndReason::Error, false),
        (&[300, 301, 302, 305, 380, 399], CallStatus::Failed, EndReason::Error, false),
        (&[429, 430, 481, 482, 483, 491], CallStatus::Failed, EndReason::Error, true),
        (&[500, 501, 502, 503, 504, 505, 513, 580, 599], CallStatus::Failed, EndReason::Error, true),
        (&[400, 402, 405, 413, 420, 421, 423, 433, 489, 493, 499], CallStatus::Failed, EndReason::Error, false),
    ];

    #[test]
    fn each_row_of_the_table_holds() {
        for (codes, status, reason, retry) in TABLE {
            for code in *codes {
                let verdict = of_response(*code, "Phrase");
                assert_eq!((verdict.status, verdict.reason, verdict.retry), (*status, *reason, *retry), "{code}");
                assert!(verdict.detail.contains(&code.to_string()), "{code}: {}", verdict.detail);
            }
        }
    }

    /// The second table, row by row.
    #[test]
    fn a_cause_of_the_telephone_network_refines_a_vague_status() {
        let rows: &[(&[u16], u16)] = &[
            (&[1, 2, 3], 404),
            (&[17], 486),
            (&[18, 19, 20], 480),
            (&[21, 55, 57, 87], 403),
            (&[22, 23], 410),
            (&[28], 484),
        ];
        for (causes, judged) in rows {
            for cause in *causes {
                let (verdict, plain) = (of_refusal(503, Some(*cause), "Busy"), of_response(*judged, ""));
                let seen = (verdict.status, verdict.reason, verdict.retry, verdict.trunk_trouble);
                assert_eq!(seen, (plain.status, plain.reason, plain.retry, false), "{cause}");
                assert_eq!(verdict.sip_code, Some(503), "what was really said");
                assert_eq!(of_refusal(404, Some(*cause), "x"), of_response(404, "x"), "a clear status stands");
            }
        }
        assert_eq!(of_refusal(503, Some(34), "x"), of_response(503, "x"));
        assert_eq!(of_refusal(480, None, "x"), of_response(480, "x"));
    }

    #[test]
    fn every_code_from_300_to_699_has_one_final_outcome() {
        for code in 300..=699 {
            let verdict = of_response(code, "");
            assert!(verdict.status.is_final(), "{code}");
            assert_ne!(verdict.status, CallStatus::Completed, "{code}");
            assert_eq!(verdict.sip_code, Some(code));
            assert_eq!(verdict.trunk_trouble, code == 503, "{code}");
            // The status and the reason say the same thing.
            assert_eq!(verdict.status == CallStatus::Busy, verdict.reason == EndReason::Busy, "{code}");
            assert_eq!(verdict.status == CallStatus::NoAnswer, verdict.reason == EndReason::NoAnswer, "{code}");
        }
    }

    #[test]
    fn a_trunk_that_is_silent_or_unreachable_is_retried_and_another_trunk_is_tried() {
        for failure in [CallFailure::TrunkSilent, CallFailure::TrunkDown, CallFailure::Unreachable("refused".into())] {
            let verdict = of_failure(&failure);
            assert!(verdict.retry && verdict.trunk_trouble);
            assert_eq!((verdict.status, verdict.reason), (CallStatus::Failed, EndReason::Error));
        }
    }

    #[test]
    fn nobody_answering_is_retried_on_the_same_trunk() {
        let verdict = of_failure(&CallFailure::NoAnswer);
        assert_eq!((verdict.status, verdict.reason), (CallStatus::NoAnswer, EndReason::NoAnswer));
        assert!(verdict.retry && !verdict.trunk_trouble);
    }

    #[test]
    fn wrong_credentials_and_unusable_answers_are_not_retried() {
        for failure in [CallFailure::Unauthorized, CallFailure::BadAnswer("no codec in common".into())] {
            let verdict = of_failure(&failure);
            assert!(!verdict.retry && !verdict.trunk_trouble);
            assert_eq!((verdict.status, verdict.reason), (CallStatus::Failed, EndReason::Error));
        }
    }
}
