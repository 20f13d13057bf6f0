//! How an attempt to call out begins: claim, guard, media leg, INVITE; and how the far end's session is joined.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use uuid::Uuid;

use super::wire::{self, Ability};
use super::{Actor, Errands, MediaLeg, SipLeg, Voice};
use crate::ai::Command;
use crate::call::dialer::wish;
use crate::call::internal::RING_SECONDS;
use crate::call::lines::Line;
use crate::call::machine::{self, Action, Event, State};
use crate::call::record::Call;
use crate::call::registry::Order;
use crate::call::room::Room;
use crate::call::scribe::Scribe;
use crate::call::tables::{self, CALLS};
use crate::call::tools::Part;
use crate::call::transcript::Assembly;
use crate::call::{LiveFact, ledger};
use crate::config::Secret;
use crate::directory::DialVerdict;
use crate::media::LegOptions;
use crate::sip::endpoint::{Destination, DialPolicy, OutboundInvite};
use crate::sip::sdp::{Direction, SessionDescription};
use crate::store::StoreError;

/// A claim that could not be written is not repeated at once.
const AFTER_A_FAILED_CLAIM: Duration = Duration::from_secs(2);

/// Takes the call `id` from the queue to its end, through `line`. The registry holds it already.
pub(in crate::call) async fn dial(room: Arc<Room>, id: Uuid, line: Line, orders: mpsc::Receiver<Order>) {
    // Boxed: what it takes to begin is not kept while the call lasts.
    if let Some(actor) = Box::pin(begin(room, id, line, orders)).await {
        actor.run().await;
    }
}

async fn begin(room: Arc<Room>, id: Uuid, line: Line, orders: mpsc::Receiver<Order>) -> Option<Box<Actor>> {
    let call = match claim(&room, id, &line.trunk).await {
        Ok(Some(call)) => call,
        Ok(None) => {
            room.registry.release(id);
            return None;
        }
        Err(error) => {
            tracing::warn!(call = %id, %error, "a call could not be taken from the queue; trying again");
            tokio::time::sleep(AFTER_A_FAILED_CLAIM).await;
            room.registry.release(id);
            return None;
        }
    };
    room.tell(id, LiveFact::Status(call.status));
    let (mut actor, actions) = actor(room, call, line, orders);
    for action in actions {
        if let Some(event) = actor.perform(action).await {
            actor.feed(event).await;
        }
    }
    Some(actor)
}

/// The step from waiting to dialling, on disk before anything is dialled; `None` when the call waits no longer.
async fn claim(room: &Arc<Room>, id: Uuid, trunk: &str) -> Result<Option<Call>, StoreError> {
    let (shared, trunk) = (Arc::clone(room), trunk.to_owned());
    room.store
        .write(move |change| {
            let Some(mut call) = change.get(&CALLS, &id)? else { return Ok(None) };
            if call.due_at().is_none_or(|due| due > shared.clock.utc()) {
                return Ok(None);
            }
            for progress in steps(&shared, &call).1.iter().filter_map(progress_of) {
                ledger::progress(&mut call, progress, &shared.clock);
            }
            call.trunk_id = if trunk.is_empty() { String::new() } else { ledger::trunk_id(&trunk) };
            call.trunk = trunk;
            tables::save(change, &call)?;
            Ok(Some(call))
        })
        .await
}

/// What the machine makes of a free line for `call`.
fn steps(room: &Room, call: &Call) -> (State, Vec<Action>) {
    let now = room.clock.now();
    let state = State::of_record(call.status, call.direction, now).unwrap_or(State::Gone);
    machine::step(state, &room.terms(call), Event::Line, now)
}

fn progress_of(action: &Action) -> Option<machine::Progress> {
    match action {
        Action::Save(progress) => Some(*progress),
        _ => None,
    }
}

fn actor(room: Arc<Room>, call: Call, line: Line, orders: mpsc::Receiver<Order>) -> (Box<Actor>, Vec<Action>) {
    // The claim has put the record a step ahead; the machine goes the same step, without saving it again.
    let terms = room.terms(&call);
    let (state, actions) = machine::step(State::Waiting(machine::Wait::Queued), &terms, Event::Line, room.clock.now());
    let rest = actions.into_iter().filter(|action| progress_of(action).is_none()).collect();
    let actor = Box::new(Actor {
        scribe: Scribe::start(room.desk(), call.id),
        terms,
        state,
        orders,
        sip: None,
        media: None,
        voice: Voice::default(),
        errands: Errands::default(),
        assembly: Assembly::default(),
        transfer: None,
        moving: None,
        tried: vec![line.trunk.clone()],
        line,
        next_line: None,
        waiting: Vec::new(),
        settled: false,
        room,
        call,
    });
    (actor, rest)
}

impl Actor {
    /// Opens the media leg, asks the toll-fraud guard, sends the INVITE.
    pub(super) async fn invite(&mut self) -> Option<Event> {
        if let Err(event) = self.prepare().await {
            return Some(event);
        }
        match self.may_dial() {
            Ok(DialVerdict::Allowed) => self.send_invite().await,
            Ok(verdict) => {
                self.call.dispatched_at = None;
                tracing::warn!(call = %self.call.id, ?verdict, "a call was not dialled");
                Some(Event::Forbidden(verdict))
            }
            Err(error) => Some(Event::Unready(error.to_string())),
        }
    }

    /// INVITE through the line that was reserved for the next trunk.
    pub(super) async fn next_trunk(&mut self) -> Option<Event> {
        let line = self.next_line.take()?;
        self.room.lines.in_trouble(&self.line.trunk, self.room.clock.now());
        self.tried.push(line.trunk.clone());
        self.call.trunk_id = ledger::trunk_id(&line.trunk);
        self.call.trunk.clone_from(&line.trunk);
        self.line = line;
        self.note(Vec::new()).await;
        self.send_invite().await
    }

    /// Reserves a line of a trunk that this attempt has not tried, when the one at hand is in `trouble`.
    pub(super) fn reserve_another(&mut self, trouble: bool) -> bool {
        // An extension has no other way.
        if self.line.trunk.is_empty() {
            return false;
        }
        if !trouble {
            self.room.lines.works(&self.line.trunk);
            return false;
        }
        let now = self.room.clock.now();
        self.room.lines.in_trouble(&self.line.trunk, now);
        self.next_line = self.room.lines.outbound(&wish(&self.call, &self.tried), now, rand::random()).ok();
        self.next_line.is_some()
    }

    async fn prepare(&mut self) -> Result<(), Event> {
        let unready = |error: &dyn std::fmt::Display| Event::Unready(error.to_string());
        let instructions = self
            .room
            .directory
            .resolve_prompt(self.call.organization, &self.call.prompt)
            .map_err(|error| unready(&error))?;
        let key = self.unsealed_key()?;
        self.voice.prepare(Part::inline(instructions), key, false);
        let options =
            LegOptions { bind: self.room.endpoint.local_address().ip(), recording: self.room.recording(&self.call) };
        let leg = match self.room.media.open(options).await {
            Ok(leg) => leg,
            Err(error) => {
                self.room.note_no_leg(&error).await;
                return Err(unready(&error));
            }
        };
        let local = SessionDescription::offer(session_id(), SocketAddr::from(([0, 0, 0, 0], leg.local_rtp_port)), &[]);
        self.media = Some(MediaLeg { leg, local, remote: None });
        Ok(())
    }

    /// The caller's own engine key, if it gave one.
    fn unsealed_key(&self) -> Result<Option<Secret>, Event> {
        let Some(sealed) = &self.call.engine_key else { return Ok(None) };
        let open = self.room.store.unseal(&ledger::key_context(self.call.id), sealed);
        let text = open.and_then(|bytes| std::str::from_utf8(&bytes).ok().map(Secret::new));
        text.map(Some).ok_or_else(|| Event::Unready("the engine key cannot be decrypted with this box's key".into()))
    }

    /// A complete URI comes from the operator's own tools, an extension is internal: only time and minutes bound the
    /// one, nothing the other.
    fn may_dial(&self) -> Result<DialVerdict, StoreError> {
        if self.room.extension_of(&self.call).is_some() {
            return Ok(DialVerdict::Allowed);
        }
        let (directory, call) = (&self.room.directory, &self.call);
        match call.uri {
            Some(_) => directory.may_dial_now(call.organization),
            None => directory.may_dial(call.organization, &call.phone),
        }
    }

    async fn send_invite(&mut self) -> Option<Event> {
        if let Some(extension) = self.room.extension_of(&self.call).map(|extension| extension.user.clone()) {
            return self.ring(extension).await;
        }
        let Some(trunk) = self.room.trunk(&self.line.trunk) else {
            return Some(Event::Unready(format!("no trunk named {}", self.line.trunk)));
        };
        let address = self.room.endpoint.media_address(&trunk.name).await;
        let media = self.media.as_mut()?;
        let at = SocketAddr::new(address, media.leg.local_rtp_port);
        media.local = SessionDescription::propose(session_id(), at, &Ability::of_trunk(trunk).terms());
        let name = &self.call.display_name;
        let invite = OutboundInvite {
            trunk: trunk.name.clone(),
            destination: match &self.call.uri {
                Some(uri) => Destination::Uri(uri.clone()),
                None => Destination::Number(self.call.phone.clone()),
            },
            caller_number: None,
            caller_name: (*name != self.call.phone && !name.is_empty()).then(|| name.clone()),
            offer: media.local.clone(),
            ring_timeout: Duration::from_secs(trunk.ring_seconds),
            policy: self.policy(),
        };
        match self.room.endpoint.invite(invite) {
            Ok((control, events)) => {
                self.room.registry.note_leg(self.call.id, control.key());
                self.room.traces.joined(self.call.id, control.sip_call_id());
                self.sip = Some(SipLeg::new(control, events, None));
                None
            }
            Err(error) => Some(Event::Unready(error.to_string())),
        }
    }

    /// INVITE to every phone of an extension. The offer names our address towards the first of them; without one, the
    /// endpoint says that nobody is there.
    async fn ring(&mut self, extension: String) -> Option<Event> {
        let towards = self.room.endpoint.address_towards_extension(&extension).await;
        let media = self.media.as_mut()?;
        let at = SocketAddr::new(towards.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), media.leg.local_rtp_port);
        // Keys go to the phones that are there over TLS.
        let ability = Ability::of_extension(self.room.extension(&extension), true);
        media.local = SessionDescription::propose(session_id(), at, &ability.terms());
        let invite = OutboundInvite {
            trunk: String::new(),
            destination: Destination::Extension(extension.clone()),
            caller_number: None,
            caller_name: Some(self.room.directory.organization("").name.clone()),
            offer: media.local.clone(),
            ring_timeout: Duration::from_secs(RING_SECONDS),
            policy: DialPolicy::default(),
        };
        match self.room.endpoint.invite(invite) {
            Ok((control, events)) => {
                self.room.registry.note_leg(self.call.id, control.key());
                self.room.traces.joined(self.call.id, control.sip_call_id());
                self.sip = Some(SipLeg::new(control, events, Some(extension)));
                None
            }
            Err(error) => Some(Event::Unready(error.to_string())),
        }
    }

    /// A redirection leads only where the guard lets a call go.
    fn policy(&self) -> DialPolicy {
        let (directory, organization) = (self.room.directory.clone(), self.call.organization);
        DialPolicy::new(move |number| {
            directory.may_dial(organization, number).is_ok_and(|verdict| verdict == DialVerdict::Allowed)
        })
    }

    /// A 200 to our INVITE, or the ACK to our 200.
    ///
    /// During the call it is the ACK that answers an offer of ours which the far end had asked for.
    pub(super) async fn on_answered(&mut self, session: Option<Box<SessionDescription>>) {
        let event = match self.agree(session) {
            Ok(()) => Event::Answered,
            Err(problem) => Event::Unusable(problem),
        };
        let under_way = matches!(self.state, State::Talking { .. } | State::Stopping { .. });
        if under_way && event == Event::Answered {
            self.follow();
        }
        self.feed(event).await;
    }

    /// Settles on what the far end said, last or early; keeps what stands when it said nothing.
    fn agree(&mut self, session: Option<Box<SessionDescription>>) -> Result<(), String> {
        let Some(media) = &mut self.media else { return Ok(()) };
        let Some(answer) = session.or(self.voice.early.take()) else {
            return media.remote.is_some().then_some(()).ok_or_else(|| "the answer carries no session".into());
        };
        let agreed = media.local.agree(&answer).map_err(|error| error.to_string())?;
        media.remote = Some(wire::remote(&agreed));
        Ok(())
    }

    /// Joins phone and agent; the agent speaks first.
    pub(super) fn connect(&mut self) {
        self.room.lines.works(&self.line.trunk);
        self.voice.warm_up(&self.room, &self.call, self.media.as_ref());
        self.follow();
        self.voice.tell(Command::Greet);
    }

    /// Leg and agent follow what was agreed.
    pub(super) fn follow(&mut self) {
        if let Some(media) = &self.media
            && let Some(remote) = &media.remote
        {
            media.leg.control.connect(wire::keyed(remote.clone(), self.room.trunk(&self.line.trunk)));
            let on_hold = !remote.send;
            if self.voice.hold(on_hold) {
                self.room.tell(self.call.id, LiveFact::Hold(on_hold));
            }
        }
    }

    /// Tells the agent whether the caller it got back is on hold.
    pub(super) fn follow_hold(&mut self) {
        let on_hold = self.is_on_hold();
        self.voice.hold(on_hold);
    }

    /// The far end changes the session, or asks for our offer.
    pub(super) fn on_offer(&mut self, offer: Option<&SessionDescription>) {
        let (Some(sip), Some(media)) = (&self.sip, &mut self.media) else { return };
        let ability = ability(&self.room, &self.line.trunk, sip, media);
        let terms = ability.terms();
        let Some(offer) = offer else {
            // All that we can do, as in a first offer: that is how a hold is ended, too (RFC 6337 §5.3).
            let mut fresh = media.local.propose_again(&terms);
            if self.voice.held_by_us {
                fresh.direction = Direction::Inactive;
            }
            media.local = wire::next_version(&media.local, fresh);
            sip.control.accept_offer(media.local.clone());
            return;
        };
        match offer.answer_under(media.local.session_id, media.local.address, &terms, Some(&media.local)) {
            Ok((mut answer, mut agreed)) => {
                if self.voice.held_by_us {
                    (answer.direction, agreed.direction) = (Direction::Inactive, Direction::Inactive);
                }
                media.remote = Some(wire::remote(&agreed));
                media.local = wire::next_version(&media.local, answer);
                sip.control.accept_offer(media.local.clone());
                self.follow();
            }
            Err(problem) => sip.control.refuse_media(problem),
        }
    }

    /// The far end listens no more for now.
    pub(super) fn is_on_hold(&self) -> bool {
        let remote = self.media.as_ref().and_then(|media| media.remote.as_ref());
        remote.is_some_and(|remote| !remote.send)
    }
}

/// What we bring into a change of the session with the peer of these legs. A phone that was rung with keys got them over
/// TLS.
pub(in crate::call) fn ability(room: &Room, trunk: &str, sip: &SipLeg, media: &MediaLeg) -> Ability {
    let keyed = media.remote.as_ref().is_some_and(|remote| remote.srtp.is_some());
    let extension = sip.extension.as_deref().and_then(|user| room.extension(user));
    match room.trunk(trunk) {
        Some(trunk) => Ability::of_trunk(trunk),
        None => Ability::of_extension(extension, keyed || sip.control.is_secure()),
    }
}

/// RFC 8866 §5.2 wants it unique; readers that keep it in a signed 64-bit integer are common.
pub(in crate::call) fn session_id() -> u64 {
    rand::random::<u64>() >> 2
}
