//! Text messages: sent and listed, for admins.
//!
//! Lists are newest first; `next`, when it is not null, is the `cursor` of what follows, whatever came since.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::json;
use uuid::Uuid;

use crate::api::authenticate;
use crate::api::body;
use crate::api::dialect::Context;
use crate::api::fields::Fields;
use crate::api::idempotency;
use crate::api::page::{Query, Window};
use crate::api::problem::{ErrorBody, Problem};
use crate::api::refusal;
use crate::call::message::{SendError, SendMessage, Sending};
use crate::identity::Principal;

pub(in crate::api) fn routes(context: &Arc<Context>) -> Router {
    Router::new()
        .route("/api/v2/messages", post(send).get(list))
        .route("/api/v2/messages/{id}", get(detail))
        .with_state(Arc::clone(context))
}

/// `{to, text, from?, trunk?}` → 202 with the record: it is on disk and will be sent. The same under the same
/// `Idempotency-Key` is the same text: 202 with its record as it stands.
async fn send(State(context): State<Arc<Context>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let order = async {
        let principal = authenticate::admin(&parts.extensions)?;
        order(&context, principal, &parts.headers, body).await
    };
    match order.await {
        Err(problem) => refusal::render(&problem),
        Ok(order) => match context.calls.messages().send(order).await {
            Ok(Sending { message, replayed }) => {
                let mut response = (StatusCode::ACCEPTED, axum::Json(message.shown())).into_response();
                if replayed {
                    idempotency::mark_replayed(&mut response);
                }
                response
            }
            Err(error) => refused(error),
        },
    }
}

async fn order(
    context: &Context,
    principal: Principal,
    headers: &HeaderMap,
    body: Body,
) -> Result<SendMessage, Problem> {
    let bytes = body::read(body, context.limits).await?;
    let map = body::json_object(&bytes)?;
    let fields = Fields(&map);
    let line = |name| fields.line(name, 128).map(|text| text.map(str::to_owned));
    Ok(SendMessage {
        idempotency: idempotency::of(headers, "messages", &principal, &map)?,
        organization: principal.organization,
        requested_by: principal.actor,
        trunk: line("trunk")?,
        from: line("from")?,
        to: line("to")?.ok_or_else(|| Problem::BadRequest("to is required".into()))?,
        text: fields.required("text")?.to_owned(),
    })
}

async fn list(State(context): State<Arc<Context>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let listed = async {
        let principal = authenticate::admin(&parts.extensions)?;
        let query = Query::of(&parts.uri)?;
        let (limit, cursor) = (Window::of(&query)?.limit, query.text("cursor"));
        let unknown = || Problem::BadRequest("cursor must be the `next` of a list before".into());
        let before = cursor.map(|text| Uuid::parse_str(text).map_err(|_| unknown())).transpose()?;
        let messages = context.calls.messages().clone();
        let read = tokio::task::spawn_blocking(move || messages.messages(principal.organization, before, limit));
        Ok::<_, Problem>(read.await.map_err(|_| Problem::Internal)??)
    };
    match listed.await {
        Err(problem) => refusal::render(&problem),
        Ok(page) => {
            let data: Vec<_> = page.items.iter().map(crate::call::message::Message::shown).collect();
            axum::Json(json!({ "data": data, "next": page.next })).into_response()
        }
    }
}

async fn detail(State(context): State<Arc<Context>>, path: Option<Path<String>>, request: Request) -> Response {
    let found = || {
        let principal = authenticate::admin(request.extensions())?;
        let id = path.map(|Path(id)| id).unwrap_or_default();
        let known = match Uuid::parse_str(&id) {
            Ok(id) => context.calls.messages().message(principal.organization, id)?,
            Err(_) => None,
        };
        known.ok_or_else(|| Problem::NotFound("no such message".into()))
    };
    match found() {
        Ok(message) => axum::Json(message.shown()).into_response(),
        Err(problem) => refusal::render(&problem),
    }
}

fn refused(error: SendError) -> Response {
    let text = error.to_string();
    match error {
        SendError::Forbidden => {
            let body = ErrorBody { error: "not_allowed", error_description: &text };
            (StatusCode::FORBIDDEN, axum::Json(body)).into_response()
        }
        SendError::Invalid { .. } | SendError::KeyReused => refusal::render(&Problem::BadRequest(text)),
        SendError::NotConfigured => refusal::render(&Problem::BridgeNotConfigured(text)),
        SendError::Unavailable => refusal::render(&Problem::BridgeUnreachable(text)),
        SendError::Full => refusal::render(&Problem::Overloaded(text)),
        SendError::Store(error) => refusal::render(&error.into()),
    }
}
