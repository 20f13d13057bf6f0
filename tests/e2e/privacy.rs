//! What the log says at info over whole calls, and what it must not say.

use crate::support;
use std::time::Duration;

use serde_json::json;

use support::gateway::PASSWORD;
use support::sipp::{Run, Scenario};
use support::{Gateway, Setup};

const SOON: Duration = Duration::from_secs(30);
const CALLEE: &str = "+4930555123987";
const CALLER: &str = "+4915177788899";
const NAME: &str = "Wilhelmina Oberhauser";
const MAIL: &str = "wilhelmina.oberhauser@example.net";
const PROMPT: &str = "Remind the patient of the cardiology appointment.";
const KEY: &str = "engine-key-9f8e7d6c5b4a";
const TRUNK_PASSWORD: &str = "trunk-password-31415926";

/// Every piece of what nobody but the two parties should read. Numbers also without their plus sign.
fn private() -> Vec<String> {
    let mut words: Vec<String> =
        [CALLEE, CALLER, NAME, MAIL, PROMPT, KEY, TRUNK_PASSWORD, PASSWORD].map(str::to_string).to_vec();
    words.extend(
        [&CALLEE[1..], &CALLER[1..], "Wilhelmina", "cardiology", "appointment", "hemorrhoid"].map(str::to_string),
    );
    words
}

#[track_caller]
fn assert_silent_about(gateway: &Gateway, words: &[String]) {
    let log = gateway.log();
    assert!(log.lines().count() >= 3, "the log says nothing at all:\n{log}");
    for line in log.lines() {
        for word in words {
            assert!(!line.contains(word.as_str()), "the log holds “{word}”: {line}");
        }
    }
}

#[test]
fn a_whole_outbound_and_inbound_call_leave_no_personal_data_in_the_log() {
    let callee = Scenario::new().receive_invite().reply("180 Ringing").answer(0).pause(Duration::from_secs(4));
    let callee = callee.bye_of_callee();
    let setup = Setup::new();
    let folder = setup.folder.path();
    let sipp = Run { folder, name: "callee", scenario: &callee, calls: 1, limit: 60, port: 0 }.answering();
    let trunk = format!("username = \"account-77\"\npassword = \"{TRUNK_PASSWORD}\"");
    let number = "\n[[number]]\nname = \"Desk\"\nnumber = \"1234\"\nvisibility = \"public\"\n\
                  system_prompt = \"This is the hemorrhoid clinic. What do you need?\"\n";
    let gateway = setup.trunk("pbx", sipp.port, &trunk).more(number).start();

    let order = json!({ "displayName": NAME, "email": MAIL, "systemPrompt": PROMPT, "apiKey": KEY });
    let id = gateway.place(CALLEE, &order);
    gateway.wait_status(&id, &["ended-success"], SOON);
    sipp.succeeded(SOON);
    gateway.transcript(&id);

    let caller = Scenario::new().invite("1234", CALLER, 0).expect_optional(180).expect_optional(183).expect(200);
    let caller = caller.ack("1234", CALLER).pause(Duration::from_secs(4)).bye("1234", CALLER);
    let folder = gateway.setup.folder.path();
    let run = Run { folder, name: "caller", scenario: &caller, calls: 1, limit: 60, port: 0 };
    run.calling(gateway.setup.sip, 1).succeeded(SOON);
    support::wait_for("the inbound transcript", SOON, || {
        (gateway.get("/api.ashx/v1/transcripts?source=vnum").json()["total"] == 1).then_some(())
    });

    let mut words = private();
    words.push(gateway.token().to_string());
    // Whatever was really said, as the transcript has it.
    let transcript = gateway.transcript(&id);
    for turn in transcript["turns"].as_array().into_iter().flatten() {
        words.extend(turn["text"].as_str().filter(|text| text.len() > 8).map(str::to_string));
    }
    assert_silent_about(&gateway, &words);
}

#[test]
fn failures_are_logged_without_personal_data() {
    let callee = Scenario::new().receive_invite().refuse("500 Server Internal Error");
    let setup = Setup::new();
    let folder = setup.folder.path();
    let sipp = Run { folder, name: "callee", scenario: &callee, calls: 1, limit: 60, port: 0 }.answering();
    let trunk = format!("username = \"account-77\"\npassword = \"{TRUNK_PASSWORD}\"");
    let gateway = setup.trunk("pbx", sipp.port, &trunk).start();
    let order = json!({ "displayName": NAME, "email": MAIL, "systemPrompt": PROMPT, "apiKey": KEY });
    let id = gateway.place(CALLEE, &order);
    gateway.wait_status(&id, &["ended-failed-final"], SOON);

    let headers = [("Content-Type", "application/x-www-form-urlencoded")];
    let form = format!("grant_type=password&client_id=codeb-admin&username={NAME}&password=wrong-{KEY}&scope=openid");
    let address = gateway.setup.http;
    let answer = support::http::request(address, "POST", "/oidc.ashx/token", &headers, form.as_bytes());
    assert_eq!(answer.expect("an answer").status, 400);
    // A body that cannot be read and a bearer that is none are refusals too.
    let broken = format!("{{\"phone\": \"{CALLEE}\", ");
    let headers = [("Authorization", "Bearer ak_00000000000000000000000000000000")];
    let answer = support::http::request(address, "POST", "/api.ashx/v1/calls", &headers, broken.as_bytes());
    assert_eq!(answer.expect("an answer").status, 401);
    assert_silent_about(&gateway, &private());
}
