//! Who is asking, and may they: passwords, tokens, lockout, scopes.
//!
//! Credentials flow in; a [`Principal`], a [`Grant`] or a refusal flows out. Passwords are kept as argon2id, API keys
//! and refresh tokens as SHA-256, the signing key and the claim code sealed. HTTP is not known here: `api` translates.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use uuid::Uuid;

use crate::clock::Clock;
use crate::directory::{Directory, Organization};
use crate::store::{Store, StoreError};

mod api_key;
mod authenticate;
mod claim;
mod grant;
mod housekeeping;
mod keys;
mod lockout;
mod password;
mod refresh;
mod scope;
mod token;
mod user;

pub use api_key::ApiKey;
pub use authenticate::{AuthError, Introspection, UserInfo};
pub use claim::ClaimError;
pub use grant::{Grant, GrantError, PasswordGrant, RefreshGrant};
pub use lockout::network_of;
pub use scope::SCOPES;
pub use token::ACCESS_TOKEN_SECONDS;

use keys::KeyRing;
use lockout::Lockout;
use password::Passwords;

/// The built-in public client of the password and refresh grants.
pub const ADMIN_CLIENT: &str = "codeb-admin";

/// The result of every authentication, whatever the credential was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    pub organization: Uuid,
    /// User name, or the API key's name.
    pub actor: String,
    pub admin: bool,
}

/// Authenticates and issues tokens; cheap to clone.
#[derive(Clone)]
pub struct Identity {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    directory: Directory,
    clock: Clock,
    organization: Organization,
    /// `https://<host>`: the configured host, so that tokens stay good however the box is reached.
    issuer: String,
    keys: RwLock<KeyRing>,
    lockout: Mutex<Lockout>,
    passwords: Passwords,
}

#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("signing key: {0}")]
    Key(String),
    #[error("password: {0}")]
    Hash(String),
    /// The name or password cannot be accepted; `problem` is a sentence for who chose it.
    #[error("{field} {problem}")]
    Invalid { field: &'static str, problem: &'static str },
}

impl Identity {
    /// Loads or makes the signing key (RSA 2048, sealed in the store).
    pub async fn open(store: Store, directory: Directory, clock: Clock) -> Result<Identity, IdentityError> {
        let organization = directory.organization("").clone();
        let keys = keys::load_or_make(&store, &clock).await?;
        let passwords = Passwords::new().await?;
        let inner = Inner {
            issuer: format!("https://{}", organization.host),
            store,
            directory,
            clock,
            organization,
            keys: RwLock::new(keys),
            lockout: Mutex::new(Lockout::default()),
            passwords,
        };
        Ok(Identity { inner: Arc::new(inner) })
    }

    /// `iss` of every token.
    pub fn issuer(&self) -> &str {
        &self.inner.issuer
    }

    /// RFC 7517 key set: the current key and, after a rotation, the one before.
    pub fn jwks(&self) -> serde_json::Value {
        self.keys(KeyRing::jwks)
    }

    /// Makes a new signing key. Tokens of the key before stay good until the next rotation.
    pub async fn rotate_key(&self) -> Result<(), IdentityError> {
        let ring = keys::rotate(&self.inner.store, &self.inner.clock).await?;
        *self.inner.keys.write().unwrap_or_else(PoisonError::into_inner) = ring;
        Ok(())
    }

    fn keys<T>(&self, read: impl FnOnce(&KeyRing) -> T) -> T {
        read(&self.inner.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    // A poisoned lock only means that a test thread panicked; the counters are still counters.
    fn lockout<T>(&self, change: impl FnOnce(&mut Lockout) -> T) -> T {
        change(&mut self.inner.lockout.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
