//! The CodeB platform API, `/api.ashx/v1`: outbound AI calls, virtual numbers, transcripts, API keys.
//!
//! camelCase JSON both ways; unset strings are `""`, unreached times `null`, unset counters `0`.

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};

use crate::directory::{Directory, Organization};
use crate::identity::Principal;

use super::authenticate;
use super::dialect::Context;
use super::problem::Problem;
use super::refusal::render;

mod api_keys;
mod calls;
mod describe;
mod numbers;
mod order;
mod record;
mod status;
mod transcript;
mod transcripts;

pub(super) fn routes(context: &Arc<Context>) -> Router {
    Router::new()
        .route("/api.ashx/v1", get(describe::describe))
        .route("/api.ashx/v1/", get(describe::describe))
        .route("/api.ashx/v1/calls", post(calls::place).get(calls::list))
        .route("/api.ashx/v1/calls/{id}", get(calls::detail))
        .route("/api.ashx/v1/calls/{id}/hangup", post(calls::hang_up))
        .route("/api.ashx/v1/numbers", get(numbers::list))
        .route("/api.ashx/v1/transcripts", get(transcripts::list))
        .route("/api.ashx/v1/transcripts/{id}", get(transcripts::detail))
        .route("/api.ashx/v1/api-keys", post(api_keys::create).get(api_keys::list))
        .route("/api.ashx/v1/api-keys/{id}", delete(api_keys::revoke))
        .with_state(context.clone())
}

/// A refusal in this dialect's words.
#[derive(Debug)]
struct Failure(Problem);

impl<E: Into<Problem>> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        render(&self.0)
    }
}

/// An admin, by token or key.
struct Admin(Principal);

impl<S: Sync> FromRequestParts<S> for Admin {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        Ok(Admin(authenticate::admin(&parts.extensions)?))
    }
}

/// The `{id}` of the path as sent; one that is no UTF-8 names nothing.
struct Id(String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let nothing = || Failure(Problem::NotFound("No such resource".into()));
        let params = RawPathParams::from_request_parts(parts, state).await.map_err(|_| nothing())?;
        params.iter().find(|(name, _)| *name == "id").map(|(_, id)| Id(id.to_owned())).ok_or_else(nothing)
    }
}

/// The tenant that a request is for: by host name, as far as it is the principal's own.
fn tenant<'a>(
    directory: &'a Directory,
    headers: &HeaderMap,
    principal: &Principal,
) -> Result<&'a Organization, Failure> {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let organization = directory.organization(without_port(host));
    if organization.id == principal.organization { Ok(organization) } else { Err(Failure(Problem::Forbidden)) }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Runs a read of the store off the async threads: a filter may walk many records.
async fn reading<T, E, F>(read: F) -> Result<T, Failure>
where
    T: Send + 'static,
    E: Into<Problem> + Send + 'static,
    F: FnOnce() -> Result<T, E> + Send + 'static,
{
    let outcome = tokio::task::spawn_blocking(read).await.map_err(|_| Failure(Problem::Internal))?;
    outcome.map_err(|error| Failure(error.into()))
}
