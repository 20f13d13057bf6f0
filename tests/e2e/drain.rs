//! Stopping: live calls get their time, then BYE; a second signal does not wait.

#![allow(clippy::disallowed_methods)]

use crate::support;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use support::sipp::{Run, Scenario, Sipp, count_received};
use support::{Gateway, Setup, http};

const SOON: Duration = Duration::from_secs(20);

fn one_live_call(drain_seconds: u64) -> (Gateway, Sipp, String) {
    let answering = Scenario::new().receive_invite().reply("180 Ringing").answer(0).until_bye();
    let mut setup = Setup::new().engine("echo");
    setup.drain_seconds = drain_seconds;
    let run = Run { folder: setup.folder.path(), name: "callee", scenario: &answering, calls: 1, limit: 100, port: 0 };
    let sipp = run.answering();
    let gateway = setup.trunk("pbx", sipp.port, "").start();
    let id = gateway.place("+4930123456", &json!({ "maxSeconds": 600 }));
    gateway.wait_status(&id, &["in-flight"], SOON);
    (gateway, sipp, id)
}

#[test]
fn live_calls_go_on_after_the_first_signal_and_end_with_bye_when_their_time_is_up() {
    let (mut gateway, sipp, id) = one_live_call(4);
    let begin = Instant::now();
    gateway.process.signal(Signal::SIGTERM);
    support::wait_for("new orders to be refused", Duration::from_secs(3), || {
        let order = support::gateway::order("+4930777", &json!({}));
        let answer = gateway.try_request("POST", "/api.ashx/v1/calls", Some(&order)).ok()?;
        [502, 503].contains(&answer.status).then_some(())
    });
    assert_eq!(gateway.call(&id)["status"], "in-flight", "the live call did not survive the first signal");
    assert_eq!(sipp.received("BYE"), 0);
    let status = gateway.process.wait(Duration::from_secs(15));
    let took = begin.elapsed();
    assert!(status.success(), "{status}");
    assert!(took >= Duration::from_secs(4), "ended after {took:?}: the call had 4 s");
    let messages = sipp.succeeded(SOON);
    assert_eq!(count_received(&messages, "BYE"), 1);

    let gateway = gateway.kill().start_again();
    let call = gateway.call(&id);
    assert_eq!((&call["status"], &call["endedReason"]), (&"ended-failed-final".into(), &"restarted".into()), "{call}");
    assert!(call["durationSec"].as_u64() >= Some(4), "{call}");
}

#[test]
fn a_second_signal_ends_live_calls_at_once() {
    let (mut gateway, sipp, _) = one_live_call(120);
    gateway.process.signal(Signal::SIGTERM);
    support::wait_for("the drain to begin", SOON, || gateway.log().contains("stopping").then_some(()));
    gateway.process.signal(Signal::SIGTERM);
    let status = gateway.process.wait(Duration::from_secs(10));
    assert!(status.success(), "{status}");
    let messages = sipp.succeeded(SOON);
    assert_eq!(count_received(&messages, "BYE"), 1);
}

#[test]
fn a_box_without_calls_does_not_wait_for_the_drain_time() {
    let mut setup = Setup::new().trunk("pbx", support::free_udp_port(), "");
    setup.drain_seconds = 60;
    let gateway = setup.start();
    let address = gateway.setup.http;
    let begin = Instant::now();
    let (_setup, status) = gateway.terminate(Duration::from_secs(10));
    assert!(status.success(), "{status}");
    assert!(begin.elapsed() < Duration::from_secs(5), "took {:?}", begin.elapsed());
    assert!(http::request(address, "GET", "/healthz", &[], b"").is_err(), "still listening");
}

#[test]
fn a_draining_box_refuses_inbound_calls_and_keeps_the_live_one() {
    let (gateway, sipp, id) = one_live_call(20);
    gateway.process.signal(Signal::SIGTERM);
    support::wait_for("the drain to begin", SOON, || gateway.log().contains("stopping").then_some(()));
    let stranger = Scenario::new().invite("1234", "+4915112345", 0).expect(503).ack_refusal("1234", "+4915112345");
    let folder = gateway.setup.folder.path();
    let run = Run { folder, name: "stranger", scenario: &stranger, calls: 1, limit: 15, port: 0 };
    // From another port of the trunk's address: the source still belongs to the trunk.
    run.calling(gateway.setup.sip, 1).succeeded(SOON);
    assert_eq!(gateway.call(&id)["status"], "in-flight");
    gateway.hang_up(&id);
    sipp.succeeded(SOON);
}
