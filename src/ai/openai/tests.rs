//! Every row of the tables, in virtual time.
#![allow(clippy::disallowed_methods, clippy::needless_pass_by_value)]

mod loss;
mod manual;

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::*;
use crate::ai::engine::{Audio, Person, SessionOptions, Sound};
use crate::ai::remote::Order;
use crate::config::OpenAiConfig;

/// A service and a call, in one place.
struct Stage {
    dialect: OpenAi,
    desk: Desk,
}

#[derive(Debug, PartialEq)]
enum Done {
    Sent(Line, Value),
    Prepared,
    TookOver,
    Abandoned,
}

fn options() -> SessionOptions {
    let person = Some(Person { destination: "+49301".into(), whisper: true });
    let (voice, language) = ("Aoede".into(), "de-DE".into());
    SessionOptions { voice, language, person, ..SessionOptions::new("Be kind.".into()) }
}

fn call(section: &str) -> Call {
    let config: OpenAiConfig = toml::from_str(&format!("url = 'ws://h/'\n{section}")).expect("a section");
    Service::new(&config).expect("a service").call(&options())
}

impl Stage {
    fn new(section: &str) -> Stage {
        Stage { dialect: OpenAi::new(call(section)), desk: Desk::new(Instant::now()) }
    }

    /// Set up, and nothing lies on the desk.
    fn ready(section: &str) -> Stage {
        let mut stage = Stage::new(section);
        stage.set_up(Line::Live);
        assert_eq!(stage.events(), [Event::Ready]);
        stage.sent();
        stage
    }

    fn set_up(&mut self, line: Line) {
        self.dialect.opened(line, &mut self.desk);
        self.says_on(line, json!({ "type": "session.created", "session": {} }));
        self.says_on(line, json!({ "type": "session.updated", "session": {} }));
    }

    fn says_on(&mut self, line: Line, event: Value) {
        self.dialect.read(line, Message::Text(&event.to_string()), &mut self.desk);
    }

    fn says(&mut self, events: impl IntoIterator<Item = Value>) {
        for event in events {
            self.says_on(Line::Live, event);
        }
    }

    fn tell(&mut self, command: Command) {
        self.dialect.command(command, &mut self.desk);
    }

    /// Time goes on, and what becomes due meanwhile is done.
    fn wait(&mut self, span: Duration) {
        let end = self.desk.now + span;
        while let Some(due) = self.dialect.due().filter(|due| *due <= end) {
            self.desk.now = due.max(self.desk.now);
            self.dialect.on_time(&mut self.desk);
        }
        self.desk.now = end;
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.desk.take_event()).collect()
    }

    fn done(&mut self) -> Vec<Done> {
        let mut done = Vec::new();
        self.desk.orders(|order| {
            done.push(match order {
                Order::Send(line, text) => Done::Sent(line, serde_json::from_slice(text).expect("JSON")),
                Order::Prepare => Done::Prepared,
                Order::TakeOver => Done::TookOver,
                Order::Abandon => Done::Abandoned,
            });
        });
        done
    }

    /// What went out on the live line.
    fn sent(&mut self) -> Vec<Value> {
        let sent = self.done().into_iter().map(|done| match done {
            Done::Sent(Line::Live, event) => event,
            other => panic!("{other:?}"),
        });
        sent.collect()
    }

    fn kinds(&mut self) -> Vec<String> {
        self.sent().iter().map(|event| event["type"].as_str().expect("a type").to_owned()).collect()
    }
}

fn created(answer: &str) -> Value {
    json!({ "type": "response.created", "response": { "id": answer, "status": "in_progress" } })
}

fn over(answer: &str, status: &str) -> Value {
    json!({ "type": "response.done", "response": { "id": answer, "status": status, "output": [] } })
}

fn sound(answer: &str, item: &str, octets: &[u8]) -> Value {
    json!({ "type": "response.output_audio.delta", "response_id": answer, "item_id": item, "content_index": 0,
            "delta": STANDARD.encode(octets) })
}

fn sound_over(answer: &str, item: &str) -> Value {
    json!({ "type": "response.output_audio.done", "response_id": answer, "item_id": item })
}

fn words(answer: &str, item: &str, text: &str) -> Value {
    json!({ "type": "response.output_audio_transcript.delta", "response_id": answer, "item_id": item, "delta": text })
}

fn began() -> Value {
    json!({ "type": "input_audio_buffer.speech_started", "audio_start_ms": 0, "item_id": "u" })
}

fn stopped() -> Value {
    json!({ "type": "input_audio_buffer.speech_stopped", "audio_end_ms": 900, "item_id": "u" })
}

fn ulaw(item: u64, octets: &[u8]) -> Event {
    Event::Audio(Audio { item, sound: Sound::Ulaw(octets.to_vec()) })
}

const RESPOND: &str = "response.create";
const ITEM: &str = "conversation.item.create";

#[test]
fn the_session_is_asked_for_once_the_service_has_spoken_and_ready_when_it_agreed() {
    let mut stage = Stage::new(
        "voice = 'marin'\nnoise_reduction = 'near-field'\nturn_detection = 'none'\nsession = { max_output_tokens = 9 }",
    );
    stage.dialect.opened(Line::Live, &mut stage.desk);
    assert_eq!(stage.done(), []);
    stage.says([json!({ "type": "session.created" })]);
    let update = stage.sent().remove(0);
    assert_eq!(update["type"], "session.update");
    let session = &update["session"];
    assert_eq!(
        session["audio"],
        json!({
        "input": { "format": { "type": "audio/pcmu" }, "noise_reduction": { "type": "near_field" }, "turn_detection": null,
                   "transcription": { "model": "gpt-4o-mini-transcribe", "language": "de" } },
        "output": { "format": { "type": "audio/pcmu" }, "voice": "marin" } })
    );
    assert_eq!((&session["type"], &session["instructions"]), (&json!("realtime"), &json!("Be kind.")));
    assert_eq!(session["max_output_tokens"], 9);
    let tools: Vec<&Value> = session["tools"].as_array().expect("tools").iter().map(|tool| &tool["name"]).collect();
    assert_eq!(tools, ["end_call", "send_dtmf", "transfer_call"]);
    assert!(stage.events().is_empty() && !stage.dialect.is_ready());
    stage.says([json!({ "type": "session.updated" })]);
    assert_eq!(stage.events(), [Event::Ready]);
    assert!(stage.dialect.is_ready());
}

#[test]
fn the_beta_is_asked_in_its_own_words_and_its_events_are_read_alike() {
    let mut stage =
        Stage::new("dialect = 'beta'\ninput_format = 'pcma'\noutput_format = 'pcm-16000'\ntranscription_model = ''");
    stage.set_up(Line::Live);
    let session = stage.sent().remove(0)["session"].take();
    assert_eq!(
        (&session["input_audio_format"], &session["output_audio_format"]),
        (&json!("g711_alaw"), &json!("pcm16_16000hz"))
    );
    assert_eq!(session["modalities"], json!(["audio", "text"]));
    assert!(session.get("type").is_none() && session.get("input_audio_transcription").is_none());
    assert_eq!(stage.dialect.wants(), Wants::Alaw);
    stage.events();
    stage.says([
        created("r"),
        json!({ "type": "response.audio.delta", "response_id": "r", "item_id": "i", "delta": "AAEC" }),
        json!({ "type": "response.audio.delta", "response_id": "r", "item_id": "i", "delta": "AwQF/w==" }),
        json!({ "type": "response.audio_transcript.delta", "response_id": "r", "item_id": "i", "delta": "Hi" }),
        json!({ "type": "response.audio.done", "response_id": "r", "item_id": "i" }),
    ]);
    let linear =
        |pcm: &[i16]| Event::Audio(Audio { item: 1, sound: Sound::Linear { pcm: pcm.to_vec(), rate: 16_000 } });
    assert_eq!(
        stage.events(),
        [
            linear(&[0x0100]),
            linear(&[0x0302, 0x0504]),
            Event::AgentText { item: 1, text: "Hi".into(), last: false },
            Event::AudioEnd { item: 1 },
        ],
        "a sample in two halves is whole, half a sample at the end is none"
    );
}

#[test]
fn a_greeting_is_an_answer_with_instructions_of_its_own() {
    let mut stage = Stage::ready("greeting = 'Say moin.'");
    stage.tell(Command::Greet);
    let sent = stage.sent();
    assert_eq!(sent.len(), 1);
    assert_eq!(
        (&sent[0]["type"], &sent[0]["response"]),
        (&json!(RESPOND), &json!({ "instructions": "Be kind.\n\nSay moin." }))
    );
    let mut stage = Stage::ready("greet = false");
    stage.tell(Command::Greet);
    assert_eq!(stage.sent(), Vec::<Value>::new());
}

#[test]
fn an_answer_is_heard_and_read_item_by_item_and_its_cost_is_told() {
    let mut stage = Stage::ready("");
    let done = json!({ "type": "response.done", "response": { "id": "r", "status": "completed",
        "usage": { "input_tokens": 5, "total_tokens": 12 } } });
    stage.says([
        created("r"),
        words("r", "i", "Good "),
        sound("r", "i", &[1, 2]),
        words("r", "i", "day."),
        sound("r", "i", &[3]),
        sound_over("r", "i"),
        json!({ "type": "response.output_audio_transcript.done", "response_id": "r", "item_id": "i", "transcript": "Good day." }),
        sound("r", "j", &[4]),
        done,
    ]);
    let text = |text: &str, last| Event::AgentText { item: 1, text: text.into(), last };
    assert_eq!(
        stage.events(),
        [
            text("Good ", false),
            ulaw(1, &[1, 2]),
            text("day.", false),
            ulaw(1, &[3]),
            Event::AudioEnd { item: 1 },
            text("", true),
            ulaw(2, &[4]),
            Event::Usage(crate::ai::Usage { prompt_tokens: 5, total_tokens: 12 }),
            Event::AudioEnd { item: 2 },
            Event::TurnEnd,
        ]
    );
    assert_eq!(stage.done(), []);
}

#[test]
fn a_caller_who_speaks_silences_what_plays_and_the_service_is_told_how_much_was_heard() {
    let mut stage = Stage::ready("");
    stage.says([created("r"), sound("r", "i", &[1; 8_000]), words("r", "i", "one two three four"), began()]);
    let now = stage.desk.now;
    let events = stage.events();
    assert_eq!(events.last(), Some(&Event::SpeechStarted { at: now }));
    assert_eq!(stage.done(), [], "the service stops by itself");
    stage.tell(Command::Truncate { item: 1, played: Duration::from_millis(620) });
    let truncate =
        json!({ "type": "conversation.item.truncate", "item_id": "i", "content_index": 0, "audio_end_ms": 620 });
    assert_eq!(stage.sent(), [truncate]);
    // Late, and not for this caller's ears.
    stage.says([
        sound("r", "i", &[2]),
        words("r", "i", "five"),
        sound_over("r", "i"),
        sound("r", "k", &[2]),
        over("r", "cancelled"),
    ]);
    assert_eq!(stage.events(), [Event::TurnEnd]);
    // More was not there than came.
    stage.says([created("s"), sound("s", "l", &[1; 80]), over("s", "completed"), began()]);
    stage.tell(Command::Truncate { item: 2, played: Duration::from_secs(5) });
    assert_eq!(stage.sent()[0]["audio_end_ms"], 10);
    let said: Vec<_> = stage.dialect.talk.history.iter().map(|(_, text)| text.to_owned()).collect();
    assert_eq!(said, ["one two"]);
}

#[test]
fn a_service_that_does_not_stop_by_itself_is_told_to_and_one_that_cannot_cut_is_not_asked() {
    let mut stage =
        Stage::ready("truncate = false\nturn_detection = { type = 'server_vad', interrupt_response = false }");
    stage.says([created("r"), sound("r", "i", &[1; 80]), began()]);
    assert_eq!(stage.kinds(), ["response.cancel"]);
    stage.tell(Command::Truncate { item: 1, played: Duration::from_millis(5) });
    assert_eq!(stage.done(), []);
    stage.says([over("r", "cancelled"), began()]);
    assert_eq!(stage.done(), [], "nothing runs any more");
}

#[test]
fn speech_that_begins_after_the_service_has_cancelled_flushes_all_the_same() {
    let mut stage = Stage::ready("");
    stage.says([created("r"), sound("r", "i", &[1; 80]), over("r", "cancelled"), began(), sound("r", "i", &[2])]);
    let now = stage.desk.now;
    let events = stage.events();
    assert!(events.contains(&Event::SpeechStarted { at: now }));
    assert!(!events.contains(&ulaw(1, &[2])), "{events:?}");
    // And also when the answer was over long ago.
    stage.says([began()]);
    assert_eq!(stage.events(), [Event::SpeechStarted { at: now }]);
}

#[test]
fn what_the_caller_says_comes_in_pieces_and_as_a_whole() {
    let mut stage = Stage::ready("");
    let piece = |text: &str| json!({ "type": "conversation.item.input_audio_transcription.delta", "item_id": "u", "delta": text });
    let whole = |item: &str, text: &str| json!({ "type": "conversation.item.input_audio_transcription.completed", "item_id": item, "transcript": text });
    stage.says([piece(" Hel"), piece("lo the"), whole("u", "Hello there. "), whole("v", "Yes."), whole("w", " ")]);
    let text = |text: &str, last| Event::CallerText { text: text.into(), last };
    assert_eq!(
        stage.events(),
        [text("Hel", false), text("Hello the", false), text("Hello there.", true), text("Yes.", true)]
    );
}

#[test]
fn a_tool_is_answered_when_the_answer_that_called_it_is_over() {
    let mut stage = Stage::ready("");
    let arguments = json!({ "type": "response.function_call_arguments.done", "response_id": "r", "item_id": "f", "call_id": "c",
        "name": "send_dtmf", "arguments": "{\"keys\":\"12\"}" });
    let item =
        json!({ "type": "function_call", "call_id": "c", "name": "send_dtmf", "arguments": "{\"keys\":\"12\"}" });
    stage.says([
        created("r"),
        arguments,
        json!({ "type": "response.output_item.done", "response_id": "r", "item": item }),
    ]);
    let called = Event::ToolCall { id: "c".into(), name: "send_dtmf".into(), arguments: json!({ "keys": "12" }) };
    assert_eq!(stage.events(), [called], "once");
    stage.tell(Command::ToolResult { id: "c".into(), output: json!({ "ok": true }) });
    assert_eq!(stage.done(), [], "not while the answer runs");
    stage.says([over("r", "completed")]);
    let sent = stage.sent();
    assert_eq!(sent[0]["item"], json!({ "type": "function_call_output", "call_id": "c", "output": "{\"ok\":true}" }));
    assert_eq!((sent.len(), &sent[1]["type"]), (2, &json!(RESPOND)));
    assert_eq!(stage.events(), [], "its turn goes on");
    stage.says([created("s"), over("s", "completed")]);
    assert_eq!(stage.events(), [Event::TurnEnd]);
}

#[test]
fn an_agent_that_hangs_up_or_transfers_is_not_asked_for_more_but_one_that_was_refused_is() {
    for (name, output, goes_on) in [
        ("end_call", json!({ "ok": true }), false),
        ("transfer_call", json!({ "ok": true }), false),
        ("transfer_call", json!({ "error": "no" }), true),
        ("other", json!({ "error": "no" }), true),
    ] {
        let mut stage = Stage::ready("");
        // Only the end of the answer tells of the call.
        let item = json!({ "type": "function_call", "call_id": "c", "name": name, "arguments": "" });
        let done =
            json!({ "type": "response.done", "response": { "id": "r", "status": "completed", "output": [item] } });
        stage.says([created("r"), done]);
        assert!(matches!(&stage.events()[0], Event::ToolCall { .. }));
        stage.tell(Command::ToolResult { id: "c".into(), output });
        let expected: &[&str] = if goes_on { &[ITEM, RESPOND] } else { &[ITEM] };
        assert_eq!(stage.kinds(), expected, "{name}");
    }
    let mut stage = Stage::ready("");
    let item = json!({ "type": "function_call", "call_id": "c", "name": "end_call", "arguments": "{" });
    stage.says([json!({ "type": "response.output_item.done", "item": item })]);
    assert_eq!(stage.events(), [], "arguments that are no JSON");
    assert_eq!(stage.kinds(), [ITEM, RESPOND]);
}

#[test]
fn two_answers_are_never_asked_for_at_once() {
    let mut stage = Stage::ready("");
    stage.tell(Command::Greet);
    stage.tell(Command::Text("hello".into()));
    assert_eq!(stage.kinds(), [RESPOND, ITEM]);
    stage.says([created("r"), over("r", "completed")]);
    assert_eq!(stage.kinds(), [RESPOND]);
    // The service began one by itself.
    stage.says([
        json!({ "type": "error", "error": { "code": "conversation_already_has_active_response", "message": "m" } }),
    ]);
    assert_eq!((stage.done(), stage.events()), (vec![], vec![]));
    stage.says([over("x", "completed")]);
    assert_eq!(stage.kinds(), [RESPOND]);
}

#[test]
fn keys_interrupt_and_come_as_one_message() {
    let mut stage = Stage::ready("");
    stage.says([created("r"), sound("r", "i", &[1; 80])]);
    stage.events();
    stage.tell(Command::Key('4'));
    assert!(matches!(stage.events()[..], [Event::SpeechStarted { .. }, Event::SpeechStopped { .. }]));
    assert_eq!(stage.kinds(), ["response.cancel"]);
    stage.says([over("r", "cancelled")]);
    stage.tell(Command::Played { item: 1 });
    stage.wait(Duration::from_millis(900));
    stage.tell(Command::Key('#'));
    stage.wait(Duration::from_millis(900));
    assert_eq!(stage.done(), []);
    stage.wait(Duration::from_millis(200));
    let sent = stage.sent();
    assert_eq!(
        sent[0]["item"]["content"],
        json!([{ "type": "input_text", "text": "[The caller pressed on the keypad: 4#]" }])
    );
    assert_eq!((sent.len(), &sent[1]["type"]), (2, &json!(RESPOND)));
}

#[test]
fn hold_transfer_and_new_instructions_are_told() {
    let mut stage = Stage::ready("");
    stage.tell(Command::Hold(true));
    stage.tell(Command::Hold(false));
    stage.tell(Command::UpdateInstructions("Be brief.".into()));
    let sent = stage.sent();
    assert_eq!(sent[0], json!({ "type": "input_audio_buffer.clear" }));
    assert_eq!(sent[1]["session"], json!({ "type": "realtime", "instructions": "Be brief." }));
    stage.says([created("r")]);
    stage.tell(Command::TransferBegun);
    assert_eq!(stage.kinds(), ["response.cancel", "input_audio_buffer.clear"]);
    stage.says([over("r", "cancelled")]);
    stage.tell(Command::TransferFailed { outcome: "busy".into() });
    let sent = stage.sent();
    assert!(sent[0]["item"]["content"][0]["text"].as_str().expect("text").contains("(busy)"));
    assert_eq!((&sent[0]["item"]["role"], &sent[1]["type"]), (&json!("system"), &json!(RESPOND)));
}

#[test]
fn a_session_that_grows_old_is_continued_in_a_pause() {
    let mut stage = Stage::ready("reconnect_minutes = 1");
    let heard = json!({ "type": "conversation.item.input_audio_transcription.completed", "item_id": "u", "transcript": "Hello." });
    stage.says([began(), stopped(), heard, created("r"), words("r", "i", "Good day."), sound("r", "i", &[1; 80])]);
    stage.wait(Duration::from_secs(60));
    assert_eq!(stage.done(), [Done::Prepared]);
    stage.set_up(Line::Next);
    assert!(matches!(&stage.done()[..], [Done::Sent(Line::Next, update)] if update["type"] == "session.update"));
    stage.says([over("r", "completed")]);
    stage.wait(Duration::from_secs(5));
    assert_eq!(stage.done(), [], "the agent is still heard");
    stage.tell(Command::Played { item: 1 });
    stage.wait(Duration::from_secs(1));
    let done = stage.done();
    let item = |role: &str, kind: &str, text: &str| {
        let content = json!([{ "type": kind, "text": text }]);
        Done::Sent(Line::Next, json!({ "type": ITEM, "item": { "type": "message", "role": role, "content": content } }))
    };
    assert_eq!(
        done,
        [item("user", "input_text", "Hello."), item("assistant", "output_text", "Good day."), Done::TookOver]
    );
    assert!(stage.dialect.is_ready());
    // An item of the connection before cannot be cut on this one.
    stage.events();
    stage.tell(Command::Text("more".into()));
    assert_eq!(stage.kinds(), [ITEM, RESPOND]);
    stage.says([created("s"), sound("s", "j", &[3])]);
    assert_eq!(stage.events(), [ulaw(2, &[3])]);
    stage.wait(Duration::from_secs(60));
    assert_eq!(stage.done(), [Done::Prepared], "and again");
}

#[test]
fn a_caller_who_does_not_stop_cannot_hold_the_change_up_for_ever() {
    let mut stage = Stage::ready("reconnect_minutes = 1");
    stage.wait(Duration::from_secs(60));
    stage.set_up(Line::Next);
    stage.done();
    let mut stage = Stage::ready("reconnect_minutes = 1");
    stage.wait(Duration::from_secs(60));
    stage.says([began()]);
    stage.set_up(Line::Next);
    stage.done();
    for _ in 0..17 {
        stage.wait(Duration::from_secs(7));
        stage.says([began()]);
        assert_eq!(stage.done(), []);
    }
    stage.wait(Duration::from_secs(2));
    assert_eq!(stage.done(), [Done::TookOver]);
}

#[test]
fn a_next_connection_that_fails_is_tried_again_and_the_call_goes_on() {
    let mut stage = Stage::ready("reconnect_minutes = 1");
    stage.wait(Duration::from_secs(60));
    assert_eq!(stage.done(), [Done::Prepared]);
    stage.dialect.next_ended(&SocketError::TooLate, &mut stage.desk);
    stage.wait(Duration::from_secs(60));
    assert_eq!(stage.done(), [Done::Prepared]);
    stage.dialect.opened(Line::Next, &mut stage.desk);
    stage.says_on(Line::Next, json!({ "type": "error", "error": { "message": "no" } }));
    assert_eq!(stage.done(), [Done::Abandoned]);
    stage.wait(Duration::from_secs(60));
    stage.dialect.opened(Line::Next, &mut stage.desk);
    stage.wait(PATIENCE);
    assert_eq!(stage.done(), [Done::Prepared, Done::Abandoned], "it did not set the session up in time");
    let events = stage.events();
    assert!(
        events.len() == 3 && events.iter().all(|event| matches!(event, Event::Error { fatal: false, .. })),
        "{events:?}"
    );
}

#[test]
fn when_the_live_connection_is_lost_the_next_one_goes_on_and_answers() {
    let broken = || SocketError::Closed(1011, ", deadline".into());
    let mut stage = Stage::ready("reconnect_minutes = 1");
    stage.wait(Duration::from_secs(60));
    stage.says([created("r"), words("r", "i", "I was"), sound("r", "i", &[1; 80])]);
    stage.done();
    assert_eq!(stage.dialect.ended(&broken(), &mut stage.desk), Fate::Again);
    assert!(!stage.dialect.is_ready());
    stage.set_up(Line::Live);
    assert_eq!(stage.kinds(), ["session.update", ITEM, RESPOND]);
    assert!(!stage.events().contains(&Event::Ready), "told once");
    assert_eq!(
        stage.dialect.ended(&broken(), &mut stage.desk),
        Fate::After(Duration::ZERO),
        "and then a new one is made"
    );
}

#[test]
fn a_service_that_refuses_the_session_or_does_not_answer_is_given_up() {
    let fate = |mut stage: Stage| match &stage.events()[..] {
        [.., Event::Error { message, fatal: true }, Event::Ended] => message.clone(),
        other => panic!("{other:?}"),
    };
    let mut stage = Stage::new("");
    stage.dialect.opened(Line::Live, &mut stage.desk);
    stage.says([json!({ "type": "error", "error": { "code": "model_load_error", "message": "no such pipeline" } })]);
    assert_eq!(fate(stage), "the service does not set the session up: no such pipeline (model_load_error)");
    let mut stage = Stage::new("");
    stage.dialect.opened(Line::Live, &mut stage.desk);
    stage.says([json!({ "type": "session.created" })]);
    stage.wait(PATIENCE);
    assert_eq!(fate(stage), "the service did not set the session up within 10 s");
    let mut stage = Stage::ready("");
    stage.says([json!({ "type": "error", "error": { "code": "session_expired", "message": "60 minutes" } })]);
    assert_eq!(fate(stage), "the service ended the session: 60 minutes (session_expired)");
}

#[test]
fn what_cannot_be_read_is_told_once_and_what_is_not_known_not_at_all() {
    let mut stage = Stage::ready("");
    for text in ["", "[]", "{", "null", r#"{"type":"response.output_audio.delta","delta":"?"}"#] {
        stage.dialect.read(Line::Live, Message::Text(text), &mut stage.desk);
    }
    stage.dialect.read(Line::Live, Message::Binary(&[0xFF, 0]), &mut stage.desk);
    assert_eq!(
        stage.events(),
        [Event::Error { message: "the service sent what is no JSON object".into(), fatal: false }]
    );
    for kind in [
        "response.created",
        "response.done",
        "response.output_audio.delta",
        "response.output_audio.done",
        "error",
        "new",
        "response.output_audio_transcript.done",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "conversation.item.input_audio_transcription.completed",
        "input_audio_buffer.committed",
        "session.updated",
    ] {
        stage.says([
            json!({ "type": kind }),
            json!({ "type": kind, "response": 7, "item": [], "error": "x", "delta": {} }),
        ]);
    }
    assert!(stage.events().iter().all(|event| !matches!(event, Event::Error { fatal: true, .. } | Event::Ended)));
    // Ten seconds at once.
    let octets: Vec<u8> = (0..80_000).map(|n| n as u8).collect();
    stage.says([created("r"), sound("r", "i", &octets)]);
    let heard = stage.events();
    assert!(matches!(heard.last(), Some(Event::Audio(Audio { sound: Sound::Ulaw(heard), .. })) if *heard == octets));
}
