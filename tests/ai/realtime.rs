//! A service that speaks OpenAI Realtime, on this machine, over a WebSocket of another make; OpenAI's own package judges
//! what the box says to it, and that it speaks as the real one does.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic)]
// The error that its callback may return is the WebSocket library's own.
#![allow(clippy::result_large_err)]

mod loss;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Message, protocol::frame::coding::CloseCode};
use trunkline::ai::{Audio, CallerFrame, Command, Engines, Event, Person, Session, SessionOptions, Sound};
use trunkline::clock::Clock;
use trunkline::config::{Config, SpeechConfig};
use trunkline::speech::Speech;

use crate::common::options;

const PATIENCE: Duration = Duration::from_secs(20);

pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited too long for {what}"))
}

/// The service: a listener, and what the box has said to all its connections.
struct Service {
    listener: TcpListener,
    address: SocketAddr,
    heard: Vec<String>,
}

/// One connection of it.
struct Line {
    socket: WebSocketStream<TcpStream>,
    answers: usize,
}

impl Service {
    async fn start() -> Service {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        Service { listener, address, heard: Vec::new() }
    }

    fn session(&self, settings: &str, clock: Clock) -> Box<dyn Session> {
        let text = format!(
            "[engine]\nkind = \"openai\"\n[engine.openai]\nurl = \"ws://{}/v1/realtime\"\nmodel = \"gpt-realtime-2.1\"\n\
             api_key = \"tea\"\n{settings}\n[[trunk]]\nname = \"a\"\nhost = \"192.0.2.1\"\n",
            self.address
        );
        let config = Config::parse(&text, Path::new("test.toml")).expect("the settings are right");
        let speech = Speech::start(&SpeechConfig::default()).expect("the speech threads start");
        let engines = Engines::start(&config.engine, speech, clock);
        let person = Some(Person { destination: "+49301".into(), whisper: true });
        engines.session(SessionOptions { person, model: Some(engines.model().into()), ..options("Be kind.") })()
    }

    async fn accept(&self) -> Line {
        let (tcp, _) = self.listener.accept().await.expect("a connection");
        let check = |request: &Request, response: Response| {
            assert_eq!(request.uri(), "/v1/realtime?model=gpt-realtime-2.1");
            assert_eq!(request.headers()["authorization"], "Bearer tea");
            Ok::<Response, ErrorResponse>(response)
        };
        let socket = tokio_tungstenite::accept_hdr_async(tcp, check).await.expect("a handshake");
        let mut line = Line { socket, answers: 0 };
        line.says(json!({ "type": "session.created", "session": { "type": "realtime", "id": "sess_1" } })).await;
        line
    }

    /// The next event of the box that is no sound.
    async fn hears(&mut self, line: &mut Line) -> Value {
        loop {
            let event = self.hears_any(line).await;
            if event["type"] != "input_audio_buffer.append" {
                return event;
            }
        }
    }

    async fn hears_any(&mut self, line: &mut Line) -> Value {
        let message = within("an event", line.socket.next()).await.expect("open").expect("valid");
        let text = message.to_text().expect("text").to_owned();
        let event = serde_json::from_str(&text).expect("JSON");
        self.heard.push(text);
        event
    }

    /// Sets a connection up as the service does.
    async fn set_up(&mut self, line: &mut Line) -> Value {
        let update = self.hears(line).await;
        assert_eq!(update["type"], "session.update");
        let session = update["session"].clone();
        line.says(json!({ "type": "session.updated", "session": session })).await;
        update
    }

    /// A call whose connection is set up.
    async fn call(&mut self, settings: &str) -> (Box<dyn Session>, Line) {
        let mut session = self.session(settings, Clock::system());
        let set_up = async {
            let mut line = self.accept().await;
            self.set_up(&mut line).await;
            line
        };
        let (line, event) = tokio::join!(set_up, next(session.as_mut()));
        assert_eq!(event, Event::Ready);
        (session, line)
    }

    /// OpenAI's own types about everything that was heard.
    async fn judged(&self) {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("events.jsonl");
        std::fs::write(&file, self.heard.join("\n")).expect("written");
        let verdict = python(&[file.to_str().expect("a path")]).await;
        assert!(verdict.status.success(), "{}{}", text(&verdict.stdout), text(&verdict.stderr));
        let kinds = text(&verdict.stdout).lines().count();
        assert!(kinds > 0, "a verdict for each type");
    }
}

pub fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

pub async fn python(arguments: &[&str]) -> std::process::Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let judge = tokio::process::Command::new(root.join(".cache/venv/bin/python3"))
        .arg(root.join("scripts/realtime-judge.py"))
        .args(arguments)
        .output();
    tokio::time::timeout(Duration::from_secs(120), judge).await.expect("a verdict in time").expect("python runs")
}

impl Line {
    async fn says(&mut self, mut event: Value) {
        event["event_id"] = "event_1".into();
        self.socket.send(Message::text(event.to_string())).await.expect("sent");
    }

    /// Begins an answer that says `octets`; its names.
    async fn begins(&mut self, octets: &[u8]) -> (String, String) {
        self.answers += 1;
        let (answer, item) = (format!("resp_{}", self.answers), format!("item_{}", self.answers));
        self.says(json!({ "type": "response.created", "response": { "id": answer, "object": "realtime.response",
                          "status": "in_progress", "output": [] } }))
            .await;
        let of = json!({ "response_id": answer, "item_id": item, "output_index": 0, "content_index": 0 });
        let with = |more: Value| {
            let mut event = of.clone();
            more.as_object().expect("fields").iter().for_each(|(key, value)| event[key] = value.clone());
            event
        };
        self.says(with(json!({ "type": "response.output_audio_transcript.delta", "delta": "one two three" }))).await;
        self.says(with(json!({ "type": "response.output_audio.delta", "delta": STANDARD.encode(octets) }))).await;
        (answer, item)
    }

    async fn ends(&mut self, answer: &str, item: &str, status: &str) {
        if status == "completed" {
            let of = json!({ "type": "response.output_audio.done", "response_id": answer, "item_id": item,
                             "output_index": 0, "content_index": 0 });
            self.says(of).await;
        }
        self.says(json!({ "type": "response.done", "response": { "id": answer, "object": "realtime.response",
                          "status": status, "output": [], "usage": { "input_tokens": 3, "output_tokens": 4, "total_tokens": 7 } } }))
            .await;
    }
}

pub async fn next(session: &mut dyn Session) -> Event {
    within("an event", poll_fn(|context| session.poll_event(context))).await
}

/// Lets the session work until `done`; its events of the meantime.
pub async fn meanwhile<T>(session: &mut dyn Session, done: impl Future<Output = T>) -> (T, Vec<Event>) {
    tokio::pin!(done);
    let mut events = Vec::new();
    let result = within(
        "the other side",
        poll_fn(|context| {
            while let std::task::Poll::Ready(event) = session.poll_event(context) {
                events.push(event);
            }
            done.as_mut().poll(context)
        }),
    )
    .await;
    (result, events)
}

pub async fn until(session: &mut dyn Session, fits: impl Fn(&Event) -> bool) -> Vec<Event> {
    let mut events = Vec::new();
    while !events.last().is_some_and(&fits) {
        events.push(next(session).await);
    }
    events
}

#[tokio::test]
async fn a_conversation_with_greeting_interruption_tool_keys_and_transfer_and_openai_would_take_every_word() {
    let mut service = Service::start().await;
    let settings = "voice = \"marin\"\nnoise_reduction = \"near-field\"\nturn_detection = { type = \"server_vad\", \
                    threshold = 0.5, prefix_padding_ms = 300, silence_duration_ms = 500, create_response = true, \
                    interrupt_response = false, idle_timeout_ms = 8000 }\nsession = { max_output_tokens = 4096 }";
    let mut session = service.session(settings, Clock::system());
    // Before anything is set up.
    session.command(Command::Greet);
    let set_up = async {
        let mut line = service.accept().await;
        service.set_up(&mut line).await;
        let greeting = service.hears(&mut line).await;
        (line, greeting)
    };
    let ((mut line, greeting), events) = meanwhile(session.as_mut(), set_up).await;
    assert_eq!(events, [Event::Ready]);
    assert_eq!(greeting["type"], "response.create", "what was said too early was kept");
    // Untouched in both directions.
    let octets: Vec<u8> = (0..=255).collect();
    session.hear(CallerFrame::Ulaw(&octets[..160]), Instant::now());
    let (appended, _) = meanwhile(session.as_mut(), service.hears_any(&mut line)).await;
    assert_eq!(appended, json!({ "type": "input_audio_buffer.append", "audio": STANDARD.encode(&octets[..160]) }));
    let ten_seconds: Vec<u8> = octets.iter().copied().cycle().take(80_001).collect();
    let (answer, item) = line.begins(&ten_seconds).await;
    let events = until(session.as_mut(), |event| matches!(event, Event::Audio(_))).await;
    assert_eq!(events.last(), Some(&Event::Audio(Audio { item: 1, sound: Sound::Ulaw(ten_seconds) })));
    // The caller interrupts.
    line.says(json!({ "type": "input_audio_buffer.speech_started", "audio_start_ms": 10, "item_id": "u" })).await;
    until(session.as_mut(), |event| matches!(event, Event::SpeechStarted { .. })).await;
    session.command(Command::Truncate { item: 1, played: Duration::from_millis(1_234) });
    let (said, _) =
        meanwhile(session.as_mut(), async { [service.hears(&mut line).await, service.hears(&mut line).await] }).await;
    assert_eq!(said[0]["type"], "response.cancel");
    assert_eq!(
        said[1],
        json!({ "type": "conversation.item.truncate", "item_id": item, "content_index": 0, "audio_end_ms": 1_234 })
    );
    line.ends(&answer, &item, "cancelled").await;
    // A tool.
    line.says(json!({ "type": "response.created", "response": { "id": "resp_t", "status": "in_progress" } })).await;
    line.says(json!({ "type": "response.function_call_arguments.done", "response_id": "resp_t", "item_id": "f",
                      "output_index": 0, "call_id": "call_1", "name": "send_dtmf", "arguments": "{\"keys\":\"1\"}" }))
        .await;
    let events = until(session.as_mut(), |event| matches!(event, Event::ToolCall { .. })).await;
    assert!(events.contains(&Event::Usage(trunkline::ai::Usage { prompt_tokens: 3, total_tokens: 7 })), "{events:?}");
    session.command(Command::ToolResult { id: "call_1".into(), output: json!({ "ok": true }) });
    line.ends("resp_t", "f", "completed").await;
    let (said, _) =
        meanwhile(session.as_mut(), async { [service.hears(&mut line).await, service.hears(&mut line).await] }).await;
    assert_eq!((&said[0]["item"]["call_id"], &said[1]["type"]), (&json!("call_1"), &json!("response.create")));
    let (answer, item) = line.begins(&[1; 80]).await;
    line.ends(&answer, &item, "completed").await;
    until(session.as_mut(), |event| *event == Event::TurnEnd).await;
    session.command(Command::Played { item: 2 });
    // Everything else that a call says.
    for command in [
        Command::Key('5'),
        Command::Hold(true),
        Command::Hold(false),
        Command::UpdateInstructions("Be brief.".into()),
        Command::TransferBegun,
        Command::TransferFailed { outcome: "busy".into() },
    ] {
        session.command(command);
    }
    let keys = async {
        loop {
            let event = service.hears(&mut line).await;
            if event["item"]["content"][0]["text"].as_str().is_some_and(|text| text.ends_with("keypad: 5]")) {
                break;
            }
        }
    };
    meanwhile(session.as_mut(), keys).await;
    session.command(Command::Stop);
    assert_eq!(next(session.as_mut()).await, Event::Ended);
    assert!(matches!(within("a Close", line.socket.next()).await, Some(Ok(Message::Close(_)))));
    service.judged().await;
}

#[tokio::test]
async fn linear_sound_and_a_long_call_that_is_continued_over_a_second_connection() {
    let mut service = Service::start().await;
    let clock = Clock::manual(trunkline::clock::UtcTime(0));
    let settings = "input_format = \"pcm\"\noutput_format = \"pcm\"\nreconnect_minutes = 1\n\
                    turn_detection = { type = \"semantic_vad\", eagerness = \"low\" }";
    let mut session = service.session(settings, clock.clone());
    let first = async {
        let mut line = service.accept().await;
        service.set_up(&mut line).await;
        line
    };
    let (mut line, event) = tokio::join!(first, next(session.as_mut()));
    assert_eq!(event, Event::Ready);
    let pcm: Vec<i16> = (0..480).map(|n| n * 50).collect();
    session.hear(CallerFrame::Linear { pcm: &pcm, rate: 24_000 }, clock.now());
    let (appended, _) = meanwhile(session.as_mut(), service.hears_any(&mut line)).await;
    let octets: Vec<u8> = pcm.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    assert_eq!(appended["audio"], STANDARD.encode(&octets));
    line.says(
        json!({ "type": "conversation.item.input_audio_transcription.completed", "item_id": "u", "content_index": 0,
                      "transcript": "Good day." }),
    )
    .await;
    let (answer, item) = line.begins(&octets).await;
    line.ends(&answer, &item, "completed").await;
    let events = until(session.as_mut(), |event| *event == Event::TurnEnd).await;
    assert!(events.contains(&Event::Audio(Audio { item: 1, sound: Sound::Linear { pcm: pcm.clone(), rate: 24_000 } })));
    // The second one is set up while the first is used.
    clock.advance(Duration::from_secs(61));
    let second = async {
        let mut second = service.accept().await;
        service.set_up(&mut second).await;
        second
    };
    let (mut second, _) = meanwhile(session.as_mut(), second).await;
    session.hear(CallerFrame::Linear { pcm: &pcm, rate: 24_000 }, clock.now());
    let (appended, _) = meanwhile(session.as_mut(), service.hears_any(&mut line)).await;
    assert_eq!(appended["type"], "input_audio_buffer.append", "still on the first: the agent is being played");
    session.command(Command::Played { item: 1 });
    clock.advance(Duration::from_secs(1));
    let history = async { [service.hears(&mut second).await, service.hears(&mut second).await] };
    let (history, events) = meanwhile(session.as_mut(), history).await;
    assert_eq!(events, [], "the call notices nothing");
    let said = |at: usize| (history[at]["item"]["role"].clone(), history[at]["item"]["content"][0]["text"].clone());
    assert_eq!((said(0), said(1)), ((json!("user"), json!("Good day.")), (json!("assistant"), json!("one two three"))));
    session.hear(CallerFrame::Linear { pcm: &pcm, rate: 24_000 }, clock.now());
    let (appended, _) = meanwhile(session.as_mut(), service.hears_any(&mut second)).await;
    assert_eq!(appended["type"], "input_audio_buffer.append");
    let end = meanwhile(session.as_mut(), async {
        while !matches!(line.socket.next().await, None | Some(Ok(Message::Close(_)))) {}
    });
    end.await;
    second.begins(&octets).await;
    until(session.as_mut(), |event| matches!(event, Event::Audio(_))).await;
    drop(session);
    service.judged().await;
}

#[tokio::test]
async fn a_connection_that_dies_is_told_with_what_the_service_said() {
    for (code, reason, words) in [
        (CloseCode::Error, "quota", "the service closed the connection (1011, quota)"),
        (CloseCode::Policy, "", "the service closed the connection (1008)"),
        (CloseCode::Normal, "", "the service closed the connection (1000)"),
    ] {
        let mut service = Service::start().await;
        let (mut session, mut line) = service.call("").await;
        line.begins(&[1; 800]).await;
        line.socket.close(Some(CloseFrame { code, reason: reason.into() })).await.expect("sent");
        let events = until(session.as_mut(), |event| *event == Event::Ended).await;
        assert_eq!(events[events.len() - 2], Event::Error { message: words.into(), fatal: true });
    }
    for (answer, words) in [
        (
            "401 Unauthorized",
            "the service refused the connection with 401: {\"code\":\"x\"}: the service does not accept the key",
        ),
        (
            "404 Not Found",
            "the service refused the connection with 404: {\"code\":\"x\"}: check the address and the model",
        ),
    ] {
        let service = Service::start().await;
        let mut session = service.session("", Clock::system());
        let refuse = async {
            let (mut tcp, _) = service.listener.accept().await.expect("a connection");
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                tcp.read_buf(&mut request).await.expect("a request");
            }
            tcp.write_all(format!("HTTP/1.1 {answer}\r\n\r\n{{\"code\":\"x\"}}").as_bytes()).await.expect("sent");
            tcp
        };
        let (_tcp, events) = tokio::join!(refuse, until(session.as_mut(), |event| *event == Event::Ended));
        assert_eq!(events, [Event::Error { message: words.into(), fatal: true }, Event::Ended]);
    }
}

#[tokio::test]
async fn sound_that_is_broken_and_a_message_that_is_huge_harm_only_themselves() {
    let mut service = Service::start().await;
    let (mut session, mut line) = service.call("").await;
    line.says(json!({ "type": "response.output_audio.delta", "response_id": "r", "item_id": "i", "delta": "?!" }))
        .await;
    let says = async {
        // More than a system takes that nobody reads from.
        line.says(json!({ "type": "new.event", "payload": "x".repeat(4 << 20) })).await;
        line.begins(&[7; 80]).await;
    };
    let ((), events) = tokio::join!(says, until(session.as_mut(), |event| matches!(event, Event::Audio(_))));
    assert!(events.iter().any(|event| matches!(event, Event::Error { fatal: false, .. })), "{events:?}");
    // More than any message may have.
    let huge = Message::text(format!("{{\"type\":\"x\",\"y\":\"{}\"}}", "z".repeat(17 << 20)));
    let (_, events) = tokio::join!(line.socket.send(huge), until(session.as_mut(), |event| *event == Event::Ended));
    assert_eq!(
        events,
        [Event::Error { message: "the service sent a message of more than 16 MiB".into(), fatal: true }, Event::Ended]
    );
}

/// The service of these tests speaks as OpenAI's does: OpenAI's own client understands it.
#[tokio::test]
async fn openais_own_client_understands_the_service_of_these_tests() {
    let mut service = Service::start().await;
    let url = format!("ws://{}/v1", service.address);
    let serve = async {
        let mut line = service.accept().await;
        service.set_up(&mut line).await;
        while service.hears(&mut line).await["type"] != "response.create" {}
        let (answer, item) = line.begins(&[1; 160]).await;
        line.ends(&answer, &item, "completed").await;
        while line.socket.next().await.is_some_and(|message| message.is_ok()) {}
    };
    let arguments = ["--talk", &url];
    let (verdict, ()) = tokio::join!(python(&arguments), serve);
    assert!(verdict.status.success(), "{}{}", text(&verdict.stdout), text(&verdict.stderr));
}
