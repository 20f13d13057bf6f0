//! The voice AI that calls are connected to.

use std::path::PathBuf;

use serde::Deserialize;

use super::gemini::GeminiConfig;
use super::openai::OpenAiConfig;
use super::openai_live::OpenAiLiveConfig;
use super::turns::TurnsConfig;
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
    pub turns: TurnsConfig,
    /// What the box's own voice says to a caller whose voice AI has failed; silence when absent.
    pub fault_sentence: Option<String>,
    /// Such a caller is then connected to the person of the number, where it has one.
    pub fault_transfer: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EngineKind {
    #[default]
    Local,
    /// Sends the caller's audio back; for measurements.
    Echo,
    /// A bot behind a WebSocket that speaks Twilio's Media Streams, or what is like it.
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
    /// Whose messages the bot understands.
    #[serde(default)]
    pub dialect: MediaStreamDialect,
    /// What the bot takes for the account; with `auth_token` also the user of the endpoint that hangs up.
    #[serde(default)]
    pub account_sid: Option<String>,
    /// Signs the connection to the bot, and lets the bot hang up.
    #[serde(default)]
    pub auth_token: Option<Secret>,
    /// What follows when the bot closes.
    #[serde(default)]
    pub on_end: OnEnd,
}

impl MediaStreamConfig {
    /// A bot that speaks as Twilio's service does, and nothing else.
    pub fn at(url: impl Into<String>) -> MediaStreamConfig {
        MediaStreamConfig {
            url: url.into(),
            authorization: None,
            ca: None,
            dialect: MediaStreamDialect::default(),
            account_sid: None,
            auth_token: None,
            on_end: OnEnd::default(),
        }
    }
}

/// Whose messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MediaStreamDialect {
    #[default]
    Twilio,
    Telnyx,
    Plivo,
}

/// What follows when a bot closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnEnd {
    #[default]
    HangUp,
    /// The person of the number, where it has one; else as above.
    Transfer,
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
            turns: TurnsConfig::default(),
            fault_sentence: None,
            fault_transfer: false,
        }
    }
}
