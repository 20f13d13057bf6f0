//! Text messages through a GSM gateway that SIPp plays: out over the API, in to the store, over a crash.

use std::net::UdpSocket;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support;
use support::sipp::{Run, Scenario, Sipp};
use support::{Gateway, Setup, wait_for};

const SOON: Duration = Duration::from_secs(30);
const PHONE: &str = "+4930123456";
const MESSAGES: &str = "/api/v2/messages";

/// A box whose trunk at `port` carries texts to German numbers.
fn gateway(setup: Setup, port: u16) -> Gateway {
    setup.more("\n[dial]\nallow = [\"+49\"]\n").trunk("gsm", port, "messages = true\ncaller_id = \"4930999\"").start()
}

/// A box whose trunk is a SIPp with `scenario`.
fn against(scenario: &Scenario) -> (Gateway, Sipp) {
    let setup = Setup::new();
    let run = Run { folder: setup.folder.path(), name: "gsm", scenario, calls: 1, limit: 60, port: 0 };
    let sipp = run.answering();
    (gateway(setup, sipp.port), sipp)
}

fn send(gateway: &Gateway, body: &Value) -> (u16, Value) {
    let answer = gateway.try_request("POST", MESSAGES, Some(body)).expect("an answer");
    (answer.status, answer.json())
}

fn record(gateway: &Gateway, id: &Value) -> Value {
    gateway.get(&format!("{MESSAGES}/{}", id.as_str().expect("an id"))).json()
}

fn wait_record(gateway: &Gateway, id: &Value, fits: impl Fn(&Value) -> bool) -> Value {
    wait_for("the record", SOON, || Some(record(gateway, id)).filter(|record| fits(record)))
}

fn listed(gateway: &Gateway, query: &str) -> Value {
    let answer = gateway.get(&format!("{MESSAGES}{query}"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

#[test]
fn a_text_is_sent_and_the_answer_of_the_peer_is_its_fate() {
    let _turn = support::take_turn();
    for (status, code, fate) in [
        ("200 OK", 200, "sent"),
        ("202 Accepted", 202, "sent"),
        ("404 Not Found", 404, "failed"),
        ("415 No", 415, "failed"),
    ] {
        let (gateway, sipp) = against(&Scenario::new().receive("MESSAGE").reply(status));
        let (accepted, message) = send(&gateway, &json!({ "to": "+49 30 123456", "text": "Grüße\nzweite Zeile" }));
        assert_eq!(accepted, 202, "{message}");
        assert_eq!((&message["status"], &message["to"]), (&json!("queued"), &json!(PHONE)));
        let record = wait_record(&gateway, &message["id"], |record| record["status"] == fate);
        assert_eq!((&record["sip_code"], &record["attempts"]), (&json!(code), &json!(1)), "{record}");
        let wire = sipp.succeeded(SOON);
        for part in [
            "MESSAGE sip:%2B4930123456@127.0.0.1:",
            "From: <sip:4930999@127.0.0.1>;tag=",
            "Content-Type: text/plain;charset=UTF-8",
            "Content-Length: 20\r",
        ] {
            assert!(wire.contains(part) || wire.contains(&part.replace("%2B", "+")), "{part} not in {wire}");
        }
    }
}

#[test]
fn a_delivery_report_is_noted_at_its_text() {
    let _turn = support::take_turn();
    let (gateway, sipp) = against(&Scenario::new().receive("MESSAGE").reply("202 Accepted"));
    let port = sipp.port;
    let (_, message) = send(&gateway, &json!({ "to": PHONE, "text": "hi" }));
    let sent = wait_record(&gateway, &message["id"], |record| record["status"] == "sent");
    assert_eq!(sent["delivery"], Value::Null);
    sipp.succeeded(SOON);
    let id = message["id"].as_str().expect("an id").replace('-', "");
    let report = |id: &str| {
        format!(
            "<imdn><message-id>{id}</message-id><delivery-notification><status><delivered/></status>\
             </delivery-notification></imdn>"
        )
    };
    let kind = "message/imdn+xml";
    let scenario = texts(Scenario::new(), &[(1, kind, &report("nobody's"), 200), (2, kind, &report(&id), 200)]);
    let folder = gateway.setup.folder.path();
    let run = Run { folder, name: "report", scenario: &scenario, calls: 1, limit: 20, port };
    run.calling(gateway.setup.sip, 1).succeeded(SOON);
    let record = wait_record(&gateway, &message["id"], |record| record["delivery"] == "delivered");
    assert!(record["reported_at"].is_string() && record["status"] == "sent", "{record}");
    assert_eq!(listed(&gateway, "")["data"].as_array().map(Vec::len), Some(1), "a report is no text");
}

#[test]
fn a_busy_peer_is_asked_again_with_the_same_call_id_when_it_wants() {
    let _turn = support::take_turn();
    let scenario = Scenario::new().receive("MESSAGE").reply_with("503 Service Unavailable", "Retry-After: 1\n");
    let (gateway, sipp) = against(&scenario.receive("MESSAGE").reply("200 OK"));
    let (_, message) = send(&gateway, &json!({ "to": PHONE, "text": "hi" }));
    let record = wait_record(&gateway, &message["id"], |record| record["status"] == "sent");
    assert_eq!((&record["attempts"], &record["error_detail"]), (&json!(2), &json!("")), "{record}");
    sipp.succeeded(SOON);
}

#[test]
fn a_silent_peer_is_asked_again_later() {
    let _turn = support::take_turn();
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let mut setup = Setup::new();
    setup.t1_ms = 50;
    let gateway = gateway(setup, silent.local_addr().expect("bound").port());
    let (_, message) = send(&gateway, &json!({ "to": PHONE, "text": "hi" }));
    let record = wait_record(&gateway, &message["id"], |record| record["attempts"] == 1);
    assert_eq!(record["status"], "queued", "{record}");
    assert!(record["next_attempt_at"].is_string() && record["error_detail"] == "the peer gave no answer", "{record}");
}

#[test]
fn a_text_under_the_same_key_is_the_same_text_and_another_is_refused() {
    let _turn = support::take_turn();
    let (gateway, sipp) = against(&Scenario::new().receive("MESSAGE").reply("200 OK"));
    let send = |key: &str, body: &Value| {
        let bearer = format!("Bearer {}", gateway.token());
        let headers =
            [("Authorization", bearer.as_str()), ("Content-Type", "application/json"), ("Idempotency-Key", key)];
        let body = body.to_string();
        support::http::request(gateway.setup.http, "POST", MESSAGES, &headers, body.as_bytes()).expect("an answer")
    };
    let body = json!({ "to": PHONE, "text": "hi" });
    let first = send("text-7", &body);
    assert_eq!((first.status, first.header("idempotent-replayed")), (202, None), "{}", first.text());
    let id = first.json()["id"].clone();
    wait_record(&gateway, &id, |record| record["status"] == "sent");
    sipp.succeeded(SOON);
    let again = send("text-7", &json!({ "text": "hi", "to": PHONE }));
    assert_eq!((again.status, again.header("idempotent-replayed")), (202, Some("true")));
    assert_eq!((&again.json()["id"], &again.json()["status"]), (&id, &json!("sent")), "the first one, as it stands");
    let other = send("text-7", &json!({ "to": PHONE, "text": "something else" }));
    assert_eq!((other.status, &other.json()["error"]), (400, &json!("bad_request")), "{}", other.text());
    assert_eq!(send(&"x".repeat(256), &body).status, 400);
    assert_eq!(listed(&gateway, "")["data"].as_array().map(Vec::len), Some(1), "one text in all");
    assert_ne!(send("text-8", &body).json()["id"], id);
}

#[test]
fn an_order_that_may_not_be_is_refused_and_nothing_is_kept() {
    let _turn = support::take_turn();
    let unused = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let gateway = gateway(Setup::new(), unused.local_addr().expect("bound").port());
    for (body, status, error) in [
        (json!({ "to": "+15550100", "text": "x" }), 403, "not_allowed"),
        (json!({ "to": "+4930\r\nX: y", "text": "x" }), 400, "bad_request"),
        (json!({ "to": "abc", "text": "x" }), 400, "bad_request"),
        (json!({ "to": PHONE, "text": "x", "from": "1\r\nRoute: <sip:x>" }), 400, "bad_request"),
        (json!({ "to": PHONE, "text": "x", "from": "a@b" }), 400, "bad_request"),
        (json!({ "to": PHONE, "text": "" }), 400, "bad_request"),
        (json!({ "to": PHONE, "text": "a\u{0}b" }), 400, "bad_request"),
        (json!({ "to": PHONE, "text": "x".repeat(5_000) }), 400, "bad_request"),
        (json!({ "to": PHONE, "text": "x", "trunk": "other" }), 400, "bad_request"),
        (json!({ "text": "x" }), 400, "bad_request"),
    ] {
        let (found, answer) = send(&gateway, &body);
        assert_eq!((found, &answer["error"]), (status, &json!(error)), "{body}");
    }
    assert_eq!(listed(&gateway, "")["data"], json!([]));
    assert_eq!(gateway.get("/api/v2/messages?cursor=x").status, 400);
    assert_eq!(gateway.get("/api/v2/messages/x").status, 404);
    let nobody = support::http::request(gateway.setup.http, "GET", MESSAGES, &[], b"").expect("an answer");
    assert_eq!(nobody.status, 401);
}

fn texts(scenario: Scenario, texts: &[(u32, &str, &str, u16)]) -> Scenario {
    texts.iter().fold(scenario, |scenario, (sequence, kind, body, code)| {
        scenario.request("MESSAGE", *sequence, "4930777", &format!("Content-Type: {kind}\n"), body).expect(*code)
    })
}

/// A text that came in is answered when it is on disk: `kill -9` right after the 200 does not lose it. The same text is
/// kept once, however often and in whatever transaction it comes, before and after the crash.
#[test]
fn a_text_that_was_answered_survives_a_crash_and_is_kept_once() {
    let _turn = support::take_turn();
    let port = support::free_udp_port();
    let gateway = gateway(Setup::new(), port);
    let (folder, box_at) = (tempfile::tempdir().expect("a folder"), gateway.setup.sip);
    let scenario = texts(
        Scenario::new(),
        &[
            (1, "text/plain", "first", 200),
            (1, "text/plain", "first", 200),
            (2, "text/html", "no", 415),
            (3, "text/plain;charset=UTF-8", "second", 200),
        ],
    );
    let run = |name| Run { folder: folder.path(), name, scenario: &scenario, calls: 1, limit: 20, port };
    run("before").calling(box_at, 1).succeeded(SOON);
    let gateway = gateway.kill().start_again();
    let page = listed(&gateway, "?limit=1");
    assert_eq!(page["data"][0]["text"], "second\r\n", "newest first: {page}");
    let next = page["next"].as_str().expect("more");
    let rest = listed(&gateway, &format!("?cursor={next}"));
    assert_eq!(rest["data"].as_array().map(Vec::len), Some(1), "{rest}");
    let first = &rest["data"][0];
    for (key, value) in
        [("text", "first\r\n"), ("direction", "inbound"), ("trunk", "gsm"), ("from", "4930777"), ("status", "received")]
    {
        assert_eq!(first[key], value, "{first}");
    }
    assert_eq!(rest["next"], Value::Null);
}

#[test]
fn a_trunk_that_carries_no_texts_and_a_stranger_are_refused() {
    let _turn = support::take_turn();
    let port = support::free_udp_port();
    let gateway = Setup::new().trunk("pbx", port, "").start();
    let folder = tempfile::tempdir().expect("a folder");
    let scenario = texts(Scenario::new(), &[(1, "text/plain", "x", 405)]);
    let run = Run { folder: folder.path(), name: "pbx", scenario: &scenario, calls: 1, limit: 20, port };
    run.calling(gateway.setup.sip, 1).succeeded(SOON);
    let (status, answer) = send(&gateway, &json!({ "to": PHONE, "text": "x" }));
    assert_eq!((status, &answer["error"]), (503, &json!("bridge_not_configured")));
    assert_eq!(listed(&gateway, "")["data"], json!([]));
}

#[test]
fn what_waits_is_sent_after_a_crash() {
    let _turn = support::take_turn();
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("bound").port();
    let gateway = gateway(Setup::new(), port);
    let (_, message) = send(&gateway, &json!({ "to": PHONE, "text": "hi" }));
    let setup = gateway.kill();
    drop(silent);
    let scenario = Scenario::new().receive("MESSAGE").reply("200 OK");
    let sipp =
        Run { folder: setup.folder.path(), name: "gsm", scenario: &scenario, calls: 1, limit: 60, port }.answering();
    let gateway = setup.start_again();
    wait_record(&gateway, &message["id"], |record| record["status"] == "sent");
    sipp.succeeded(SOON);
}
