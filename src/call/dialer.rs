//! One task that takes waiting calls up: in order of time, as lines allow.

use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::actor::outbound;
use super::internal::{self, Ready};
use super::ledger;
use super::lines::Line;
use super::machine::{self, Action, State};
use super::record::CallStatus;
use super::room::Room;
use super::tables::{self, BY_DUE, CALLS};
use super::toll;
use crate::clock::UtcTime;
use crate::directory::DialPlace;
use crate::store::{Change, Order, StoreError};

/// The dialer looks at the clock at least so often: wall-clock time may jump.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
/// How far behind the head of a full queue newly due calls are entered as queued in one go.
const LOOK_AHEAD: usize = 512;
/// After a failed read.
const AFTER_AN_ERROR: Duration = Duration::from_secs(1);

/// Runs until the room drains.
pub(super) async fn run(room: Arc<Room>) {
    while !room.is_draining() {
        let pause = match take_up(&room).await {
            Ok(Some(next)) => next.since(room.clock.utc()).min(LONGEST_SLEEP),
            Ok(None) => LONGEST_SLEEP,
            Err(error) => {
                tracing::warn!(%error, "the dialer cannot read its queue; trying again");
                AFTER_AN_ERROR
            }
        };
        let _ = tokio::time::timeout(pause, room.due.notified()).await;
    }
}

/// What a look at the queue found.
#[derive(Default)]
struct Look {
    /// Due and not with an actor, earliest first, with the status in the index.
    due: Vec<(Uuid, CallStatus)>,
    /// When the first of the others is due.
    next: Option<UtcTime>,
}

/// Dials what is due while there are lines; returns when something will be due.
async fn take_up(room: &Arc<Room>) -> Result<Option<UtcTime>, StoreError> {
    toll::raise_alerts(room).await?;
    let look = look(room)?;
    let mut waiting = Vec::new();
    let mut lines_left = true;
    for (id, status) in look.due {
        let began = match internal::line(room, id)? {
            Ready::Line(line) => dial(room, id, line, None),
            Ready::Busy => false,
            Ready::Elsewhere => {
                lines_left = lines_left && dial_out(room, id);
                lines_left
            }
        };
        if !began && status != CallStatus::Queued {
            waiting.push(id);
        }
    }
    if !waiting.is_empty() {
        queue(room, waiting).await?;
    }
    toll::raise_alerts(room).await?;
    Ok(look.next)
}

fn look(room: &Room) -> Result<Look, StoreError> {
    let (now, mut look) = (room.clock.utc(), Look::default());
    room.store.read()?.scan(
        &BY_DUE,
        Bound::Unbounded,
        Bound::Unbounded,
        Order::Ascending,
        &mut |(due, id), status| {
            if due > now {
                look.next = Some(due);
                return false;
            }
            if !room.registry.holds(id) {
                look.due.push((id, status));
            }
            look.due.len() < LOOK_AHEAD
        },
    )?;
    Ok(look)
}

/// Whether there was a line.
fn dial_out(room: &Arc<Room>, id: Uuid) -> bool {
    let Some(place) = room.directory.dial_place() else { return false };
    room.lines.outbound(&[], room.clock.now()).is_some_and(|line| dial(room, id, line, Some(place)))
}

/// A call to an extension takes no `place` among those that cost money.
fn dial(room: &Arc<Room>, id: Uuid, line: Line, place: Option<DialPlace>) -> bool {
    if let Some(orders) = room.registry.claim(id) {
        let room = Arc::clone(room);
        tokio::spawn(async move {
            Box::pin(outbound::dial(Arc::clone(&room), id, line, orders)).await;
            drop(place);
            room.due.notify_one();
        });
    }
    true
}

/// Enters due calls without a line as queued.
async fn queue(room: &Arc<Room>, ids: Vec<Uuid>) -> Result<(), StoreError> {
    let shared = Arc::clone(room);
    room.store
        .write(move |change| {
            for id in ids {
                enter_as_queued(change, &shared, id)?;
            }
            Ok(())
        })
        .await
}

fn enter_as_queued(change: &mut Change<'_>, room: &Room, id: Uuid) -> Result<(), StoreError> {
    let Some(mut call) = change.get(&CALLS, &id)? else { return Ok(()) };
    let Some(state) = State::of_record(call.status, call.direction, room.clock.now()) else { return Ok(()) };
    // Between the look and this change the call may have been cancelled or have got a new time.
    if call.due_at().is_none_or(|due| due > room.clock.utc()) {
        return Ok(());
    }
    let (_, actions) = machine::step(state, &room.terms(&call), machine::Event::Due, room.clock.now());
    for action in actions {
        if let Action::Save(progress) = action {
            ledger::progress(&mut call, progress, &room.clock);
            tables::save(change, &call)?;
        }
    }
    Ok(())
}
