//! Agents that take calls, and the tools that they may use.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::Deserialize;

use super::{Secret, defaults};

/// Somebody who takes calls: instructions, a voice, and what may be done.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentConfig {
    /// `^[a-z0-9][a-z0-9_-]{0,63}$`
    pub name: String,
    /// Instructions, or the slug of a `[[prompt]]`.
    pub instructions: String,
    /// The first sentence.
    #[serde(default)]
    pub greeting: Option<String>,
    /// The number's when absent.
    #[serde(default)]
    pub voice: Option<String>,
    #[serde(default)]
    pub language: Option<String>,
    /// Names of `[[tools]]`, and of those that the box has.
    #[serde(default)]
    pub tools: Vec<String>,
    /// Names of agents that a call may be handed to.
    #[serde(default)]
    pub hand_offs: Vec<String>,
    /// Bounds calls that begin with this agent, beside the number's own bound.
    #[serde(default)]
    pub max_duration_seconds: Option<u32>,
    /// The person that a caller may ask for; the number's when absent.
    #[serde(default)]
    pub transfer_to: Option<String>,
    #[serde(default)]
    pub transfer_whisper: bool,
    /// The first tool that changes something needs the caller's yes.
    #[serde(default)]
    pub confirm_first_write: bool,
}

/// A tool that is a request to a system of the customer's.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolConfig {
    /// `^[a-z][a-z0-9_]{0,63}$`
    pub name: String,
    /// What the agent is told of it; the box's own words for the tools that it knows.
    #[serde(default)]
    pub description: Option<String>,
    /// JSON schema of the arguments.
    #[serde(default)]
    pub parameters: Option<toml::Table>,
    #[serde(default)]
    pub url: Option<String>,
    /// `send_payment_link`: the text message that is sent in place of a request.
    #[serde(default)]
    pub link: Option<String>,
    #[serde(default)]
    pub method: ToolMethod,
    /// Further fields of the request.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// From the look-up of the name to the last octet of the answer.
    #[serde(default = "defaults::tool_timeout")]
    pub timeout_seconds: u64,
    /// It changes something.
    #[serde(default)]
    pub write: bool,
    /// What the caller hears while it takes long.
    #[serde(default)]
    pub filler: Option<String>,
    /// Networks, beside the public ones, in which it may be.
    #[serde(default)]
    pub networks: Vec<IpNet>,
    /// PEM file of a private certification authority, trusted beside the public ones.
    #[serde(default)]
    pub ca: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ToolMethod {
    /// The arguments are in the query.
    Get,
    /// The arguments are in a JSON body.
    #[default]
    Post,
}

/// Tools that every agent has, or that other keys give; none of them can be declared.
pub const RESERVED_TOOLS: [&str; 4] = ["end_call", "send_dtmf", "transfer_call", "hand_off"];
/// Tools of the box that an agent names to have them.
pub const BUILT_IN_TOOLS: [&str; 2] = ["collect_digits", "take_message"];
/// Tools whose words and arguments are fixed, and whose address is the customer's.
pub const BOOK_APPOINTMENT: &str = "book_appointment";
pub const SEND_PAYMENT_LINK: &str = "send_payment_link";

/// What checks arguments against a tool's schema. Patterns run in linear time, and nothing is fetched.
pub fn tool_schema(schema: &serde_json::Value) -> Result<jsonschema::Validator, String> {
    let patterns = jsonschema::PatternOptions::regex();
    jsonschema::options().with_pattern_options(patterns).build(schema).map_err(|problem| problem.to_string())
}
