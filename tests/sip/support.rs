//! What the SIP tests share: an endpoint on a loopback port, a bare UDP peer, session descriptions.
#![allow(
    dead_code,
    unused_imports,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::timeout;
use trunkline::clock::Clock;
use trunkline::config::{ExtensionConfig, SipConfig, TrunkConfig};
use trunkline::sip::endpoint::DialPolicy;
pub use trunkline::sip::endpoint::IncomingCall as Incoming;
use trunkline::sip::endpoint::{CallControl, CallEvent, Destination, Endpoint, IncomingCall, OutboundInvite};
use trunkline::sip::sdp::{AudioCodec, SessionDescription};

pub const PATIENCE: Duration = Duration::from_secs(10);

pub fn sip_config(t1_ms: u64) -> SipConfig {
    SipConfig { listen: "127.0.0.1:0".parse().expect("address"), t1_ms, ..SipConfig::default() }
}

/// A trunk named `name` at `host`, further keys as TOML lines.
pub fn trunk(name: &str, host: SocketAddr, more: &str) -> TrunkConfig {
    toml::from_str(&format!("name = \"{name}\"\nhost = \"{host}\"\n{more}")).expect("a valid trunk")
}

pub fn extension(user: &str, password: &str) -> ExtensionConfig {
    toml::from_str(&format!("user = \"{user}\"\npassword = \"{password}\"")).expect("a valid extension")
}

pub async fn endpoint(
    t1_ms: u64,
    trunks: &[TrunkConfig],
    extensions: &[ExtensionConfig],
) -> (Endpoint, mpsc::Receiver<IncomingCall>) {
    Endpoint::start(&sip_config(t1_ms), trunks, extensions, Clock::system()).await.expect("a free port")
}

/// An endpoint that takes everything from loopback as its trunk `lab`.
pub async fn open_endpoint(t1_ms: u64) -> (Endpoint, mpsc::Receiver<IncomingCall>) {
    let nowhere = "127.0.0.1:9".parse().expect("address");
    endpoint(t1_ms, &[trunk("lab", nowhere, "sources = [\"127.0.0.0/8\"]")], &[]).await
}

pub fn session(port: u16) -> SessionDescription {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    SessionDescription::offer(u64::from(port), address, &[AudioCodec::Pcmu, AudioCodec::Pcma])
}

pub fn answer_to(offer: &SessionDescription, port: u16) -> SessionDescription {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    offer.answer(1, address, &[AudioCodec::Pcmu, AudioCodec::Pcma]).expect("a common codec").0
}

pub fn invite(endpoint: &Endpoint, trunk: &str, number: &str) -> (CallControl, mpsc::Receiver<CallEvent>) {
    invite_for(endpoint, trunk, number, PATIENCE)
}

pub fn invite_for(
    endpoint: &Endpoint,
    trunk: &str,
    number: &str,
    ring_timeout: Duration,
) -> (CallControl, mpsc::Receiver<CallEvent>) {
    let order = OutboundInvite {
        trunk: trunk.into(),
        destination: Destination::Number(number.into()),
        caller_number: Some("4930123".into()),
        caller_name: Some("Trunk \"Line\"".into()),
        offer: session(4000),
        ring_timeout,
        policy: DialPolicy::default(),
    };
    endpoint.invite(order).expect("a call under way")
}

/// The next event but reasons, which stand before many an end.
pub async fn next(events: &mut mpsc::Receiver<CallEvent>) -> CallEvent {
    loop {
        match next_told(events).await {
            CallEvent::Because(_) => {}
            event => return event,
        }
    }
}

pub async fn next_told(events: &mut mpsc::Receiver<CallEvent>) -> CallEvent {
    timeout(PATIENCE, events.recv()).await.expect("an event in time").expect("an event")
}

/// The next event that is no ringing.
pub async fn decisive(events: &mut mpsc::Receiver<CallEvent>) -> CallEvent {
    loop {
        match next(events).await {
            CallEvent::Ringing { .. } => {}
            event => return event,
        }
    }
}

/// After its last event, a call's queue ends.
pub async fn nothing_more(events: &mut mpsc::Receiver<CallEvent>) {
    assert_eq!(timeout(PATIENCE, events.recv()).await.expect("the end in time"), None);
}

pub async fn incoming(calls: &mut mpsc::Receiver<IncomingCall>) -> IncomingCall {
    timeout(PATIENCE, calls.recv()).await.expect("a call in time").expect("a call")
}

/// A peer that speaks only what the test writes.
pub struct Peer {
    socket: UdpSocket,
    to: SocketAddr,
}

impl Peer {
    pub async fn new(to: SocketAddr) -> Peer {
        Peer { socket: UdpSocket::bind("127.0.0.1:0").await.expect("a free port"), to }
    }

    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("bound")
    }

    pub async fn send(&self, datagram: &[u8]) {
        self.socket.send_to(datagram, self.to).await.expect("sent");
    }

    pub async fn send_to(&self, datagram: &[u8], to: SocketAddr) {
        self.socket.send_to(datagram, to).await.expect("sent");
    }

    pub async fn receive(&self) -> String {
        self.receive_within(PATIENCE).await.expect("a message in time")
    }

    pub async fn receive_within(&self, limit: Duration) -> Option<String> {
        let mut buffer = vec![0; 65_535];
        let (length, _) = timeout(limit, self.socket.recv_from(&mut buffer)).await.ok()?.expect("readable");
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    pub async fn receive_bytes(&self) -> Vec<u8> {
        let mut buffer = vec![0; 65_535];
        let received = timeout(PATIENCE, self.socket.recv_from(&mut buffer)).await;
        let (length, _) = received.expect("a datagram in time").expect("readable");
        buffer.truncate(length);
        buffer
    }

    pub async fn receive_from(&self) -> (String, SocketAddr) {
        let mut buffer = vec![0; 65_535];
        let received = timeout(PATIENCE, self.socket.recv_from(&mut buffer)).await;
        let (length, source) = received.expect("a message in time").expect("readable");
        (String::from_utf8_lossy(&buffer[..length]).into_owned(), source)
    }

    /// Sends and returns the first final response.
    pub async fn ask(&self, request: &str) -> String {
        self.send(request.as_bytes()).await;
        self.final_response().await
    }

    pub async fn final_response(&self) -> String {
        loop {
            let answer = self.receive().await;
            if status(&answer) >= 200 {
                return answer;
            }
        }
    }

    /// A request with all that it must have; `more` are further header lines, each with CRLF.
    pub fn request(&self, method: &str, branch: &str, to_tag: &str, more: &str, body: &str) -> String {
        let tag = if to_tag.is_empty() { String::new() } else { format!(";tag={to_tag}") };
        let ack_for = if method == "ACK" || method == "CANCEL" { "1" } else { "2" };
        let number = if method == "INVITE" { "1" } else { ack_for };
        format!(
            "{method} sip:100@{to} SIP/2.0\r\nVia: SIP/2.0/UDP {me};rport;branch=z9hG4bK{branch}\r\n\
             Max-Forwards: 70\r\nFrom: \"Peer\" <sip:peer@{me}>;tag=peer1\r\nTo: <sip:100@{to}>{tag}\r\n\
             Call-ID: call-{port}\r\nCSeq: {number} {method}\r\nContact: <sip:peer@{me}>\r\n{more}\
             Content-Length: {length}\r\n\r\n{body}",
            to = self.to,
            me = self.address(),
            port = self.address().port(),
            length = body.len(),
        )
    }

    pub fn invite(&self, branch: &str, more: &str) -> String {
        let more = format!("Content-Type: application/sdp\r\n{more}");
        self.request("INVITE", branch, "", &more, &session(6000).write())
    }
}

pub fn status(message: &str) -> u16 {
    message.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok()).unwrap_or(0)
}

pub fn header(message: &str, name: &str) -> String {
    let found = message.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    });
    found.unwrap_or_default()
}

pub fn tag_of(message: &str) -> String {
    header(message, "To").split_once("tag=").map(|(_, tag)| tag.to_owned()).unwrap_or_default()
}
