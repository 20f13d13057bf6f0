//! A caller and a person, both real softphones, joined by the whole program: what the one says the other hears whole.

use std::time::Duration;

use serde_json::{Value, json};
use trunkline::config::SpeechConfig;
use trunkline::speech::{Speech, Voice};

use crate::support::{
    Gateway, Setup, audio,
    baresip::{Baresip, NUMBER},
    damage, http, take_turn, wait_for,
};

const LIVE: Duration = Duration::from_secs(60);
const CALLER_SAYS: &str = "I would like to speak to somebody about the broken window in our kitchen.";
const PERSON_SAYS: &str = "Good afternoon, the workshop is speaking, what can we do for you today?";
const WHISPER: &str = "A customer is waiting.";

fn speech() -> Speech {
    Speech::start(&SpeechConfig { model_directory: None, threads: 1 }).expect("the speech threads start")
}

/// What the box's voice makes of `text`, at the phone's rate.
fn spoken(speech: &Speech, text: &str, voice: Voice) -> Vec<i16> {
    let mut pieces = speech.speak(text.to_owned(), voice);
    let mut all = Vec::new();
    while let Some(piece) = pieces.blocking_recv() {
        all.extend(audio::resample(&piece.pcm, f64::from(piece.rate), 8_000.0));
    }
    all
}

/// `words` again and again with a second between, for a minute.
fn repeated(words: &[i16]) -> Vec<i16> {
    let mut all = Vec::new();
    while all.len() < 60 * 8_000 {
        all.extend_from_slice(words);
        all.extend([0; 8_000]);
    }
    all
}

fn transfer(gateway: &Gateway, id: &str, body: &Value) -> (u16, Value) {
    let path = format!("/api/v2/calls/{id}/transfer");
    let answer = gateway.try_request("POST", &path, Some(body)).expect("an answer");
    (answer.status, answer.json())
}

fn refused(gateway: &Gateway, id: &str, body: &Value) -> (u16, String) {
    let (status, body) = transfer(gateway, id, body);
    (status, body["error"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn two_softphones_joined_by_a_transfer_hear_each_other_without_damage() {
    let _turn = take_turn();
    let speech = speech();
    let (caller_words, person_words) =
        (spoken(&speech, CALLER_SAYS, Voice::Kal), spoken(&speech, PERSON_SAYS, Voice::Kal));
    let (one, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let caller = Baresip::start(one.path(), &repeated(&caller_words), "PCMU");
    let person = Baresip::start(other.path(), &repeated(&person_words), "PCMA");
    let gateway = Setup::new().trunk("pbx", caller.port, "").trunk("desk", person.port, "internal = true").start();
    let id = gateway.place(NUMBER, &json!({ "systemPrompt": "Hello." }));
    gateway.wait_status(&id, &["in-flight"], LIVE);
    caller.wait_until_heard(Duration::from_secs(1), LIVE);

    let to = |destination: &str| json!({ "destination": destination });
    assert_eq!(refused(&gateway, &id, &json!({})), (400, "bad_request".into()));
    assert_eq!(refused(&gateway, &id, &to("the boss")), (400, "bad_request".into()));
    assert_eq!(refused(&gateway, &id, &to("+1900123456")), (403, "not_allowed".into()));
    assert_eq!(refused(&gateway, "oac-000000000000", &to("+4930")), (404, "not_found".into()));
    let refer = json!({ "destination": NUMBER, "mode": "refer" });
    assert_eq!(refused(&gateway, &id, &refer), (409, "no_refer".into()));

    let desk = format!("sip:{NUMBER}@127.0.0.1:{}", person.port);
    let (status, begun) = transfer(&gateway, &id, &json!({ "destination": desk, "whisper": WHISPER }));
    assert_eq!((status, begun["mode"].as_str()), (202, Some("bridge")), "{begun}");
    assert_eq!(refused(&gateway, &id, &to(&desk)), (409, "not_live".into()), "one at a time");
    person.wait_until_heard(Duration::from_secs(22), LIVE);
    gateway.hang_up(&id);
    gateway.wait_status(&id, &["cancelled", "ended-success"], LIVE);
    assert_eq!(refused(&gateway, &id, &to(&desk)), (409, "not_live".into()));

    let (caller_heard, person_heard) = (caller.heard(), person.heard());
    for (who, words, heard) in [("caller", &person_words, &caller_heard), ("person", &caller_words, &person_heard)] {
        let damage = damage::examine(words, heard);
        eprintln!("the {who} heard: {damage:?}");
        assert!(damage.none(), "the {who} heard it damaged: {damage:?}");
    }
    let whisper = spoken(&speech, WHISPER, Voice::named("Aoede"));
    let heard = damage::examine(&whisper, &person_heard);
    assert!(heard.none(), "the person did not hear the whisper: {heard:?}");
    let overheard = damage::examine(&whisper, &caller_heard);
    assert!(overheard.likeness < 0.5, "the caller heard the whisper: {overheard:?}");

    let recordings = gateway.recordings();
    assert_eq!(recordings.len(), 1, "one call, one recording: {recordings:?}");
    for (channel, words) in [(0, &caller_words), (1, &person_words)] {
        let (recorded, _) = audio::read_channel(&recordings[0], channel);
        let damage = damage::examine(words, &recorded);
        assert!(damage.none(), "channel {channel}: {damage:?}");
    }
    let text = wait_for("the transcript's file", Duration::from_secs(10), || {
        let folder = std::fs::read_dir(gateway.setup.state().join("transcripts")).ok()?;
        let file =
            folder.flatten().map(|entry| entry.path()).find(|path| path.extension().is_some_and(|end| end == "txt"))?;
        std::fs::read_to_string(file).ok()
    });
    assert!(text.contains(&format!("-- transferred to {desk}: answered")), "{text}");
}

/// SIPp and baresip 1.0 know MD5 only, and give up when they are offered SHA-256 as well.
#[test]
fn a_softphone_that_registered_is_the_person_and_both_hear_each_other_without_damage() {
    let _turn = take_turn();
    let speech = speech();
    let (caller_words, person_words) =
        (spoken(&speech, CALLER_SAYS, Voice::Kal), spoken(&speech, PERSON_SAYS, Voice::Kal));
    let (one, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let caller = Baresip::start(one.path(), &repeated(&caller_words), "PCMU");
    let mut setup = Setup::new().trunk("pbx", caller.port, "");
    setup.sip_keys = "digest = [\"md5\"]";
    let gateway = setup.more("\n[[extension]]\nuser = \"100\"\npassword = \"secret\"\n").start();
    let person =
        Baresip::registering(other.path(), &repeated(&person_words), gateway.setup.sip, ("100", "secret"), &[]);
    wait_for("the phone to register", LIVE, || {
        let page = http::request(gateway.setup.http, "GET", "/metrics", &[], b"").expect("metrics").text();
        page.contains("trunkline_sip_registered_contacts 1").then_some(())
    });
    let id = gateway.place(NUMBER, &json!({ "systemPrompt": "Hello." }));
    gateway.wait_status(&id, &["in-flight"], LIVE);
    caller.wait_until_heard(Duration::from_secs(1), LIVE);
    let (status, begun) = transfer(&gateway, &id, &json!({ "destination": "100" }));
    assert_eq!((status, begun["mode"].as_str()), (202, Some("bridge")), "{begun}");
    person.wait_until_heard(Duration::from_secs(12), LIVE);
    let trace = gateway.get(&format!("/api/v2/calls/{id}/trace")).json();
    let invites = trace["messages"].as_array().expect("messages").iter();
    let invites = invites.filter(|message| message["summary"].as_str().is_some_and(|text| text.starts_with("INVITE")));
    assert_eq!(invites.count(), 2, "both legs are in the call's trace: {trace}");
    gateway.hang_up(&id);
    gateway.wait_status(&id, &["cancelled", "ended-success"], LIVE);
    for (who, words, heard) in [("caller", &person_words, caller.heard()), ("person", &caller_words, person.heard())] {
        let damage = damage::examine(words, &heard);
        assert!(damage.none(), "the {who} heard it damaged: {damage:?}");
    }
}
