//! `/healthz`: the process answers. `/readyz`: the box works. `/metrics`: Prometheus text.
//!
//! What a probe says in words, and the metrics, are for the plain (loopback) listener and for admins only.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Extensions, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;
use tokio::sync::Mutex;

use crate::clock::Clock;
use crate::ops::health::{Health, Report};

use super::authenticate::{self, Peer};
use super::refusal;

/// A check writes to the disk: strangers get the report of the same second.
const FRESH: Duration = Duration::from_secs(1);

/// What the probes are answered from.
#[derive(Clone)]
pub(super) struct Checks {
    health: Arc<Health>,
    metrics: Arc<dyn Fn() -> String + Send + Sync>,
    clock: Clock,
    last: Arc<Mutex<Option<(Instant, Report)>>>,
}

impl Checks {
    pub(super) fn new(health: Arc<Health>, metrics: Arc<dyn Fn() -> String + Send + Sync>, clock: Clock) -> Checks {
        Checks { health, metrics, clock, last: Arc::default() }
    }

    /// One check at a time and at most one a second, however many ask.
    async fn recent(&self) -> Report {
        let mut last = self.last.lock().await;
        let now = self.clock.now();
        match &*last {
            Some((at, report)) if now.saturating_duration_since(*at) < FRESH => report.clone(),
            _ => {
                let report = self.health.check().await;
                *last = Some((now, report.clone()));
                report
            }
        }
    }
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
    let report = if insider { checks.health.check().await } else { checks.recent().await };
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
    let mut page = json!({"ready": report.healthy(), "parts": parts});
    if words && !report.notes.is_empty() {
        let trunk = |(name, outcome): &(String, Result<(), String>)| match outcome {
            Ok(()) => json!({"name": name, "ok": true}),
            Err(problem) => json!({"name": name, "ok": false, "problem": problem}),
        };
        page["trunks"] = report.notes.iter().map(trunk).collect();
    }
    page
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::clock::UtcTime;

    #[tokio::test]
    async fn strangers_cannot_make_the_box_check_itself_more_than_once_a_second() {
        let count = Arc::new(AtomicUsize::new(0));
        let mut health = Health::default();
        let seen = count.clone();
        health.add("store", move || {
            seen.fetch_add(1, Ordering::Relaxed);
            async { Ok(()) }
        });
        let clock = Clock::manual(UtcTime(0));
        let checks = Checks::new(Arc::new(health), Arc::new(String::new), clock.clone());
        for _ in 0..50 {
            assert!(checks.recent().await.healthy());
        }
        assert_eq!(count.load(Ordering::Relaxed), 1);
        clock.advance(FRESH);
        checks.recent().await;
        assert_eq!(count.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn strangers_see_which_part_fails_but_not_the_operators_sentence() {
        let parts = vec![("store", Ok(())), ("sip", Err("trunk pbx at 10.0.0.5 is silent".into()))];
        let report = Report { parts, notes: vec![("pbx".into(), Err("it is down".into()))] };
        let shown = page(&report, false);
        assert_eq!(shown["ready"], false);
        assert_eq!(shown["parts"][1], json!({"name": "sip", "ok": false}));
        assert!(shown.get("trunks").is_none());
        assert_eq!(page(&report, true)["parts"][1]["problem"], "trunk pbx at 10.0.0.5 is silent");
    }

    #[test]
    fn a_trunk_that_is_down_is_shown_and_takes_nothing_out_of_service() {
        let report = Report { parts: vec![("sip", Ok(()))], notes: vec![("pbx".into(), Err("it is down".into()))] };
        let shown = page(&report, true);
        assert_eq!(shown["ready"], true);
        assert_eq!(shown["trunks"], json!([{"name": "pbx", "ok": false, "problem": "it is down"}]));
    }
}
