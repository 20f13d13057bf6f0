//! Tools of an agent in a live call: real SIP, RTP, WebSocket and HTTP; the realtime service is played by the test.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::disallowed_methods)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use trunkline::call::{LiveFact, Speaker, ToolOutcome};

use crate::call_support::{Gateway, Phone, Plan, Talk, within};

struct Scene {
    gateway: Gateway,
    talk: Talk,
    model: WebSocketStream<TcpStream>,
    answers: u32,
    _phone: Phone,
    _state: tempfile::TempDir,
}

impl Scene {
    /// A caller talks to the agent `desk`, whose session is set up and who was asked to speak first.
    async fn calling(toml: &str) -> Scene {
        let state = tempfile::tempdir().expect("state");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("ws://{}/live", listener.local_addr().expect("bound"));
        let phone = Phone::start().await;
        let extra = format!(
            "[engine.openai]\nurl = \"{url}\"\nmodel = \"m\"\n{toml}\n\
             [[number]]\nname = \"desk\"\nnumber = \"1234\"\nvisibility = \"public\"\nagent = \"desk\"\n"
        );
        let plan = Plan { engine: "openai", extra, ..Plan::towards(&phone) };
        let gateway = Gateway::start(state.path(), plan).await;
        let phone = Phone::calling(gateway.endpoint.local_address()).await;
        let model = async {
            let (tcp, _) = listener.accept().await.expect("a connection");
            tokio_tungstenite::accept_async(tcp).await.expect("a handshake")
        };
        let (talk, model) = within("the call and its model", async { tokio::join!(phone.call("1234"), model) }).await;
        let talk = talk.expect("answered");
        let mut scene = Scene { gateway, talk, model, answers: 0, _phone: phone, _state: state };
        scene.says(json!({ "type": "session.created", "session": {} })).await;
        let update = scene.hears(|message| message["type"] == "session.update").await;
        scene.says(json!({ "type": "session.updated", "session": update["session"] })).await;
        scene.hears(|message| message["type"] == "response.create").await;
        scene.answers(None, "Hello.").await;
        scene
    }

    async fn says(&mut self, message: Value) {
        self.model.send(Message::text(message.to_string())).await.expect("sent");
    }

    /// The next message that fits, sound left out.
    async fn hears(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        within("a message of the box", async {
            loop {
                let message = self.model.next().await.expect("open").expect("valid");
                let Ok(text) = message.to_text() else { continue };
                let Ok(message) = serde_json::from_str::<Value>(text) else { continue };
                if message["type"] != "input_audio_buffer.append" && fits(&message) {
                    return message;
                }
            }
        })
        .await
    }

    /// An answer: a tenth of a second of speech where there are words, and perhaps a tool.
    async fn answers(&mut self, tool: Option<(&str, Value)>, words: &str) {
        self.answers += 1;
        let (response, item) = (format!("resp_{}", self.answers), format!("item_{}", self.answers));
        self.says(json!({ "type": "response.created", "response": { "id": response } })).await;
        if !words.is_empty() {
            let of = json!({ "response_id": response, "item_id": item, "content_index": 0 });
            for (kind, key, value) in [
                ("response.output_audio.delta", "delta", STANDARD.encode([0xA0; 800])),
                ("response.output_audio_transcript.done", "transcript", words.to_owned()),
                ("response.output_audio.done", "none", String::new()),
            ] {
                let mut event = of.clone();
                (event["type"], event[key]) = (kind.into(), value.into());
                self.says(event).await;
            }
        }
        if let Some((name, arguments)) = tool {
            let call = format!("call_{}", self.answers);
            let item =
                json!({ "type": "function_call", "call_id": call, "name": name, "arguments": arguments.to_string() });
            self.says(json!({ "type": "response.output_item.done", "response_id": response, "item": item })).await;
        }
        self.says(
            json!({ "type": "response.done", "response": { "id": response, "status": "completed", "output": [] } }),
        )
        .await;
    }

    /// What the tool `name` answers.
    async fn uses(&mut self, name: &str, arguments: Value) -> Value {
        self.answers(Some((name, arguments)), "").await;
        self.result().await
    }

    /// The next result of a tool, and the answer that is asked for then.
    async fn result(&mut self) -> Value {
        let output = self.hears(|message| message["item"]["type"] == "function_call_output").await;
        self.hears(|message| message["type"] == "response.create").await;
        self.answers(None, "").await;
        serde_json::from_str(output["item"]["output"].as_str().expect("a text")).expect("JSON")
    }

    async fn caller_speaks(&mut self) {
        self.says(json!({ "type": "input_audio_buffer.speech_started", "audio_start_ms": 0, "item_id": "c" })).await;
        self.says(json!({ "type": "input_audio_buffer.speech_stopped", "audio_end_ms": 1, "item_id": "c" })).await;
    }

    /// The outcomes of the tools so far.
    async fn outcomes(&self, count: usize) -> Vec<(String, ToolOutcome)> {
        let id = self.gateway.inbound_call().await.id;
        let call = self.gateway.until(id, |call| call.tools.len() >= count).await;
        call.tools.into_iter().map(|used| (used.name, used.outcome)).collect()
    }
}

/// A system that answers `{"ok":1}`, or never does; how often it was asked, and how many of these were let go of.
async fn system(answers: bool) -> (String, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("bound"));
    let (asked, gone) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (asks, goes) = (asked.clone(), gone.clone());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (asks, goes) = (asks.clone(), goes.clone());
            tokio::spawn(async move {
                asks.fetch_add(1, Ordering::SeqCst);
                let mut piece = [0; 4096];
                let _ = stream.read(&mut piece).await;
                if answers {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{\"ok\":1}").await;
                }
                while stream.read(&mut piece).await.is_ok_and(|length| length > 0) {}
                goes.fetch_add(1, Ordering::SeqCst);
            });
        }
    });
    (url, asked, gone)
}

fn agent(tools: &str, more: &str) -> String {
    format!("[[agents]]\nname = \"desk\"\ninstructions = \"Be kind.\"\ntools = [{tools}]\n{more}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_collected_and_do_not_go_to_the_service_besides() {
    let mut scene = Scene::calling(&agent("\"collect_digits\"", "")).await;
    scene.answers(Some(("collect_digits", json!({ "count": 3 }))), "Your number, please.").await;
    scene.talk.hears_something().await;
    scene.talk.press("407");
    // The first message since is the result: no key came before it.
    let next = scene.hears(|message| message["type"] == "conversation.item.create").await;
    let output = next["item"]["output"].as_str().expect("the result comes first");
    assert_eq!(
        serde_json::from_str::<Value>(output).unwrap(),
        json!({ "result": { "digits": "407", "complete": true } })
    );
    scene.hears(|message| message["type"] == "response.create").await;
    scene.answers(None, "").await;
    scene.talk.press("9");
    let next = scene.hears(|message| message["type"] == "conversation.item.create").await;
    assert_eq!(
        next["item"]["content"][0]["text"], "[The caller pressed on the keypad: 9]",
        "keys are the agent's again"
    );

    scene.hears(|message| message["type"] == "response.create").await;
    let begin = std::time::Instant::now();
    scene.answers(None, "").await;
    let nothing = scene.uses("collect_digits", json!({ "timeout_seconds": 3 })).await;
    assert_eq!(nothing, json!({ "result": { "digits": "", "complete": false } }));
    assert!(begin.elapsed().as_secs() >= 3);
    assert!(scene.uses("collect_digits", json!({ "count": 99 })).await["error"].as_str().unwrap().contains("count"));
    assert!(scene.uses("open_the_vault", json!({})).await["error"].is_string());
    let words: Vec<&str> = scene.outcomes(4).await.iter().map(|(_, outcome)| outcome.word()).collect();
    assert_eq!(words, ["answered", "answered", "wrong-arguments", "unknown"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_kept_with_the_call() {
    let mut scene = Scene::calling(&agent("\"take_message\"", "")).await;
    let arguments = json!({ "text": "The heating is out.", "name": "Anna" });
    assert_eq!(scene.uses("take_message", arguments).await, json!({ "result": "kept" }));
    let id = scene.gateway.inbound_call().await.id;
    scene.talk.control.hang_up();
    let call = scene.gateway.finished(id).await;
    let message = &call.messages[0];
    assert_eq!((message.text.as_str(), message.name.as_str()), ("The heating is out.", "Anna"));
    assert_eq!((message.call_back.as_str(), call.agent.as_deref()), (call.phone.as_str(), Some("desk")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_change_needs_the_callers_yes() {
    let (url, asked, _) = system(true).await;
    let tool = format!("[[tools]]\nname = \"book_appointment\"\nurl = \"{url}\"\nnetworks = [\"127.0.0.0/8\"]\n");
    let agent = agent("\"book_appointment\"", "confirm_first_write = true");
    let mut scene = Scene::calling(&format!("{agent}{tool}")).await;
    let monday = json!({ "start": "2026-03-09T15:30:00+01:00", "name": "Anna" });
    for _ in 0..2 {
        // Whatever the caller says meanwhile: nobody has asked.
        assert!(scene.uses("book_appointment", monday.clone()).await["confirmation_needed"].is_string());
        scene.caller_speaks().await;
    }
    let mut live = scene.gateway.calls.watch();
    scene.answers(None, "Monday, half past three, for Anna?").await;
    within("the question", async {
        loop {
            match live.recv().await.expect("live").what {
                LiveFact::Words { speaker: Speaker::Agent, text, .. } if text.contains("Monday") => return,
                _ => {}
            }
        }
    })
    .await;
    scene.caller_speaks().await;
    assert_eq!(asked.load(Ordering::SeqCst), 0, "nothing was booked yet");
    assert_eq!(scene.uses("book_appointment", monday).await, json!({ "result": { "ok": 1 } }));
    let tuesday = json!({ "start": "2026-03-10T15:30:00+01:00", "name": "Anna" });
    assert_eq!(scene.uses("book_appointment", tuesday).await, json!({ "result": { "ok": 1 } }), "only the first one");
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_tool_takes_long_a_sentence_is_said_and_a_call_that_ends_drops_it() {
    let (url, asked, gone) = system(false).await;
    let tool = format!(
        "[[tools]]\nname = \"look\"\ndescription = \"Looks.\"\nurl = \"{url}\"\nnetworks = [\"127.0.0.0/8\"]\n\
         filler = \"One moment, please.\"\n"
    );
    let mut scene = Scene::calling(&format!("{}{tool}", agent("\"look\"", ""))).await;
    scene.answers(Some(("look", json!({}))), "").await;
    let filler = scene.hears(|message| message["type"] == "response.create").await;
    assert_eq!(filler["response"]["tool_choice"], "none");
    assert!(filler["response"]["instructions"].as_str().unwrap().ends_with(": One moment, please."), "{filler}");
    // Five at once are one too many.
    for _ in 0..4 {
        scene.answers(Some(("look", json!({}))), "").await;
    }
    let many = scene.hears(|message| message["item"]["type"] == "function_call_output").await;
    assert!(many["item"]["output"].as_str().unwrap().contains("too many"), "{many}");
    let id = scene.gateway.inbound_call().await.id;
    within("four requests", async {
        while asked.load(Ordering::SeqCst) < 4 {
            tokio::task::yield_now().await
        }
    })
    .await;
    scene.talk.control.hang_up();
    let call = scene.gateway.finished(id).await;
    within("four ends", async {
        while gone.load(Ordering::SeqCst) < 4 {
            tokio::task::yield_now().await
        }
    })
    .await;
    let mut outcomes: Vec<&str> = call.tools.iter().map(|used| used.outcome.word()).collect();
    outcomes.sort_unstable();
    assert_eq!(outcomes, ["cancelled", "cancelled", "cancelled", "cancelled", "too-many"]);
}
