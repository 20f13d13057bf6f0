//! What an operator does to a live call: keys, hold and resume, with a real softphone at the other end.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    Gateway, Setup,
    baresip::{Baresip, NUMBER},
    take_turn, wait_for,
};

const LIVE: Duration = Duration::from_secs(60);

fn ask(gateway: &Gateway, id: &str, what: &str, body: Option<&Value>) -> (u16, Value) {
    let answer = gateway.try_request("POST", &format!("/api/v2/calls/{id}/{what}"), body).expect("an answer");
    (answer.status, answer.json())
}

fn error(answer: (u16, Value)) -> (u16, String) {
    (answer.0, answer.1["error"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn an_operator_presses_keys_holds_a_call_and_takes_it_back() {
    let _turn = take_turn();
    let folder = tempfile::tempdir().expect("a folder");
    let phone = Baresip::start(folder.path(), &vec![0; 8_000 * 30], "PCMU");
    let gateway = Setup::new().trunk("pbx", phone.port, "").start();
    let id = gateway.place(NUMBER, &json!({ "systemPrompt": "Hello." }));
    gateway.wait_status(&id, &["in-flight"], LIVE);
    phone.wait_until_heard(Duration::from_secs(1), LIVE);

    let (status, refused) = ask(&gateway, &id, "keys", Some(&json!({ "keys": "12p" })));
    assert_eq!(status, 400);
    assert!(refused["error_description"].as_str().is_some_and(|text| text.starts_with("keys ")), "{refused}");
    let (status, pressed) = ask(&gateway, &id, "keys", Some(&json!({ "keys": "42#" })));
    assert_eq!((status, &pressed["ok"]), (202, &Value::Bool(true)), "{pressed}");
    wait_for("the phone to tell of the keys", LIVE, || {
        let told = phone.process.output();
        ["'4'", "'2'", "'#'"].iter().all(|key| told.contains(key)).then_some(())
    });

    for (what, on) in [("hold", true), ("hold", true), ("resume", false)] {
        let (status, held) = ask(&gateway, &id, what, None);
        assert_eq!((status, held["hold"].as_bool()), (200, Some(on)), "{held}");
        let keys = ask(&gateway, &id, "keys", Some(&json!({ "keys": "1" })));
        let expected = if on { (409, "on_hold".to_owned()) } else { (202, String::new()) };
        assert_eq!(error(keys), expected);
    }
    gateway.hang_up(&id);
    gateway.wait_status(&id, &["cancelled"], LIVE);
    for what in ["hold", "resume"] {
        assert_eq!(error(ask(&gateway, &id, what, None)), (409, "not_live".into()));
        assert_eq!(error(ask(&gateway, "oac-000000000000", what, None)), (404, "not_found".into()));
    }
}
