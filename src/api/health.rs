//! `/healthz`: the process answers. `/readyz`: the box works. `/metrics`: Prometheus text.
//!
//! What a probe says in words, and the metrics, are for the plain (loopback) listener and for admins only.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Extensions, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;

use crate::ops::health::{Health, Report};

use super::authenticate::{self, Peer};
use super::refusal;

/// What the probes are answered from.
#[derive(Clone)]
pub(super) struct Checks {
    pub(super) health: Arc<Health>,
    pub(super) metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

pub(super) fn routes(checks: Checks) -> Router {
    Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(checks)
}

async fn alive() -> axum::Json<serde_json::Value> {
    axum::Json(json!({"status": "ok"}))
}

async fn ready(State(checks): State<Checks>, request: Request) -> Response {
    let insider = insider(request.extensions()).is_ok();
    let report = checks.health.check().await;
    let status = if report.healthy() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, axum::Json(page(&report, insider))).into_response()
}

async fn metrics(State(checks): State<Checks>, request: Request) -> Response {
    match insider(request.extensions()) {
        Ok(()) => {
            let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
            (kind, (checks.metrics)()).into_response()
        }
        Err(problem) => refusal::render(&problem),
    }
}

fn insider(extensions: &Extensions) -> Result<(), super::problem::Problem> {
    if Peer::of(extensions).plain { Ok(()) } else { authenticate::admin(extensions).map(|_| ()) }
}

fn page(report: &Report, words: bool) -> serde_json::Value {
    let parts: Vec<_> = report
        .parts
        .iter()
        .map(|(name, outcome)| match outcome {
            Err(problem) if words => json!({"name": name, "ok": false, "problem": problem}),
            outcome => json!({"name": name, "ok": outcome.is_ok()}),
        })
        .collect();
    json!({"ready": report.healthy(), "parts": parts})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_see_which_part_fails_but_not_the_operators_sentence() {
        let report = Report { parts: vec![("store", Ok(())), ("sip", Err("trunk pbx at 10.0.0.5 is silent".into()))] };
        let shown = page(&report, false);
        assert_eq!(shown["ready"], false);
        assert_eq!(shown["parts"][1], json!({"name": "sip", "ok": false}));
        assert_eq!(page(&report, true)["parts"][1]["problem"], "trunk pbx at 10.0.0.5 is silent");
    }
}
