//! A whole call with an agent that asks a system of the customer's and then gives the call to another agent: a phone, the
//! built program, a realtime service of another make and that system, all on this machine.

#![allow(clippy::disallowed_methods)] // real time on real sockets

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Message, WebSocket};
use trunkline::media::Codec;

use crate::support::beats::{EVERY, beats};
use crate::support::rtp_phone::converse;
use crate::support::{Setup, take_turn, wait_for};

const NUMBER: &str = "1234";
const SECONDS: usize = 8;
/// What the two agents say: loud codes of µ-law that no beat has.
const VOICES: [u8; 2] = [0xA0, 0xB0];
const GREETING: &str = "Good day, this is the front desk.";
const GOODBYE: &str = "Sales will tell you more.";

type Line = WebSocket<TcpStream>;
type Noted = Arc<Mutex<Vec<Value>>>;

/// The customer's system: notes the body and the key of each request, and answers with `answer`.
fn system(answer: &'static str) -> (String, Noted) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/orders", listener.local_addr().expect("bound"));
    let asked = Noted::default();
    let noted = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
            let (mut length, mut key) = (0, String::new());
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).expect("a head");
                let Some((name, value)) = line.split_once(": ") else {
                    if line.trim().is_empty() { break } else { continue }
                };
                match name.to_ascii_lowercase().as_str() {
                    "content-length" => length = value.trim().parse().expect("a number"),
                    "x-key" => key = value.trim().to_owned(),
                    _ => {}
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).expect("a body");
            let mut body: Value = serde_json::from_slice(&body).expect("JSON");
            body["key"] = key.into();
            noted.lock().expect("no panic").push(body);
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                answer.len()
            );
            stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(answer.as_bytes())).expect("written");
        }
    });
    (url, asked)
}

/// One session with the model, as this side of it plays it.
struct Model {
    line: Line,
    voice: u8,
    answers: u32,
}

impl Model {
    fn says(&mut self, message: &Value) {
        self.line.send(Message::text(message.to_string())).expect("sent");
    }

    /// Half a second of the voice, these words, and then perhaps a tool.
    fn answers(&mut self, words: &str, tool: Option<(&str, Value)>) {
        self.answers += 1;
        let (response, item) = (format!("resp_{}", self.answers), format!("item_{}", self.answers));
        let of = |kind: &str, more: Value| {
            let mut event = json!({ "type": kind, "response_id": response, "item_id": item, "content_index": 0 });
            event.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            event
        };
        let mut events =
            vec![json!({ "type": "response.created", "response": { "id": response, "status": "in_progress" } })];
        if !words.is_empty() {
            events.push(of("response.output_audio.delta", json!({ "delta": STANDARD.encode([self.voice; 4_000]) })));
            events.push(of("response.output_audio_transcript.done", json!({ "transcript": words })));
            events.push(of("response.output_audio.done", json!({})));
        }
        if let Some((name, arguments)) = tool {
            let call = format!("call_{}", self.answers);
            let item =
                json!({ "type": "function_call", "call_id": call, "name": name, "arguments": arguments.to_string() });
            events.push(json!({ "type": "response.output_item.done", "response_id": response, "item": item }));
        }
        events.push(
            json!({ "type": "response.done", "response": { "id": response, "status": "completed", "output": [] } }),
        );
        events.iter().for_each(|event| self.says(event));
    }
}

/// Of each of two sessions.
type OfBoth<T> = Arc<Mutex<[T; 2]>>;

/// Serves two sessions, the second when the call was handed on; everything but sound is noted by session, and of the sound
/// how many loud frames.
fn service() -> (String, OfBoth<Vec<Value>>, OfBoth<usize>, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("ws://{}/live", listener.local_addr().expect("bound"));
    let (told, loud) = (Arc::new(Mutex::new([Vec::new(), Vec::new()])), Arc::new(Mutex::new([0, 0])));
    let (noted, heard) = (told.clone(), loud.clone());
    let serving = std::thread::spawn(move || {
        let sessions: Vec<_> = VOICES
            .into_iter()
            .enumerate()
            .map(|(n, voice)| {
                let (tcp, _) = listener.accept().expect("a connection");
                let (noted, heard) = (noted.clone(), heard.clone());
                std::thread::spawn(move || {
                    let line = tokio_tungstenite::tungstenite::accept(tcp).expect("a handshake");
                    let mut model = Model { line, voice, answers: 0 };
                    model.says(&json!({ "type": "session.created", "session": { "type": "realtime" } }));
                    while let Ok(message) = model.line.read() {
                        if !message.is_text() {
                            continue;
                        }
                        let message: Value = serde_json::from_slice(&message.into_data()).expect("JSON");
                        if message["type"] == "input_audio_buffer.append" {
                            let octets = STANDARD.decode(message["audio"].as_str().expect("sound")).expect("base64");
                            heard.lock().expect("no panic")[n] +=
                                usize::from(octets.iter().all(|octet| *octet != 0xFF));
                            continue;
                        }
                        plays(n, &mut model, &message);
                        noted.lock().expect("no panic")[n].push(message);
                    }
                })
            })
            .collect();
        sessions.into_iter().for_each(|session| session.join().expect("a session ends with its connection"));
    });
    (url, told, loud, serving)
}

/// What the model does about a message in its session `n`.
fn plays(n: usize, model: &mut Model, message: &Value) {
    match (n, message["type"].as_str().expect("a type"), model.answers) {
        (_, "session.update", _) => model.says(&json!({ "type": "session.updated", "session": message["session"] })),
        (0, "response.create", 0) => {
            model.answers(GREETING, Some(("order_status", json!({ "order": "12" }))));
        }
        // The first arguments were wrong.
        (0, "response.create", 1) => model.answers("", Some(("order_status", json!({ "order": "123456" })))),
        (0, "response.create", 2) => {
            let summary = "asks about order 123456";
            model.answers(GOODBYE, Some(("hand_off", json!({ "agent": "sales", "summary": summary }))));
        }
        (1, "response.create", 0) => model.answers("Sales speaking.", None),
        _ => {}
    }
}

const AGENTS: &str = r#"
[[number]]
name = "desk"
number = "1234"
visibility = "public"
agent = "desk"

[[agents]]
name = "desk"
instructions = "Be kind."
voice = "coral"
tools = ["order_status"]
hand_offs = ["sales"]

[[agents]]
name = "sales"
instructions = "Sell."
voice = "ash"
"#;

#[test]
fn an_agent_asks_a_system_and_hands_the_call_to_another_whom_the_caller_goes_on_to_talk_with() {
    let _turn = take_turn();
    let (orders, asked) = system(r#"{"state":"on its way"}"#);
    let (url, told, loud, serving) = service();
    let tool = format!(
        "\n[[tools]]\nname = \"order_status\"\ndescription = \"Looks up an order.\"\nurl = \"{orders}\"\nnetworks = [\"127.0.0.0/8\"]\n\
         headers = {{ X-Key = \"sesame\" }}\n\
         parameters = {{ type = \"object\", properties = {{ order = {{ type = \"string\", pattern = \"^[0-9]{{6}}$\" }} }}, required = [\"order\"] }}\n\
         \n[engine.openai]\nurl = \"{url}\"\nmodel = \"gpt-realtime-2.1\"\napi_key = \"tea for two\"\n"
    );
    let setup = Setup::new().engine("openai").more(AGENTS).more(&tool);
    let gateway = setup.trunk("pbx", 5_060, "sources = [\"127.0.0.0/8\"]").start();
    let conversation = converse(gateway.setup.sip, NUMBER, Codec::Pcmu, &beats(SECONDS * 50));
    serving.join().expect("the sessions end");

    // The system was asked once: what the schema refuses never reaches it.
    let asked = asked.lock().expect("no panic").clone();
    assert_eq!(asked.len(), 1, "{asked:#?}");
    assert_eq!(asked[0]["arguments"], json!({ "order": "123456" }));
    assert_eq!(
        (&asked[0]["key"], &asked[0]["tool"], &asked[0]["agent"]),
        (&json!("sesame"), &json!("order_status"), &json!("desk"))
    );

    let [first, second] = told.lock().expect("no panic").clone();
    let results: Vec<Value> = first
        .iter()
        .filter(|message| message["item"]["type"] == "function_call_output")
        .map(|message| serde_json::from_str(message["item"]["output"].as_str().expect("a text")).expect("JSON"))
        .collect();
    assert!(results[0]["error"].as_str().expect("an error").contains("order: "), "{results:#?}");
    assert_eq!(results[1..], [json!({ "result": { "state": "on its way" } })]);

    // The second agent is another one, knows what was said, and has no tools but those of every agent.
    let session = &second[0]["session"];
    let instructions = session["instructions"].as_str().expect("instructions");
    assert!(instructions.starts_with("Sell.") && instructions.contains("asks about order 123456"), "{instructions}");
    assert_eq!(session["audio"]["output"]["voice"], "ash");
    let tools: Vec<&Value> = session["tools"].as_array().expect("tools").iter().map(|tool| &tool["name"]).collect();
    assert_eq!(tools, ["end_call", "send_dtmf"]);
    let history: Vec<(&str, &str)> = second
        .iter()
        .filter(|message| message["item"]["type"] == "message")
        .map(|message| {
            let item = &message["item"];
            (item["role"].as_str().expect("a role"), item["content"][0]["text"].as_str().expect("a text"))
        })
        .collect();
    assert!(history.iter().all(|(role, _)| *role == "assistant"), "{history:?}");
    let words: Vec<&str> = history.iter().map(|(_, text)| *text).collect();
    assert_eq!(words.join(" "), format!("{GREETING} {GOODBYE}"));

    // Both are heard in full, one after the other, and the caller is heard by both.
    let spoken: Vec<u8> = conversation
        .got
        .iter()
        .filter_map(|got| {
            let code = got.payload[0];
            (VOICES.contains(&code) && got.payload.iter().all(|octet| *octet == code)).then_some(code)
        })
        .collect();
    let change = spoken.iter().position(|code| *code == VOICES[1]).expect("the second voice");
    assert!(spoken[change..].iter().all(|code| *code == VOICES[1]), "the first one is silent then");
    assert!((48..=50).contains(&change), "{change} packets of two half seconds");
    assert!((24..=25).contains(&(spoken.len() - change)), "{} packets of half a second", spoken.len() - change);
    let [by_first, by_second] = *loud.lock().expect("no panic");
    let said = SECONDS * 50 / EVERY;
    assert!(by_second >= said / 3 && by_first + by_second + 8 >= said, "{by_first} and {by_second} of {said}");

    let folder = gateway.setup.state().join("transcripts");
    let transcript = wait_for("the transcript", Duration::from_secs(10), || {
        let files = std::fs::read_dir(&folder).ok()?.flatten().map(|file| file.path());
        let mut whole = files.filter(|path| path.extension().is_some_and(|ending| ending == "txt"));
        whole.next().and_then(|path| std::fs::read_to_string(path).ok())
    });
    for line in
        ["-- tool order_status: wrong-arguments (", "-- tool order_status: answered (", "-- tool hand_off: answered ("]
    {
        assert_eq!(transcript.matches(line).count(), 1, "{line}\n{transcript}");
    }
    for words in [GREETING, GOODBYE, "Sales speaking."] {
        assert!(transcript.contains(words), "{words}\n{transcript}");
    }
    let log = gateway.log();
    for secret in ["sesame", "tea for two", "123456", "on its way"] {
        assert!(!log.contains(secret), "{secret} stands in the log");
    }
}
