//! `kill -9` in the middle of everything: what was acknowledged is still there, and every call is where the restart
//! rules put it.

use crate::support;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use support::gateway::order;
use support::sipp::{Run, Scenario};
use support::{Setup, http};

const LIVE_CALLS: usize = 20;
const SOON: Duration = Duration::from_secs(40);

fn far_future() -> String {
    "2099-01-01T00:00:00.000Z".to_string()
}

#[test]
fn nothing_acknowledged_is_lost_when_the_box_is_killed_during_twenty_live_calls() {
    let answering = Scenario::new().receive_invite().reply("180 Ringing").answer(0).until_bye();
    let setup = Setup::new().engine("echo");
    let folder = setup.folder.path();
    let run = Run { folder, name: "callee", scenario: &answering, calls: 1_000, limit: 170, port: 0 };
    let sipp = run.answering();
    let gateway = setup.trunk("pbx", sipp.port, "max_calls = 40").start();

    let live: Vec<String> =
        (0..LIVE_CALLS).map(|n| gateway.place(&format!("+493012345{n:02}"), &json!({ "maxSeconds": 600 }))).collect();
    for id in &live {
        gateway.wait_status(id, &["in-flight"], SOON);
    }
    let scheduled: Vec<String> = (0..5)
        .map(|n| gateway.place(&format!("+493077700{n:02}"), &json!({ "scheduleAtUtc": far_future() })))
        .collect();

    // Orders go on arriving until the moment of death; those that got their 200 are the acknowledged ones.
    let stop = AtomicBool::new(false);
    let count = AtomicUsize::new(0);
    let address = gateway.setup.http;
    let bearer = format!("Bearer {}", gateway.token());
    let (setup, acknowledged) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
            let mut ids = Vec::new();
            let mut number = 0_u32;
            while !stop.load(Ordering::Relaxed) && number < 10_000 {
                number += 1;
                let body = order(&format!("+49309{number:06}"), &json!({ "scheduleAtUtc": far_future() })).to_string();
                match http::request(address, "POST", "/api.ashx/v1/calls", &headers, body.as_bytes()) {
                    Ok(answer) if answer.status == 200 => {
                        ids.push(answer.json()["callId"].as_str().expect("an id").to_string());
                        count.store(ids.len(), Ordering::Relaxed);
                    }
                    Ok(_) => {}
                    Err(_) => break,
                }
            }
            ids
        });
        support::wait_for("orders in flight", SOON, || (count.load(Ordering::Relaxed) >= 50).then_some(()));
        let setup = gateway.kill();
        stop.store(true, Ordering::Relaxed);
        (setup, writer.join().expect("the writer ends"))
    });
    eprintln!("{} orders acknowledged before the kill", acknowledged.len());

    let gateway = setup.start_again();
    for id in &live {
        let call = gateway.wait_status(id, &["ended-failed-final"], SOON);
        assert_eq!(call["endedReason"], "restarted", "{call}");
        assert!(call["endedAtUtc"].is_string() && call["answeredAtUtc"].is_string(), "{call}");
    }
    for id in scheduled.iter().chain(&acknowledged) {
        let call = gateway.call(id);
        assert_eq!(call["status"], "scheduled", "{call}");
        assert!(call["scheduledForUtc"].is_string(), "{call}");
    }
    let total = gateway.get("/api.ashx/v1/calls?limit=1").json()["total"].as_u64().expect("a number");
    let known = u64::try_from(live.len() + scheduled.len() + acknowledged.len()).expect("a count");
    assert!((known..=known + 1).contains(&total), "{total} calls where {known} were acknowledged");

    // The box that came back still calls.
    let id = gateway.place("+4930999", &json!({}));
    gateway.wait_status(&id, &["in-flight"], SOON);
    gateway.hang_up(&id);
}

#[test]
fn a_scheduled_call_is_placed_at_its_time_by_the_box_that_was_killed_before() {
    let answering = Scenario::new().receive_invite().reply("180 Ringing").answer(0).until_bye();
    let setup = Setup::new().engine("echo");
    let run = Run { folder: setup.folder.path(), name: "callee", scenario: &answering, calls: 1, limit: 100, port: 0 };
    let sipp = run.answering();
    let gateway = setup.trunk("pbx", sipp.port, "").start();
    let due = trunkline::clock::Clock::system().utc() + Duration::from_secs(8);
    let id = gateway.place("+4930123456", &json!({ "scheduleAtUtc": due.rfc3339() }));
    assert_eq!(gateway.call(&id)["status"], "scheduled");
    let gateway = gateway.kill().start_again();
    let call = gateway.wait_status(&id, &["in-flight"], SOON);
    assert!(call["dispatchedAtUtc"].as_str() >= Some(due.rfc3339().as_str()), "too early: {call}");
    gateway.hang_up(&id);
    sipp.succeeded(SOON);
}

#[test]
fn an_unanswered_call_with_retries_left_is_tried_again_after_a_restart() {
    let ringing = Scenario::new().receive_invite().reply("180 Ringing").pause(Duration::from_secs(60));
    let setup = Setup::new();
    let run = Run { folder: setup.folder.path(), name: "callee", scenario: &ringing, calls: 10, limit: 100, port: 0 };
    let sipp = run.answering();
    let gateway = setup.trunk("pbx", sipp.port, "").start();
    let id = gateway.place("+4930123456", &json!({ "retries": 2 }));
    support::wait_for("the INVITE", SOON, || (sipp.received("INVITE") > 0).then_some(()));
    let gateway = gateway.kill().start_again();
    let call = gateway.wait_status(&id, &["ended-failed-retry-pending", "dispatching"], SOON);
    assert!(call["retriesLeft"].as_u64() >= Some(1), "{call}");
}

#[test]
fn the_same_order_with_an_idempotency_key_is_one_call_across_a_kill() {
    let gateway = Setup::new().trunk("pbx", support::free_udp_port(), "").start();
    let body = order("+4930123456", &json!({ "scheduleAtUtc": far_future() })).to_string();
    let place = |gateway: &support::Gateway| -> BTreeMap<String, Value> {
        let bearer = format!("Bearer {}", gateway.token());
        let headers = [
            ("Authorization", bearer.as_str()),
            ("Content-Type", "application/json"),
            ("Idempotency-Key", "order-4711"),
        ];
        let answer = http::request(gateway.setup.http, "POST", "/api.ashx/v1/calls", &headers, body.as_bytes());
        let answer = answer.expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
        serde_json::from_value(answer.json()).expect("an object")
    };
    let first = place(&gateway);
    let gateway = gateway.kill().start_again();
    let second = place(&gateway);
    assert_eq!(first["callId"], second["callId"]);
    assert_eq!(gateway.get("/api.ashx/v1/calls").json()["total"], 1);
}
