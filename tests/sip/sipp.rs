//! SIPp on the other side of the wire, as caller and as called phone. Each scenario is its own process.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use crate::support;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use support::*;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;
use trunkline::sip::endpoint::{CallControl, CallEvent, CallFailure, EndedBy, Endpoint};

pub const T1: u64 = 50;
/// Longer than SIPp's own limit.
const SIPP_LIMIT: Duration = Duration::from_secs(25);

pub struct Sipp {
    child: Child,
    folder: tempfile::TempDir,
    pub address: SocketAddr,
    scenario: &'static str,
}

impl Sipp {
    /// Waits for a call.
    pub async fn called(scenario: &'static str) -> Sipp {
        Sipp::start(scenario, None).await
    }

    /// Calls `to`.
    pub async fn calling(scenario: &'static str, to: SocketAddr) -> Sipp {
        Sipp::start(scenario, Some(to)).await
    }

    async fn start(scenario: &'static str, to: Option<SocketAddr>) -> Sipp {
        Sipp::start_over("u1", 1, scenario, to).await
    }

    /// `mode` is what SIPp's option `-t` takes.
    pub async fn start_over(mode: &str, calls: u32, scenario: &'static str, to: Option<SocketAddr>) -> Sipp {
        let folder = tempfile::tempdir().expect("a folder");
        let address = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port");
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/sipp/{scenario}.xml"));
        let mut command = Command::new("sipp");
        command.arg("-sf").arg(file).args(["-i", "127.0.0.1", "-p", &address.port().to_string()]);
        command.args([
            "-t",
            mode,
            "-m",
            &calls.to_string(),
            "-timeout",
            "20",
            "-timeout_error",
            "-nostdin",
            "-trace_err",
            "-error_file",
            "errors",
        ]);
        if mode.ends_with('n') {
            command.args(["-max_socket", "200"]);
        }
        command.args(to.map(|to| to.to_string()));
        let log = std::fs::File::create(folder.path().join("screen")).expect("a log");
        command.stdin(Stdio::null()).stdout(log).stderr(Stdio::null()).kill_on_drop(true);
        let child = command.current_dir(folder.path()).env("TERM", "dumb").spawn();
        let child = child.expect("sipp is not installed: run `make setup`");
        let sipp = Sipp { child, folder, address, scenario };
        if to.is_none() {
            sipp.listening(if mode.starts_with('t') { "tcp" } else { "udp" }).await;
        }
        sipp
    }

    /// Until the kernel lists its socket; binding the port to find out would be in its way.
    async fn listening(&self, transport: &str) {
        let wanted = format!("0100007F:{:04X} ", self.address.port());
        let bound = async {
            while !std::fs::read_to_string(format!("/proc/net/{transport}"))
                .is_ok_and(|sockets| sockets.contains(&wanted))
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, bound).await.expect("sipp listens");
    }

    /// Its scenario went through to the end.
    pub async fn succeeded(mut self) {
        let status = timeout(SIPP_LIMIT, self.child.wait()).await.expect("sipp ends in time").expect("sipp ran");
        if !status.success() {
            let read = |name: &str| std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
            panic!("{}: {status}\n{}\n{}", self.scenario, read("errors"), read("screen"));
        }
    }
}

/// Calls a SIPp that plays `scenario`.
pub async fn call(scenario: &'static str, more: &str) -> (Endpoint, Sipp, CallControl, mpsc::Receiver<CallEvent>) {
    let sipp = Sipp::called(scenario).await;
    let (endpoint, _) = endpoint(T1, &[trunk("sipp", sipp.address, more)], &[]).await;
    let (control, events) = invite(&endpoint, "sipp", "100");
    (endpoint, sipp, control, events)
}

pub async fn answered(events: &mut mpsc::Receiver<CallEvent>) {
    match decisive(events).await {
        CallEvent::Answered { session: Some(session) } => assert_eq!(session.address.port(), 6100),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn calls_and_hangs_up() {
    let (_endpoint, sipp, control, mut events) = call("uas_answer", "").await;
    assert_eq!(next(&mut events).await, CallEvent::Ringing { code: 180, session: None });
    answered(&mut events).await;
    control.hang_up();
    assert_eq!(next(&mut events).await, CallEvent::Ended { by: EndedBy::Us });
    sipp.succeeded().await;
}

#[tokio::test]
async fn is_hung_up_by_the_called_phone() {
    let (_endpoint, sipp, _control, mut events) = call("uas_hang_up", "").await;
    answered(&mut events).await;
    assert_eq!(next(&mut events).await, CallEvent::Ended { by: EndedBy::Peer });
    sipp.succeeded().await;
}

#[tokio::test]
async fn the_first_fork_wins_and_the_second_is_ended() {
    let (_endpoint, sipp, control, mut events) = call("uas_fork", "").await;
    answered(&mut events).await;
    tokio::time::timeout(Duration::from_millis(300), events.recv()).await.expect_err("the second fork is not told");
    control.hang_up();
    assert_eq!(next(&mut events).await, CallEvent::Ended { by: EndedBy::Us });
    sipp.succeeded().await;
}

#[tokio::test]
async fn reports_busy_and_unavailable() {
    let (_endpoint, sipp, _control, mut events) = call("uas_486", "").await;
    let busy = CallEvent::Rejected { code: 486, reason: "Busy Here".into(), retry_after: None };
    assert_eq!(decisive(&mut events).await, busy);
    sipp.succeeded().await;
    let (_endpoint, sipp, _control, mut events) = call("uas_503", "").await;
    let retry_after = Some(Duration::from_secs(7));
    let unavailable = CallEvent::Rejected { code: 503, reason: "Service Unavailable".into(), retry_after };
    assert_eq!(decisive(&mut events).await, unavailable);
    sipp.succeeded().await;
}

#[tokio::test]
async fn cancels_when_hung_up_while_it_rings() {
    let (_endpoint, sipp, control, mut events) = call("uas_cancelled", "").await;
    assert!(matches!(next(&mut events).await, CallEvent::Ringing { .. }));
    control.hang_up();
    assert_eq!(next(&mut events).await, CallEvent::Ended { by: EndedBy::Us });
    sipp.succeeded().await;
}

#[tokio::test]
async fn gives_up_when_nobody_answers() {
    let sipp = Sipp::called("uas_cancelled").await;
    let (endpoint, _) = endpoint(T1, &[trunk("sipp", sipp.address, "")], &[]).await;
    let (_control, mut events) = invite_for(&endpoint, "sipp", "100", Duration::from_millis(300));
    assert_eq!(decisive(&mut events).await, CallEvent::Failed(CallFailure::NoAnswer));
    sipp.succeeded().await;
}

#[tokio::test]
async fn a_200_that_crosses_the_cancel_is_acknowledged_and_ended() {
    let (_endpoint, sipp, control, mut events) = call("uas_cancel_race", "").await;
    assert!(matches!(next(&mut events).await, CallEvent::Ringing { .. }));
    control.hang_up();
    assert_eq!(next(&mut events).await, CallEvent::Ended { by: EndedBy::Us });
    nothing_more(&mut events).await;
    sipp.succeeded().await;
}

#[tokio::test]
async fn answers_a_401_with_md5_and_a_407_with_sha_256() {
    for scenario in ["uas_401_md5", "uas_407_sha256"] {
        let (_endpoint, sipp, control, mut events) = call(scenario, "username = \"box\"\npassword = \"secret\"").await;
        answered(&mut events).await;
        control.hang_up();
        sipp.succeeded().await;
    }
}

#[tokio::test]
async fn a_wrong_password_is_unauthorized() {
    let sipp = Sipp::called("uas_401_md5").await;
    let wrong = trunk("sipp", sipp.address, "username = \"box\"\npassword = \"wrong\"");
    let (endpoint, _) = endpoint(T1, &[wrong], &[]).await;
    let (_control, mut events) = invite(&endpoint, "sipp", "100");
    assert!(matches!(decisive(&mut events).await, CallEvent::Rejected { code: 403, .. }));
}

/// Takes calls of SIPp: rings, then answers.
async fn take_and_answer(scenario: &'static str) {
    let (endpoint, mut calls) = open_endpoint(T1).await;
    let sipp = Sipp::calling(scenario, endpoint.local_address()).await;
    let mut call = incoming(&mut calls).await;
    call.control.ringing(None);
    if scenario == "uac_retransmit" {
        // Until the phone has sent again and heard 180 again.
        tokio::time::timeout(Duration::from_millis(300), call.events.recv()).await.expect_err("nothing to tell");
    }
    call.control.answer(answer_to(&call.offer.clone().expect("an offer"), 5000));
    assert_eq!(next(&mut call.events).await, CallEvent::Answered { session: None });
    assert_eq!(next(&mut call.events).await, CallEvent::Ended { by: EndedBy::Peer });
    sipp.succeeded().await;
    assert!(calls.try_recv().is_err(), "one call only");
}

#[tokio::test]
async fn is_called_and_hung_up() {
    take_and_answer("uac_answer").await;
}

#[tokio::test]
async fn takes_a_repeated_invite_for_one_call() {
    take_and_answer("uac_retransmit").await;
}

#[tokio::test]
async fn repeats_its_200_until_a_late_ack() {
    take_and_answer("uac_late_ack").await;
}

#[tokio::test]
async fn a_cancel_after_the_200_changes_nothing() {
    take_and_answer("uac_cancel_late").await;
}

#[tokio::test]
async fn is_cancelled_while_it_rings() {
    let (endpoint, mut calls) = open_endpoint(T1).await;
    let sipp = Sipp::calling("uac_cancel", endpoint.local_address()).await;
    let mut call = incoming(&mut calls).await;
    call.control.ringing(None);
    assert_eq!(next(&mut call.events).await, CallEvent::Ended { by: EndedBy::Peer });
    sipp.succeeded().await;
}

#[tokio::test]
async fn refuses_with_486() {
    let (endpoint, mut calls) = open_endpoint(T1).await;
    let sipp = Sipp::calling("uac_busy", endpoint.local_address()).await;
    incoming(&mut calls).await.control.reject(486);
    sipp.succeeded().await;
}

#[tokio::test]
async fn challenges_an_extension() {
    let (endpoint, mut calls) = endpoint(T1, &[], &[extension("200", "right")]).await;
    Sipp::calling("uac_challenged", endpoint.local_address()).await.succeeded().await;
    assert!(calls.try_recv().is_err());
}
