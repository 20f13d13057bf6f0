use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Directory;
use crate::clock::UtcTime;
use crate::store::{Change, Order, Snapshot, StoreError, Table};

/// By organization and name in lower case.
const USERS: Table<(Uuid, String), User> = Table::new("users");

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

impl Directory {
    /// By name, without regard to case.
    pub fn user(&self, snapshot: &Snapshot, organization: Uuid, name: &str) -> Result<Option<User>, StoreError> {
        snapshot.get(&USERS, &(organization, name.to_lowercase()))
    }

    /// In the order of their names.
    pub fn users(&self, organization: Uuid) -> Result<Vec<User>, StoreError> {
        let mut users = Vec::new();
        self.store.read()?.scan_prefix(&USERS, &organization, Order::Ascending, &mut |_, user| {
            users.push(user);
            true
        })?;
        Ok(users)
    }

    /// The same inside a change: for rules that must hold when it commits (the first admin, a name that is taken).
    pub fn users_in(change: &Change<'_>, organization: Uuid) -> Result<Vec<User>, StoreError> {
        Ok(change.range_prefix(&USERS, &organization, usize::MAX)?.into_iter().map(|(_, user)| user).collect())
    }

    /// Creates or replaces a user (key: organization and name).
    pub fn put_user(change: &mut Change<'_>, user: &User) -> Result<(), StoreError> {
        let user = User { name: user.name.to_lowercase(), ..user.clone() };
        change.put(&USERS, &(user.organization, user.name.clone()), &user)
    }
}
