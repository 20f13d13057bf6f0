//! Locating servers against a real name server, and calls that follow what it says.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::timeout;
use trunkline::clock::Clock;
use trunkline::config::{TraceConfig, TrunkConfig};
use trunkline::sip::endpoint::{CallEvent, CallFailure, Endpoint, Resolver};
use trunkline::sip::message::Host;
use trunkline::sip::resolve::{Families, Located, Wanted};

use crate::name_server::NameServer;
use crate::sipp::Sipp;
use crate::support::*;
use crate::way::Way;

const T1: u64 = 50;

fn wanted(host: &str) -> Wanted {
    let (host, port) = Host::parse_with_port(host).expect("a host");
    Wanted { host, port, transport: None, secure: false, families: Families { v4: true, v6: false } }
}

fn shown(located: &Located) -> Vec<String> {
    let mut sites = located.sites.clone();
    sites.sort_by_key(|site| site.rank);
    sites.iter().map(|site| format!("{} {}", site.transport.name(), site.addresses[0])).collect()
}

fn named(name: &str, host: &str, more: &str) -> TrunkConfig {
    toml::from_str(&format!("name = \"{name}\"\nhost = \"{host}\"\n{more}")).expect("a valid trunk")
}

async fn endpoint_asking(names: &NameServer, trunks: &[TrunkConfig]) -> Endpoint {
    let clock = Clock::system();
    let resolver = Resolver::new(&[names.address], clock.clone());
    let trace = TraceConfig::default();
    let started = Endpoint::start_with(&sip_config(T1), trunks, &[], &trace, resolver, clock).await;
    started.expect("a free port").0
}

/// Until the trunk's host is found.
async fn located(endpoint: &Endpoint) {
    let mut statuses = endpoint.trunk_statuses();
    let found = statuses.wait_for(|all| all.iter().all(|status| status.transport.is_some()) && !all.is_empty());
    timeout(PATIENCE, found).await.expect("found in time").expect("a running endpoint");
}

#[tokio::test]
async fn naptr_srv_and_addresses_are_followed_over_the_wire() {
    let names = NameServer::start().await;
    names.naptr("example.test", 60, 20, "SIP+D2U", "_sip._udp.example.test");
    names.naptr("example.test", 60, 10, "SIPS+D2T", "_sips._tcp.example.test");
    names.srv("_sips._tcp.example.test", 60, 1, 0, 5061, "one.example.test");
    names.srv("_sip._udp.example.test", 60, 1, 0, 5070, "one.example.test");
    names.srv("_sip._udp.example.test", 60, 2, 0, 5080, "two.example.test");
    names.a("one.example.test", 60, [127, 0, 0, 1]);
    names.a("two.example.test", 60, [127, 0, 0, 2]);
    let resolver = Resolver::new(&[names.address], Clock::system());
    let found = resolver.locate(&wanted("example.test")).await.expect("found");
    assert_eq!(shown(&found), ["tls 127.0.0.1:5061", "udp 127.0.0.1:5070", "udp 127.0.0.2:5080"]);
    assert!(found.good_for > Duration::from_secs(50) && found.good_for <= Duration::from_secs(61));
    assert_eq!(names.asked("SRV _sip._udp.example.test"), 1);
    resolver.locate(&wanted("example.test")).await.expect("found");
    assert_eq!(names.asked("SRV _sip._udp.example.test"), 1, "kept for its TTL");
}

#[tokio::test]
async fn a_no_is_remembered_for_its_time() {
    let names = NameServer::start().await;
    let resolver = Resolver::new(&[names.address], Clock::system());
    for _ in 0..3 {
        let lost = resolver.locate(&wanted("missing.test:5060")).await.expect_err("there is no such name");
        assert!(lost.contains("does not resolve"), "{lost}");
    }
    assert_eq!(names.asked("A missing.test"), 1);
    names.a("missing.test", 60, [127, 0, 0, 1]);
    let back = async {
        while resolver.locate(&wanted("missing.test:5060")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, back).await.expect("a no is not for ever");
}

#[tokio::test]
async fn what_was_found_stays_good_while_dns_is_down() {
    let mut names = NameServer::start().await;
    names.srv("_sip._udp.example.test", 1, 1, 0, 5070, "one.example.test");
    names.a("one.example.test", 1, [127, 0, 0, 1]);
    let clock = Clock::manual(trunkline::clock::UtcTime(0));
    let resolver = Resolver::new(&[names.address], clock.clone());
    let before = resolver.locate(&wanted("example.test")).await.expect("found").sites;
    names.kill().await;
    clock.advance(Duration::from_secs(3_600));
    let after = resolver.locate(&wanted("example.test")).await.expect("still known").sites;
    assert_eq!(before, after);
    let strange = resolver.locate(&wanted("stranger.test:5060")).await.expect_err("nothing is known of it");
    assert!(strange.contains("does not answer"), "{strange}");
}

#[tokio::test]
async fn of_two_srv_targets_the_living_one_takes_the_call_and_the_next() {
    let sipp = Sipp::called(Way::Udp, "uas_answer").await;
    let names = NameServer::start().await;
    // Nobody listens there: the port was free a moment ago, and UDP tells nothing.
    let dead = std::net::UdpSocket::bind("127.0.0.2:0").and_then(|socket| socket.local_addr()).expect("a free port");
    names.srv("_sip._udp.example.test", 60, 1, 0, dead.port(), "dead.example.test");
    names.srv("_sip._udp.example.test", 60, 2, 0, sipp.address.port(), "alive.example.test");
    names.a("dead.example.test", 60, [127, 0, 0, 2]);
    names.a("alive.example.test", 60, [127, 0, 0, 1]);
    let endpoint = endpoint_asking(&names, &[named("pair", "example.test", "")]).await;
    located(&endpoint).await;
    let (control, mut events) = invite(&endpoint, "pair", "100");
    assert!(matches!(decisive(&mut events).await, CallEvent::Answered { .. }));
    control.hang_up();
    assert!(next(&mut events).await.is_last());
    sipp.succeeded().await;
    // The living one answers no more, either; it is asked first all the same, for the other was silent last.
    let peer = tokio::net::UdpSocket::bind(("127.0.0.1", 0)).await.expect("a free port");
    drop(peer);
    let (_control, mut events) = invite(&endpoint, "pair", "100");
    assert_eq!(decisive(&mut events).await, CallEvent::Failed(CallFailure::TrunkSilent));
}

#[tokio::test]
async fn a_trunk_is_called_after_its_dns_has_died() {
    let sipp = Sipp::called(Way::Udp, "uas_answer").await;
    let mut names = NameServer::start().await;
    names.a("pbx.test", 1, [127, 0, 0, 1]);
    let host = format!("pbx.test:{}", sipp.address.port());
    let endpoint = endpoint_asking(&names, &[named("pbx", &host, "")]).await;
    located(&endpoint).await;
    names.kill().await;
    let (control, mut events) = invite(&endpoint, "pbx", "100");
    assert!(matches!(decisive(&mut events).await, CallEvent::Answered { .. }));
    control.hang_up();
    assert!(next(&mut events).await.is_last());
    sipp.succeeded().await;
}

#[tokio::test]
async fn several_hosts_of_one_trunk_are_tried_by_priority() {
    let (first, second) = (Sipp::called(Way::Udp, "uas_503").await, Sipp::called(Way::Udp, "uas_answer").await);
    let host = |address: SocketAddr, priority: u16| format!("{{ host = \"{address}\", priority = {priority} }}");
    let hosts = format!("hosts = [{}, {}]", host(second.address, 2), host(first.address, 1));
    let (endpoint, _) = endpoint(T1, &[named("pair", "example.test", &hosts)], &[]).await;
    let (control, mut events) = invite(&endpoint, "pair", "100");
    assert!(matches!(decisive(&mut events).await, CallEvent::Answered { .. }));
    control.hang_up();
    assert!(next(&mut events).await.is_last());
    first.succeeded().await;
    second.succeeded().await;
}
