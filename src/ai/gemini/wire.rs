//! What is said to the service, written straight into the frame.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// Samples that are encoded at once: their octets are a multiple of three.
const CHUNK: usize = 192;

/// `realtimeInput.audio`: PCM at its own rate.
pub fn audio(pcm: &[i16], rate: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"realtimeInput\":{\"audio\":{\"mimeType\":\"audio/pcm;rate=");
    // Writing to memory does not fail.
    let _ = write!(out, "{rate}");
    out.extend_from_slice(b"\",\"data\":\"");
    for chunk in pcm.chunks(CHUNK) {
        let mut octets = [0; 2 * CHUNK];
        for (octets, sample) in octets.chunks_exact_mut(2).zip(chunk) {
            octets.copy_from_slice(&sample.to_le_bytes());
        }
        let start = out.len();
        out.resize(start + (2 * chunk.len()).div_ceil(3) * 4, 0);
        // There is room for it.
        let _ = STANDARD.encode_slice(&octets[..2 * chunk.len()], &mut out[start..]);
    }
    out.extend_from_slice(b"\"}}}");
}

/// No more sound for a while.
pub fn stream_end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"realtimeInput\":{\"audioStreamEnd\":true}}");
}

/// Text beside the sound.
pub fn text(text: &str, out: &mut Vec<u8>) {
    write(&json!({ "realtimeInput": { "text": text } }), out);
}

/// Turns of the conversation: `user` or `model`, and the words.
pub fn turns<'a>(turns: impl Iterator<Item = (&'a str, &'a str)>, complete: bool, out: &mut Vec<u8>) {
    let turns: Vec<Value> = turns.map(|(role, text)| json!({ "role": role, "parts": [{ "text": text }] })).collect();
    write(&json!({ "clientContent": { "turns": turns, "turnComplete": complete } }), out);
}

/// The result of a tool; `id`: as the call had it. `scheduling`: only for models that go on while it works.
pub fn tool_result(id: Option<&str>, name: &str, output: &Value, scheduling: Option<&str>, out: &mut Vec<u8>) {
    let response = match output.get("error") {
        Some(error) => json!({ "error": error }),
        None => json!({ "output": output }),
    };
    let mut answer = json!({ "name": name, "response": response });
    if let Some(id) = id {
        answer["id"] = json!(id);
    }
    if let Some(scheduling) = scheduling {
        answer["scheduling"] = json!(scheduling);
    }
    write(&json!({ "toolResponse": { "functionResponses": [answer] } }), out);
}

pub fn instructions(text: &str, out: &mut Vec<u8>) {
    write(&json!({ "contextUpdate": { "systemInstruction": { "parts": [{ "text": text }] } } }), out);
}

pub fn write(message: &Value, out: &mut Vec<u8>) {
    // As above, and the keys are texts.
    let _ = serde_json::to_writer(out, message);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> Value {
        let mut out = b"before".to_vec();
        write(&mut out);
        assert!(out.starts_with(b"before"));
        serde_json::from_slice(&out[6..]).expect("JSON")
    }

    #[test]
    fn sound_of_any_length_is_one_text_of_base64() {
        for length in [0, 1, 2, 159, 160, 191, 192, 193, 320, 1_600] {
            let pcm: Vec<i16> = (0..length).map(|n| (n * 211 % 65_536 - 32_768) as i16).collect();
            for rate in [8_000, 16_000] {
                let message = written(|out| audio(&pcm, rate, out));
                let audio = &message["realtimeInput"]["audio"];
                assert_eq!(audio["mimeType"], format!("audio/pcm;rate={rate}"));
                let octets = STANDARD.decode(audio["data"].as_str().expect("text")).expect("base64");
                let back: Vec<i16> = octets.chunks(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
                assert_eq!(back, pcm, "{length}");
            }
        }
    }

    #[test]
    fn each_message_has_the_form_that_the_service_describes() {
        assert_eq!(written(stream_end), json!({"realtimeInput": {"audioStreamEnd": true}}));
        assert_eq!(written(|out| text("a\"b", out)), json!({"realtimeInput": {"text": "a\"b"}}));
        assert_eq!(
            written(|out| turns([("user", "hi"), ("model", "hello")].into_iter(), true, out)),
            json!({"clientContent": {"turnComplete": true, "turns": [
                {"role": "user", "parts": [{"text": "hi"}]}, {"role": "model", "parts": [{"text": "hello"}]}]}})
        );
        assert_eq!(
            written(|out| tool_result(Some("fc-1"), "x", &json!({"ok": true}), None, out)),
            json!({"toolResponse": {"functionResponses": [
                {"id": "fc-1", "name": "x", "response": {"output": {"ok": true}}}]}})
        );
        let failed = written(|out| tool_result(None, "x", &json!({"error": "no"}), Some("SILENT"), out));
        let answer = &failed["toolResponse"]["functionResponses"][0];
        assert_eq!(answer, &json!({"name": "x", "response": {"error": "no"}, "scheduling": "SILENT"}));
        assert_eq!(
            written(|out| instructions("be kind", out)),
            json!({"contextUpdate": {"systemInstruction": {"parts": [{"text": "be kind"}]}}})
        );
    }
}
