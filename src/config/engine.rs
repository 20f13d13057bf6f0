//! The voice AI that calls are connected to.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::{Secret, defaults};

/// The voice AI that calls are connected to.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EngineConfig {
    pub kind: EngineKind,
    /// Model name shown in records, e.g. `models/local-script`.
    pub model: String,
    /// An OpenAI-compatible `/v1/chat/completions` endpoint as the brain; the built-in script when absent.
    pub chat: Option<ChatConfig>,
    /// The customer's own bot; what `kind` `media-stream` connects to.
    pub media_stream: Option<MediaStreamConfig>,
    /// A service that speaks OpenAI's Realtime protocol; what `kind` `openai` connects to.
    pub openai: Option<OpenAiConfig>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EngineKind {
    #[default]
    Local,
    /// Sends the caller's audio back; for measurements.
    Echo,
    /// A bot behind a WebSocket that speaks Twilio's Media Streams.
    MediaStream,
    /// OpenAI Realtime, and whatever speaks its protocol.
    #[serde(rename = "openai")]
    OpenAi,
}

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

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MediaStreamConfig {
    /// `ws://` or `wss://`.
    pub url: String,
    /// Value of the request's `Authorization` field, e.g. `Bearer …`.
    #[serde(default)]
    pub authorization: Option<Secret>,
    /// PEM file of a private certification authority, trusted beside the public ones.
    #[serde(default)]
    pub ca: Option<PathBuf>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatConfig {
    /// Base URL up to and without `/chat/completions`, e.g. `http://192.168.1.20:11434/v1`.
    pub url: String,
    pub model: String,
    #[serde(default)]
    pub api_key: Option<Secret>,
    /// PEM file of a private certification authority, trusted beside the public ones.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    #[serde(default = "defaults::chat_timeout")]
    pub timeout_seconds: u64,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            kind: EngineKind::Local,
            model: "models/local-script".into(),
            chat: None,
            media_stream: None,
            openai: None,
        }
    }
}
