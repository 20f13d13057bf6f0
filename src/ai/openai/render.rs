//! What the box says to the service: client events, written where they go out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::history::Role;
use super::settings::Call;
use crate::ai::engine::CallerFrame;
use crate::config::{NoiseReduction, RealtimeDialect, RealtimeFormat};

/// Named in what the service refuses of it.
pub const SESSION_EVENT: &str = "trunkline-session";
/// Likewise, of a response that was asked for.
pub const RESPONSE_EVENT: &str = "trunkline-response";
/// Samples that are written at once: a multiple of three octets.
const SAMPLES: usize = 480;

/// `session.update` with everything that the call asks for.
pub fn session(call: &Call) -> Value {
    let mut session = match call.dialect {
        RealtimeDialect::Ga => ga(call),
        RealtimeDialect::Beta => beta(call),
    };
    let tools: Vec<Value> = call
        .declared
        .iter()
        .map(|tool| {
            let (name, description, parameters) = (&tool.name, &tool.description, &tool.parameters);
            json!({ "type": "function", "name": name, "description": description, "parameters": parameters })
        })
        .collect();
    session.insert("instructions".into(), call.instructions.clone().into());
    session.insert("tools".into(), tools.into());
    session.insert("tool_choice".into(), "auto".into());
    let mut session = Value::Object(session);
    if let Some(overlay) = &call.overlay {
        lay_over(&mut session, overlay);
    }
    json!({ "type": "session.update", "event_id": SESSION_EVENT, "session": session })
}

fn ga(call: &Call) -> Map<String, Value> {
    let format = |format| match format {
        RealtimeFormat::Pcmu => json!({ "type": "audio/pcmu" }),
        RealtimeFormat::Pcma => json!({ "type": "audio/pcma" }),
        RealtimeFormat::Pcm => json!({ "type": "audio/pcm", "rate": 24_000 }),
        RealtimeFormat::Pcm16000 => json!({ "type": "audio/pcm", "rate": 16_000 }),
    };
    let mut input = Map::from_iter([("format".to_owned(), format(call.input))]);
    if let Some(transcription) = transcription(call) {
        input.insert("transcription".into(), transcription);
    }
    if let Some(reduction) = noise_reduction(call) {
        input.insert("noise_reduction".into(), reduction);
    }
    if let Some(detection) = &call.turn_detection {
        input.insert("turn_detection".into(), detection.clone());
    }
    let mut output = Map::from_iter([("format".to_owned(), format(call.output))]);
    if let Some(voice) = &call.voice {
        output.insert("voice".into(), voice.clone().into());
    }
    Map::from_iter([
        ("type".to_owned(), "realtime".into()),
        ("output_modalities".to_owned(), json!(["audio"])),
        ("audio".to_owned(), json!({ "input": input, "output": output })),
    ])
}

fn beta(call: &Call) -> Map<String, Value> {
    let format = |format, wide: &'static str| match format {
        RealtimeFormat::Pcmu => "g711_ulaw",
        RealtimeFormat::Pcma => "g711_alaw",
        RealtimeFormat::Pcm => "pcm16",
        RealtimeFormat::Pcm16000 => wide,
    };
    let mut session = Map::from_iter([
        ("modalities".to_owned(), json!(["audio", "text"])),
        ("input_audio_format".to_owned(), format(call.input, "pcm16").into()),
        ("output_audio_format".to_owned(), format(call.output, "pcm16_16000hz").into()),
    ]);
    if call.input == RealtimeFormat::Pcm16000 {
        // Only Azure Voice Live has other rates.
        session.insert("input_audio_sampling_rate".into(), 16_000.into());
    }
    if let Some(transcription) = transcription(call) {
        session.insert("input_audio_transcription".into(), transcription);
    }
    if let Some(reduction) = noise_reduction(call) {
        session.insert("input_audio_noise_reduction".into(), reduction);
    }
    if let Some(detection) = &call.turn_detection {
        session.insert("turn_detection".into(), detection.clone());
    }
    if let Some(voice) = &call.voice {
        session.insert("voice".into(), voice.clone().into());
    }
    session
}

fn transcription(call: &Call) -> Option<Value> {
    let model = call.transcription.as_ref()?;
    let mut transcription = json!({ "model": model });
    if call.language.len() == 2 {
        transcription["language"] = call.language.clone().into();
    }
    Some(transcription)
}

fn noise_reduction(call: &Call) -> Option<Value> {
    call.noise_reduction.map(|reduction| match reduction {
        NoiseReduction::NearField => json!({ "type": "near_field" }),
        NoiseReduction::FarField => json!({ "type": "far_field" }),
    })
}

/// Tables are merged, everything else is replaced.
pub fn lay_over(under: &mut Value, over: &Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                lay_over(under.entry(key).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over.clone(),
    }
}

/// New instructions for a session that is set up.
pub fn instructions(call: &Call) -> Value {
    let mut session = json!({ "instructions": call.instructions });
    if call.dialect == RealtimeDialect::Ga {
        session["type"] = "realtime".into();
    }
    json!({ "type": "session.update", "session": session })
}

/// `instructions`: for this answer alone, in place of the session's.
pub fn response(instructions: Option<&str>) -> Value {
    match instructions {
        Some(text) => {
            json!({ "type": "response.create", "event_id": RESPONSE_EVENT, "response": { "instructions": text } })
        }
        None => json!({ "type": "response.create", "event_id": RESPONSE_EVENT }),
    }
}

/// An answer that is `text`, and calls no tool.
pub fn sentence(text: &str) -> Value {
    let instructions = format!("Say to the caller just this, word for word, and nothing else: {text}");
    let response = json!({ "instructions": instructions, "tool_choice": "none" });
    json!({ "type": "response.create", "event_id": RESPONSE_EVENT, "response": response })
}

pub fn cancel() -> Value {
    json!({ "type": "response.cancel" })
}

pub fn commit() -> Value {
    json!({ "type": "input_audio_buffer.commit" })
}

pub fn clear() -> Value {
    json!({ "type": "input_audio_buffer.clear" })
}

/// Something that was said, as an item of the conversation.
pub fn message(role: Role, text: &str, dialect: RealtimeDialect) -> Value {
    let kind = match (role, dialect) {
        (Role::Agent, RealtimeDialect::Ga) => "output_text",
        (Role::Agent, RealtimeDialect::Beta) => "text",
        _ => "input_text",
    };
    let content = json!([{ "type": kind, "text": text }]);
    json!({ "type": "conversation.item.create",
            "item": { "type": "message", "role": role.word(), "content": content } })
}

pub fn tool_output(call: &str, output: &Value) -> Value {
    let output = match output {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    json!({ "type": "conversation.item.create",
            "item": { "type": "function_call_output", "call_id": call, "output": output } })
}

pub fn truncate(item: &str, content: u64, heard_ms: u64) -> Value {
    json!({ "type": "conversation.item.truncate", "item_id": item, "content_index": content, "audio_end_ms": heard_ms })
}

/// `input_audio_buffer.append` of octets that are as the service wants them.
pub fn append_octets(octets: &[u8], out: &mut Vec<u8>) {
    append(CallerFrame::Ulaw(octets), out);
}

/// `input_audio_buffer.append`; the samples are encoded where they go out.
pub fn append(heard: CallerFrame<'_>, out: &mut Vec<u8>) {
    encoded("input_audio_buffer.append", heard, out);
}

/// An event of type `kind` with the sound as `audio`.
pub fn encoded(kind: &str, heard: CallerFrame<'_>, out: &mut Vec<u8>) {
    for piece in [r#"{"type":""#, kind, r#"","audio":""#] {
        out.extend_from_slice(piece.as_bytes());
    }
    match heard {
        CallerFrame::Ulaw(octets) | CallerFrame::Alaw(octets) => encode(octets, out),
        CallerFrame::Linear { pcm, .. } => {
            let mut octets = [0; 2 * SAMPLES];
            for pcm in pcm.chunks(SAMPLES) {
                for (pair, sample) in octets.as_chunks_mut::<2>().0.iter_mut().zip(pcm) {
                    *pair = sample.to_le_bytes();
                }
                encode(&octets[..2 * pcm.len()], out);
            }
        }
    }
    out.extend_from_slice(br#""}"#);
}

fn encode(octets: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + octets.len().div_ceil(3) * 4, 0);
    // There is room for it.
    let _ = STANDARD.encode_slice(octets, &mut out[start..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_its_octets_in_base64_and_nothing_else() {
        let written = |heard| {
            let mut out = b"x".to_vec();
            append(heard, &mut out);
            let event: Value = serde_json::from_slice(&out[1..]).expect("JSON");
            assert_eq!(
                (event["type"].as_str(), event.as_object().map(Map::len)),
                (Some("input_audio_buffer.append"), Some(2))
            );
            STANDARD.decode(event["audio"].as_str().expect("text")).expect("base64")
        };
        let octets: Vec<u8> = (0..=255).collect();
        assert_eq!(written(CallerFrame::Ulaw(&octets)), octets);
        assert_eq!(written(CallerFrame::Alaw(&octets[..7])), &octets[..7]);
        let pcm: Vec<i16> = (0..1_001).map(|n: i16| n.wrapping_mul(77)).collect();
        let octets: Vec<u8> = pcm.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        assert_eq!(written(CallerFrame::Linear { pcm: &pcm, rate: 24_000 }), octets);
        assert!(written(CallerFrame::Ulaw(&[])).is_empty());
    }

    #[test]
    fn an_overlay_merges_tables_and_replaces_the_rest() {
        let mut under = json!({ "a": { "b": 1, "c": [1] }, "d": "x" });
        lay_over(&mut under, &json!({ "a": { "c": [2], "e": 3 }, "d": { "f": 4 } }));
        assert_eq!(under, json!({ "a": { "b": 1, "c": [2], "e": 3 }, "d": { "f": 4 } }));
    }
}
