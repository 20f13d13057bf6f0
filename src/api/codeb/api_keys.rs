//! API keys: made, listed and revoked by an admin. The key itself is shown once.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::Uri;
use serde::Serialize;
use uuid::Uuid;

use crate::api::body;
use crate::api::dialect::Context;
use crate::api::fields::Fields;
use crate::api::page::{Listed, Query, Window};
use crate::api::problem::Problem;
use crate::clock::UtcTime;
use crate::config::Secret;
use crate::identity::ApiKey;

use super::{Admin, Failure, Id, reading};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Made {
    id: Uuid,
    name: String,
    key: String,
    created_at_utc: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Item {
    id: Uuid,
    name: String,
    prefix: String,
    created_at_utc: String,
    last_used_at_utc: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Revoked {
    ok: bool,
    id: Uuid,
}

pub(super) async fn create(
    State(context): State<Arc<Context>>,
    Admin(_): Admin,
    body: Body,
) -> Result<axum::Json<Made>, Failure> {
    let bytes = body::read(body, context.limits).await?;
    let fields = body::json_object(&bytes)?;
    let (key, secret) = context.identity.mint_api_key(Fields(&fields).required("name")?).await?;
    Ok(axum::Json(made(key, &secret)))
}

/// Newest first.
pub(super) async fn list(
    State(context): State<Arc<Context>>,
    Admin(_): Admin,
    uri: Uri,
) -> Result<axum::Json<Listed<Item>>, Failure> {
    let window = Window::of(&Query::of(&uri)?)?;
    let keys = reading(move || context.identity.api_keys()).await?;
    let skipped = usize::try_from(window.offset).unwrap_or(usize::MAX);
    let total = keys.len() as u64;
    let items = keys.into_iter().rev().skip(skipped).take(window.limit).map(item).collect();
    Ok(axum::Json(Listed::new(items, total, window)))
}

/// From this answer on the key is worth nothing.
pub(super) async fn revoke(
    State(context): State<Arc<Context>>,
    Admin(_): Admin,
    Id(text): Id,
) -> Result<axum::Json<Revoked>, Failure> {
    let unknown = || Failure(Problem::NotFound(format!("No API key with id={text}")));
    let id = Uuid::try_parse(&text).map_err(|_| unknown())?;
    if context.identity.revoke_api_key(id).await? { Ok(axum::Json(Revoked { ok: true, id })) } else { Err(unknown()) }
}

fn made(key: ApiKey, secret: &Secret) -> Made {
    Made { id: key.id, name: key.name, key: secret.expose().to_owned(), created_at_utc: key.created_at.rfc3339() }
}

fn item(key: ApiKey) -> Item {
    Item {
        id: key.id,
        name: key.name,
        prefix: key.prefix,
        created_at_utc: key.created_at.rfc3339(),
        last_used_at_utc: key.last_used_at.map(UtcTime::rfc3339),
    }
}
