//! Registering with a trunk, asking whether it lives, and its rules, on the wire.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::time::Duration;

use tokio::time::timeout;
use trunkline::sip::endpoint::{CallEvent, Endpoint, Living, Registered, TrunkStatus};

use crate::sipp::Sipp;
use crate::support::*;
use crate::way::Way;

const T1: u64 = 50;
const ACCOUNT: &str = "username = \"box\"\npassword = \"secret\"\nregister = true\nregister_seconds = 60\n";
/// Shows its first trunk.
const NOWHERE: &str = "127.0.0.1:9";

async fn becomes(endpoint: &Endpoint, wanted: impl Fn(&TrunkStatus) -> bool) -> TrunkStatus {
    let mut statuses = endpoint.trunk_statuses();
    let looked = timeout(PATIENCE, statuses.wait_for(|all| all.first().is_some_and(&wanted))).await;
    match looked {
        Ok(found) => found.expect("a running endpoint")[0].clone(),
        Err(_) => panic!("the trunk never became so: {:?}", *endpoint.trunk_statuses().borrow()),
    }
}

fn is_registered(status: &TrunkStatus) -> bool {
    matches!(status.registration, Registered::Until(_))
}

#[tokio::test]
async fn registers_through_every_obstacle_renews_and_leaves() {
    let sipp = Sipp::called(Way::Udp, "registrar_full").await;
    let (endpoint, _) = endpoint(T1, &[trunk("sipp", sipp.address, ACCOUNT)], &[]).await;
    let first = becomes(&endpoint, is_registered).await;
    let Registered::Until(until) = first.registration else { unreachable!() };
    becomes(&endpoint, |status| matches!(status.registration, Registered::Until(later) if later > until + PATIENCE))
        .await;
    endpoint.stop(PATIENCE).await;
    sipp.succeeded().await;
}

#[tokio::test]
async fn an_overloaded_registrar_is_left_for_the_next_host() {
    let (first, second) =
        (Sipp::called(Way::Udp, "registrar_503").await, Sipp::called(Way::Udp, "registrar_200").await);
    let hosts = format!(
        "{ACCOUNT}hosts = [{{ host = \"{}\", priority = 1 }}, {{ host = \"{}\", priority = 2 }}]",
        first.address, second.address
    );
    let (endpoint, _) = endpoint(T1, &[trunk("pair", first.address, &hosts)], &[]).await;
    becomes(&endpoint, is_registered).await;
    first.succeeded().await;
    second.succeeded().await;
}

#[tokio::test]
async fn a_refusal_is_told_in_the_operators_words() {
    let sipp = Sipp::called(Way::Udp, "registrar_403").await;
    let (endpoint, _) = endpoint(T1, &[trunk("sipp", sipp.address, ACCOUNT)], &[]).await;
    let status = becomes(&endpoint, |status| status.registration == Registered::No).await;
    assert!(!status.is_usable());
    assert!(status.problem.is_some_and(|problem| problem.contains("403")));
    sipp.succeeded().await;
}

/// Answers what `peer` received with `status` and further header lines.
async fn answer(peer: &Peer, request: &str, to: std::net::SocketAddr, status: &str, more: &str) {
    let copied = ["Via", "From", "Call-ID", "CSeq"].map(|name| format!("{name}: {}\r\n", header(request, name)));
    let tagged = format!("To: {};tag=peer\r\n", header(request, "To"));
    let answer = format!("SIP/2.0 {status}\r\n{}{tagged}{more}Content-Length: 0\r\n\r\n", copied.concat());
    peer.send_to(answer.as_bytes(), to).await;
}

#[tokio::test]
async fn calls_of_a_registered_trunk_take_its_routes_and_show_its_account() {
    let peer = Peer::new(NOWHERE.parse().expect("address")).await;
    let more = format!("{ACCOUNT}identity = [\"p-asserted-identity\"]\noutbound_proxy = \"{}\"", peer.address());
    let domain = "127.0.0.9:5060".parse().expect("address");
    let (endpoint, mut calls) = endpoint(T1, &[trunk("carrier", domain, &more)], &[]).await;
    let (register, from) = peer.receive_from().await;
    assert!(register.starts_with("REGISTER sip:127.0.0.9:5060 SIP/2.0\r\n"), "{register}");
    assert_eq!(header(&register, "Route"), format!("<sip:{};lr>", peer.address()));
    assert!(header(&register, "To").contains("sip:box@127.0.0.9"), "{register}");
    let contact = header(&register, "Contact");
    assert!(contact.starts_with("<sip:box@127.0.0.1:") && contact.ends_with(";expires=60"), "{contact}");
    let route = "Service-Route: <sip:edge.example.com;lr>\r\n";
    answer(&peer, &register, from, "200 OK", &format!("Contact: {contact}\r\n{route}")).await;
    becomes(&endpoint, is_registered).await;

    let (_control, _events) = invite(&endpoint, "carrier", "+4930");
    let (call, _) = peer.receive_from().await;
    assert!(call.starts_with("INVITE sip:+4930@127.0.0.9:5060 SIP/2.0\r\n"), "{call}");
    let routes: Vec<&str> = call.lines().filter_map(|line| line.strip_prefix("Route: ")).collect();
    assert_eq!(routes, [format!("<sip:{};lr>", peer.address()).as_str(), "<sip:edge.example.com;lr>"]);
    assert!(header(&call, "From").starts_with("<sip:box@127.0.0.9>;tag="), "{call}");
    assert!(header(&call, "P-Asserted-Identity").contains("<sip:4930123@127.0.0.9>"), "{call}");
    assert!(header(&call, "Contact").starts_with("<sip:box@127.0.0.1:"), "{call}");

    // The carrier brings a call to the registered contact and names the number in To.
    let to_contact = format!("INVITE {} SIP/2.0", contact.trim_start_matches('<').split('>').next().expect("a URI"));
    let mut lines = peer.invite("in1", "P-Asserted-Identity: <sip:0301234567@carrier>\r\n");
    lines = lines.replacen(lines.lines().next().expect("a line"), &to_contact, 1);
    lines = lines.replacen("To: <sip:100@127.0.0.1:9>", "To: <sip:+4940999@127.0.0.9>", 1);
    peer.send_to(lines.as_bytes(), endpoint.local_address()).await;
    let call = incoming(&mut calls).await;
    assert_eq!((call.called.as_str(), call.caller.as_str()), ("+4940999", "0301234567"));
}

#[tokio::test]
async fn numbers_travel_in_the_trunks_own_form() {
    let peer = Peer::new(NOWHERE.parse().expect("address")).await;
    let more = "number_format = \"national\"\ncountry = \"49\"\nanonymous = true\nidentity = [\"p-asserted-identity\"]";
    let (endpoint, mut calls) = endpoint(T1, &[trunk("pbx", peer.address(), more)], &[]).await;
    let (_control, _events) = invite(&endpoint, "pbx", "+4930555");
    let (call, _) = peer.receive_from().await;
    assert!(call.starts_with("INVITE sip:030555@"), "{call}");
    assert!(header(&call, "From").starts_with("\"Anonymous\" <sip:anonymous@anonymous.invalid>;tag="), "{call}");
    assert_eq!(header(&call, "Privacy"), "id");
    assert!(header(&call, "P-Asserted-Identity").contains("sip:4930123@"), "{call}");
    let invite = peer.invite("in2", "P-Asserted-Identity: \"Ann\" <sip:040777@pbx>\r\n");
    peer.send_to(invite.as_bytes(), endpoint.local_address()).await;
    let call = incoming(&mut calls).await;
    assert_eq!((call.caller.as_str(), call.caller_name.as_deref()), ("+4940777", Some("Ann")));
}

#[tokio::test]
async fn more_calls_a_second_than_a_trunk_may_bring_get_503() {
    let peer = Peer::new(NOWHERE.parse().expect("address")).await;
    let (endpoint, mut calls) = endpoint(T1, &[trunk("pbx", peer.address(), "calls_per_second = 1")], &[]).await;
    let request = |branch: &str| peer.invite(branch, "").replace("Call-ID: call-", &format!("Call-ID: {branch}-"));
    peer.send_to(request("one").as_bytes(), endpoint.local_address()).await;
    let taken = incoming(&mut calls).await;
    peer.send_to(request("two").as_bytes(), endpoint.local_address()).await;
    let refused = loop {
        let answer = peer.receive().await;
        if header(&answer, "Call-ID").starts_with("two-") {
            break answer;
        }
    };
    assert_eq!((status(&refused), header(&refused, "Retry-After").as_str()), (503, "1"));
    taken.control.reject(486);
}

#[tokio::test]
async fn a_trunk_that_answers_no_options_goes_down_and_comes_back() {
    let peer = Peer::new(NOWHERE.parse().expect("address")).await;
    let (endpoint, _) = endpoint(10, &[trunk("pbx", peer.address(), "options_seconds = 1")], &[]).await;
    let (options, from) = peer.receive_from().await;
    assert!(options.starts_with("OPTIONS sip:127.0.0.1:"), "{options}");
    answer(&peer, &options, from, "405 Method Not Allowed", "").await;
    becomes(&endpoint, |status| status.health == Living::Up).await;
    // Not a word from here: three times 64·T1, and a second between.
    let down = becomes(&endpoint, |status| status.health == Living::Down).await;
    assert!(!down.is_usable() && down.problem.is_some());
    let back = async {
        loop {
            let (options, from) = peer.receive_from().await;
            answer(&peer, &options, from, "200 OK", "").await;
        }
    };
    tokio::select! {
        status = becomes(&endpoint, |status| status.health == Living::Up) => assert!(status.is_usable()),
        () = back => {}
    }
}

#[tokio::test]
async fn a_server_that_asks_for_a_pause_gets_it() {
    let sipp = Sipp::called(Way::Udp, "uas_503").await;
    let (endpoint, _) = endpoint(T1, &[sipp.trunk("")], &[]).await;
    let (_control, mut events) = invite(&endpoint, "sipp", "100");
    assert!(matches!(decisive(&mut events).await, CallEvent::Rejected { code: 503, .. }));
    sipp.succeeded().await;
    let (_control, mut events) = invite(&endpoint, "sipp", "100");
    match decisive(&mut events).await {
        CallEvent::Rejected { code: 503, retry_after: Some(pause), .. } => assert!(pause <= Duration::from_secs(7)),
        other => panic!("{other:?}"),
    }
}
