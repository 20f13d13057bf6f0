//! What goes over the wire to an OpenAI-compatible `POST /v1/chat/completions` and what comes back.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::super::engine::Usage;
use crate::ai::tools::Tool;

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "role", rename_all = "lowercase")]
pub(in crate::ai) enum Message {
    System {
        content: String,
    },
    User {
        content: String,
    },
    Assistant {
        /// `null` only beside calls.
        content: Option<String>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<ToolCall>,
    },
    Tool {
        tool_call_id: String,
        content: String,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(in crate::ai) struct ToolCall {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    function: Function,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Function {
    name: String,
    /// JSON in a text; always an object: templates of models read into it.
    arguments: String,
}

impl ToolCall {
    pub(super) fn new(id: &str, name: &str, arguments: &Value) -> ToolCall {
        let function = Function { name: name.to_owned(), arguments: arguments.to_string() };
        ToolCall { id: id.to_owned(), kind: "function", function }
    }
}

/// `tools` of a request.
pub(super) fn declared(tools: &[Tool]) -> Vec<Value> {
    let function = |tool: &Tool| {
        let (name, description, parameters) = (&tool.name, &tool.description, &tool.parameters);
        json!({ "type": "function",
                "function": { "name": name, "description": description, "parameters": parameters } })
    };
    tools.iter().map(function).collect()
}

#[derive(Serialize)]
pub(super) struct Request<'a> {
    pub(super) model: &'a str,
    pub(super) messages: &'a [Message],
    pub(super) stream: bool,
    pub(super) stream_options: StreamOptions,
    #[serde(skip_serializing_if = "<[Value]>::is_empty")]
    pub(super) tools: &'a [Value],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tool_choice: Option<&'static str>,
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
    error: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Choice {
    #[serde(default, alias = "message")]
    delta: Option<Delta>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Delta {
    #[serde(default)]
    pub(super) content: Option<String>,
    #[serde(default)]
    pub(super) tool_calls: Option<Vec<CallDelta>>,
}

/// A piece of a call, or all of it.
#[derive(Debug, Default, Deserialize)]
pub(super) struct CallDelta {
    #[serde(default)]
    pub(super) index: Option<u64>,
    #[serde(default)]
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) function: Option<FunctionDelta>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct FunctionDelta {
    #[serde(default)]
    pub(super) name: Option<String>,
    /// A piece of JSON in a text; some servers send the object itself.
    #[serde(default)]
    pub(super) arguments: Value,
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

    pub(super) fn delta(self) -> Delta {
        self.choices.into_iter().next().and_then(|choice| choice.delta).unwrap_or_default()
    }
}
