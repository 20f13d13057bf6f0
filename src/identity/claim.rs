//! The claim code: how the first admin comes into being without a default password.
//!
//! | State | Code | A right code |
//! |---|---|---|
//! | no admin | one random code, sealed in the store, the same over restarts | makes the admin and closes the claim, in one change |
//! | an admin exists | none | refused |

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::config::Secret;
use crate::directory::{Role, User};
use crate::store::{Change, Sealed, StoreError, Table};

use super::{Identity, IdentityError, user};

const CLAIM: Table<(), ClaimRecord> = Table::new("claim");
const CONTEXT: &str = "claim";

/// Without look-alikes (0 O, 1 I L).
const ALPHABET: &[u8; 31] = b"23456789ABCDEFGHJKMNPQRSTUVWXYZ";
const GROUPS: usize = 3;
const GROUP: usize = 4;

#[derive(Serialize, Deserialize)]
struct ClaimRecord {
    code: Sealed,
}

#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    #[error("the claim code is wrong")]
    WrongCode,
    /// An admin exists.
    #[error("this box has been claimed already")]
    Claimed,
    #[error("too many attempts")]
    SlowDown { retry_after: Duration },
    /// The name or the password cannot be accepted, or the store failed.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl From<StoreError> for ClaimError {
    fn from(error: StoreError) -> Self {
        ClaimError::Identity(error.into())
    }
}

impl Identity {
    /// The code that lets a stranger with access to the box's console make the first admin; `None` once there is one.
    pub async fn claim_code(&self) -> Result<Option<String>, IdentityError> {
        if self.has_admin()? {
            return Ok(None);
        }
        if let Some(code) = self.stored_code()? {
            return Ok(Some(code));
        }
        let code = random_code();
        let record = ClaimRecord { code: self.inner.store.seal(CONTEXT, code.as_bytes()) };
        self.inner.store.write(move |change| change.put(&CLAIM, &(), &record)).await?;
        Ok(Some(code))
    }

    /// Makes the first admin. `address` is who asks, for the throttle.
    pub async fn claim(&self, address: IpAddr, code: &str, name: &str, password: &Secret) -> Result<User, ClaimError> {
        let attempt = self
            .lockout(|lockout| lockout.admit(address, "", true, self.inner.clock.now()))
            .map_err(|retry_after| ClaimError::SlowDown { retry_after })?;
        let expected = self.stored_code()?.ok_or(ClaimError::Claimed)?;
        if !same(&canonical(code), &canonical(&expected)) {
            return Err(ClaimError::WrongCode);
        }
        self.lockout(|lockout| lockout.succeeded(&attempt));
        let admin = self.prepare_user(name, password, Role::Admin).await?;
        let now = self.inner.clock.utc();
        self.inner
            .store
            .write(move |change| {
                // Of two claims at once, the second finds the record gone.
                if change.get(&CLAIM, &())?.is_none() {
                    return Err(ClaimError::Claimed);
                }
                user::put(change, &admin, now)?;
                Ok(admin)
            })
            .await
    }

    fn stored_code(&self) -> Result<Option<String>, StoreError> {
        let record = self.inner.store.read()?.get(&CLAIM, &())?;
        let plain = record.and_then(|record| self.inner.store.unseal(CONTEXT, &record.code));
        Ok(plain.and_then(|plain| String::from_utf8(plain.to_vec()).ok()))
    }
}

/// Part of the change that makes an admin.
pub(super) fn close(change: &mut Change<'_>) -> Result<(), StoreError> {
    change.delete(&CLAIM, &()).map(|_| ())
}

fn random_code() -> String {
    let groups: Vec<String> = (0..GROUPS).map(|_| (0..GROUP).map(|_| random_letter()).collect()).collect();
    groups.join("-")
}

/// Uniform: bytes at and above the largest multiple of the alphabet's length are drawn again.
fn random_letter() -> char {
    loop {
        let byte: u8 = rand::random();
        if usize::from(byte) < 256 - 256 % ALPHABET.len() {
            return char::from(ALPHABET[usize::from(byte) % ALPHABET.len()]);
        }
    }
}

/// As typed from a console: case, dashes and blanks do not matter.
fn canonical(code: &str) -> String {
    code.chars().filter(|c| c.is_ascii_alphanumeric()).map(|c| c.to_ascii_uppercase()).collect()
}

/// Compares digests in constant time, so that neither content nor length shows.
fn same(one: &str, other: &str) -> bool {
    Sha256::digest(one).ct_eq(&Sha256::digest(other)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_readable_and_differ() {
        let code = random_code();
        assert_eq!(code.len(), 14);
        assert!(
            code.split('-').all(|group| group.len() == 4 && group.bytes().all(|b| ALPHABET.contains(&b))),
            "{code}"
        );
        assert_ne!(code, random_code());
    }

    #[test]
    fn a_code_may_be_typed_in_any_case_and_grouping() {
        assert!(same(&canonical("k7qf m2xr-9ptw"), &canonical("K7QF-M2XR-9PTW")));
        assert!(!same(&canonical("K7QF-M2XR-9PTX"), &canonical("K7QF-M2XR-9PTW")));
        assert!(!same(&canonical(""), &canonical("K7QF-M2XR-9PTW")));
    }
}
