//! Second legs are legs like any other: they count, fall over to another trunk, stand in the trace, and are heard early.

use crate::call_support::{CALLEE, Phone, purity, trunk};
use crate::transfer::{CALLER_HZ, PERSON_HZ, RINGBACK_HZ, Scene, is_cancelled, refer_news};
use trunkline::call::record::TransferOutcome;
use trunkline::call::{Direction, TransferError, TransferMode};
use trunkline::sip::endpoint::{CallEvent, EndedBy, ReferNews};

const ANNOUNCEMENT_HZ: u64 = 1_700;

/// Who got an INVITE of the call, as the trace shows it: its transport and its address.
fn invites(scene: &Scene) -> Vec<(&'static str, String)> {
    let trace = scene.gateway.calls.trace(scene.gateway.organization, &scene.call.id.to_string());
    let ladder = trace.expect("readable").expect("a trace").ladder;
    let sent = ladder.messages.iter().filter(|message| message.summary.starts_with("INVITE") && !message.repeated);
    sent.map(|message| (message.transport, ladder.participants[message.to].address.to_string())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_caller_hears_what_the_persons_side_sends_before_it_answers() {
    let mut scene = Scene::talking("echo", "", "").await;
    for answers in [false, true] {
        scene.order(CALLEE, TransferMode::Bridge, None).await.expect("begun");
        let ringing = scene.person.rings().await;
        ringing.control.ringing(None);
        scene.caller.hears_tone(RINGBACK_HZ as u64).await;
        let (person, answer) = scene.person.announce(ringing).await;
        person.hum(ANNOUNCEMENT_HZ);
        scene.caller.hears_tone(ANNOUNCEMENT_HZ).await;
        let heard = person.sound.heard.lock().expect("unharmed").clone();
        assert!(heard.chunks(800).all(|part| purity(part, CALLER_HZ as f64) < 0.5), "the caller is not heard yet");
        if answers {
            person.control.answer(answer);
            person.hum(PERSON_HZ);
            scene.caller.hears_tone(PERSON_HZ).await;
            person.hears_tone(CALLER_HZ).await;
            person.control.hang_up();
            assert_eq!(scene.caller.ends().await, CallEvent::Ended { by: EndedBy::Peer });
        } else {
            person.control.reject(486);
            scene.transferred(1, TransferOutcome::Busy).await;
            // The agent, which repeats what it hears.
            scene.caller.hears_tone(CALLER_HZ).await;
        }
    }
    scene.transferred(2, TransferOutcome::Answered).await;
    scene.no_leg_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trunk_that_fails_leads_to_the_next_one_and_a_refusal_does_not() {
    let mut second = Phone::start().await;
    // Only person calls go out; the caller's own trunk is the first.
    let other = trunk("other", second.address(), "priority = 9");
    let mut scene = Scene::talking("echo", &other, "").await;
    scene.order(CALLEE, TransferMode::Bridge, None).await.expect("begun");
    scene.person.rings().await.control.reject(503);
    let person = second.pick_up().await;
    person.hum(PERSON_HZ);
    scene.caller.hears_tone(PERSON_HZ).await;
    scene.transferred(1, TransferOutcome::Answered).await;
    let call = scene.gateway.call(scene.call.id);
    assert_eq!(call.transfers[0].leg.as_ref().map(|leg| leg.trunk.as_str()), Some("other"));
    let sent: Vec<String> = invites(&scene).into_iter().map(|(_, to)| to).collect();
    for phone in [&scene.person, &second] {
        assert!(sent.contains(&phone.address().to_string()), "both tries are in the call's trace: {sent:?}");
    }
    person.control.hang_up();
    let call = scene.gateway.finished(scene.call.id).await;
    assert!(call.transfers[0].leg.as_ref().is_some_and(|leg| leg.ended_at.is_some()), "{call:?}");
    scene.no_leg_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_every_trunk_fails_the_caller_is_the_agents_again() {
    let mut second = Phone::start().await;
    let other = trunk("other", second.address(), "priority = 9");
    let mut scene = Scene::talking("echo", &other, "").await;
    scene.order(CALLEE, TransferMode::Bridge, None).await.expect("begun");
    scene.person.rings().await.control.reject(503);
    second.rings().await.control.reject(503);
    scene.transferred(1, TransferOutcome::Failed).await;
    scene.caller.hears_tone(CALLER_HZ).await;
    scene.caller.control.hang_up();
    scene.gateway.finished(scene.call.id).await;
    scene.no_leg_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trunk_that_failed_a_person_is_not_the_first_to_be_asked_for_the_next_one() {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let silent_at = silent.local_addr().expect("bound");
    let mut scene = Scene::talking("echo", &trunk("silent", silent_at, ""), "priority = 9").await;
    for transfers in [1, 2] {
        scene.order(CALLEE, TransferMode::Bridge, None).await.expect("begun");
        scene.person.rings().await.control.reject(486);
        scene.transferred(transfers, TransferOutcome::Busy).await;
        scene.caller.hears_tone(CALLER_HZ).await;
    }
    let asked = invites(&scene).iter().filter(|(_, to)| *to == silent_at.to_string()).count();
    assert_eq!(asked, 1, "once, and not again");
    scene.caller.control.hang_up();
    scene.gateway.finished(scene.call.id).await;
    scene.no_leg_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_after_it_rang_is_about_the_person_and_not_the_trunk() {
    let second = Phone::start().await;
    let other = trunk("other", second.address(), "priority = 9");
    let mut scene = Scene::talking("echo", &other, "").await;
    scene.order(CALLEE, TransferMode::Bridge, None).await.expect("begun");
    let ringing = scene.person.rings().await;
    ringing.control.ringing(None);
    scene.caller.hears_tone(RINGBACK_HZ as u64).await;
    ringing.control.reject(503);
    scene.transferred(1, TransferOutcome::Failed).await;
    scene.caller.hears_tone(CALLER_HZ).await;
    let sent: Vec<String> = invites(&scene).into_iter().map(|(_, to)| to).collect();
    assert!(!sent.contains(&second.address().to_string()), "{sent:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_leaves_ends_the_second_try_too() {
    let mut second = Phone::start().await;
    let other = trunk("other", second.address(), "priority = 9");
    let mut scene = Scene::talking("echo", &other, "").await;
    scene.order(CALLEE, TransferMode::Bridge, None).await.expect("begun");
    scene.person.rings().await.control.reject(503);
    let ringing = second.rings().await;
    scene.caller.control.hang_up();
    is_cancelled(ringing).await;
    scene.no_leg_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_leg_falls_over_too_and_a_named_transport_is_used() {
    let mut scene = Scene::talking("echo", "", "internal = true").await;
    let target = format!("sip:201@{};transport=tcp", scene.person.address());
    scene.caller.control.refer(target, None);
    let talk = scene.person.pick_up().await;
    talk.hum(1_400);
    assert_eq!(refer_news(&mut scene.caller).await.last(), Some(&ReferNews::Done(200)));
    talk.hears_tone(1_400).await;
    let moved = scene.transferred(1, TransferOutcome::Answered).await;
    assert!(moved.leg.is_some_and(|leg| leg.trunk == "office"), "a call that came in and goes out now costs");
    let sent = invites(&scene);
    assert!(sent.contains(&("tcp", scene.person.address().to_string())), "{sent:?}");
    talk.control.hang_up();
    scene.gateway.finished(scene.call.id).await;

    let mut second = Phone::start().await;
    let other = trunk("other", second.address(), "priority = 9");
    let mut scene = Scene::talking("echo", &other, "").await;
    scene.caller.control.refer(format!("sip:{CALLEE}@elsewhere.example"), None);
    // The trunk that the call came through is asked first.
    let came_through_office = scene.call.trunk == "office";
    let (first, next) =
        if came_through_office { (&mut scene.person, &mut second) } else { (&mut second, &mut scene.person) };
    first.rings().await.control.reject(503);
    let talk = next.pick_up().await;
    talk.hum(1_400);
    assert_eq!(refer_news(&mut scene.caller).await.last(), Some(&ReferNews::Done(200)));
    talk.hears_tone(1_400).await;
    let trunk = if came_through_office { "other" } else { "office" };
    assert_eq!(scene.gateway.call(scene.call.id).trunk, trunk);
    talk.control.hang_up();
    scene.gateway.finished(scene.call.id).await;
    scene.no_leg_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_persons_leg_counts_among_the_calls_that_cost() {
    let mut scene = Scene::capped("max_calls = 1").await;
    assert_eq!(scene.call.direction, Direction::Inbound);
    scene.order(CALLEE, TransferMode::Bridge, None).await.expect("begun");
    let ringing = scene.person.rings().await;
    assert!(scene.gateway.directory.dial_place().is_none(), "the only place is the person's");
    ringing.control.reject(486);
    scene.transferred(1, TransferOutcome::Busy).await;
    let place = scene.gateway.directory.dial_place().expect("it was given back");
    assert_eq!(scene.order(CALLEE, TransferMode::Bridge, None).await, Err(TransferError::NoLine));
    drop(place);
    scene.caller.hears_tone(CALLER_HZ).await;
    scene.caller.control.hang_up();
    scene.gateway.finished(scene.call.id).await;
    scene.no_leg_is_left().await;
}
