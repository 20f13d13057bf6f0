//! What an administrator can see of a call afterwards: ladder, capture file, figures.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support;
use support::sipp::{Run, Scenario};
use support::{Gateway, Setup, http};

const SOON: Duration = Duration::from_secs(30);
const PASSWORD: &str = "trunk-password-27182818";

/// The packets of a capture file: the payload of each UDP datagram.
fn payloads(file: &[u8]) -> Vec<Vec<u8>> {
    assert_eq!(file[..4], 0xa1b2_c3d4_u32.to_le_bytes());
    let (mut rest, mut found) = (&file[24..], Vec::new());
    while !rest.is_empty() {
        let length = u32::from_le_bytes([rest[8], rest[9], rest[10], rest[11]]) as usize;
        found.push(rest[16 + 28..16 + length].to_vec());
        rest = &rest[16 + length..];
    }
    found
}

fn ladder(gateway: &Gateway, id: &str) -> Value {
    let answer = gateway.get(&format!("/api/v2/calls/{id}/trace"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

#[test]
fn a_call_can_be_looked_at_as_a_ladder_and_as_a_capture() {
    let _turn = support::take_turn();
    let setup = Setup::new();
    let sound = setup.folder.path().join("sound");
    std::fs::write(&sound, vec![0x55; 4 * 8_000]).expect("written");
    let callee = Scenario::new().receive_invite().reply("180 Ringing").answer(0).stream(&sound);
    let callee = callee.pause(Duration::from_secs(3)).bye_of_callee();
    let folder = setup.folder.path();
    let sipp = Run { folder, name: "callee", scenario: &callee, calls: 1, limit: 60, port: 0 }.answering();
    let trunk = format!("username = \"account\"\npassword = \"{PASSWORD}\"");
    let gateway = setup.trunk("pbx", sipp.port, &trunk).start();
    let id = gateway.place("+4930555123", &json!({}));
    gateway.wait_status(&id, &["ended-success"], SOON);
    sipp.succeeded(SOON);

    let seen = ladder(&gateway, &id);
    let summaries: Vec<&str> = seen["messages"]
        .as_array()
        .expect("messages")
        .iter()
        .filter(|message| message["repeated"] == false)
        .map(|message| message["summary"].as_str().expect("a summary").split(" sip:").next().expect("a word"))
        .collect();
    let order = ["INVITE", "180 Ringing (1 INVITE)", "200 OK (1 INVITE) with session", "ACK", "BYE", "200 OK (1 BYE)"];
    assert_eq!(summaries, order, "{seen:#}");
    assert_eq!(seen["participants"].as_array().map(Vec::len), Some(2));
    assert!(seen["messages"][4]["offset_ms"].as_f64().is_some_and(|offset| offset > 2_500.0), "{seen:#}");
    for count in ["packets_sent", "packets_received"] {
        assert!(seen["rtp"][count].as_u64().is_some_and(|packets| packets > 50), "{seen:#}");
    }
    assert!(seen["rtp_samples"].as_array().is_some_and(|samples| samples.len() >= 2), "{seen:#}");
    assert!(seen["summary"].as_str().is_some_and(|line| line.starts_with("6 messages")), "{}", seen["summary"]);

    let capture = gateway.get(&format!("/api/v2/calls/{id}/trace.pcap"));
    let packets = payloads(&capture.body);
    assert_eq!(packets.len(), seen["messages"].as_array().expect("messages").len());
    assert!(packets[0].starts_with(b"INVITE sip:+4930555123@"));
    for (packet, message) in packets.iter().zip(seen["messages"].as_array().expect("messages")) {
        assert_eq!(String::from_utf8_lossy(packet), message["text"].as_str().expect("text"));
    }
    // By the record's own id as well; and by nobody else.
    let uuid = seen["call"].as_str().expect("an id");
    assert_eq!(ladder(&gateway, uuid)["messages"], seen["messages"]);
    assert_eq!(gateway.get("/api/v2/calls/oac-000000000000/trace").status, 404);
    let stranger = http::request(gateway.setup.http, "GET", &format!("/api/v2/calls/{id}/trace"), &[], b"");
    assert_eq!(stranger.expect("an answer").status, 401);
}

#[test]
fn who_was_turned_away_is_seen_among_the_strays_and_named_in_the_log() {
    let gateway = Setup::new().trunk("pbx", support::free_udp_port(), "").start();
    let socket = std::net::UdpSocket::bind("127.66.77.88:0").expect("a socket");
    let scan = "OPTIONS sip:100@box SIP/2.0\r\nVia: SIP/2.0/UDP 127.66.77.88;branch=z9hG4bKscan;rport\r\nMax-Forwards: 70\r\n\
                From: <sip:1@a>;tag=a\r\nTo: <sip:1@a>\r\nCall-ID: scan-1\r\nCSeq: 1 OPTIONS\r\n\
                User-Agent: friendly-scanner\r\nContent-Length: 0\r\n\r\n";
    for _ in 0..20 {
        socket.send_to(scan.as_bytes(), gateway.setup.sip).expect("sent");
    }
    let strays = support::wait_for("the strays", SOON, || {
        let strays = gateway.get("/api/v2/trace/strays").json();
        strays["messages"].as_array().filter(|messages| messages.len() >= 20).cloned()
    });
    assert!(strays.iter().all(|message| message["call_id"] == "scan-1"));
    assert_eq!(payloads(&gateway.get("/api/v2/trace/strays.pcap").body)[0], scan.as_bytes());
    let log = gateway.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("SIP source refused")).collect();
    assert_eq!(lines.len(), 1, "{log}");
    let line: Value = serde_json::from_str(lines[0]).expect("JSON");
    assert_eq!((&line["address"], &line["reason"]), (&json!("127.66.77.88"), &json!("scanner")));
    socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
    assert!(socket.recv_from(&mut [0; 100]).is_err(), "a scanner hears nothing");
}

#[test]
fn what_the_dial_policy_forbids_is_refused_in_the_dialects_words() {
    let dial = "\n[dial]\ndeny = [\"+4917\"]\nallow = [\"+8816\"]\n";
    let gateway = Setup::new().trunk("pbx", support::free_udp_port(), "").more(dial).start();
    let place = |gateway: &Gateway, phone: &str| {
        let order = support::gateway::order(phone, &json!({}));
        let answer = gateway.try_request("POST", "/api.ashx/v1/calls", Some(&order)).expect("an answer");
        (answer.status, answer.json()["error"].as_str().unwrap_or_default().to_owned())
    };
    for (phone, status) in
        [("+491755512345", 403), ("+8835100012345", 403), ("+19005550100", 403), ("+881612345678", 200)]
    {
        let (answered, error) = place(&gateway, phone);
        assert_eq!(answered, status, "{phone}");
        assert_eq!(error, if status == 403 { "forbidden" } else { "" });
    }
}
