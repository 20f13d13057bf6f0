//! Gemini Live, with a key of the Gemini API or by an account of Vertex AI.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Secret, defaults};

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GeminiConfig {
    /// With or without `models/`; on Vertex AI also a whole resource name.
    pub model: String,
    /// Key of the Gemini API.
    #[serde(default)]
    pub api_key: Option<Secret>,
    /// An account of Vertex AI in its place.
    #[serde(default)]
    pub vertex: Option<VertexConfig>,
    /// Version of the API; `v1beta`, on Vertex AI `v1beta1`, when absent.
    #[serde(default)]
    pub version: Option<String>,
    /// The whole address, in place of the service's own.
    #[serde(default)]
    pub url: Option<String>,
    /// PEM file of a private certification authority, trusted beside the public ones.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// In place of the voice that a call has.
    #[serde(default)]
    pub voice: Option<String>,
    /// A language tag, or `call`: that of the call. Models with native sound find it out themselves and may refuse one.
    #[serde(default)]
    pub language: Option<String>,
    /// The words of both sides come as text.
    #[serde(default = "defaults::yes")]
    pub transcription: bool,
    /// Sound of the caller in one message, milliseconds.
    #[serde(default = "defaults::gemini_audio_ms")]
    pub audio_ms: u32,
    /// What the model is told when the phone is answered.
    #[serde(default = "defaults::gemini_greeting")]
    pub greeting: String,
    #[serde(default)]
    pub greet_by: GreetBy,
    /// A call outlives its connection.
    #[serde(default = "defaults::yes")]
    pub resumption: bool,
    /// A long call loses its beginning instead of its connection.
    #[serde(default = "defaults::yes")]
    pub compression: bool,
    /// Tokens at which that happens, and that are kept; the service's own choice when absent.
    #[serde(default)]
    pub compression_trigger: Option<u32>,
    #[serde(default)]
    pub compression_target: Option<u32>,
    #[serde(default)]
    pub activity: Option<ActivityConfig>,
    /// Laid over the setup message as it is.
    #[serde(default)]
    pub setup: Map<String, Value>,
}

/// How the model is told to speak first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GreetBy {
    /// As the model takes it: `input` for Gemini 3, `content` for others.
    #[default]
    Auto,
    /// As a turn of the conversation (`clientContent`).
    Content,
    /// As text beside the sound (`realtimeInput.text`).
    Input,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VertexConfig {
    pub project: String,
    pub location: String,
    /// An OAuth token, without `Bearer`.
    #[serde(default)]
    pub token: Option<Secret>,
    /// A file that somebody keeps filled with one; read for every connection.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// The project that pays, when it is another.
    #[serde(default)]
    pub quota_project: Option<String>,
}

/// How the service finds out that the caller speaks. What is absent is left to it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ActivityConfig {
    pub start: Option<Sensitivity>,
    pub end: Option<Sensitivity>,
    pub prefix_padding_ms: Option<u32>,
    pub silence_ms: Option<u32>,
    /// false: the caller cannot interrupt.
    pub interrupts: Option<bool>,
    pub coverage: Option<Coverage>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sensitivity {
    High,
    Low,
}

/// What belongs to a turn of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Coverage {
    Activity,
    AllInput,
}
