//! Whole calls to the realtime services: a phone, the built program, and a service of another make on this machine.

#![allow(clippy::disallowed_methods)] // real time on real sockets

use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Message, WebSocket};
use trunkline::media::Codec;

use crate::support::beats::{EVERY, beats};
use crate::support::rtp_phone::{Conversation, converse};
use crate::support::{Setup, take_turn};

const NUMBER: &str = "1234";
const SECONDS: usize = 5;
/// What the service says: a second of one loud code of µ-law, which no beat has.
const VOICE: u8 = 0xA0;
const GREETING: &str = "Good day, this is the front desk.";

type Line = WebSocket<TcpStream>;

fn says(line: &mut Line, message: &Value) {
    line.send(Message::text(message.to_string())).expect("sent");
}

/// Serves one connection; `answers` gets each message. Ends with the connection.
fn service(mut answers: impl FnMut(&mut Line, &Value) + Send + 'static) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("ws://{}/live", listener.local_addr().expect("bound"));
    let serving = std::thread::spawn(move || {
        let (tcp, _) = listener.accept().expect("a connection");
        let mut line = tokio_tungstenite::tungstenite::accept(tcp).expect("a handshake");
        answers(&mut line, &Value::Null);
        while let Ok(message) = line.read() {
            if message.is_text() || message.is_binary() {
                let message = serde_json::from_slice(&message.into_data()).expect("JSON");
                answers(&mut line, &message);
            }
        }
    });
    (url, serving)
}

fn call(kind: &'static str, section: &str) -> (Conversation, String) {
    let number = format!(
        "\n[[number]]\nname = \"desk\"\nnumber = \"{NUMBER}\"\nvisibility = \"public\"\nsystem_prompt = \"Be kind.\"\n"
    );
    let mut setup = Setup::new().engine(kind).more(section);
    setup.log_level = "debug";
    let gateway = setup.trunk("pbx", 5_060, "sources = [\"127.0.0.0/8\"]").more(&number).start();
    let conversation = converse(gateway.setup.sip, NUMBER, Codec::Pcmu, &beats(SECONDS * 50));
    (conversation, gateway.log())
}

/// Packets that hold nothing but the service's voice.
fn voiced(conversation: &Conversation) -> usize {
    conversation.got.iter().filter(|got| got.payload.iter().all(|octet| *octet == VOICE)).count()
}

#[test]
fn a_caller_and_openai_realtime_hear_each_other_octet_for_octet() {
    let _turn = take_turn();
    let (heard, beats_heard) = std::sync::mpsc::channel();
    let (url, serving) = service(move |line, message| match message["type"].as_str() {
        None => says(line, &json!({ "type": "session.created", "session": { "type": "realtime", "id": "sess_1" } })),
        Some("session.update") => says(line, &json!({ "type": "session.updated", "session": message["session"] })),
        Some("response.create") => {
            let id = json!({ "response_id": "resp_1", "item_id": "item_1", "output_index": 0, "content_index": 0 });
            let of = |kind: &str, more: Value| {
                let mut event = id.clone();
                event["type"] = kind.into();
                event.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
                event
            };
            let response = |status: &str| json!({ "id": "resp_1", "status": status, "output": [] });
            says(line, &json!({ "type": "response.created", "response": response("in_progress") }));
            // A whole second at once, in pieces that are no frames.
            for piece in [VOICE; 8_000].chunks(1_500) {
                says(line, &of("response.output_audio.delta", json!({ "delta": STANDARD.encode(piece) })));
            }
            says(line, &of("response.output_audio_transcript.done", json!({ "transcript": GREETING })));
            says(line, &of("response.output_audio.done", json!({})));
            says(line, &json!({ "type": "response.done", "response": response("completed") }));
        }
        Some("input_audio_buffer.append") => {
            let octets = STANDARD.decode(message["audio"].as_str().expect("sound")).expect("base64");
            let _ = heard.send(octets);
        }
        Some(_) => {}
    });
    let section =
        format!("\n[engine.openai]\nurl = \"{url}\"\nmodel = \"gpt-realtime-2.1\"\napi_key = \"tea for two\"\n");
    let (conversation, log) = call("openai", &section);
    serving.join().expect("the service ends with the call");
    assert!((48..=50).contains(&voiced(&conversation)), "{} packets of the greeting", voiced(&conversation));
    let heard: Vec<Vec<u8>> = beats_heard.try_iter().collect();
    let said: Vec<Vec<u8>> = beats(SECONDS * 50).into_iter().flatten().collect();
    assert!(heard.len() >= said.len() - EVERY, "{} of {} frames", heard.len(), said.len());
    // The first ones may have come before the service was ready.
    let first = said.iter().position(|frame| *frame == heard[0]).expect("a frame of ours");
    assert!(
        heard.iter().zip(said[first..].iter().cycle()).take(100).all(|(heard, said)| heard == said),
        "as it was said"
    );
    assert!(!log.contains("tea for two"), "the key stays out of the log");
}

#[test]
fn a_caller_and_gemini_live_hear_each_other() {
    let _turn = take_turn();
    let (heard, loud_heard) = std::sync::mpsc::channel();
    let mut greeted = false;
    let (url, serving) = service(move |line, message| {
        if message.get("setup").is_some() {
            // The service answers in binary frames.
            line.send(Message::binary(br#"{"setupComplete":{}}"#.to_vec())).expect("sent");
        } else if let Some(audio) = message.pointer("/realtimeInput/audio") {
            let octets = STANDARD.decode(audio["data"].as_str().expect("sound")).expect("base64");
            let loud = octets.chunks_exact(2).filter(|pair| i16::from_le_bytes([pair[0], pair[1]]).abs() > 300).count();
            let _ = heard.send((octets.len(), loud));
        } else if !message.is_null() && !std::mem::replace(&mut greeted, true) {
            let tone: Vec<u8> = (0..24_000)
                .map(|n| ((f64::from(n) * 440.0 / 24_000.0 * std::f64::consts::TAU).sin() * 8_000.0) as i16)
                .flat_map(i16::to_le_bytes)
                .collect();
            let part = json!({ "inlineData": { "mimeType": "audio/pcm;rate=24000", "data": STANDARD.encode(tone) } });
            says(
                line,
                &json!({ "serverContent": { "modelTurn": { "parts": [part] }, "outputTranscription": { "text": GREETING } } }),
            );
            says(line, &json!({ "serverContent": { "generationComplete": true } }));
            says(line, &json!({ "serverContent": { "turnComplete": true } }));
        }
    });
    let section =
        format!("\n[engine.gemini]\nurl = \"{url}\"\nmodel = \"gemini-3.8-live\"\napi_key = \"tea for two\"\n");
    let (conversation, log) = call("gemini", &section);
    serving.join().expect("the service ends with the call");
    // 20 ms of the tone have 160 octets of which most are loud.
    let loud = |payload: &[u8]| payload.iter().filter(|octet| **octet & 0x7F < 0x30).count() > 80;
    let tones = conversation.got.iter().filter(|got| loud(&got.payload)).count();
    assert!((47..=52).contains(&tones), "{tones} packets of the greeting");
    let heard: Vec<(usize, usize)> = loud_heard.try_iter().collect();
    let beats = heard.iter().filter(|(_, loud)| *loud > 150).count();
    assert!(heard.iter().all(|(octets, _)| *octets == 320), "20 ms of 8,000 Hz each");
    assert!(beats >= SECONDS * 50 / EVERY - 3, "{beats} beats");
    assert!(!log.contains("tea for two"), "the key stays out of the log");
}
