//! Every row of the tables, in virtual time.
#![allow(clippy::disallowed_methods, clippy::needless_pass_by_value)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::talk::{PAUSE, SETTLED, TAIL};
use super::*;
use crate::ai::engine::{Audio, Person, SessionOptions, Sound, Usage};
use crate::ai::remote::Order;
use crate::ai::remote::loss::PAUSES;
use crate::config::OpenAiLiveConfig;

const UTC: UtcTime = UtcTime(1_000_000_000_000);
/// A µ-law octet that is heard, and one that is not.
const LOUD: u8 = 0x20;
const SILENT: u8 = 0xFF;

struct Stage {
    dialect: OpenAiLive,
    desk: Desk,
}

fn call(section: &str) -> Call {
    let text = format!("url = 'ws://h/'\nmodel = 'gpt-live-1'\n{section}");
    let config: OpenAiLiveConfig = toml::from_str(&text).expect("a section");
    let person = Some(Person { destination: "+49301".into(), whisper: true });
    let options = SessionOptions { language: "de-DE".into(), person, ..SessionOptions::new("Be kind.".into()) };
    Service::new(&config).expect("a service").call(&options, None)
}

impl Stage {
    fn new(section: &str) -> Stage {
        let now = Instant::now();
        Stage { dialect: OpenAiLive::new(call(section), (now, UTC)), desk: Desk::new(now) }
    }

    fn ready(section: &str) -> Stage {
        let mut stage = Stage::new(section);
        stage.set_up(Line::Live, 7_200);
        assert_eq!(stage.events(), [Event::Ready]);
        stage.sent(Line::Live);
        stage
    }

    /// The session ends after so many seconds of the whole test.
    fn set_up(&mut self, line: Line, seconds: i64) {
        self.dialect.opened(line, &mut self.desk);
        let session = json!({ "id": "s", "expires_at": UTC.unix_seconds() + seconds });
        self.says_on(line, json!({ "type": "session.started", "session": session }));
    }

    fn says_on(&mut self, line: Line, event: Value) {
        self.dialect.read(line, Message::Text(&event.to_string()), &mut self.desk);
    }

    fn says(&mut self, event: Value) {
        self.says_on(Line::Live, event);
    }

    fn sounds(&mut self, octet: u8, ms: usize) {
        let delta = STANDARD.encode(vec![octet; 8 * ms]);
        self.says(json!({ "type": "session.output_audio.delta", "delta": delta }));
    }

    fn words(&mut self, who: &str, text: &str) {
        self.says(
            json!({ "type": format!("session.{who}_transcript.delta"), "delta": text, "start_ms": 0, "end_ms": 1 }),
        );
    }

    fn work(&mut self, event: Value) {
        self.says(json!({ "type": "response.event", "delegation_id": "d", "event": event }));
    }

    fn calls(&mut self, call: &str, name: &str, arguments: &str) {
        let item = json!({ "type": "function_call", "call_id": call, "name": name, "arguments": arguments });
        self.work(json!({ "type": "response.output_item.done", "item": item }));
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

    /// Names of events; sound is how long it is.
    fn heard(&mut self) -> Vec<String> {
        let name = |event: Event| match event {
            Event::Audio(audio) => format!("{}: {} ms", audio.item, audio.sound.span().as_millis()),
            Event::AgentText { item, text, last } => format!("{item}: {text}{}", if last { "." } else { "" }),
            Event::CallerText { text, last } => format!("caller: {text}{}", if last { "." } else { "" }),
            Event::AudioEnd { item } => format!("{item} over"),
            Event::ToolCall { id, name, .. } => format!("{id} {name}"),
            other => format!("{other:?}"),
        };
        self.events().into_iter().map(name).collect()
    }

    fn sent(&mut self, on: Line) -> Vec<Value> {
        let mut sent = Vec::new();
        self.desk.orders(|order| match order {
            Order::Send(line, text) => {
                assert_eq!(line, on);
                sent.push(serde_json::from_slice(text).expect("JSON"));
            }
            other => panic!("{other:?}"),
        });
        sent
    }

    /// Types and contents of what went out on the live line.
    fn told(&mut self) -> Vec<String> {
        let content = |event: &Value| {
            let kind = event["type"].as_str().expect("a type").trim_start_matches("session.").to_owned();
            event["content"].as_str().map_or(kind.clone(), |content| format!("{kind} {content}"))
        };
        self.sent(Line::Live).iter().map(content).collect()
    }
}

fn closed(code: u16) -> SocketError {
    SocketError::Closed(code, String::new())
}

#[test]
fn the_session_is_asked_for_at_once_and_ready_when_it_has_started() {
    let mut stage = Stage::new("voice = 'marin'\nbackend_model = 'b'\nsession = { store = true }");
    stage.dialect.opened(Line::Live, &mut stage.desk);
    let start = stage.sent(Line::Live).remove(0);
    let session = &start["session"];
    assert_eq!((&start["type"], &session["model"]), (&json!("session.start"), &json!("gpt-live-1")));
    assert_eq!(
        session["audio"],
        json!({ "format": { "type": "audio/pcmu", "rate": 8_000 }, "output": { "voice": "marin" } })
    );
    assert_eq!((&session["store"], session.get("input")), (&json!(true), None));
    let instructions = session["instructions"].as_str().expect("text");
    assert!(instructions.starts_with("Be kind.") && instructions.contains("de-DE"), "{instructions}");
    let work = &session["delegation"]["responses"];
    let names: Vec<&Value> = work["tools"].as_array().expect("tools").iter().map(|tool| &tool["name"]).collect();
    assert_eq!(names, ["end_call", "send_dtmf", "transfer_call"]);
    assert!(!stage.dialect.is_ready());
    stage.says(json!({ "type": "session.started", "session": {} }));
    assert_eq!(stage.events(), [Event::Ready]);
    let mut silent = Stage::new("");
    silent.dialect.opened(Line::Live, &mut silent.desk);
    assert_eq!(silent.sent(Line::Live)[0]["session"]["delegation"], json!({ "type": "client" }));
    silent.wait(PATIENCE);
    assert!(matches!(silent.events()[..], [Event::Error { fatal: true, .. }, Event::Ended]));
}

#[test]
fn a_stream_is_cut_into_items_at_its_silences_and_those_are_not_played() {
    let mut stage = Stage::ready("");
    stage.sounds(SILENT, 400);
    stage.words("output", "Good ");
    stage.sounds(LOUD, 100);
    stage.words("output", "day.");
    stage.sounds(SILENT, 500);
    stage.sounds(LOUD, 100);
    for _ in 0..20 {
        stage.sounds(SILENT, 100);
    }
    stage.sounds(LOUD, 40);
    let heard = stage.heard();
    let tail = vec!["1: 100 ms"; 6];
    let mut wanted = vec!["1: Good ", "1: 100 ms", "1: day.", "1: 500 ms", "1: 100 ms"];
    wanted.extend(tail);
    wanted.extend(["1 over", "1: .", "TurnEnd", "2: 40 ms"]);
    assert_eq!(heard, wanted, "a pause within is heard, the silence between is not: nothing waits for ever");
    stage.wait(TAIL);
    assert_eq!(stage.heard(), ["2 over", "2: .", "TurnEnd"], "a stream that stops is over, too");
}

#[test]
fn linear_sound_goes_through_whole_although_a_sample_comes_in_halves() {
    let mut stage = Stage::ready("format = 'pcm'");
    assert_eq!(stage.dialect.wants(), Wants::LinearAt(24_000));
    for octets in [&[0x00, 0x10, 0x00][..], &[0x20, 0x00, 0x30]] {
        stage.says(json!({ "type": "session.output_audio.delta", "delta": STANDARD.encode(octets) }));
    }
    let linear =
        |pcm: &[i16]| Event::Audio(Audio { item: 1, sound: Sound::Linear { pcm: pcm.to_vec(), rate: 24_000 } });
    assert_eq!(stage.events(), [linear(&[0x1000]), linear(&[0x2000, 0x3000])]);
    stage.says(json!({ "type": "session.output_audio.delta", "delta": "?" }));
    assert!(matches!(stage.events()[..], [Event::Error { fatal: false, .. }]));
}

#[test]
fn a_caller_who_speaks_at_the_same_time_flushes_nothing() {
    let mut stage = Stage::ready("");
    stage.sounds(LOUD, 100);
    stage.words("input", "No, ");
    stage.words("input", "wait");
    stage.sounds(LOUD, 100);
    assert_eq!(stage.heard(), ["1: 100 ms", "caller: No,", "caller: No, wait", "1: 100 ms"]);
    stage.wait(TAIL);
    stage.events();
    stage.wait(PAUSE);
    assert_eq!(stage.heard(), ["caller: No, wait."]);
    // The agent's answer closes the turn, too.
    stage.words("input", "Stop");
    stage.sounds(LOUD, 20);
    assert_eq!(stage.heard(), ["caller: Stop", "caller: Stop.", "2: 20 ms"]);
}

#[test]
fn greeting_keys_texts_and_instructions_are_appended() {
    let mut stage = Stage::ready("greeting = 'Say moin.'\nbackend_model = 'b'");
    stage.tell(Command::Greet);
    stage.tell(Command::Key('4'));
    stage.wait(Duration::from_millis(500));
    stage.tell(Command::Key('#'));
    stage.wait(Duration::from_secs(1));
    stage.tell(Command::Text("More.".into()));
    stage.tell(Command::UpdateInstructions("Be brief.".into()));
    assert_eq!(
        stage.told(),
        [
            "commentary.append Say moin.",
            "commentary.append [The caller pressed on the keypad: 4#]",
            "commentary.append More.",
            "instructions.append New instructions, in place of those before: Be brief.",
            "update",
        ]
    );
}

#[test]
fn on_hold_and_while_a_person_is_called_nothing_is_heard_of_the_phone() {
    let mut stage = Stage::ready("");
    stage.tell(Command::Hold(true));
    stage.tell(Command::Hold(false));
    stage.sounds(LOUD, 100);
    stage.tell(Command::TransferBegun);
    assert_eq!(stage.told(), ["input_audio.mute", "input_audio.unmute", "input_audio.mute"]);
    stage.events();
    stage.sounds(LOUD, 100);
    stage.words("output", "Hm");
    assert_eq!(stage.events(), [], "nor is the agent heard");
    stage.tell(Command::TransferFailed { outcome: "busy".into() });
    let told = stage.told();
    assert!(told[0] == "input_audio.unmute" && told[1].contains("(busy)"), "{told:?}");
    stage.sounds(LOUD, 100);
    assert_eq!(stage.heard(), ["2: 100 ms"]);
}

#[test]
fn tools_are_called_by_the_model_that_works_and_answered_when_it_waits() {
    let mut stage = Stage::ready("backend_model = 'b'");
    stage.work(json!({ "type": "response.created", "response": { "id": "r" } }));
    stage.calls("a", "send_dtmf", "{\"keys\":\"1\"}");
    stage.calls("a", "send_dtmf", "{\"keys\":\"1\"}");
    stage.calls("b", "look", "{\"n\":");
    assert_eq!(stage.heard(), ["a send_dtmf"]);
    stage.tell(Command::ToolResult { id: "a".into(), output: json!({ "ok": true }) });
    stage.tell(Command::ToolResult { id: "z".into(), output: json!(1) });
    assert_eq!(stage.told(), [""; 0], "the model still writes");
    let usage = json!({ "input_tokens": 5, "output_tokens": 2, "total_tokens": 7 });
    stage.work(json!({ "type": "response.completed", "response": { "id": "r", "usage": usage } }));
    assert_eq!(stage.events(), [Event::Usage(Usage { prompt_tokens: 5, total_tokens: 7 })]);
    let sent = stage.sent(Line::Live);
    let output = |call: &str, output: &str| {
        json!({ "type": "response.item.create",
                "item": { "type": "function_call_output", "call_id": call, "output": output } })
    };
    assert_eq!(
        sent,
        [
            output("a", "{\"ok\":true}"),
            output("b", "{\"error\":\"the arguments are no JSON\"}"),
            json!({ "type": "response.create" })
        ]
    );
    // Work for nobody.
    let delegation = json!({ "id": "d9", "target": "client", "type": "delegation" });
    stage.says(json!({ "type": "session.delegation.created", "delegation": delegation, "offset_ms": 1 }));
    assert_eq!(stage.sent(Line::Live)[0]["delegation_id"], "d9");
}

#[test]
fn the_call_ends_when_the_goodbye_was_said() {
    let mut stage = Stage::ready("backend_model = 'b'");
    stage.calls("a", "end_call", "{}");
    for _ in 0..10 {
        stage.wait(Duration::from_millis(500));
        stage.sounds(LOUD, 500);
    }
    assert!(!stage.heard().contains(&"a end_call".to_owned()), "the agent still speaks");
    stage.wait(SETTLED);
    assert!(stage.heard().contains(&"a end_call".to_owned()));
    stage.tell(Command::ToolResult { id: "a".into(), output: json!({ "ok": true }) });
    assert_eq!(stage.told(), ["response.item.create"], "nobody goes on");
    // An agent that never stops.
    stage.calls("b", "transfer_call", "{}");
    for _ in 0..40 {
        stage.wait(Duration::from_millis(500));
        stage.sounds(LOUD, 500);
    }
    assert!(stage.heard().contains(&"b transfer_call".to_owned()));
}

#[test]
fn a_session_is_continued_before_it_expires_in_a_pause() {
    let mut stage = Stage::ready("");
    stage.words("input", "Hello.");
    stage.sounds(LOUD, 100);
    stage.words("output", "Good day.");
    stage.wait(Duration::from_secs(7_200) - MARGIN - Duration::from_secs(1));
    stage.sounds(LOUD, 100);
    stage.words("output", "And?");
    stage.wait(Duration::from_millis(500));
    stage.sounds(LOUD, 100);
    stage.wait(Duration::from_millis(550));
    assert!(!stage.desk.orders(|order| panic!("{order:?}")), "the agent speaks");
    stage.wait(Duration::from_secs(1));
    assert!(stage.desk.orders(|order| assert_eq!(order, Order::Prepare)));
    stage.events();
    stage.dialect.opened(Line::Next, &mut stage.desk);
    let input = stage.sent(Line::Next)[0]["session"]["input"].clone();
    let said: Vec<&Value> = input.as_array().expect("history").iter().map(|item| &item["content"][0]["text"]).collect();
    assert_eq!(said, ["Hello.", "Good day.", "And?"]);
    // Something is said meanwhile.
    stage.words("input", "Wait.");
    stage.wait(PAUSE);
    stage.sounds(LOUD, 100);
    let expires = json!({ "expires_at": UTC.unix_seconds() + 14_400 });
    stage.says_on(Line::Next, json!({ "type": "session.started", "session": expires }));
    assert!(!stage.desk.orders(|order| panic!("{order:?}")), "the agent speaks");
    stage.wait(Duration::from_secs(2));
    let mut orders = Vec::new();
    stage.desk.orders(|order| {
        orders.push(match order {
            Order::Send(Line::Live, text) => String::from_utf8_lossy(text).into_owned(),
            other => format!("{other:?}"),
        });
    });
    assert_eq!(orders[0], "TakeOver");
    assert!(orders[1].contains("thinking.append") && orders[1].contains("The caller said: Wait."), "{orders:?}");
    assert!(stage.dialect.is_ready() && orders.len() == 2);
}

#[test]
fn a_session_that_expired_or_was_lost_goes_on_with_what_was_said() {
    let mut stage = Stage::ready("");
    stage.words("output", "One two");
    stage.sounds(LOUD, 100);
    assert_eq!(stage.dialect.ended(&closed(1006), &mut stage.desk), Fate::After(Duration::ZERO));
    assert!(stage.heard().contains(&"1 over".to_owned()));
    let mut out = Vec::new();
    for n in 0..200 {
        stage.dialect.speech(CallerFrame::Ulaw(&[n; 160]), stage.desk.now, &mut out);
    }
    assert!(out.is_empty());
    stage.set_up(Line::Live, 7_200);
    let sent = stage.sent(Line::Live);
    assert_eq!(sent[0]["session"]["input"][0]["content"], json!([{ "type": "output_text", "text": "One two" }]));
    let octets = STANDARD.decode(sent[1]["audio"].as_str().expect("sound")).expect("base64");
    assert_eq!((octets.len(), octets[0], octets[15_999]), (16_000, 100, 199), "the last two seconds");
    assert!(sent[2]["content"].as_str().is_some_and(|text| text.contains("repeat nothing")));
    assert_eq!((sent.len(), stage.events()), (3, vec![]));
    // It says so itself.
    stage.says(json!({ "type": "session.closed", "reason": "expired" }));
    assert!(stage.desk.orders(|order| assert_eq!(order, Order::Prepare)) && !stage.dialect.is_ready());
    assert_eq!(stage.dialect.ended(&closed(1000), &mut stage.desk), Fate::Again);
    stage.set_up(Line::Live, 7_200);
    assert!(stage.dialect.is_ready());
}

#[test]
fn what_another_connection_cannot_mend_is_the_end() {
    for reason in ["content", "close_requested", "?"] {
        let mut stage = Stage::ready("");
        stage.says(json!({ "type": "session.closed", "reason": reason }));
        assert!(matches!(stage.events()[..], [Event::Error { fatal: true, .. }, Event::Ended]), "{reason}");
    }
    for error in [closed(1000), closed(1008)] {
        let mut stage = Stage::ready("");
        assert_eq!(stage.dialect.ended(&error, &mut stage.desk), Fate::Over(Some(sentence(&error))));
    }
    let mut stage = Stage::ready("");
    let pauses: Vec<Fate> = (0..TRIES).map(|_| stage.dialect.ended(&closed(1006), &mut stage.desk)).collect();
    assert_eq!(pauses, PAUSES.map(Fate::After));
    assert!(matches!(stage.dialect.ended(&closed(1006), &mut stage.desk), Fate::Over(Some(_))));
    let mut stage = Stage::new("");
    stage.dialect.opened(Line::Live, &mut stage.desk);
    stage.says(json!({ "type": "error", "error": { "code": "invalid_model", "message": "no" } }));
    assert!(matches!(stage.events()[..], [Event::Error { fatal: true, .. }, Event::Ended]));
}
