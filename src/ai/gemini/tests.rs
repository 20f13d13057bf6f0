#![allow(clippy::disallowed_methods, clippy::needless_pass_by_value)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::ai::engine::{Audio, Person, Sound, Spoken};
use crate::ai::remote::Order;
use crate::ai::socket::HandshakeError;

const KEYS: &str = "model = \"gemini-2.5-live\"\napi_key = \"k-1\"";

/// A dialect at its desk, in virtual time.
struct Stage {
    gemini: Gemini,
    desk: Desk,
    start: Instant,
}

impl Stage {
    fn new(config: &str) -> Stage {
        let service = Service::new(&toml::from_str(config).expect("right")).expect("usable");
        let person = Some(Person { destination: "+49301".into(), whisper: false });
        let options = SessionOptions { person, ..SessionOptions::new("Be kind.".into()) };
        let start = Instant::now();
        Stage { gemini: Gemini::new(service, options), desk: Desk::new(start), start }
    }

    /// With its first connection set up.
    fn open(config: &str) -> Stage {
        let mut stage = Stage::new(config);
        stage.gemini.opened(Line::Live, &mut stage.desk);
        stage.hears(json!({"setupComplete": {}}));
        assert_eq!(stage.events(), [Event::Ready]);
        stage.orders();
        stage
    }

    fn hears(&mut self, message: Value) {
        self.hears_on(Line::Live, message);
    }

    fn hears_on(&mut self, line: Line, message: Value) {
        self.gemini.read(line, Message::Binary(message.to_string().as_bytes()), &mut self.desk);
    }

    fn command(&mut self, command: Command) {
        self.gemini.command(command, &mut self.desk);
    }

    fn at(&mut self, ms: u64) {
        self.desk.now = self.start + Duration::from_millis(ms);
        if self.gemini.due().is_some_and(|due| due <= self.desk.now) {
            self.gemini.on_time(&mut self.desk);
        }
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.desk.take_event()).collect()
    }

    /// What was ordered; messages as JSON.
    fn orders(&mut self) -> Vec<(&'static str, Value)> {
        let mut orders = Vec::new();
        self.desk.orders(|order| {
            orders.push(match order {
                Order::Send(Line::Live, text) => ("live", serde_json::from_slice(text).expect("JSON")),
                Order::Send(Line::Next, text) => ("next", serde_json::from_slice(text).expect("JSON")),
                Order::Prepare => ("prepare", Value::Null),
                Order::TakeOver => ("take over", Value::Null),
                Order::Abandon => ("abandon", Value::Null),
            });
        });
        orders
    }

    fn speech(&mut self, samples: usize, rate: u32) -> Option<Value> {
        let mut out = Vec::new();
        let pcm = vec![7; samples];
        self.gemini.speech(CallerFrame::Linear { pcm: &pcm, rate }, self.desk.now, &mut out);
        (!out.is_empty()).then(|| serde_json::from_slice(&out).expect("JSON"))
    }
}

/// A message with 24 kHz sound.
fn sound(samples: usize) -> Value {
    let data = STANDARD.encode(vec![1; 2 * samples]);
    json!({"serverContent": {"modelTurn": {"role": "model", "parts": [
        {"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": data}}]}}})
}

fn content(content: Value) -> Value {
    json!({ "serverContent": content })
}

fn caller(text: &str, last: bool) -> Event {
    Event::CallerText { text: text.into(), last }
}

fn agent(item: u64, text: &str) -> Event {
    Event::AgentText { item, text: text.into(), last: false }
}

/// Events in short, sound by its item and samples.
fn short(events: &[Event]) -> Vec<String> {
    let show = |event: &Event| match event {
        Event::Audio(Audio { item, sound: Sound::Linear { pcm, rate } }) => {
            format!("audio {item} {} {rate}", pcm.len())
        }
        Event::AudioEnd { item } => format!("end {item}"),
        Event::AgentText { item, text, .. } => format!("agent {item} {text}"),
        Event::CallerText { text, last } => format!("caller {text} {last}"),
        Event::SpeechStarted { .. } => "started".into(),
        Event::SpeechStopped { .. } => "stopped".into(),
        Event::TurnEnd => "turn".into(),
        other => format!("{other:?}"),
    };
    events.iter().map(show).collect()
}

#[test]
fn nothing_but_the_setup_is_said_before_it_is_complete_and_nothing_is_believed() {
    let mut stage = Stage::new(KEYS);
    assert!(!stage.gemini.is_ready() && !stage.gemini.listens());
    stage.gemini.opened(Line::Live, &mut stage.desk);
    let orders = stage.orders();
    assert_eq!(orders.len(), 1);
    assert_eq!(orders[0].1["setup"]["model"], "models/gemini-2.5-live");
    stage.hears(sound(240));
    assert_eq!((stage.events(), stage.orders()), (vec![], vec![]));
    // Text frames are read like binary ones, and more may stand beside it.
    let complete = r#"{"setupComplete":{"sessionId":"s"},"usageMetadata":{"totalTokenCount":3}}"#;
    stage.gemini.read(Line::Live, Message::Text(complete), &mut stage.desk);
    assert!(stage.gemini.is_ready() && stage.gemini.listens());
    let usage = Usage { prompt_tokens: 0, total_tokens: 3 };
    assert_eq!(stage.events(), [Event::Ready, Event::Usage(usage)]);
    stage.hears(json!({"setupComplete": {}}));
    assert_eq!((stage.events(), stage.orders()), (vec![], vec![]), "once");
}

#[test]
fn an_exchange_is_told_in_order_and_each_turn_has_its_item() {
    let mut stage = Stage::open(KEYS);
    for (message, events) in [
        (content(json!({"inputTranscription": {"text": " Hel"}})), vec![]),
        (content(json!({"inputTranscription": {"text": "lo the"}})), vec!["caller Hello false"]),
        (sound(240), vec!["caller the true", "audio 1 240 24000"]),
        (content(json!({"outputTranscription": {"text": "Good "}})), vec!["agent 1 Good "]),
        (content(json!({"modelTurn": {"parts": [{"text": "hm", "thought": true}]}})), vec![]),
        (
            content(json!({"outputTranscription": {"text": "day."}, "generationComplete": true})),
            vec!["agent 1 day.", "end 1"],
        ),
        (
            content(
                json!({"turnComplete": true, "turnCompleteReason": "NEED_MORE_INPUT", "interactionStatus": "IDLE"}),
            ),
            vec!["turn"],
        ),
        (content(json!({"turnComplete": true})), vec![]),
        (sound(480), vec!["audio 3 480 24000"]),
        (content(json!({"turnComplete": true})), vec!["end 3", "turn"]),
    ] {
        stage.hears(message.clone());
        assert_eq!(short(&stage.events()), events, "{message}");
    }
    assert_eq!(stage.orders(), []);
}

#[test]
fn several_parts_of_a_turn_are_all_heard_and_thoughts_are_not() {
    let mut stage = Stage::open(KEYS);
    let blob = |rate: u32, thought: bool| {
        let mime = format!("audio/pcm;rate={rate}");
        json!({"thought": thought, "inlineData": {"mimeType": mime, "data": "AQACAA=="}})
    };
    let parts = json!([blob(24_000, false), blob(24_000, true), {"text": "x"}, blob(16_000, false)]);
    stage.hears(json!({"serverContent": {"modelTurn": {"parts": parts}}, "usageMetadata": {"promptTokenCount": "5"}}));
    let usage = "Usage(Usage { prompt_tokens: 5, total_tokens: 0 })";
    assert_eq!(short(&stage.events()), ["audio 1 2 24000", "audio 1 2 16000", usage]);
}

#[test]
fn an_interruption_stops_what_plays_even_when_all_of_it_had_come() {
    let mut stage = Stage::open(KEYS);
    stage.hears(sound(240));
    stage.hears(content(json!({"generationComplete": true})));
    stage.events();
    stage.at(1_000);
    stage.hears(content(json!({"interrupted": true})));
    assert_eq!(stage.events(), [Event::SpeechStarted { at: stage.desk.now }]);
    stage.hears(content(json!({"turnComplete": true})));
    assert_eq!(short(&stage.events()), ["turn"], "no end of what was cut");
    stage.at(1_500);
    stage.hears(content(json!({"inputTranscription": {"text": "Stop it"}})));
    assert_eq!(short(&stage.events()), ["caller Stop false"]);
    // The answer says that the caller has stopped.
    stage.at(2_500);
    stage.hears(sound(240));
    let events = stage.events();
    assert_eq!(short(&events), ["stopped", "caller it true", "audio 3 240 24000"]);
    let last_word = stage.start + Duration::from_millis(1_500);
    assert_eq!(events[0], Event::SpeechStopped { at: last_word });
    // A cough, after which nobody answers: the caller is not taken to speak for ever.
    let both = json!({"serverContent": {"interrupted": true, "modelTurn": sound(8)["serverContent"]["modelTurn"]}});
    stage.hears(both);
    assert_eq!(short(&stage.events()), ["started"], "what was cut in the same message is not played");
    stage.hears(content(json!({"turnComplete": true})));
    assert_eq!(short(&stage.events()), ["turn"]);
    stage.at(4_499);
    assert_eq!(stage.events(), []);
    stage.at(4_500);
    assert_eq!(short(&stage.events()), ["stopped"]);
}

#[test]
fn a_model_that_is_not_done_has_not_ended_its_turn() {
    let mut stage = Stage::open("model = \"gemini-3.8-live-extended-thinking\"\napi_key = \"k\"");
    for status in ["IN_PROGRESS", "REQUIRES_ACTION"] {
        stage.hears(sound(240));
        stage.hears(content(json!({"turnComplete": true, "interactionStatus": status})));
        let events = short(&stage.events());
        assert!(events.last().is_some_and(|last| last.starts_with("end")), "{status}: {events:?}");
    }
    stage.hears(content(json!({"turnComplete": true, "interactionStatus": "IDLE"})));
    assert_eq!(short(&stage.events()), ["turn"]);
}

#[test]
fn voice_activity_is_believed_where_the_service_tells_it() {
    let mut stage = Stage::open(KEYS);
    stage.hears(json!({"voiceActivity": {"type": "ACTIVITY_START"}}));
    stage.hears(json!({"voiceActivity": {"voiceActivityType": "ACTIVITY_END"}}));
    assert_eq!(short(&stage.events()), ["started", "stopped"]);
    let mut patient = Stage::open(&format!("{KEYS}\nactivity = {{ interrupts = false }}"));
    patient.hears(json!({"voiceActivity": {"type": "ACTIVITY_START"}}));
    assert_eq!(patient.events(), [], "the caller cannot interrupt");
}

#[test]
fn the_model_is_told_to_greet_as_it_takes_it() {
    let greeting = |more: &str| {
        let mut stage = Stage::open(&format!("api_key = \"k\"\ngreeting = \"Say hi\"\n{more}"));
        stage.command(Command::Greet);
        let orders = stage.orders();
        assert_eq!(orders.len(), 1);
        orders[0].1.clone()
    };
    let turn =
        json!({"clientContent": {"turnComplete": true, "turns": [{"role": "user", "parts": [{"text": "Say hi"}]}]}});
    let beside = json!({"realtimeInput": {"text": "Say hi"}});
    assert_eq!(greeting("model = \"gemini-2.5-live\""), turn);
    assert_eq!(greeting("model = \"gemini-3.8-live\""), beside);
    assert_eq!(greeting("model = \"gemini-3.8-live\"\ngreet_by = \"content\""), turn);
    assert_eq!(greeting("model = \"gemini-2.5-live\"\ngreet_by = \"input\""), beside);
}

#[test]
fn keys_are_told_together_after_a_pause_or_at_a_hash() {
    let mut stage = Stage::open(KEYS);
    let said = |keys: &str| json!({"realtimeInput": {"text": format!("The caller pressed {keys} on the telephone.")}});
    stage.command(Command::Key('1'));
    stage.at(900);
    stage.command(Command::Key('2'));
    stage.at(1_800);
    assert_eq!(stage.orders(), []);
    stage.at(1_900);
    assert_eq!(stage.orders(), [("live", said("12"))]);
    stage.command(Command::Key('3'));
    stage.command(Command::Key('#'));
    assert_eq!(stage.orders(), [("live", said("3#"))]);
    assert_eq!(stage.gemini.due(), None);
}

#[test]
fn sound_is_gathered_and_goes_out_at_the_rate_that_it_has() {
    let mut stage = Stage::open(&format!("{KEYS}\naudio_ms = 40"));
    let length = |message: Option<Value>| {
        let audio = message.map(|message| message["realtimeInput"]["audio"].clone())?;
        let octets = STANDARD.decode(audio["data"].as_str().expect("text")).expect("base64").len();
        Some((audio["mimeType"].as_str().expect("text").to_owned(), octets))
    };
    assert_eq!(length(stage.speech(160, 8_000)), None);
    assert_eq!(length(stage.speech(160, 8_000)), Some(("audio/pcm;rate=8000".into(), 640)));
    assert_eq!(length(stage.speech(160, 8_000)), None);
    assert_eq!(length(stage.speech(320, 16_000)), Some(("audio/pcm;rate=8000".into(), 320)), "of the old rate");
    assert_eq!(length(stage.speech(320, 16_000)), Some(("audio/pcm;rate=16000".into(), 1_280)));
    // On hold, what is left goes out first.
    assert_eq!(length(stage.speech(320, 16_000)), None);
    stage.command(Command::Hold(true));
    let orders = stage.orders();
    assert_eq!(orders[0].1["realtimeInput"]["audio"]["mimeType"], "audio/pcm;rate=16000");
    assert_eq!(orders[1..], [("live", json!({"realtimeInput": {"audioStreamEnd": true}}))]);
    stage.command(Command::Hold(false));
    assert_eq!(stage.orders(), []);
}

#[test]
fn tools_are_asked_for_answered_by_their_ids_and_cancelled() {
    let mut stage = Stage::open(KEYS);
    let call = |id: &str, name: &str| json!({"id": id, "name": name, "args": {"keys": "5"}});
    stage.hears(
        json!({"toolCall": {"functionCalls": [call("a", "send_dtmf"), call("b", "weather"), {"name": "bare"}]}}),
    );
    let asked =
        |id: &str, name: &str, arguments: Value| Event::ToolCall { id: id.into(), name: name.into(), arguments };
    assert_eq!(
        stage.events(),
        [
            asked("a", "send_dtmf", json!({"keys": "5"})),
            asked("b", "weather", json!({"keys": "5"})),
            asked("call-3", "bare", json!({}))
        ]
    );
    let result = |id: &str, output: Value| Command::ToolResult { id: id.into(), output };
    stage.command(result("b", json!({"error": "no such tool"})));
    stage.command(result("a", json!({"ok": true})));
    stage.command(result("call-3", json!(1)));
    let answer = |answer: Value| ("live", json!({"toolResponse": {"functionResponses": [answer]}}));
    assert_eq!(
        stage.orders(),
        [
            answer(json!({"id": "b", "name": "weather", "response": {"error": "no such tool"}})),
            answer(json!({"id": "a", "name": "send_dtmf", "response": {"output": {"ok": true}}})),
            answer(json!({"name": "bare", "response": {"output": 1}})),
        ]
    );
    stage.hears(json!({"toolCall": {"functionCalls": [call("c", "send_dtmf")]}}));
    stage.events();
    stage.hears(json!({"toolCallCancellation": {"ids": ["c", "a", "unknown"]}}));
    assert_eq!(stage.events(), [Event::ToolCancel { id: "c".into() }]);
    stage.command(result("c", json!({"ok": true})));
    assert_eq!(stage.orders(), [], "nobody waits for it");
}

#[test]
fn whoever_leaves_the_call_is_not_asked_for_another_word() {
    let call = |name: &str| json!({"toolCall": {"functionCalls": [{"id": "1", "name": name}]}});
    let done = || Command::ToolResult { id: "1".into(), output: json!({"ok": true}) };
    let mut stage = Stage::open(KEYS);
    stage.hears(call("end_call"));
    stage.command(done());
    assert_eq!(stage.orders(), []);
    // Nobody came: that is the answer.
    stage.hears(call("transfer_call"));
    let asked = stage.events().pop();
    assert!(matches!(asked, Some(Event::ToolCall { arguments, .. }) if arguments["destination"] == "+49301"));
    stage.command(done());
    stage.command(Command::TransferBegun);
    assert_eq!(stage.orders(), [("live", json!({"realtimeInput": {"audioStreamEnd": true}}))]);
    stage.command(Command::TransferFailed { outcome: "busy".into() });
    let said = "Nobody could be reached (busy). The caller is back.";
    let answer = json!({"id": "1", "name": "transfer_call", "response": {"error": said}});
    assert_eq!(stage.orders(), [("live", json!({"toolResponse": {"functionResponses": [answer]}}))]);
    // One that nobody's tool began.
    stage.command(Command::TransferFailed { outcome: "busy".into() });
    assert_eq!(stage.orders(), [("live", json!({"realtimeInput": {"text": said}}))]);
    let mut thinking = Stage::open("model = \"gemini-3.8-live-extended-thinking\"\napi_key = \"k\"");
    thinking.hears(call("end_call"));
    thinking.command(done());
    let orders = thinking.orders();
    assert_eq!(orders[0].1["toolResponse"]["functionResponses"][0]["scheduling"], "SILENT");
}

#[test]
fn new_instructions_hold_for_later_connections_too() {
    let mut stage = Stage::open(KEYS);
    stage.command(Command::UpdateInstructions("Be brief.".into()));
    stage.command(Command::Text("What time is it?".into()));
    let parts = json!({"parts": [{"text": "Be brief."}]});
    assert_eq!(
        stage.orders(),
        [
            ("live", json!({"contextUpdate": {"systemInstruction": parts.clone()}})),
            ("live", json!({"realtimeInput": {"text": "What time is it?"}}))
        ]
    );
    assert_eq!(stage.gemini.ended(&SocketError::Closed(1006, String::new()), &mut stage.desk), Fate::Again);
    stage.gemini.opened(Line::Live, &mut stage.desk);
    assert_eq!(stage.orders()[0].1["setup"]["systemInstruction"], parts);
}

#[test]
fn the_next_connection_takes_over_between_two_turns() {
    let mut stage = Stage::open(KEYS);
    let update = |handle: &str| json!({"sessionResumptionUpdate": {"newHandle": handle, "resumable": true}});
    stage.hears(update("h-1"));
    stage.hears(sound(240));
    stage.hears(json!({"goAway": {"timeLeft": "60s"}}));
    assert_eq!(stage.events()[1..], [Event::GoingAway { left: Duration::from_secs(60) }]);
    stage.hears(json!({"sessionResumptionUpdate": {"resumable": false}}));
    assert_eq!(stage.orders(), [], "the agent speaks");
    stage.hears(content(json!({"turnComplete": true})));
    assert_eq!(stage.orders(), [], "the handle is older than what was said");
    stage.hears(update("h-2"));
    assert_eq!(stage.orders(), [("prepare", Value::Null)]);
    stage.gemini.opened(Line::Next, &mut stage.desk);
    assert_eq!(stage.orders()[0].1["setup"]["sessionResumption"], json!({"handle": "h-2"}));
    stage.events();
    stage.hears_on(Line::Next, json!({"setupComplete": {}}));
    assert_eq!(stage.orders(), [("take over", Value::Null)]);
    assert_eq!(stage.events(), [], "the call does not notice");
    stage.hears(sound(240));
    assert_eq!(short(&stage.events()), ["audio 2 240 24000"]);
}

#[test]
fn a_lost_connection_is_made_again_with_what_was_said_and_nothing_is_said_twice() {
    let mut stage = Stage::open(KEYS);
    stage.command(Command::Greet);
    stage.hears(sound(24_000));
    stage.hears(content(json!({"outputTranscription": {"text": "Good day, who is there?"}})));
    stage.hears(content(json!({"turnComplete": true})));
    stage.hears(content(json!({"inputTranscription": {"text": "Anna.", "finished": true}})));
    stage.hears(json!({"toolCall": {"functionCalls": [{"id": "t", "name": "send_dtmf"}]}}));
    stage.hears(sound(240));
    stage.hears(content(json!({"outputTranscription": {"text": "Hello An"}})));
    stage.events();
    stage.orders();
    let broken = SocketError::Closed(1006, String::new());
    assert_eq!(stage.gemini.ended(&broken, &mut stage.desk), Fate::Again);
    assert_eq!(short(&stage.events()), ["end 2", "turn", "ToolCancel { id: \"t\" }"]);
    assert!(!stage.gemini.is_ready() && stage.gemini.listens(), "the caller's sound is kept");
    for _ in 0..200 {
        assert_eq!(stage.speech(160, 8_000), None);
    }
    stage.gemini.opened(Line::Live, &mut stage.desk);
    let setup = stage.orders().remove(0).1;
    assert_eq!(setup["setup"]["historyConfig"], json!({"initialHistoryInClientContent": true}));
    stage.hears(json!({"setupComplete": {}}));
    assert_eq!(stage.events(), [], "one Ready a call");
    let orders = stage.orders();
    let turn = |role: &str, text: &str| json!({"role": role, "parts": [{"text": text}]});
    let turns = [turn("model", "Good day, who is there?"), turn("user", "Anna."), turn("model", "Hello An")];
    assert_eq!(orders[0], ("live", json!({"clientContent": {"turns": turns, "turnComplete": true}})));
    assert_eq!(orders.len(), 31, "three seconds of sound, and no greeting");
    assert!(orders[1..].iter().all(|(_, message)| message["realtimeInput"]["audio"].is_object()));
}

#[test]
fn a_caller_whom_nobody_had_answered_is_answered_and_one_whom_nobody_had_greeted_is_greeted() {
    let (mut stage, broken) = (Stage::open(KEYS), SocketError::Silent);
    stage.command(Command::Greet);
    stage.orders();
    assert_eq!(stage.gemini.ended(&broken, &mut stage.desk), Fate::Again);
    stage.gemini.opened(Line::Live, &mut stage.desk);
    stage.orders();
    stage.hears(json!({"setupComplete": {}}));
    assert!(stage.orders()[0].1["clientContent"]["turns"][0]["parts"][0]["text"].is_string(), "the greeting");
    stage.hears(sound(24));
    stage.hears(content(json!({"turnComplete": true})));
    stage.hears(content(json!({"inputTranscription": {"text": "Hello?", "finished": true}})));
    assert_eq!(stage.gemini.ended(&broken, &mut stage.desk), Fate::Again);
    stage.gemini.opened(Line::Live, &mut stage.desk);
    stage.orders();
    stage.hears(json!({"setupComplete": {}}));
    let orders = stage.orders();
    assert_eq!(orders[0].1["clientContent"]["turns"], json!([{"role": "user", "parts": [{"text": "Hello?"}]}]));
    assert_eq!(orders[1].1, json!({"realtimeInput": {"text": "Go on with the conversation."}}));
}

#[test]
fn only_what_was_heard_of_the_agent_is_told_to_another_connection() {
    let mut stage = Stage::open(KEYS);
    stage.hears(sound(24_000));
    stage.hears(content(json!({"outputTranscription": {"text": "one two three four"}})));
    stage.hears(content(json!({"interrupted": true})));
    stage.command(Command::Truncate { item: 1, played: Duration::from_millis(500) });
    assert_eq!(stage.gemini.turn.history.turns(), [("model", "one two".to_owned())]);
    // Words that come late, of what is over: the transcript has them already as far as they were heard.
    stage.events();
    stage.hears(content(json!({"turnComplete": true})));
    stage.hears(sound(240));
    stage.command(Command::Played { item: 3 });
    stage.events();
    stage.hears(content(json!({"outputTranscription": {"text": "late"}})));
    assert_eq!(stage.events(), []);
}

#[test]
fn what_cannot_be_read_is_told_once_and_the_call_goes_on() {
    let mut stage = Stage::open(KEYS);
    let bad = r#"{"serverContent":{"modelTurn":{"parts":[{"inlineData":{"mimeType":"audio/pcm","data":"***"}}]}}}"#;
    for text in [bad, "no JSON", "[]", r#"{"serverContent":1}"#] {
        stage.gemini.read(Line::Live, Message::Text(text), &mut stage.desk);
    }
    let told = Event::Error { message: "Gemini sent sound that is no base64".into(), fatal: false };
    assert_eq!(stage.events(), [told]);
    stage.hears(json!({"brandNew": {"a": 1}, "serverContent": {"newer": []}}));
    stage.hears(sound(240_000));
    assert_eq!(short(&stage.events()), ["audio 1 240000 24000"], "ten seconds at once");
    // Octets that are no whole sample are none.
    stage.hears(content(json!({"modelTurn": {"parts": [{"inlineData": {"mimeType": "audio/pcm", "data": "AQAC"}}]}})));
    stage.hears(content(json!({"modelTurn": {"parts": [{"inlineData": {"mimeType": "audio/pcm", "data": ""}}]}})));
    assert_eq!(short(&stage.events()), ["audio 1 1 24000"]);
}

#[test]
fn an_operator_reads_what_happened_and_what_to_look_at_but_no_key() {
    let closed = |code, reason: &str| SocketError::Closed(code, format!(", {reason}"));
    let refused = |status| SocketError::Handshake(HandshakeError::Refused(status, ": k-1 is bad".into()));
    for (error, words) in [
        (
            closed(1007, "Invalid JSON payload received. Unknown name \"x\""),
            "(1007, Invalid JSON payload received. Unknown name \"x\"): it does not take the setup",
        ),
        (closed(1007, "API key not valid. Please pass a valid API key."), "check [engine.gemini] api_key"),
        (
            closed(1008, "models/x is not found for API version v1beta, or is not supported for bidiGenerateContent"),
            "models/gemini-2.5-live is unknown to the service",
        ),
        (closed(1008, "denied"), "check the key"),
        (closed(1011, "You exceeded your current quota"), "no quota is left"),
        (closed(1011, "Internal error"), "a problem of its own"),
        (refused(401), "does not accept the key"),
        (refused(404), "check the address"),
        (SocketError::NoTarget, "no service is configured"),
    ] {
        let mut stage = Stage::new(KEYS);
        stage.gemini.opened(Line::Live, &mut stage.desk);
        let Fate::Over(Some(said)) = stage.gemini.ended(&error, &mut stage.desk) else { panic!("{error}") };
        assert!(said.contains(words) && !said.contains("k-1"), "{said}");
    }
}

#[test]
fn a_flood_of_tools_is_bounded() {
    let mut stage = Stage::open(KEYS);
    let calls: Vec<Value> = (0..200).map(|n| json!({"id": n.to_string(), "name": "x"})).collect();
    stage.hears(json!({"toolCall": {"functionCalls": calls}}));
    let events = stage.events();
    assert_eq!(events.iter().filter(|event| matches!(event, Event::ToolCall { .. })).count(), MOST_TOOLS);
    assert_eq!(events.iter().filter(|event| matches!(event, Event::Error { .. })).count(), 1);
}

#[test]
fn texts_of_both_sides_are_whole() {
    let mut stage = Stage::open(KEYS);
    stage.hears(content(json!({"inputTranscription": {"text": "un"}})));
    stage.hears(content(json!({"inputTranscription": {"text": "believ"}})));
    stage.hears(content(json!({"inputTranscription": {"text": "able day", "finished": true}})));
    assert_eq!(stage.events(), [caller("unbelievable", false), caller("day", true)]);
    stage.hears(content(json!({"outputTranscription": {"text": "You "}})));
    stage.hears(content(json!({"outputTranscription": {"text": "re right"}})));
    assert_eq!(stage.events(), [agent(1, "You "), agent(1, "re right")]);
    // Languages without spaces are not held back for ever.
    stage.hears(content(json!({"turnComplete": true})));
    stage.events();
    for _ in 0..100 {
        stage.hears(content(json!({"inputTranscription": {"text": "你好"}})));
    }
    assert!(!stage.events().is_empty());
}

#[test]
fn whoever_takes_a_call_over_is_told_what_was_said_and_then_to_speak() {
    let service = Service::new(&toml::from_str(KEYS).expect("right")).expect("usable");
    let spoken = |by, text: &str| Spoken { by, text: text.into() };
    let history = vec![spoken(Party::Agent, "Front desk."), spoken(Party::Caller, "Sales, please.")];
    let options = SessionOptions { history, ..SessionOptions::new("Sell.".into()) };
    let start = Instant::now();
    let mut stage = Stage { gemini: Gemini::new(service, options), desk: Desk::new(start), start };
    stage.gemini.opened(Line::Live, &mut stage.desk);
    let setup = &stage.orders()[0].1;
    assert_eq!(setup["setup"]["historyConfig"], json!({ "initialHistoryInClientContent": true }));
    stage.hears(json!({"setupComplete": {}}));
    assert_eq!(stage.events(), [Event::Ready]);
    let turns = json!([
        {"role": "model", "parts": [{"text": "Front desk."}]},
        {"role": "user", "parts": [{"text": "Sales, please."}]},
    ]);
    let told = stage.orders();
    assert_eq!(
        told,
        [("live", json!({"clientContent": {"turns": turns, "turnComplete": true}}))],
        "and nothing else yet"
    );
    stage.command(Command::Greet);
    assert!(stage.orders()[0].1.to_string().contains("taken this call over"));
}
