//! The token endpoint's rules: password and refresh grants (RFC 6749 §4.3, §6), revocation (RFC 7009),
//! introspection (RFC 7662).

use std::net::IpAddr;
use std::time::Duration;

use tracing::warn;
use uuid::Uuid;

use crate::clock::UtcTime;
use crate::config::Secret;
use crate::directory::User;
use crate::store::{StoreError, Table};

use super::authenticate::REVOKED;
use super::refresh::{self, REFRESH_TOKENS, REVOKED_FAMILIES, RefreshToken, Rotation};
use super::scope::Scope;
use super::token::{self, Issue};
use super::user::{LONGEST_PASSWORD, canonical_name};
use super::{ACCESS_TOKEN_SECONDS, ADMIN_CLIENT, Identity, IdentityError, Introspection, lockout};

/// Addresses that have signed in to an account (user id, network), with the last time.
pub(super) const SIGNED_IN_FROM: Table<(Uuid, String), UtcTime> = Table::new("signed_in_from");
/// The last time is written at most this often.
const SIGNED_IN_GRANULARITY: Duration = Duration::from_secs(24 * 3600);

/// A password sign-in.
#[derive(Debug)]
pub struct PasswordGrant<'a> {
    pub client: &'a str,
    pub user: &'a str,
    pub password: &'a Secret,
    /// As asked for; blank-separated.
    pub scope: &'a str,
    /// Who asks, for the lockout.
    pub address: IpAddr,
}

/// Exchange of a refresh token.
#[derive(Debug)]
pub struct RefreshGrant<'a> {
    pub client: &'a str,
    pub token: &'a str,
    /// Narrower than the first one, or absent for the same.
    pub scope: Option<&'a str>,
}

/// What was granted.
#[derive(Debug, Clone)]
pub struct Grant {
    pub access_token: String,
    /// Seconds.
    pub expires_in: i64,
    pub scope: String,
    /// With `openid`.
    pub id_token: Option<String>,
    /// With `offline_access`.
    pub refresh_token: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    #[error("this client is not registered")]
    UnknownClient,
    /// Wrong password, unknown or disabled user, or a refresh token that is not good any more: deliberately one answer.
    #[error("the credentials are not valid")]
    Refused,
    #[error("a scope is not known, or wider than granted")]
    Scope,
    #[error("too many failed attempts")]
    SlowDown { retry_after: Duration },
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl From<StoreError> for GrantError {
    fn from(error: StoreError) -> Self {
        GrantError::Identity(error.into())
    }
}

impl Identity {
    pub async fn grant_password(&self, ask: PasswordGrant<'_>) -> Result<Grant, GrantError> {
        check_client(ask.client)?;
        let scope = Scope::parse(ask.scope).ok_or(GrantError::Scope)?;
        let user = self.sign_in(&ask).await?;
        let refresh_token = if scope.has("offline_access") {
            Some(self.new_refresh_token(&user, ask.client, &scope).await?)
        } else {
            None
        };
        self.issue(&user, ask.client, &scope, refresh_token)
    }

    pub async fn grant_refresh(&self, ask: RefreshGrant<'_>) -> Result<Grant, GrantError> {
        check_client(ask.client)?;
        let old = refresh::hash_of(ask.token);
        let (token, user) = self.refresh_owner(&old, ask.client)?;
        let granted = Scope::parse(&token.scope).unwrap_or_default();
        let scope = match ask.scope {
            None => granted,
            Some(text) => Scope::parse(text).filter(|scope| scope.within(&granted)).ok_or(GrantError::Scope)?,
        };
        let (secret, new) = refresh::random_token();
        let now = self.inner.clock.utc();
        let rotation = self.inner.store.write(move |change| refresh::rotate(change, &old, &new, now)).await?;
        match rotation {
            Rotation::Rotated => self.issue(&user, ask.client, &scope, Some(secret)),
            Rotation::Dead | Rotation::Reused => Err(GrantError::Refused),
        }
    }

    /// Makes a token useless; unknown ones are no error (RFC 7009 §2.2). A refresh token takes its family with it.
    pub async fn revoke(&self, token: &str) -> Result<(), StoreError> {
        let now = self.inner.clock.utc();
        if token.starts_with(refresh::PREFIX) {
            let hash = refresh::hash_of(token);
            return self
                .inner
                .store
                .write(move |change| match change.get(&REFRESH_TOKENS, &hash)? {
                    Some(token) => refresh::revoke_family(change, token.family, now),
                    None => Ok(()),
                })
                .await;
        }
        let Ok((claims, _)) = self.token_owner(token) else { return Ok(()) };
        let expiry = UtcTime(claims.exp.saturating_mul(1000));
        self.inner.store.write(move |change| change.put(&REVOKED, &claims.jti, &expiry)).await
    }

    /// `None` for everything that is not a live token of this box.
    pub fn introspect(&self, token: &str) -> Option<Introspection> {
        if token.starts_with(refresh::PREFIX) {
            let (token, _) = self.refresh_owner(&refresh::hash_of(token), ADMIN_CLIENT).ok()?;
            return (!token.spent).then(|| Introspection {
                subject: token.user_name,
                client: token.client,
                scope: token.scope,
                issued_at: token.issued_at.unix_seconds(),
                expires_at: token.expires_at.unix_seconds(),
                kind: "refresh_token",
            });
        }
        let (claims, _) = self.token_owner(token).ok()?;
        Some(Introspection {
            subject: claims.sub,
            client: claims.aud,
            scope: claims.scope,
            issued_at: claims.iat,
            expires_at: claims.exp,
            kind: "access_token",
        })
    }

    /// Checks the password behind the lockout. Takes as long for a user who does not exist.
    async fn sign_in(&self, ask: &PasswordGrant<'_>) -> Result<User, GrantError> {
        if ask.password.expose().len() > LONGEST_PASSWORD {
            return Err(GrantError::Refused);
        }
        let name = canonical_name(ask.user).unwrap_or_default();
        let network = lockout::network_of(ask.address).to_string();
        let snapshot = self.inner.store.read()?;
        let user = self.enabled_user(&snapshot, &name)?;
        let seen = match &user {
            Some(user) => snapshot.get(&SIGNED_IN_FROM, &(user.id, network.clone()))?,
            None => None,
        };
        let attempt = self
            .lockout(|lockout| lockout.admit(ask.address, &name, seen.is_some(), self.inner.clock.now()))
            .map_err(|retry_after| GrantError::SlowDown { retry_after })?;
        let hash = user.as_ref().map(|user| user.password_hash.as_str());
        let matches = self.inner.passwords.verify(ask.password, hash).await?;
        let user = user.filter(|_| matches).ok_or(GrantError::Refused)?;
        self.lockout(|lockout| lockout.succeeded(&attempt));
        self.note_sign_in(user.id, network, seen).await;
        Ok(user)
    }

    /// A full disk must not keep the operator out, who has to see to it.
    async fn note_sign_in(&self, user: Uuid, network: String, seen: Option<UtcTime>) {
        let now = self.inner.clock.utc();
        if seen.is_some_and(|seen| now.since(seen) < SIGNED_IN_GRANULARITY) {
            return;
        }
        let noted = self.inner.store.write(move |change| change.put(&SIGNED_IN_FROM, &(user, network), &now)).await;
        if let Err::<(), StoreError>(problem) = noted {
            warn!(%problem, "the address of a sign-in was not noted");
        }
    }

    async fn new_refresh_token(&self, user: &User, client: &str, scope: &Scope) -> Result<String, StoreError> {
        let (secret, hash) = refresh::random_token();
        let now = self.inner.clock.utc();
        let record = RefreshToken {
            family: self.inner.clock.id(),
            user: user.id,
            user_name: user.name.clone(),
            client: client.to_owned(),
            scope: scope.to_string(),
            issued_at: now,
            expires_at: now + refresh::LIFE,
            spent: false,
        };
        self.inner.store.write(move |change| change.put(&REFRESH_TOKENS, &hash, &record)).await?;
        Ok(secret)
    }

    /// The token under `hash` (spent or not) and its user; refused when either is not good any more.
    fn refresh_owner(&self, hash: &[u8; 32], client: &str) -> Result<(RefreshToken, User), GrantError> {
        let snapshot = self.inner.store.read()?;
        let token = snapshot.get(&REFRESH_TOKENS, hash)?.ok_or(GrantError::Refused)?;
        let user = self.enabled_user(&snapshot, &token.user_name)?.ok_or(GrantError::Refused)?;
        let dead = token.client != client
            || token.user != user.id
            || token.expires_at <= self.inner.clock.utc()
            || snapshot.get(&REVOKED_FAMILIES, &token.family)?.is_some()
            || self.voided(&snapshot, &user, token.issued_at.unix_seconds())?;
        if dead { Err(GrantError::Refused) } else { Ok((token, user)) }
    }

    fn issue(
        &self,
        user: &User,
        client: &str,
        scope: &Scope,
        refresh_token: Option<String>,
    ) -> Result<Grant, GrantError> {
        let inner = &self.inner;
        let issue = Issue {
            issuer: &inner.issuer,
            tenant: &inner.organization.host,
            user,
            client,
            scope,
            at: inner.clock.utc(),
            id: inner.clock.id(),
        };
        let (access_token, id_token) = self.keys(|keys| -> Result<_, IdentityError> {
            let identity = scope.has("openid").then(|| token::identity_token(keys, &issue)).transpose()?;
            Ok((token::access_token(keys, &issue)?, identity))
        })?;
        let expires_in = ACCESS_TOKEN_SECONDS;
        Ok(Grant { access_token, expires_in, scope: scope.to_string(), id_token, refresh_token })
    }
}

fn check_client(client: &str) -> Result<(), GrantError> {
    if client == ADMIN_CLIENT { Ok(()) } else { Err(GrantError::UnknownClient) }
}
