//! Traces, for administrators.
//!
//! | Route | Answer |
//! |---|---|
//! | `GET /api/v2/calls/{id}/trace` | the ladder: participants, messages, figures of the sound |
//! | `GET /api/v2/calls/{id}/trace.pcap` | the messages as a capture file |
//! | `GET /api/v2/trace/strays`, `…/strays.pcap` | messages that belong to no call, refused ones among them |
//!
//! `{id}` is the call's id or its alias.

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{Extensions, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use uuid::Uuid;

use crate::api::authenticate;
use crate::api::problem::Problem;
use crate::api::refusal;
use crate::call::{CallTrace, Calls};

pub(in crate::api) fn routes(calls: Calls) -> Router {
    Router::new()
        .route("/api/v2/calls/{id}/trace", get(ladder))
        .route("/api/v2/calls/{id}/trace.pcap", get(capture))
        .route("/api/v2/trace/strays", get(stray_ladder))
        .route("/api/v2/trace/strays.pcap", get(stray_capture))
        .with_state(calls)
}

async fn ladder(State(calls): State<Calls>, Path(id): Path<String>, request: Request) -> Response {
    answer(of_call(calls, id, request.extensions()).await, |trace| axum::Json(trace).into_response())
}

async fn capture(State(calls): State<Calls>, Path(id): Path<String>, request: Request) -> Response {
    let trace = of_call(calls, id, request.extensions()).await;
    answer(trace, |trace| {
        let name = trace.alias.as_deref().unwrap_or("call").to_owned();
        file(&trace, &name)
    })
}

async fn stray_ladder(State(calls): State<Calls>, request: Request) -> Response {
    let trace = authenticate::admin(request.extensions()).map(|_| calls.stray_messages());
    answer(trace, |trace| axum::Json(trace).into_response())
}

async fn stray_capture(State(calls): State<Calls>, request: Request) -> Response {
    let trace = authenticate::admin(request.extensions()).map(|_| calls.stray_messages());
    answer(trace, |trace| file(&trace, "strays"))
}

async fn of_call(calls: Calls, id: String, extensions: &Extensions) -> Result<CallTrace, Problem> {
    let organization: Uuid = authenticate::admin(extensions)?.organization;
    let unknown = Problem::NotFound(format!("No call with id={id}"));
    // It reads the store and builds a file: not on the async threads.
    let found = tokio::task::spawn_blocking(move || calls.trace(organization, &id)).await;
    found.map_err(|_| Problem::Internal)??.ok_or(unknown)
}

fn answer(trace: Result<CallTrace, Problem>, show: impl FnOnce(CallTrace) -> Response) -> Response {
    match trace {
        Ok(trace) => show(trace),
        Err(problem) => refusal::render(&problem),
    }
}

fn file(trace: &CallTrace, name: &str) -> Response {
    let mut response = trace.pcap().into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/vnd.tcpdump.pcap"));
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{name}.pcap\"")) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    response
}
