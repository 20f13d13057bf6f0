//! Calls that talk to Gemini Live: a service on loopback, the vendor's types and client as judges.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic)]
// The error that its callback may return is the WebSocket library's own.
#![allow(clippy::result_large_err)]

mod judges;
mod live;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use trunkline::ai::{CallerFrame, Command, Engines, Event, Person, Session, SessionOptions, Sound};
use trunkline::clock::Clock;
use trunkline::config::{EngineConfig, EngineKind, SpeechConfig};
use trunkline::speech::Speech;

use crate::common::options;
use live::{Captured, Live, listener, sound, spoken, within};

/// One call, with all that it was told.
struct Call {
    session: Box<dyn Session>,
    events: Vec<Event>,
    /// Frames of the caller so far; each sample says which it is of.
    frames: i16,
}

impl Call {
    /// `more`: keys of `[engine.gemini]` beside the address, the model and the key.
    fn new(address: SocketAddr, more: &str) -> Call {
        let speech = Speech::start(&SpeechConfig::default()).expect("the speech threads start");
        let model = if more.contains("model = ") { "" } else { "model = \"gemini-2.5-live\"\n" };
        let key = if more.contains("api_key = ") { "" } else { "api_key = \"secret-key\"\n" };
        let text = format!("url = \"ws://{address}/live?x=1\"\n{model}{key}{more}");
        let gemini = Some(toml::from_str(&text).expect("right"));
        let engine = EngineConfig { kind: EngineKind::Gemini, gemini, ..EngineConfig::default() };
        let person = Some(Person { destination: "+49301".into(), whisper: true });
        let options = SessionOptions { person, ..options("Be kind.") };
        let session = Engines::start(&engine, speech, Clock::system()).session(options)();
        Call { session, events: Vec::new(), frames: 0 }
    }

    /// Lets the session work until `done`.
    async fn works<T>(&mut self, done: impl Future<Output = T>) -> T {
        tokio::pin!(done);
        let Call { session, events, .. } = self;
        let work = poll_fn(|context| {
            while events.last() != Some(&Event::Ended)
                && let std::task::Poll::Ready(event) = session.poll_event(context)
            {
                events.push(event);
            }
            done.as_mut().poll(context)
        });
        within("the other side", work).await
    }

    /// Lets the session work until it has told something of that kind; returns it.
    async fn tells(&mut self, fits: impl Fn(&Event) -> bool) -> Event {
        let seen = self.events.iter().position(&fits);
        if let Some(index) = seen {
            return self.events.drain(..=index).next_back().expect("there");
        }
        loop {
            let event = within("an event", poll_fn(|context| self.session.poll_event(context))).await;
            if fits(&event) {
                self.events.clear();
                return event;
            }
            assert_ne!(event, Event::Ended, "{:?}", self.events);
            self.events.push(event);
        }
    }

    fn speaks(&mut self, frames: usize) {
        for _ in 0..frames {
            self.frames += 1;
            self.session.hear(CallerFrame::Linear { pcm: &[self.frames; 160], rate: 8_000 }, Instant::now());
        }
    }
}

async fn accept(listener: &TcpListener, call: &mut Call, captured: &Captured) -> (Live, Value) {
    let service = async {
        let mut live = Live::accept(listener, captured).await;
        let setup = live.set_up().await;
        (live, setup)
    };
    call.works(service).await
}

fn is_turn_end(event: &Event) -> bool {
    *event == Event::TurnEnd
}

/// Greeting, keys, speech, a tool, hold, and goodbye with a service that answers by itself.
async fn whole_call() -> Captured {
    let (captured, (listener, address)) = (Captured::default(), listener().await);
    let service = tokio::spawn({
        let captured = captured.clone();
        async move {
            let live = Live::accept(&listener, &captured).await;
            assert_eq!((live.path.as_str(), live.key.as_deref()), ("/live?x=1", Some("secret-key")));
            live.answers().await;
        }
    });
    let mut call = Call::new(address, "[setup.generationConfig]\ntemperature = 0.5");
    call.session.command(Command::Greet);
    assert_eq!(call.tells(|event| matches!(event, Event::Ready)).await, Event::Ready);
    let text = |event: &Event| matches!(event, Event::AgentText { .. });
    assert!(matches!(call.tells(text).await, Event::AgentText { text, .. } if text == "Answer 1. "));
    call.tells(is_turn_end).await;
    call.session.command(Command::Key('1'));
    call.session.command(Command::Key('#'));
    assert!(matches!(call.tells(text).await, Event::AgentText { text, .. } if text == "Answer 2. "));
    call.tells(is_turn_end).await;
    call.speaks(25);
    let words = call.tells(|event| matches!(event, Event::CallerText { last: true, .. })).await;
    assert!(matches!(words, Event::CallerText { text, .. } if text == "day"), "its first word came before");
    let audio = call.tells(|event| matches!(event, Event::Audio(_))).await;
    assert!(matches!(&audio, Event::Audio(audio)
        if matches!(&audio.sound, Sound::Linear { pcm, rate: 24_000 } if pcm.len() == 2_400)));
    let usage = call.tells(|event| matches!(event, Event::Usage(_))).await;
    assert!(matches!(usage, Event::Usage(usage) if (usage.prompt_tokens, usage.total_tokens) == (5, 12)));
    call.session.command(Command::Text("How is the weather?".into()));
    let tool = call.tells(|event| matches!(event, Event::ToolCall { .. })).await;
    let arguments = json!({"city": "Bonn"});
    assert_eq!(tool, Event::ToolCall { id: "fc-1".into(), name: "weather".into(), arguments });
    call.session.command(Command::ToolResult { id: "fc-1".into(), output: json!({"sky": "blue"}) });
    call.tells(is_turn_end).await;
    call.session.command(Command::UpdateInstructions("Be brief.".into()));
    call.session.command(Command::Hold(true));
    call.session.command(Command::Hold(false));
    call.session.command(Command::Text("And tomorrow?".into()));
    call.tells(is_turn_end).await;
    call.session.command(Command::Stop);
    assert_eq!(call.tells(|_| true).await, Event::Ended);
    within("the service", service).await.expect("it saw the call end");
    captured
}

#[tokio::test]
async fn a_call_talks_with_a_service_that_answers() {
    let captured = whole_call().await;
    let captured = captured.lock().expect("whole");
    let kinds: Vec<String> = captured.iter().map(judges::kind).collect();
    assert_eq!(kinds.first().map(String::as_str), Some("setup"));
    for kind in [
        "clientContent",
        "realtimeInput.text",
        "realtimeInput.audio",
        "toolResponse",
        "contextUpdate",
        "realtimeInput.audioStreamEnd",
    ] {
        assert!(kinds.iter().any(|other| other == kind), "{kind} in {kinds:?}");
    }
    assert_eq!(kinds.iter().filter(|kind| *kind == "setup").count(), 1);
    assert_eq!(captured[0]["setup"]["generationConfig"]["temperature"], 0.5);
}

#[tokio::test]
async fn a_caller_who_interrupts_is_told_at_once_even_when_all_speech_had_come() {
    let (listener, address) = listener().await;
    let mut call = Call::new(address, "");
    let (mut live, _) = accept(&listener, &mut call, &Captured::default()).await;
    live.says(spoken(48_000)).await;
    live.says(json!({"serverContent": {"generationComplete": true}})).await;
    live.says(json!({"serverContent": {"interrupted": true}})).await;
    live.says(json!({"serverContent": {"turnComplete": true}})).await;
    call.tells(|event| matches!(event, Event::AudioEnd { item: 1 })).await;
    call.tells(|event| matches!(event, Event::SpeechStarted { .. })).await;
    call.session.command(Command::Truncate { item: 1, played: Duration::from_millis(300) });
    call.tells(is_turn_end).await;
    live.says(spoken(240)).await;
    let audio = call.tells(|event| matches!(event, Event::Audio(_))).await;
    assert!(matches!(audio, Event::Audio(audio) if audio.item > 1), "what comes is not cut");
}

/// A tool that is cancelled, one that fails, and a person who does not come.
async fn tools() -> Captured {
    let (captured, (listener, address)) = (Captured::default(), listener().await);
    let mut call = Call::new(address, "model = \"gemini-3.8-live\"");
    let (mut live, setup) = accept(&listener, &mut call, &captured).await;
    let declared = &setup["tools"][0]["functionDeclarations"];
    assert!(declared.as_array().is_some_and(|tools| tools.iter().any(|tool| tool["name"] == "transfer_call")));
    let tool = |id: &str, name: &str| json!({"toolCall": {"functionCalls": [{"id": id, "name": name, "args": {}}]}});
    live.says(tool("a", "send_dtmf")).await;
    live.says(json!({"toolCallCancellation": {"ids": ["a"]}})).await;
    live.says(tool("b", "send_dtmf")).await;
    live.says(tool("c", "transfer_call")).await;
    call.tells(|event| *event == Event::ToolCancel { id: "a".into() }).await;
    call.tells(|event| matches!(event, Event::ToolCall { name, .. } if name == "transfer_call")).await;
    let result = |id: &str, output: Value| Command::ToolResult { id: id.into(), output };
    call.session.command(result("a", json!({"ok": true})));
    call.session.command(result("b", json!({"error": "no keys"})));
    call.session.command(result("c", json!({"ok": true})));
    let answer = |message: &Value| message["toolResponse"]["functionResponses"][0].clone();
    let first = answer(&call.works(live.hears()).await);
    assert_eq!(first, json!({"id": "b", "name": "send_dtmf", "response": {"error": "no keys"}}));
    call.session.command(Command::TransferBegun);
    call.session.command(Command::TransferFailed { outcome: "no-answer".into() });
    assert_eq!(call.works(live.hears()).await["realtimeInput"]["audioStreamEnd"], true);
    let second = answer(&call.works(live.hears()).await);
    assert_eq!(second["id"], "c");
    assert!(second["response"]["error"].as_str().is_some_and(|error| error.contains("no-answer")));
    captured
}

#[tokio::test]
async fn tools_are_answered_by_their_ids_and_a_cancelled_one_is_not() {
    tools().await;
}

/// A service that goes away, whose next connection takes over in a pause.
async fn passage() -> Captured {
    let (captured, (listener, address)) = (Captured::default(), listener().await);
    let mut call = Call::new(address, "");
    let (mut first, _) = accept(&listener, &mut call, &captured).await;
    first.says(spoken(240)).await;
    first.says(json!({"goAway": {"timeLeft": "600s"}})).await;
    call.tells(|event| matches!(event, Event::GoingAway { .. })).await;
    call.speaks(10);
    call.works(first.listens(1_600)).await;
    first.says(json!({"serverContent": {"turnComplete": true}})).await;
    first.says(json!({"sessionResumptionUpdate": {"newHandle": "h-7", "resumable": true}})).await;
    // Before it is set up, the first goes on.
    let mut next = call.works(Live::accept(&listener, &captured)).await;
    let setup = call.works(next.next()).await.expect("open");
    assert_eq!(setup["setup"]["sessionResumption"], json!({"handle": "h-7"}));
    call.speaks(10);
    call.works(first.listens(1_600)).await;
    call.events.clear();
    next.says(json!({"setupComplete": {}})).await;
    next.says(spoken(480)).await;
    let audio = call.tells(|event| matches!(event, Event::Audio(_))).await;
    assert!(matches!(audio, Event::Audio(audio) if audio.sound.span() == Duration::from_millis(20)));
    call.speaks(10);
    let heard = call.works(next.next()).await.expect("open");
    assert_eq!(sound(&heard).expect("sound").0, [21; 160], "the frame after those that the first heard");
    assert_eq!(call.works(first.next()).await, None, "the first is closed, and heard nothing more");
    captured
}

#[tokio::test]
async fn a_service_that_goes_away_is_left_in_a_pause_without_losing_a_word() {
    passage().await;
}

/// A lost connection whose handle is refused.
async fn refused_handle() -> Captured {
    let (captured, (listener, address)) = (Captured::default(), listener().await);
    let mut call = Call::new(address, "");
    let (mut live, _) = accept(&listener, &mut call, &captured).await;
    live.says(spoken(2_400)).await;
    live.says(json!({"serverContent": {"outputTranscription": {"text": "Who is there?"}}})).await;
    live.says(json!({"serverContent": {"turnComplete": true}})).await;
    live.says(json!({"serverContent": {"inputTranscription": {"text": "Anna.", "finished": true}}})).await;
    live.says(json!({"sessionResumptionUpdate": {"newHandle": "h-1", "resumable": true}})).await;
    call.tells(|event| matches!(event, Event::CallerText { last: true, .. })).await;
    call.works(live.close(1011, "Deadline expired before operation could complete.")).await;
    let refusing = async {
        let mut live = Live::accept(&listener, &captured).await;
        let setup = live.next().await.expect("open");
        live.close(1007, "Request contains an invalid argument.").await;
        setup
    };
    let setup = call.works(refusing).await;
    assert_eq!(setup["setup"]["sessionResumption"], json!({"handle": "h-1"}));
    call.speaks(5);
    let (mut live, setup) = accept(&listener, &mut call, &captured).await;
    assert_eq!(setup["sessionResumption"], json!({}));
    assert_eq!(setup["historyConfig"], json!({"initialHistoryInClientContent": true}));
    let said = call.works(live.next()).await.expect("open");
    let turn = |role: &str, text: &str| json!({"role": role, "parts": [{"text": text}]});
    let turns = [turn("model", "Who is there?"), turn("user", "Anna.")];
    assert_eq!(said["clientContent"], json!({"turns": turns, "turnComplete": true}));
    let asked = call.works(live.next()).await.expect("open");
    assert!(asked["realtimeInput"]["text"].is_string(), "Anna had no answer yet");
    let missed = call.works(live.next()).await.expect("open");
    assert_eq!(sound(&missed).expect("sound").0.len(), 800, "what was said meanwhile");
    assert!(!call.events.iter().any(|event| matches!(event, Event::Error { .. } | Event::Ready)), "{:?}", call.events);
    captured
}

/// A setup with all that can be configured.
async fn everything_configured() -> Captured {
    let (captured, (listener, address)) = (Captured::default(), listener().await);
    let more = "model = \"gemini-3.8-live\"\nvoice = \"Puck\"\nlanguage = \"de-DE\"\ncompression_trigger = 25600\n\
                compression_target = 12800\n[activity]\nstart = \"high\"\nend = \"low\"\nprefix_padding_ms = 40\n\
                silence_ms = 500\ninterrupts = true\ncoverage = \"all-input\"\n[setup]\n\
                tools = [{ googleSearch = {} }]\nlabels = { team = \"desk\" }\n\
                proactivity = { proactiveAudio = true }\n[setup.generationConfig]\nmaxOutputTokens = 4096";
    let mut call = Call::new(address, more);
    let (_live, setup) = accept(&listener, &mut call, &captured).await;
    assert_eq!(setup["tools"].as_array().map(Vec::len), Some(2));
    captured
}

#[tokio::test]
async fn a_refused_handle_leads_to_a_new_session_that_knows_what_was_said() {
    refused_handle().await;
}

#[tokio::test]
async fn a_wire_that_breaks_is_mended_with_the_handle() {
    let (captured, (listener, address)) = (Captured::default(), listener().await);
    let mut call = Call::new(address, "");
    let (mut live, _) = accept(&listener, &mut call, &captured).await;
    live.says(spoken(240)).await;
    live.says(json!({"sessionResumptionUpdate": {"newHandle": "h-1", "resumable": true}})).await;
    call.tells(|event| matches!(event, Event::Audio(_))).await;
    // The last message has been read when the answer to the next is there.
    live.says(json!({"usageMetadata": {"totalTokenCount": 1}})).await;
    call.tells(|event| matches!(event, Event::Usage(_))).await;
    live.breaks();
    let (mut live, setup) = accept(&listener, &mut call, &captured).await;
    assert_eq!(setup["sessionResumption"], json!({"handle": "h-1"}));
    call.speaks(1);
    call.works(live.listens(160)).await;
    assert!(call.events.contains(&Event::TurnEnd), "what was cut off is over: {:?}", call.events);
}

#[tokio::test]
async fn a_service_that_does_not_want_us_ends_the_call_with_a_sentence_and_is_asked_once() {
    for (more, words) in [
        (
            "api_key = \"wrong\"",
            "(1007, API key not valid. Please pass a valid API key.): check [engine.gemini] api_key",
        ),
        (
            "model = \"bard\"",
            "(1008, models/bard is not found for API version v1beta, or is not supported): models/bard is",
        ),
        ("setup = { colour = \"red\" }", "Unknown name \"colour\" at 'setup'): it does not take the setup"),
    ] {
        let (listener, address) = listener().await;
        let mut call = Call::new(address, more);
        let service = async {
            Live::accept(&listener, &Captured::default()).await.answers().await;
        };
        call.works(service).await;
        let error = call.tells(|event| matches!(event, Event::Error { .. })).await;
        let Event::Error { message, fatal: true } = error else { panic!("{error:?}") };
        assert!(message.contains(words), "{message}");
        assert!(!message.contains("secret-key") && !message.contains("wrong"), "{message}");
        assert_eq!(call.tells(|_| true).await, Event::Ended);
        let again = tokio::time::timeout(Duration::from_millis(50), call.works(listener.accept())).await;
        assert!(again.is_err(), "not tried again");
    }
}

#[tokio::test]
async fn a_refusal_of_the_upgrade_is_told_without_the_key() {
    let (listener, address) = listener().await;
    let mut call = Call::new(address, "");
    let refusing = async {
        let (mut tcp, _) = listener.accept().await.expect("a connection");
        let answer = "HTTP/1.1 403 Forbidden\r\n\r\n{\"error\": \"secret-key may not\"}";
        tcp.write_all(answer.as_bytes()).await.expect("sent");
        tcp
    };
    let _tcp = call.works(refusing).await;
    let error = call.tells(|event| matches!(event, Event::Error { .. })).await;
    let Event::Error { message, fatal: true } = error else { panic!("{error:?}") };
    assert!(message.contains("403") && message.contains("key") && !message.contains("secret-key"), "{message}");
}

#[tokio::test]
async fn nonsense_is_told_once_and_the_call_goes_on() {
    let (listener, address) = listener().await;
    let mut call = Call::new(address, "");
    let (mut live, _) = accept(&listener, &mut call, &Captured::default()).await;
    live.says_text("no JSON").await;
    let broken = json!({"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": "!!"}});
    live.says(json!({"serverContent": {"modelTurn": {"parts": [broken]}}})).await;
    // Ten seconds at once, and a key that does not exist, in a text frame.
    let mut long = spoken(240_000);
    long["somethingNew"] = json!([1, {"x": null}]);
    call.works(live.says_text(&long.to_string())).await;
    let error = call.tells(|event| matches!(event, Event::Error { .. })).await;
    assert_eq!(error, Event::Error { message: "Gemini sent a message that is no JSON".into(), fatal: false });
    let next = call.tells(|_| true).await;
    assert!(matches!(next, Event::Audio(audio) if audio.sound.span() == Duration::from_secs(10)), "one complaint");
    // Larger than any message may be.
    call.works(live.says_text(&format!("\"{}\"", "x".repeat(17 << 20)))).await;
    let error = call.tells(|event| matches!(event, Event::Error { fatal: true, .. })).await;
    assert!(matches!(error, Event::Error { message, .. } if message.contains("more than 16 MiB")));
}
