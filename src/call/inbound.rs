//! How a call that comes in is answered: number, visibility, line, session, 200; the disk comes later.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use tokio::sync::mpsc;

use super::actor::wire::{self, Ability};
use super::actor::{Actor, Errands, MediaLeg, SipLeg, Voice, outbound};
use super::lines::Line;
use super::machine::State;
use super::record::{Call, CallStatus, Direction};
use super::registry::Order;
use super::room::Room;
use super::scribe::Scribe;
use super::tools::Part;
use super::transcript::Assembly;
use super::{Network, internal, ledger};
use crate::ai::Person;
use crate::config::{NumberMode, Visibility};
use crate::directory::Number;
use crate::events::EventKind;
use crate::media::{LegOptions, Remote};
use crate::sip::endpoint::{CallKey, IncomingCall, Origin};
use crate::sip::sdp::SessionDescription;

/// Answers until the endpoint closes the channel.
pub(super) async fn run(room: Arc<Room>, mut calls: mpsc::Receiver<IncomingCall>) {
    while let Some(call) = calls.recv().await {
        // The limits of the lines bound the tasks: without a line a task ends at once.
        tokio::spawn(take(Arc::clone(&room), Box::new(call)));
    }
}

// What it takes to answer is boxed, so that the task of a call that lasts is small.
async fn take(room: Arc<Room>, incoming: Box<IncomingCall>) {
    if let Some(leg) = incoming.replaces {
        return replace(&room, leg, *incoming);
    }
    match Box::pin(prepare(&room, &incoming)).await {
        Ok(prepared) => Box::pin(answer(room, *incoming, prepared)).await.run().await,
        Err(code) => {
            metrics::counter!("trunkline_calls_refused_total", "code" => code.to_string()).increment(1);
            // Before the call is let go of: whoever drops it unrefused hangs up.
            incoming.control.reject(code);
        }
    }
}

/// Hands an INVITE that replaces the dialog `leg` to that call.
fn replace(room: &Room, leg: CallKey, incoming: IncomingCall) {
    let Some(orders) = room.registry.orders_of_leg(leg) else { return incoming.control.reject(481) };
    let control = incoming.control.clone();
    // Refused before it is let go of: what was not taken comes back in the error.
    if let Err(_untaken) = orders.try_send(Order::Replace(Box::new(incoming))) {
        control.reject(481);
    }
}

/// What an answer takes.
struct Prepared {
    number: Number,
    part: Part,
    line: Line,
    call: Call,
    orders: mpsc::Receiver<Order>,
    media: MediaLeg,
}

/// Everything that the answer takes, or the code that refuses the call.
async fn prepare(room: &Arc<Room>, incoming: &IncomingCall) -> Result<Box<Prepared>, u16> {
    let (number, line) = admit(room, incoming)?;
    let part = part(room, &number)?;
    let call = new_call(room, &number, &part, incoming, &line)?;
    let orders = room.registry.claim(call.id).ok_or(500_u16)?;
    match open(room, &call, incoming).await {
        Ok(media) => Ok(Box::new(Prepared { number, part, line, call, orders, media })),
        Err(code) => {
            room.registry.release(call.id);
            Err(code)
        }
    }
}

/// The actor of an answered call.
async fn answer(room: Arc<Room>, incoming: IncomingCall, prepared: Box<Prepared>) -> Box<Actor> {
    let Prepared { number, part, line, call, orders, media } = *prepared;
    room.traces.joined(call.id, incoming.control.sip_call_id());
    incoming.control.answer(media.local.clone());
    let terms = room.terms(&call);
    let mut voice = Voice::default();
    voice.prepare(part, None, number.mode == NumberMode::Tts);
    room.registry.note_leg(call.id, incoming.control.key());
    if let Some(remote) = &media.remote {
        media.leg.control.connect(remote.clone());
    }
    voice.warm_up(&room, &call, Some(&media));
    let mut actor = Box::new(Actor {
        scribe: Scribe::start(room.desk(), call.id),
        state: State::answering(&terms, room.clock.now()),
        terms,
        orders,
        sip: Some(SipLeg::new(incoming.control, incoming.events, incoming.origin.extension())),
        media: Some(media),
        voice,
        errands: Errands::default(),
        assembly: Assembly::default(),
        transfer: None,
        moving: None,
        tried: Vec::new(),
        line,
        next_line: None,
        waiting: Vec::new(),
        settled: false,
        room,
        call,
    });
    let event = ledger::event(&actor.call, EventKind::CallRinging, &actor.room.clock);
    actor.note(vec![event]).await;
    actor
}

/// The number that answers and a line for it: 503 while draining, 404 for a number that is not ours, 403 for callers
/// that must sign in first, 486 when every line is busy.
fn admit(room: &Room, incoming: &IncomingCall) -> Result<(Number, Line), u16> {
    if room.is_draining() {
        return Err(503);
    }
    let number = number_for(room, incoming)?.ok_or(404_u16)?;
    if number.visibility == Visibility::SignedIn && !signed_in(room, &incoming.origin) {
        return Err(403);
    }
    let line = room.lines.inbound(&incoming.origin).ok_or(486_u16)?;
    Ok((number, line))
}

/// The number that was called; where that is none of ours (a PBX that forwards everything to one pilot), the number that
/// was called before the call was forwarded.
fn number_for(room: &Room, incoming: &IncomingCall) -> Result<Option<Number>, u16> {
    let original = incoming.provenance.original_called.as_deref();
    for called in std::iter::once(incoming.called.as_str()).chain(original) {
        let found = room.directory.number_for(called).map_err(|error| {
            tracing::warn!(%error, "a call cannot be answered: the numbers cannot be read");
            500_u16
        })?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn signed_in(room: &Room, origin: &Origin) -> bool {
    match origin {
        Origin::Extension(_) => true,
        Origin::Trunk(name) => room.trunk(name).is_some_and(|trunk| trunk.internal),
    }
}

/// Who takes the call: the number's agent as it is now, or the number's instructions. An agent that is not there any more
/// is the operator's mistake; a call without instructions is worse than none.
fn part(room: &Room, number: &Number) -> Result<Part, u16> {
    let mut part = match &number.agent {
        None => Part::inline(instructions(room, number)),
        Some(name) => match Part::of_agent(room, number.organization, name) {
            Ok(Some(part)) => part,
            Ok(None) => {
                tracing::warn!(agent = name, "a call cannot be answered: there is no such agent");
                return Err(500);
            }
            Err(error) => {
                tracing::warn!(%error, "a call cannot be answered: its agent cannot be read");
                return Err(500);
            }
        },
    };
    let own = |destination: &String| Person { destination: destination.clone(), whisper: number.transfer_whisper };
    part.person = part.person.or_else(|| number.transfer_to.as_ref().map(own));
    Ok(part)
}

/// The number's prompt is read at every call; when it cannot be, the text as written is better than no answer.
fn instructions(room: &Room, number: &Number) -> String {
    room.directory
        .resolve_prompt(number.organization, &number.system_prompt)
        .unwrap_or_else(|_| number.system_prompt.clone())
}

async fn open(room: &Room, call: &Call, incoming: &IncomingCall) -> Result<MediaLeg, u16> {
    let options = LegOptions { bind: room.endpoint.local_address().ip(), recording: room.recording(call) };
    let leg = match room.media.open(options).await {
        Ok(leg) => leg,
        Err(error) => {
            tracing::warn!(%error, "a call cannot be answered");
            room.note_no_leg(&error).await;
            return Err(503);
        }
    };
    let address = SocketAddr::new(media_address(room, incoming).await, leg.local_rtp_port);
    let (local, remote) = describe(room, address, incoming)?;
    Ok(MediaLeg { leg, local, remote })
}

/// Where the caller shall send its audio. An extension has no trunk whose route could tell; its own address does.
async fn media_address(room: &Room, incoming: &IncomingCall) -> IpAddr {
    match (&incoming.origin, &incoming.offer) {
        (Origin::Trunk(name), _) => room.endpoint.media_address(name).await,
        (Origin::Extension(_), Some(offer))
            if room.config.sip.advertised.is_none() && room.endpoint.local_address().ip().is_unspecified() =>
        {
            match address_towards(offer.address) {
                Ok(address) => address,
                Err(_) => room.endpoint.media_address("").await,
            }
        }
        (Origin::Extension(_), _) => room.endpoint.media_address("").await,
    }
}

/// Our address on the route to `peer`; connecting a datagram socket sends nothing.
fn address_towards(peer: SocketAddr) -> std::io::Result<IpAddr> {
    let any: IpAddr = if peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = std::net::UdpSocket::bind((any, 0))?;
    socket.connect(peer)?;
    Ok(socket.local_addr()?.ip())
}

/// Our answer and what it agrees on; our offer, when the INVITE carried none.
fn describe(
    room: &Room,
    address: SocketAddr,
    incoming: &IncomingCall,
) -> Result<(SessionDescription, Option<Remote>), u16> {
    let trunk = match &incoming.origin {
        Origin::Trunk(name) => room.trunk(name),
        Origin::Extension(_) => None,
    };
    let ability = match trunk {
        Some(trunk) => Ability::of_trunk(trunk),
        None => internal::ability(room, incoming)?,
    };
    let (id, terms) = (outbound::session_id(), ability.terms());
    let Some(offer) = &incoming.offer else {
        return Ok((SessionDescription::propose(id, address, &terms), None));
    };
    let (answer, agreed) = offer.answer_under(id, address, &terms, None).map_err(|problem| {
        incoming.control.refuse_media(problem);
        488_u16
    })?;
    Ok((answer, Some(wire::keyed(wire::remote(&agreed), trunk))))
}

fn new_call(room: &Room, number: &Number, part: &Part, incoming: &IncomingCall, line: &Line) -> Result<Call, u16> {
    let alias = room.fresh_alias(Direction::Inbound).map_err(|_| 500_u16)?;
    let organization = room.directory.organization("");
    Ok(Call {
        id: room.clock.id(),
        organization: number.organization,
        tenant: organization.host.clone(),
        alias,
        direction: Direction::Inbound,
        requested_by: match &incoming.origin {
            Origin::Extension(user) => user.clone(),
            Origin::Trunk(_) => String::new(),
        },
        phone: incoming.caller.clone(),
        uri: None,
        wanted_trunk: None,
        display_name: internal::caller_name(room, incoming).unwrap_or_else(|| incoming.caller.clone()),
        email: number.email.clone(),
        number: number.number.clone(),
        number_name: number.name.clone(),
        prompt: number.system_prompt.clone(),
        agent: part.agent.clone(),
        engine_key: None,
        model: room.engines.model().to_owned(),
        voice: part.voice.clone().unwrap_or_else(|| number.voice.clone()),
        language: part.language.clone().unwrap_or_else(|| number.language.clone()),
        max_seconds: part.max_seconds.map_or(number.max_duration_seconds, |most| most.min(number.max_duration_seconds)),
        record_call: number.record_calls && room.config.media.record,
        save_transcript: number.save_transcripts,
        status: CallStatus::Ringing,
        created_at: room.clock.utc(),
        scheduled_for: None,
        dispatched_at: None,
        answered_at: None,
        ended_at: None,
        retry_at: None,
        end_reason: None,
        ended_by: None,
        error_detail: String::new(),
        sip_code: None,
        trunk: line.trunk.clone(),
        trunk_id: if line.trunk.is_empty() { String::new() } else { ledger::trunk_id(&line.trunk) },
        attempt: 1,
        retries_left: 0,
        retry_delay_minutes: 0,
        retry_delay_ms: 0,
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
        network: Network::from(&incoming.provenance),
        transfers: Vec::new(),
        tools: Vec::new(),
        messages: Vec::new(),
    })
}
