//! Refresh tokens: opaque, stored hashed, rotated at each use; a spent one that turns up again revokes its family
//! (RFC 6749 §6, RFC 9700 §4.14.2).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::clock::UtcTime;
use crate::store::{Change, StoreError, Table};

pub(super) const PREFIX: &str = "rt_";
/// An unused token dies after so long; each rotation starts anew.
pub(super) const LIFE: Duration = Duration::from_secs(30 * 24 * 3600);

pub(super) const REFRESH_TOKENS: Table<[u8; 32], RefreshToken> = Table::new("refresh_tokens");
/// Families that were revoked, with the time after which no token of theirs can be alive.
pub(super) const REVOKED_FAMILIES: Table<Uuid, UtcTime> = Table::new("revoked_token_families");

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RefreshToken {
    pub family: Uuid,
    pub user: Uuid,
    pub user_name: String,
    pub client: String,
    pub scope: String,
    pub issued_at: UtcTime,
    pub expires_at: UtcTime,
    pub spent: bool,
}

/// What a rotation came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rotation {
    Rotated,
    /// Unknown, expired or of a revoked family.
    Dead,
    /// Spent before: its family is revoked now.
    Reused,
}

/// A new secret and the key under which it is stored.
pub(super) fn random_token() -> (String, [u8; 32]) {
    let random: [u8; 32] = rand::random();
    let secret = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random));
    let hash = hash_of(&secret);
    (secret, hash)
}

pub(super) fn hash_of(secret: &str) -> [u8; 32] {
    Sha256::digest(secret).into()
}

/// Spends the token under `old` and puts its successor under `new`.
pub(super) fn rotate(
    change: &mut Change<'_>,
    old: &[u8; 32],
    new: &[u8; 32],
    now: UtcTime,
) -> Result<Rotation, StoreError> {
    let Some(token) = change.get(&REFRESH_TOKENS, old)? else { return Ok(Rotation::Dead) };
    if token.expires_at <= now || change.get(&REVOKED_FAMILIES, &token.family)?.is_some() {
        return Ok(Rotation::Dead);
    }
    if token.spent {
        revoke_family(change, token.family, now)?;
        return Ok(Rotation::Reused);
    }
    let successor = RefreshToken { issued_at: now, expires_at: now + LIFE, ..token.clone() };
    change.put(&REFRESH_TOKENS, old, &RefreshToken { spent: true, ..token })?;
    change.put(&REFRESH_TOKENS, new, &successor)?;
    Ok(Rotation::Rotated)
}

pub(super) fn revoke_family(change: &mut Change<'_>, family: Uuid, now: UtcTime) -> Result<(), StoreError> {
    change.put(&REVOKED_FAMILIES, &family, &(now + LIFE))
}
