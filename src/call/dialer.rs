//! One task that takes waiting calls up: in order of time, as lines allow.

use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::actor::outbound;
use super::internal::{self, Ready};
use super::ledger;
use super::lines::{Line, NoLine, Wish};
use super::machine::{self, Action, State};
use super::place;
use super::record::{Call, CallStatus};
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
/// Said of a call that waited for a trunk which the configuration does not have any more.
const NO_TRUNK: &str = "no trunk carries this call";
/// After a failed read.
const AFTER_AN_ERROR: Duration = Duration::from_secs(1);

/// Runs until the room drains.
pub(super) async fn run(room: Arc<Room>) {
    while !room.is_draining() {
        let pause = match take_up(&room).await {
            Ok(again) => again.min(LONGEST_SLEEP),
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

/// Dials what is due while there are lines; returns how long nothing will be due.
async fn take_up(room: &Arc<Room>) -> Result<Duration, StoreError> {
    toll::raise_alerts(room).await?;
    let look = look(room)?;
    let mut waiting = Vec::new();
    let mut again = look.next.map_or(LONGEST_SLEEP, |next| next.since(room.clock.utc()));
    for (id, status) in look.due {
        match take_line(room, id)? {
            Ok(Some((line, place))) => begin(room, id, line, place),
            Ok(None) => {}
            Err(NoLine::Nowhere) => place::end_waiting(room, id, machine::Event::Unready(NO_TRUNK.into())).await?,
            Err(no_line) => {
                if let NoLine::Paced(at) = no_line {
                    again = again.min(at.saturating_duration_since(room.clock.now()));
                }
                if status != CallStatus::Queued {
                    waiting.push(id);
                }
            }
        }
    }
    if !waiting.is_empty() {
        queue(room, waiting).await?;
    }
    toll::raise_alerts(room).await?;
    Ok(again)
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

/// A line for the call: of the extensions for one of them, else of a trunk and with a place among the calls that cost
/// money. `None` when the call is gone.
fn take_line(room: &Room, id: Uuid) -> Result<Result<Option<Taken>, NoLine>, StoreError> {
    match internal::line(room, id)? {
        Ready::Line(line) => return Ok(Ok(Some((line, None)))),
        Ready::Busy => return Ok(Err(NoLine::Busy)),
        Ready::Elsewhere => {}
    }
    if !room.lines.any_free() {
        return Ok(Err(NoLine::Busy));
    }
    let Some(place) = room.directory.dial_place() else { return Ok(Err(NoLine::Busy)) };
    let Some(call) = room.store.read()?.get(&CALLS, &id)? else { return Ok(Ok(None)) };
    let line = room.lines.outbound(&wish(&call, &[]), room.clock.now(), rand::random());
    Ok(line.map(|line| Some((line, Some(place)))))
}

fn begin(room: &Arc<Room>, id: Uuid, line: Line, place: Option<DialPlace>) {
    if let Some(orders) = room.registry.claim(id) {
        let room = Arc::clone(room);
        tokio::spawn(async move {
            outbound::dial(Arc::clone(&room), id, line, orders).await;
            drop(place);
            room.due.notify_one();
        });
    }
}

/// A line and, where calls cost money, a place among them.
type Taken = (Line, Option<DialPlace>);

/// What a call asks of a trunk.
pub(super) fn wish<'a>(call: &'a Call, tried: &'a [String]) -> Wish<'a> {
    let number = call.uri.is_none().then_some(call.phone.as_str());
    Wish { named: call.wanted_trunk.as_deref(), number, tried }
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
