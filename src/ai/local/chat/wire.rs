//! What goes over the wire to an OpenAI-compatible `POST /v1/chat/completions` and what comes back.

use serde::{Deserialize, Serialize};

use super::super::super::engine::Usage;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::ai) enum Role {
    System,
    User,
    Assistant,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(in crate::ai) struct Message {
    pub(in crate::ai) role: Role,
    pub(in crate::ai) content: String,
}

#[derive(Serialize)]
pub(super) struct Request<'a> {
    pub(super) model: &'a str,
    pub(super) messages: &'a [Message],
    pub(super) stream: bool,
    pub(super) stream_options: StreamOptions,
}

#[derive(Serialize)]
pub(super) struct StreamOptions {
    pub(super) include_usage: bool,
}

/// A chunk of a stream, or a whole answer of a server that does not stream.
#[derive(Debug, Deserialize)]
pub(super) struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Tokens>,
    #[serde(default)]
    error: Option<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
struct Choice {
    #[serde(default, alias = "message")]
    delta: Option<Delta>,
}

#[derive(Debug, Deserialize)]
struct Delta {
    #[serde(default)]
    content: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Tokens {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    total_tokens: u64,
}

impl Chunk {
    pub(super) fn is_error(&self) -> bool {
        self.error.as_ref().is_some_and(|error| !error.is_null())
    }

    pub(super) fn usage(&self) -> Option<Usage> {
        self.usage.as_ref().map(|usage| Usage { prompt_tokens: usage.prompt_tokens, total_tokens: usage.total_tokens })
    }

    pub(super) fn text(self) -> Option<String> {
        self.choices.into_iter().next()?.delta?.content.filter(|text| !text.is_empty())
    }
}
