//! Transfer over real SIP and RTP on loopback: a caller, a box, a person.

use std::time::Duration;

use crate::call_support::{self, CALLEE, Gateway, Phone, Plan, Talk, purity, trunk, within};
use crate::sip_support::{Peer, header, status, tag_of};
use trunkline::call::record::{EndedBy, Transfer, TransferOutcome};
use trunkline::call::{Call, CallStatus, EndReason, TransferError, TransferMode, TransferOrder};
use trunkline::sip::endpoint::{CallEvent, EndedBy as LegEnd, IncomingCall, ReferNews};
use trunkline::sip::sdp::SessionDescription;

pub const MORE: &str = "[dial]\nallow = [\"+4930\"]\n[[number]]\nname = \"desk\"\nnumber = \"1234\"\nvisibility = \"public\"\n\
    system_prompt = \"Hi\"\n[[number]]\nname = \"hundred\"\nnumber = \"100\"\nvisibility = \"public\"\nsystem_prompt = \"Hi\"\n";
/// Of the caller's and of the person's hum.
pub const CALLER_HZ: u64 = 600;
pub const PERSON_HZ: u64 = 1_000;
pub const RINGBACK_HZ: f64 = 425.0;

pub struct Scene {
    pub gateway: Gateway,
    pub person: Phone,
    pub caller: Talk,
    _caller_phone: Phone,
    pub call: Call,
    state: tempfile::TempDir,
}

impl Scene {
    /// A caller talks to the agent (which sends back what it hears); `trunk` are further keys of the trunk.
    pub async fn talking(engine: &'static str, more: &str, trunk_keys: &str) -> Scene {
        Scene::offering(engine, more, trunk_keys, |_| {}).await
    }

    /// The same with something else in the caller's offer.
    pub async fn offering(
        engine: &'static str,
        more: &str,
        trunk_keys: &str,
        offer: fn(&mut SessionDescription),
    ) -> Scene {
        Scene::build(engine, format!("{MORE}{more}"), trunk_keys, offer).await
    }

    /// With further keys of `[dial]`.
    pub async fn capped(dial_keys: &str) -> Scene {
        Scene::build("echo", MORE.replacen("[dial]", &format!("[dial]\n{dial_keys}"), 1), "", |_| {}).await
    }

    async fn build(engine: &'static str, extra: String, trunk_keys: &str, offer: fn(&mut SessionDescription)) -> Scene {
        let state = tempfile::tempdir().expect("state");
        let person = Phone::start().await;
        let plan =
            Plan { engine, trunks: trunk("office", person.address(), trunk_keys), extra, ..Plan::towards(&person) };
        let gateway = Gateway::start(state.path(), plan).await;
        let phone = Phone::calling(gateway.endpoint.local_address()).await;
        let caller = phone.call_offering("1234", offer).await.expect("answered");
        caller.hum(CALLER_HZ);
        let call = gateway.inbound_call().await;
        let call = gateway.status(call.id, CallStatus::InProgress).await;
        if engine == "echo" {
            caller.hears_tone(CALLER_HZ).await;
        }
        Scene { gateway, person, caller, _caller_phone: phone, call, state }
    }

    pub async fn order(
        &self,
        destination: &str,
        mode: TransferMode,
        whisper: Option<&str>,
    ) -> Result<TransferMode, TransferError> {
        let whisper = whisper.map(str::to_owned);
        let order = TransferOrder { destination: destination.into(), whisper, mode };
        self.gateway.calls.transfer(self.gateway.organization, self.call.id, order).await
    }

    /// The outcome of transfer number `count`.
    pub async fn transferred(&self, count: usize, outcome: TransferOutcome) -> Transfer {
        let settled = |call: &Call| {
            call.transfers.len() == count && call.transfers.last().is_some_and(|last| last.outcome.is_some())
        };
        let call = self.gateway.until(self.call.id, settled).await;
        let last = call.transfers.last().cloned().expect("a transfer");
        assert_eq!(last.outcome, Some(outcome), "{call:?}");
        last
    }

    pub async fn no_leg_is_left(&self) {
        self.gateway.idle().await;
        within("the end of every media leg", async {
            while self.gateway.media.live_legs() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

async fn picks_up(person: &mut Phone) -> Talk {
    let talk = person.pick_up().await;
    talk.hum(PERSON_HZ);
    talk
}

/// The caller gave up on it.
pub async fn is_cancelled(mut ringing: IncomingCall) {
    within("the CANCEL", async {
        while let Some(event) = ringing.events.recv().await {
            if event == (CallEvent::Ended { by: LegEnd::Peer }) {
                return;
            }
        }
        panic!("the call vanished");
    })
    .await;
}

/// Tenths of a second of `pcm` that are loud and mostly not a tone of `hertz`.
fn other_than(pcm: &[i16], hertz: f64) -> usize {
    let loud = |part: &&[i16]| part.iter().any(|sample| sample.unsigned_abs() > 500);
    pcm.chunks(800).filter(loud).filter(|part| purity(part, hertz) < 0.5).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_and_a_person_are_joined_and_the_call_stays_one() {
    let mut scene = Scene::talking("echo", "", "").await;
    assert_eq!(scene.order(CALLEE, TransferMode::Auto, None).await, Ok(TransferMode::Bridge));
    assert_eq!(scene.order(CALLEE, TransferMode::Auto, None).await, Err(TransferError::NotLive), "one at a time");
    let ringing = scene.person.rings().await;
    assert_eq!(ringing.called, CALLEE);
    ringing.control.ringing(None);
    scene.caller.hears_tone(RINGBACK_HZ as u64).await;
    let mut person = scene.person.answer(ringing).await;
    person.hum(PERSON_HZ);
    scene.caller.hears_tone(PERSON_HZ).await;
    person.hears_tone(CALLER_HZ).await;
    scene.caller.press("5");
    assert_eq!(person.gets_key().await, '5');
    // Once the key is over: what comes with it would be taken for its echo.
    person.sound.heard.lock().expect("unharmed").clear();
    person.hears_tone(CALLER_HZ).await;
    person.press("#");
    assert_eq!(scene.caller.gets_key().await, '#');
    let transfer = scene.transferred(1, TransferOutcome::Answered).await;
    assert_eq!((transfer.destination.as_str(), transfer.mode), (CALLEE, TransferMode::Bridge));

    person.control.hang_up();
    assert_eq!(scene.caller.ends().await, CallEvent::Ended { by: LegEnd::Peer });
    let call = scene.gateway.finished(scene.call.id).await;
    assert_eq!((call.status, call.end_reason), (CallStatus::Completed, Some(EndReason::Finished)), "{call:?}");
    assert_eq!(call.ended_by, Some(EndedBy::Agent), "our side");
    let text =
        std::fs::read_to_string(scene.state.path().join("transcripts").join(&call.transcript_file)).expect("text");
    assert!(text.contains(&format!("-- being transferred to {CALLEE}\n")), "{text}");
    assert!(text.contains(&format!("-- transferred to {CALLEE}: answered\n")), "{text}");

    // One recording: the caller left; right the agent's echo, ringback, the person.
    let mut reader = hound::WavReader::open(call.recording.expect("recorded")).expect("a recording");
    let all: Vec<i16> = reader.samples::<i16>().map(|sample| sample.expect("whole")).collect();
    let channel = |at: usize| all.iter().skip(at).step_by(2).copied().collect::<Vec<i16>>();
    let seconds = |pcm: &[i16], hertz: u64| pcm.chunks(800).filter(|part| purity(part, hertz as f64) > 0.8).count();
    let (left, right) = (channel(0), channel(1));
    assert!(seconds(&left, CALLER_HZ) > 10, "{}", seconds(&left, CALLER_HZ));
    for hertz in [CALLER_HZ, RINGBACK_HZ as u64, PERSON_HZ] {
        assert!(seconds(&right, hertz) >= 3, "{hertz} Hz: {}", seconds(&right, hertz));
    }
    assert_eq!(seconds(&left, PERSON_HZ), 0, "the sides are apart");
    scene.no_leg_is_left().await;
    let events = trunkline::events::of_subject(&scene.gateway.store, scene.call.id, 100).expect("readable");
    let kinds: Vec<_> = events.iter().map(|event| event.event.kind).collect();
    assert!(kinds.contains(&trunkline::events::EventKind::CallTransferred), "{kinds:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_person_hears_the_whisper_first_and_the_caller_does_not() {
    let mut scene = Scene::talking("echo", "", "").await;
    let whisper = "A caller wants to speak to you about the library.";
    assert_eq!(scene.order(CALLEE, TransferMode::Auto, Some(whisper)).await, Ok(TransferMode::Bridge));
    let ringing = scene.person.rings().await;
    scene.caller.hears_tone(RINGBACK_HZ as u64).await;
    let before = scene.caller.sound.heard.lock().expect("unharmed").len();
    let person = scene.person.answer(ringing).await;
    person.hum(PERSON_HZ);
    person.hears_something().await;
    assert!(scene.gateway.call(scene.call.id).transfers[0].outcome.is_none(), "not yet joined");
    scene.caller.hears_tone(PERSON_HZ).await;
    person.hears_tone(CALLER_HZ).await;
    let person_heard = person.sound.heard.lock().expect("unharmed").clone();
    assert!(other_than(&person_heard, CALLER_HZ as f64) > 10, "more than a second of words");
    let caller_heard = scene.caller.sound.heard.lock().expect("unharmed")[before..].to_vec();
    let joined = caller_heard.chunks(800).position(|part| purity(part, PERSON_HZ as f64) > 0.5).expect("joined");
    assert!(other_than(&caller_heard[..joined * 800], RINGBACK_HZ) <= 1, "the caller hears ringback alone");
    scene.caller.control.hang_up();
    let call = scene.gateway.finished(scene.call.id).await;
    assert_eq!(call.ended_by, Some(EndedBy::Caller));
    scene.no_leg_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_person_gives_the_caller_back_to_the_agent() {
    let mut scene = Scene::talking("echo", "", "").await;
    for (count, code, outcome) in [(1, 486, TransferOutcome::Busy), (2, 603, TransferOutcome::Rejected)] {
        scene.order(CALLEE, TransferMode::Bridge, None).await.expect("begun");
        let ringing = scene.person.rings().await;
        scene.caller.hears_tone(RINGBACK_HZ as u64).await;
        ringing.control.reject(code);
        scene.transferred(count, outcome).await;
        scene.caller.hears_tone(CALLER_HZ).await;
    }
    assert_eq!(scene.gateway.call(scene.call.id).status, CallStatus::InProgress);
    scene.caller.control.hang_up();
    scene.gateway.finished(scene.call.id).await;
    scene.no_leg_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_leaves_stops_the_ringing() {
    let mut scene = Scene::talking("echo", "", "").await;
    scene.order(CALLEE, TransferMode::Bridge, None).await.expect("begun");
    let ringing = scene.person.rings().await;
    ringing.control.ringing(None);
    scene.caller.hears_tone(RINGBACK_HZ as u64).await;
    scene.caller.control.hang_up();
    is_cancelled(ringing).await;
    scene.transferred(1, TransferOutcome::Cancelled).await;
    scene.no_leg_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_cannot_be_is_refused() {
    let scene = Scene::talking("echo", "", "max_calls = 1").await;
    let order = |to: &'static str, mode| scene.order(to, mode, None);
    assert_eq!(order("+1900123", TransferMode::Auto).await, Err(TransferError::Forbidden));
    assert_eq!(order("sip:boss@elsewhere.example", TransferMode::Auto).await, Err(TransferError::Forbidden));
    assert_eq!(order("the boss", TransferMode::Auto).await, Err(TransferError::Malformed));
    assert_eq!(order(CALLEE, TransferMode::Refer).await, Err(TransferError::NoRefer));
    assert_eq!(order(CALLEE, TransferMode::Auto).await, Err(TransferError::NoLine), "the only line is the caller's");
    scene.caller.hears_tone(CALLER_HZ).await;
    let calls = &scene.gateway.calls;
    let anything = || TransferOrder { destination: CALLEE.into(), whisper: None, mode: TransferMode::Auto };
    let stranger = uuid::Uuid::from_u128(1);
    assert_eq!(calls.transfer(stranger, scene.call.id, anything()).await, Err(TransferError::Unknown));
    assert_eq!(calls.transfer(scene.gateway.organization, stranger, anything()).await, Err(TransferError::Unknown));
    scene.caller.control.hang_up();
    scene.gateway.finished(scene.call.id).await;
    assert_eq!(order(CALLEE, TransferMode::Auto).await, Err(TransferError::NotLive));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_peer_transfers_by_refer_and_else_the_box_does() {
    let mut scene = Scene::talking("echo", "", "refer = true").await;
    // It does not want to: the box calls the person itself.
    assert_eq!(scene.order(CALLEE, TransferMode::Auto, None).await, Ok(TransferMode::Refer));
    let referral = referred(&mut scene.caller).await;
    assert!(referral.contains(CALLEE), "{referral}");
    scene.caller.control.answer_refer(603);
    scene.person.rings().await.control.reject(486);
    let transfer = scene.transferred(1, TransferOutcome::Busy).await;
    assert_eq!(transfer.mode, TransferMode::Bridge);
    scene.caller.hears_tone(CALLER_HZ).await;
    // It tries and fails: the caller is the agent's again.
    scene.order(CALLEE, TransferMode::Refer, None).await.expect("begun");
    referred(&mut scene.caller).await;
    scene.caller.control.answer_refer(202);
    scene.caller.control.report_refer(180);
    scene.caller.control.report_refer(480);
    scene.transferred(2, TransferOutcome::NoAnswer).await;
    scene.caller.hears_tone(CALLER_HZ).await;
    // It does: the box is out of it.
    scene.order(CALLEE, TransferMode::Auto, None).await.expect("begun");
    referred(&mut scene.caller).await;
    scene.caller.control.answer_refer(202);
    scene.caller.control.report_refer(200);
    assert_eq!(scene.caller.ends().await, CallEvent::Ended { by: LegEnd::Peer });
    let call = scene.gateway.finished(scene.call.id).await;
    assert_eq!((call.end_reason, call.ended_by), (Some(EndReason::Finished), Some(EndedBy::Agent)));
    scene.transferred(3, TransferOutcome::Answered).await;
    scene.no_leg_is_left().await;
}

async fn referred(talk: &mut Talk) -> String {
    within("REFER", async {
        loop {
            if let CallEvent::Referred(referral) = talk.events.recv().await.expect("the call is up") {
                return referral.target.uri.to_string();
            }
        }
    })
    .await
}

pub async fn refer_news(talk: &mut Talk) -> Vec<ReferNews> {
    let mut news = Vec::new();
    within("the end of the REFER", async {
        while !matches!(news.last(), Some(ReferNews::Done(_) | ReferNews::Refused(_) | ReferNews::Unknown)) {
            if let CallEvent::Refer(next) = talk.events.recv().await.expect("the call is up") {
                news.push(next);
            }
        }
    })
    .await;
    news
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_follows_a_refer_of_the_house_to_another_phone() {
    let mut scene = Scene::talking("echo", "", "internal = true").await;
    let target = format!("sip:201@{}", scene.person.address());
    scene.caller.control.refer(target.clone(), Some("<sip:200@pbx.example>".into()));
    let ringing = scene.person.rings().await;
    assert_eq!(ringing.called, "201");
    ringing.control.ringing(None);
    let talk = scene.person.answer(ringing).await;
    talk.hum(1_400);
    let news = refer_news(&mut scene.caller).await;
    assert_eq!(news.first(), Some(&ReferNews::Accepted));
    assert_eq!(news.last(), Some(&ReferNews::Done(200)), "{news:?}");
    assert_eq!(scene.caller.ends().await, CallEvent::Ended { by: LegEnd::Peer });
    // The agent, which repeats what it hears, is with the other phone now.
    talk.hears_tone(1_400).await;
    let moved = scene.transferred(1, TransferOutcome::Answered).await;
    assert_eq!((moved.mode, moved.destination), (TransferMode::Moved, target));
    assert_eq!(scene.gateway.call(scene.call.id).status, CallStatus::InProgress);
    talk.control.hang_up();
    assert_eq!(scene.gateway.finished(scene.call.id).await.end_reason, Some(EndReason::Finished));
    scene.no_leg_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refer_that_leads_nowhere_or_where_nobody_may_call_leaves_the_call_as_it_was() {
    let mut scene = Scene::talking("echo", "", "").await;
    let carrier = scene.person.address();
    for target in
        ["sip:+1900123@evil.example".to_owned(), format!("sip:201@{carrier}"), format!("sip:+1900123@{carrier}")]
    {
        scene.caller.control.refer(target.clone(), None);
        assert_eq!(refer_news(&mut scene.caller).await, [ReferNews::Refused(403)], "{target}");
    }
    scene.caller.control.refer(format!("sip:{CALLEE}@{carrier}"), None);
    scene.person.rings().await.control.reject(486);
    assert_eq!(refer_news(&mut scene.caller).await.last(), Some(&ReferNews::Done(486)));
    scene.caller.hears_tone(CALLER_HZ).await;
    scene.transferred(1, TransferOutcome::Busy).await;
    // The referrer leaves before the target has answered: the call waits for the target.
    scene.caller.control.refer(format!("sip:{CALLEE}@{carrier}"), None);
    let ringing = scene.person.rings().await;
    scene.caller.control.hang_up();
    scene.caller.ends().await;
    let talk = scene.person.answer(ringing).await;
    talk.hum(1_400);
    talk.hears_tone(1_400).await;
    talk.control.hang_up();
    scene.gateway.finished(scene.call.id).await;
    scene.no_leg_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invite_with_replaces_takes_the_call_over() {
    let state = tempfile::tempdir().expect("state");
    let phone = Phone::start().await;
    let gateway = Gateway::start(state.path(), Plan { extra: MORE.into(), ..Plan::towards(&phone) }).await;
    let (old, new) =
        (Peer::new(gateway.endpoint.local_address()).await, Peer::new(gateway.endpoint.local_address()).await);
    let answer = old.ask(&old.invite("old", "")).await;
    assert_eq!(status(&answer), 200, "{answer}");
    old.send(old.request("ACK", "oldack", &tag_of(&answer), "", "").as_bytes()).await;
    let call = gateway.inbound_call().await;
    gateway.status(call.id, CallStatus::InProgress).await;
    let tags = format!(";to-tag={};from-tag=peer1", tag_of(&answer));
    let taken = new.ask(&new.invite("new", &format!("Replaces: {}{tags}\r\n", header(&answer, "Call-ID")))).await;
    assert_eq!(status(&taken), 200, "{taken}");
    let media = |message: &str| message.lines().find(|line| line.starts_with("m=")).map(str::to_owned);
    assert_eq!(media(&taken), media(&answer), "the same leg, the same agent");
    new.send(new.request("ACK", "newack", &tag_of(&taken), "", "").as_bytes()).await;
    let mut bye = String::new();
    while !bye.starts_with("BYE ") {
        bye = old.receive().await;
    }
    assert_eq!(gateway.calls.live(), 1);
    let taken_over = gateway.until(call.id, |call| !call.transfers.is_empty()).await;
    assert_eq!(taken_over.transfers[0].mode, TransferMode::Moved);
    let ended = new.ask(&new.request("BYE", "bye", &tag_of(&taken), "", "")).await;
    assert_eq!(status(&ended), 200);
    assert_eq!(gateway.finished(call.id).await.end_reason, Some(EndReason::Finished));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_presses_zero_gets_the_person_of_the_number() {
    let more = "[[number]]\nname = \"shop\"\nnumber = \"55\"\nvisibility = \"public\"\nsystem_prompt = \"The shop is closed.\"\n\
        transfer_to = \"+493012345678\"\ntransfer_whisper = true\n";
    let mut scene = Scene::talking("local", more, "").await;
    scene.caller.control.hang_up();
    scene.gateway.finished(scene.call.id).await;
    let phone = Phone::calling(scene.gateway.endpoint.local_address()).await;
    let talk = phone.call("55").await.expect("answered");
    talk.hum(CALLER_HZ);
    talk.hears_something().await;
    talk.press("0");
    let ringing = scene.person.rings().await;
    assert_eq!(ringing.called, CALLEE);
    ringing.control.reject(486);
    // The agent says so and asks again.
    let model = scene.gateway.calls.read_model();
    let call = within("the agent to be back", async {
        loop {
            let filter =
                trunkline::call::record::CallFilter { organization: scene.gateway.organization, ..Default::default() };
            let page = model.calls(&filter, 0, 10).expect("readable");
            let call = page.items.into_iter().find(|call| call.number == "55").expect("the call");
            let turns = model.turns(call.id).expect("readable");
            if turns.iter().any(|turn| turn.text.contains("nobody is available")) {
                return call;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    talk.press("0");
    let person = picks_up(&mut scene.person).await;
    person.hears_something().await;
    talk.hears_tone(PERSON_HZ).await;
    person.hears_tone(CALLER_HZ).await;
    talk.control.hang_up();
    let call = scene.gateway.finished(call.id).await;
    let outcomes: Vec<_> = call.transfers.iter().map(|transfer| transfer.outcome).collect();
    assert_eq!(outcomes, [Some(TransferOutcome::Busy), Some(TransferOutcome::Answered)]);
    scene.no_leg_is_left().await;
    let _ = call_support::PATIENCE;
}
