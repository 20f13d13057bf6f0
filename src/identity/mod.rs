//! Who is asking, and may they: passwords, tokens, lockout, scopes.
//!
//! Credentials flow in; a [`Principal`] or a refusal flows out. HTTP is not known here: `api` translates.

use uuid::Uuid;

use crate::clock::Clock;
use crate::config::Secret;
use crate::directory::{Directory, Role, User};
use crate::store::{Store, StoreError};

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
    pub(crate) _todo: (),
}

#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("signing key: {0}")]
    Key(String),
}

impl Identity {
    /// Loads or makes the signing key (RSA 2048, sealed in the store).
    pub async fn open(store: Store, directory: Directory, clock: Clock) -> Result<Identity, IdentityError> {
        let _ = (store, directory);
        todo!("identity: {clock:?}")
    }

    /// The code that lets a stranger with access to the box's console make the first admin; `None` once there is one.
    pub async fn claim_code(&self) -> Result<Option<String>, IdentityError> {
        todo!("identity")
    }

    /// Creates an admin (first start, `trunkline admin`). The password is hashed off the async threads.
    pub async fn create_user(&self, name: &str, password: &Secret, role: Role) -> Result<User, IdentityError> {
        let _ = password;
        todo!("identity: {name} {role:?}")
    }
}
