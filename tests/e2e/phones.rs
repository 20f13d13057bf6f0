//! Phones register with the box, are called by an agent and call one; SIPp as a phone that tries what phones try.

use std::time::Duration;

use serde_json::json;

use crate::support;
use support::baresip::Baresip;
use support::sipp::{Run, Scenario};
use support::{Gateway, Setup, http, wait_for};

const SOON: Duration = Duration::from_secs(30);
const EXTENSION: &str = "\n[[extension]]\nuser = \"10\"\npassword = \"secret\"\nname = \"Alice\"\n";
const NUMBER: &str = "\n[[number]]\nname = \"Desk\"\nnumber = \"1234\"\nmode = \"tts\"\n\
    system_prompt = \"Good morning. This is the front desk. We are closed today. Please call again tomorrow.\"\n";
const PROMPT: &str = "Good morning, this is the city library. The book that you ordered is ready.";

/// SIPp and baresip 1.0 know MD5 only, and give up when they are offered SHA-256 as well.
fn box_with_phone() -> Setup {
    let mut setup = Setup::new().more(EXTENSION);
    setup.sip_keys = "digest = [\"md5\"]";
    setup
}

fn quiet() -> Vec<i16> {
    vec![0; 8_000 * 20]
}

fn registered(gateway: &Gateway) -> u32 {
    let page = http::request(gateway.setup.http, "GET", "/metrics", &[], b"").expect("metrics").text();
    let line = page.lines().find_map(|line| line.strip_prefix("trunkline_sip_registered_contacts "));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

#[test]
fn a_registered_softphone_is_called_without_a_trunk_and_hears_the_agent() {
    let _turn = support::take_turn();
    let gateway = box_with_phone().start();
    let folder = tempfile::tempdir().expect("a folder");
    let phone = Baresip::registering(folder.path(), &quiet(), gateway.setup.sip, ("10", "secret"), &[]);
    wait_for("the phone to register", SOON, || (registered(&gateway) == 1).then_some(()));
    let id = gateway.place("10", &json!({ "systemPrompt": PROMPT }));
    let live = gateway.wait_status(&id, &["in-flight"], SOON);
    assert!(live["answeredAtUtc"].is_string(), "{live}");
    phone.wait_until_heard(Duration::from_secs(4), SOON);
    gateway.hang_up(&id);
    gateway.wait_status(&id, &["cancelled"], SOON);
    assert!(support::audio::level_db(&phone.heard()) > -50.0, "the phone heard nothing");
}

#[test]
fn a_registered_softphone_calls_an_agent() {
    let _turn = support::take_turn();
    let gateway = box_with_phone().more(NUMBER).start();
    let folder = tempfile::tempdir().expect("a folder");
    let dial = format!("/dial sip:1234@{}", gateway.setup.sip);
    let phone = Baresip::registering(folder.path(), &quiet(), gateway.setup.sip, ("10", "secret"), &[&dial]);
    phone.wait_until_heard(Duration::from_secs(3), SOON);
    wait_for("the end of the text", SOON, || (support::audio::level_db(&phone.heard()) > -50.0).then_some(()));
    assert_eq!(registered(&gateway), 1);
}

#[test]
fn an_extension_that_is_not_registered_is_not_reached() {
    let _turn = support::take_turn();
    let gateway = box_with_phone().start();
    let id = gateway.place("10", &json!({}));
    let call = gateway.wait_status(&id, &["ended-failed-final"], SOON);
    assert_eq!(call["endedReason"], "no-answer", "{call}");
    assert!(call["errorDetail"].as_str().is_some_and(|detail| detail.contains("480")), "{call}");
}

/// What follows a challenge: the same request once more, with credentials.
fn register(scenario: Scenario, sequence: u32, password: &str, lines: &str) -> Scenario {
    let answer = format!("[authentication username=10 password={password}]\n{lines}");
    let asked = scenario.request("REGISTER", sequence, "10", lines, "").expect_challenge();
    asked.request("REGISTER", sequence + 1, "10", &answer, "")
}

fn as_phone(scenario: &Scenario) -> Gateway {
    let gateway = box_with_phone().start();
    let folder = gateway.setup.folder.path();
    let run = Run { folder, name: "phone", scenario, calls: 1, limit: 20, port: 0 };
    run.calling(gateway.setup.sip, 1).succeeded(SOON);
    gateway
}

const FIRST: &str = "Contact: <sip:10@192.0.2.50:5060>\n";
const SECOND: &str = "Contact: <sip:10@192.0.2.51:5060>;q=0.5\n";

#[test]
fn sipp_registers_two_contacts_refreshes_lists_and_leaves_one() {
    let _turn = support::take_turn();
    let scenario = register(Scenario::new(), 1, "secret", &format!("{FIRST}Expires: 120\n"));
    let scenario = scenario.expect_with(200, &["Contact: .sip:10@192.0.2.50:5060.;expires=120", "Date: "]);
    let scenario = register(scenario, 3, "secret", &format!("{SECOND}Expires: 7200\n"));
    let scenario =
        scenario.expect_with(200, &["192.0.2.50:5060.;expires=1[12]", "192.0.2.51:5060.;expires=300;q=0.500"]);
    let scenario = register(scenario, 5, "secret", &format!("{FIRST}Expires: 90\n"));
    let scenario = scenario.expect_with(200, &["192.0.2.50:5060.;expires=90", "192.0.2.51"]);
    let scenario = register(scenario, 7, "secret", "").expect_with(200, &["192.0.2.50", "192.0.2.51"]);
    let scenario = register(scenario, 9, "secret", "Contact: <sip:10@192.0.2.50:5060>;expires=0\n");
    let gateway = as_phone(&scenario.expect_with(200, &["192.0.2.51"]));
    assert_eq!(registered(&gateway), 1);
}

#[test]
fn sipp_is_told_that_its_interval_is_too_brief() {
    let _turn = support::take_turn();
    let scenario = register(Scenario::new(), 1, "secret", &format!("{FIRST}Expires: 30\n"));
    let scenario = scenario.expect_with(423, &["Min-Expires: 60"]);
    let gateway = as_phone(&register(scenario, 3, "secret", &format!("{FIRST}Expires: 60\n")).expect(200));
    assert_eq!(registered(&gateway), 1);
}

#[test]
fn sipp_with_a_wrong_password_registers_nothing() {
    let _turn = support::take_turn();
    let scenario = register(Scenario::new(), 1, "wrong", FIRST).expect(401);
    assert_eq!(registered(&as_phone(&scenario)), 0);
}

#[test]
fn sipp_removes_every_contact_with_a_star() {
    let _turn = support::take_turn();
    let scenario = register(Scenario::new(), 1, "secret", &format!("{FIRST}{SECOND}")).expect(200);
    let scenario = register(scenario, 3, "secret", "Contact: *\n").expect(400);
    let scenario = register(scenario, 5, "secret", "Contact: *\nExpires: 0\n").expect(200);
    assert_eq!(registered(&as_phone(&scenario)), 0);
}
