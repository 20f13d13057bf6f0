//! Bearer credentials to a principal: access tokens and `ak_` keys (RFC 6750).

use tracing::error;
use uuid::Uuid;

use crate::clock::UtcTime;
use crate::directory::{Role, User};
use crate::store::{Snapshot, StoreError, Table};

use super::api_key;
use super::scope::Scope;
use super::token::{self, AccessClaims};
use super::{Identity, Principal};

/// Tokens of a user issued before this moment are void (password changed).
pub(super) const VOID_BEFORE: Table<Uuid, UtcTime> = Table::new("tokens_void_before");
/// Revoked access tokens by `jti`, with their expiry.
pub(super) const REVOKED: Table<Uuid, UtcTime> = Table::new("revoked_tokens");

/// Why a bearer credential was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    #[error("a bearer token is required")]
    Missing,
    /// Forged, damaged, revoked, of another issuer, or of a user who is gone.
    #[error("the token is not valid")]
    Invalid,
    #[error("the token has expired")]
    Expired,
    /// The store could not be asked.
    #[error("the credential cannot be checked now")]
    Unavailable,
}

/// Claims of the user behind a token (OpenID Connect Core §5.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserInfo {
    /// User name.
    pub subject: String,
    pub role: &'static str,
    pub email: Option<String>,
    scope: Scope,
}

impl UserInfo {
    pub fn has_scope(&self, word: &str) -> bool {
        self.scope.has(word)
    }
}

/// What is known of a live token (RFC 7662 §2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Introspection {
    pub subject: String,
    pub client: String,
    pub scope: String,
    pub issued_at: i64,
    pub expires_at: i64,
    /// `access_token` or `refresh_token`.
    pub kind: &'static str,
}

impl Identity {
    /// Who presents `bearer` (the credential after `Bearer `).
    pub fn authenticate(&self, bearer: Option<&str>) -> Result<Principal, AuthError> {
        let bearer = bearer.map(str::trim).filter(|text| !text.is_empty()).ok_or(AuthError::Missing)?;
        if bearer.starts_with(api_key::PREFIX) {
            return self.authenticate_key(bearer);
        }
        let (claims, user) = self.token_owner(bearer)?;
        Ok(Principal {
            organization: user.organization,
            admin: claims.role.has("admin") && user.role == Role::Admin,
            actor: user.name,
        })
    }

    /// Claims of the user who presents an access token.
    pub fn user_info(&self, bearer: Option<&str>) -> Result<UserInfo, AuthError> {
        let bearer = bearer.map(str::trim).filter(|text| !text.is_empty()).ok_or(AuthError::Missing)?;
        let (claims, user) = self.token_owner(bearer)?;
        let scope = Scope::parse(&claims.scope).ok_or(AuthError::Invalid)?;
        Ok(UserInfo { subject: user.name, role: token::role_word(user.role), email: user.email, scope })
    }

    /// A good access token's claims and its user, who is still there and enabled.
    pub(super) fn token_owner(&self, bearer: &str) -> Result<(AccessClaims, User), AuthError> {
        let inner = &self.inner;
        let claims = self.keys(|keys| token::verify(keys, &inner.issuer, bearer, inner.clock.utc()))?;
        if claims.tenant != inner.organization.host {
            return Err(AuthError::Invalid);
        }
        let snapshot = inner.store.read().map_err(unavailable)?;
        let revoked = snapshot.get(&REVOKED, &claims.jti).map_err(unavailable)?.is_some();
        let user = self.enabled_user(&snapshot, &claims.sub).map_err(unavailable)?;
        let user = user.filter(|_| !revoked).ok_or(AuthError::Invalid)?;
        if self.voided(&snapshot, &user, claims.iat).map_err(unavailable)? {
            return Err(AuthError::Invalid);
        }
        Ok((claims, user))
    }

    pub(super) fn enabled_user(&self, snapshot: &Snapshot, name: &str) -> Result<Option<User>, StoreError> {
        let user = self.inner.directory.user(snapshot, self.inner.organization.id, name)?;
        Ok(user.filter(|user| !user.disabled))
    }

    /// Whether tokens issued to `user` at `issued_at` (Unix seconds) are void.
    pub(super) fn voided(&self, snapshot: &Snapshot, user: &User, issued_at: i64) -> Result<bool, StoreError> {
        let before = snapshot.get(&VOID_BEFORE, &user.id)?;
        Ok(before.is_some_and(|before| issued_at < before.unix_seconds()))
    }
}

#[allow(clippy::needless_pass_by_value)] // the shape that `map_err` wants
pub(super) fn unavailable(problem: StoreError) -> AuthError {
    error!(%problem, "a credential could not be checked");
    AuthError::Unavailable
}
