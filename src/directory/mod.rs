//! Organizations, users, numbers, prompts, agents, tools, the dial whitelist: records and their rules.
//!
//! Configuration and operator commands flow in; records flow out to calls, identity and the API. Declared records
//! (from the configuration file) are brought into the store at start; one that has left the file leaves the store,
//! one that was made otherwise stays. This room knows nothing of calls or the wire.

use std::sync::Arc;

use crate::config::Config;
use crate::store::{Store, StoreError};

mod agent;
mod declared;
mod dial;
mod number;
mod organization;
mod phone;
mod policy;
mod premium;
mod prompt;
mod tool;
mod user;

pub use agent::Agent;
pub use dial::DialVerdict;
pub use number::Number;
pub use organization::Organization;
pub use phone::{normalize, same_number};
pub use policy::{DialAlert, DialCap, DialPlace};
pub use prompt::{Prompt, is_slug};
pub use tool::Tool;
pub use user::{Role, User};

/// Records and rules over the store; cheap to clone.
#[derive(Clone)]
pub struct Directory {
    pub(crate) store: Store,
    rules: Arc<dial::Rules>,
    policy: Arc<policy::Policy>,
    organization: Arc<Organization>,
}

impl Directory {
    /// Brings the declared organization, numbers, prompts, agents and tools into the store and opens the directory.
    pub async fn open(store: Store, config: &Config) -> Result<Directory, StoreError> {
        let rules = Arc::new(dial::Rules::new(&config.dial));
        let policy = Arc::new(policy::Policy::new(config));
        let fresh = store.clock().id();
        let (declared, numbers, prompts) =
            (config.organization.clone(), config.numbers.clone(), config.prompts.clone());
        let clock = store.clock().clone();
        let organization = store
            .write(move |change| {
                let organization = organization::declare(change, &declared, fresh)?;
                number::declare(change, &organization, &numbers, &clock)?;
                prompt::declare(change, &organization, &prompts)?;
                Ok::<_, StoreError>(organization)
            })
            .await?;
        // The secrets of tools are sealed for the organization, whose id is known now.
        let (agents, tools) = (config.agents.clone(), tool::sealed(&store, organization.id, &config.tools));
        let (own, clock) = (organization.clone(), store.clock().clone());
        store
            .write(move |change| {
                agent::declare(change, &own, &agents, &clock)?;
                tool::declare(change, &own, tools, &clock)
            })
            .await?;
        Ok(Directory { store, rules, policy, organization: Arc::new(organization) })
    }

    /// The organization that requests for `host` belong to (the default one when the name is unknown).
    pub fn organization(&self, host: &str) -> &Organization {
        // One organization in this version: every name leads to it.
        let _ = host;
        &self.organization
    }
}

#[cfg(test)]
mod policy_tests;
#[cfg(test)]
mod tests;
