//! What surrounds every request: id, admission, deadline, caught panics, `no-store`, metrics.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::Response;
use futures_util::FutureExt;
use tracing::{debug, error};

use crate::clock::Clock;
use crate::identity::Identity;

use super::authenticate::{self, Authenticated, Peer};
use super::body::BodyLimits;
use super::dialect::render_for;
use super::limit::{RequestLimit, Sender};
use super::problem::Problem;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const LONGEST_REQUEST_ID: usize = 64;

/// What the layers need.
pub(super) struct Surroundings {
    pub(super) clock: Clock,
    pub(super) identity: Identity,
    pub(super) requests: RequestLimit,
    pub(super) limits: BodyLimits,
    pub(super) deadline: Duration,
}

pub(super) async fn surround(
    State(surroundings): State<Arc<Surroundings>>,
    mut request: Request,
    next: Next,
) -> Response {
    let began = surroundings.clock.now();
    let id = request_id(&request, &surroundings.clock);
    let method = method_label(request.method());
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let render = render_for(request.uri().path());
    let mut response = match admit(&surroundings, &mut request) {
        Ok(()) => within(surroundings.deadline, next.run(request)).await.unwrap_or_else(|problem| render(&problem)),
        Err(problem) => render(&problem),
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REQUEST_ID, id);
    let took = surroundings.clock.now().saturating_duration_since(began);
    count(method, route.unwrap_or_else(|| "unmatched".into()), response.status().as_u16(), took);
    response
}

/// Refuses what is too large or too often, and notes who asks.
fn admit(surroundings: &Surroundings, request: &mut Request) -> Result<(), Problem> {
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let limit = surroundings.limits.bytes;
    if announced.and_then(|text| text.parse::<u64>().ok()).is_some_and(|length| length > limit as u64) {
        return Err(Problem::TooLarge { limit });
    }
    let peer = Peer::of(request.extensions());
    let authenticated = authenticate::principal(&surroundings.identity, request.headers());
    let sender = match &authenticated.0 {
        Ok(principal) => Sender::Principal(principal.organization, principal.actor.clone()),
        Err(_) => Sender::Address(peer.address.to_canonical()),
    };
    if !is_probe(request.uri().path()) {
        surroundings.requests.admit(&sender).map_err(|retry_after| Problem::RateLimited { retry_after })?;
    }
    request.extensions_mut().insert::<Authenticated>(authenticated);
    Ok(())
}

/// Probes of a supervisor must not be refused because somebody else asks much.
fn is_probe(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz" | "/metrics")
}

/// The answer, unless it takes too long or panics.
async fn within(deadline: Duration, answer: impl Future<Output = Response>) -> Result<Response, Problem> {
    match tokio::time::timeout(deadline, AssertUnwindSafe(answer).catch_unwind()).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(_)) => {
            error!("a request panicked; this is a bug");
            metrics::counter!("trunkline_http_panics_total").increment(1);
            Err(Problem::Internal)
        }
        Err(_) => Err(Problem::Timeout),
    }
}

/// The caller's own id when it is harmless, else a new one.
fn request_id(request: &Request, clock: &Clock) -> HeaderValue {
    let harmless = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        (1..=LONGEST_REQUEST_ID).contains(&bytes.len())
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(b))
    };
    let given = request.headers().get(&REQUEST_ID).filter(harmless).cloned();
    given.unwrap_or_else(|| {
        HeaderValue::from_str(&clock.id().to_string()).unwrap_or_else(|_| HeaderValue::from_static("-"))
    })
}

/// Bounded, unlike what a client may write there.
fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "OTHER",
    }
}

/// The route is the pattern, never the path: ids and numbers stay out of metrics and logs.
fn count(method: &'static str, route: String, status: u16, took: Duration) {
    debug!(method, route, status, ms = took.as_millis(), "request");
    metrics::counter!("trunkline_http_requests_total", "method" => method, "route" => route.clone(), "status" => status.to_string())
        .increment(1);
    metrics::histogram!("trunkline_http_request_seconds", "method" => method, "route" => route)
        .record(took.as_secs_f64());
}

/// For routes that exist but not under this method; the router adds `Allow`.
pub(super) async fn method_not_allowed(request: Request) -> Response {
    render_for(request.uri().path())(&Problem::MethodNotAllowed)
}

pub(super) async fn not_found(request: Request) -> Response {
    let path = request.uri().path();
    render_for(path)(&Problem::NotFound(format!("No such route: {path}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_internal_error() {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let outcome = within(Duration::from_secs(1), async { panic!("bug") }).await;
        std::panic::set_hook(hook);
        assert_eq!(outcome.map(|_| ()), Err(Problem::Internal));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_takes_too_long_is_given_up() {
        let outcome = within(Duration::from_secs(30), std::future::pending()).await;
        assert_eq!(outcome.map(|_| ()), Err(Problem::Timeout));
    }

    #[test]
    fn a_callers_request_id_is_kept_only_when_harmless() {
        let clock = Clock::manual(crate::clock::UtcTime(0));
        let of = |value: &[u8]| {
            let value = HeaderValue::from_bytes(value).expect("header");
            let request =
                Request::builder().header(REQUEST_ID, value).body(axum::body::Body::empty()).expect("request");
            request_id(&request, &clock)
        };
        assert_eq!(of(b"abc-1.2_3"), "abc-1.2_3");
        for odd in [&b"a b"[..], b"", b"\xff", &[b'x'; 65]] {
            assert_eq!(of(odd).len(), 36, "{odd:?}");
        }
    }
}
