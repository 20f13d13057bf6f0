//! Organizations, users, numbers, prompts, the dial whitelist: records and their rules.
//!
//! Configuration and operator commands flow in; records flow out to calls, identity and the API. Declared records
//! (from the configuration file) are brought into the store at start. This room knows nothing of calls or the wire.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::UtcTime;
use crate::config::{Config, DialConfig, NumberMode, Visibility};
use crate::store::{Change, Snapshot, Store, StoreError};

/// The one organization of this version; later versions have many.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Organization {
    pub id: Uuid,
    /// The tenant name on the wire.
    pub host: String,
    pub name: String,
    pub voice: String,
    pub language: String,
}

/// A person or program that signs in with a password.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct User {
    pub id: Uuid,
    pub organization: Uuid,
    /// Lower case, unique in the organization.
    pub name: String,
    pub email: Option<String>,
    pub role: Role,
    /// argon2id, PHC string.
    pub password_hash: String,
    pub created_at: UtcTime,
    pub disabled: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Admin,
    Member,
}

/// An inbound number answered by the box.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Number {
    pub id: Uuid,
    pub organization: Uuid,
    pub name: String,
    pub number: String,
    pub mode: NumberMode,
    /// As written: text or slug. Resolve with [`Directory::resolve_prompt`] at every call.
    pub system_prompt: String,
    pub voice: String,
    pub language: String,
    pub visibility: Visibility,
    pub save_transcripts: bool,
    pub record_calls: bool,
    pub max_duration_seconds: u32,
    pub email: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Prompt {
    pub organization: Uuid,
    pub slug: String,
    pub text: String,
}

/// Records and rules over the store; cheap to clone.
#[derive(Clone)]
pub struct Directory {
    pub(crate) store: Store,
    pub(crate) dial: std::sync::Arc<DialConfig>,
    pub(crate) organization: Organization,
}

impl Directory {
    /// Brings the declared organization, numbers and prompts into the store and opens the directory.
    pub async fn open(store: Store, config: &Config) -> Result<Directory, StoreError> {
        let _ = store;
        todo!("directory: {config:?}")
    }

    /// The organization that requests for `host` belong to (the default one when the name is unknown).
    pub fn organization(&self, host: &str) -> &Organization {
        let _ = host;
        &self.organization
    }

    pub fn numbers(&self, organization: Uuid) -> Result<Vec<Number>, StoreError> {
        todo!("directory: {organization}")
    }

    /// The number record that an inbound call to `called` reaches; `+49…`, `0049…` and bare digits are compared alike.
    pub fn number_for(&self, called: &str) -> Result<Option<Number>, StoreError> {
        todo!("directory: {called}")
    }

    /// A stored prompt's text when `text` is a known slug, else `text` itself.
    pub fn resolve_prompt(&self, organization: Uuid, text: &str) -> Result<String, StoreError> {
        todo!("directory: {organization} {text}")
    }

    /// Adds `number` to the organization's dial whitelist inside a change; `Ok(false)` when it was listed already.
    pub fn whitelist(
        change: &mut Change<'_>,
        organization: Uuid,
        number: &str,
        at: UtcTime,
    ) -> Result<bool, StoreError> {
        let _ = change;
        todo!("directory: {organization} {number} {at:?}")
    }

    /// The toll-fraud guard, asked by the dialer right before every INVITE.
    pub fn may_dial(&self, organization: Uuid, number: &str) -> Result<DialVerdict, StoreError> {
        todo!("directory: {organization} {number}")
    }

    pub fn user(&self, snapshot: &Snapshot, organization: Uuid, name: &str) -> Result<Option<User>, StoreError> {
        let _ = snapshot;
        todo!("directory: {organization} {name}")
    }

    pub fn users(&self, organization: Uuid) -> Result<Vec<User>, StoreError> {
        todo!("directory: {organization}")
    }

    /// Creates or replaces a user (key: organization and name).
    pub fn put_user(change: &mut Change<'_>, user: &User) -> Result<(), StoreError> {
        let _ = change;
        todo!("directory: {user:?}")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DialVerdict {
    Allowed,
    /// Neither whitelisted nor matched by an allow prefix.
    NotWhitelisted,
    /// A deny prefix matches.
    Denied,
}
