//! What the box says to the service: client events, written where they go out.

use serde_json::{Map, Value, json};

use super::settings::Call;
use crate::ai::engine::CallerFrame;
use crate::ai::openai::history::Role;
use crate::ai::openai::render::{encoded, lay_over};
use crate::config::RealtimeFormat;

/// Named in what the service refuses of it.
pub const START_EVENT: &str = "trunkline-start";
/// Octets of what was said that a session begins with: the service takes 8,192 tokens, and no letter has more than one an
/// octet.
const HISTORY: usize = 16 << 10;
/// Messages of it.
const MESSAGES: usize = 120;
/// Octets of one piece that is appended: the service takes 500 tokens.
const PIECE: usize = 1_200;

/// `session.start` with everything that the call asks for, and what was said before.
pub fn start<'a>(call: &Call, said: impl DoubleEndedIterator<Item = (Role, &'a str)>) -> Value {
    let format = match call.format {
        RealtimeFormat::Pcmu => json!({ "type": "audio/pcmu", "rate": 8_000 }),
        RealtimeFormat::Pcma => json!({ "type": "audio/pcma", "rate": 8_000 }),
        RealtimeFormat::Pcm => json!({ "type": "audio/pcm", "rate": 24_000 }),
        RealtimeFormat::Pcm16000 => json!({ "type": "audio/pcm", "rate": 16_000 }),
    };
    let mut audio = Map::from_iter([("format".to_owned(), format)]);
    if let Some(voice) = &call.voice {
        audio.insert("output".into(), json!({ "voice": voice }));
    }
    let mut session = json!({ "model": call.model, "instructions": instructions(call), "audio": audio, "delegation": delegation(call) });
    let input = history(said);
    if !input.is_empty() {
        session["input"] = input.into();
    }
    if let Some(overlay) = &call.overlay {
        lay_over(&mut session, overlay);
    }
    json!({ "type": "session.start", "event_id": START_EVENT, "session": session })
}

/// For the model that speaks.
fn instructions(call: &Call) -> String {
    let mut text = format!("{}\n\nYou are speaking on the telephone.", call.instructions);
    if !call.language.is_empty() {
        text.push_str(&format!(" Language of the call (BCP 47): {}.", call.language));
    }
    if call.backend.is_some() {
        text.push_str(
            " To hang up, to press keys of the telephone, to connect the caller to a person, or to look something up, \
             delegate the task. Say goodbye before you delegate the end of the call.",
        );
    }
    text
}

/// Who has the tools.
fn delegation(call: &Call) -> Value {
    let Some(model) = &call.backend else { return json!({ "type": "client" }) };
    let tools: Vec<Value> = call
        .declared
        .iter()
        .map(|tool| {
            let (name, description, parameters) = (&tool.name, &tool.description, &tool.parameters);
            json!({ "type": "function", "name": name, "description": description, "parameters": parameters })
        })
        .collect();
    let responses = json!({ "model": model, "instructions": backend(call), "tools": tools, "tool_choice": "auto" });
    json!({ "type": "responses", "responses": responses })
}

/// For the model that does the work.
fn backend(call: &Call) -> String {
    format!(
        "You do what a voice agent on the telephone delegates to you. Use your tools, and answer in one or two short \
         sentences that can be spoken. The agent's instructions:\n\n{}",
        call.instructions
    )
}

/// The newest of it, as much as the service takes.
fn history<'a>(said: impl DoubleEndedIterator<Item = (Role, &'a str)>) -> Vec<Value> {
    let mut octets = 0;
    let newest = said.rev().take(MESSAGES).take_while(|(_, text)| {
        octets += text.len();
        octets <= HISTORY
    });
    let mut messages: Vec<Value> = newest
        .map(|(role, text)| {
            let (role, kind) = match role {
                Role::Caller => ("user", "input_text"),
                Role::Agent => ("assistant", "output_text"),
                Role::Note => ("developer", "input_text"),
            };
            json!({ "type": "message", "role": role, "content": [{ "type": kind, "text": text }] })
        })
        .collect();
    messages.reverse();
    messages
}

/// How something is appended to the conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// The agent is to say something about it.
    Commentary,
    /// The agent only knows of it.
    Thinking,
    Instructions,
}

/// `text` in pieces that the service takes; `delegation`: the work that it belongs to.
pub fn append(manner: Manner, text: &str, delegation: Option<&str>) -> Vec<Value> {
    let kind = match manner {
        Manner::Commentary => "session.commentary.append",
        Manner::Thinking => "session.thinking.append",
        Manner::Instructions => "session.instructions.append",
    };
    pieces(text).map(|piece| json!({ "type": kind, "delegation_id": delegation, "content": piece })).collect()
}

fn pieces(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        text = text.trim();
        let end = if text.len() <= PIECE {
            text.len()
        } else {
            let most = text.floor_char_boundary(PIECE);
            text[..most].rfind(char::is_whitespace).filter(|end| *end > 0).unwrap_or(most)
        };
        let piece = &text[..end];
        text = &text[end..];
        (!piece.is_empty()).then_some(piece)
    })
}

/// New instructions for the model that does the work.
pub fn update(call: &Call) -> Option<Value> {
    call.backend.as_ref()?;
    let delegation = json!({ "type": "responses", "responses": { "instructions": backend(call) } });
    Some(json!({ "type": "session.update", "session": { "delegation": delegation } }))
}

pub fn tool_output(call: &str, output: &Value) -> Value {
    let output = match output {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    json!({ "type": "response.item.create",
            "item": { "type": "function_call_output", "call_id": call, "output": output } })
}

/// The model that does the work goes on.
pub fn go_on() -> Value {
    json!({ "type": "response.create" })
}

pub fn mute(muted: bool) -> Value {
    json!({ "type": if muted { "session.input_audio.mute" } else { "session.input_audio.unmute" } })
}

pub fn close() -> Value {
    json!({ "type": "session.close" })
}

/// `session.input_audio.append`; the samples are encoded where they go out.
pub fn audio(heard: CallerFrame<'_>, out: &mut Vec<u8>) {
    encoded("session.input_audio.append", heard, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_go_in_pieces_that_end_between_words() {
        let text = "wörter sind lang ".repeat(200);
        let parts: Vec<&str> = pieces(&text).collect();
        assert!(parts.len() > 2 && parts.iter().all(|part| part.len() <= PIECE));
        assert_eq!(parts.join(" "), text.trim());
        let unbroken = "ü".repeat(2_000);
        assert_eq!(pieces(&unbroken).collect::<String>(), unbroken);
        assert_eq!(pieces(" \n ").count(), 0);
    }

    #[test]
    fn of_a_long_conversation_the_newest_is_told() {
        let said: Vec<(Role, String)> = (0..400).map(|n| (Role::Caller, format!("{n} {}", "x".repeat(100)))).collect();
        let told = history(said.iter().map(|(role, text)| (*role, text.as_str())));
        assert_eq!(told.len(), MESSAGES);
        assert!(told[119]["content"][0]["text"].as_str().is_some_and(|text| text.starts_with("399 ")));
        let long = [(Role::Agent, "a".repeat(HISTORY)), (Role::Note, "b".repeat(HISTORY))];
        let told = history(long.iter().map(|(role, text)| (*role, text.as_str())));
        assert_eq!((told.len(), &told[0]["role"]), (1, &json!("developer")));
    }
}
