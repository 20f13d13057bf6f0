//! API keys: `ak_` + 32 hex, shown once, kept as SHA-256 (a random 128-bit secret needs no slow hash).

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::ops::Bound;
use std::time::Duration;
use tracing::warn;
use uuid::Uuid;

use crate::clock::UtcTime;
use crate::config::Secret;
use crate::store::{Order, StoreError, Table};

use super::authenticate::unavailable;
use super::{AuthError, Identity, IdentityError, Principal};

pub(super) const PREFIX: &str = "ak_";
const RANDOM_BYTES: usize = 16;
const LONGEST_NAME: usize = 64;
/// `last_used_at` is written at most this often.
const USED_GRANULARITY: Duration = Duration::from_secs(60);

const API_KEYS: Table<Uuid, ApiKey> = Table::new("api_keys");
const API_KEY_HASHES: Table<[u8; 32], Uuid> = Table::new("api_key_hashes");

/// What is kept of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    pub id: Uuid,
    pub organization: Uuid,
    pub name: String,
    /// The first characters, so that people can tell their keys apart.
    pub prefix: String,
    hash: [u8; 32],
    pub created_at: UtcTime,
    pub last_used_at: Option<UtcTime>,
}

impl Identity {
    /// Makes a key with the rights of an admin; the secret is shown this once.
    pub async fn mint_api_key(&self, name: &str) -> Result<(ApiKey, Secret), IdentityError> {
        let name = name.trim().to_owned();
        if name.is_empty() || name.chars().count() > LONGEST_NAME || name.chars().any(char::is_control) {
            let problem = "must have 1 to 64 printable characters";
            return Err(IdentityError::Invalid { field: "name", problem });
        }
        let secret = random_key();
        let record = ApiKey {
            id: self.inner.clock.id(),
            organization: self.inner.organization.id,
            name,
            prefix: secret.chars().take(PREFIX.len() + 6).collect(),
            hash: Sha256::digest(&secret).into(),
            created_at: self.inner.clock.utc(),
            last_used_at: None,
        };
        let kept = record.clone();
        self.inner
            .store
            .write(move |change| -> Result<(), StoreError> {
                change.put(&API_KEY_HASHES, &kept.hash, &kept.id)?;
                change.put(&API_KEYS, &kept.id, &kept)
            })
            .await?;
        Ok((record, Secret::new(secret)))
    }

    /// All keys of the organization, oldest first.
    pub fn api_keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        let mut keys = Vec::new();
        let organization = self.inner.organization.id;
        self.inner.store.read()?.scan(
            &API_KEYS,
            Bound::Unbounded,
            Bound::Unbounded,
            Order::Ascending,
            &mut |_, key: ApiKey| {
                if key.organization == organization {
                    keys.push(key);
                }
                true
            },
        )?;
        Ok(keys)
    }

    /// Whether there was such a key.
    pub async fn revoke_api_key(&self, id: Uuid) -> Result<bool, StoreError> {
        let organization = self.inner.organization.id;
        self.inner
            .store
            .write(move |change| {
                let Some(key) = change.get(&API_KEYS, &id)?.filter(|key| key.organization == organization) else {
                    return Ok(false);
                };
                change.delete(&API_KEY_HASHES, &key.hash)?;
                change.delete(&API_KEYS, &id)
            })
            .await
    }

    /// The lookup is by digest, so its time tells nothing of the key.
    pub(super) fn authenticate_key(&self, secret: &str) -> Result<Principal, AuthError> {
        if !well_formed(secret) {
            return Err(AuthError::Invalid);
        }
        let hash: [u8; 32] = Sha256::digest(secret).into();
        let snapshot = self.inner.store.read().map_err(unavailable)?;
        let id = snapshot.get(&API_KEY_HASHES, &hash).map_err(unavailable)?.ok_or(AuthError::Invalid)?;
        let key = snapshot.get(&API_KEYS, &id).map_err(unavailable)?.ok_or(AuthError::Invalid)?;
        self.note_use(&key);
        Ok(Principal { organization: key.organization, actor: key.name, admin: true })
    }

    /// Written behind the request's back: a full disk must not stop reading.
    fn note_use(&self, key: &ApiKey) {
        let now = self.inner.clock.utc();
        if key.last_used_at.is_some_and(|last| now.since(last) < USED_GRANULARITY) {
            return;
        }
        let (store, id) = (self.inner.store.clone(), key.id);
        tokio::spawn(async move {
            let noted = store
                .write(move |change| -> Result<(), StoreError> {
                    match change.get(&API_KEYS, &id)? {
                        Some(key) => change.put(&API_KEYS, &id, &ApiKey { last_used_at: Some(now), ..key }),
                        None => Ok(()),
                    }
                })
                .await;
            if let Err(problem) = noted {
                warn!(%problem, "the last use of an API key was not noted");
            }
        });
    }
}

fn random_key() -> String {
    let random: [u8; RANDOM_BYTES] = rand::random();
    random.iter().fold(PREFIX.to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

fn well_formed(secret: &str) -> bool {
    secret.strip_prefix(PREFIX).is_some_and(|hex| {
        hex.len() == RANDOM_BYTES * 2 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_documented_form() {
        let key = random_key();
        assert!(well_formed(&key), "{key}");
        assert_eq!(key.len(), 35);
        assert_ne!(key, random_key());
        for bad in ["", "ak_", "ak_XYZ", &key[..34], &key.to_uppercase(), &format!("{key}0")] {
            assert!(!well_formed(bad), "{bad}");
        }
    }
}
