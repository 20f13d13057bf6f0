//! SIPp on the other side of the wire, as caller and as called phone. Each scenario is its own process.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use crate::support;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use support::*;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;
use trunkline::clock::Clock;
use trunkline::config::{ExtensionConfig, TrunkConfig};
use trunkline::sip::endpoint::{CallControl, CallEvent, CallFailure, EndedBy, Endpoint, IncomingCall};

use crate::authority::{Authority, server};
use crate::way::{NAME, Relay, Way, each_way};

/// Over UDP things are lost, and tests wait for it; over a stream nothing should come twice, however slow the machine.
pub fn t1(way: Way) -> u64 {
    if way == Way::Udp { 50 } else { 250 }
}
/// Longer than SIPp's own limit.
const SIPP_LIMIT: Duration = Duration::from_secs(25);

pub struct Sipp {
    child: Child,
    folder: tempfile::TempDir,
    /// Where it is reached.
    pub address: SocketAddr,
    /// Where it listens itself.
    own: SocketAddr,
    scenario: &'static str,
    way: Way,
    authority: Option<Arc<Authority>>,
    _relay: Option<Relay>,
}

/// An endpoint, and the authority that it and its peer are signed by where they speak TLS.
pub struct Lab {
    pub endpoint: Endpoint,
    pub calls: mpsc::Receiver<IncomingCall>,
    authority: Arc<Authority>,
}

impl Lab {
    /// Takes everything from loopback as its trunk `lab`.
    pub async fn open(way: Way) -> Lab {
        let nowhere = "127.0.0.1:9".parse().expect("address");
        Lab::start(way, &[trunk("lab", nowhere, "sources = [\"127.0.0.0/8\"]")], &[]).await
    }

    pub async fn start(way: Way, trunks: &[TrunkConfig], extensions: &[ExtensionConfig]) -> Lab {
        let authority = Arc::new(Authority::new());
        let config = if way == Way::Tls { server(&authority, NAME, 2090, t1(way)) } else { sip_config(t1(way)) };
        let started = Endpoint::start(&config, trunks, extensions, Clock::system()).await;
        let (endpoint, calls) = started.expect("a free port");
        Lab { endpoint, calls, authority }
    }
}

impl Sipp {
    /// Waits for a call.
    pub async fn called(way: Way, scenario: &'static str) -> Sipp {
        Sipp::called_times(way, 1, scenario).await
    }

    pub async fn called_times(way: Way, calls: u32, scenario: &'static str) -> Sipp {
        let authority = Arc::new(Authority::new());
        let own = free_address();
        let relay = match way {
            Way::Tls => Some(Relay::to_plain(&authority, own).await),
            Way::Udp | Way::Tcp => None,
        };
        let mode = if way == Way::Udp { "u1" } else { "t1" };
        Sipp::start(way, mode, calls, scenario, own, None, relay, Some(authority)).await
    }

    /// Calls `to`.
    pub async fn calling(way: Way, scenario: &'static str, to: &Lab) -> Sipp {
        Sipp::calling_times(way, if way == Way::Udp { "u1" } else { "t1" }, 1, scenario, to).await
    }

    /// `mode` is what SIPp's option `-t` takes.
    pub async fn calling_times(way: Way, mode: &str, calls: u32, scenario: &'static str, to: &Lab) -> Sipp {
        let own = free_address();
        let tls = SocketAddr::from(([127, 0, 0, 1], to.endpoint.ports().tls));
        let relay = match way {
            Way::Tls => Some(Relay::to_tls(&to.authority, tls).await),
            Way::Udp | Way::Tcp => None,
        };
        let target = relay.as_ref().map_or(to.endpoint.local_address(), |relay| relay.address);
        Sipp::start(way, mode, calls, scenario, own, Some(target), relay, None).await
    }

    #[allow(clippy::too_many_arguments)]
    async fn start(
        way: Way,
        mode: &str,
        calls: u32,
        scenario: &'static str,
        own: SocketAddr,
        to: Option<SocketAddr>,
        relay: Option<Relay>,
        authority: Option<Arc<Authority>>,
    ) -> Sipp {
        let folder = tempfile::tempdir().expect("a folder");
        let waits = to.is_none();
        let address = relay.as_ref().filter(|_| waits).map_or(own, |relay| relay.address);
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/sipp/{scenario}.xml"));
        let written = std::fs::read_to_string(file).expect("a scenario");
        std::fs::write(folder.path().join("scenario.xml"), spoken(way, &written, address)).expect("written");
        let mut command = Command::new("sipp");
        command.args(["-sf", "scenario.xml", "-i", "127.0.0.1", "-p", &own.port().to_string()]);
        command.args(["-t", mode, "-m", &calls.to_string(), "-timeout", "20", "-timeout_error", "-nostdin"]);
        command.args(["-trace_err", "-error_file", "errors"]);
        if mode.ends_with('n') {
            command.args(["-max_socket", "200"]);
        }
        command.args(to.map(|to| to.to_string()));
        let log = std::fs::File::create(folder.path().join("screen")).expect("a log");
        command.stdin(Stdio::null()).stdout(log).stderr(Stdio::null()).kill_on_drop(true);
        let child = command.current_dir(folder.path()).env("TERM", "dumb").spawn();
        let child = child.expect("sipp is not installed: run `make setup`");
        let sipp = Sipp { child, folder, address, own, scenario, way, authority, _relay: relay };
        if waits {
            sipp.listening(if way == Way::Udp { "udp" } else { "tcp" }).await;
        }
        sipp
    }

    /// The trunk `sipp` that leads to it; `more` are further keys as TOML lines.
    pub fn trunk(&self, more: &str) -> TrunkConfig {
        let how = match (self.way, &self.authority) {
            (Way::Tls, Some(authority)) => {
                format!("transport = \"tls\"\nca = {:?}\ntls_name = \"{NAME}\"", authority.ca())
            }
            (Way::Tcp, _) => "transport = \"tcp\"".to_owned(),
            _ => String::new(),
        };
        trunk("sipp", self.address, &format!("{how}\n{more}"))
    }

    /// Until the kernel lists its socket; binding the port to find out would be in its way.
    async fn listening(&self, transport: &str) {
        let wanted = format!("0100007F:{:04X} ", self.own.port());
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

/// Free for UDP and for TCP, and none that the system gives to connections on their way out.
fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(std::process::id() as u16);
        let address = SocketAddr::from(([127, 0, 0, 1], 12_000 + number % 16_000));
        if UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// Waits until our response has been repeated. SIPp knows a repeated one over UDP only.
const PROVOKED: &str = "<pause milliseconds=\"400\"/>";

/// The scenario in the words of its way; over TLS it calls itself what its relay is.
fn spoken(way: Way, scenario: &str, address: SocketAddr) -> String {
    match way {
        Way::Udp => scenario.to_owned(),
        Way::Tcp => scenario.replace(PROVOKED, ""),
        Way::Tls => scenario
            .replace(PROVOKED, "")
            .replace("SIP/2.0/[transport]", "SIP/2.0/TLS")
            .replace("transport=[transport]", "transport=TLS")
            .replace("[local_ip]:[local_port]", &address.to_string()),
    }
}

/// Calls a SIPp that plays `scenario`.
pub async fn call(
    way: Way,
    scenario: &'static str,
    more: &str,
) -> (Endpoint, Sipp, CallControl, mpsc::Receiver<CallEvent>) {
    let sipp = Sipp::called(way, scenario).await;
    let (endpoint, _) = endpoint(t1(way), &[sipp.trunk(more)], &[]).await;
    let (control, events) = invite(&endpoint, "sipp", "100");
    (endpoint, sipp, control, events)
}

pub async fn answered(events: &mut mpsc::Receiver<CallEvent>) {
    match decisive(events).await {
        CallEvent::Answered { session: Some(session) } => assert_eq!(session.address.port(), 6100),
        other => panic!("{other:?}"),
    }
}

async fn calls_and_hangs_up(way: Way) {
    let (_endpoint, sipp, control, mut events) = call(way, "uas_answer", "").await;
    assert_eq!(next(&mut events).await, CallEvent::Ringing { code: 180, session: None });
    answered(&mut events).await;
    control.hang_up();
    assert_eq!(next(&mut events).await, CallEvent::Ended { by: EndedBy::Us });
    sipp.succeeded().await;
}

async fn is_hung_up_by_the_called_phone(way: Way) {
    let (_endpoint, sipp, _control, mut events) = call(way, "uas_hang_up", "").await;
    answered(&mut events).await;
    assert_eq!(next(&mut events).await, CallEvent::Ended { by: EndedBy::Peer });
    sipp.succeeded().await;
}

async fn the_first_fork_wins_and_the_second_is_ended(way: Way) {
    let (_endpoint, sipp, control, mut events) = call(way, "uas_fork", "").await;
    answered(&mut events).await;
    tokio::time::timeout(Duration::from_millis(300), events.recv()).await.expect_err("the second fork is not told");
    control.hang_up();
    assert_eq!(next(&mut events).await, CallEvent::Ended { by: EndedBy::Us });
    sipp.succeeded().await;
}

async fn reports_busy_and_unavailable(way: Way) {
    let (_endpoint, sipp, _control, mut events) = call(way, "uas_486", "").await;
    let busy = CallEvent::Rejected { code: 486, reason: "Busy Here".into(), retry_after: None };
    assert_eq!(decisive(&mut events).await, busy);
    sipp.succeeded().await;
    let (_endpoint, sipp, _control, mut events) = call(way, "uas_503", "").await;
    let retry_after = Some(Duration::from_secs(7));
    let unavailable = CallEvent::Rejected { code: 503, reason: "Service Unavailable".into(), retry_after };
    assert_eq!(decisive(&mut events).await, unavailable);
    sipp.succeeded().await;
}

async fn cancels_when_hung_up_while_it_rings(way: Way) {
    let (_endpoint, sipp, control, mut events) = call(way, "uas_cancelled", "").await;
    assert!(matches!(next(&mut events).await, CallEvent::Ringing { .. }));
    control.hang_up();
    assert_eq!(next(&mut events).await, CallEvent::Ended { by: EndedBy::Us });
    sipp.succeeded().await;
}

async fn gives_up_when_nobody_answers(way: Way) {
    let sipp = Sipp::called(way, "uas_cancelled").await;
    let (endpoint, _) = endpoint(t1(way), &[sipp.trunk("")], &[]).await;
    let (_control, mut events) = invite_for(&endpoint, "sipp", "100", Duration::from_millis(300));
    assert_eq!(decisive(&mut events).await, CallEvent::Failed(CallFailure::NoAnswer));
    sipp.succeeded().await;
}

async fn a_200_that_crosses_the_cancel_is_acknowledged_and_ended(way: Way) {
    let (_endpoint, sipp, control, mut events) = call(way, "uas_cancel_race", "").await;
    assert!(matches!(next(&mut events).await, CallEvent::Ringing { .. }));
    control.hang_up();
    assert_eq!(next(&mut events).await, CallEvent::Ended { by: EndedBy::Us });
    nothing_more(&mut events).await;
    sipp.succeeded().await;
}

async fn answers_a_401_with_md5_and_a_407_with_sha_256(way: Way) {
    for scenario in ["uas_401_md5", "uas_407_sha256"] {
        let (_endpoint, sipp, control, mut events) =
            call(way, scenario, "username = \"box\"\npassword = \"secret\"").await;
        answered(&mut events).await;
        control.hang_up();
        sipp.succeeded().await;
    }
}

async fn a_wrong_password_is_unauthorized(way: Way) {
    let sipp = Sipp::called(way, "uas_401_md5").await;
    let wrong = sipp.trunk("username = \"box\"\npassword = \"wrong\"");
    let (endpoint, _) = endpoint(t1(way), &[wrong], &[]).await;
    let (_control, mut events) = invite(&endpoint, "sipp", "100");
    assert!(matches!(decisive(&mut events).await, CallEvent::Rejected { code: 403, .. }));
}

/// Takes calls of SIPp: rings, then answers.
async fn take_and_answer(way: Way, scenario: &'static str) {
    let mut lab = Lab::open(way).await;
    let sipp = Sipp::calling(way, scenario, &lab).await;
    let mut call = incoming(&mut lab.calls).await;
    call.control.ringing(None);
    if scenario == "uac_retransmit" {
        // Until the phone has sent again and heard 180 again.
        tokio::time::timeout(Duration::from_millis(300), call.events.recv()).await.expect_err("nothing to tell");
    }
    call.control.answer(answer_to(&call.offer.clone().expect("an offer"), 5000));
    assert_eq!(next(&mut call.events).await, CallEvent::Answered { session: None });
    assert_eq!(next(&mut call.events).await, CallEvent::Ended { by: EndedBy::Peer });
    sipp.succeeded().await;
    assert!(lab.calls.try_recv().is_err(), "one call only");
}

async fn is_called_and_hung_up(way: Way) {
    take_and_answer(way, "uac_answer").await;
}

/// Nothing is repeated over TCP.
#[tokio::test]
async fn takes_a_repeated_invite_for_one_call() {
    take_and_answer(Way::Udp, "uac_retransmit").await;
}

async fn repeats_its_200_until_a_late_ack(way: Way) {
    take_and_answer(way, "uac_late_ack").await;
}

async fn a_cancel_after_the_200_changes_nothing(way: Way) {
    take_and_answer(way, "uac_cancel_late").await;
}

async fn is_cancelled_while_it_rings(way: Way) {
    let mut lab = Lab::open(way).await;
    let sipp = Sipp::calling(way, "uac_cancel", &lab).await;
    let mut call = incoming(&mut lab.calls).await;
    call.control.ringing(None);
    assert_eq!(next(&mut call.events).await, CallEvent::Ended { by: EndedBy::Peer });
    sipp.succeeded().await;
}

async fn refuses_with_486(way: Way) {
    let mut lab = Lab::open(way).await;
    let sipp = Sipp::calling(way, "uac_busy", &lab).await;
    incoming(&mut lab.calls).await.control.reject(486);
    sipp.succeeded().await;
}

async fn challenges_an_extension(way: Way) {
    let mut lab = Lab::start(way, &[], &[extension("200", "right")]).await;
    Sipp::calling(way, "uac_challenged", &lab).await.succeeded().await;
    assert!(lab.calls.try_recv().is_err());
}

/// `calls` calls of one SIPp, each taken and hung up by it.
async fn taken(way: Way, mode: &str, calls: u32, scenario: &'static str) {
    let mut lab = Lab::open(way).await;
    let sipp = Sipp::calling_times(way, mode, calls, scenario, &lab).await;
    for _ in 0..calls {
        let mut call = incoming(&mut lab.calls).await;
        tokio::spawn(async move {
            call.control.ringing(None);
            call.control.answer(answer_to(&call.offer.clone().expect("an offer"), 5000));
            while let Some(event) = call.events.recv().await {
                if event.is_last() {
                    assert_eq!(event, CallEvent::Ended { by: EndedBy::Peer });
                }
            }
        });
    }
    sipp.succeeded().await;
}

async fn takes_calls_that_share_a_connection(way: Way) {
    taken(way, if way == Way::Udp { "u1" } else { "t1" }, 20, "uac_answer").await;
}

async fn takes_calls_that_have_a_connection_each(way: Way) {
    taken(way, if way == Way::Udp { "un" } else { "tn" }, 20, "uac_answer").await;
}

each_way!(
    calls_and_hangs_up,
    is_hung_up_by_the_called_phone,
    the_first_fork_wins_and_the_second_is_ended,
    reports_busy_and_unavailable,
    cancels_when_hung_up_while_it_rings,
    gives_up_when_nobody_answers,
    a_200_that_crosses_the_cancel_is_acknowledged_and_ended,
    answers_a_401_with_md5_and_a_407_with_sha_256,
    a_wrong_password_is_unauthorized,
    is_called_and_hung_up,
    repeats_its_200_until_a_late_ack,
    a_cancel_after_the_200_changes_nothing,
    is_cancelled_while_it_rings,
    refuses_with_486,
    challenges_an_extension,
    takes_calls_that_share_a_connection,
    takes_calls_that_have_a_connection_each,
);
