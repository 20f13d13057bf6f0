//! Users: making them, and the rules for names and passwords.

use crate::clock::UtcTime;
use crate::config::Secret;
use crate::directory::{Directory, Role, User};
use crate::store::{Change, StoreError};

use super::authenticate::VOID_BEFORE;
use super::claim;
use super::{Identity, IdentityError};

const SHORTEST_PASSWORD: usize = 10;
/// Bounds the work of a hash; nobody types more.
pub(super) const LONGEST_PASSWORD: usize = 1024;
const LONGEST_NAME: usize = 64;

impl Identity {
    /// Creates an admin (first start, `trunkline admin`). The password is hashed off the async threads.
    ///
    /// A user of that name is replaced: new password and role, enabled, all earlier tokens void.
    pub async fn create_user(&self, name: &str, password: &Secret, role: Role) -> Result<User, IdentityError> {
        let user = self.prepare_user(name, password, role).await?;
        let now = self.inner.clock.utc();
        self.inner
            .store
            .write(move |change| -> Result<_, IdentityError> {
                put(change, &user, now)?;
                Ok(user)
            })
            .await
    }

    /// A checked record with a hashed password, not yet stored.
    pub(super) async fn prepare_user(&self, name: &str, password: &Secret, role: Role) -> Result<User, IdentityError> {
        let name = canonical_name(name)?;
        check_password(password)?;
        let password_hash = self.inner.passwords.hash(password).await?;
        let organization = self.inner.organization.id;
        let before = self.inner.directory.user(&self.inner.store.read()?, organization, &name)?;
        Ok(match before {
            Some(before) => User { role, password_hash, disabled: false, ..before },
            None => User {
                id: self.inner.clock.id(),
                organization,
                name,
                email: None,
                role,
                password_hash,
                created_at: self.inner.clock.utc(),
                disabled: false,
            },
        })
    }

    /// Whether some enabled admin exists.
    pub(super) fn has_admin(&self) -> Result<bool, StoreError> {
        let users = self.inner.directory.users(self.inner.organization.id)?;
        Ok(users.iter().any(|user| user.role == Role::Admin && !user.disabled))
    }
}

/// Stores the user, voids the tokens issued before, and closes the claim once there is an admin.
pub(super) fn put(change: &mut Change<'_>, user: &User, now: UtcTime) -> Result<(), StoreError> {
    Directory::put_user(change, user)?;
    // `iat` counts whole seconds: a token issued earlier in this very second stays good.
    change.put(&VOID_BEFORE, &user.id, &now)?;
    if user.role == Role::Admin {
        claim::close(change)?;
    }
    Ok(())
}

/// Lower case; a letter or digit, then letters, digits and `._@-`.
pub(super) fn canonical_name(name: &str) -> Result<String, IdentityError> {
    let name = name.trim().to_lowercase();
    let problem = if name.is_empty() || name.len() > LONGEST_NAME {
        "must have 1 to 64 characters"
    } else if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._@-".contains(&b)) {
        "may hold only letters, digits and . _ @ -"
    } else if !name.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        "must begin with a letter or a digit"
    } else {
        return Ok(name);
    };
    Err(IdentityError::Invalid { field: "user", problem })
}

fn check_password(password: &Secret) -> Result<(), IdentityError> {
    let length = password.expose().chars().count();
    let problem = if length < SHORTEST_PASSWORD {
        "must have at least 10 characters"
    } else if password.expose().len() > LONGEST_PASSWORD {
        "must not be longer than 1024 bytes"
    } else {
        return Ok(());
    };
    Err(IdentityError::Invalid { field: "password", problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_folded_and_odd_ones_refused() {
        assert_eq!(canonical_name(" Stefan ").expect("name"), "stefan");
        assert_eq!(canonical_name("ops@example.com").expect("name"), "ops@example.com");
        for odd in ["", "   ", "a b", "-x", "a\0b", "a\r\nb", "jürgen", &"x".repeat(65)] {
            assert!(canonical_name(odd).is_err(), "{odd:?}");
        }
    }

    #[test]
    fn short_and_endless_passwords_are_refused() {
        assert!(check_password(&Secret::new("123456789")).is_err());
        assert!(check_password(&Secret::new("1234567890")).is_ok());
        assert!(check_password(&Secret::new("x".repeat(1025))).is_err());
    }
}
