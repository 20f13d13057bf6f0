//! Orders to call and to hang up, as far as no actor is needed for them.

use std::time::Duration;

use tokio::sync::oneshot;
use uuid::Uuid;

use super::keys::{Keys, KeysError};
use super::lines::Wish;
use super::machine::{self, State};
use super::once::{Made, Once, Seen};
use super::record::{Call, CallStatus, Direction};
use super::registry;
use super::room::Room;
use super::tables::{self, BY_DUE, CALLS};
use super::transfer::{TransferError, TransferMode, TransferOrder};
use super::{Held, HungUp, LiveFact, Network, PlaceCall, PlaceError, Placed, ledger, report, restart};
use crate::clock::UtcTime;
use crate::directory::{DialVerdict, Directory};
use crate::events::{self, EventKind};
use crate::store::{Change, StoreError};

/// How often a hang-up looks for a call that is changing hands.
const LOOKS: usize = 200;
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// Persists and queues the order.
pub(super) async fn place(room: &Room, order: PlaceCall) -> Result<Placed, PlaceError> {
    if room.is_draining() {
        return Err(PlaceError::Unavailable);
    }
    if room.config.trunks.is_empty() && room.extension(&order.phone).is_none() {
        return Err(PlaceError::NotConfigured);
    }
    let inside = order.uri.is_none() && room.extension(&order.phone).is_some();
    let number = order.uri.is_none().then_some(order.phone.as_str());
    if !inside && !room.lines.reach(&Wish { named: order.trunk.as_deref(), number, tried: &[] }) {
        return Err(PlaceError::NoTrunk);
    }
    // An extension needs no rule; a rule for its user would outlive it.
    let listed = order.whitelist && room.extension(&order.phone).is_none();
    let order = PlaceCall { whitelist: listed, ..order };
    let refused = refused(room, &order)?;
    let full = room.store.read()?.count(&BY_DUE)? >= room.tuning.waiting_calls;
    let call = new_call(room, &order)?;
    let once = order.idempotency.as_ref().map(|key| Once::of(order.organization, key));
    let clock = room.clock.clone();
    let placed = room
        .store
        .write(move |change| {
            match once.map(|once| once.look(change, clock.utc())).transpose()? {
                Some(Seen::Another) => return Err(PlaceError::KeyReused),
                Some(Seen::Same(made)) => {
                    if let Some(placed) = replay(change, made)? {
                        return Ok(placed);
                    }
                }
                Some(Seen::Never) | None => {}
            }
            if let Some((verdict, retry_after)) = refused {
                return Err(PlaceError::Refused { verdict, retry_after });
            }
            if full {
                return Err(PlaceError::Full);
            }
            let (whitelist_added, whitelist_error) = whitelist(change, &order, clock.utc());
            tables::save(change, &call)?;
            events::append(change, &ledger::event(&call, EventKind::CallQueued, &clock))?;
            if let Some(once) = once {
                let made = Made { id: call.id, whitelist_added, whitelist_error: whitelist_error.clone() };
                once.remember(change, made, clock.utc())?;
            }
            Ok(Placed { call, whitelist_added, whitelist_error, replayed: false })
        })
        .await?;
    if !placed.replayed {
        metrics::counter!("trunkline_calls_placed_total").increment(1);
        room.tell(placed.call.id, LiveFact::Status(placed.call.status));
        room.due.notify_one();
    }
    Ok(placed)
}

/// What the dialer would refuse later is refused at once: why, and when it may be tried again.
fn refused(room: &Room, order: &PlaceCall) -> Result<Option<(DialVerdict, Option<Duration>)>, StoreError> {
    let now = room.clock.utc();
    let at = order.scheduled_for.map_or(now, |at| at.max(now));
    // A URI is judged by the dialer when its time has come; an extension is nobody's money.
    if order.uri.is_some() || room.extension(&order.phone).is_some() {
        return Ok(None);
    }
    let verdict = room.directory.may_order(order.organization, &order.phone, order.whitelist, at)?;
    Ok(match verdict {
        // What is not listed has always been refused at the dial, where the record shows it.
        DialVerdict::Allowed | DialVerdict::NotWhitelisted => None,
        DialVerdict::MinutesUsed => Some((verdict, Some(room.directory.until_tomorrow()))),
        verdict => Some((verdict, None)),
    })
}

fn new_call(room: &Room, order: &PlaceCall) -> Result<Call, StoreError> {
    let (id, now) = (room.clock.id(), room.clock.utc());
    let later = order.scheduled_for.is_some_and(|at| at > now);
    let minutes = order.retry_delay.as_millis().div_ceil(60_000);
    Ok(Call {
        id,
        organization: order.organization,
        tenant: order.tenant.clone(),
        alias: room.fresh_alias(Direction::Outbound)?,
        direction: Direction::Outbound,
        requested_by: order.requested_by.clone(),
        phone: order.phone.clone(),
        uri: order.uri.clone(),
        wanted_trunk: order.trunk.clone(),
        display_name: order.display_name.clone(),
        email: order.email.clone(),
        number: String::new(),
        number_name: String::new(),
        prompt: order.prompt.clone(),
        agent: None,
        engine_key: order
            .engine_key
            .as_ref()
            .map(|key| room.store.seal(&ledger::key_context(id), key.expose().as_bytes())),
        model: order.model.clone().unwrap_or_else(|| room.engines.model().to_owned()),
        voice: order.voice.clone(),
        language: order.language.clone(),
        max_seconds: u32::try_from(order.max_duration.as_secs()).unwrap_or(u32::MAX),
        record_call: room.config.media.record,
        save_transcript: true,
        status: if later { CallStatus::Scheduled } else { CallStatus::Queued },
        created_at: now,
        scheduled_for: order.scheduled_for,
        dispatched_at: None,
        answered_at: None,
        ended_at: None,
        retry_at: None,
        end_reason: None,
        ended_by: None,
        error_detail: String::new(),
        sip_code: None,
        trunk: String::new(),
        trunk_id: String::new(),
        attempt: 1,
        retries_left: order.retries,
        retry_delay_minutes: u32::try_from(minutes).unwrap_or(u32::MAX),
        retry_delay_ms: u64::try_from(order.retry_delay.as_millis()).unwrap_or(u64::MAX),
        transcript_file: String::new(),
        transcript_size: 0,
        transcript_saved_at: None,
        recording: None,
        caller_turns: 0,
        agent_turns: 0,
        tokens_prompt: 0,
        tokens_total: 0,
        quality: None,
        outcome: None,
        network: Network::default(),
        transfers: Vec::new(),
        tools: Vec::new(),
        messages: Vec::new(),
    })
}

/// A failure to whitelist does not fail the order: the guard will refuse the dial if the number may not be called.
fn whitelist(change: &mut Change<'_>, order: &PlaceCall, now: UtcTime) -> (bool, Option<String>) {
    if !order.whitelist {
        return (false, None);
    }
    match Directory::whitelist(change, order.organization, &order.phone, now) {
        Ok(added) => (added, None),
        Err(error) => (false, Some(error.to_string())),
    }
}

/// The call that an order made; `None` when its record is gone.
fn replay(change: &Change<'_>, made: Made) -> Result<Option<Placed>, StoreError> {
    let Made { id, whitelist_added, whitelist_error } = made;
    let call = change.get(&CALLS, &id)?;
    Ok(call.map(|call| Placed { call, whitelist_added, whitelist_error, replayed: true }))
}

/// Ends a call wherever it is: with its actor when it has one, in the store when it waits.
pub(super) async fn hang_up(room: &Room, organization: Uuid, id: Uuid) -> Result<Option<HungUp>, StoreError> {
    // A call may get or lose its actor between two looks, so one look may not be enough.
    for _ in 0..LOOKS {
        if room.store.read()?.get(&CALLS, &id)?.is_none_or(|call| call.organization != organization) {
            return Ok(None);
        }
        if let Some(orders) = room.registry.orders(id) {
            let (reply, answer) = oneshot::channel();
            if orders.send(registry::Order::HangUp(reply)).await.is_ok()
                && let Ok(hung_up) = answer.await
            {
                return Ok(Some(hung_up));
            }
        } else if let Some(hung_up) = cancel_waiting(room, id).await? {
            return Ok(Some(hung_up));
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    Err(StoreError::Busy)
}

/// The record of a call of whatever organization; of one that was answered just now, once it is on disk.
pub(super) async fn record(room: &Room, id: Uuid) -> Result<Option<Call>, StoreError> {
    for _ in 0..LOOKS {
        let live = room.registry.holds(id);
        let found = room.store.read()?.get(&CALLS, &id)?;
        if found.is_some() || !live {
            return Ok(found);
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    Ok(None)
}

/// Asks the actor of a live call to put it on hold, or to take it back.
pub(super) async fn hold(room: &Room, organization: Uuid, id: Uuid, on: bool) -> Result<Option<Held>, StoreError> {
    if room.store.read()?.get(&CALLS, &id)?.is_none_or(|call| call.organization != organization) {
        return Ok(None);
    }
    let Some(orders) = room.registry.orders(id) else { return Ok(Some(Held::NotNow)) };
    let (reply, answer) = oneshot::channel();
    if orders.send(registry::Order::Hold(on, reply)).await.is_err() {
        return Ok(Some(Held::NotNow));
    }
    Ok(Some(answer.await.unwrap_or(Held::NotNow)))
}

/// Hands keys to the call's actor.
pub(super) async fn press(room: &Room, organization: Uuid, id: Uuid, keys: Keys) -> Result<(), KeysError> {
    let found = room.store.read().and_then(|store| store.get(&CALLS, &id)).map_err(|_| KeysError::Unavailable)?;
    if found.is_none_or(|call| call.organization != organization) {
        return Err(KeysError::Unknown);
    }
    let orders = room.registry.orders(id).ok_or(KeysError::NotLive)?;
    let (reply, answer) = oneshot::channel();
    orders.send(registry::Order::Keys(keys, reply)).await.map_err(|_| KeysError::NotLive)?;
    answer.await.unwrap_or(Err(KeysError::NotLive))
}

/// Hands the order to the call's actor.
pub(super) async fn transfer(
    room: &Room,
    organization: Uuid,
    id: Uuid,
    order: TransferOrder,
) -> Result<TransferMode, TransferError> {
    let found = room.store.read().and_then(|store| store.get(&CALLS, &id)).map_err(|_| TransferError::Unavailable)?;
    if found.is_none_or(|call| call.organization != organization) {
        return Err(TransferError::Unknown);
    }
    let orders = room.registry.orders(id).ok_or(TransferError::NotLive)?;
    let (reply, answer) = oneshot::channel();
    orders.send(registry::Order::Transfer(Box::new(order), reply)).await.map_err(|_| TransferError::NotLive)?;
    answer.await.unwrap_or(Err(TransferError::NotLive))
}

/// Ends a call that waits, by an event of the machine; nothing happens when it waits no more.
pub(super) async fn end_waiting(room: &Room, id: Uuid, event: machine::Event) -> Result<(), StoreError> {
    close_waiting(room, id, event).await.map(|_| ())
}

/// `None` when the call turned out to have an actor.
async fn cancel_waiting(room: &Room, id: Uuid) -> Result<Option<HungUp>, StoreError> {
    close_waiting(room, id, machine::Event::HangUp).await
}

async fn close_waiting(room: &Room, id: Uuid, event: machine::Event) -> Result<Option<HungUp>, StoreError> {
    let clock = room.clock.clone();
    let Some(found) = room.store.read()?.get(&CALLS, &id)? else { return Ok(None) };
    if found.status.is_final() {
        return Ok(Some(HungUp { status: found.status, noop: true }));
    }
    if found.is_live() {
        // Its actor is just leaving or just coming; an attempt without one is closed at the next start.
        return Ok(None);
    }
    let terms = room.terms(&found);
    let cancelled = room
        .store
        .write(move |change| {
            let Some(mut call) = change.get(&CALLS, &id)? else { return Ok::<_, StoreError>(None) };
            let Some(state @ State::Waiting(_)) = State::of_record(call.status, call.direction, clock.now()) else {
                return Ok(None);
            };
            let (_, actions) = machine::step(state, &terms, event, clock.now());
            let Some(settlement) = restart::settlement(actions) else { return Ok(None) };
            let events = ledger::settle(&mut call, &settlement, false, clock.utc(), &clock);
            tables::save(change, &call)?;
            for event in &events {
                events::append(change, event)?;
            }
            if let Some(mail) = report::mail(&call, &[]) {
                events::queue_mail(change, clock.id(), mail, clock.utc())?;
            }
            Ok(Some(call))
        })
        .await?;
    if let Some(call) = &cancelled {
        room.mailer.wake();
        room.tell(id, LiveFact::Status(call.status));
    }
    Ok(cancelled.map(|call| HungUp { status: call.status, noop: false }))
}
