//! The person's side of a transfer: its SIP and media leg, and what is heard of both.

use tokio::sync::mpsc;

use super::dial::Dialling;
use super::route::Route;
use super::{State, TransferError, TransferOutcome};
use crate::ai::{Command, SessionFactory};
use crate::call::actor::wire;
use crate::call::actor::{MediaLeg, SipLeg, outbound};
use crate::call::bridge::{Bridge, Cue, Report};
use crate::call::lines::Line;
use crate::call::machine;
use crate::call::outcome;
use crate::call::record::Call;
use crate::call::room::Room;
use crate::media::bridge::Early;
use crate::media::{Leg, LegEvent, LegOptions};
use crate::sip::endpoint::{CallEvent, CallFailure};
use crate::sip::sdp::SessionDescription;

/// A transfer under way, from the order to the end of the call or of the transfer.
pub(in crate::call) struct UnderWay {
    pub(in crate::call) state: State,
    pub(in crate::call) route: Route,
    pub(in crate::call) whisper: Option<String>,
    pub(in crate::call) person: Option<Person>,
    /// Trunks that the person was called through, and the line of the next one.
    pub(in crate::call) tried: Vec<String>,
    pub(in crate::call) next_line: Option<Line>,
    /// What the agent did meanwhile that ends the call once it has the caller again.
    pub(in crate::call) late: Option<machine::Event>,
}

/// The person's legs. Dropping them hangs up.
pub(in crate::call) struct Person {
    sip: SipLeg,
    media: MediaLeg,
    early: Option<Box<SessionDescription>>,
    /// A provisional answer came: whoever fails now, it is not the trunk.
    rang: bool,
    /// What the caller may hear of it, until it is fetched.
    early_sound: Option<Box<Early>>,
    /// Of the announcement.
    reports: Option<mpsc::Receiver<Report>>,
    _commands: Option<mpsc::Sender<Cue>>,
    line: Line,
}

/// What is heard of the person.
pub(in crate::call) enum PersonNews {
    Sip(Option<CallEvent>),
    Leg(Option<LegEvent>),
    Report(Option<Report>),
}

/// What it means.
pub(in crate::call) enum Told {
    Event(super::Event),
    /// The trunk failed before anybody was reached.
    Trouble(TransferOutcome),
}

const REPORTS: usize = 64;

impl Person {
    /// Calls the person through `line`, with a media leg beside the caller's.
    pub(in crate::call) async fn call(
        room: &Room,
        call: &Call,
        beside: &Leg,
        line: Line,
        route: &Route,
    ) -> Result<Person, TransferError> {
        let options = LegOptions { bind: room.endpoint.local_address().ip(), recording: None };
        let leg = match room.media.open_beside(beside, options).await {
            Ok(leg) => leg,
            Err(error) => {
                room.note_no_leg(&error).await;
                return Err(TransferError::NoLine);
            }
        };
        let caller_name = caller_name(call);
        let dialling = Dialling {
            call: call.id,
            route,
            port: leg.local_rtp_port,
            referred_by: None,
            caller_name,
            replaces: false,
        };
        let (sip, local) = dialling.through(room, &line).await?;
        let media = MediaLeg { leg, local, remote: None };
        let (early, early_sound, rang) = (None, None, false);
        Ok(Person { sip, media, early, rang, early_sound, reports: None, _commands: None, line })
    }

    pub(in crate::call) async fn next(&mut self) -> PersonNews {
        let reports = async {
            match &mut self.reports {
                Some(reports) => reports.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            event = self.sip.events.recv() => PersonNews::Sip(event),
            event = self.media.leg.events.recv() => PersonNews::Leg(event),
            report = reports => PersonNews::Report(report),
        }
    }

    /// What `news` means for the transfer.
    pub(in crate::call) fn take(&mut self, news: PersonNews, room: &Room) -> Option<Told> {
        use super::Event::{Failed, PersonLeft, PersonSilent, Whispered};
        let event = match news {
            PersonNews::Sip(Some(event)) => return self.take_sip(event, room),
            PersonNews::Sip(None) => Some(PersonLeft),
            PersonNews::Leg(Some(LegEvent::Silent)) => {
                let held = self.media.remote.as_ref().is_some_and(|remote| !remote.send);
                (!held).then_some(PersonSilent)
            }
            PersonNews::Leg(Some(LegEvent::Closed(_)) | None) => Some(Failed(TransferOutcome::Failed)),
            PersonNews::Leg(Some(LegEvent::SendKey(key))) => {
                self.sip.control.press(key);
                None
            }
            PersonNews::Leg(Some(_)) => None,
            PersonNews::Report(Some(Report::Done { .. } | Report::Failed { .. })) => Some(Whispered),
            PersonNews::Report(Some(_)) => None,
            PersonNews::Report(None) => {
                self.reports = None;
                Some(Whispered)
            }
        };
        event.map(Told::Event)
    }

    fn take_sip(&mut self, event: CallEvent, room: &Room) -> Option<Told> {
        use super::Event::{Answered, Failed, PersonLeft};
        let told = match event {
            CallEvent::Ringing { session, .. } => {
                self.rang = true;
                room.lines.works(&self.line.trunk);
                self.hear_early(session, room);
                None
            }
            CallEvent::Answered { session } => Some(match self.agree(session, room) {
                true => Answered,
                false => Failed(TransferOutcome::Failed),
            }),
            CallEvent::Rejected { code, .. } => {
                let trouble = outcome::of_response(code, "").trunk_trouble;
                return Some(self.failed(TransferOutcome::of_code(code), trouble, room));
            }
            CallEvent::Failed(CallFailure::NoAnswer) => Some(Failed(TransferOutcome::NoAnswer)),
            CallEvent::Failed(failure) => {
                let trouble = outcome::of_failure(&failure).trunk_trouble;
                return Some(self.failed(TransferOutcome::Failed, trouble, room));
            }
            CallEvent::Ended { .. } => Some(PersonLeft),
            CallEvent::Offer { session } => {
                self.follow(session.as_deref(), room);
                None
            }
            CallEvent::Key(key) => {
                self.media.leg.control.key(key);
                None
            }
            // The person may leave, not send us elsewhere.
            CallEvent::Referred(_) => {
                self.sip.control.answer_refer(603);
                None
            }
            _ => None,
        };
        told.map(Told::Event)
    }

    fn failed(&self, outcome: TransferOutcome, trouble: bool, room: &Room) -> Told {
        if trouble {
            room.lines.in_trouble(&self.line.trunk, room.clock.now());
        }
        if trouble && !self.rang { Told::Trouble(outcome) } else { Told::Event(super::Event::Failed(outcome)) }
    }

    /// Listens to what its side sends before anybody answers.
    fn hear_early(&mut self, session: Option<Box<SessionDescription>>, room: &Room) {
        let Some(session) = session else { return };
        let first = self.early.replace(session.clone()).is_none();
        let can = self.agree(Some(session), room) && self.media.remote.as_ref().is_some_and(|remote| remote.receive);
        if can && first {
            let (phone, early) = crate::media::bridge::early();
            self.media.leg.control.attach(phone);
            self.early_sound = Some(early);
        }
    }

    /// Early sound for the caller, once.
    pub(in crate::call) fn early_sound(&mut self) -> Option<Box<Early>> {
        self.early_sound.take()
    }

    /// The trunk that it is called through; empty for phones of the box.
    pub(in crate::call) fn trunk(&self) -> &str {
        &self.line.trunk
    }

    fn agree(&mut self, session: Option<Box<SessionDescription>>, room: &Room) -> bool {
        let agreed = session.or(self.early.take()).and_then(|answer| self.media.local.agree(&answer).ok());
        let Some(agreed) = agreed else { return self.media.remote.is_some() };
        let remote = wire::keyed(wire::remote(&agreed), room.trunk(&self.line.trunk));
        self.media.leg.control.connect(remote.clone());
        self.media.remote = Some(remote);
        true
    }

    /// The person's phone changes the session: hold, resume, a new address.
    fn follow(&mut self, offer: Option<&SessionDescription>, room: &Room) {
        let ability = outbound::ability(room, &self.line.trunk, &self.sip, &self.media);
        let terms = ability.terms();
        let local = &self.media.local;
        let Some(offer) = offer else {
            let fresh = local.propose_again(&terms);
            self.media.local = wire::next_version(local, fresh);
            return self.sip.control.accept_offer(self.media.local.clone());
        };
        match offer.answer_under(local.session_id, local.address, &terms, Some(local)) {
            Ok((answer, agreed)) => {
                let remote = wire::keyed(wire::remote(&agreed), room.trunk(&self.line.trunk));
                self.media.leg.control.connect(remote.clone());
                self.media.remote = Some(remote);
                self.media.local = wire::next_version(&self.media.local, answer);
                self.sip.control.accept_offer(self.media.local.clone());
            }
            Err(problem) => self.sip.control.refuse_media(problem),
        }
    }

    /// Speaks to the person; [`Report::Done`] comes once it has been heard.
    pub(in crate::call) fn whisper(&mut self, session: SessionFactory) {
        let (commands, inbox) = mpsc::channel(4);
        let (outbox, reports) = mpsc::channel(REPORTS);
        self.media.leg.control.attach(Box::new(move || Box::new(Bridge::new(session(), inbox, outbox))));
        let _ = commands.try_send(Command::Greet.into());
        (self._commands, self.reports) = (Some(commands), Some(reports));
    }

    /// Joins the person to the caller.
    pub(in crate::call) fn join(&mut self, caller: &Leg) {
        let (one, other) = crate::media::bridge::pair();
        (self._commands, self.reports) = (None, None);
        caller.control.attach(one);
        self.media.leg.control.attach(other);
    }

    /// Ends the leg in whatever way it owes.
    pub(in crate::call) fn hang_up(self) {
        self.sip.control.hang_up();
        self.media.leg.control.close();
    }
}

/// The caller's own name, for the person's display.
fn caller_name(call: &Call) -> Option<String> {
    let name = if call.display_name.is_empty() { &call.phone } else { &call.display_name };
    (!name.is_empty()).then(|| name.clone())
}
