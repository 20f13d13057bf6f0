//! Lives of calls over real SIP and RTP on loopback: a whole box below the REST surface, and a phone.

use crate::call_support;
use std::time::Duration;

use call_support::{CALLEE, Gateway, Phone, Plan, trunk, within};
use trunkline::call::record::{CallFilter, EndedBy, StatusFilter};
use trunkline::call::{CallStatus, Direction, EndReason, HungUp, LiveFact, PlaceError, Speaker, Tuning};
use trunkline::clock::Clock;
use trunkline::config::Secret;
use trunkline::sip::endpoint::CallEvent;

const NUMBERS: &str = "[[number]]\nname = \"desk\"\nnumber = \"1234\"\nvisibility = \"public\"\nsystem_prompt = \"Hi\"\n\
    email = \"desk@example.com\"\n\
    [[number]]\nname = \"staff\"\nnumber = \"1235\"\nsystem_prompt = \"Hi\"\n\
    [[extension]]\nuser = \"10\"\npassword = \"secret\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn an_answered_call_is_completed_when_the_callee_hangs_up() {
    let state = tempfile::tempdir().expect("state");
    let mut phone = Phone::start().await;
    let gateway = Gateway::start(state.path(), Plan::towards(&phone)).await;
    let order = trunkline::call::PlaceCall { engine_key: Some(Secret::new("key")), ..gateway.order() };
    let placed = gateway.calls.place(order).await.expect("accepted");
    assert!(placed.whitelist_added && !placed.replayed);
    assert_eq!(placed.call.status, CallStatus::Queued);
    let id = placed.call.id;

    let mut talk = phone.pick_up().await;
    let live = gateway.status(id, CallStatus::InProgress).await;
    assert!(live.dispatched_at.is_some() && live.answered_at.is_some());
    assert_eq!(live.trunk, "office");
    assert!(live.engine_key.is_some());
    talk.hears_something().await;
    talk.control.hang_up();
    talk.ends().await;

    let call = gateway.finished(id).await;
    assert_eq!((call.status, call.end_reason), (CallStatus::Completed, Some(EndReason::Finished)));
    assert_eq!(call.ended_by, Some(EndedBy::Callee));
    assert!(call.engine_key.is_none(), "the key is erased");
    assert!(call.quality.is_some_and(|quality| quality.packets_received > 0 && quality.packets_sent > 0));
    let recording = call.recording.expect("recorded");
    assert!(recording.ends_with(&format!("recordings/{}-1.wav", call.alias)), "{recording}");
    assert!(std::fs::metadata(&recording).expect("there").len() > 1000);
    let transcript = state.path().join("transcripts").join(&call.transcript_file);
    let text = std::fs::read_to_string(transcript).expect("a transcript");
    assert_eq!(call.transcript_size, text.len() as u64);
    assert!(text.contains("Outcome: finished\n"), "{text}");
    let model = gateway.calls.read_model();
    let found = model.call_by_transcript_file(gateway.organization, &call.transcript_file).expect("readable");
    assert_eq!(found.map(|call| call.id), Some(id));
    let mails = trunkline::events::mails(&gateway.store, 10).expect("readable");
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0].mail.to, "alice@example.com");
    gateway.idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_local_agent_speaks_keeps_a_transcript_and_says_goodbye_by_itself() {
    let state = tempfile::tempdir().expect("state");
    let phone = Phone::start().await;
    let plan = Plan {
        engine: "local",
        extra: "[[number]]\nname = \"time\"\nnumber = \"99\"\nmode = \"tts\"\nvisibility = \"public\"\n\
            system_prompt = \"Our office is closed.\"\n"
            .into(),
        ..Plan::towards(&phone)
    };
    let gateway = Gateway::start(state.path(), plan).await;
    let mut events = gateway.calls.watch();
    // A number of mode `tts` speaks its text and hangs up.
    let caller = Phone::calling(gateway.endpoint.local_address()).await;
    let mut talk = caller.call("99").await.expect("answered");
    talk.hears_something().await;
    talk.ends().await;
    let call = gateway.inbound_call().await;
    let call = gateway.finished(call.id).await;
    assert_eq!((call.status, call.end_reason), (CallStatus::Completed, Some(EndReason::Finished)), "{call:?}");
    assert_eq!(call.ended_by, Some(EndedBy::Agent));
    let turns = gateway.calls.read_model().turns(call.id).expect("readable");
    assert!(turns.iter().any(|turn| turn.speaker == Speaker::Agent && turn.text.contains("closed")), "{turns:?}");
    assert!(turns.iter().all(|turn| turn.ended_at >= turn.started_at));
    assert_eq!(call.agent_turns as usize, turns.len());
    let mut words = Vec::new();
    while let Ok(event) = events.try_recv() {
        if let LiveFact::Words { text, last: true, .. } = event.what {
            words.push(text);
        }
    }
    assert!(words.iter().any(|text| text.contains("closed")), "{words:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hang_up_ends_a_live_call_once_and_is_a_noop_afterwards() {
    let state = tempfile::tempdir().expect("state");
    let mut phone = Phone::start().await;
    let gateway = Gateway::start(state.path(), Plan::towards(&phone)).await;
    let id = gateway.place(gateway.order()).await.id;
    let mut talk = phone.pick_up().await;
    gateway.status(id, CallStatus::InProgress).await;
    let first = gateway.calls.hang_up(gateway.organization, id, "alice").await.expect("stored");
    assert_eq!(first, Some(HungUp { status: CallStatus::Completed, noop: false }));
    talk.ends().await;
    let again = gateway.calls.hang_up(gateway.organization, id, "alice").await.expect("stored");
    assert_eq!(again, Some(HungUp { status: CallStatus::Completed, noop: true }));
    let call = gateway.call(id);
    assert_eq!((call.end_reason, call.ended_by), (Some(EndReason::Hangup), Some(EndedBy::Api)));
    let stranger = uuid::Uuid::from_u128(1);
    assert_eq!(gateway.calls.hang_up(stranger, id, "eve").await.expect("stored"), None);
    assert_eq!(gateway.calls.hang_up(gateway.organization, stranger, "alice").await.expect("stored"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ringing_call_is_cancelled_and_the_phone_stops_ringing() {
    let state = tempfile::tempdir().expect("state");
    let mut phone = Phone::start().await;
    let gateway = Gateway::start(state.path(), Plan::towards(&phone)).await;
    let id = gateway.place(trunkline::call::PlaceCall { retries: 3, ..gateway.order() }).await.id;
    let mut ringing = phone.rings().await;
    ringing.control.ringing(None);
    gateway.status(id, CallStatus::Ringing).await;
    let ended = gateway.calls.hang_up(gateway.organization, id, "alice").await.expect("stored");
    assert_eq!(ended, Some(HungUp { status: CallStatus::Canceled, noop: false }));
    within("the CANCEL", async { while !matches!(ringing.events.recv().await, Some(CallEvent::Ended { .. })) {} })
        .await;
    let call = gateway.call(id);
    assert_eq!((call.end_reason, call.retries_left), (Some(EndReason::Cancelled), 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_crosses_the_cancel_leaves_no_call_behind() {
    let state = tempfile::tempdir().expect("state");
    let mut phone = Phone::start().await;
    let gateway = Gateway::start(state.path(), Plan::towards(&phone)).await;
    let id = gateway.place(gateway.order()).await.id;
    let ringing = phone.rings().await;
    ringing.control.ringing(None);
    gateway.status(id, CallStatus::Ringing).await;
    let (hung_up, mut talk) =
        tokio::join!(gateway.calls.hang_up(gateway.organization, id, "alice"), phone.answer(ringing));
    let hung_up = hung_up.expect("stored").expect("there");
    assert!(hung_up.status.is_final());
    talk.ends().await;
    assert_eq!(gateway.call(id).ended_by, Some(EndedBy::Api));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_callee_is_tried_again_and_the_attempts_are_counted() {
    let state = tempfile::tempdir().expect("state");
    let mut phone = Phone::start().await;
    let gateway = Gateway::start(state.path(), Plan::towards(&phone)).await;
    let id = gateway.place(trunkline::call::PlaceCall { retries: 2, ..gateway.order() }).await.id;
    phone.rings().await.control.reject(486);
    let waiting = gateway.status(id, CallStatus::RetryWait).await;
    assert_eq!((waiting.attempt, waiting.retries_left, waiting.sip_code), (1, 2, Some(486)));
    assert_eq!(waiting.end_reason, Some(EndReason::Busy));
    phone.rings().await.control.reject(600);
    let second = gateway.until(id, |call| call.attempt == 2 && call.sip_code == Some(600)).await;
    assert_eq!(second.retries_left, 1);
    let talk = phone.pick_up().await;
    let third = gateway.status(id, CallStatus::InProgress).await;
    assert_eq!((third.attempt, third.retries_left, third.sip_code), (3, 0, None));
    talk.control.hang_up();
    let call = gateway.finished(id).await;
    assert_eq!((call.status, call.attempt), (CallStatus::Completed, 3));
    assert_eq!(trunkline::events::mails(&gateway.store, 10).expect("readable").len(), 1, "one mail a call");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_answering_and_refusals_without_retries_are_final() {
    let state = tempfile::tempdir().expect("state");
    let mut phone = Phone::start().await;
    let plan = Plan { trunks: trunk("office", phone.address(), "ring_seconds = 1"), ..Plan::towards(&phone) };
    let gateway = Gateway::start(state.path(), plan).await;
    let silent = gateway.place(gateway.order()).await.id;
    let ringing = phone.rings().await;
    ringing.control.ringing(None);
    let call = gateway.finished(silent).await;
    assert_eq!((call.status, call.end_reason), (CallStatus::NoAnswer, Some(EndReason::NoAnswer)));

    let busy = gateway.place(gateway.order()).await.id;
    phone.rings().await.control.reject(486);
    assert_eq!(gateway.finished(busy).await.status, CallStatus::Busy);

    // A number that does not exist is not tried again, however many retries were asked for.
    let wrong = gateway.place(trunkline::call::PlaceCall { retries: 5, ..gateway.order() }).await.id;
    phone.rings().await.control.reject(404);
    let call = gateway.finished(wrong).await;
    assert_eq!((call.status, call.attempt, call.sip_code), (CallStatus::Failed, 1, Some(404)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_is_not_whitelisted_is_refused_before_the_invite() {
    let state = tempfile::tempdir().expect("state");
    let phone = Phone::start().await;
    let gateway = Gateway::start(state.path(), Plan::towards(&phone)).await;
    let order = trunkline::call::PlaceCall { whitelist: false, retries: 3, ..gateway.order() };
    let id = gateway.place(order).await.id;
    let call = gateway.finished(id).await;
    assert_eq!((call.status, call.end_reason), (CallStatus::Failed, Some(EndReason::Rejected)));
    assert_eq!(call.error_detail, "number is not on the dial whitelist");
    assert_eq!((call.sip_code, call.dispatched_at, call.attempt), (None, None, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trunk_that_cannot_be_reached_is_passed_over_for_the_next() {
    let state = tempfile::tempdir().expect("state");
    let mut phone = Phone::start().await;
    let dead = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let silent = dead.local_addr().expect("bound");
    let trunks = trunk("first", silent, "") + &trunk("second", phone.address(), "");
    let gateway = Gateway::start(state.path(), Plan { trunks, ..Plan::towards(&phone) }).await;
    let id = gateway.place(gateway.order()).await.id;
    let talk = phone.pick_up().await;
    let call = gateway.status(id, CallStatus::InProgress).await;
    assert_eq!((call.trunk.as_str(), call.attempt), ("second", 1));
    talk.control.hang_up();
    gateway.finished(id).await;
    // The next call does not wait for the silent trunk again.
    let next = gateway.place(gateway.order()).await.id;
    phone.rings().await.control.reject(486);
    assert_eq!(gateway.finished(next).await.trunk, "second");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_waits_for_a_line_and_takes_it_when_it_is_free() {
    let state = tempfile::tempdir().expect("state");
    let mut phone = Phone::start().await;
    let trunks = trunk("office", phone.address(), "max_calls = 1");
    let extra = NUMBERS.into();
    let gateway = Gateway::start(state.path(), Plan { trunks, extra, ..Plan::towards(&phone) }).await;
    let first = gateway.place(gateway.order()).await.id;
    let talk = phone.pick_up().await;
    gateway.status(first, CallStatus::InProgress).await;
    let second = gateway.place(gateway.order()).await.id;
    let third = gateway.place(gateway.order()).await.id;
    // The line counts both directions.
    let caller = Phone::calling(gateway.endpoint.local_address()).await;
    assert_eq!(caller.call("1234").await.err(), Some(486));
    assert_eq!(gateway.call(second).status, CallStatus::Queued);
    let cancelled = gateway.calls.hang_up(gateway.organization, second, "alice").await.expect("stored");
    assert_eq!(cancelled, Some(HungUp { status: CallStatus::Canceled, noop: false }));
    assert_eq!(
        gateway.calls.hang_up(gateway.organization, second, "alice").await.expect("stored").map(|h| h.noop),
        Some(true)
    );
    talk.control.hang_up();
    gateway.finished(first).await;
    phone.rings().await.control.reject(486);
    assert_eq!(gateway.finished(third).await.status, CallStatus::Busy);
    assert_eq!(gateway.call(second).dispatched_at, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduled_call_is_dialled_at_its_time_and_not_before() {
    let state = tempfile::tempdir().expect("state");
    let mut phone = Phone::start().await;
    let gateway = Gateway::start(state.path(), Plan::towards(&phone)).await;
    let at = Clock::system().utc() + Duration::from_millis(700);
    let order = trunkline::call::PlaceCall { scheduled_for: Some(at), ..gateway.order() };
    let call = gateway.place(order).await;
    assert_eq!(call.status, CallStatus::Scheduled);
    phone.rings().await.control.reject(486);
    let call = gateway.finished(call.id).await;
    assert!(call.dispatched_at >= Some(at), "{call:?}");
    assert_eq!(call.scheduled_for, Some(at));
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_maximum_duration_the_box_hangs_up() {
    let state = tempfile::tempdir().expect("state");
    let mut phone = Phone::start().await;
    let gateway = Gateway::start(state.path(), Plan::towards(&phone)).await;
    let order = trunkline::call::PlaceCall { max_duration: Duration::from_secs(1), ..gateway.order() };
    let id = gateway.place(order).await.id;
    let mut talk = phone.pick_up().await;
    talk.ends().await;
    let call = gateway.finished(id).await;
    assert_eq!((call.status, call.end_reason), (CallStatus::Completed, Some(EndReason::MaxDuration)));
    assert_eq!((call.ended_by, call.talk_seconds()), (Some(EndedBy::System), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_falls_silent_is_an_empty_room() {
    let state = tempfile::tempdir().expect("state");
    let mut phone = Phone::start().await;
    let plan = Plan::towards(&phone);
    let tuning = Tuning { quiet_limit: Duration::from_millis(1500), ..plan.tuning.clone() };
    let gateway = Gateway::start(state.path(), Plan { tuning, ..plan }).await;
    let id = gateway.place(gateway.order()).await.id;
    let mut talk = phone.pick_up().await;
    talk.hears_something().await;
    // The handset is put beside the phone: no more sound, no more echo of it.
    talk.leg.control.close();
    talk.ends().await;
    let call = gateway.finished(id).await;
    assert_eq!((call.status, call.end_reason), (CallStatus::Completed, Some(EndReason::EmptyRoom)));
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_answer_the_callers_that_may_call_them() {
    let state = tempfile::tempdir().expect("state");
    let phone = Phone::start().await;
    let plan = Plan { extra: NUMBERS.into(), ..Plan::towards(&phone) };
    let gateway = Gateway::start(state.path(), plan).await;
    let caller = Phone::calling(gateway.endpoint.local_address()).await;
    assert_eq!(caller.call("9999").await.err(), Some(404));
    assert_eq!(caller.call("1235").await.err(), Some(403), "not signed in");
    let mut talk = caller.call("1234").await.expect("answered");
    talk.hears_something().await;
    talk.control.hang_up();
    talk.ends().await;
    let call = gateway.inbound_call().await;
    let call = gateway.finished(call.id).await;
    assert_eq!((call.status, call.ended_by), (CallStatus::Completed, Some(EndedBy::Caller)));
    assert_eq!((call.number.as_str(), call.number_name.as_str()), ("1234", "desk"));
    assert!(call.alias.starts_with("vnum") && call.transcript_file.starts_with("vnum-1234-"), "{call:?}");
    let mails = trunkline::events::mails(&gateway.store, 10).expect("readable");
    assert_eq!(mails.iter().map(|mail| mail.mail.to.as_str()).collect::<Vec<_>>(), ["desk@example.com"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_in_callers_reach_internal_numbers() {
    let state = tempfile::tempdir().expect("state");
    let phone = Phone::start().await;
    let trunks = trunk("office", phone.address(), "internal = true");
    let plan = Plan { trunks, extra: NUMBERS.into(), ..Plan::towards(&phone) };
    let gateway = Gateway::start(state.path(), plan).await;
    let caller = Phone::calling(gateway.endpoint.local_address()).await;
    let mut talk = caller.call("1235").await.expect("answered");
    talk.control.hang_up();
    talk.ends().await;

    let elsewhere = tempfile::tempdir().expect("state");
    let trunks = "[[trunk]]\nname = \"carrier\"\nhost = \"192.0.2.1\"\nsources = [\"192.0.2.0/24\"]\n".into();
    let plan = Plan { trunks, extra: NUMBERS.into(), ..Plan::towards(&phone) };
    let gateway = Gateway::start(elsewhere.path(), plan).await;
    let extension = Phone::extension(gateway.endpoint.local_address(), "10", "secret").await;
    let mut talk = extension.call("1235").await.expect("answered");
    talk.control.hang_up();
    talk.ends().await;
    assert_eq!(gateway.inbound_call().await.requested_by, "10");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_order_under_the_same_key_is_placed_once() {
    let state = tempfile::tempdir().expect("state");
    let mut phone = Phone::start().await;
    let gateway = Gateway::start(state.path(), Plan::towards(&phone)).await;
    let order = trunkline::call::PlaceCall { idempotency: Some(("k".into(), [1; 32])), ..gateway.order() };
    let first = gateway.calls.place(order.clone()).await.expect("accepted");
    let second = gateway.calls.place(order.clone()).await.expect("accepted");
    assert_eq!(second.call.id, first.call.id);
    assert!(second.replayed && !first.replayed);
    let other = trunkline::call::PlaceCall { idempotency: Some(("k".into(), [2; 32])), ..order };
    assert!(matches!(gateway.calls.place(other).await, Err(PlaceError::KeyReused)));
    phone.rings().await.control.reject(486);
    gateway.finished(first.call.id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_refused_when_the_queue_is_full_or_no_trunk_is_configured() {
    let state = tempfile::tempdir().expect("state");
    let phone = Phone::start().await;
    let plan = Plan::towards(&phone);
    let tuning = Tuning { waiting_calls: 2, ..plan.tuning.clone() };
    let gateway = Gateway::start(state.path(), Plan { tuning, ..plan }).await;
    let later = Clock::system().utc() + Duration::from_secs(3600);
    let order = trunkline::call::PlaceCall { scheduled_for: Some(later), ..gateway.order() };
    gateway.place(order.clone()).await;
    gateway.place(order.clone()).await;
    assert!(matches!(gateway.calls.place(order).await, Err(PlaceError::Full)));
    let elsewhere = tempfile::tempdir().expect("state");
    let bare = Gateway::start(elsewhere.path(), Plan { trunks: String::new(), ..Plan::towards(&phone) }).await;
    assert!(matches!(bare.calls.place(bare.order()).await, Err(PlaceError::NotConfigured)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_takes_nothing_new_and_ends_what_outlasts_its_time() {
    let state = tempfile::tempdir().expect("state");
    let mut phone = Phone::start().await;
    let plan = Plan { extra: NUMBERS.into(), ..Plan::towards(&phone) };
    let gateway = Gateway::start(state.path(), plan).await;
    let id = gateway.place(gateway.order()).await.id;
    let mut talk = phone.pick_up().await;
    gateway.status(id, CallStatus::InProgress).await;
    let draining = tokio::spawn({
        let calls = gateway.calls.clone();
        async move { calls.drain(Duration::from_millis(300)).await }
    });
    within("the refusal", async { while gateway.calls.place(gateway.order()).await.is_ok() {} }).await;
    let caller = Phone::calling(gateway.endpoint.local_address()).await;
    assert_eq!(caller.call("1234").await.err(), Some(503));
    talk.ends().await;
    within("the drain", draining).await.expect("no panic");
    assert_eq!(gateway.calls.live(), 0);
    assert_eq!(gateway.call(id).end_reason, Some(EndReason::Restarted));
}

/// The box vanishes at once: every task with its runtime, as in a crash.
fn crash(runtime: tokio::runtime::Runtime) {
    runtime.shutdown_timeout(Duration::from_secs(5));
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

#[test]
fn after_a_crash_live_calls_are_closed_or_retried_and_waiting_ones_go_on() {
    let state = tempfile::tempdir().expect("state");
    let phones = runtime();
    let mut phone = phones.block_on(Phone::start());
    let before = runtime();
    let (dialling, retried, answered, scheduled) = before.block_on(async {
        let gateway = Gateway::start(state.path(), Plan::towards(&phone)).await;
        let order = gateway.order();
        let dialling = gateway.place(order.clone()).await.id;
        let first = phone.rings().await;
        first.control.ringing(None);
        gateway.status(dialling, CallStatus::Ringing).await;
        let retried = gateway.place(trunkline::call::PlaceCall { retries: 1, ..order.clone() }).await.id;
        let second = phone.rings().await;
        second.control.ringing(None);
        gateway.status(retried, CallStatus::Ringing).await;
        let answered = gateway.place(trunkline::call::PlaceCall { retries: 1, ..order.clone() }).await.id;
        let talk = phone.pick_up().await;
        gateway.status(answered, CallStatus::InProgress).await;
        // The phones go on ringing and talking.
        std::mem::forget((first, second, talk));
        let later = Clock::system().utc() + Duration::from_secs(3600);
        let order = trunkline::call::PlaceCall { scheduled_for: Some(later), ..order };
        let scheduled = gateway.place(order).await.id;
        // From here on nothing more reaches the disk, as when the power goes.
        gateway.store.close().await;
        (dialling, retried, answered, scheduled)
    });
    crash(before);

    let after = runtime();
    after.block_on(async {
        let mut phone = Phone::start().await;
        let gateway = Gateway::start(state.path(), Plan::towards(&phone)).await;
        let closed = gateway.call(dialling);
        assert_eq!((closed.status, closed.end_reason), (CallStatus::Failed, Some(EndReason::Restarted)));
        let cut = gateway.call(answered);
        assert_eq!((cut.status, cut.end_reason), (CallStatus::Failed, Some(EndReason::Restarted)));
        assert!(!cut.transcript_file.is_empty(), "what was said is kept");
        assert_eq!(gateway.call(scheduled).status, CallStatus::Scheduled);
        phone.rings().await.control.reject(486);
        let second = gateway.finished(retried).await;
        assert_eq!((second.status, second.attempt), (CallStatus::Busy, 2));
        gateway.idle().await;
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn the_read_model_finds_filters_and_pages_newest_first() {
    let state = tempfile::tempdir().expect("state");
    let mut phone = Phone::start().await;
    let gateway = Gateway::start(state.path(), Plan::towards(&phone)).await;
    let mut ids = Vec::new();
    for name in ["Anna", "Bert", "Cleo"] {
        let order = trunkline::call::PlaceCall { display_name: name.into(), ..gateway.order() };
        let id = gateway.place(order).await.id;
        phone.rings().await.control.reject(486);
        gateway.finished(id).await;
        ids.push(id);
    }
    let model = gateway.calls.read_model();
    let all = CallFilter { organization: gateway.organization, ..CallFilter::default() };
    let page = model.calls(&all, 1, 1).expect("readable");
    assert_eq!((page.total, page.items[0].id), (3, ids[1]));
    let named = CallFilter { text: Some("CLEO".into()), ..all.clone() };
    let page = model.calls(&named, 0, 10).expect("readable");
    assert_eq!((page.total, page.items[0].id), (1, ids[2]));
    let busy = StatusFilter { status: CallStatus::Busy, ended_by_api: Some(false) };
    let by_api = StatusFilter { status: CallStatus::Busy, ended_by_api: Some(true) };
    let count = |statuses| model.calls(&CallFilter { statuses, ..all.clone() }, 0, 10).expect("readable").total;
    assert_eq!((count(vec![busy]), count(vec![by_api])), (3, 0));
    let inbound = CallFilter { direction: Some(Direction::Inbound), ..all.clone() };
    assert_eq!(model.calls(&inbound, 0, 10).expect("readable").total, 0);
    let future = Clock::system().utc() + Duration::from_secs(60);
    let since = CallFilter { since: Some(future), with_transcript: true, ..all };
    assert_eq!(model.calls(&since, 0, 10).expect("readable").total, 0);
    let call = gateway.call(ids[0]);
    let found = model.call_by_alias(gateway.organization, &call.alias).expect("readable");
    assert_eq!(found.map(|call| call.id), Some(ids[0]));
    assert_eq!(model.call(uuid::Uuid::from_u128(1), ids[0]).expect("readable").map(|call| call.id), None);
    assert_eq!(call.phone, CALLEE);
}
