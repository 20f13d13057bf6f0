//! The box's own OpenID provider: token, userinfo, introspection, revocation, discovery, keys.
//!
//! Every action answers in three spellings, by one function: `/oidc.ashx/<action>`, `/oidc.ashx?action=<action>` and
//! `/oauth2/v1/<action>`. Errors are those of RFC 6749 §5.2 and RFC 6750 §3.1.

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawPathParams, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;

use crate::identity::Identity;

use super::body::BodyLimits;
use super::dialect::Context;
use super::page::Query;
use super::problem::{ErrorBody, Problem};

mod discovery;
mod failure;
mod token;
mod userinfo;

pub(super) use failure::render;

/// What the actions need.
#[derive(Clone)]
pub(super) struct Provider {
    pub(super) identity: Identity,
    pub(super) limits: BodyLimits,
    /// `https://<host>[:<port>]`.
    pub(super) base_url: String,
}

impl Provider {
    pub(super) fn of(context: &Context) -> Provider {
        Provider {
            identity: context.identity.clone(),
            limits: context.limits.of_strangers(),
            base_url: context.base_url.clone(),
        }
    }
}

pub(super) fn routes(provider: Provider) -> Router {
    Router::new()
        .route("/oidc.ashx", any(by_query))
        .route("/oidc.ashx/{action}", any(by_path))
        .route("/oauth2/v1/{action}", any(by_path))
        .route("/.well-known/openid-configuration", any(discovery_document))
        .route("/.well-known/jwks.json", any(key_set))
        .with_state(Arc::new(provider))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Discovery,
    Jwks,
    Token,
    UserInfo,
    Introspect,
    Revoke,
}

impl Action {
    fn named(name: &str) -> Option<Action> {
        Some(match name {
            "discovery" | "openid-configuration" => Action::Discovery,
            "jwks" => Action::Jwks,
            "token" => Action::Token,
            "userinfo" => Action::UserInfo,
            "introspect" => Action::Introspect,
            "revoke" => Action::Revoke,
            _ => return None,
        })
    }

    fn allowed(self) -> &'static str {
        match self {
            Action::Discovery | Action::Jwks => "GET,HEAD",
            Action::UserInfo => "GET,HEAD,POST",
            Action::Token | Action::Introspect | Action::Revoke => "POST",
        }
    }
}

async fn by_query(State(provider): State<Arc<Provider>>, request: Request) -> Response {
    match Query::of(request.uri()) {
        Ok(query) => {
            let name = query.text("action").unwrap_or_default().to_owned();
            by_name(&provider, &name, request).await
        }
        Err(problem) => render(&problem),
    }
}

async fn by_path(State(provider): State<Arc<Provider>>, params: RawPathParams, request: Request) -> Response {
    let name = params.iter().next().map(|(_, name)| name.to_owned()).unwrap_or_default();
    by_name(&provider, &name, request).await
}

async fn discovery_document(State(provider): State<Arc<Provider>>, request: Request) -> Response {
    act(&provider, Action::Discovery, request).await
}

async fn key_set(State(provider): State<Arc<Provider>>, request: Request) -> Response {
    act(&provider, Action::Jwks, request).await
}

async fn by_name(provider: &Provider, name: &str, request: Request) -> Response {
    match Action::named(name) {
        Some(action) => act(provider, action, request).await,
        None => {
            let text = "this provider does not serve that action";
            let body = ErrorBody { error: "unsupported", error_description: text };
            (StatusCode::NOT_FOUND, axum::Json(body)).into_response()
        }
    }
}

async fn act(provider: &Provider, action: Action, request: Request) -> Response {
    if !allows(action, request.method()) {
        let mut response = render(&Problem::MethodNotAllowed);
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(action.allowed()));
        return response;
    }
    match action {
        Action::Discovery => axum::Json(discovery::document(&provider.identity, &provider.base_url)).into_response(),
        Action::Jwks => axum::Json(provider.identity.jwks()).into_response(),
        Action::Token => token::token(provider, request).await,
        Action::UserInfo => userinfo::userinfo(provider, &request),
        Action::Introspect => token::introspect(provider, request).await,
        Action::Revoke => token::revoke(provider, request).await,
    }
}

fn allows(action: Action, method: &Method) -> bool {
    action.allowed().split(',').any(|allowed| allowed == method.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_served_has_no_action() {
        for name in ["authorize", "login", "logout", "end_session", "register", "", "Token"] {
            assert_eq!(Action::named(name), None, "{name}");
        }
    }

    #[test]
    fn methods_are_held_against_the_table() {
        assert!(allows(Action::Token, &Method::POST) && !allows(Action::Token, &Method::GET));
        assert!(allows(Action::UserInfo, &Method::GET) && allows(Action::UserInfo, &Method::POST));
        assert!(allows(Action::Jwks, &Method::HEAD) && !allows(Action::Jwks, &Method::POST));
    }
}
