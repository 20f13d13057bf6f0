//! What becomes of the calls that a crash or a stop interrupted.
//!
//! Waiting calls go on by themselves: they lie in the dialer's index. An attempt that was dialling or live is closed
//! with reason `restarted`; it is tried again when it had not been answered and attempts are left.

use std::ops::Bound;
use std::sync::Arc;

use uuid::Uuid;

use super::ledger;
use super::machine::{self, Action, Event, Settlement, State};
use super::read_model;
use super::record::Call;
use super::room::Room;
use super::scribe::{Closing, Entry, owes_transcript};
use super::tables::{CALLS, LIVE};
use crate::store::{Order, StoreError};

/// Closes every attempt that the store says is under way. To be called before anything dials or answers.
pub(super) async fn close_interrupted(room: &Arc<Room>) -> Result<(), StoreError> {
    for id in interrupted(room)? {
        let found = room.store.read()?.get(&CALLS, &id)?;
        if let Some((call, entry)) = found.and_then(|call| closed(room, call).transpose()).transpose()? {
            room.write_once(call, entry).await?;
            tracing::info!(%call, "closed a call that the restart interrupted");
        }
    }
    Ok(())
}

fn interrupted(room: &Room) -> Result<Vec<Uuid>, StoreError> {
    let mut ids = Vec::new();
    room.store.read()?.scan(&LIVE, Bound::Unbounded, Bound::Unbounded, Order::Ascending, &mut |id, ()| {
        ids.push(id);
        true
    })?;
    Ok(ids)
}

fn closed(room: &Room, mut call: Call) -> Result<Option<(Uuid, Entry)>, StoreError> {
    let Some(state) = State::of_record(call.status, call.direction, room.clock.now()) else { return Ok(None) };
    let (_, actions) = machine::step(state, &room.terms(&call), Event::Restarted, room.clock.now());
    let Some(settlement) = settlement(actions) else { return Ok(None) };
    let turns = read_model::turns(&room.store.read()?, call.id)?;
    // Nobody saw the end; the last thing heard is the nearest known moment.
    let last_heard = turns.iter().map(|turn| turn.ended_at).max().or(call.answered_at);
    let ended_at = last_heard.unwrap_or_else(|| room.clock.utc());
    let events = ledger::settle(&mut call, &settlement, true, ended_at, &room.clock);
    let last = call.status.is_final();
    let closing = last.then(|| Closing { transcript: owes_transcript(&call), mail: true, turns });
    Ok(Some((call.id, Entry { call: Some(Box::new(call)), turns: Vec::new(), events, closing })))
}

/// The settlement among `actions`, if there is one.
pub(super) fn settlement(actions: Vec<Action>) -> Option<Settlement> {
    actions.into_iter().find_map(|action| match action {
        Action::Settle(settlement) => Some(settlement),
        _ => None,
    })
}
