use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::declared::{Kept, remove_undeclared};
use super::{Directory, Organization};
use crate::clock::Clock;
use crate::config::AgentConfig;
use crate::store::{Change, Order, StoreError, Table};

/// By organization and name.
const AGENTS: Table<(Uuid, String), Kept<Agent>> = Table::new("agents");

/// Somebody who takes calls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Agent {
    pub id: Uuid,
    pub organization: Uuid,
    /// A slug.
    pub name: String,
    /// As written: text or slug of a prompt. Resolve with [`Directory::resolve_prompt`] at every call.
    pub instructions: String,
    /// The first sentence.
    pub greeting: Option<String>,
    /// Those of the number, or of the order to call, when absent.
    pub voice: Option<String>,
    pub language: Option<String>,
    /// Names of [`super::Tool`]s and of tools of the box; one that is not there is not offered.
    pub tools: Vec<String>,
    /// Names of agents that a call may be handed to.
    pub hand_offs: Vec<String>,
    pub max_duration_seconds: Option<u32>,
    /// The person that a caller may ask for.
    pub transfer_to: Option<String>,
    pub transfer_whisper: bool,
    /// The first tool that changes something needs the caller's yes.
    pub confirm_first_write: bool,
}

impl Directory {
    pub fn agent(&self, organization: Uuid, name: &str) -> Result<Option<Agent>, StoreError> {
        Ok(self.store.read()?.get(&AGENTS, &(organization, name.to_owned()))?.map(|kept| kept.record))
    }

    /// In the order of their names.
    pub fn agents(&self, organization: Uuid) -> Result<Vec<Agent>, StoreError> {
        let mut agents = Vec::new();
        self.store.read()?.scan_prefix(&AGENTS, &organization, Order::Ascending, &mut |_, kept| {
            agents.push(kept.record);
            true
        })?;
        Ok(agents)
    }

    /// Creates or replaces an agent that is not declared in the file.
    pub fn put_agent(change: &mut Change<'_>, agent: &Agent) -> Result<(), StoreError> {
        change.put(&AGENTS, &(agent.organization, agent.name.clone()), &Kept::made(agent.clone()))
    }
}

/// A declared agent keeps the id that its name had before, whoever made it.
pub(super) fn declare(
    change: &mut Change<'_>,
    organization: &Organization,
    declared: &[AgentConfig],
    clock: &Clock,
) -> Result<(), StoreError> {
    let mut names = HashSet::new();
    for agent in declared {
        let key = (organization.id, agent.name.clone());
        let id = change.get(&AGENTS, &key)?.map_or_else(|| clock.id(), |kept| kept.record.id);
        change.put(&AGENTS, &key, &Kept::declared(record(organization, agent, id)))?;
        names.insert(key.1);
    }
    remove_undeclared(change, &AGENTS, organization.id, &names)
}

fn record(organization: &Organization, declared: &AgentConfig, id: Uuid) -> Agent {
    Agent {
        id,
        organization: organization.id,
        name: declared.name.clone(),
        instructions: declared.instructions.clone(),
        greeting: declared.greeting.clone(),
        voice: declared.voice.clone(),
        language: declared.language.clone(),
        tools: declared.tools.clone(),
        hand_offs: declared.hand_offs.clone(),
        max_duration_seconds: declared.max_duration_seconds,
        transfer_to: declared.transfer_to.clone(),
        transfer_whisper: declared.transfer_whisper,
        confirm_first_write: declared.confirm_first_write,
    }
}
