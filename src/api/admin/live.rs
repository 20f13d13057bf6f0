//! What is done to a live call: keys, hold, resume.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{Extensions, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::json;
use uuid::Uuid;

use super::refused;
use crate::api::authenticate;
use crate::api::body;
use crate::api::dialect::Context;
use crate::api::fields::{Fields, bad};
use crate::api::problem::Problem;
use crate::api::refusal;
use crate::call::{Held, Keys, KeysError};
use crate::identity::Principal;

pub(in crate::api) fn routes(context: &Arc<Context>) -> Router {
    Router::new()
        .route("/api/v2/calls/{id}/keys", post(keys))
        .route("/api/v2/calls/{id}/hold", post(hold))
        .route("/api/v2/calls/{id}/resume", post(resume))
        .with_state(context.clone())
}

/// The administrator who asks and the call that `id` names, by its id or its alias; `None` when there is none.
pub(super) fn find(context: &Context, extensions: &Extensions, id: &str) -> Result<(Principal, Option<Uuid>), Problem> {
    let principal = authenticate::admin(extensions)?;
    let model = &context.read_model;
    let call = match id.parse::<Uuid>() {
        Ok(id) => model.call(principal.organization, id)?,
        Err(_) => model.call_by_alias(principal.organization, id)?,
    };
    Ok((principal, call.map(|call| call.id)))
}

/// `{keys}` → 202 `{ok, call}`: they are on their way.
async fn keys(State(context): State<Arc<Context>>, Path(id): Path<String>, request: Request) -> Response {
    match press(&context, &id, request).await {
        Ok(Ok(call)) => (StatusCode::ACCEPTED, axum::Json(json!({"ok": true, "call": call}))).into_response(),
        Ok(Err(error)) => not_pressed(error),
        Err(problem) => refusal::render(&problem),
    }
}

async fn press(context: &Context, id: &str, request: Request) -> Result<Result<Uuid, KeysError>, Problem> {
    let (principal, call) = find(context, request.extensions(), id)?;
    let keys = read_keys(&body::json_object(&body::read(request.into_body(), context.limits).await?)?)?;
    let Some(call) = call else { return Ok(Err(KeysError::Unknown)) };
    let pressed = context.calls.press(principal.organization, call, keys).await;
    if pressed.is_ok() {
        tracing::info!(%call, actor = principal.actor, "keys are pressed through the API");
    }
    Ok(pressed.map(|()| call))
}

fn read_keys(map: &serde_json::Map<String, serde_json::Value>) -> Result<Keys, Problem> {
    Keys::parse(Fields(map).required("keys")?).ok_or_else(|| bad("keys", "must be 1 to 32 of 0-9, *, #, A-D"))
}

async fn hold(State(context): State<Arc<Context>>, Path(id): Path<String>, request: Request) -> Response {
    change(&context, &id, request.extensions().clone(), true).await.unwrap_or_else(|problem| refusal::render(&problem))
}

async fn resume(State(context): State<Arc<Context>>, Path(id): Path<String>, request: Request) -> Response {
    change(&context, &id, request.extensions().clone(), false).await.unwrap_or_else(|problem| refusal::render(&problem))
}

/// Without a body → 200 `{ok, call, hold}` once the far end has agreed.
async fn change(context: &Context, id: &str, extensions: Extensions, on: bool) -> Result<Response, Problem> {
    let (principal, call) = find(context, &extensions, id)?;
    let Some(call) = call else { return Ok(held(None, on)) };
    let done = context.calls.hold(principal.organization, call, on).await?;
    tracing::info!(%call, actor = principal.actor, on, ?done, "a call is held or resumed through the API");
    Ok(held(done.map(|done| (call, done)), on))
}

fn held(done: Option<(Uuid, Held)>, on: bool) -> Response {
    match done {
        None => refused(StatusCode::NOT_FOUND, "not_found", "there is no such call"),
        Some((call, Held::Done)) => axum::Json(json!({"ok": true, "call": call, "hold": on})).into_response(),
        Some((_, Held::NotNow)) => {
            refused(StatusCode::CONFLICT, "not_live", "the call is not live, is being transferred, or is just changing")
        }
        Some((_, Held::Refused(0))) => refused(StatusCode::CONFLICT, "ended", "the call ended meanwhile"),
        Some((_, Held::Refused(code))) => refused(
            StatusCode::CONFLICT,
            "refused",
            &format!("the far end refused with {code}; the call goes on as it was"),
        ),
    }
}

fn not_pressed(error: KeysError) -> Response {
    let (status, code) = match error {
        KeysError::Unknown => (StatusCode::NOT_FOUND, "not_found"),
        KeysError::NotLive => (StatusCode::CONFLICT, "not_live"),
        KeysError::OnHold => (StatusCode::CONFLICT, "on_hold"),
        KeysError::NoWay => (StatusCode::CONFLICT, "no_key_events"),
        KeysError::Full => (StatusCode::SERVICE_UNAVAILABLE, "keys_waiting"),
        KeysError::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
    };
    refused(status, code, &error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_and_their_refusal_names_the_field() {
        let read = |text: &str| read_keys(&body::json_object(text.as_bytes()).expect("an object"));
        assert_eq!(read(r#"{"keys": "123#"}"#).ok(), Keys::parse("123#"));
        for broken in ["{}", r#"{"keys": ""}"#, r#"{"keys": 12}"#, r#"{"keys": "12p"}"#, r#"{"keys": "1\n"}"#] {
            assert!(matches!(read(broken), Err(Problem::BadRequest(text)) if text.starts_with("keys ")), "{broken}");
        }
    }

    #[test]
    fn every_outcome_has_its_status() {
        for (error, status) in [
            (KeysError::Unknown, 404),
            (KeysError::NotLive, 409),
            (KeysError::OnHold, 409),
            (KeysError::NoWay, 409),
            (KeysError::Full, 503),
            (KeysError::Unavailable, 503),
        ] {
            assert_eq!(not_pressed(error).status(), status, "{error}");
        }
        let call = Uuid::nil();
        for (done, status) in [
            (None, 404),
            (Some((call, Held::Done)), 200),
            (Some((call, Held::NotNow)), 409),
            (Some((call, Held::Refused(0))), 409),
            (Some((call, Held::Refused(488))), 409),
        ] {
            assert_eq!(held(done, true).status(), status, "{done:?}");
        }
    }
}
