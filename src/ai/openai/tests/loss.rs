//! A connection that is lost.

use super::*;
use crate::ai::remote::loss::PAUSES;
use crate::ai::socket::HandshakeError;

fn closed(code: u16) -> SocketError {
    SocketError::Closed(code, String::new())
}

fn refused(status: u16) -> SocketError {
    SocketError::Handshake(HandshakeError::Refused(status, String::new()))
}

impl Stage {
    /// The live connection is gone; what becomes of the session.
    fn loses(&mut self, error: &SocketError) -> Fate {
        self.dialect.ended(error, &mut self.desk)
    }

    /// Another is made; what it is told once it is set up.
    fn goes_on(&mut self) -> Vec<Value> {
        assert!(!self.dialect.is_ready());
        self.set_up(Line::Live);
        let mut sent = self.sent();
        assert_eq!(sent.remove(0)["type"], "session.update");
        sent
    }
}

fn texts(sent: &[Value]) -> Vec<String> {
    let of = |event: &Value| match event["type"].as_str() {
        Some(ITEM) => event["item"]["content"][0]["text"].as_str().unwrap_or_default().to_owned(),
        Some(RESPOND) => format!("-> {}", event["response"]["instructions"].as_str().unwrap_or_default()),
        other => other.unwrap_or_default().to_owned(),
    };
    sent.iter().map(of).collect()
}

#[test]
fn a_lost_connection_is_made_anew_and_told_what_was_said() {
    let mut stage = Stage::ready("");
    stage.says([
        json!({ "type": "conversation.item.input_audio_transcription.completed", "item_id": "u", "transcript": "Hello." }),
        created("r"),
        words("r", "i", "Good day."),
        sound("r", "i", &[1; 80]),
        sound_over("r", "i"),
        over("r", "completed"),
    ]);
    stage.events();
    assert_eq!(stage.loses(&closed(1006)), Fate::After(Duration::ZERO));
    assert!(stage.dialect.listens(), "what the caller says meanwhile is kept");
    let events = stage.events();
    assert!(matches!(events[..], [Event::Error { fatal: false, .. }]), "{events:?}");
    assert_eq!(texts(&stage.goes_on()), ["Hello.", "Good day."]);
    assert_eq!(stage.events(), [], "it is not ready a second time");
}

#[test]
fn an_answer_that_was_begun_is_finished_and_one_that_was_not_is_asked_for_again() {
    // Nothing of it was heard.
    let mut stage = Stage::ready("greeting = 'Say moin.'");
    stage.tell(Command::Greet);
    stage.says([created("r"), words("r", "i", "")]);
    stage.sent();
    stage.loses(&closed(1011));
    assert_eq!(texts(&stage.goes_on()), ["-> Be kind.\n\nSay moin."]);
    // It broke off.
    let mut stage = Stage::ready("");
    stage.says([created("r"), words("r", "i", "One two"), sound("r", "i", &[1; 80])]);
    stage.loses(&closed(1012));
    let events = stage.events();
    assert!(events.contains(&Event::AudioEnd { item: 1 }) && !events.contains(&Event::TurnEnd), "{events:?}");
    let sent = texts(&stage.goes_on());
    assert_eq!(sent[0], "One two");
    assert!(sent[1].contains("repeat nothing") && sent.len() == 2, "{sent:?}");
    stage.says([created("r2"), sound("r2", "i2", &[2; 80])]);
    assert_eq!(stage.events(), [ulaw(2, &[2; 80])], "an item of its own");
    // All of it came but for its end.
    let mut stage = Stage::ready("");
    stage.says([created("r"), words("r", "i", "One two"), sound("r", "i", &[1; 80]), sound_over("r", "i")]);
    stage.loses(&closed(1006));
    assert!(stage.events().contains(&Event::TurnEnd));
    assert_eq!(texts(&stage.goes_on()), ["One two"]);
    // The caller cut it off.
    let mut stage = Stage::ready("");
    stage.says([created("r"), words("r", "i", "One two"), sound("r", "i", &[1; 80]), began()]);
    stage.loses(&closed(1006));
    assert!(!texts(&stage.goes_on()).iter().any(|text| text.starts_with("->")));
}

#[test]
fn a_caller_whose_words_were_lost_is_asked_for_them_and_one_who_was_understood_is_answered() {
    let committed = || json!({ "type": "input_audio_buffer.committed", "item_id": "u" });
    let mut stage = Stage::ready("");
    stage.says([began(), stopped(), committed()]);
    stage.loses(&closed(1006));
    let sent = texts(&stage.goes_on());
    assert!(sent.len() == 1 && sent[0].contains("say them again"), "{sent:?}");
    let mut stage = Stage::ready("");
    let understood =
        json!({ "type": "conversation.item.input_audio_transcription.completed", "item_id": "u", "transcript": "Hi." });
    stage.says([began(), stopped(), committed(), understood.clone()]);
    stage.loses(&closed(1006));
    assert_eq!(texts(&stage.goes_on()), ["Hi.", "-> "]);
    // One who still speaks is heard out.
    let mut stage = Stage::ready("");
    stage.says([began()]);
    stage.loses(&closed(1006));
    assert_eq!(texts(&stage.goes_on()), [""; 0]);
}

#[test]
fn what_the_caller_says_meanwhile_is_heard_but_not_all_of_a_long_gap() {
    let mut stage = Stage::ready("input_format = 'pcm-16000'");
    stage.loses(&closed(1006));
    let now = stage.desk.now;
    let mut out = Vec::new();
    for n in 0..500_i16 {
        stage.dialect.speech(CallerFrame::Linear { pcm: &[n; 320], rate: 16_000 }, now, &mut out);
    }
    assert!(out.is_empty());
    let sent = stage.goes_on();
    let octets = STANDARD.decode(sent[0]["audio"].as_str().expect("sound")).expect("base64");
    assert_eq!(sent.len(), 1);
    assert_eq!(octets.len(), 2 * 16_000 * 2, "the last two seconds");
    assert_eq!((&octets[..2], &octets[octets.len() - 2..]), (&400_i16.to_le_bytes()[..], &499_i16.to_le_bytes()[..]));
    stage.dialect.speech(CallerFrame::Linear { pcm: &[7; 320], rate: 16_000 }, now, &mut out);
    assert!(!out.is_empty(), "and then it goes out as it comes");
}

#[test]
fn a_tool_that_is_at_work_answers_over_the_next_connection() {
    let calls = |id: &str| {
        json!({ "type": "response.function_call_arguments.done", "response_id": "r", "item_id": id,
                                    "call_id": id, "name": "look", "arguments": "{}" })
    };
    let mut stage = Stage::ready("");
    stage.says([created("r"), calls("a"), calls("b")]);
    stage.tell(Command::ToolResult { id: "a".into(), output: json!({ "n": 1 }) });
    stage.loses(&closed(1006));
    let sent = texts(&stage.goes_on());
    assert_eq!(sent, ["The tool look, which you called, answered: {\"n\":1}", "-> "]);
    stage.says([created("r2"), over("r2", "completed")]);
    stage.tell(Command::ToolResult { id: "b".into(), output: json!({ "n": 2 }) });
    assert_eq!(texts(&stage.sent()), ["The tool look, which you called, answered: {\"n\":2}", "-> "]);
    stage.tell(Command::ToolResult { id: "b".into(), output: json!({ "n": 2 }) });
    assert_eq!(stage.sent(), Vec::<Value>::new(), "once");
}

#[test]
fn what_another_connection_cannot_mend_is_the_end() {
    for error in [closed(1000), closed(1008), closed(1007), refused(401), refused(403), refused(404), refused(429)] {
        let mut stage = Stage::ready("");
        assert_eq!(stage.loses(&error), Fate::Over(Some(sentence(&error))), "{error}");
    }
    // Before anything was set up, and while it is made anew.
    let mut stage = Stage::new("");
    assert!(matches!(stage.loses(&closed(1006)), Fate::Over(Some(_))));
    let mut stage = Stage::ready("");
    assert_eq!(stage.loses(&closed(1006)), Fate::After(Duration::ZERO));
    assert!(matches!(stage.loses(&refused(401)), Fate::Over(Some(words)) if words.contains("the key")));
    let mut stage = Stage::ready("");
    stage.loses(&closed(1006));
    stage.dialect.opened(Line::Live, &mut stage.desk);
    stage.says([json!({ "type": "error", "error": { "code": "model_not_found", "message": "no" } })]);
    let last: Vec<Event> = stage.events().into_iter().rev().take(2).collect();
    assert!(matches!(&last[..], [Event::Ended, Event::Error { fatal: true, .. }]), "{last:?}");
}

#[test]
fn only_so_many_connections_are_made_within_a_minute() {
    let mut stage = Stage::ready("");
    for _ in 0..2 {
        let pauses: Vec<Fate> = (0..TRIES).map(|_| stage.loses(&refused(503))).collect();
        assert_eq!(pauses, PAUSES.map(Fate::After));
        stage.goes_on();
        stage.wait(WINDOW);
    }
    for _ in 0..TRIES {
        stage.loses(&closed(1006));
    }
    assert!(matches!(stage.loses(&closed(1006)), Fate::Over(Some(words)) if words.ends_with("4 times within 60 s")));
}
