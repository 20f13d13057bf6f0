//! Which trunk a call goes through, how fast, and how trunks are seen by operators.

use crate::support;
use std::time::Duration;

use serde_json::{Value, json};

use support::sipp::{Run, Scenario, Sipp};
use support::{Gateway, Setup, free_udp_port, http, wait_for};

const SOON: Duration = Duration::from_secs(20);
const PHONE: &str = "+4930123456";

fn answering(setup: &Setup, calls: u32) -> Sipp {
    let scenario = Scenario::new().receive_invite().reply("100 Trying").reply("180 Ringing").answer(0).until_bye();
    Run { folder: setup.folder.path(), name: "callee", scenario: &scenario, calls, limit: 100, port: 0 }.answering()
}

#[track_caller]
fn trunk(gateway: &Gateway, name: &str) -> Value {
    let answer = gateway.get("/api/v2/trunks");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let listed = answer.json();
    let found = listed["trunks"].as_array().and_then(|all| all.iter().find(|trunk| trunk["name"] == name).cloned());
    found.unwrap_or_else(|| panic!("no {name} in {listed}"))
}

#[test]
fn a_dead_trunk_is_shown_skipped_and_takes_nothing_out_of_service() {
    let mut setup = Setup::new().engine("echo");
    setup.t1_ms = 50;
    let sipp = answering(&setup, 1);
    let dead = free_udp_port();
    let setup = setup.trunk("dead", dead, "options_seconds = 1").trunk("alive", sipp.port, "");
    let gateway = setup.start();
    let down = wait_for("the dead trunk to be seen", SOON * 2, || {
        Some(trunk(&gateway, "dead")).filter(|trunk| trunk["health"] == "down")
    });
    assert!(down["lastError"].is_string() && down["calls"] == 0 && down["maxCalls"] == 30, "{down}");
    let ready = gateway.get("/readyz");
    assert_eq!(ready.status, 200, "{}", ready.text());
    let told = ready.json()["trunks"].clone();
    assert_eq!((&told[0]["name"], &told[0]["ok"]), (&json!("dead"), &json!(false)), "{told}");
    let metrics = gateway.get("/metrics").text();
    assert!(metrics.contains("trunkline_trunk_usable{trunk=\"dead\"} 0"), "{metrics}");

    let id = gateway.place(PHONE, &json!({}));
    gateway.wait_status(&id, &["in-flight"], Duration::from_secs(5));
    assert_eq!(trunk(&gateway, "alive")["calls"], 1);
    gateway.hang_up(&id);
    sipp.succeeded(SOON);
    assert!(!gateway.log().contains(&dead.to_string()), "addresses stay out of the log");
}

#[test]
fn only_administrators_see_trunks_and_no_field_opens_a_header() {
    let setup = Setup::new().engine("echo").trunk("pbx", free_udp_port(), "destinations = [\"+49\"]");
    let gateway = setup.start();
    let stranger = http::request(gateway.setup.http, "GET", "/api/v2/trunks", &[], b"").expect("an answer");
    assert_eq!(stranger.status, 401, "{}", stranger.text());
    let shown = trunk(&gateway, "pbx");
    assert_eq!((&shown["registration"], &shown["health"]), (&json!("off"), &json!("unknown")), "{shown}");
    for (field, value) in [
        ("displayName", "Ann\r\nP-Asserted-Identity: <sip:boss@example.com>"),
        ("displayName", "Ann\u{0}"),
        ("displayName", "Ann\u{85}"),
        ("trunk", "pbx\nRoute: <sip:evil.example.com>"),
        ("phone", "+4930\r\nX: y"),
        ("trunk", "nosuch"),
    ] {
        let order = support::gateway::order(PHONE, &json!({ field: value }));
        let answer = gateway.try_request("POST", "/api.ashx/v1/calls", Some(&order)).expect("an answer");
        assert_eq!(answer.status, 400, "{field} {value:?}: {}", answer.text());
    }
    let abroad = support::gateway::order("+4312345678", &json!({}));
    let answer = gateway.try_request("POST", "/api.ashx/v1/calls", Some(&abroad)).expect("an answer");
    assert_eq!(answer.status, 400, "no trunk goes there: {}", answer.text());
}

#[test]
fn calls_beyond_those_of_a_second_wait_their_turn() {
    let setup = Setup::new().engine("echo");
    let sipp = answering(&setup, 3);
    let gateway = setup.trunk("pbx", sipp.port, "calls_per_second = 1").start();
    let ids: Vec<String> = (0..3).map(|_| gateway.place(PHONE, &json!({ "trunk": "pbx" }))).collect();
    let mut dispatched: Vec<String> = Vec::new();
    for id in &ids {
        let call = gateway.wait_status(id, &["in-flight"], SOON);
        dispatched.push(call["dispatchedAtUtc"].as_str().expect("a time").to_owned());
    }
    dispatched.sort();
    let millis = |text: &String| {
        let time: jiff::Timestamp = text.parse().expect("RFC 3339");
        time.as_millisecond()
    };
    let gaps: Vec<i64> = dispatched.windows(2).map(|pair| millis(&pair[1]) - millis(&pair[0])).collect();
    assert!(gaps.iter().all(|gap| *gap >= 900), "{gaps:?}");
    for id in &ids {
        gateway.hang_up(id);
    }
    sipp.succeeded(SOON);
}
