//! Passwords as argon2id (RFC 9106): 19 MiB, two passes, one lane; at most two at once, on blocking threads.

use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::config::Secret;

use super::IdentityError;

/// 19 MiB in KiB.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
/// A small box has memory for two hashes beside its calls.
const AT_ONCE: usize = 2;

/// Hashes and verifies; cheap to clone.
#[derive(Clone)]
pub(super) struct Passwords {
    gate: Arc<Semaphore>,
    /// Hash of a random password: what an unknown user's password is held against, so that it takes as long.
    decoy: Arc<str>,
}

impl Passwords {
    pub(super) async fn new() -> Result<Passwords, IdentityError> {
        let gate = Arc::new(Semaphore::new(AT_ONCE));
        let random: [u8; 24] = rand::random();
        let decoy = off_thread(&gate, move || hash(&random)).await??;
        Ok(Passwords { gate, decoy: decoy.into() })
    }

    /// PHC string of `password` under a random salt.
    pub(super) async fn hash(&self, password: &Secret) -> Result<String, IdentityError> {
        let password = Zeroizing::new(password.expose().as_bytes().to_vec());
        off_thread(&self.gate, move || hash(&password)).await?
    }

    /// Whether `password` is the one behind `hash`. Takes as long when there is no hash.
    pub(super) async fn verify(&self, password: &Secret, hash: Option<&str>) -> Result<bool, IdentityError> {
        let password = Zeroizing::new(password.expose().as_bytes().to_vec());
        let known = hash.is_some();
        let hash: String = hash.unwrap_or(&self.decoy).to_owned();
        let matches = off_thread(&self.gate, move || {
            PasswordHash::new(&hash).is_ok_and(|parsed| Argon2::default().verify_password(&password, &parsed).is_ok())
        })
        .await?;
        Ok(matches && known)
    }
}

async fn off_thread<T, F>(gate: &Arc<Semaphore>, work: F) -> Result<T, IdentityError>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let permit = gate.clone().acquire_owned().await.map_err(|error| IdentityError::Hash(error.to_string()))?;
    // The permit travels with the work: a request that is given up does not make room before its hash is done.
    let run = tokio::task::spawn_blocking(move || {
        let done = work();
        drop(permit);
        done
    });
    run.await.map_err(|error| IdentityError::Hash(error.to_string()))
}

fn hash(password: &[u8]) -> Result<String, IdentityError> {
    let failed = |error: &dyn std::fmt::Display| IdentityError::Hash(error.to_string());
    let params = Params::new(MEMORY_KIB, PASSES, 1, None).map_err(|error| failed(&error))?;
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hashed: PasswordHash = argon.hash_password(password).map_err(|error| failed(&error))?;
    Ok(hashed.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn verifies_its_own_hash_and_no_other_password() {
        let passwords = Passwords::new().await.expect("decoy");
        let hash = passwords.hash(&Secret::new("correct horse")).await.expect("hash");
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(passwords.verify(&Secret::new("correct horse"), Some(&hash)).await.expect("verify"));
        assert!(!passwords.verify(&Secret::new("correct horsf"), Some(&hash)).await.expect("verify"));
        assert!(!passwords.verify(&Secret::new("correct horse"), Some("not a hash")).await.expect("verify"));
    }

    #[tokio::test]
    async fn an_unknown_user_costs_a_full_hash_and_never_matches() {
        let passwords = Passwords::new().await.expect("decoy");
        let parsed = PasswordHash::new(&passwords.decoy).expect("decoy is a hash");
        assert_eq!(Params::try_from(&parsed).expect("parameters").m_cost(), MEMORY_KIB);
        assert!(!passwords.verify(&Secret::new(""), None).await.expect("verify"));
    }
}
