//! Errors in the words of RFC 6749 §5.2, and RFC 6750 §3.1 for bearer routes.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::api::problem::{ErrorBody, Problem, whole_seconds};
use crate::identity::{AuthError, GrantError};

/// A refusal of the token endpoint.
#[derive(Debug)]
pub(super) enum TokenFailure {
    /// The request itself is wrong.
    Request(String),
    Grant(GrantError),
    UnsupportedGrant,
    Problem(Problem),
}

impl From<Problem> for TokenFailure {
    fn from(problem: Problem) -> Self {
        TokenFailure::Problem(problem)
    }
}

impl From<GrantError> for TokenFailure {
    fn from(error: GrantError) -> Self {
        TokenFailure::Grant(error)
    }
}

impl IntoResponse for TokenFailure {
    fn into_response(self) -> Response {
        let error = match self {
            TokenFailure::Request(text) => return refused(StatusCode::BAD_REQUEST, "invalid_request", &text),
            TokenFailure::UnsupportedGrant => {
                let text = "grant_type must be password or refresh_token";
                return refused(StatusCode::BAD_REQUEST, "unsupported_grant_type", text);
            }
            TokenFailure::Problem(problem) => return render(&problem),
            TokenFailure::Grant(error) => error,
        };
        let text = error.to_string();
        match error {
            GrantError::UnknownClient => refused(StatusCode::UNAUTHORIZED, "invalid_client", &text),
            GrantError::Refused => refused(StatusCode::BAD_REQUEST, "invalid_grant", &text),
            GrantError::Scope => refused(StatusCode::BAD_REQUEST, "invalid_scope", &text),
            GrantError::SlowDown { retry_after } => {
                let mut response = refused(StatusCode::TOO_MANY_REQUESTS, "slow_down", &text);
                response.headers_mut().insert(header::RETRY_AFTER, whole_seconds(retry_after).into());
                response
            }
            GrantError::Identity(error) => render(&error.into()),
        }
    }
}

fn refused(status: StatusCode, error: &str, error_description: &str) -> Response {
    let mut response = (status, axum::Json(ErrorBody { error, error_description })).into_response();
    response.headers_mut().insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

pub(in crate::api) fn render(problem: &Problem) -> Response {
    let text = problem.text();
    problem.respond(&ErrorBody { error: code(problem), error_description: &text })
}

fn code(problem: &Problem) -> &'static str {
    match problem {
        Problem::BadRequest(_) | Problem::TooLarge { .. } | Problem::BodyTimeout => "invalid_request",
        Problem::Unauthorized(AuthError::Unavailable) | Problem::Overloaded(_) | Problem::Timeout => {
            "temporarily_unavailable"
        }
        Problem::Unauthorized(_) => "invalid_token",
        Problem::Forbidden | Problem::NotDialled(_) => "insufficient_scope",
        Problem::NotFound(_) => "not_found",
        Problem::MethodNotAllowed => "method_not_allowed",
        Problem::RateLimited { .. } | Problem::QuotaUsed { .. } => "slow_down",
        Problem::BridgeUnreachable(_) | Problem::BridgeNotConfigured(_) | Problem::Internal => "server_error",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn token_refusals_have_the_status_of_rfc_6749() {
        let table = [
            (TokenFailure::Request("x".into()), 400),
            (TokenFailure::UnsupportedGrant, 400),
            (GrantError::Refused.into(), 400),
            (GrantError::Scope.into(), 400),
            (GrantError::UnknownClient.into(), 401),
            (GrantError::SlowDown { retry_after: Duration::from_secs(40) }.into(), 429),
        ];
        for (failure, status) in table {
            let shown = format!("{failure:?}");
            let response = failure.into_response();
            assert_eq!(response.status(), status, "{shown}");
            if status == 429 {
                assert_eq!(response.headers()[header::RETRY_AFTER], "40");
            }
        }
    }
}
