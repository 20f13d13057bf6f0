//! How much sound a packet holds is the far end's wish, within what it can take.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::disallowed_methods)] // functions that tests share are not inside `#[test]`

use std::time::Duration;

use trunkline::call::{CallStatus, EndReason};
use trunkline::media::Codec;
use trunkline::sip::sdp::{AudioCodec, Direction, SessionDescription};

use crate::call_support::line::{Got, Line};
use crate::call_support::{Gateway, Phone, Plan, within};

/// What a phone likes and can take, milliseconds, and what it must get.
const WISHES: [(Option<u64>, Option<u64>, usize); 7] = [
    (None, None, 20),
    (Some(10), None, 10),
    (Some(30), None, 30),
    (Some(40), None, 40),
    (Some(60), None, 60),
    (Some(120), None, 60),
    (Some(60), Some(30), 30),
];

fn likes(session: SessionDescription, ptime: Option<u64>, most: Option<u64>) -> SessionDescription {
    let (ptime, max_ptime) = (ptime.map(Duration::from_millis), most.map(Duration::from_millis));
    SessionDescription { ptime, max_ptime, ..session }
}

/// Twenty loud packets in a row from now on.
async fn loud_packets(line: &Line) -> Vec<Got> {
    line.hears(5).await;
    line.hears(20).await;
    line.got().into_iter().skip_while(|got| !got.loud).collect()
}

#[track_caller]
fn are_of(packets: &[Got], milliseconds: usize) {
    assert!(packets.iter().all(|got| got.octets == 8 * milliseconds), "{milliseconds} ms: {packets:?}");
    let step = |pair: &[Got]| pair[1].timestamp.wrapping_sub(pair[0].timestamp) as usize;
    assert!(packets.windows(2).all(|pair| step(pair) == 8 * milliseconds), "{milliseconds} ms: {packets:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_is_called_gets_packets_as_long_as_it_likes_and_can_change_its_mind() {
    let state = tempfile::tempdir().expect("state");
    let mut phone = Phone::start().await;
    let gateway = Gateway::start(state.path(), Plan::towards(&phone)).await;
    let id = gateway.place(gateway.order()).await.id;
    let call = phone.rings().await;
    let box_at = call.offer.as_ref().expect("an offer").address;
    let line = Line::open().await;
    let described = |version, codec| line.describes(version, &[codec], Direction::SendRecv);
    call.control.answer(likes(described(1, AudioCodec::Pcmu), Some(30), None));
    gateway.status(id, CallStatus::InProgress).await;
    line.hum(box_at, Codec::Pcmu);
    are_of(&loud_packets(&line).await, 30);
    for (version, (ptime, most, expected)) in (2..).zip(WISHES) {
        let offer = likes(described(version, AudioCodec::Pcmu), ptime, most);
        let outcome = within("an answer", call.control.offer(offer)).await;
        let trunkline::sip::endpoint::OfferOutcome::Accepted(answer) = outcome else { panic!("{outcome:?}") };
        assert_eq!(answer.ptime, Some(Duration::from_millis(expected as u64)), "{ptime:?} {most:?}");
        are_of(&loud_packets(&line).await, expected);
    }
    call.control.hang_up();
    assert_eq!(gateway.finished(id).await.end_reason, Some(EndReason::Finished));
}
