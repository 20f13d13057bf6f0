//! The box's own routes: claiming it, its trunks, text messages, traces of calls, transferring a call, its keys and hold.

pub(super) mod live;
pub(super) mod messages;
pub(super) mod trace;
mod trunks;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::json;
use tracing::info;

use crate::call::Calls;
use crate::config::Secret;
use crate::directory::User;
use crate::identity::{ClaimError, Identity};

use super::authenticate::Peer;
use super::body::{self, BodyLimits};
use super::dialect::Context;
use super::fields::Fields;
use super::problem::{ErrorBody, Problem};
use super::refusal;

pub(super) mod transfer;

/// What the routes need.
#[derive(Clone)]
pub(super) struct Desk {
    pub(super) identity: Identity,
    pub(super) limits: BodyLimits,
}

impl Desk {
    pub(super) fn of(context: &Context) -> Desk {
        Desk { identity: context.identity.clone(), limits: context.limits.of_strangers() }
    }
}

pub(super) fn routes(desk: Desk) -> Router {
    Router::new().route("/api/v2/claim", post(claim)).with_state(desk)
}

/// What an administrator sees of the running box.
pub(super) fn insight(calls: Calls) -> Router {
    Router::new().route("/api/v2/trunks", get(trunks::list)).with_state(calls)
}

/// `{code, user, password}` → 201 `{ok, user, role}`: the first admin.
async fn claim(State(desk): State<Desk>, request: Request) -> Response {
    match create(&desk, request).await {
        Ok(user) => {
            info!("the box has been claimed");
            (StatusCode::CREATED, axum::Json(json!({"ok": true, "user": user.name, "role": "admin"}))).into_response()
        }
        Err(response) => response,
    }
}

async fn create(desk: &Desk, request: Request) -> Result<User, Response> {
    let peer = Peer::of(request.extensions());
    let render = |problem: Problem| refusal::render(&problem);
    let bytes = body::read(request.into_body(), desk.limits).await.map_err(render)?;
    let map = body::json_object(&bytes).map_err(render)?;
    let fields = Fields(&map);
    let (code, user) = (fields.required("code").map_err(render)?, fields.required("user").map_err(render)?);
    let password = Secret::new(fields.required("password").map_err(render)?);
    desk.identity.claim(peer.address, code, user, &password).await.map_err(refusal)
}

fn refusal(error: ClaimError) -> Response {
    match error {
        ClaimError::WrongCode => refused(StatusCode::FORBIDDEN, "wrong_code", "the claim code is wrong"),
        ClaimError::Claimed => refused(StatusCode::CONFLICT, "already_claimed", "this box has been claimed already"),
        ClaimError::SlowDown { retry_after } => refusal::render(&Problem::RateLimited { retry_after }),
        ClaimError::Identity(error) => refusal::render(&error.into()),
    }
}

fn refused(status: StatusCode, error: &str, error_description: &str) -> Response {
    (status, axum::Json(ErrorBody { error, error_description })).into_response()
}
