//! Services that speak OpenAI's Realtime protocol.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::{Secret, defaults};

/// A service that speaks OpenAI's Realtime protocol.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenAiConfig {
    /// `ws://` or `wss://`, taken as it is; `query` and `model` are appended.
    pub url: String,
    #[serde(default)]
    pub query: BTreeMap<String, String>,
    /// Further fields of the request.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    #[serde(default)]
    pub api_key: Option<Secret>,
    /// The field that carries the key.
    #[serde(default)]
    pub key_field: KeyField,
    /// `Sec-WebSocket-Protocol`.
    #[serde(default)]
    pub subprotocols: Vec<String>,
    #[serde(default)]
    pub dialect: RealtimeDialect,
    #[serde(default)]
    pub input_format: RealtimeFormat,
    #[serde(default)]
    pub output_format: RealtimeFormat,
    /// Goes into the query as `model`, unless `url` or `query` name one.
    #[serde(default)]
    pub model: Option<String>,
    /// The service's own voice when absent, or the number's, where it is one of OpenAI's.
    #[serde(default)]
    pub voice: Option<String>,
    /// Writes down what the caller says; empty = nothing does.
    #[serde(default = "defaults::transcription_model")]
    pub transcription_model: String,
    #[serde(default)]
    pub turn_detection: Option<TurnDetection>,
    #[serde(default)]
    pub noise_reduction: Option<NoiseReduction>,
    /// Laid over the session that the service is asked for.
    #[serde(default)]
    pub session: Option<toml::Table>,
    /// What the agent is told when the phone was answered; a sentence of the box's own when absent.
    #[serde(default)]
    pub greeting: Option<String>,
    /// The agent speaks first.
    #[serde(default = "defaults::yes")]
    pub greet: bool,
    /// The service is told how much of an interrupted answer was heard.
    #[serde(default = "defaults::yes")]
    pub truncate: bool,
    /// A session as old as this is continued over a new connection; 0 = never.
    #[serde(default = "defaults::realtime_minutes")]
    pub reconnect_minutes: u64,
    /// PEM file of a private certification authority, trusted beside the public ones.
    #[serde(default)]
    pub ca: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyField {
    /// `Authorization: Bearer …`
    #[default]
    Authorization,
    /// `api-key: …`, as Azure wants it.
    ApiKey,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RealtimeDialect {
    #[default]
    Ga,
    /// What OpenAI spoke before, and Azure Voice Live and some servers still do.
    Beta,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RealtimeFormat {
    /// G.711 µ-law; what the phone speaks goes through as it is.
    #[default]
    Pcmu,
    Pcma,
    /// Linear, 24,000 Hz.
    Pcm,
    /// Linear, 16,000 Hz.
    #[serde(rename = "pcm-16000")]
    Pcm16000,
}

/// Who decides when the caller has finished.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum TurnDetection {
    /// `"none"`: nobody; the service answers only keys and texts.
    None(NoTurnDetection),
    Settings(toml::Table),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoTurnDetection {
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoiseReduction {
    NearField,
    FarField,
}
