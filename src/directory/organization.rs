use std::ops::Bound;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::config::OrganizationConfig;
use crate::store::{Change, StoreError, Table};

const ORGANIZATIONS: Table<Uuid, Organization> = Table::new("organizations");

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

/// The organization of the configuration file. Its id is made at the first start and kept: another host in the file
/// renames it, and everything that belongs to it goes on belonging to it.
pub(super) fn declare(
    change: &mut Change<'_>,
    declared: &OrganizationConfig,
    fresh: Uuid,
) -> Result<Organization, StoreError> {
    let first = change.range(&ORGANIZATIONS, Bound::Unbounded, Bound::Unbounded, 1)?;
    let organization = Organization {
        id: first.first().map_or(fresh, |(id, _)| *id),
        host: declared.host.clone(),
        name: declared.name.clone(),
        voice: declared.voice.clone(),
        language: declared.language.clone(),
    };
    change.put(&ORGANIZATIONS, &organization.id, &organization)?;
    Ok(organization)
}
