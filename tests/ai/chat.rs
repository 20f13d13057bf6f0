//! The chat brain against a real HTTP server on loopback that streams, stalls, breaks off and talks nonsense.
#![allow(clippy::expect_used, clippy::panic)] // functions that tests share are not inside `#[test]`

mod server;
mod tools;

use std::time::Duration;

use trunkline::ai::{Command, Event, Person, SessionOptions, Usage};
use trunkline::config::SpeechConfig;
use trunkline::speech::{Speech, Voice};

use crate::common::{Phone, is_hang_up, options};
use crate::voice;
use server::{Answer, MINUTE, Server, stream};

fn mute() -> Speech {
    Speech::start(&SpeechConfig::default()).expect("starts")
}

fn greeted(server: &Server, speech: &Speech) -> Phone {
    let mut phone = server.phone(speech);
    phone.command(Command::Greet);
    phone
}

#[test]
fn speaks_a_stream_cut_at_odd_bytes_and_reports_its_tokens() {
    for size in [1, 7, 1_000_000] {
        let server = Server::start(vec![Answer::Stream(stream("Good morning, “Café Zoë”. How can I help you?"), size)]);
        let mut phone = greeted(&server, &mute());
        phone.until_played(MINUTE);
        assert_eq!(phone.said(), ["Good morning, “Café Zoë”.", "How can I help you?"]);
        let usage = Event::Usage(Usage { prompt_tokens: 12, total_tokens: 17 });
        assert!(phone.events.iter().any(|(_, event)| *event == usage));
        let (path, key, body) = server.request(0);
        assert_eq!(path, "/v1/chat/completions");
        assert_eq!(key.as_deref(), Some("Bearer sesame"));
        assert_eq!((body["model"].as_str(), body["stream"].as_bool()), (Some("small"), Some(true)));
        let system = body["messages"][0]["content"].as_str().expect("system");
        assert!(system.starts_with("You are the dentist's receptionist."), "{system}");
    }
}

#[test]
fn the_first_sentence_is_spoken_while_the_rest_is_still_being_written() {
    let whole = stream("The first sentence. The second one.");
    let cut = whole.find("sec").expect("second");
    let cut = whole[..cut].rfind("data:").expect("chunk");
    let server = Server::start(vec![Answer::InTwo(whole[..cut].into(), whole[cut..].into())]);
    let mut phone = greeted(&server, &mute());
    phone.until(MINUTE, |event| matches!(event, Event::AudioEnd { .. }));
    assert_eq!(phone.said(), ["The first sentence."]);
    phone.run(Duration::from_millis(100));
    assert!(!phone.events.iter().any(|(_, event)| *event == Event::TurnEnd), "the turn goes on");
    server.release();
    phone.until_played(MINUTE);
    assert_eq!(phone.said(), ["The first sentence.", "The second one."]);
}

#[test]
fn keeps_the_history_and_sends_keys_as_words() {
    let server = Server::start(vec![
        Answer::Stream(stream("Hello."), 50),
        Answer::Stream(stream("At nine."), 50),
        Answer::Stream(stream("Very well."), 50),
    ]);
    let mut phone = greeted(&server, &mute());
    phone.until_played(MINUTE);
    phone.command(Command::Text("When do you open?".into()));
    phone.until_played(MINUTE);
    for key in ['4', '2'] {
        phone.command(Command::Key(key));
        phone.run(Duration::from_millis(300));
    }
    phone.until_played(MINUTE);
    let expected = [
        ("user", "(The phone was answered. Speak first.)"),
        ("assistant", "Hello."),
        ("user", "When do you open?"),
        ("assistant", "At nine."),
        ("user", "(The caller pressed 42 on the keypad.)"),
    ];
    assert_eq!(server.turns(2), expected.map(|(role, text)| (role.to_owned(), text.to_owned())));
}

#[test]
fn an_interruption_ends_the_answer_and_cuts_the_history_to_what_was_heard() {
    let speech = voice::with_model();
    let long = "One two three four five six seven eight nine ten eleven twelve. This was never heard. Nor was this.";
    let server = Server::start(vec![Answer::Stream(stream(long), 400), Answer::Stream(stream("Of course."), 50)]);
    let mut phone = greeted(&server, &speech);
    phone.until(MINUTE, |event| matches!(event, Event::TurnEnd));
    phone.speak(&voice::telephone(&voice::say(&speech, "Stop, please stop talking.", Voice::Kal)));
    phone.until(MINUTE, |event| matches!(event, Event::SpeechStarted { .. }));
    assert!(phone.is_playing() || phone.flushes == 1);
    phone.until_played(MINUTE);
    assert_eq!(phone.said().last().map(String::as_str), Some("Of course."), "{:#?}", phone.words());
    let turns = server.turns(1);
    let (role, heard) = &turns[1];
    assert_eq!(role, "assistant");
    assert!(heard.starts_with("One") && heard.ends_with('…') && !heard.contains("twelve"), "{heard}");
    assert!(turns[2].1.to_lowercase().contains("stop"), "{turns:?}");
}

#[test]
fn text_put_in_while_the_agent_speaks_interrupts_it() {
    let long = "This is a long sentence that goes on and on for quite a while before it comes to its end. And another.";
    let server = Server::start(vec![Answer::Stream(stream(long), 400), Answer::Stream(stream("Yes."), 50)]);
    let mut phone = greeted(&server, &mute());
    phone.until(MINUTE, |event| matches!(event, Event::TurnEnd));
    phone.run(Duration::from_millis(1_500));
    phone.command(Command::Text("Quick question.".into()));
    phone.until_played(MINUTE);
    assert_eq!(phone.flushes, 1);
    let heard = &server.turns(1)[1].1;
    assert!(heard.starts_with("This is a") && heard.ends_with('…'), "{heard}");
}

#[test]
fn every_failure_is_apologised_for_and_the_next_turn_tries_again() {
    let nonsense = "data: {\"choices\": [\n\n".to_owned();
    let failures = [
        (Answer::Status(500), "answered 500"),
        (Answer::Status(401), "answered 401"),
        (Answer::Never, "silent for 1 s"),
        (Answer::InTwo(": ping\n\n".into(), String::new()), "silent for 1 s"),
        (Answer::Stream(nonsense, 50), "no JSON chunk"),
        (Answer::Stream("<html>Not found</html>".into(), 50), "without an answer"),
        (Answer::Stream("data: {\"error\":{\"message\":\"secret words\"}}\n\n".into(), 50), "reported an error"),
        (Answer::BreakOff("data: {\"choices\":[{\"delta\":{\"content\":\"Well\"}}]}\n\n".into()), "broke off"),
        (Answer::Stream("x".repeat(400_000), 4_000), "endless line"),
    ];
    for (failure, problem) in failures {
        let server = Server::start(vec![failure, Answer::Stream(stream("Now it works."), 50)]);
        let mut phone = greeted(&server, &mute());
        // Silent servers are given a real second; virtual time runs faster meanwhile.
        let error = phone.until(
            20 * MINUTE,
            |event| matches!(event, Event::Error { message, .. } if message.contains("chat server")),
        );
        let Event::Error { message, fatal } = error else { unreachable!() };
        assert!(message.contains(problem) && !fatal, "{message}");
        assert!(!message.contains("secret"), "{message}");
        phone.until_played(MINUTE);
        assert!(phone.said().join(" ").contains("I am sorry"), "{problem}: {:?}", phone.said());
        phone.command(Command::Text("Hello?".into()));
        phone.until_played(MINUTE);
        assert_eq!(phone.said().last().map(String::as_str), Some("Now it works."));
    }
}

#[test]
fn a_server_that_is_not_there_is_apologised_for() {
    let server = Server::start(vec![Answer::Never]);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("port").local_addr().expect("address");
    let gone = Server { address: nobody, ..server };
    let mut phone = greeted(&gone, &mute());
    phone.until_played(20 * MINUTE);
    assert!(phone.said().join(" ").contains("I am sorry"));
}

#[test]
fn a_server_on_the_lan_is_asked_over_tls_under_the_operators_own_authority_and_no_other() {
    let good = Server::over_tls(vec![Answer::Stream(stream("Safe and sound."), 50)]);
    let mut phone = greeted(&good, &mute());
    phone.until_played(MINUTE);
    assert_eq!(phone.said(), ["Safe and sound."]);

    let foreign = Server::over_tls(vec![Answer::Stream(stream("Trust me."), 50)]);
    let impostor = Server { address: foreign.address, ..good };
    let mut phone = greeted(&impostor, &mute());
    phone.until_played(20 * MINUTE);
    assert!(phone.said().join(" ").contains("I am sorry"), "{:?}", phone.said());
    assert!(foreign.requests.lock().expect("requests").is_empty(), "the key was shown to a stranger");
}

#[test]
fn a_server_that_does_not_stream_is_understood() {
    let json = r#"{"choices":[{"message":{"role":"assistant","content":"All at once. Really."}}],"usage":{"prompt_tokens":1,"total_tokens":2}}"#;
    let server = Server::start(vec![Answer::Json(json.into())]);
    let mut phone = greeted(&server, &mute());
    phone.until_played(MINUTE);
    assert_eq!(phone.said(), ["All at once.", "Really."]);
}

#[test]
fn the_agent_can_hang_up() {
    let server = Server::start(vec![Answer::Stream(stream("It was nice talking to you. Goodbye. [hangup]"), 50)]);
    let mut phone = greeted(&server, &mute());
    let end = phone.until(MINUTE, is_hang_up);
    assert_eq!(end, Event::HangUp { outcome: "finished".into() });
    assert_eq!(phone.said(), ["It was nice talking to you.", "Goodbye."]);
}

#[test]
fn the_agent_can_connect_to_a_person_where_there_is_one_and_goes_on_when_nobody_comes() {
    let answers = || {
        vec![
            Answer::Stream(stream("Of course, I connect you. [Transfer]"), 50),
            Answer::Stream(stream("Nobody is there. May I help?"), 50),
        ]
    };
    let server = Server::start(answers());
    let person = Person { destination: "+4930123".into(), whisper: true };
    let mut phone = server.phone_with(&mute(), SessionOptions { person: Some(person), ..options("") });
    phone.command(Command::Greet);
    let wanted = phone.until(MINUTE, |event| matches!(event, Event::TransferRequested { .. }));
    assert!(
        matches!(&wanted, Event::TransferRequested { destination, whisper: Some(_) } if destination == "+4930123"),
        "{wanted:?}"
    );
    assert_eq!(phone.said(), ["Of course, I connect you."]);
    let system = server.request(0).2["messages"][0]["content"].as_str().expect("text").to_owned();
    assert!(system.contains("[transfer]"), "{system}");
    phone.command(Command::TransferBegun);
    phone.command(Command::TransferFailed { outcome: "busy".into() });
    phone.until(MINUTE, |event| matches!(event, Event::AgentText { text, .. } if text.contains("May I help")));
    assert!(server.turns(1).last().is_some_and(|(role, text)| role == "user" && text.contains("busy")));
    // Without anybody the word means nothing.
    let server = Server::start(answers());
    let mut phone = greeted(&server, &mute());
    phone.until(MINUTE, |event| *event == Event::TurnEnd);
    assert!(!phone.events.iter().any(|(_, event)| matches!(event, Event::TransferRequested { .. })));
    assert_eq!(phone.said(), ["Of course, I connect you."]);
}
