//! The caps of the dial policy over real calls.

use crate::call_support::{Gateway, Phone, Plan, within};
use std::time::Duration;
use trunkline::call::CallStatus;
use trunkline::events::{self, EventKind};

#[tokio::test(flavor = "multi_thread")]
async fn calls_beyond_the_cap_wait_for_a_place_and_an_alert_is_raised_once() {
    let state = tempfile::tempdir().expect("state");
    let mut phone = Phone::start().await;
    let plan = Plan { extra: "[dial]\nmax_calls = 1\n".into(), ..Plan::towards(&phone) };
    let gateway = Gateway::start(state.path(), plan).await;
    let first = gateway.place(gateway.order()).await.id;
    let mut talk = phone.pick_up().await;
    gateway.status(first, CallStatus::InProgress).await;
    let second = gateway.place(gateway.order()).await.id;
    let alerts = || {
        let all = events::since(&gateway.store, 0, 1_000).expect("readable");
        all.into_iter().filter(|one| one.event.kind == EventKind::TollFraudAlert).collect::<Vec<_>>()
    };
    within("the alert", async {
        while alerts().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(gateway.call(second).status, CallStatus::Queued);
    assert!(gateway.call(second).dispatched_at.is_none());

    talk.control.hang_up();
    talk.ends().await;
    let mut talk = phone.pick_up().await;
    gateway.status(second, CallStatus::InProgress).await;
    talk.control.hang_up();
    talk.ends().await;
    gateway.finished(second).await;
    gateway.idle().await;
    let alerts = alerts();
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    let data = &alerts[0].event.data;
    assert_eq!(
        (&data["type"], &data["cap"], &data["reached"]),
        (&"alert.toll_fraud".into(), &"calls".into(), &true.into())
    );
}
