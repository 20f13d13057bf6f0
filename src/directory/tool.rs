use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::declared::{Kept, remove_undeclared};
use super::{Directory, Organization};
use crate::clock::Clock;
use crate::config::{Secret, ToolConfig, ToolMethod};
use crate::store::{Change, Order, Sealed, Store, StoreError, Table};

/// By organization and name.
const TOOLS: Table<(Uuid, String), Kept<Tool>> = Table::new("tools");

/// A tool that is a request to a system of the customer's.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Tool {
    pub id: Uuid,
    pub organization: Uuid,
    pub name: String,
    /// What the agent is told of it; empty for the tools that the box knows.
    pub description: String,
    /// JSON schema of the arguments.
    pub parameters: Option<serde_json::Value>,
    pub url: Option<String>,
    /// `send_payment_link`: the text message that is sent in place of a request.
    pub link: Option<String>,
    pub method: ToolMethod,
    /// Further fields of the request; open them with [`Directory::tool_headers`].
    pub headers: BTreeMap<String, Sealed>,
    pub timeout_seconds: u64,
    /// It changes something.
    pub write: bool,
    /// What the caller hears while it takes long.
    pub filler: Option<String>,
    /// Networks, beside the public ones, in which it may be.
    pub networks: Vec<IpNet>,
    /// PEM file of a private certification authority.
    pub ca: Option<PathBuf>,
}

impl Directory {
    pub fn tool(&self, organization: Uuid, name: &str) -> Result<Option<Tool>, StoreError> {
        Ok(self.store.read()?.get(&TOOLS, &(organization, name.to_owned()))?.map(|kept| kept.record))
    }

    /// In the order of their names.
    pub fn tools(&self, organization: Uuid) -> Result<Vec<Tool>, StoreError> {
        let mut tools = Vec::new();
        self.store.read()?.scan_prefix(&TOOLS, &organization, Order::Ascending, &mut |_, kept| {
            tools.push(kept.record);
            true
        })?;
        Ok(tools)
    }

    /// Creates or replaces a tool that is not declared in the file.
    pub fn put_tool(change: &mut Change<'_>, tool: &Tool) -> Result<(), StoreError> {
        change.put(&TOOLS, &(tool.organization, tool.name.clone()), &Kept::made(tool.clone()))
    }

    /// A field of a tool's request, as it is kept.
    pub fn seal_header(store: &Store, organization: Uuid, tool: &str, value: &Secret) -> Sealed {
        store.seal(&context(organization, tool), value.expose().as_bytes())
    }

    /// The further fields of a tool's request; `None` when they were sealed with another box's key.
    pub fn tool_headers(&self, tool: &Tool) -> Option<Vec<(String, Secret)>> {
        let context = context(tool.organization, &tool.name);
        let open = |sealed: &Sealed| -> Option<Secret> {
            let octets: Zeroizing<Vec<u8>> = self.store.unseal(&context, sealed)?;
            Some(Secret::new(std::str::from_utf8(&octets).ok()?))
        };
        tool.headers.iter().map(|(name, sealed)| Some((name.clone(), open(sealed)?))).collect()
    }
}

/// What a tool's secrets are sealed under.
fn context(organization: Uuid, tool: &str) -> String {
    format!("tool:{organization}:{tool}")
}

/// Declared tools as they are kept, but for their ids: sealing is not done within a change.
pub(super) fn sealed(store: &Store, organization: Uuid, declared: &[ToolConfig]) -> Vec<Tool> {
    let record = |declared: &ToolConfig| Tool {
        id: Uuid::nil(),
        organization,
        name: declared.name.clone(),
        description: declared.description.clone().unwrap_or_default(),
        parameters: declared.parameters.as_ref().and_then(|table| serde_json::to_value(table).ok()),
        url: declared.url.clone(),
        link: declared.link.clone(),
        method: declared.method,
        headers: declared
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), Directory::seal_header(store, organization, &declared.name, value)))
            .collect(),
        timeout_seconds: declared.timeout_seconds,
        write: declared.write,
        filler: declared.filler.clone(),
        networks: declared.networks.clone(),
        ca: declared.ca.clone(),
    };
    declared.iter().map(record).collect()
}

/// A declared tool keeps the id that its name had before, whoever made it.
pub(super) fn declare(
    change: &mut Change<'_>,
    organization: &Organization,
    declared: Vec<Tool>,
    clock: &Clock,
) -> Result<(), StoreError> {
    let mut names = HashSet::new();
    for mut tool in declared {
        let key = (organization.id, tool.name.clone());
        tool.id = change.get(&TOOLS, &key)?.map_or_else(|| clock.id(), |kept| kept.record.id);
        change.put(&TOOLS, &key, &Kept::declared(tool))?;
        names.insert(key.1);
    }
    remove_undeclared(change, &TOOLS, organization.id, &names)
}
