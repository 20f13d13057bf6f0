//! `POST /api/v2/calls/{id}/transfer`: connect a live call to a person.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::json;
use uuid::Uuid;

use super::{live, refused};
use crate::api::body;
use crate::api::dialect::Context;
use crate::api::fields::{Fields, bad};
use crate::api::problem::Problem;
use crate::api::refusal;
use crate::call::{TransferError, TransferMode, TransferOrder};

/// Longest destination and whisper, characters.
const DESTINATION: usize = 256;
const WHISPER: usize = 1_000;

pub(in crate::api) fn routes(context: &Arc<Context>) -> Router {
    Router::new().route("/api/v2/calls/{id}/transfer", post(transfer)).with_state(context.clone())
}

/// `{destination, whisper?, mode?}` → 202 `{ok, call, mode}`. `{id}` is the call's id or its alias.
async fn transfer(State(context): State<Arc<Context>>, Path(id): Path<String>, request: Request) -> Response {
    match begin(&context, &id, request).await {
        Ok((call, mode)) => {
            (StatusCode::ACCEPTED, axum::Json(json!({"ok": true, "call": call, "mode": mode}))).into_response()
        }
        Err(Refusal::Problem(problem)) => refusal::render(&problem),
        Err(Refusal::Transfer(error)) => say(error),
    }
}

enum Refusal {
    Problem(Problem),
    Transfer(TransferError),
}

impl<E: Into<Problem>> From<E> for Refusal {
    fn from(error: E) -> Refusal {
        Refusal::Problem(error.into())
    }
}

async fn begin(context: &Context, id: &str, request: Request) -> Result<(Uuid, TransferMode), Refusal> {
    let (principal, call) = live::find(context, request.extensions(), id)?;
    let bytes = body::read(request.into_body(), context.limits).await?;
    let order = order(&body::json_object(&bytes)?)?;
    let call = call.ok_or(Refusal::Transfer(TransferError::Unknown))?;
    let begun = context.calls.transfer(principal.organization, call, order).await;
    let mode = begun.map_err(Refusal::Transfer)?;
    tracing::info!(%call, actor = principal.actor, ?mode, "a call is transferred through the API");
    Ok((call, mode))
}

fn order(map: &serde_json::Map<String, serde_json::Value>) -> Result<TransferOrder, Problem> {
    let fields = Fields(map);
    fields.required("destination")?;
    let destination = fields.line("destination", DESTINATION)?.unwrap_or_default().to_owned();
    let mode = match fields.text("mode")?.unwrap_or("auto") {
        "auto" => TransferMode::Auto,
        "refer" => TransferMode::Refer,
        "bridge" => TransferMode::Bridge,
        _ => return Err(bad("mode", "must be auto, refer or bridge")),
    };
    let whisper = fields.line("whisper", WHISPER)?.map(str::to_owned);
    if mode == TransferMode::Refer && whisper.is_some() {
        return Err(bad("whisper", "needs mode auto or bridge: by refer the box does not speak to the person"));
    }
    Ok(TransferOrder { destination, whisper, mode })
}

fn say(error: TransferError) -> Response {
    let (status, code) = match error {
        TransferError::Unknown => (StatusCode::NOT_FOUND, "not_found"),
        TransferError::NotLive => (StatusCode::CONFLICT, "not_live"),
        TransferError::NoRefer => (StatusCode::CONFLICT, "no_refer"),
        TransferError::Malformed => (StatusCode::BAD_REQUEST, "bad_request"),
        TransferError::Forbidden => (StatusCode::FORBIDDEN, "not_allowed"),
        TransferError::NoLine => (StatusCode::SERVICE_UNAVAILABLE, "no_line"),
        TransferError::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
    };
    refused(status, code, &error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<TransferOrder, Problem> {
        order(&body::json_object(text.as_bytes()).expect("an object"))
    }

    #[test]
    fn an_order_is_read_field_by_field() {
        let order = read(r#"{"destination": "+4930123", "whisper": "A caller.", "mode": "bridge"}"#).expect("good");
        assert_eq!((order.destination.as_str(), order.mode), ("+4930123", TransferMode::Bridge));
        assert_eq!(order.whisper.as_deref(), Some("A caller."));
        assert_eq!(read(r#"{"destination": "201"}"#).expect("good").mode, TransferMode::Auto);
        for broken in [
            "{}",
            r#"{"destination": ""}"#,
            r#"{"destination": 7}"#,
            r#"{"destination": "1\r\nX: y"}"#,
            r#"{"destination": "1", "mode": "moved"}"#,
            r#"{"destination": "1", "mode": "refer", "whisper": "x"}"#,
            r#"{"destination": "1", "whisper": "a\nb"}"#,
        ] {
            assert!(matches!(read(broken), Err(Problem::BadRequest(_))), "{broken}");
        }
    }

    #[test]
    fn every_refusal_has_its_status() {
        for (error, status) in [
            (TransferError::Unknown, 404),
            (TransferError::NotLive, 409),
            (TransferError::NoRefer, 409),
            (TransferError::Malformed, 400),
            (TransferError::Forbidden, 403),
            (TransferError::NoLine, 503),
            (TransferError::Unavailable, 503),
        ] {
            assert_eq!(say(error).status(), status, "{error}");
        }
    }
}
