//! Calls while every trunk is down.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::disallowed_methods)]

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use crate::call_support::{Gateway, Phone, Plan, trunk, within};
use trunkline::call::record::EndReason;
use trunkline::call::{CallStatus, PlaceCall};
use trunkline::sip::endpoint::Living;

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_tried_on_each_fails_within_seconds_and_is_retried_as_ordered() {
    let state = tempfile::tempdir().expect("state");
    let phone = Phone::start().await;
    let silent = ["127.0.0.1:0"; 2].map(|any| UdpSocket::bind(any).expect("a port"));
    let trunks = ["first", "second"]
        .iter()
        .zip(&silent)
        .map(|(name, socket)| trunk(name, socket.local_addr().expect("bound"), "options_seconds = 1"));
    let plan = Plan { trunks: trunks.collect(), ..Plan::towards(&phone) };
    let gateway = Gateway::start(state.path(), plan).await;
    let mut statuses = gateway.endpoint.trunk_statuses();
    let down = statuses.wait_for(|all| all.len() == 2 && all.iter().all(|one| one.health == Living::Down));
    // Three times 64·T1, and a second between.
    within("both to go down", down).await.expect("the box is on");

    let begun = Instant::now();
    let call = gateway.place(PlaceCall { retries: 1, ..gateway.order() }).await;
    let call = gateway.finished(call.id).await;
    // Twice two trunks of 8·T1, that is two seconds; by timer B it would be fifteen.
    assert!(begun.elapsed() < Duration::from_secs(7), "{:?}", begun.elapsed());
    assert_eq!(
        (call.status, call.end_reason, call.attempt),
        (CallStatus::Failed, Some(EndReason::Error), 2),
        "{call:?}"
    );
    assert!(call.error_detail.starts_with("trunk-down"), "{}", call.error_detail);
    assert_eq!(call.retries_left, 0);
    for socket in &silent {
        assert!(invites(socket) >= 2, "every trunk is tried by every attempt");
    }
}

/// Attempts that have come in, told apart by their branches.
fn invites(socket: &UdpSocket) -> usize {
    socket.set_nonblocking(true).expect("set");
    let (mut seen, mut buffer) = (std::collections::HashSet::new(), [0; 65_535]);
    while let Ok(length) = socket.recv(&mut buffer) {
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if text.starts_with("INVITE ") {
            seen.insert(crate::sip_support::header(&text, "Via"));
        }
    }
    seen.len()
}
