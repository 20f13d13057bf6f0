//! Numbers that the box answers, and stored prompts.

use serde::Deserialize;

use super::defaults;

/// A number that the box answers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NumberConfig {
    pub name: String,
    /// DID (`+4930…`) or short number (`1234`).
    pub number: String,
    #[serde(default)]
    pub mode: NumberMode,
    /// Instructions, or the slug of a `[[prompt]]`; for mode `tts` the text to speak. Empty where `agent` stands.
    #[serde(default)]
    pub system_prompt: String,
    /// Who takes its calls, in place of `system_prompt`.
    #[serde(default)]
    pub agent: Option<String>,
    #[serde(default)]
    pub voice: Option<String>,
    #[serde(default)]
    pub language: Option<String>,
    #[serde(default)]
    pub visibility: Visibility,
    #[serde(default = "defaults::yes")]
    pub save_transcripts: bool,
    #[serde(default = "defaults::yes")]
    pub record_calls: bool,
    #[serde(default = "defaults::max_duration")]
    pub max_duration_seconds: u32,
    /// Receives the transcript of each call.
    #[serde(default)]
    pub email: Option<String>,
    /// The person that a caller may ask for; dialled by the rules of `[dial]`.
    #[serde(default)]
    pub transfer_to: Option<String>,
    /// Announce the call to that person first.
    #[serde(default)]
    pub transfer_whisper: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NumberMode {
    #[default]
    LiveVoiceAi,
    Tts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Visibility {
    Public,
    #[default]
    SignedIn,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromptConfig {
    /// `^[a-z0-9][a-z0-9_-]{0,63}$`
    pub slug: String,
    pub text: String,
}
