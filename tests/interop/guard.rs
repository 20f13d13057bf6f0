//! The guard's log lines and the traces against the real tools: fail2ban and tshark.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::tally::Tally;
use crate::support;
use support::sipp::{Run, Scenario};
use support::{Gateway, Setup};

const SOON: Duration = Duration::from_secs(30);

/// Standard output and error of a tool; fails the test when it is not installed.
#[track_caller]
fn tool(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).stdin(std::process::Stdio::null()).output();
    let output =
        output.unwrap_or_else(|error| panic!("{program} does not run ({error}); install Debian's package of it"));
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn filter() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/fail2ban/filter.d/trunkline.conf")
}

/// Asks from four addresses, in four ways to be refused, until the log names each.
fn provoke(gateway: &Gateway, sources: &[&str]) {
    for source in sources {
        let socket = std::net::UdpSocket::bind((*source, 0)).expect("a loopback address");
        let agent = if source.ends_with('1') { "friendly-scanner" } else { "phone" };
        for number in 0..if source.ends_with('3') { 400 } else { 3 } {
            let ask = format!(
                "REGISTER sip:box SIP/2.0\r\nVia: SIP/2.0/UDP {source};branch=z9hG4bK{number};rport\r\nMax-Forwards: 70\r\n\
                 From: <sip:1@a>;tag=a\r\nTo: <sip:1@a>\r\nCall-ID: {source}-{number}\r\nCSeq: 1 REGISTER\r\n\
                 User-Agent: {agent}\r\nContent-Length: 0\r\n\r\n"
            );
            socket.send_to(ask.as_bytes(), gateway.setup.sip).expect("sent");
        }
    }
    support::wait_for("a line for each source", SOON, || {
        let log = gateway.log();
        sources
            .iter()
            .all(|source| log.contains(&format!("\"{source}\"")) || log.contains(&format!("address={source} ")))
            .then_some(())
    });
}

#[test]
#[ignore = "make interop"]
fn fail2ban() {
    let mut tally = Tally::of("fail2ban");
    tally.scenario("reads the lines of a running box in both formats", fail2ban_reads_the_lines_of_a_running_box);
    tally.close();
}

#[test]
#[ignore = "make interop"]
fn tshark() {
    let mut tally = Tally::of("tshark");
    tally.scenario("reads the capture of a call as SIP with right sums", tshark_reads_the_capture_of_a_call_as_sip);
    let name = "reads what goes to the collector as HEP";
    if tool("tshark", &["-G", "protocols"]).lines().any(|line| line.split('\t').any(|field| field == "hep")) {
        tally.scenario(name, tshark_reads_what_goes_to_the_collector_as_hep);
    } else {
        tally.skip(name, "this tshark knows no HEP");
    }
    tally.close();
}

fn fail2ban_reads_the_lines_of_a_running_box() {
    let sources = ["127.31.0.1", "127.32.0.2", "127.33.0.3"];
    let gateway = Setup::new().trunk("pbx", support::free_udp_port(), "").start();
    provoke(&gateway, &sources);
    let json_log = gateway.setup.log_file();
    let filter = filter().display().to_string();
    let of = |log: &Path, reasons: &str| {
        let shown = tool(
            "fail2ban-regex",
            &["--print-all-matched", &log.display().to_string(), &format!("{filter}[reasons=\"{reasons}\"]")],
        );
        shown.lines().find(|line| line.starts_with("Lines:")).unwrap_or_else(|| panic!("no result: {shown}")).to_owned()
    };
    let matched = |line: &str| -> u32 {
        let words: Vec<&str> = line.split([' ', ',']).collect();
        let place = words.iter().position(|word| *word == "matched").expect("a count");
        words[place - 1].parse().expect("a number")
    };
    assert_eq!(matched(&of(&json_log, "scanner|stranger|flood|password")), 3);
    assert_eq!(matched(&of(&json_log, "scanner")), 1);

    // The same box with text logs.
    let setup = Setup::new().trunk("pbx", support::free_udp_port(), "");
    setup.prepare();
    let text = std::fs::read_to_string(setup.config_file())
        .expect("the configuration")
        .replace("format = \"json\"", "format = \"text\"");
    std::fs::write(setup.config_file(), text).expect("written");
    let process = setup.spawn();
    support::wait_for("readiness", SOON, || {
        support::http::request(setup.http, "GET", "/readyz", &[], b"").ok().filter(|answer| answer.status == 200)
    });
    let socket = std::net::UdpSocket::bind("127.34.0.1:0").expect("a loopback address");
    let scan = b"OPTIONS sip:a SIP/2.0\r\nUser-Agent: sipvicious\r\n\r\n";
    socket.send_to(scan, setup.sip).expect("sent");
    support::wait_for("the line", SOON, || process.output().contains("SIP source refused").then_some(()));
    assert_eq!(matched(&of(&setup.log_file(), "scanner")), 1, "{}", process.output());
    // As journald would hand it on, and what somebody might try to smuggle in.
    let line = process.output().lines().find(|line| line.contains("SIP source refused")).expect("a line").to_owned();
    let journal = setup.folder.path().join("journal");
    let forged = line.replace("WARN", "INFO");
    let smuggled = "2026-01-01T00:00:00.000Z  INFO trunkline::call: x WARN trunkline::sip::guard::journal: SIP source refused address=192.0.2.1 reason=scanner requests=1";
    let handed_on = format!("box trunkline[812]: {line}");
    std::fs::write(&journal, format!("{handed_on}\n{forged}\n{smuggled}\n")).expect("written");
    assert_eq!(matched(&of(&journal, "scanner")), 1);
}

fn tshark_reads_the_capture_of_a_call_as_sip() {
    let callee =
        Scenario::new().receive_invite().reply("180 Ringing").answer(0).pause(Duration::from_secs(1)).bye_of_callee();
    let setup = Setup::new().engine("echo");
    let folder = setup.folder.path();
    let sipp = Run { folder, name: "callee", scenario: &callee, calls: 1, limit: 60, port: 0 }.answering();
    let gateway = setup.trunk("pbx", sipp.port, "").start();
    let id = gateway.place("+4930555123", &json!({}));
    gateway.wait_status(&id, &["ended-success"], SOON);
    sipp.succeeded(SOON);
    let seen: Value = gateway.get(&format!("/api/v2/calls/{id}/trace")).json();
    let messages = seen["messages"].as_array().expect("messages").len();
    let file = gateway.setup.folder.path().join("trace.pcap");
    std::fs::write(&file, gateway.get(&format!("/api/v2/calls/{id}/trace.pcap")).body).expect("written");
    let decode = format!("udp.port=={},sip", gateway.setup.sip.port());
    let shown = tool(
        "tshark",
        &[
            "-r",
            &file.display().to_string(),
            "-d",
            &decode,
            "-o",
            "udp.check_checksum:TRUE",
            "-o",
            "ip.check_checksum:TRUE",
            "-T",
            "fields",
            "-e",
            "sip.CSeq",
            "-e",
            "ip.checksum.status",
            "-e",
            "udp.checksum.status",
            "-e",
            "sip.Call-ID",
        ],
    );
    let lines: Vec<&str> =
        shown.lines().filter(|line| line.contains("INVITE") || line.contains("ACK") || line.contains("BYE")).collect();
    assert_eq!(lines.len(), messages, "{shown}");
    for line in lines {
        let fields: Vec<&str> = line.split('\t').collect();
        // 1 is a sum that was looked at and is right.
        assert_eq!(fields[1..3], ["1", "1"], "{line}");
        assert_eq!(fields[3], seen["messages"][0]["call_id"].as_str().expect("a Call-ID"));
    }
}

fn tshark_reads_what_goes_to_the_collector_as_hep() {
    let collector = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    collector.set_read_timeout(Some(SOON)).expect("a timeout");
    let address = collector.local_addr().expect("bound");
    let trace = format!("\n[trace]\nhep = \"{address}\"\nhep_id = 77\nhep_password = \"homer\"\n");
    let pbx = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let gateway = Setup::new().trunk("pbx", pbx.local_addr().expect("bound").port(), "").more(&trace).start();
    let ask = "OPTIONS sip:box SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK1;rport\r\nMax-Forwards: 70\r\n\
               From: <sip:1@a>;tag=a\r\nTo: <sip:1@a>\r\nCall-ID: hep-1\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";
    pbx.send_to(ask.as_bytes(), gateway.setup.sip).expect("sent");
    // One for the question, one for the answer; each packet as a datagram to Homer's port in a capture of our own.
    let packets: Vec<trunkline::sip::trace::Sighting> = (0..2_u64)
        .map(|number| {
            let mut buffer = [0; 65_535];
            let (length, _) = collector.recv_from(&mut buffer).expect("a packet");
            trunkline::sip::trace::Sighting {
                at: 1_700_000_000_000_000 + number,
                from: "127.0.0.1:40000".parse().expect("address"),
                to: "127.0.0.1:9060".parse().expect("address"),
                transport: trunkline::sip::transport::Transport::Udp,
                bytes: buffer[..length].to_vec().into(),
            }
        })
        .collect();
    let file = gateway.setup.folder.path().join("hep.pcap");
    std::fs::write(&file, trunkline::sip::trace::pcap(&packets)).expect("written");
    let shown = tool("tshark", &["-r", &file.display().to_string(), "-d", "udp.port==9060,hep", "-V"]);
    assert_eq!(shown.matches("HEP3").count().min(2), 2, "{shown}");
    for wanted in ["OPTIONS sip:box SIP/2.0", "SIP/2.0 200 OK", "homer", "hep-1"] {
        assert!(shown.contains(wanted), "no {wanted}: {shown}");
    }
    assert!(!shown.contains("Malformed"), "{shown}");
}
