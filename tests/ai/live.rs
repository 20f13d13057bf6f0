//! A service that speaks OpenAI Live, on this machine; OpenAI's own package judges what the box says to it, and that it speaks
//! as the real one does.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic)]
// The error that its callback may return is the WebSocket library's own.
#![allow(clippy::result_large_err)]

use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use trunkline::ai::{CallerFrame, Command, Engines, Event, Person, Session, SessionOptions};
use trunkline::clock::Clock;
use trunkline::config::{Config, SpeechConfig};
use trunkline::speech::Speech;

use crate::common::options;
use crate::realtime::{meanwhile, next, python, text, until, within};

/// A µ-law octet that is heard.
const LOUD: u8 = 0x20;

struct Service {
    listener: TcpListener,
    heard: Vec<String>,
}

struct Line(WebSocketStream<TcpStream>);

impl Service {
    async fn start() -> Service {
        Service { listener: TcpListener::bind("127.0.0.1:0").await.expect("a free port"), heard: Vec::new() }
    }

    fn session(&self, settings: &str) -> Box<dyn Session> {
        let address = self.listener.local_addr().expect("bound");
        let text = format!(
            "[engine]\nkind = \"openai-live\"\n[engine.openai_live]\nurl = \"ws://{address}/v1/live/sessions\"\n\
             model = \"gpt-live-1\"\nbackend_model = \"gpt-5.4-mini\"\napi_key = \"tea\"\n{settings}\n\
             [[trunk]]\nname = \"a\"\nhost = \"192.0.2.1\"\n",
        );
        let config = Config::parse(&text, Path::new("test.toml")).expect("the settings are right");
        let speech = Speech::start(&SpeechConfig::default()).expect("the speech threads start");
        let engines = Engines::start(&config.engine, speech, Clock::system());
        assert_eq!(engines.model(), "gpt-live-1");
        let person = Some(Person { destination: "+49301".into(), whisper: true });
        engines.session(SessionOptions { person, ..options("Be kind.") })()
    }

    async fn accept(&self) -> Line {
        let (tcp, _) = self.listener.accept().await.expect("a connection");
        let check = |request: &Request, response: Response| {
            assert_eq!(request.uri(), "/v1/live/sessions");
            assert_eq!(request.headers()["authorization"], "Bearer tea");
            Ok::<Response, ErrorResponse>(response)
        };
        Line(tokio_tungstenite::accept_hdr_async(tcp, check).await.expect("a handshake"))
    }

    async fn hears(&mut self, line: &mut Line) -> Value {
        loop {
            let message = within("an event", line.0.next()).await.expect("open").expect("valid");
            if let Message::Text(text) = message {
                self.heard.push(text.to_string());
                return serde_json::from_str(&text).expect("JSON");
            }
        }
    }

    /// The session, as it was asked for.
    async fn set_up(&mut self, line: &mut Line) -> Value {
        let start = self.hears(line).await;
        assert_eq!(start["type"], "session.start");
        line.says(json!({ "type": "session.started", "session": resource() })).await;
        start["session"].clone()
    }

    async fn hears_kind(&mut self, line: &mut Line, kind: &str) -> Value {
        loop {
            let event = self.hears(line).await;
            if event["type"] == kind {
                return event;
            }
        }
    }

    async fn judged(&self) {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("events.jsonl");
        std::fs::write(&file, self.heard.join("\n")).expect("written");
        let verdict = python(&["--live", file.to_str().expect("a path")]).await;
        assert!(verdict.status.success(), "{}{}", text(&verdict.stdout), text(&verdict.stderr));
    }
}

fn resource() -> Value {
    let expires = Clock::system().utc().unix_seconds() + 7_200;
    json!({ "id": "live_1", "expires_at": expires, "model": "gpt-live-1", "status": "active" })
}

impl Line {
    async fn says(&mut self, mut event: Value) {
        if event["type"] != "session.output_audio.delta" {
            event["event_id"] = "event_1".into();
        }
        self.0.send(Message::text(event.to_string())).await.expect("sent");
    }

    async fn speaks(&mut self, text: &str, octets: &[u8]) {
        let words = json!({ "type": "session.output_transcript.delta", "delta": text, "start_ms": 0, "end_ms": 20 });
        self.says(words).await;
        self.says(json!({ "type": "session.output_audio.delta", "delta": STANDARD.encode(octets) })).await;
    }

    async fn works(&mut self, event: Value) {
        self.says(json!({ "type": "response.event", "delegation_id": "d", "event": event })).await;
    }
}

#[tokio::test]
async fn a_conversation_with_tools_keys_hold_and_a_lost_line_and_openai_would_take_every_word() {
    let mut service = Service::start().await;
    let mut session = service.session("voice = \"marin\"\nsession = { store = false }");
    session.command(Command::Greet);
    let set_up = async {
        let mut line = service.accept().await;
        let asked = service.set_up(&mut line).await;
        (service.hears(&mut line).await, asked, line)
    };
    let ((greeting, asked, mut line), events) = meanwhile(session.as_mut(), set_up).await;
    assert_eq!(events, [Event::Ready]);
    assert_eq!(greeting["type"], "session.commentary.append");
    assert_eq!(asked["audio"]["format"], json!({ "type": "audio/pcmu", "rate": 8_000 }));
    // Untouched in both directions, at the same time.
    session.hear(CallerFrame::Ulaw(&[7; 160]), Instant::now());
    let (appended, _) = meanwhile(session.as_mut(), service.hears_kind(&mut line, "session.input_audio.append")).await;
    assert_eq!(appended["audio"], STANDARD.encode([7; 160]));
    line.speaks("Good day.", &[LOUD; 800]).await;
    let caller = json!({ "type": "session.input_transcript.delta", "delta": "Hello", "start_ms": 0, "end_ms": 20 });
    line.says(caller).await;
    let events = until(session.as_mut(), |event| *event == Event::TurnEnd).await;
    assert!(!events.iter().any(|event| matches!(event, Event::SpeechStarted { .. })), "nothing is flushed: {events:?}");
    assert!(events.contains(&Event::CallerText { text: "Hello".into(), last: false }), "{events:?}");
    // A tool.
    line.works(json!({ "type": "response.created", "response": { "id": "r" } })).await;
    let item = json!({ "type": "function_call", "call_id": "c", "name": "send_dtmf", "arguments": "{\"keys\":\"1\"}" });
    line.works(json!({ "type": "response.output_item.done", "item": item })).await;
    until(session.as_mut(), |event| matches!(event, Event::ToolCall { .. })).await;
    session.command(Command::ToolResult { id: "c".into(), output: json!({ "ok": true }) });
    let usage = json!({ "input_tokens": 3, "output_tokens": 4, "total_tokens": 7 });
    line.works(json!({ "type": "response.completed", "response": { "id": "r", "usage": usage } })).await;
    let (goes_on, events) = meanwhile(session.as_mut(), service.hears_kind(&mut line, "response.create")).await;
    assert_eq!(goes_on, json!({ "type": "response.create" }));
    assert!(events.contains(&Event::Usage(trunkline::ai::Usage { prompt_tokens: 3, total_tokens: 7 })), "{events:?}");
    for command in [
        Command::Hold(true),
        Command::Hold(false),
        Command::UpdateInstructions("Be brief.".into()),
        Command::TransferBegun,
        Command::TransferFailed { outcome: "busy".into() },
        Command::Key('5'),
    ] {
        session.command(command);
    }
    let keys = async {
        while !service.hears_kind(&mut line, "session.commentary.append").await["content"]
            .as_str()
            .is_some_and(|text| text.ends_with("keypad: 5]"))
        {}
    };
    meanwhile(session.as_mut(), keys).await;
    // The line is cut.
    drop(line);
    let second = async {
        let mut line = service.accept().await;
        let asked = service.set_up(&mut line).await;
        (line, asked)
    };
    let ((mut line, asked), events) = meanwhile(session.as_mut(), second).await;
    assert!(!events.contains(&Event::Ended), "{events:?}");
    let said = asked["input"].as_array().expect("what was said");
    assert_eq!(said[0]["content"], json!([{ "type": "output_text", "text": "Good day." }]));
    line.speaks("Again.", &[LOUD; 800]).await;
    until(session.as_mut(), |event| matches!(event, Event::Audio(_))).await;
    session.command(Command::Stop);
    assert_eq!(next(session.as_mut()).await, Event::Ended);
    assert_eq!(service.hears_kind(&mut line, "session.close").await, json!({ "type": "session.close" }));
    service.judged().await;
}

/// The service of these tests speaks as OpenAI's does: OpenAI's own client understands it.
#[tokio::test]
async fn openais_own_client_understands_the_service_of_these_tests() {
    let mut service = Service::start().await;
    let url = format!("ws://{}/v1", service.listener.local_addr().expect("bound"));
    let serve = async {
        let mut line = service.accept().await;
        service.set_up(&mut line).await;
        service.hears_kind(&mut line, "session.commentary.append").await;
        line.speaks("Good day.", &[LOUD; 160]).await;
        service.hears_kind(&mut line, "session.close").await;
        let closed = json!({ "type": "session.closed", "reason": "close_requested", "session": resource(),
                             "usage": { "seconds": 1.5 } });
        line.says(closed).await;
        while tokio::time::timeout(Duration::from_secs(20), line.0.next()).await.is_ok_and(|next| next.is_some()) {}
    };
    let arguments = ["--live-talk", &url];
    let (verdict, ()) = tokio::join!(python(&arguments), serve);
    assert!(verdict.status.success(), "{}{}", text(&verdict.stdout), text(&verdict.stderr));
}
