//! SIPp as the far end: what a PBX or a carrier does to a call, and how it shows in the record.

use crate::support;
use std::time::Duration;

use serde_json::{Value, json};

use support::caller::{Caller, ForgetfulPhone};
use support::sipp::{Run, Scenario, Sipp, write_capture};
use support::{Gateway, Setup, audio};

const SOON: Duration = Duration::from_secs(20);
const PHONE: &str = "+4930123456";

fn tone(seconds: u32, hertz: f64) -> Vec<i16> {
    (0..seconds * 8_000)
        .map(|index| ((std::f64::consts::TAU * hertz * f64::from(index) / 8_000.0).sin() * 8_000.0) as i16)
        .collect()
}

/// A gateway whose trunk is a SIPp with `scenario`.
fn against(scenario: &Scenario, calls: u32, engine: &'static str, trunk: &str) -> (Gateway, Sipp) {
    let setup = Setup::new().engine(engine);
    let run = Run { folder: setup.folder.path(), name: "callee", scenario, calls, limit: 100, port: 0 };
    let sipp = run.answering();
    (setup.trunk("pbx", sipp.port, trunk).start(), sipp)
}

fn ringing_then(scenario: impl FnOnce(Scenario) -> Scenario) -> Scenario {
    scenario(Scenario::new().receive_invite().reply("100 Trying").reply("180 Ringing"))
}

fn ringing_until_cancelled() -> Scenario {
    let scenario = Scenario::new().receive_invite().reply("100 Trying").reply("180 Ringing");
    scenario.receive("CANCEL").reply("200 OK").terminate_kept()
}

#[track_caller]
fn fields(call: &Value, expected: &Value) {
    for (key, value) in expected.as_object().into_iter().flatten() {
        assert_eq!(&call[key], value, "{key} of {call}");
    }
}

#[test]
fn an_answered_call_is_live_until_the_api_hangs_it_up() {
    let (gateway, sipp) = against(&ringing_then(|s| s.answer(0).until_bye()), 1, "local", "");
    let id = gateway.place(PHONE, &json!({}));
    let live = gateway.wait_status(&id, &["in-flight"], SOON);
    fields(&live, &json!({ "endedReason": "", "attempt": 1, "endedAtUtc": null, "durationSec": 0 }));
    let ended = gateway.hang_up(&id);
    fields(&ended, &json!({ "ok": true, "newStatus": "cancelled", "actor": "admin" }));
    let call = gateway.wait_status(&id, &["cancelled"], SOON);
    assert!(call["endedAtUtc"].is_string() && call["answeredAtUtc"].is_string(), "{call}");
    fields(&gateway.hang_up(&id), &json!({ "ok": true, "wasNoop": true, "newStatus": "cancelled" }));
    sipp.succeeded(SOON);
}

#[test]
fn a_call_that_the_callee_ends_is_a_success() {
    let scenario = ringing_then(|s| s.answer(0).pause(Duration::from_secs(2)).bye_of_callee());
    let (gateway, sipp) = against(&scenario, 1, "local", "");
    let id = gateway.place(PHONE, &json!({}));
    let call = gateway.wait_status(&id, &["ended-success"], SOON);
    fields(&call, &json!({ "endedReason": "finished", "errorDetail": "" }));
    assert!((1..=4).contains(&call["durationSec"].as_u64().expect("a number")), "{call}");
    sipp.succeeded(SOON);
}

#[test]
fn busy_is_final_when_no_retry_was_ordered() {
    let (gateway, sipp) = against(&ringing_then(|s| s.refuse("486 Busy Here")), 1, "local", "");
    let id = gateway.place(PHONE, &json!({}));
    let call = gateway.wait_status(&id, &["ended-failed-final"], SOON);
    fields(&call, &json!({ "endedReason": "busy", "answeredAtUtc": null, "durationSec": 0, "retriesLeft": 0 }));
    sipp.succeeded(SOON);
}

#[test]
fn a_declined_call_is_rejected() {
    let (gateway, sipp) = against(&ringing_then(|s| s.refuse("603 Decline")), 1, "local", "");
    let id = gateway.place(PHONE, &json!({}));
    let call = gateway.wait_status(&id, &["ended-failed-final"], SOON);
    fields(&call, &json!({ "endedReason": "rejected" }));
    sipp.succeeded(SOON);
}

#[test]
fn a_busy_carrier_is_tried_again_after_the_ordered_delay() {
    let refuse = Scenario::new().receive_invite().refuse("503 Service Unavailable");
    let setup = Setup::new();
    let run = Run { folder: setup.folder.path(), name: "first", scenario: &refuse, calls: 1, limit: 100, port: 0 };
    let first = run.answering();
    let port = first.port;
    let gateway = setup.trunk("pbx", port, "").start();
    let id = gateway.place(PHONE, &json!({ "retries": 1, "retryDelayMinutes": 1 }));
    let waiting = gateway.wait_status(&id, &["ended-failed-retry-pending"], SOON);
    fields(&waiting, &json!({ "attempt": 1, "retriesLeft": 1 }));
    first.succeeded(SOON);

    let answer = ringing_then(|s| s.answer(0).until_bye());
    let folder = gateway.setup.folder.path();
    let second = Run { folder, name: "second", scenario: &answer, calls: 1, limit: 100, port }.answering();
    let live = gateway.wait_status(&id, &["in-flight"], Duration::from_secs(90));
    fields(&live, &json!({ "attempt": 2, "retriesLeft": 0 }));
    gateway.hang_up(&id);
    second.succeeded(SOON);
}

#[test]
fn an_unanswered_call_is_cancelled_after_the_ring_time() {
    let scenario = ringing_until_cancelled();
    let (gateway, sipp) = against(&scenario, 1, "local", "ring_seconds = 2");
    let id = gateway.place(PHONE, &json!({}));
    let call = gateway.wait_status(&id, &["ended-failed-final"], SOON);
    fields(&call, &json!({ "endedReason": "no-answer", "answeredAtUtc": null }));
    sipp.succeeded(SOON);
}

#[test]
fn hanging_up_while_it_rings_cancels_the_call() {
    let scenario = ringing_until_cancelled();
    let (gateway, sipp) = against(&scenario, 1, "local", "");
    let id = gateway.place(PHONE, &json!({ "retries": 3 }));
    support::wait_for("the INVITE", SOON, || (sipp.received("INVITE") > 0).then_some(()));
    fields(&gateway.hang_up(&id), &json!({ "newStatus": "cancelled" }));
    let call = gateway.wait_status(&id, &["cancelled"], SOON);
    fields(&call, &json!({ "endedReason": "cancelled", "answeredAtUtc": null }));
    sipp.succeeded(SOON);
}

#[test]
fn a_repeated_answer_is_acknowledged_each_time_and_changes_nothing() {
    let phone = ForgetfulPhone::new();
    let gateway = Setup::new().trunk("pbx", phone.port(), "").start();
    let id = gateway.place(PHONE, &json!({}));
    phone.answer(3);
    let call = gateway.wait_status(&id, &["in-flight"], SOON);
    fields(&call, &json!({ "attempt": 1, "endedReason": "" }));
    gateway.hang_up(&id);
    phone.end();
    gateway.wait_status(&id, &["cancelled"], SOON);
}

#[test]
fn a_trunk_that_says_nothing_fails_the_call_in_words() {
    // A socket that never answers; the lowest allowed T1 makes timer B end after 3.2 seconds.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let port = silent.local_addr().expect("bound").port();
    let mut setup = Setup::new().trunk("pbx", port, "");
    setup.t1_ms = 50;
    let gateway = setup.start();
    let id = gateway.place(PHONE, &json!({}));
    let call = gateway.wait_status(&id, &["ended-failed-final"], SOON);
    assert_ne!(call["errorDetail"], "", "{call}");
    drop(silent);
}

#[test]
fn what_the_callee_plays_comes_back_from_the_echo_engine() {
    // Playing a capture needs a raw socket, which only root may open; anybody else streams the same sound.
    for capture in [false, true].into_iter().take(if nix::unistd::geteuid().is_root() { 2 } else { 1 }) {
        tone_comes_back(capture);
    }
}

fn tone_comes_back(from_capture: bool) {
    let setup = Setup::new().engine("echo");
    let sound = setup.folder.path().join(if from_capture { "tone.pcap" } else { "tone.ul" });
    if from_capture {
        write_capture(&sound, &tone(3, 440.0), 0);
    } else {
        std::fs::write(&sound, audio::to_ulaw(&tone(3, 440.0))).expect("sound written");
    }
    let play = |s: Scenario| if from_capture { s.play(&sound) } else { s.stream(&sound) };
    let scenario = ringing_then(|s| play(s.answer(0)).pause(Duration::from_secs(5)).bye_of_callee());
    let run = Run { folder: setup.folder.path(), name: "callee", scenario: &scenario, calls: 1, limit: 60, port: 0 };
    let sipp = run.answering();
    let gateway = setup.trunk("pbx", sipp.port, "").start();
    let id = gateway.place(PHONE, &json!({}));
    gateway.wait_status(&id, &["ended-success"], SOON);
    sipp.succeeded(SOON);
    let recordings = gateway.recordings();
    assert_eq!(recordings.len(), 1, "{recordings:?}");
    for (channel, side) in [(0, "phone"), (1, "box")] {
        let (pcm, rate) = audio::read_channel(&recordings[0], channel);
        assert_eq!(rate, 8_000);
        let seconds = pcm.chunks(800).filter(|tenth| is_tone(tenth, 440.0)).count() as f64 / 10.0;
        assert!((2.7..=3.1).contains(&seconds), "{side}: {seconds} s of the 3 s tone");
    }
}

/// Whether most of the energy lies at `hertz` (Goertzel).
fn is_tone(pcm: &[i16], hertz: f64) -> bool {
    if audio::level_db(pcm) < -40.0 {
        return false;
    }
    let (mut re, mut im, mut energy) = (0.0, 0.0, 0.0);
    for (index, sample) in pcm.iter().enumerate() {
        let angle = std::f64::consts::TAU * hertz * index as f64 / 8_000.0;
        re += f64::from(*sample) * angle.cos();
        im += f64::from(*sample) * angle.sin();
        energy += f64::from(*sample).powi(2);
    }
    2.0 * (re * re + im * im) / pcm.len() as f64 > 0.9 * energy
}

// --- inbound ---

const DESK: &str = "\n[[number]]\nname = \"Desk\"\nnumber = \"1234\"\nvisibility = \"public\"\n\
                    system_prompt = \"Welcome to the desk. How can we help you?\"\n\
                    [[number]]\nname = \"Inside\"\nnumber = \"5678\"\nvisibility = \"signed-in\"\n\
                    system_prompt = \"Welcome inside.\"\n";

fn call_in(scenario: &Scenario, calls: u32, rate: u32) -> (Gateway, Sipp) {
    let setup = Setup::new();
    let port = support::free_udp_port();
    let gateway = setup.trunk("pbx", port, "").more(DESK).start();
    let folder = gateway.setup.folder.path();
    let run = Run { folder, name: "caller", scenario, calls, limit: 60, port };
    let sipp = run.calling(gateway.setup.sip, rate);
    (gateway, sipp)
}

#[test]
fn a_public_number_answers_a_stranger_and_keeps_the_transcript() {
    let scenario = Scenario::new()
        .invite("1234", "+4915112345", 0)
        .expect_optional(180)
        .expect_optional(183)
        .expect(200)
        .ack("1234", "+4915112345")
        .pause(Duration::from_secs(6))
        .bye("1234", "+4915112345");
    let (gateway, sipp) = call_in(&scenario, 1, 1);
    sipp.succeeded(Duration::from_secs(40));
    let list = support::wait_for("the transcript", SOON, || {
        let list = gateway.get("/api.ashx/v1/transcripts?source=vnum").json();
        (list["total"] == 1).then_some(list)
    });
    let item = &list["data"][0];
    fields(item, &json!({ "callerSource": "vnum", "rule": "vnum:Desk", "number": "1234", "outcome": "finished" }));
    let id = item["callId"].as_str().expect("an id");
    assert!(id.starts_with("vnum") && id.len() == 14, "{id}");
    let transcript = gateway.transcript(id);
    let spoken = transcript["turns"].to_string();
    assert!(spoken.contains("Welcome to the desk"), "{transcript}");
}

#[test]
fn a_signed_in_number_is_closed_to_a_stranger() {
    let scenario = Scenario::new().invite("5678", "+4915112345", 0).expect(403).ack_refusal("5678", "+4915112345");
    let (_gateway, sipp) = call_in(&scenario, 1, 1);
    let messages = sipp.succeeded(SOON);
    assert!(!messages.contains("SIP/2.0 200"), "answered");
}

#[test]
fn an_unknown_number_gets_404() {
    let scenario = Scenario::new().invite("9999", "+4915112345", 0).expect(404).ack_refusal("9999", "+4915112345");
    let (_gateway, sipp) = call_in(&scenario, 1, 1);
    sipp.succeeded(SOON);
}

#[test]
fn a_caller_who_gives_up_at_any_moment_leaves_no_live_call() {
    let caller = Caller::new();
    let gateway = Setup::new().trunk("pbx", caller.port(), "").more(DESK).start();
    let mut outcomes = Vec::new();
    for number in 0..12 {
        // From "with the INVITE still on its way" to "after the answer".
        let patience = Duration::from_millis(number * number);
        outcomes.push(caller.call_and_cancel(gateway.setup.sip, "1234", patience));
    }
    eprintln!("final answers: {outcomes:?}");
    assert!(outcomes.iter().all(|code| [200, 487].contains(code)), "{outcomes:?}");
    support::wait_for("no live call", SOON, || {
        let metrics = gateway.get("/metrics").text();
        metrics.lines().any(|line| line.starts_with("trunkline_calls_live") && line.ends_with(" 0")).then_some(())
    });
}
