//! Status and reason words of this dialect, and the core statuses behind them.

use crate::api::problem::Problem;
use crate::call::record::{EndedBy, StatusFilter};
use crate::call::{Call, CallStatus, EndReason};

const SCHEDULED: &str = "scheduled";
const DISPATCHING: &str = "dispatching";
const IN_FLIGHT: &str = "in-flight";
const SUCCESS: &str = "ended-success";
const RETRY_PENDING: &str = "ended-failed-retry-pending";
const FAILED: &str = "ended-failed-final";
pub(super) const CANCELLED: &str = "cancelled";

const WORDS: [&str; 7] = [SCHEDULED, DISPATCHING, IN_FLIGHT, SUCCESS, RETRY_PENDING, FAILED, CANCELLED];

/// The call's status. A live call that the API ended counts as cancelled.
pub(super) fn word(call: &Call) -> &'static str {
    match call.status {
        CallStatus::Scheduled => SCHEDULED,
        CallStatus::Queued | CallStatus::Dialing | CallStatus::Ringing => DISPATCHING,
        CallStatus::InProgress => IN_FLIGHT,
        CallStatus::Completed if call.ended_by == Some(EndedBy::Api) => CANCELLED,
        CallStatus::Completed => SUCCESS,
        CallStatus::RetryWait => RETRY_PENDING,
        CallStatus::NoAnswer | CallStatus::Busy | CallStatus::Failed => FAILED,
        CallStatus::Canceled => CANCELLED,
    }
}

/// What was answered when the order was accepted, also when it is repeated later.
pub(super) fn accepted(call: &Call) -> &'static str {
    if call.scheduled_for.is_some_and(|due| due > call.created_at) { SCHEDULED } else { DISPATCHING }
}

pub(super) fn reason(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Finished => "finished",
        EndReason::NoAnswer => "no-answer",
        EndReason::Busy => "busy",
        EndReason::Rejected => "rejected",
        EndReason::MaxDuration => "max-duration",
        EndReason::EmptyRoom => "empty-room",
        EndReason::Hangup => "hangup",
        EndReason::Cancelled => "cancelled",
        EndReason::Restarted => "restarted",
        EndReason::Error => "error",
    }
}

/// A comma-separated list of status words.
pub(super) fn filter(list: Option<&str>) -> Result<Vec<StatusFilter>, Problem> {
    let words = list.unwrap_or_default().split(',').map(str::trim).filter(|word| !word.is_empty());
    let mut filters = Vec::new();
    for word in words {
        filters.extend(behind(word).ok_or_else(|| {
            Problem::BadRequest(format!("status must be a comma-separated list of: {}", WORDS.join(", ")))
        })?);
    }
    Ok(filters)
}

fn behind(word: &str) -> Option<Vec<StatusFilter>> {
    let any = |status| StatusFilter { status, ended_by_api: None };
    let completed = |by_api| StatusFilter { status: CallStatus::Completed, ended_by_api: Some(by_api) };
    Some(match word {
        SCHEDULED => vec![any(CallStatus::Scheduled)],
        DISPATCHING => vec![any(CallStatus::Queued), any(CallStatus::Dialing), any(CallStatus::Ringing)],
        IN_FLIGHT => vec![any(CallStatus::InProgress)],
        SUCCESS => vec![completed(false)],
        RETRY_PENDING => vec![any(CallStatus::RetryWait)],
        FAILED => vec![any(CallStatus::NoAnswer), any(CallStatus::Busy), any(CallStatus::Failed)],
        CANCELLED => vec![any(CallStatus::Canceled), completed(true)],
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::outbound;
    use super::*;

    const ALL: [CallStatus; 11] = [
        CallStatus::Scheduled,
        CallStatus::Queued,
        CallStatus::Dialing,
        CallStatus::Ringing,
        CallStatus::InProgress,
        CallStatus::RetryWait,
        CallStatus::Completed,
        CallStatus::NoAnswer,
        CallStatus::Busy,
        CallStatus::Canceled,
        CallStatus::Failed,
    ];

    #[test]
    fn walks_the_status_table() {
        let rows = [
            (CallStatus::Scheduled, None, "scheduled"),
            (CallStatus::Queued, None, "dispatching"),
            (CallStatus::Dialing, None, "dispatching"),
            (CallStatus::Ringing, None, "dispatching"),
            (CallStatus::InProgress, None, "in-flight"),
            (CallStatus::RetryWait, None, "ended-failed-retry-pending"),
            (CallStatus::Completed, Some(EndedBy::Callee), "ended-success"),
            (CallStatus::Completed, Some(EndedBy::Api), "cancelled"),
            (CallStatus::NoAnswer, Some(EndedBy::System), "ended-failed-final"),
            (CallStatus::Busy, Some(EndedBy::Callee), "ended-failed-final"),
            (CallStatus::Failed, Some(EndedBy::System), "ended-failed-final"),
            (CallStatus::Canceled, Some(EndedBy::Api), "cancelled"),
        ];
        for (status, ended_by, expected) in rows {
            let call = Call { status, ended_by, ..outbound() };
            assert_eq!(word(&call), expected, "{status:?} {ended_by:?}");
        }
    }

    #[test]
    fn each_call_passes_exactly_the_filter_of_the_word_that_it_shows() {
        for status in ALL {
            for ended_by in [None, Some(EndedBy::Api), Some(EndedBy::Callee)] {
                let call = Call { status, ended_by, ..outbound() };
                let passes = |word: &&&str| {
                    behind(word).expect("known").iter().any(|filter| {
                        let by_api = call.ended_by == Some(EndedBy::Api);
                        filter.status == call.status && filter.ended_by_api.is_none_or(|wanted| wanted == by_api)
                    })
                };
                let passing: Vec<&&str> = WORDS.iter().filter(passes).collect();
                assert_eq!(passing, [&word(&call)], "{status:?} {ended_by:?}");
            }
        }
    }

    #[test]
    fn an_unknown_status_word_is_refused_and_an_empty_list_means_all() {
        assert!(filter(Some("in-flight,dialing")).is_err());
        assert_eq!(filter(Some("in-flight, scheduled")).expect("known").len(), 2);
        assert!(filter(None).expect("all").is_empty());
        assert!(filter(Some(",")).expect("all").is_empty());
    }
}
