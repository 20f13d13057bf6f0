//! Calls over TCP: connections that serve, that are lost, that are refused, and the switch of large requests.
#![allow(clippy::disallowed_methods)]

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::timeout;
use trunkline::clock::Clock;
use trunkline::config::SipConfig;
use trunkline::sip::endpoint::{
    CallEvent, CallFailure, Destination, DialPolicy, EndedBy, Endpoint, IncomingCall, OutboundInvite,
};

use crate::line::{Line, reply};
use crate::support::{self, *};

const T1: u64 = 30;
const LAB: &str = "sources = [\"127.0.0.0/8\"]";

fn nowhere() -> SocketAddr {
    "127.0.0.1:9".parse().expect("address")
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    (listener, address)
}

/// A UDP socket and a TCP listener of one number.
async fn both() -> (TcpListener, tokio::net::UdpSocket, SocketAddr) {
    loop {
        let (listener, address) = listener().await;
        if let Ok(socket) = tokio::net::UdpSocket::bind(address).await {
            return (listener, socket, address);
        }
    }
}

async fn box_with(config: SipConfig) -> (Endpoint, tokio::sync::mpsc::Receiver<IncomingCall>) {
    Endpoint::start(&config, &[trunk("lab", nowhere(), LAB)], &[], Clock::system()).await.expect("started")
}

#[tokio::test]
async fn two_boxes_call_each_other_over_one_connection() {
    let (callee, mut calls) = open_endpoint(T1).await;
    let (caller, _) = endpoint(T1, &[trunk("pbx", callee.local_address(), "transport = \"tcp\"")], &[]).await;
    for hang_up_by_caller in [true, false] {
        let (control, mut events) = invite(&caller, "pbx", "+4930");
        let mut call = incoming(&mut calls).await;
        call.control.ringing(None);
        assert_eq!(next(&mut events).await, CallEvent::Ringing { code: 180, session: None });
        call.control.answer(answer_to(&call.offer.clone().expect("an offer"), 5000));
        assert!(matches!(next(&mut events).await, CallEvent::Answered { session: Some(_) }));
        assert_eq!(next(&mut call.events).await, CallEvent::Answered { session: None });
        if hang_up_by_caller {
            control.hang_up()
        } else {
            call.control.hang_up()
        }
        assert!(matches!(next(&mut events).await, CallEvent::Ended { .. }));
        assert!(matches!(next(&mut call.events).await, CallEvent::Ended { .. }));
    }
}

#[tokio::test]
async fn what_goes_out_names_tcp_and_is_sent_once() {
    let (listener, address) = listener().await;
    let (endpoint, _) = endpoint(T1, &[trunk("pbx", address, "transport = \"tcp\"")], &[]).await;
    let (control, mut events) = invite(&endpoint, "pbx", "100");
    let mut line = Line::accept(&listener).await;
    let request = line.message().await;
    assert!(request.starts_with(&format!("INVITE sip:100@{address};transport=tcp SIP/2.0\r\n")), "{request}");
    let own = endpoint.ports().tcp;
    assert!(
        header(&request, "Via").starts_with(&format!("SIP/2.0/TCP 127.0.0.1:{own};rport;alias;branch=")),
        "{request}"
    );
    assert!(header(&request, "Contact").ends_with(&format!("@127.0.0.1:{own};transport=tcp>")), "{request}");
    assert_eq!(line.message_within(Duration::from_millis(10 * T1)).await, None, "no retransmission");
    line.send(&reply(&request, 200, &format!("<sip:{address};transport=tcp>"), &session(6100).write())).await;
    assert!(matches!(decisive(&mut events).await, CallEvent::Answered { .. }));
    assert!(line.message().await.starts_with("ACK "));
    control.hang_up();
    let bye = line.message().await;
    assert!(bye.starts_with("BYE "), "{bye}");
    line.send(&reply(&bye, 200, "<sip:a@b>", "")).await;
}

#[tokio::test]
async fn a_call_goes_on_over_a_new_connection_when_its_own_is_killed() {
    // Called: the peer's connection goes, the BYE finds the address of its Contact.
    let (endpoint, mut calls) = open_endpoint(T1).await;
    let (contact, address) = listener().await;
    let mut line = Line::to(endpoint.local_address()).await;
    line.me = address;
    line.send(&line.invite("a")).await;
    let mut call = incoming(&mut calls).await;
    call.control.answer(answer_to(&call.offer.clone().expect("an offer"), 5000));
    let answer = line.final_response().await;
    line.send(&line.request("ACK", "sip:100@127.0.0.1", "b", &tag_of(&answer), "")).await;
    assert_eq!(next(&mut call.events).await, CallEvent::Answered { session: None });
    drop(line);
    // Until the box has noticed; a BYE into the dying connection would be lost, as in any network.
    timeout(Duration::from_millis(200), call.events.recv()).await.expect_err("the call goes on");
    call.control.hang_up();
    let bye = Line::accept(&contact).await.message().await;
    assert!(bye.starts_with(&format!("BYE sip:peer@{address};transport=tcp SIP/2.0")), "{bye}");

    // Calling: likewise.
    let (listener, address) = self::listener().await;
    let (caller, _) = support::endpoint(T1, &[trunk("pbx", address, "transport = \"tcp\"")], &[]).await;
    let (control, mut events) = invite(&caller, "pbx", "100");
    let mut line = Line::accept(&listener).await;
    let request = line.message().await;
    line.send(&reply(&request, 200, &format!("<sip:{address};transport=tcp>"), &session(6100).write())).await;
    assert!(matches!(decisive(&mut events).await, CallEvent::Answered { .. }));
    assert!(line.message().await.starts_with("ACK "));
    drop(line);
    control.hang_up();
    assert!(Line::accept(&listener).await.message().await.starts_with("BYE "));
}

#[tokio::test]
async fn the_200_is_repeated_over_tcp_until_its_ack() {
    let (endpoint, mut calls) = open_endpoint(T1).await;
    let mut line = Line::to(endpoint.local_address()).await;
    line.send(&line.invite("a")).await;
    let mut call = incoming(&mut calls).await;
    call.control.answer(answer_to(&call.offer.clone().expect("an offer"), 5000));
    let answer = line.final_response().await;
    assert_eq!(line.final_response().await, answer);
    line.send(&line.request("ACK", "sip:100@127.0.0.1", "b", &tag_of(&answer), "")).await;
    assert_eq!(next(&mut call.events).await, CallEvent::Answered { session: None });
    call.control.hang_up();
    // Before it, at most what was under way.
    let bye = async { while !line.message().await.starts_with("BYE ") {} };
    timeout(PATIENCE, bye).await.expect("a BYE in time");
}

#[tokio::test]
async fn an_answer_to_a_connection_that_is_gone_goes_to_sent_by() {
    let (endpoint, mut calls) = open_endpoint(T1).await;
    let (listener, address) = listener().await;
    let mut line = Line::to(endpoint.local_address()).await;
    line.me = address;
    line.send(&line.invite("a")).await;
    let call = incoming(&mut calls).await;
    assert_eq!(status(&line.message().await), 100);
    drop(line);
    let opened = async {
        loop {
            call.control.ringing(None);
            if let Ok(Ok((stream, _))) = timeout(Duration::from_millis(50), listener.accept()).await {
                break Line::over(stream, address, "TCP");
            }
        }
    };
    let mut line = timeout(PATIENCE, opened).await.expect("a new connection in time");
    assert_eq!(status(&line.message().await), 180);
}

#[tokio::test]
async fn no_connection_is_an_answer_at_once() {
    let (listener, address) = listener().await;
    drop(listener);
    let (endpoint, _) = endpoint(500, &[trunk("pbx", address, "transport = \"tcp\"")], &[]).await;
    let (_control, mut events) = invite(&endpoint, "pbx", "100");
    let unreachable = CallEvent::Failed(CallFailure::Unreachable("no connection can be opened".into()));
    assert_eq!(decisive(&mut events).await, unreachable);
}

#[tokio::test]
async fn a_request_whose_connection_is_lost_goes_out_once_more() {
    let (listener, address) = listener().await;
    let (endpoint, _) = endpoint(500, &[trunk("pbx", address, "transport = \"tcp\"")], &[]).await;
    let (_control, mut events) = invite(&endpoint, "pbx", "100");
    let first = Line::accept(&listener).await.message().await;
    let second = Line::accept(&listener).await.message().await;
    assert_eq!(first, second, "the same transaction");
    assert!(matches!(decisive(&mut events).await, CallEvent::Failed(CallFailure::Unreachable(_))));
}

fn long_invite(endpoint: &Endpoint) -> (trunkline::sip::endpoint::CallControl, tokio::sync::mpsc::Receiver<CallEvent>) {
    let order = OutboundInvite {
        trunk: "pbx".into(),
        destination: Destination::Number("100".into()),
        caller_number: Some("4930123".into()),
        caller_name: Some("x".repeat(1_300)),
        offer: session(4000),
        ring_timeout: PATIENCE,
        policy: DialPolicy::default(),
    };
    endpoint.invite(order).expect("a call under way")
}

#[tokio::test]
async fn a_large_request_goes_by_tcp_and_its_cancel_too() {
    let (listener, socket, address) = both().await;
    let (endpoint, _) = endpoint(T1, &[trunk("pbx", address, "")], &[]).await;
    let (control, mut events) = long_invite(&endpoint);
    let mut line = Line::accept(&listener).await;
    let request = line.message().await;
    assert!(request.len() > 1_300 && header(&request, "Via").starts_with("SIP/2.0/TCP "), "{request}");
    line.send(&reply(&request, 180, "<sip:a@127.0.0.1>", "")).await;
    assert!(matches!(next(&mut events).await, CallEvent::Ringing { .. }));
    control.hang_up();
    let cancel = line.message().await;
    assert!(cancel.starts_with("CANCEL "), "{cancel}");
    assert_eq!(header(&cancel, "Via"), header(&request, "Via"));
    line.send(&reply(&request, 487, "<sip:a@127.0.0.1>", "")).await;
    let ack = line.message().await;
    assert!(ack.starts_with("ACK ") && header(&ack, "Via") == header(&request, "Via"), "{ack}");
    socket.try_recv(&mut [0; 16]).expect_err("nothing over UDP");
}

#[tokio::test]
async fn a_large_request_falls_back_to_udp_where_there_is_no_tcp() {
    let peer = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    peer.set_read_timeout(Some(PATIENCE)).expect("set");
    let address = peer.local_addr().expect("bound");
    let (endpoint, _) = endpoint(500, &[trunk("pbx", address, "")], &[]).await;
    let mut dialled = Vec::new();
    for _ in 0..2 {
        dialled.push(long_invite(&endpoint));
        let peer = peer.try_clone().expect("a second handle");
        let request = tokio::task::spawn_blocking(move || {
            let mut buffer = vec![0; 65_535];
            let length = peer.recv(&mut buffer).expect("an INVITE");
            String::from_utf8(buffer[..length].to_vec()).expect("text")
        });
        let request = request.await.expect("received");
        assert!(header(&request, "Via").starts_with("SIP/2.0/UDP "), "{request}");
    }
}

#[tokio::test]
async fn what_could_be_read_in_two_ways_is_refused_and_closed() {
    let (endpoint, mut calls) = open_endpoint(T1).await;
    let mut line = Line::to(endpoint.local_address()).await;
    let smuggled = line.invite("smuggled");
    let two = line.options("a").replace("Content-Length: 0", &format!("Content-Length: 0\r\nl: {}", smuggled.len()));
    let answer = line.ask(&format!("{two}{smuggled}")).await;
    assert!(answer.starts_with("SIP/2.0 400 More Than One Content-Length\r\n"), "{answer}");
    assert!(line.is_closed().await);
    assert!(calls.try_recv().is_err());

    let mut line = Line::to(endpoint.local_address()).await;
    let large = line.options("a").replace("Content-Length: 0", "Content-Length: 70000");
    assert_eq!(status(&line.ask(&large).await), 513);
    assert!(line.is_closed().await);
}

#[tokio::test]
async fn pipelined_requests_are_answered_each_and_pings_in_between() {
    let (endpoint, _calls) = open_endpoint(T1).await;
    let mut line = Line::to(endpoint.local_address()).await;
    let all: String = (0..20).map(|number| line.options(&format!("p{number}"))).collect();
    line.send(&format!("\r\n{all}")).await;
    for _ in 0..20 {
        assert_eq!(status(&line.message().await), 200);
    }
}

#[tokio::test]
async fn one_source_holds_so_many_connections_and_no_more() {
    let config = SipConfig { max_connections_per_source: 2, ..sip_config(T1) };
    let (endpoint, _calls) = box_with(config).await;
    let mut first = Line::to(endpoint.local_address()).await;
    assert_eq!(status(&first.ask(&first.options("a")).await), 200);
    let mut second = Line::to(endpoint.local_address()).await;
    assert_eq!(status(&second.ask(&second.options("b")).await), 200);
    assert!(Line::to(endpoint.local_address()).await.is_closed().await);
    drop(first);
    // Its place is free as soon as the box has seen it go.
    let taken = async {
        loop {
            let mut next = Line::to(endpoint.local_address()).await;
            let request = next.options("c");
            next.send(&request).await;
            if status(&next.message().await) == 200 {
                break;
            }
        }
    };
    timeout(PATIENCE, taken).await.expect("a place in time");
}

#[tokio::test]
async fn ipv6_is_spoken_over_udp_and_tcp() {
    let listen = "[::1]:0".parse().expect("address");
    let config = SipConfig { listen, ..sip_config(T1) };
    let everyone = trunk("lab", nowhere(), "sources = [\"::1/128\"]");
    let Ok((callee, mut calls)) = Endpoint::start(&config, &[everyone], &[], Clock::system()).await else {
        // A host without IPv6 has nothing to show here.
        return;
    };
    for transport in ["udp", "tcp"] {
        let pbx = trunk("pbx", callee.local_address(), &format!("transport = \"{transport}\""));
        let (caller, _) = Endpoint::start(&config, &[pbx], &[], Clock::system()).await.expect("started");
        let (control, mut events) = invite(&caller, "pbx", "1");
        let mut call = incoming(&mut calls).await;
        call.control.answer(answer_to(&call.offer.clone().expect("an offer"), 5000));
        assert!(matches!(decisive(&mut events).await, CallEvent::Answered { .. }), "{transport}");
        assert_eq!(next(&mut call.events).await, CallEvent::Answered { session: None });
        control.hang_up();
        assert_eq!(next(&mut call.events).await, CallEvent::Ended { by: EndedBy::Peer });
    }
}

#[tokio::test]
async fn a_stun_binding_request_on_the_sip_port_is_answered() {
    let (endpoint, _calls) = open_endpoint(T1).await;
    let peer = Peer::new(endpoint.local_address()).await;
    let mut request = vec![0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42];
    request.extend([7; 12]);
    peer.send(&request).await;
    let mut answer = vec![1, 1, 0, 12, 0x21, 0x12, 0xA4, 0x42];
    answer.extend([7; 12]);
    let port = peer.address().port() ^ 0x2112;
    answer.extend([0, 0x20, 0, 8, 0, 1]);
    answer.extend(port.to_be_bytes());
    answer.extend([127 ^ 0x21, 0x12, 0xA4, 1 ^ 0x42]);
    assert_eq!(peer.receive_bytes().await, answer);
}
