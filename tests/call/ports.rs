//! Calls for which there is no media port.

use trunkline::call::CallStatus;
use trunkline::events::{self, EventKind};

use crate::call_support::{Gateway, Phone, Plan};

const NUMBER: &str =
    "[[number]]\nname = \"desk\"\nnumber = \"1234\"\nvisibility = \"public\"\nsystem_prompt = \"Hi\"\n";

/// An even port that was free a moment ago.
fn even_port() -> u16 {
    let probe = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    probe.local_addr().expect("bound").port() & !1
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_beyond_the_last_port_get_503_and_one_alert_goes_into_the_outbox() {
    let state = tempfile::tempdir().expect("state");
    let called = Phone::start().await;
    let port = even_port();
    let ports = [port, port + 1];
    let gateway = Gateway::start(state.path(), Plan { extra: NUMBER.into(), ports, ..Plan::towards(&called) }).await;
    let phone = Phone::calling(gateway.endpoint.local_address()).await;
    let talk = phone.call("1234").await.expect("answered");
    for _ in 0..2 {
        assert_eq!(phone.call("1234").await.err(), Some(503));
    }
    let all = events::since(&gateway.store, 0, 1_000).expect("readable");
    let alerts: Vec<_> = all.iter().filter(|one| one.event.kind == EventKind::MediaPortsAlert).collect();
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    let told = serde_json::json!({ "type": "alert.media_ports", "first": port, "last": port + 1 });
    assert_eq!(alerts[0].event.data, told);
    talk.control.hang_up();
    let first = gateway.inbound_call().await;
    assert_eq!(gateway.finished(first.id).await.status, CallStatus::Completed);
}
