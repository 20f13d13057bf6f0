//! `GET /api/v2/trunks`: how each trunk is.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::api::authenticate;
use crate::api::refusal;
use crate::call::{Calls, TrunkHealth, TrunkRegistration, TrunkReport};

#[derive(Debug, Serialize)]
struct Listed {
    trunks: Vec<Shown>,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    name: String,
    /// `udp`, `tcp` or `tls`; `null` while its host is not found.
    transport: Option<&'static str>,
    /// `off`, `pending`, `registered` or `failed`.
    registration: &'static str,
    /// RFC 3339; only with `registered`.
    registered_until: Option<String>,
    /// `unknown`, `up` or `down`.
    health: &'static str,
    calls: usize,
    max_calls: usize,
    last_error: Option<String>,
}

/// 200 `{trunks: […]}` in the order of the configuration; admins only.
pub(super) async fn list(State(calls): State<Calls>, request: Request) -> Response {
    match authenticate::admin(request.extensions()) {
        Ok(_) => {
            let trunks = calls.trunks().into_iter().map(Shown::of).collect();
            axum::Json(Listed { trunks }).into_response()
        }
        Err(problem) => refusal::render(&problem),
    }
}

impl Shown {
    fn of(report: TrunkReport) -> Shown {
        let (registration, until) = match report.registration {
            TrunkRegistration::None => ("off", None),
            TrunkRegistration::Pending => ("pending", None),
            TrunkRegistration::Until(until) => ("registered", Some(until.rfc3339())),
            TrunkRegistration::Failed => ("failed", None),
        };
        let health = match report.health {
            TrunkHealth::Unknown => "unknown",
            TrunkHealth::Up => "up",
            TrunkHealth::Down => "down",
        };
        Shown {
            name: report.name,
            transport: report.transport,
            registration,
            registered_until: until,
            health,
            calls: report.calls,
            max_calls: report.max_calls,
            last_error: report.problem,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::clock::UtcTime;

    #[test]
    fn a_registered_trunk_says_until_when() {
        let report = TrunkReport {
            name: "carrier".into(),
            transport: Some("udp"),
            registration: TrunkRegistration::Until(UtcTime(0)),
            health: TrunkHealth::Down,
            calls: 2,
            max_calls: 30,
            problem: Some("it does not answer".into()),
        };
        let shown = serde_json::to_value(Shown::of(report)).expect("JSON");
        let expected = json!({"name": "carrier", "transport": "udp", "registration": "registered",
            "registeredUntil": "1970-01-01T00:00:00.000Z", "health": "down", "calls": 2, "maxCalls": 30,
            "lastError": "it does not answer"});
        assert_eq!(shown, expected);
    }
}
