//! The dialects that this box speaks, a line each, and what every dialect is given.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::response::Response;

use crate::call::Calls;
use crate::call::record::ReadModel;
use crate::directory::Directory;
use crate::identity::Identity;

use super::body::BodyLimits;
use super::problem::Problem;
use super::{admin, codeb, health, oidc, refusal, twilio};

/// A surface with its own routes and its own words for errors.
pub(super) struct Dialect {
    /// Paths that begin so are its own.
    prefixes: &'static [&'static str],
    pub(super) routes: fn(&Arc<Context>) -> Router,
    pub(super) render: fn(&Problem) -> Response,
}

const DIALECTS: &[Dialect] = &[
    Dialect { prefixes: &["/api.ashx"], routes: codeb::routes, render: refusal::render },
    Dialect {
        prefixes: &["/oidc.ashx", "/oauth2/", "/.well-known/"],
        routes: |context| oidc::routes(oidc::Provider::of(context)),
        render: oidc::render,
    },
    Dialect {
        prefixes: &["/api/v2/"],
        routes: |context| {
            admin::routes(admin::Desk::of(context))
                .merge(admin::insight(context.calls.clone()))
                .merge(admin::messages::routes(context))
                .merge(admin::trace::routes(context.calls.clone()))
                .merge(admin::transfer::routes(context))
                .merge(admin::live::routes(context))
        },
        render: refusal::render,
    },
    Dialect { prefixes: &["/2010-04-01/"], routes: twilio::routes, render: twilio::render },
];

/// What the routes share.
pub(super) struct Context {
    pub(super) directory: Directory,
    pub(super) identity: Identity,
    pub(super) calls: Calls,
    pub(super) read_model: ReadModel,
    pub(super) limits: BodyLimits,
    /// `https://<host>[:<port>]`: where the endpoints are said to be.
    pub(super) base_url: String,
    /// Of bots that may hang up.
    pub(super) account: Option<twilio::Account>,
    /// Folder of the transcript files.
    pub(super) transcripts: PathBuf,
    pub(super) health: health::Checks,
}

pub(super) fn all_routes(context: &Arc<Context>) -> Router {
    DIALECTS
        .iter()
        .fold(health::routes(context.health.clone()), |router, dialect| router.merge((dialect.routes)(context)))
}

/// How errors under `path` are written.
pub(super) fn render_for(path: &str) -> fn(&Problem) -> Response {
    let owner = DIALECTS.iter().find(|dialect| dialect.prefixes.iter().any(|prefix| path.starts_with(prefix)));
    owner.map_or(refusal::render, |dialect| dialect.render)
}
