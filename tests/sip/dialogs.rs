//! Dialogs against SIPp, on both sides: reliable responses, UPDATE, session timers, glare, hold, forks, redirections,
//! keys in INFO, reasons and forwarding.
#![allow(clippy::expect_used, clippy::panic)]

use std::time::Duration;

use tokio::sync::mpsc;
use trunkline::clock::Clock;
use trunkline::config::SipConfig;
use trunkline::sip::endpoint::{
    CallControl, CallEvent, Destination, DialPolicy, EndedBy, Endpoint, IncomingCall, OfferOutcome, OutboundInvite,
};
use trunkline::sip::message::{Diversion, Reason};
use trunkline::sip::sdp::{Direction, SessionDescription};

use super::sipp::{Lab, Sipp, answered, call, t1};
use crate::support::*;
use crate::way::{Way, each_way};

/// Calls a SIPp that plays `scenario`, with a session timer of `expires` seconds and redirections to `allowed`.
async fn dial(
    way: Way,
    scenario: &'static str,
    expires: u32,
    allowed: &'static str,
) -> (Endpoint, Sipp, CallControl, mpsc::Receiver<CallEvent>) {
    let sipp = Sipp::called(way, scenario).await;
    let config = SipConfig { session_expires_seconds: expires, ..sip_config(t1(way)) };
    let trunks = [sipp.trunk("")];
    let (endpoint, _) = Endpoint::start(&config, &trunks, &[], Clock::system()).await.expect("a free port");
    let order = OutboundInvite {
        trunk: "sipp".into(),
        destination: Destination::Number("100".into()),
        caller_number: None,
        caller_name: None,
        offer: session(4000),
        ring_timeout: PATIENCE,
        policy: DialPolicy::new(move |number| number == allowed),
    };
    let (control, events) = endpoint.invite(order).expect("a call under way");
    (endpoint, sipp, control, events)
}

/// The next event that is a session of the peer's, ringing or answered.
async fn port_of_next(events: &mut mpsc::Receiver<CallEvent>) -> (u16, Option<u16>) {
    match next(events).await {
        CallEvent::Ringing { code, session } => (code, session.map(|session| session.address.port())),
        CallEvent::Answered { session } => (200, session.map(|session| session.address.port())),
        other => panic!("{other:?}"),
    }
}

async fn hangs_up(control: &CallControl, events: &mut mpsc::Receiver<CallEvent>, sipp: Sipp) {
    control.hang_up();
    assert_eq!(next(events).await, CallEvent::Ended { by: EndedBy::Us });
    sipp.succeeded().await;
}

async fn reliable_responses_are_acknowledged_in_their_order(way: Way) {
    let (_endpoint, sipp, control, mut events) = call(way, "uas_prack", "").await;
    assert_eq!(port_of_next(&mut events).await, (183, Some(6100)));
    assert_eq!(port_of_next(&mut events).await, (180, None), "the one out of order is not told");
    assert_eq!(port_of_next(&mut events).await, (200, Some(6100)));
    hangs_up(&control, &mut events, sipp).await;
}

async fn an_update_changes_the_session_before_and_after_the_answer(way: Way) {
    let (_endpoint, sipp, control, mut events) = call(way, "uas_update", "").await;
    assert_eq!(port_of_next(&mut events).await, (183, Some(6100)));
    accept(&mut events, &control, 6102).await;
    assert_eq!(port_of_next(&mut events).await, (200, Some(6102)));
    accept(&mut events, &control, 6104).await;
    hangs_up(&control, &mut events, sipp).await;
}

/// Answers the peer's offer of a session at `port`.
async fn accept(events: &mut mpsc::Receiver<CallEvent>, control: &CallControl, port: u16) {
    match next(events).await {
        CallEvent::Offer { session: Some(offer) } => {
            assert_eq!(offer.address.port(), port);
            control.accept_offer(answer_to(&offer, 4000));
        }
        other => panic!("{other:?}"),
    }
}

async fn a_session_is_refreshed_by_update_and_by_invite_where_that_is_refused(way: Way) {
    let (_endpoint, sipp, _control, mut events) = dial(way, "uas_refresh", 2, "").await;
    answered(&mut events).await;
    // Two refreshes, one a second, change nothing that is told; then the peer hangs up.
    assert_eq!(next(&mut events).await, CallEvent::Ended { by: EndedBy::Peer });
    sipp.succeeded().await;
}

async fn a_session_that_the_peer_does_not_refresh_is_ended(way: Way) {
    let (_endpoint, sipp, _control, mut events) = dial(way, "uas_unrefreshed", 0, "").await;
    answered(&mut events).await;
    assert_eq!(next(&mut events).await, CallEvent::Ended { by: EndedBy::Lost });
    sipp.succeeded().await;
}

async fn a_422_is_followed_with_a_longer_interval(way: Way) {
    let (_endpoint, sipp, control, mut events) = call(way, "uas_422", "").await;
    answered(&mut events).await;
    hangs_up(&control, &mut events, sipp).await;
}

async fn our_hold_survives_glare_and_a_refused_resume_leaves_it(way: Way) {
    let (_endpoint, sipp, control, mut events) = call(way, "uas_glare", "").await;
    answered(&mut events).await;
    let hold = SessionDescription { direction: Direction::Inactive, ..session(4000) };
    match control.offer(hold).await {
        OfferOutcome::Accepted(answer) => assert_eq!(answer.direction, Direction::Inactive),
        refused @ OfferOutcome::Refused(_) => panic!("{refused:?}"),
    }
    assert_eq!(control.offer(session(4000)).await, OfferOutcome::Refused(488));
    hangs_up(&control, &mut events, sipp).await;
}

async fn each_fork_has_its_own_early_media_and_the_newest_wins(way: Way) {
    let (_endpoint, sipp, control, mut events) = call(way, "uas_forked_early", "").await;
    assert_eq!(port_of_next(&mut events).await, (183, Some(6110)));
    assert_eq!(port_of_next(&mut events).await, (183, Some(6120)));
    assert_eq!(port_of_next(&mut events).await, (180, None));
    assert_eq!(port_of_next(&mut events).await, (199, Some(6120)), "the newest that is left");
    assert_eq!(port_of_next(&mut events).await, (200, Some(6120)));
    hangs_up(&control, &mut events, sipp).await;
}

async fn a_redirection_is_followed_where_the_call_may_go(way: Way) {
    let (_endpoint, sipp, control, mut events) = dial(way, "uas_302", 0, "200").await;
    answered(&mut events).await;
    hangs_up(&control, &mut events, sipp).await;
}

async fn a_redirection_to_elsewhere_is_a_refusal(way: Way) {
    let (_endpoint, sipp, _control, mut events) = dial(way, "uas_302_refused", 0, "200").await;
    assert!(matches!(next(&mut events).await, CallEvent::Rejected { code: 302, .. }));
    sipp.succeeded().await;
}

async fn keys_go_both_ways_in_info(way: Way) {
    let (_endpoint, sipp, control, mut events) = call(way, "uas_info", "").await;
    answered(&mut events).await;
    assert_eq!(next(&mut events).await, CallEvent::Key('5'));
    assert_eq!(next(&mut events).await, CallEvent::Key('#'));
    for key in ['#', 'x', '7'] {
        control.press(key);
    }
    // Hung up at once, the second key would not go out any more.
    tokio::time::timeout(Duration::from_millis(300), events.recv()).await.expect_err("nothing to tell");
    hangs_up(&control, &mut events, sipp).await;
}

async fn reasons_are_read_and_written(way: Way) {
    let (_endpoint, sipp, _control, mut events) = call(way, "uas_reason", "").await;
    assert_eq!(next_told(&mut events).await, CallEvent::Because(vec![Reason::q850(17, "User busy")]));
    assert!(matches!(next(&mut events).await, CallEvent::Rejected { code: 503, .. }));
    sipp.succeeded().await;
    let (_endpoint, sipp, control, mut events) = call(way, "uas_cancel_reason", "").await;
    assert_eq!(port_of_next(&mut events).await, (180, None));
    control.hang_up_because(Reason::answered_elsewhere());
    assert_eq!(next(&mut events).await, CallEvent::Ended { by: EndedBy::Us });
    sipp.succeeded().await;
}

/// Is called by a SIPp that plays `scenario`.
async fn called(way: Way, scenario: &'static str) -> (Endpoint, Sipp, IncomingCall) {
    let mut lab = Lab::open(way).await;
    let sipp = Sipp::calling(way, scenario, &lab).await;
    let call = incoming(&mut lab.calls).await;
    (lab.endpoint, sipp, call)
}

fn our_answer(call: &IncomingCall) -> SessionDescription {
    call.offer.as_ref().map_or_else(|| session(5000), |offer| answer_to(offer, 5000))
}

/// BYE with the reason that every scenario gives.
async fn ended_by_peer(call: &mut IncomingCall, sipp: Sipp) {
    let cleared = CallEvent::Because(vec![Reason::q850(16, "Normal call clearing")]);
    assert_eq!(next_told(&mut call.events).await, cleared);
    assert_eq!(next(&mut call.events).await, CallEvent::Ended { by: EndedBy::Peer });
    sipp.succeeded().await;
}

async fn the_answer_waits_for_the_prack_of_a_session(way: Way) {
    let (_endpoint, sipp, mut call) = called(way, "uac_prack").await;
    let session = our_answer(&call);
    call.control.ringing(Some(session.clone()));
    call.control.answer(session);
    assert_eq!(next(&mut call.events).await, CallEvent::Answered { session: None });
    ended_by_peer(&mut call, sipp).await;
}

async fn a_late_offer_is_made_reliably_and_answered_in_the_prack(way: Way) {
    let (_endpoint, sipp, mut call) = called(way, "uac_prack_late_offer").await;
    assert!(call.offer.is_none());
    call.control.ringing(Some(session(5000)));
    call.control.answer(session(5000));
    match next(&mut call.events).await {
        CallEvent::Answered { session: Some(answer) } => assert_eq!(answer.address.port(), 6210),
        other => panic!("{other:?}"),
    }
    ended_by_peer(&mut call, sipp).await;
}

async fn an_offer_in_the_prack_is_answered_in_its_200_and_an_early_update_too(way: Way) {
    let (_endpoint, sipp, mut call) = called(way, "uac_prack_offer").await;
    call.control.ringing(Some(our_answer(&call)));
    for port in [6201, 6202, 6203] {
        accept(&mut call.events, &call.control.clone(), port).await;
    }
    call.control.answer(our_answer(&call));
    assert_eq!(next(&mut call.events).await, CallEvent::Answered { session: None });
    ended_by_peer(&mut call, sipp).await;
}

async fn an_interval_too_small_gets_422_and_a_refresh_its_own_again(way: Way) {
    let (_endpoint, sipp, mut call) = called(way, "uac_422").await;
    call.control.answer(our_answer(&call));
    assert_eq!(next(&mut call.events).await, CallEvent::Answered { session: None });
    ended_by_peer(&mut call, sipp).await;
}

async fn the_peer_holds_in_every_way_resumes_and_asks_for_our_offer(way: Way) {
    let (_endpoint, sipp, mut call) = called(way, "uac_hold").await;
    call.control.answer(our_answer(&call));
    assert_eq!(next(&mut call.events).await, CallEvent::Answered { session: None });
    for direction in [Direction::SendOnly, Direction::SendRecv, Direction::Inactive, Direction::SendOnly] {
        match next(&mut call.events).await {
            CallEvent::Offer { session: Some(offer) } => {
                assert_eq!(offer.direction, direction);
                call.control.accept_offer(answer_to(&offer, 5000));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(next(&mut call.events).await, CallEvent::Offer { session: None });
    call.control.accept_offer(session(5000));
    match next(&mut call.events).await {
        CallEvent::Answered { session: Some(answer) } => assert_eq!(answer.address.port(), 6202),
        other => panic!("{other:?}"),
    }
    ended_by_peer(&mut call, sipp).await;
}

async fn a_key_in_info_is_told_and_other_bodies_are_refused(way: Way) {
    let (_endpoint, sipp, mut call) = called(way, "uac_info").await;
    call.control.answer(our_answer(&call));
    assert_eq!(next(&mut call.events).await, CallEvent::Answered { session: None });
    assert_eq!(next(&mut call.events).await, CallEvent::Key('*'));
    ended_by_peer(&mut call, sipp).await;
}

async fn the_way_of_a_forwarded_call_is_told(way: Way) {
    let (_endpoint, sipp, mut call) = called(way, "uac_diverted").await;
    let told = call.provenance.clone();
    assert_eq!(told.original_called.as_deref(), Some("+4911"));
    let forwarded = |number: &str, reason: &str| Diversion { number: number.into(), reason: Some(reason.into()) };
    assert_eq!(told.diversions, [forwarded("+4911", "unconditional"), forwarded("+4922", "no-answer")]);
    assert_eq!((told.asserted.as_deref(), told.verstat.as_deref()), (Some("+49333"), Some("TN-Validation-Passed")));
    assert!(told.identity[0].starts_with("eyJ") && told.identity[0].ends_with("ppt=shaken"), "{:?}", told.identity);
    call.control.answer(our_answer(&call));
    assert_eq!(next(&mut call.events).await, CallEvent::Answered { session: None });
    ended_by_peer(&mut call, sipp).await;
}

async fn a_cancel_says_that_another_phone_took_the_call(way: Way) {
    let (_endpoint, sipp, mut call) = called(way, "uac_cancel_elsewhere").await;
    call.control.ringing(None);
    assert_eq!(next_told(&mut call.events).await, CallEvent::Because(vec![Reason::answered_elsewhere()]));
    assert_eq!(next(&mut call.events).await, CallEvent::Ended { by: EndedBy::Peer });
    sipp.succeeded().await;
}

each_way!(
    reliable_responses_are_acknowledged_in_their_order,
    an_update_changes_the_session_before_and_after_the_answer,
    a_session_is_refreshed_by_update_and_by_invite_where_that_is_refused,
    a_session_that_the_peer_does_not_refresh_is_ended,
    a_422_is_followed_with_a_longer_interval,
    our_hold_survives_glare_and_a_refused_resume_leaves_it,
    each_fork_has_its_own_early_media_and_the_newest_wins,
    a_redirection_is_followed_where_the_call_may_go,
    a_redirection_to_elsewhere_is_a_refusal,
    keys_go_both_ways_in_info,
    reasons_are_read_and_written,
    the_answer_waits_for_the_prack_of_a_session,
    a_late_offer_is_made_reliably_and_answered_in_the_prack,
    an_offer_in_the_prack_is_answered_in_its_200_and_an_early_update_too,
    an_interval_too_small_gets_422_and_a_refresh_its_own_again,
    the_peer_holds_in_every_way_resumes_and_asks_for_our_offer,
    a_key_in_info_is_told_and_other_bodies_are_refused,
    the_way_of_a_forwarded_call_is_told,
    a_cancel_says_that_another_phone_took_the_call,
);
