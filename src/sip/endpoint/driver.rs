//! The task that owns the user agent: sockets, clock, DNS and queues around it.

mod phones;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use super::inbox::{Inbox, Order};
use super::{CallControl, EVENT_QUEUE, IncomingCall, IncomingMessage};
use crate::clock::Clock;
use crate::sip::agent::{CallKey, Incoming, Output, UserAgent};
use crate::sip::event::{CallEvent, Command, EndedBy, OfferOutcome};
use crate::sip::resolve::keep::keep_located;
use crate::sip::resolve::{Families, Resolver, Wanted};
use crate::sip::transaction::ClientKey;
use crate::sip::transport::connection::Arrival;
use crate::sip::transport::streams::Streams;
use crate::sip::transport::udp::Udp;
use crate::sip::transport::{Hop, Transport, stun};
use crate::sip::trunk::status::Board;

pub struct Driver {
    udp: Udp,
    streams: Streams,
    arrivals: mpsc::Receiver<Arrival>,
    /// Taken from `arrivals` and not looked at yet.
    arrived: Vec<Arrival>,
    agent: UserAgent,
    inbox: Arc<Inbox>,
    incoming: mpsc::Sender<IncomingCall>,
    clock: Clock,
    resolver: Resolver,
    board: Board,
    events: HashMap<CallKey, Owner>,
    offers: HashMap<CallKey, oneshot::Sender<OfferOutcome>>,
    texts: phones::Texts,
    stopping: Option<Stopping>,
}

/// The way to whoever owns a call.
struct Owner {
    sender: mpsc::Sender<CallEvent>,
    _watch: AbortOnDrop,
}

/// Ends the task that waits for the owner to go away.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Stopping {
    until: Instant,
    done: Vec<oneshot::Sender<()>>,
}

/// Datagrams taken before commands and timers get their turn.
const BATCH: usize = 64;
/// Places in an event queue that are kept for what may not be lost.
const RESERVED: usize = 8;
/// Longest time that stopping may take, whatever is asked for.
const LONGEST_STOP: Duration = Duration::from_secs(24 * 3_600);
/// Largest UDP payload.
const MAX_DATAGRAM: usize = 65_535;

impl Driver {
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        udp: Udp,
        (streams, arrivals): (Streams, mpsc::Receiver<Arrival>),
        agent: UserAgent,
        inbox: Arc<Inbox>,
        incoming: mpsc::Sender<IncomingCall>,
        texting: mpsc::Sender<IncomingMessage>,
        clock: Clock,
        resolver: Resolver,
        board: Board,
    ) -> Driver {
        Driver {
            udp,
            streams,
            arrivals,
            arrived: Vec::new(),
            agent,
            inbox,
            incoming,
            clock,
            resolver,
            board,
            events: HashMap::new(),
            offers: HashMap::new(),
            texts: phones::Texts::new(texting),
            stopping: None,
        }
    }

    pub async fn run(mut self) {
        let mut buffer = vec![0; MAX_DATAGRAM];
        self.begin_trunks();
        self.flush().await;
        while !self.finished() {
            self.wait().await;
            self.receive(&mut buffer).await;
            self.attend().await;
            self.obey().await;
            self.agent.tick(self.clock.now());
            self.flush().await;
        }
        self.inbox.close();
        self.abandon_calls();
        for done in self.stopping.take().map(|stopping| stopping.done).unwrap_or_default() {
            // Whoever waited may have given up.
            let _ = done.send(());
        }
    }

    /// Trunks are looked for, registered with and asked whether they live.
    fn begin_trunks(&mut self) {
        self.agent.begin_trunks(Families::of(self.udp.local()), self.clock.now());
        for (trunk, place, wanted) in self.agent.wanted() {
            let inbox = Arc::downgrade(&self.inbox);
            let tell = move |found| {
                let Some(inbox) = inbox.upgrade().filter(|inbox| !inbox.is_closed()) else { return false };
                inbox.push(Order::TrunkLocated { trunk, place, found });
                true
            };
            tokio::spawn(keep_located(self.resolver.clone(), wanted, tell));
        }
    }

    fn finished(&self) -> bool {
        self.stopping.as_ref().is_some_and(|stopping| self.agent.is_quiet() || self.clock.now() >= stopping.until)
    }

    async fn wait(&mut self) {
        let wake = [self.agent.next_wake(), self.stopping.as_ref().map(|stopping| stopping.until)];
        let pause = wake.into_iter().flatten().min().map(|at| at.saturating_duration_since(self.clock.now()));
        let timer = async {
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.inbox.filled() => {}
            () = self.udp.readable() => {}
            _ = self.arrivals.recv_many(&mut self.arrived, BATCH) => {}
            () = timer => {}
        }
    }

    async fn receive(&mut self, buffer: &mut [u8]) {
        for _ in 0..BATCH {
            let Some((length, source)) = self.udp.try_receive(buffer) else { return };
            let datagram = buffer.get(..length).unwrap_or_default();
            if stun::is_stun(datagram) {
                self.keep_open(datagram, source).await;
                continue;
            }
            self.agent.datagram(datagram, Hop::udp(source), self.clock.now());
            self.flush().await;
        }
    }

    /// Tells a phone behind a NAT where it was seen.
    async fn keep_open(&mut self, datagram: &[u8], source: SocketAddr) {
        let Some(answer) = stun::answer(datagram, source) else { return };
        if self.agent.may_answer(Hop::udp(source), self.clock.now()) {
            // It asks again.
            let _ = self.udp.send(&answer, source).await;
        }
    }

    /// What came over connections.
    async fn attend(&mut self) {
        while self.arrived.len() < BATCH
            && let Ok(arrival) = self.arrivals.try_recv()
        {
            self.arrived.push(arrival);
        }
        for arrival in std::mem::take(&mut self.arrived) {
            let now = self.clock.now();
            match arrival {
                Arrival::Message { from, bytes } => {
                    self.agent.datagram(&bytes, from, now);
                }
                Arrival::Refused { from, refusal } => self.agent.unframed(&refusal, from, now),
                Arrival::Named { line, trunks } => self.agent.line_named(line, &trunks),
                Arrival::Ended { line, opened, trouble } => {
                    self.agent.line_lost(line, opened, trouble.sentence(), now);
                }
            }
            self.flush().await;
        }
    }

    async fn transmit(&mut self, to: Hop, message: Bytes, transaction: Option<ClientKey>) {
        metrics::counter!("trunkline_sip_messages_sent_total").increment(1);
        let sent = match to.transport {
            Transport::Udp => match self.udp.send(&message, to.address).await {
                Ok(()) => Ok(None),
                Err(problem) => {
                    tracing::debug!(%to, %problem, "the socket refused a datagram");
                    Err("the network refused the packet")
                }
            },
            Transport::Tcp | Transport::Tls => {
                let sent = self.streams.send(to, self.agent.owner_of(to), &message);
                sent.map(Some).map_err(|trouble| trouble.sentence())
            }
        };
        let Some(transaction) = transaction else { return };
        match sent {
            Ok(None) => {}
            Ok(Some(line)) => self.agent.sent_on(&transaction, line),
            Err(problem) => self.agent.transport_failed(&transaction, problem, self.clock.now()),
        }
    }

    async fn obey(&mut self) {
        for order in self.inbox.take() {
            self.take(order);
            self.flush().await;
        }
    }

    fn take(&mut self, order: Order) {
        let now = self.clock.now();
        match order {
            Order::Dial { call, order, events } => {
                self.own(call, events);
                if self.stopping.is_some() {
                    self.tell(call, CallEvent::Ended { by: EndedBy::Us });
                } else {
                    self.agent.dial(call, *order, now);
                }
            }
            Order::Ring { call, order, events } => {
                self.own(call, events);
                if self.stopping.is_some() {
                    self.tell(call, CallEvent::Ended { by: EndedBy::Us });
                } else {
                    self.agent.ring(call, *order, now);
                }
            }
            Order::Phones(order) => self.take_phone_order(order),
            Order::Command { call, command, backlog } => {
                backlog.taken(&command);
                self.agent.command(call, command, now);
            }
            Order::Offer { call, command, done } => {
                // One offer at a time; a second is refused as the peer would.
                match self.offers.entry(call) {
                    Entry::Occupied(_) => {
                        let _ = done.send(OfferOutcome::Refused(491));
                    }
                    Entry::Vacant(place) => {
                        place.insert(done);
                        self.agent.command(call, command, now);
                    }
                }
            }
            Order::Deserted(call) => self.agent.command(call, Command::HangUp, now),
            Order::Resolved { call, found } => self.agent.resolved(call, found, now),
            Order::TrunkLocated { trunk, place, found } => self.agent.trunk_located(trunk, place, found, now),
            Order::RefuseNewCalls => self.agent.refuse_new_calls(),
            Order::Ping(answer) => {
                let _ = answer.send(());
            }
            Order::Stop { limit, done } => self.begin_stop(now + limit.min(LONGEST_STOP), done),
        }
    }

    fn begin_stop(&mut self, until: Instant, done: oneshot::Sender<()>) {
        self.agent.refuse_new_calls();
        self.agent.hang_up_all(self.clock.now());
        self.agent.leave_trunks(self.clock.now());
        let stopping = self.stopping.get_or_insert_with(|| Stopping { until, done: Vec::new() });
        stopping.until = stopping.until.min(until);
        stopping.done.push(done);
    }

    /// Carries out everything that the agent wants, until it wants nothing.
    async fn flush(&mut self) {
        loop {
            let outputs = self.agent.outputs();
            if outputs.is_empty() {
                return;
            }
            for output in outputs {
                match output {
                    Output::Transmit { to, datagram, transaction } => {
                        self.transmit(to, datagram, transaction).await;
                    }
                    Output::Resolve { call, wanted } => self.resolve(call, wanted),
                    Output::Trunk(status) => self.board.write(status),
                    Output::Incoming(incoming) => self.offer_call(*incoming),
                    Output::Message(message) => self.deliver_text(*message),
                    Output::MessageDone { key, outcome } => self.text_done(key, outcome),
                    Output::Event { call, event } => self.tell(call, event),
                    Output::OfferDone { call, outcome } => {
                        if let Some(done) = self.offers.remove(&call) {
                            let _ = done.send(outcome);
                        }
                    }
                }
            }
        }
    }

    fn resolve(&self, call: CallKey, wanted: Wanted) {
        let (resolver, inbox) = (self.resolver.clone(), self.inbox.clone());
        tokio::spawn(async move {
            let found = resolver.locate(&wanted).await.map(|located| located.sites);
            inbox.push(Order::Resolved { call, found });
        });
    }

    fn offer_call(&mut self, incoming: Incoming) {
        let (sender, events) = mpsc::channel(EVENT_QUEUE);
        let key = incoming.call;
        let control = CallControl::new(key, &incoming.call_id, self.inbox.clone(), Some(incoming.local))
            .over_tls(incoming.secure);
        let call = IncomingCall {
            control,
            events,
            called: incoming.called,
            caller: incoming.caller,
            caller_name: incoming.caller_name,
            origin: incoming.origin,
            offer: incoming.offer,
            provenance: incoming.provenance,
            replaces: incoming.replaces,
        };
        self.own(key, sender);
        if self.incoming.try_send(call).is_err() {
            self.agent.command(key, Command::Reject(503), self.clock.now());
        }
    }

    /// A call whose events nobody can read any more is hung up.
    fn own(&mut self, call: CallKey, sender: mpsc::Sender<CallEvent>) {
        let (inbox, watched) = (self.inbox.clone(), sender.clone());
        let watch = tokio::spawn(async move {
            watched.closed().await;
            inbox.push(Order::Deserted(call));
        });
        self.events.insert(call, Owner { sender, _watch: AbortOnDrop(watch.abort_handle()) });
    }

    /// Never waits: a call that does not read its events loses ringing first, then offers, never its end.
    fn tell(&mut self, call: CallKey, event: CallEvent) {
        if event.is_last() {
            if let Some(Owner { sender, .. }) = self.events.remove(&call) {
                send_last(sender, event);
            }
            // Dropped, it tells whoever still waits that nothing was changed.
            self.offers.remove(&call);
            return;
        }
        let Some(Owner { sender, .. }) = self.events.get(&call) else { return };
        let room = sender.capacity() > RESERVED;
        match event {
            // A flood of keys or bells is nobody's loss.
            CallEvent::Ringing { .. } | CallEvent::Key(_) | CallEvent::Because(_) if !room => {}
            CallEvent::Offer { .. } if !room || sender.is_closed() => {
                self.agent.command(call, Command::RefuseOffer, self.clock.now());
            }
            event => {
                if sender.try_send(event).is_err() {
                    // Nobody listens any more: the call is nobody's.
                    self.agent.command(call, Command::HangUp, self.clock.now());
                }
            }
        }
    }

    /// When the driver ends with calls left, their owners hear it.
    fn abandon_calls(&mut self) {
        for (_, Owner { sender, .. }) in self.events.drain() {
            send_last(sender, CallEvent::Ended { by: EndedBy::Us });
        }
    }
}

/// The last event may have to wait for its reader; the wait ends when the reader reads or goes.
fn send_last(sender: mpsc::Sender<CallEvent>, event: CallEvent) {
    if let Err(mpsc::error::TrySendError::Full(event)) = sender.try_send(event) {
        tokio::spawn(async move {
            let _ = sender.send(event).await;
        });
    }
}
