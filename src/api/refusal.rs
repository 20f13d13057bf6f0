//! `{ error, error_description }`: the error form of our own routes, which is also the CodeB dialect's.

use axum::response::Response;

use crate::identity::AuthError;

use super::problem::{ErrorBody, Problem};

pub(super) fn render(problem: &Problem) -> Response {
    let text = problem.text();
    problem.respond(&ErrorBody { error: code(problem), error_description: &text })
}

fn code(problem: &Problem) -> &'static str {
    match problem {
        Problem::BadRequest(_) => "bad_request",
        Problem::Unauthorized(AuthError::Unavailable) | Problem::Overloaded(_) => "overloaded",
        Problem::Unauthorized(_) => "unauthorized",
        Problem::Forbidden | Problem::NotDialled(_) => "forbidden",
        Problem::NotFound(_) => "not_found",
        Problem::MethodNotAllowed => "method_not_allowed",
        Problem::BodyTimeout => "request_timeout",
        Problem::TooLarge { .. } => "payload_too_large",
        Problem::RateLimited { .. } | Problem::QuotaUsed { .. } => "rate_limited",
        Problem::BridgeUnreachable(_) => "bridge_unreachable",
        Problem::BridgeNotConfigured(_) => "bridge_not_configured",
        Problem::Timeout => "timeout",
        Problem::Internal => "internal_error",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn every_problem_has_the_documented_status_and_code() {
        let text = || String::from("x");
        let table = [
            (Problem::BadRequest(text()), 400, "bad_request"),
            (Problem::Unauthorized(AuthError::Missing), 401, "unauthorized"),
            (Problem::Unauthorized(AuthError::Expired), 401, "unauthorized"),
            (Problem::Forbidden, 403, "forbidden"),
            (Problem::NotFound(text()), 404, "not_found"),
            (Problem::MethodNotAllowed, 405, "method_not_allowed"),
            (Problem::TooLarge { limit: 1 }, 413, "payload_too_large"),
            (Problem::RateLimited { retry_after: Duration::from_secs(2) }, 429, "rate_limited"),
            (Problem::BridgeUnreachable(text()), 502, "bridge_unreachable"),
            (Problem::BridgeNotConfigured(text()), 503, "bridge_not_configured"),
            (Problem::Internal, 500, "internal_error"),
        ];
        for (problem, status, code) in table {
            let response = render(&problem);
            assert_eq!(response.status(), status, "{problem:?}");
            let bytes = axum::body::to_bytes(response.into_body(), 10_000).await.expect("body");
            let body: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
            let members: Vec<&String> = body.as_object().expect("object").keys().collect();
            assert_eq!(members, ["error", "error_description"]);
            assert_eq!(body["error"], code);
        }
    }
}
