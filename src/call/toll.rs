//! The toll-fraud policy as this room meets it: alerts into the log and the outbox, talk time into the account.

use std::sync::Arc;

use serde_json::json;

use super::Direction;
use super::record::Call;
use super::room::Room;
use crate::clock::Clock;
use crate::directory::{DialAlert, Directory};
use crate::events::{self, Event, EventKind};
use crate::store::{Change, StoreError};

/// Tells, once a day each, which caps are reached or nearly.
pub(super) async fn raise_alerts(room: &Arc<Room>) -> Result<(), StoreError> {
    let organization = room.directory.organization("").id;
    let alerts = room.directory.dial_alerts(organization)?;
    if alerts.is_empty() {
        return Ok(());
    }
    let events: Vec<Event> = alerts.into_iter().map(|alert| told(organization, alert, &room.clock)).collect();
    room.store
        .write(move |change| {
            for event in &events {
                events::append(change, event)?;
            }
            Ok(())
        })
        .await
}

fn told(organization: uuid::Uuid, alert: DialAlert, clock: &Clock) -> Event {
    let DialAlert { cap, reached, used, limit } = alert;
    tracing::warn!(?cap, reached, used, limit, "a cap of the dial policy is reached or nearly");
    metrics::counter!("trunkline_dial_alerts_total").increment(1);
    let data = json!({ "type": "alert.toll_fraud", "cap": cap, "reached": reached, "used": used, "limit": limit });
    Event {
        id: clock.id(),
        organization,
        at: clock.utc(),
        kind: EventKind::TollFraudAlert,
        subject: organization,
        data,
    }
}

/// Enters the talk time of `call` when `events` say that an attempt of it ended: its own, where we called, and that of
/// second legs through a trunk.
pub(super) fn charge(
    directory: &Directory,
    change: &mut Change<'_>,
    call: &Call,
    events: &[Event],
) -> Result<(), StoreError> {
    let ended = events.iter().any(|event| event.kind == EventKind::CallEnded);
    let Some(at) = call.ended_at.filter(|_| ended) else { return Ok(()) };
    let own = if call.direction == Direction::Outbound { call.talk_seconds() } else { 0 };
    let legs = call.transfers.iter().filter_map(|transfer| transfer.leg.as_ref());
    let others: u64 = legs.map(|leg| leg.seconds(at)).sum();
    directory.charge(change, call.organization, at, own + others)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::call::ledger;
    use crate::call::scribe::{Desk, Entry};
    use crate::call::transfer::{Transfer, TransferMode, TrunkLeg};
    use crate::clock::UtcTime;
    use crate::config::Config;
    use crate::directory::DialVerdict;
    use crate::store::{OpenOptions, Store};

    #[tokio::test]
    async fn the_end_of_an_attempt_enters_its_talk_time_once() {
        let folder = tempfile::tempdir().expect("folder");
        let clock = Clock::manual(UtcTime(1_700_000_000_000));
        let store = Store::open(folder.path(), OpenOptions { cache_bytes: 1 << 20 }, clock.clone()).expect("store");
        let config: Config = toml::from_str("[dial]\nallow = [\"+\"]\nmax_minutes_per_day = 10").expect("valid");
        let directory = Directory::open(store.clone(), &config).await.expect("directory");
        let organization = directory.organization("").id;
        let desk =
            Desk { store, clock: clock.clone(), transcripts: folder.path().into(), directory: directory.clone() };
        let mut call = ledger::tests::a_call(&clock);
        call.organization = organization;
        call.answered_at = Some(clock.utc());
        call.ended_at = Some(clock.utc() + Duration::from_secs(5 * 60));
        let entry = |call: &Call, kind| Entry {
            call: Some(Box::new(call.clone())),
            events: vec![ledger::event(call, kind, &clock)],
            ..Entry::default()
        };
        let verdict = || directory.may_dial(organization, "+4930123456").expect("readable");
        for kind in [EventKind::CallAnswered, EventKind::CallFinished, EventKind::CallEnded, EventKind::TranscriptSaved]
        {
            desk.write_once(call.id, entry(&call, kind)).await.expect("written");
        }
        assert_eq!(verdict(), DialVerdict::Allowed, "five minutes of ten");
        call.direction = Direction::Inbound;
        desk.write_once(call.id, entry(&call, EventKind::CallEnded)).await.expect("written");
        assert_eq!(verdict(), DialVerdict::Allowed, "what comes in costs nothing");
        // A person was called for it, for two minutes, and another one until the end, for one.
        let begin = clock.utc();
        for (answered, ended) in [(0, Some(2)), (4, None)] {
            let at = |minutes: u64| begin + Duration::from_secs(minutes * 60);
            let (answered_at, ended_at) = (at(answered), ended.map(at));
            let leg = Some(TrunkLeg { trunk: "a".into(), answered_at, ended_at });
            let (mode, destination) = (TransferMode::Bridge, String::new());
            call.transfers.push(Transfer { destination, mode, asked_at: begin, settled_at: None, outcome: None, leg });
        }
        desk.write_once(call.id, entry(&call, EventKind::CallEnded)).await.expect("written");
        assert_eq!(verdict(), DialVerdict::Allowed, "eight of ten");
        call.transfers.pop();
        desk.write_once(call.id, entry(&call, EventKind::CallEnded)).await.expect("written");
        assert_eq!(verdict(), DialVerdict::MinutesUsed, "ten of ten");
    }
}
