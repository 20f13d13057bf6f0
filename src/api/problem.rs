//! What can go wrong with a request, before a dialect puts it into its own words.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tracing::error;

use crate::identity::{AuthError, IdentityError};
use crate::store::StoreError;

/// A refusal. The text, where there is one, goes to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Problem {
    BadRequest(String),
    /// No bearer (`Missing`) or not a good one.
    Unauthorized(AuthError),
    Forbidden,
    /// The dial policy is against the call.
    NotDialled(String),
    /// A quota is used up until later.
    QuotaUsed {
        text: String,
        retry_after: Duration,
    },
    NotFound(String),
    /// The router adds `Allow`.
    MethodNotAllowed,
    /// The body did not come in time.
    BodyTimeout,
    TooLarge {
        limit: usize,
    },
    RateLimited {
        retry_after: Duration,
    },
    /// The SIP side is down.
    BridgeUnreachable(String),
    /// There is no trunk or no engine.
    BridgeNotConfigured(String),
    /// A queue is full, or the store cannot write now.
    Overloaded(String),
    /// The answer took too long.
    Timeout,
    Internal,
}

impl Problem {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Problem::BadRequest(_) => StatusCode::BAD_REQUEST,
            Problem::Unauthorized(AuthError::Unavailable) => StatusCode::SERVICE_UNAVAILABLE,
            Problem::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            Problem::Forbidden | Problem::NotDialled(_) => StatusCode::FORBIDDEN,
            Problem::NotFound(_) => StatusCode::NOT_FOUND,
            Problem::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Problem::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Problem::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Problem::RateLimited { .. } | Problem::QuotaUsed { .. } => StatusCode::TOO_MANY_REQUESTS,
            Problem::BridgeUnreachable(_) => StatusCode::BAD_GATEWAY,
            Problem::BridgeNotConfigured(_) | Problem::Overloaded(_) | Problem::Timeout => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Problem::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        match self {
            Problem::BadRequest(text)
            | Problem::NotFound(text)
            | Problem::NotDialled(text)
            | Problem::QuotaUsed { text, .. }
            | Problem::BridgeUnreachable(text)
            | Problem::BridgeNotConfigured(text)
            | Problem::Overloaded(text) => text.clone(),
            Problem::Unauthorized(error) => error.to_string(),
            Problem::Forbidden => "the bearer lacks role=admin".into(),
            Problem::MethodNotAllowed => "this method is not allowed here; see the Allow header".into(),
            Problem::BodyTimeout => "the request body did not arrive in time".into(),
            Problem::TooLarge { limit } => format!("the request body is larger than {limit} bytes"),
            Problem::RateLimited { retry_after } => {
                format!("too many requests; try again in {} s", whole_seconds(*retry_after))
            }
            Problem::Timeout => "the request took too long".into(),
            Problem::Internal => "an internal error occurred; the log of the box says more".into(),
        }
    }

    /// The dialect's body under the status and headers that the problem owes.
    pub(super) fn respond<T: Serialize>(&self, body: &T) -> Response {
        let mut response = (self.status(), axum::Json(body)).into_response();
        let headers = response.headers_mut();
        match self {
            Problem::Unauthorized(AuthError::Missing) => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Problem::Unauthorized(AuthError::Invalid | AuthError::Expired) => {
                let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
                headers.insert(header::WWW_AUTHENTICATE, challenge);
            }
            Problem::RateLimited { retry_after } | Problem::QuotaUsed { retry_after, .. } => {
                headers.insert(header::RETRY_AFTER, whole_seconds(*retry_after).into());
            }
            Problem::Overloaded(_) | Problem::Timeout => {
                headers.insert(header::RETRY_AFTER, 5.into());
            }
            // What is left of the body is not read: the connection cannot be used again.
            Problem::TooLarge { .. } | Problem::BodyTimeout => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }
}

/// Rounded up, at least one.
pub(super) fn whole_seconds(span: Duration) -> u64 {
    span.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX).max(1)
}

impl From<StoreError> for Problem {
    fn from(problem: StoreError) -> Self {
        error!(%problem, "a request failed at the store");
        match problem {
            StoreError::Write(_) | StoreError::Busy | StoreError::Closed => {
                Problem::Overloaded("the store cannot take the change now; nothing was changed".into())
            }
            StoreError::Read(_) | StoreError::Corrupt { .. } => Problem::Internal,
        }
    }
}

impl From<IdentityError> for Problem {
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::Store(error) => error.into(),
            IdentityError::Invalid { field, problem } => Problem::BadRequest(format!("{field} {problem}")),
            problem @ (IdentityError::Key(_) | IdentityError::Hash(_)) => {
                error!(%problem, "a request failed at sign-in");
                Problem::Internal
            }
        }
    }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        Problem::Unauthorized(error)
    }
}

/// The error body of the CodeB dialect, of OAuth (RFC 6749 §5.2) and of our own routes.
#[derive(Serialize)]
pub(super) struct ErrorBody<'a> {
    pub error: &'a str,
    pub error_description: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unauthorized_says_bearer_and_whether_the_token_was_bad() {
        let challenge = |error| {
            let response = Problem::Unauthorized(error).respond(&());
            response.headers()[header::WWW_AUTHENTICATE].to_str().expect("ascii").to_owned()
        };
        assert_eq!(challenge(AuthError::Missing), "Bearer");
        assert_eq!(challenge(AuthError::Expired), "Bearer error=\"invalid_token\"");
        assert_eq!(challenge(AuthError::Invalid), "Bearer error=\"invalid_token\"");
    }

    #[test]
    fn a_full_disk_is_503_with_a_time_to_come_back() {
        let response = Problem::from(StoreError::Write("no space left".into())).respond(&());
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()[header::RETRY_AFTER], "5");
    }

    #[test]
    fn seconds_are_rounded_up() {
        for (ms, seconds) in [(0, 1), (1, 1), (1000, 1), (1001, 2)] {
            assert_eq!(whole_seconds(Duration::from_millis(ms)), seconds);
        }
    }
}
