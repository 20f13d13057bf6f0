//! The voice AI that calls are connected to.

use std::path::PathBuf;

use serde::Deserialize;

use super::gemini::GeminiConfig;
use super::openai::OpenAiConfig;
use super::openai_live::OpenAiLiveConfig;
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
    /// OpenAI Live; what `kind` `openai-live` connects to.
    pub openai_live: Option<OpenAiLiveConfig>,
    /// Gemini Live; what `kind` `gemini` connects to.
    pub gemini: Option<GeminiConfig>,
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
    /// OpenAI Live.
    #[serde(rename = "openai-live")]
    OpenAiLive,
    /// Gemini Live.
    Gemini,
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
    /// The endpoint is told of the agent's tools; one that takes none is found out without this.
    #[serde(default = "defaults::yes")]
    pub tools: bool,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            kind: EngineKind::Local,
            model: "models/local-script".into(),
            chat: None,
            media_stream: None,
            openai: None,
            openai_live: None,
            gemini: None,
        }
    }
}
