//! HEPv3 as a collector sees it: read here from the words of the protocol's description, not by our own code.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;
use trunkline::clock::Clock;
use trunkline::config::{Secret, TraceConfig};
use trunkline::sip::endpoint::{CallEvent, Endpoint, Resolver};
use trunkline::sip::trace::{Exporter, Sighting, encode};
use trunkline::sip::transport::Transport;

use crate::support::{PATIENCE, answer_to, decisive, endpoint, extension, incoming, invite, sip_config, trunk};

/// Chunks of the generic vendor by type.
fn decode(packet: &[u8]) -> HashMap<u16, Vec<u8>> {
    assert_eq!(&packet[..4], b"HEP3");
    assert_eq!(usize::from(u16::from_be_bytes([packet[4], packet[5]])), packet.len());
    let (mut rest, mut chunks) = (&packet[6..], HashMap::new());
    while !rest.is_empty() {
        assert_eq!(rest[..2], [0, 0], "vendor");
        let kind = u16::from_be_bytes([rest[2], rest[3]]);
        let length = usize::from(u16::from_be_bytes([rest[4], rest[5]]));
        assert!(chunks.insert(kind, rest[6..length].to_vec()).is_none(), "chunk {kind} twice");
        rest = &rest[length..];
    }
    chunks
}

fn number(chunk: &[u8]) -> u64 {
    chunk.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[tokio::test]
async fn every_message_goes_to_the_collector_with_its_addresses_and_without_its_secrets() {
    let collector = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let config = TraceConfig {
        hep: Some(collector.local_addr().expect("bound")),
        hep_id: 4711,
        hep_password: Some(Secret::new("homer")),
        ..TraceConfig::default()
    };
    let (callee, mut calls) = endpoint(50, &[], &[extension("200", "right")]).await;
    let trunks = [trunk("box", callee.local_address(), "username = \"200\"\npassword = \"right\"")];
    let begin = Clock::system().utc();
    let resolver = Resolver::new(&[], Clock::system());
    let started = Endpoint::start_with(&sip_config(50), &trunks, &[], &config, resolver, Clock::system()).await;
    let (caller, _incoming) = started.expect("a free port");
    let (control, mut events) = invite(&caller, "box", "100");
    let call = incoming(&mut calls).await;
    call.control.answer(answer_to(&call.offer.clone().expect("an offer"), 5000));
    assert!(matches!(decisive(&mut events).await, CallEvent::Answered { .. }));

    let (mut buffer, mut texts) = ([0; 65_535], Vec::new());
    // One ACK for the challenge and one for the answer.
    while texts.iter().filter(|text: &&String| text.starts_with("ACK ")).count() < 2 {
        let received = timeout(PATIENCE, collector.recv_from(&mut buffer)).await;
        let (length, _) = received.expect("a packet in time").expect("readable");
        let chunks = decode(&buffer[..length]);
        let text = String::from_utf8(chunks[&15].clone()).expect("text");
        let (ours, theirs) = (caller.local_address(), callee.local_address());
        let sent = text.contains("User-Agent: Trunkline") && !text.starts_with("SIP/2.0");
        let (from, to) = if sent { (ours, theirs) } else { (theirs, ours) };
        let ip = |address: SocketAddr| match address.ip() {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        if !text.starts_with("ACK ") {
            assert_eq!((chunks[&3].clone(), chunks[&4].clone()), (ip(from), ip(to)), "{text}");
            let ports = (number(&chunks[&7]), number(&chunks[&8]));
            assert_eq!(ports, (from.port().into(), to.port().into()), "{text}");
        }
        let numbers = [1, 2, 11, 12].map(|kind| number(&chunks[&kind]));
        assert_eq!(numbers, [2, 17, 1, 4711]);
        assert_eq!(chunks[&14], b"homer");
        let seconds = i64::try_from(number(&chunks[&9])).expect("a time");
        assert!(
            (begin.unix_seconds()..begin.unix_seconds() + 60).contains(&seconds) && number(&chunks[&10]) < 1_000_000
        );
        assert_eq!(chunks[&17], control.sip_call_id().as_bytes());
        texts.push(text);
    }
    let answered = texts.iter().find(|text| text.contains("Authorization: Digest")).expect("the second INVITE");
    assert!(answered.contains("response=\"xxxxxxxxxxxxxxxx"), "{answered}");
    assert!(answered.contains("username=\"200\""));
    assert_eq!(caller.trace().messages(&[control.sip_call_id()]).len(), texts.len());
}

#[tokio::test]
async fn a_collector_that_is_too_slow_costs_messages_and_no_time() {
    let collector = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let config = TraceConfig { hep: Some(collector.local_addr().expect("bound")), ..TraceConfig::default() };
    let exporter = Exporter::start(&config).expect("a socket").expect("an exporter");
    let sighting = sighting(4_000);
    // Nobody else runs on this thread meanwhile: the queue fills, and the rest is dropped at once.
    for _ in 0..100_000 {
        exporter.offer(&sighting);
    }
    let mut came = 0;
    while timeout(Duration::from_millis(500), collector.recv_from(&mut [0; 65_535])).await.is_ok() {
        came += 1;
    }
    assert!((1..=1_100).contains(&came), "{came}");
}

fn sighting(size: usize) -> Sighting {
    let address = |last| SocketAddr::from((Ipv4Addr::new(192, 0, 2, last), 5060));
    let text = format!("OPTIONS sip:a SIP/2.0\r\nCall-ID: abc\r\n\r\n{}", "x".repeat(size));
    let (from, to, bytes) = (address(1), address(2), text.into_bytes().into());
    Sighting { at: 1_700_000_000_000_123, from, to, transport: Transport::Tls, bytes }
}

#[test]
fn a_message_of_any_size_fits_one_datagram() {
    let chunks = decode(&encode(&sighting(100), 1, None));
    assert_eq!((number(&chunks[&2]), number(&chunks[&9]), number(&chunks[&10])), (6, 1_700_000_000, 123));
    assert!(!chunks.contains_key(&14));
    let long = encode(&sighting(65_000 + 10_000), 1, Some(&Secret::new("p")));
    assert_eq!(long.len(), 65_507);
    decode(&long);
    let v6 = Sighting { from: "[2001:db8::1]:5060".parse().expect("address"), ..sighting(1) };
    let chunks = decode(&encode(&v6, 1, None));
    assert_eq!((number(&chunks[&1]), chunks[&5].len(), chunks[&6].len()), (10, 16, 16));
}
