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

/// Enters the talk time of `call` when `events` say that an attempt of it ended.
pub(super) fn charge(
    directory: &Directory,
    change: &mut Change<'_>,
    call: &Call,
    events: &[Event],
) -> Result<(), StoreError> {
    let ended = events.iter().any(|event| event.kind == EventKind::CallEnded);
    match call.ended_at.filter(|_| ended && call.direction == Direction::Outbound) {
        Some(at) => directory.charge(change, call.organization, at, call.talk_seconds()),
        None => Ok(()),
    }
}
