//! Transfer to the phones that registered with the box, and moves of a call to them.

use std::time::Duration;

use crate::call_support::{Phone, Talk};
use crate::transfer::{CALLER_HZ, PERSON_HZ, RINGBACK_HZ, Scene, is_cancelled, refer_news};
use trunkline::call::record::TransferOutcome;
use trunkline::call::{CallStatus, EndReason, TransferError, TransferMode};
use trunkline::sip::endpoint::{CallEvent, EndedBy, ReferNews};

const EXTENSION: &str = "[[extension]]\nuser = \"201\"\npassword = \"secret\"\nname = \"Workshop\"\n";

async fn desk_phone(scene: &Scene) -> Phone {
    Phone::registered(scene.gateway.endpoint.local_address(), "201", "secret").await
}

async fn are_joined(caller: &Talk, person: &Talk) {
    caller.hears_tone(PERSON_HZ).await;
    person.hears_tone(CALLER_HZ).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_phone_of_an_extension_rings_and_the_first_to_answer_gets_the_caller() {
    let mut scene = Scene::talking("echo", EXTENSION, "refer = true").await;
    let (mut one, mut other) = (desk_phone(&scene).await, desk_phone(&scene).await);
    assert_eq!(scene.order("201", TransferMode::Refer, None).await, Err(TransferError::NoRefer));
    assert_eq!(scene.order("201", TransferMode::Auto, None).await, Ok(TransferMode::Bridge));
    let (first, second) = (one.rings().await, other.rings().await);
    assert_eq!(first.caller_name.as_deref(), Some(scene.call.display_name.as_str()), "who is calling");
    first.control.ringing(None);
    scene.caller.hears_tone(RINGBACK_HZ as u64).await;
    let mut person = other.answer(second).await;
    person.hum(PERSON_HZ);
    is_cancelled(first).await;
    are_joined(&scene.caller, &person).await;
    scene.caller.press("5");
    assert_eq!(person.gets_key().await, '5');
    scene.transferred(1, TransferOutcome::Answered).await;
    person.control.hang_up();
    assert_eq!(scene.caller.ends().await, CallEvent::Ended { by: EndedBy::Peer });
    assert_eq!(scene.gateway.finished(scene.call.id).await.end_reason, Some(EndReason::Finished));
    scene.no_leg_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_is_not_there_or_busy_gives_the_caller_back_at_once() {
    let scene = Scene::talking("echo", EXTENSION, "").await;
    assert_eq!(scene.order("201", TransferMode::Auto, None).await, Ok(TransferMode::Bridge));
    let missed = scene.transferred(1, TransferOutcome::NoAnswer).await;
    let took = missed.settled_at.expect("settled").since(missed.asked_at);
    assert!(took < Duration::from_secs(3), "{took:?}");
    scene.caller.hears_tone(CALLER_HZ).await;
    // Written with the box's own address; the whisper is heard by whoever answers.
    let mut phone = desk_phone(&scene).await;
    let here = format!("sip:201@{}", scene.gateway.endpoint.local_address());
    scene.order(&here, TransferMode::Auto, Some("A caller.")).await.expect("begun");
    phone.rings().await.control.reject(486);
    scene.transferred(2, TransferOutcome::Busy).await;
    scene.caller.hears_tone(CALLER_HZ).await;
    scene.order(&here, TransferMode::Bridge, Some("A caller.")).await.expect("begun");
    let person = phone.pick_up().await;
    person.hum(PERSON_HZ);
    person.hears_something().await;
    are_joined(&scene.caller, &person).await;
    assert_eq!(scene.order("202", TransferMode::Auto, None).await, Err(TransferError::NotLive));
    scene.caller.control.hang_up();
    scene.gateway.finished(scene.call.id).await;
    scene.no_leg_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_follows_a_refer_of_the_house_to_a_phone_of_the_box_and_no_refer_of_a_carrier() {
    for (keys, internal) in [("internal = true", true), ("", false)] {
        let mut scene = Scene::talking("echo", EXTENSION, keys).await;
        let mut phone = desk_phone(&scene).await;
        let target = format!("sip:201@{}", scene.gateway.endpoint.local_address());
        scene.caller.control.refer(target, None);
        if !internal {
            assert_eq!(refer_news(&mut scene.caller).await, [ReferNews::Refused(403)]);
            scene.caller.control.hang_up();
            scene.gateway.finished(scene.call.id).await;
            continue;
        }
        let talk = phone.pick_up().await;
        talk.hum(1_400);
        assert_eq!(refer_news(&mut scene.caller).await.last(), Some(&ReferNews::Done(200)));
        scene.caller.ends().await;
        talk.hears_tone(1_400).await;
        let call = scene.gateway.call(scene.call.id);
        assert_eq!((call.status, call.trunk.as_str()), (CallStatus::InProgress, ""), "no trunk carries it any more");
        talk.control.hang_up();
        scene.gateway.finished(scene.call.id).await;
        scene.no_leg_is_left().await;
    }
}
