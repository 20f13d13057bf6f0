//! The token endpoint, revocation and introspection.

use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

use crate::api::authenticate::Peer;
use crate::api::problem::Problem;
use crate::config::Secret;
use crate::identity::{ADMIN_CLIENT, Grant, GrantError, PasswordGrant, RefreshGrant};

use super::Provider;
use super::failure::TokenFailure;
use crate::api::parameters::Parameters;

#[derive(Debug, Serialize)]
struct Granted {
    access_token: String,
    token_type: &'static str,
    expires_in: i64,
    scope: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
}

impl From<Grant> for Granted {
    fn from(grant: Grant) -> Self {
        Granted {
            access_token: grant.access_token,
            token_type: "Bearer",
            expires_in: grant.expires_in,
            scope: grant.scope,
            id_token: grant.id_token,
            refresh_token: grant.refresh_token,
        }
    }
}

pub(super) async fn token(provider: &Provider, request: Request) -> Response {
    match grant(provider, request).await {
        Ok(grant) => {
            let mut response = axum::Json(Granted::from(grant)).into_response();
            response.headers_mut().insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
            response
        }
        Err(failure) => failure.into_response(),
    }
}

async fn grant(provider: &Provider, request: Request) -> Result<Grant, TokenFailure> {
    let address = Peer::of(request.extensions()).address;
    let parameters = Parameters::of(request, provider.limits).await?;
    let required =
        |name: &str| parameters.text(name).ok_or_else(|| TokenFailure::Request(format!("{name} is required")));
    match required("grant_type")? {
        "password" => {
            let password = Secret::new(required("password")?);
            let ask = PasswordGrant {
                client: required("client_id")?,
                user: required("username")?,
                password: &password,
                scope: parameters.text("scope").unwrap_or_default(),
                address,
            };
            Ok(provider.identity.grant_password(ask).await?)
        }
        "refresh_token" => {
            let ask = RefreshGrant {
                client: required("client_id")?,
                token: required("refresh_token")?,
                scope: parameters.text("scope"),
            };
            Ok(provider.identity.grant_refresh(ask).await?)
        }
        _ => Err(TokenFailure::UnsupportedGrant),
    }
}

/// RFC 7009: 200 whether the token was known or not.
pub(super) async fn revoke(provider: &Provider, request: Request) -> Response {
    match revoke_token(provider, request).await {
        Ok(()) => ().into_response(),
        Err(failure) => failure.into_response(),
    }
}

async fn revoke_token(provider: &Provider, request: Request) -> Result<(), TokenFailure> {
    let parameters = of_client(provider, request).await?;
    provider.identity.revoke(parameters.required("token")?).await.map_err(Problem::from)?;
    Ok(())
}

/// RFC 7662.
pub(super) async fn introspect(provider: &Provider, request: Request) -> Response {
    match introspect_token(provider, request).await {
        Ok(body) => axum::Json(body).into_response(),
        Err(failure) => failure.into_response(),
    }
}

async fn introspect_token(provider: &Provider, request: Request) -> Result<serde_json::Value, TokenFailure> {
    let parameters = of_client(provider, request).await?;
    let Some(known) = provider.identity.introspect(parameters.required("token")?) else {
        return Ok(json!({"active": false}));
    };
    Ok(json!({
        "active": true,
        "scope": known.scope,
        "client_id": known.client,
        "username": known.subject,
        "sub": known.subject,
        "aud": known.client,
        "iss": provider.identity.issuer(),
        "iat": known.issued_at,
        "exp": known.expires_at,
        "token_type": known.kind,
    }))
}

/// Parameters of a registered client.
async fn of_client(provider: &Provider, request: Request) -> Result<Parameters, TokenFailure> {
    let parameters = Parameters::of(request, provider.limits).await?;
    match parameters.text("client_id") {
        Some(ADMIN_CLIENT) => Ok(parameters),
        _ => Err(GrantError::UnknownClient.into()),
    }
}
