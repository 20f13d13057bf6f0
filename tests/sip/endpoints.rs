//! Two endpoints call each other over loopback.

use crate::support;
use std::time::Duration;

use support::*;
use tokio::sync::mpsc;
use trunkline::sip::endpoint::DialPolicy;
use trunkline::sip::endpoint::{
    CallEvent, CallFailure, Destination, EndedBy, Endpoint, IncomingCall, InviteError, OfferOutcome, Origin,
    OutboundInvite,
};
use trunkline::sip::sdp::Direction;
use trunkline::sip::sdp::SessionDescription;

/// T1 of these tests, milliseconds; loopback loses nothing.
const T1: u64 = 30;

struct Pair {
    caller: Endpoint,
    callee: Endpoint,
    calls: mpsc::Receiver<IncomingCall>,
}

async fn pair() -> Pair {
    let (callee, calls) = open_endpoint(T1).await;
    let (caller, _) = endpoint(T1, &[trunk("pbx", callee.local_address(), "")], &[]).await;
    Pair { caller, callee, calls }
}

#[tokio::test]
async fn a_call_rings_is_answered_and_hung_up_by_the_caller() {
    let mut pair = pair().await;
    let (control, mut events) = invite(&pair.caller, "pbx", "+4930");
    let mut call = incoming(&mut pair.calls).await;
    assert_eq!((call.called.as_str(), call.caller.as_str()), ("+4930", "4930123"));
    assert_eq!(call.caller_name.as_deref(), Some("Trunk \"Line\""));
    assert_eq!(call.origin, Origin::Trunk("lab".into()));
    let offer = call.offer.clone().expect("an offer");
    assert_eq!(offer, session(4000));
    assert_eq!(call.control.sip_call_id(), control.sip_call_id());
    assert_eq!(call.control.media_address(), Some([127, 0, 0, 1].into()));

    call.control.ringing(None);
    assert_eq!(next(&mut events).await, CallEvent::Ringing { code: 180, session: None });
    let answer = answer_to(&offer, 5000);
    call.control.answer(answer.clone());
    assert_eq!(next(&mut events).await, CallEvent::Answered { session: Some(answer.into()) });
    assert_eq!(next(&mut call.events).await, CallEvent::Answered { session: None });

    control.hang_up();
    assert_eq!(next(&mut events).await, CallEvent::Ended { by: EndedBy::Us });
    assert_eq!(next(&mut call.events).await, CallEvent::Ended { by: EndedBy::Peer });
    nothing_more(&mut events).await;
    nothing_more(&mut call.events).await;
}

#[tokio::test]
async fn the_called_side_hangs_up() {
    let mut pair = pair().await;
    let (_control, mut events) = invite(&pair.caller, "pbx", "1");
    let mut call = incoming(&mut pair.calls).await;
    call.control.answer(answer_to(&call.offer.clone().expect("an offer"), 5000));
    assert!(matches!(decisive(&mut events).await, CallEvent::Answered { .. }));
    call.control.hang_up();
    assert_eq!(next(&mut events).await, CallEvent::Ended { by: EndedBy::Peer });
    assert_eq!(last(&mut call.events).await, CallEvent::Ended { by: EndedBy::Us });
}

/// Answered may or may not have come before the end, as the ACK raced the hang-up.
async fn last(events: &mut mpsc::Receiver<CallEvent>) -> CallEvent {
    loop {
        let event = next(events).await;
        if event.is_last() {
            return event;
        }
    }
}

#[tokio::test]
async fn every_refusal_is_delivered_with_its_code() {
    let mut pair = pair().await;
    for (code, reason) in [(486, "Busy Here"), (404, "Not Found"), (603, "Decline"), (503, "Service Unavailable")] {
        let (_control, mut events) = invite(&pair.caller, "pbx", "1");
        let mut call = incoming(&mut pair.calls).await;
        call.control.reject(code);
        let retry_after = (code == 503).then(|| Duration::from_secs(10));
        let expected = CallEvent::Rejected { code, reason: reason.into(), retry_after };
        assert_eq!(decisive(&mut events).await, expected);
        assert_eq!(next(&mut call.events).await, CallEvent::Ended { by: EndedBy::Us });
    }
}

#[tokio::test]
async fn a_hang_up_before_the_answer_cancels() {
    let mut pair = pair().await;
    let (control, mut events) = invite(&pair.caller, "pbx", "1");
    let mut call = incoming(&mut pair.calls).await;
    call.control.ringing(None);
    assert!(matches!(next(&mut events).await, CallEvent::Ringing { .. }));
    control.hang_up();
    assert_eq!(next(&mut events).await, CallEvent::Ended { by: EndedBy::Us });
    assert_eq!(next(&mut call.events).await, CallEvent::Ended { by: EndedBy::Peer });
}

#[tokio::test]
async fn ringing_too_long_is_no_answer() {
    let mut pair = pair().await;
    let (_control, mut events) = invite_for(&pair.caller, "pbx", "1", Duration::from_millis(100));
    let mut call = incoming(&mut pair.calls).await;
    call.control.ringing(None);
    assert_eq!(decisive(&mut events).await, CallEvent::Failed(CallFailure::NoAnswer));
    assert_eq!(next(&mut call.events).await, CallEvent::Ended { by: EndedBy::Peer });
}

#[tokio::test]
async fn early_media_comes_with_183() {
    let mut pair = pair().await;
    let (_control, mut events) = invite(&pair.caller, "pbx", "1");
    let call = incoming(&mut pair.calls).await;
    let early = answer_to(&call.offer.clone().expect("an offer"), 5000);
    call.control.ringing(Some(early.clone()));
    assert_eq!(next(&mut events).await, CallEvent::Ringing { code: 183, session: Some(early.into()) });
}

#[tokio::test]
async fn the_session_is_changed_from_both_sides_and_refused() {
    let mut pair = pair().await;
    let (control, mut events) = invite(&pair.caller, "pbx", "1");
    let mut call = incoming(&mut pair.calls).await;
    call.control.answer(answer_to(&call.offer.clone().expect("an offer"), 5000));
    assert!(matches!(decisive(&mut events).await, CallEvent::Answered { .. }));
    assert!(matches!(next(&mut call.events).await, CallEvent::Answered { .. }));

    let mut hold = session(4000);
    hold.version = 2;
    hold.direction = Direction::SendOnly;
    let asking = tokio::spawn({
        let (control, hold) = (control.clone(), hold.clone());
        async move { control.offer(hold).await }
    });
    assert_eq!(next(&mut call.events).await, CallEvent::Offer { session: Some(hold.clone().into()) });
    let held = answer_to(&hold, 5000);
    assert_eq!(held.direction, Direction::RecvOnly);
    call.control.accept_offer(held.clone());
    assert_eq!(asking.await.expect("asked"), OfferOutcome::Accepted(SessionDescription { version: 2, ..held }));

    let asking = tokio::spawn({
        let control = call.control.clone();
        async move { control.offer(session(5002)).await }
    });
    // The dialog counts the versions: this is its third description.
    let third = SessionDescription { version: 3, ..session(5002) };
    assert_eq!(next(&mut events).await, CallEvent::Offer { session: Some(third.into()) });
    control.refuse_offer();
    assert_eq!(asking.await.expect("asked"), OfferOutcome::Refused(488));

    control.hang_up();
    assert_eq!(last(&mut call.events).await, CallEvent::Ended { by: EndedBy::Peer });
}

#[tokio::test]
async fn two_offers_at_once_both_get_through_in_the_end() {
    let mut pair = pair().await;
    let (control, mut events) = invite(&pair.caller, "pbx", "1");
    let mut call = incoming(&mut pair.calls).await;
    call.control.answer(answer_to(&call.offer.clone().expect("an offer"), 5000));
    assert!(matches!(decisive(&mut events).await, CallEvent::Answered { .. }));
    assert!(matches!(next(&mut call.events).await, CallEvent::Answered { .. }));
    let ours = tokio::spawn({
        let control = control.clone();
        async move { control.offer(session(4002)).await }
    });
    let theirs = tokio::spawn({
        let control = call.control.clone();
        async move { control.offer(session(5002)).await }
    });
    let accepts = async {
        loop {
            tokio::select! {
                event = next(&mut events) => if let CallEvent::Offer { session: Some(offer) } = event {
                    control.accept_offer(answer_to(&offer, 4002));
                },
                event = next(&mut call.events) => if let CallEvent::Offer { session: Some(offer) } = event {
                    call.control.accept_offer(answer_to(&offer, 5002));
                },
            }
        }
    };
    let both = async { (ours.await.expect("asked"), theirs.await.expect("asked")) };
    tokio::select! {
        _ = accepts => {}
        (ours, theirs) = both => {
            assert!(matches!(ours, OfferOutcome::Accepted(_)), "{ours:?}");
            assert!(matches!(theirs, OfferOutcome::Accepted(_)), "{theirs:?}");
        }
    }
}

#[tokio::test]
async fn an_extension_calls_with_its_password_and_not_with_another() {
    let (callee, mut calls) = endpoint(T1, &[], &[extension("200", "right")]).await;
    let good = trunk("box", callee.local_address(), "username = \"200\"\npassword = \"right\"");
    let bad = trunk("bad", callee.local_address(), "username = \"200\"\npassword = \"wrong\"");
    let unknown = trunk("unknown", callee.local_address(), "username = \"201\"\npassword = \"right\"");
    let none = trunk("none", callee.local_address(), "");
    let foreign =
        trunk("foreign", callee.local_address(), "username = \"200\"\npassword = \"right\"\nrealm = \"elsewhere\"");
    let (caller, _) = endpoint(T1, &[good, bad, unknown, none, foreign], &[]).await;
    for trunk in ["bad", "unknown", "none", "foreign"] {
        let (_control, mut events) = invite(&caller, trunk, "1");
        assert_eq!(decisive(&mut events).await, CallEvent::Failed(CallFailure::Unauthorized), "{trunk}");
    }
    let (_control, mut events) = invite(&caller, "box", "1");
    let call = incoming(&mut calls).await;
    assert_eq!(call.origin, Origin::Extension("200".into()));
    call.control.answer(answer_to(&call.offer.clone().expect("an offer"), 5000));
    assert!(matches!(decisive(&mut events).await, CallEvent::Answered { .. }));
}

#[tokio::test]
async fn strangers_hear_nothing_when_there_are_no_extensions() {
    let (callee, _calls) = endpoint(T1, &[], &[]).await;
    let (caller, _) = endpoint(T1, &[trunk("box", callee.local_address(), "")], &[]).await;
    let (_control, mut events) = invite(&caller, "box", "1");
    assert_eq!(decisive(&mut events).await, CallEvent::Failed(CallFailure::TrunkSilent));
}

#[tokio::test]
async fn a_uri_is_dialled_directly_and_bad_destinations_are_refused_at_once() {
    let mut pair = pair().await;
    let order = |destination: Destination, trunk: &str| OutboundInvite {
        trunk: trunk.into(),
        destination,
        caller_number: None,
        caller_name: None,
        offer: session(4000),
        ring_timeout: PATIENCE,
        policy: DialPolicy::default(),
    };
    let uri = format!("sip:anna@{}", pair.callee.local_address());
    let (_control, _events) = pair.caller.invite(order(Destination::Uri(uri), "pbx")).expect("dialled");
    assert_eq!(incoming(&mut pair.calls).await.called, "anna");
    for bad in [Destination::Uri("sip:a@b\r\nX: 1".into()), Destination::Number("1@evil".into())] {
        assert!(matches!(pair.caller.invite(order(bad, "pbx")), Err(InviteError::BadDestination)));
    }
    let unknown = pair.caller.invite(order(Destination::Number("1".into()), "nobody"));
    assert!(matches!(unknown, Err(InviteError::UnknownTrunk(_))));
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_unreachable() {
    let (caller, _) = endpoint(T1, &[trunk("pbx", "127.0.0.1:9".parse().expect("address"), "")], &[]).await;
    let order = OutboundInvite {
        trunk: "pbx".into(),
        destination: Destination::Uri("sip:a@host.invalid".into()),
        caller_number: None,
        caller_name: None,
        offer: session(4000),
        ring_timeout: PATIENCE,
        policy: DialPolicy::default(),
    };
    let (_control, mut events) = caller.invite(order).expect("under way");
    assert!(matches!(next(&mut events).await, CallEvent::Failed(CallFailure::Unreachable(_))));
}

#[tokio::test]
async fn a_slow_owner_makes_further_callers_wait_with_503() {
    let (callee, _calls) = open_endpoint(T1).await;
    let (caller, _) = endpoint(T1, &[trunk("pbx", callee.local_address(), "")], &[]).await;
    let mut calls: Vec<_> = (0..262).map(|_| invite(&caller, "pbx", "1")).collect();
    let mut refused = 0;
    for (_, events) in calls.iter_mut().rev().take(6) {
        if let CallEvent::Rejected { code: 503, retry_after: Some(_), .. } = decisive(events).await {
            refused += 1;
        }
    }
    assert_eq!(refused, 6);
}

#[tokio::test]
async fn an_incoming_call_that_is_dropped_is_refused_at_once() {
    let mut pair = pair().await;
    let (_control, mut events) = invite(&pair.caller, "pbx", "1");
    drop(incoming(&mut pair.calls).await);
    assert!(matches!(decisive(&mut events).await, CallEvent::Rejected { code: 480, .. }));
}

#[tokio::test]
async fn calls_that_wait_for_an_owner_that_is_gone_are_refused() {
    let pair = pair().await;
    let (_control, mut events) = invite(&pair.caller, "pbx", "1");
    drop(pair.calls);
    assert!(matches!(decisive(&mut events).await, CallEvent::Rejected { code: 480 | 503, .. }));
    let (_control, mut events) = invite(&pair.caller, "pbx", "1");
    assert!(matches!(decisive(&mut events).await, CallEvent::Rejected { code: 503, .. }));
}

#[tokio::test]
async fn a_call_whose_events_are_dropped_is_hung_up_at_once_in_whatever_state() {
    let mut pair = pair().await;
    // Ringing, by the caller: CANCEL.
    let (_control, events) = invite(&pair.caller, "pbx", "1");
    let mut call = incoming(&mut pair.calls).await;
    drop(events);
    assert_eq!(last(&mut call.events).await, CallEvent::Ended { by: EndedBy::Peer });
    // Live, by either side: BYE.
    for by_caller in [true, false] {
        let (_control, mut events) = invite(&pair.caller, "pbx", "1");
        let call = incoming(&mut pair.calls).await;
        call.control.answer(answer_to(&call.offer.clone().expect("an offer"), 5000));
        assert!(matches!(decisive(&mut events).await, CallEvent::Answered { .. }));
        let mut other = if by_caller {
            drop(events);
            call.events
        } else {
            drop(call.events);
            events
        };
        assert_eq!(last(&mut other).await, CallEvent::Ended { by: EndedBy::Peer });
    }
}

#[tokio::test]
async fn an_offer_is_answered_whatever_becomes_of_the_call() {
    let mut pair = pair().await;
    let (control, mut events) = invite(&pair.caller, "pbx", "1");
    let mut call = incoming(&mut pair.calls).await;
    let asked = tokio::time::timeout(PATIENCE, call.control.offer(session(5002))).await;
    assert_eq!(asked.expect("at once"), OfferOutcome::Refused(0), "it is not answered yet");
    call.control.answer(answer_to(&call.offer.clone().expect("an offer"), 5000));
    assert!(matches!(decisive(&mut events).await, CallEvent::Answered { .. }));
    assert!(matches!(next(&mut call.events).await, CallEvent::Answered { .. }));
    let asking = tokio::spawn({
        let control = call.control.clone();
        async move { control.offer(session(5002)).await }
    });
    assert!(matches!(next(&mut events).await, CallEvent::Offer { .. }));
    control.hang_up();
    let asked = tokio::time::timeout(PATIENCE, asking).await.expect("in time");
    // The refusal of the offer, or the BYE, whichever comes first.
    assert!(matches!(asked.expect("asked"), OfferOutcome::Refused(0 | 487)));
    assert_eq!(last(&mut call.events).await, CallEvent::Ended { by: EndedBy::Peer });
    let asked = tokio::time::timeout(PATIENCE, control.offer(session(4002))).await;
    assert_eq!(asked.expect("at once"), OfferOutcome::Refused(0), "it is over");
}

#[tokio::test]
async fn stop_ends_calls_on_both_sides_and_closes_the_port() {
    let mut pair = pair().await;
    let (_answered, mut live) = invite(&pair.caller, "pbx", "1");
    let mut call = incoming(&mut pair.calls).await;
    call.control.answer(answer_to(&call.offer.clone().expect("an offer"), 5000));
    assert!(matches!(decisive(&mut live).await, CallEvent::Answered { .. }));
    let (_ringing, mut waiting) = invite(&pair.caller, "pbx", "2");
    let mut second = incoming(&mut pair.calls).await;
    assert!(pair.caller.alive().await);

    pair.caller.stop(Duration::from_secs(5)).await;
    assert_eq!(last(&mut live).await, CallEvent::Ended { by: EndedBy::Us });
    assert_eq!(last(&mut waiting).await, CallEvent::Ended { by: EndedBy::Us });
    assert_eq!(last(&mut call.events).await, CallEvent::Ended { by: EndedBy::Peer });
    assert_eq!(last(&mut second.events).await, CallEvent::Ended { by: EndedBy::Peer });
    assert!(!pair.caller.alive().await);
    std::net::UdpSocket::bind(pair.caller.local_address()).expect("the port is free again");
    let order = OutboundInvite {
        trunk: "pbx".into(),
        destination: Destination::Number("1".into()),
        caller_number: None,
        caller_name: None,
        offer: session(4000),
        ring_timeout: PATIENCE,
        policy: DialPolicy::default(),
    };
    assert!(matches!(pair.caller.invite(order), Err(InviteError::Stopping)));
}

#[tokio::test]
async fn after_refuse_new_calls_live_ones_go_on() {
    let mut pair = pair().await;
    let (control, mut live) = invite(&pair.caller, "pbx", "1");
    let mut call = incoming(&mut pair.calls).await;
    call.control.answer(answer_to(&call.offer.clone().expect("an offer"), 5000));
    assert!(matches!(decisive(&mut live).await, CallEvent::Answered { .. }));
    pair.callee.refuse_new_calls();
    let (_control, mut events) = invite(&pair.caller, "pbx", "2");
    assert!(matches!(decisive(&mut events).await, CallEvent::Rejected { code: 503, retry_after: Some(_), .. }));
    control.hang_up();
    assert_eq!(last(&mut call.events).await, CallEvent::Ended { by: EndedBy::Peer });
}

#[tokio::test]
async fn a_port_in_use_is_an_operators_sentence() {
    let (taken, _calls) = open_endpoint(T1).await;
    let config = trunkline::config::SipConfig { listen: taken.local_address(), ..sip_config(T1) };
    let error = Endpoint::start(&config, &[], &[], trunkline::clock::Clock::system()).await.err().expect("taken");
    assert!(error.to_string().contains("is another SIP server running"), "{error}");
}
