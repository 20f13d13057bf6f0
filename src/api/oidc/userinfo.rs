//! Claims of the signed-in user by scope (OpenID Connect Core §5.3, §5.4).

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::api::authenticate::bearer;
use crate::api::problem::Problem;
use crate::identity::UserInfo;

use super::{Provider, render};

pub(super) fn userinfo(provider: &Provider, request: &Request) -> Response {
    match provider.identity.user_info(bearer(request.headers())) {
        Err(error) => render(&error.into()),
        Ok(user) if !user.has_scope("openid") => render(&Problem::Forbidden),
        Ok(user) => axum::Json(claims(&user)).into_response(),
    }
}

fn claims(user: &UserInfo) -> Map<String, Value> {
    let mut claims = Map::new();
    claims.insert("sub".into(), json!(user.subject));
    claims.insert("role".into(), json!(user.role));
    if user.has_scope("profile") {
        claims.insert("name".into(), json!(user.subject));
        claims.insert("preferred_username".into(), json!(user.subject));
    }
    if let Some(email) = user.email.as_ref().filter(|_| user.has_scope("email")) {
        claims.insert("email".into(), json!(email));
        // Nobody has checked it.
        claims.insert("email_verified".into(), json!(false));
    }
    if user.has_scope("groups") {
        claims.insert("groups".into(), json!([user.role]));
    }
    claims
}
