//! OpenAI Live: full duplex, without turns.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::openai::{KeyField, RealtimeFormat};
use super::{Secret, defaults};

/// OpenAI Live.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenAiLiveConfig {
    /// `ws://` or `wss://`, taken as it is: the protocol has no query.
    pub url: String,
    /// Further fields of the request.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    #[serde(default)]
    pub api_key: Option<Secret>,
    /// The field that carries the key.
    #[serde(default)]
    pub key_field: KeyField,
    /// Speaks and listens.
    pub model: String,
    /// Does what the speaking model delegates: it is the one that has the tools. Without it there are none.
    #[serde(default)]
    pub backend_model: Option<String>,
    /// Both directions have it.
    #[serde(default)]
    pub format: RealtimeFormat,
    /// The service's own when absent, or the number's, where it is one of the service's.
    #[serde(default)]
    pub voice: Option<String>,
    /// Laid over the session that the service is asked for.
    #[serde(default)]
    pub session: Option<toml::Table>,
    /// What the agent is told when the phone was answered; a sentence of the box's own when absent.
    #[serde(default)]
    pub greeting: Option<String>,
    /// The agent speaks first.
    #[serde(default = "defaults::yes")]
    pub greet: bool,
    /// PEM file of a private certification authority, trusted beside the public ones.
    #[serde(default)]
    pub ca: Option<PathBuf>,
}
