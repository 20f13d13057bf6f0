//! One leg: one future that joins sockets, commands, timers and the peer.
//!
//! After every wake-up, whatever its cause, the same things happen in the same order: commands are read, datagrams
//! are read, frames that are due are heard, the peer is polled, slots that are due go out, reports and events are
//! made; then the timer is set to whatever is due next. A leg that has more datagrams waiting than [`BUDGET`] yields
//! to its neighbours in between.

mod control;
mod desk;
mod inbound;
mod link;
mod outbound;
mod outbox;
mod packer;
mod secure;
mod tally;

use std::future::poll_fn;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::clock::Clock;
use crate::media::bell::Bell;
use crate::media::dtmf::{Presses, ToneListener, Way};
use crate::media::leg::Command;
use crate::media::ports::PortPairs;
use crate::media::receive::Reception;
use crate::media::recorder::{Recorder, Tape};
use crate::media::restore::Origin;
use crate::media::session::control::Control;
use crate::media::session::desk::Desk;
use crate::media::session::link::Link;
use crate::media::session::outbound::Talk;
use crate::media::session::outbox::Outbox;
use crate::media::session::tally::Tally;
use crate::media::srtp::Change;
use crate::media::worker::{Load, PortLease};
use crate::media::{HeardFrame, KeyWay, Leg, LegControl, LegEvent, Peer, Remote};

/// Datagrams read before other legs of the thread have their turn.
const BUDGET: usize = 64;
/// Marks told in one wake-up; a peer that answers every mark with a mark would never end.
const ROUNDS: usize = 64;
/// Sleep of a leg that waits for nothing but commands.
const IDLE: Duration = Duration::from_secs(3_600);
/// Largest datagram that is read whole; a longer one is no RTP of ours.
const DATAGRAM: usize = 2_048;

/// What all legs share.
#[derive(Clone)]
pub struct Shared {
    pub clock: Clock,
    pub recorder: Arc<Recorder>,
    /// `None` = the system chooses.
    pub ports: Option<Arc<Mutex<PortPairs>>>,
    /// Zero = never.
    pub rtp_timeout: Duration,
    pub jitter_limit: Duration,
}

pub struct Sockets {
    /// Both are.
    pub ipv6: bool,
    pub rtp: UdpSocket,
    pub rtcp: UdpSocket,
    pub port: u16,
    /// Dropped after the sockets.
    pub _lease: Option<PortLease>,
}

pub struct Session {
    clock: Clock,
    recorder: Arc<Recorder>,
    rtp_timeout: Duration,
    sockets: Sockets,
    /// Rings for commands and the end.
    bell: Bell,
    commands: mpsc::Receiver<Command>,
    closing: Pin<Box<WaitForCancellationFutureOwned>>,
    timer: Pin<Box<Sleep>>,
    /// What the timer waits for.
    armed: Option<Instant>,
    link: Option<Link>,
    reception: Reception,
    talk: Talk,
    control: Control,
    peer: Option<Box<dyn Peer>>,
    /// Rings for the peer. Muted while it speaks: what it says then goes out with the next slot, and is fetched just
    /// before that.
    peer_bell: Bell,
    outbox: Outbox,
    tally: Tally,
    /// Where to record, until the recording begins.
    recording: Option<PathBuf>,
    tape: Option<Tape>,
    /// Finds keys in the sound, where they travel so.
    listener: Option<ToneListener>,
    presses: Presses,
}

impl Session {
    pub fn new(
        shared: Shared,
        sockets: Sockets,
        recording: Option<PathBuf>,
        closing: CancellationToken,
    ) -> (Box<Session>, Leg) {
        let (outbox, events) = Outbox::new();
        let (control, commands) = LegControl::new(closing.clone());
        let leg = Leg::new(sockets.port, control, events);
        let (now, utc) = (shared.clock.now(), shared.clock.utc());
        let session = Box::new(Session {
            rtp_timeout: shared.rtp_timeout,
            sockets,
            bell: Bell::default(),
            commands,
            closing: Box::pin(closing.cancelled_owned()),
            timer: Box::pin(tokio::time::sleep(IDLE)),
            armed: None,
            link: None,
            reception: Reception::new(shared.jitter_limit),
            talk: Talk::new(),
            control: Control::new(now, utc),
            peer: None,
            peer_bell: Bell::default(),
            outbox,
            tally: Tally::default(),
            recording,
            tape: None,
            listener: None,
            presses: Presses::default(),
            clock: shared.clock,
            recorder: shared.recorder,
        });
        (session, leg)
    }

    /// Runs until the leg is closed; then says goodbye, finishes the recording and reports.
    pub async fn run(mut self: Box<Self>, load: Load) {
        poll_fn(|context| self.turn(context)).await;
        self.peer = None;
        let now = self.clock.now();
        self.send_goodbye(now);
        let quality = self.quality();
        self.tally.publish(&self.reception, &self.talk);
        let recording = match self.tape.take() {
            // Once in a call: not a part of what every call carries all the time.
            Some(tape) => Box::pin(tape.finish(now)).await,
            None => None,
        };
        let Session { sockets, outbox, .. } = *self;
        drop((sockets, load));
        outbox.close(quality, recording);
    }

    /// One wake-up. Ready = the leg is to be closed.
    fn turn(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.bell.has_rung(context) && !self.obey() {
                return Poll::Ready(());
            }
            let more = self.read_datagrams(context);
            let now = self.clock.now();
            if let Some(tape) = &mut self.tape {
                tape.roll(now);
            }
            self.hear(now);
            self.peer_bell.has_rung(context);
            self.poll_peer(now);
            self.speak();
            let paced = self.peer.as_ref().is_some_and(|peer| peer.keeps_pace());
            self.talk.queue.drains(!paced);
            self.peer_bell.mute(self.talk.queue.is_speaking() && !paced);
            self.keep_house(now);
            if more {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let due = self.next_due().unwrap_or(now + IDLE);
            if self.armed == Some(due) && due > now {
                return Poll::Pending;
            }
            self.armed = Some(due);
            self.timer.as_mut().reset(due.into());
            if self.timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            self.armed = None;
        }
    }

    /// Carries out waiting commands; `false` when the leg is to be closed, or nobody can give any more.
    fn obey(&mut self) -> bool {
        loop {
            let mut context = Context::from_waker(self.bell.waker());
            if self.closing.as_mut().poll(&mut context).is_ready() {
                return false;
            }
            match self.commands.poll_recv(&mut context) {
                Poll::Ready(Some(Command::Connect(remote))) => self.connect(*remote),
                Poll::Ready(Some(Command::Attach(factory))) => {
                    let peer = factory();
                    self.reception.prompt(peer.is_prompt());
                    self.peer = Some(peer);
                }
                Poll::Ready(Some(Command::Key(key))) => self.press(key, Way::Signalling, self.clock.now()),
                Poll::Ready(Some(Command::Press(keys, taken))) => {
                    let events = self.link.as_ref().is_some_and(|link| link.remote.telephone_event.is_some());
                    // Whoever asked may have gone away.
                    let _ = taken.send(self.talk.press(&keys, events));
                }
                Poll::Ready(None) => return false,
                Poll::Pending => return true,
            }
        }
    }

    fn connect(&mut self, remote: Remote) {
        let now = self.clock.now();
        self.talk.follow(&remote);
        self.talk.queue.run(remote.send);
        self.listener = match remote.keys {
            KeyWay::Events | KeyWay::Signalling => None,
            KeyWay::Tones => self.listener.take().or_else(|| Some(ToneListener::new(remote.codec.rate()))),
        };
        match &mut self.link {
            Some(link) => {
                // Another phone has habits of its own.
                if link.remote.rtp != remote.rtp {
                    self.presses = Presses::default();
                }
                if link.change(remote, now) == Change::NewSource {
                    self.talk.stream.renew();
                }
            }
            None => {
                // A call that may become wide-band is recorded so from the start.
                let rate = remote.accepted.iter().map(|(_, codec)| codec.rate()).fold(remote.codec.rate(), u32::max);
                self.link = Some(Link::new(remote, now));
                self.control.begin(now);
                self.tape = self.recording.take().and_then(|path| self.recorder.open(&self.clock, path, now, rate));
            }
        }
    }

    /// Delivers every frame that is due.
    pub(super) fn hear(&mut self, now: Instant) {
        if self.link.as_ref().is_none_or(|link| !link.remote.receive) {
            return;
        }
        while let Some(heard) = self.reception.poll(now) {
            if let Some(tape) = &mut self.tape {
                tape.lay_heard(heard, now);
            }
            if heard.left_out {
                continue;
            }
            self.tally.level_in.add_energy(heard.energy, heard.pcm.len());
            let key = self.listener.as_mut().and_then(|listener| listener.hear(&heard.pcm, heard.pcm.rate()));
            if let Some(peer) = &mut self.peer {
                // Blended with the stand-in before it, a frame is no longer what its payload says.
                let encoded = heard.encoded.as_ref().filter(|_| heard.unblended.is_none());
                let frame = HeardFrame {
                    pcm: &heard.pcm,
                    rate: heard.pcm.rate(),
                    at: heard.at,
                    concealed: heard.origin == Origin::Concealed,
                    encoded: encoded.map(|(codec, octets)| (*codec, octets.as_slice())),
                };
                peer.heard(frame, &mut Desk::new(&mut self.talk, now));
            }
            if let Some(key) = key {
                self.press(key, Way::Tone, now);
            }
        }
    }

    fn poll_peer(&mut self, now: Instant) {
        let mut context = Context::from_waker(self.peer_bell.waker());
        if let Some(peer) = &mut self.peer
            && peer.poll(&mut context, &mut Desk::new(&mut self.talk, now)).is_ready()
        {
            self.peer = None;
        }
    }

    /// Sends every slot that is due, and tells the peer of the marks that were passed.
    fn speak(&mut self) {
        for _ in 0..ROUNDS {
            self.send_slots();
            let Some(mark) = self.talk.queue.reached() else { return };
            if let Some(peer) = &mut self.peer {
                peer.played(mark, &mut Desk::new(&mut self.talk, self.clock.now()));
            }
        }
    }

    /// Reports and events.
    fn keep_house(&mut self, now: Instant) {
        for key in self.talk.signalled.drain(..) {
            self.outbox.send(LegEvent::SendKey(key));
        }
        self.send_report(now);
        if self.tally.is_due(now) {
            let quality = self.quality();
            self.tally.publish(&self.reception, &self.talk);
            self.outbox.send(LegEvent::Quality(Box::new(quality)));
        }
        let (timeout, resting) = (self.rtp_timeout, self.reception.is_resting());
        if self.link.as_mut().is_some_and(|link| link.falls_silent(now, timeout, resting)) {
            self.outbox.send(LegEvent::Silent);
        }
    }

    fn next_due(&self) -> Option<Instant> {
        let link = self.link.as_ref()?;
        let hearing = self.reception.next_due().filter(|_| link.remote.receive);
        let silence = link.silent_at(self.rtp_timeout, self.reception.is_resting());
        [hearing, self.talk.queue.next_due(), self.control.next_due(), self.tally.next_due(), silence]
            .into_iter()
            .flatten()
            .min()
    }
}
