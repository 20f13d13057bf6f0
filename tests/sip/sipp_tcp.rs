//! SIPp over TCP, one connection for all calls and one for each.

use trunkline::sip::endpoint::{CallEvent, EndedBy};

use crate::sipp::Sipp;
use crate::support::*;

const T1: u64 = 50;

async fn answered_and_hung_up(mode: &str) {
    let sipp = Sipp::start_over(mode, 1, "uas_answer", None).await;
    let (endpoint, _) = endpoint(T1, &[trunk("sipp", sipp.address, "transport = \"tcp\"")], &[]).await;
    let (control, mut events) = invite(&endpoint, "sipp", "100");
    assert!(matches!(decisive(&mut events).await, CallEvent::Answered { .. }));
    control.hang_up();
    assert_eq!(next(&mut events).await, CallEvent::Ended { by: EndedBy::Us });
    sipp.succeeded().await;
}

#[tokio::test]
async fn calls_a_phone_over_tcp() {
    answered_and_hung_up("t1").await;
}

#[tokio::test]
async fn is_hung_up_by_the_called_phone_over_tcp() {
    let sipp = Sipp::start_over("t1", 1, "uas_hang_up", None).await;
    let (endpoint, _) = endpoint(T1, &[trunk("sipp", sipp.address, "transport = \"tcp\"")], &[]).await;
    let (_control, mut events) = invite(&endpoint, "sipp", "100");
    assert!(matches!(decisive(&mut events).await, CallEvent::Answered { .. }));
    assert_eq!(next(&mut events).await, CallEvent::Ended { by: EndedBy::Peer });
    sipp.succeeded().await;
}

#[tokio::test]
async fn refusals_challenges_and_cancels_pass_over_tcp() {
    for scenario in ["uas_486", "uas_503"] {
        let sipp = Sipp::start_over("t1", 1, scenario, None).await;
        let (endpoint, _) = endpoint(T1, &[trunk("sipp", sipp.address, "transport = \"tcp\"")], &[]).await;
        let (_control, mut events) = invite(&endpoint, "sipp", "100");
        assert!(matches!(decisive(&mut events).await, CallEvent::Rejected { .. }), "{scenario}");
        sipp.succeeded().await;
    }
    for scenario in ["uas_401_md5", "uas_407_sha256"] {
        let sipp = Sipp::start_over("t1", 1, scenario, None).await;
        let keys = "transport = \"tcp\"\nusername = \"box\"\npassword = \"secret\"";
        let (endpoint, _) = endpoint(T1, &[trunk("sipp", sipp.address, keys)], &[]).await;
        let (control, mut events) = invite(&endpoint, "sipp", "100");
        assert!(matches!(decisive(&mut events).await, CallEvent::Answered { .. }), "{scenario}");
        control.hang_up();
        sipp.succeeded().await;
    }
    let sipp = Sipp::start_over("t1", 1, "uas_cancelled", None).await;
    let (endpoint, _) = endpoint(T1, &[trunk("sipp", sipp.address, "transport = \"tcp\"")], &[]).await;
    let (control, mut events) = invite(&endpoint, "sipp", "100");
    assert!(matches!(next(&mut events).await, CallEvent::Ringing { .. }));
    control.hang_up();
    assert_eq!(next(&mut events).await, CallEvent::Ended { by: EndedBy::Us });
    sipp.succeeded().await;
}

/// `calls` calls of one SIPp, each taken and hung up by it.
async fn taken(mode: &str, calls: u32, scenario: &'static str) {
    let (endpoint, mut arriving) = open_endpoint(T1).await;
    let sipp = Sipp::start_over(mode, calls, scenario, Some(endpoint.local_address())).await;
    for _ in 0..calls {
        let mut call = incoming(&mut arriving).await;
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

#[tokio::test]
async fn takes_calls_that_share_a_connection() {
    taken("t1", 20, "uac_answer").await;
}

#[tokio::test]
async fn takes_calls_that_have_a_connection_each() {
    taken("tn", 20, "uac_answer").await;
}
