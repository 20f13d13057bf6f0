//! What the answers look like.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::api::problem::Problem;
use crate::call::{Call, CallStatus, Direction};
use crate::clock::UtcTime;

/// RFC 2822, as this interface writes times.
const TIME: &str = "%a, %d %b %Y %H:%M:%S +0000";

/// The call that `CA….json` names.
pub(super) fn id(name: &str) -> Option<Uuid> {
    let digits = name.strip_suffix(".json")?.strip_prefix("CA")?;
    (digits.len() == 32).then(|| Uuid::try_parse(digits).ok()).flatten()
}

pub(super) fn call(call: &Call, account: &str) -> Response {
    axum::Json(body(call, account)).into_response()
}

fn body(call: &Call, account: &str) -> Value {
    let sid = format!("CA{}", call.id.simple());
    let (direction, from, to) = match call.direction {
        Direction::Inbound => ("inbound", &call.phone, &call.number),
        Direction::Outbound => ("outbound-api", &call.number, &call.phone),
    };
    let time = |time: Option<UtcTime>| time.map(|time| time.format(TIME));
    let over = call.ended_at.map(|_| call.talk_seconds().to_string());
    json!({
        "sid": sid,
        "account_sid": account,
        "api_version": "2010-04-01",
        "status": status(call.status),
        "direction": direction,
        "from": from,
        "from_formatted": from,
        "to": to,
        "to_formatted": to,
        "date_created": time(Some(call.created_at)),
        "date_updated": time(call.ended_at.or(call.answered_at).or(Some(call.created_at))),
        "start_time": time(call.answered_at),
        "end_time": time(call.ended_at),
        "duration": over,
        "answered_by": null,
        "annotation": null,
        "caller_name": null,
        "forwarded_from": null,
        "group_sid": null,
        "parent_call_sid": null,
        "phone_number_sid": null,
        "price": null,
        "price_unit": "USD",
        "queue_time": "0",
        "trunk_sid": null,
        "uri": format!("/2010-04-01/Accounts/{account}/Calls/{sid}.json"),
        "subresource_uris": {},
    })
}

fn status(status: CallStatus) -> &'static str {
    match status {
        CallStatus::Scheduled | CallStatus::Queued | CallStatus::RetryWait => "queued",
        CallStatus::Dialing | CallStatus::Ringing => "ringing",
        CallStatus::InProgress => "in-progress",
        CallStatus::Completed => "completed",
        CallStatus::Busy => "busy",
        CallStatus::NoAnswer => "no-answer",
        CallStatus::Canceled => "canceled",
        CallStatus::Failed => "failed",
    }
}

/// `{code, message, more_info, status}`.
pub(in crate::api) fn render(problem: &Problem) -> Response {
    let (code, message) = match problem {
        Problem::Unauthorized(_) => (20_003, "Authenticate".to_owned()),
        Problem::NotFound(text) => (20_404, text.clone()),
        Problem::MethodNotAllowed => (20_004, problem.text()),
        Problem::RateLimited { .. } => (20_429, problem.text()),
        Problem::BadRequest(text) => (20_001, text.clone()),
        _ if problem.status().is_server_error() => (20_500, problem.text()),
        _ => (20_400, problem.text()),
    };
    let mut response = problem.respond(&json!({
        "code": code,
        "message": message,
        "more_info": format!("https://www.twilio.com/docs/errors/{code}"),
        "status": problem.status().as_u16(),
    }));
    if response.status() == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Basic realm=\"Twilio API\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::identity::AuthError;

    #[test]
    fn a_call_is_found_by_the_name_that_its_bot_was_told_and_by_no_other() {
        let uuid = Uuid::from_u128(0x1f);
        assert_eq!(id(&format!("CA{}.json", uuid.simple())), Some(uuid));
        for name in ["", ".json", "CA.json", "CA1f.json"] {
            assert_eq!(id(name), None, "{name}");
        }
        assert_eq!(id(&format!("CA{}", uuid.simple())), None);
        assert_eq!(id(&format!("CB{}.json", uuid.simple())), None);
        assert_eq!(id(&format!("CA{uuid}.json")), None, "with hyphens");
    }

    #[tokio::test]
    async fn problems_are_told_in_the_form_of_that_interface() {
        for (problem, status, code) in [
            (Problem::Unauthorized(AuthError::Missing), 401, 20_003),
            (Problem::NotFound("x".into()), 404, 20_404),
            (Problem::BadRequest("x".into()), 400, 20_001),
            (Problem::MethodNotAllowed, 405, 20_004),
            (Problem::RateLimited { retry_after: Duration::from_secs(1) }, 429, 20_429),
            (Problem::Internal, 500, 20_500),
        ] {
            let response = render(&problem);
            assert_eq!(response.status(), status);
            let challenge = response.headers().get(header::WWW_AUTHENTICATE).cloned();
            assert_eq!(challenge.is_some_and(|value| value == "Basic realm=\"Twilio API\""), status == 401);
            let bytes = axum::body::to_bytes(response.into_body(), 10_000).await.expect("a body");
            let body: Value = serde_json::from_slice(&bytes).expect("JSON");
            assert_eq!((&body["code"], &body["status"]), (&code.into(), &status.into()));
            assert!(body["message"].is_string() && body["more_info"].is_string());
        }
    }

    #[test]
    fn times_are_written_as_that_interface_does() {
        let time = UtcTime::parse("2010-08-31T20:36:28Z").expect("a time");
        assert_eq!(time.format(TIME), "Tue, 31 Aug 2010 20:36:28 +0000");
    }
}
