//! Two user agents and the link between them, in virtual time. Everything random comes from one seed.
//!
//! The link delays each datagram by itself (so it reorders), loses some and doubles some. Each leg of a call holds a
//! port from the moment that its owner knows of it until its last event, as the call room does.
#![allow(dead_code, clippy::expect_used, clippy::panic)]

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use trunkline::clock::{Clock, UtcTime};
use trunkline::config::TrunkConfig;
use trunkline::sip::agent::{CallKey, DialOrder, Output, Settings, UserAgent, dialable};
use trunkline::sip::dialog::timer::Terms;
use trunkline::sip::digest::server::Authority;
use trunkline::sip::endpoint::DialPolicy;
use trunkline::sip::event::{CallEvent, Command};
use trunkline::sip::message::Limits;
use trunkline::sip::sdp::{AudioCodec, SessionDescription};
use trunkline::sip::transaction::Timers;
use trunkline::sip::transport::{Hop, Ports};
use trunkline::sip::trunk::Trunks;

pub const CALLER: usize = 0;
pub const CALLEE: usize = 1;

/// What the link does to datagrams.
#[derive(Debug, Clone, Copy)]
pub struct Link {
    /// Of 1,000 datagrams.
    pub lost: u32,
    pub doubled: u32,
    /// Milliseconds, drawn evenly.
    pub delay: (u64, u64),
}

/// One end of a call as its owner sees it.
#[derive(Debug, Default, Clone)]
pub struct Leg {
    pub port: Option<u16>,
    pub events: Vec<CallEvent>,
    pub offers_made: usize,
    pub offers_done: usize,
}

pub struct World {
    pub agents: [UserAgent; 2],
    pub now: Instant,
    pub link: Link,
    pub random: SmallRng,
    pub legs: BTreeMap<(usize, CallKey), Leg>,
    /// What an owner is going to say, by time.
    orders: BinaryHeap<Reverse<(Instant, u64, usize, CallKey)>>,
    commands: BTreeMap<u64, Command>,
    wire: BinaryHeap<Reverse<(Instant, u64, usize, Vec<u8>)>>,
    ports: [Vec<u16>; 2],
    next: u64,
    pub datagrams: u64,
    /// The last datagrams that were sent.
    sent: VecDeque<Vec<u8>>,
}

/// Datagrams that are kept for repeating.
const KEPT: usize = 64;

/// Ports that each side has; more legs than that at once would be a mistake of the simulation.
const PORTS: u16 = 200;

impl World {
    pub fn new(seed: u64, link: Link) -> World {
        let now = Clock::manual(UtcTime(0)).now();
        let ports = || (0..PORTS).map(|number| 10_000 + 2 * number).collect();
        World {
            agents: [agent(CALLER, now), agent(CALLEE, now)],
            now,
            link,
            random: SmallRng::seed_from_u64(seed),
            legs: BTreeMap::new(),
            orders: BinaryHeap::new(),
            commands: BTreeMap::new(),
            wire: BinaryHeap::new(),
            ports: [ports(), ports()],
            next: 0,
            datagrams: 0,
            sent: VecDeque::new(),
        }
    }

    pub fn dial(&mut self, number: u64, ring: Duration) -> CallKey {
        let call = CallKey(number);
        self.open(CALLER, call);
        let order = DialOrder {
            trunk: "peer".into(),
            target: dialable(&format!("sip:100@{}", address(CALLEE))).expect("dialable"),
            caller_number: Some("1".into()),
            caller_name: None,
            offer: session(CALLER, 1),
            ring_timeout: ring,
            call_id: format!("call-{number}"),
            policy: DialPolicy::default(),
        };
        self.agents[CALLER].dial(call, order, self.now);
        self.carry_out();
        call
    }

    /// Has the owner of a leg say something later.
    pub fn later(&mut self, after: Duration, side: usize, call: CallKey, command: Command) {
        self.next += 1;
        self.commands.insert(self.next, command);
        self.orders.push(Reverse((self.now + after, self.next, side, call)));
    }

    pub fn command(&mut self, side: usize, call: CallKey, command: Command) {
        let leg = self.legs.entry((side, call)).or_default();
        leg.offers_made += usize::from(matches!(command, Command::Offer(_)));
        self.agents[side].command(call, command, self.now);
        self.carry_out();
    }

    /// A datagram that somebody throws at one side, as if the other had sent it.
    pub fn throw(&mut self, side: usize, datagram: &[u8]) {
        self.agents[side].datagram(datagram, Hop::udp(address(1 - side)), self.now);
        self.carry_out();
    }

    /// One of the last datagrams.
    pub fn seen(&self, which: u8) -> Option<Vec<u8>> {
        self.sent.get(usize::from(which) % self.sent.len().max(1)).cloned()
    }

    pub fn hang_up_all(&mut self) {
        for side in [CALLER, CALLEE] {
            self.agents[side].hang_up_all(self.now);
            self.carry_out();
        }
    }

    /// Lets virtual time pass.
    pub fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let wakes = self.agents.iter().filter_map(UserAgent::next_wake);
            let orders = self.orders.peek().map(|Reverse((at, ..))| *at);
            let wire = self.wire.peek().map(|Reverse((at, ..))| *at);
            let Some(at) = wakes.chain(orders).chain(wire).min().filter(|at| *at <= end) else { break };
            self.now = self.now.max(at);
            self.turn();
        }
        self.now = end;
    }

    fn turn(&mut self) {
        while let Some(Reverse((_, _, side, datagram))) = take_due(&mut self.wire, self.now, |entry| entry.0) {
            self.throw(side, &datagram);
        }
        while let Some(Reverse((_, number, side, call))) = take_due(&mut self.orders, self.now, |entry| entry.0) {
            let command = self.commands.remove(&number).expect("kept");
            self.command(side, call, command);
        }
        for side in [CALLER, CALLEE] {
            self.agents[side].tick(self.now);
        }
        self.carry_out();
    }

    fn carry_out(&mut self) {
        for side in [CALLER, CALLEE] {
            for output in self.agents[side].outputs() {
                match output {
                    Output::Transmit { datagram, .. } => self.send(1 - side, &datagram),
                    Output::Incoming(incoming) => {
                        self.open(side, incoming.call);
                        answer(self, side, incoming.call);
                    }
                    Output::Event { call, event } => self.event(side, call, event),
                    Output::OfferDone { call, .. } => {
                        self.legs.entry((side, call)).or_default().offers_done += 1;
                    }
                    Output::Resolve { .. } => panic!("addresses need no DNS"),
                    Output::Trunk(_) => {}
                    Output::Message(_) | Output::MessageDone { .. } => panic!("nobody sends texts"),
                }
            }
        }
    }

    fn send(&mut self, to: usize, datagram: &[u8]) {
        self.datagrams += 1;
        self.sent.truncate(KEPT - 1);
        self.sent.push_front(datagram.to_vec());
        let chance = |random: &mut SmallRng, of: u32| random.random_range(0..1_000) < of;
        if chance(&mut self.random, self.link.lost) {
            return;
        }
        let copies = 1 + usize::from(chance(&mut self.random, self.link.doubled));
        for _ in 0..copies {
            let (least, most) = self.link.delay;
            let delay = Duration::from_millis(self.random.random_range(least..=most));
            self.next += 1;
            self.wire.push(Reverse((self.now + delay, self.next, to, datagram.to_vec())));
        }
    }

    fn open(&mut self, side: usize, call: CallKey) {
        let port = self.ports[side].pop();
        assert!(port.is_some(), "the ports ran out: one leaked");
        self.legs.entry((side, call)).or_default().port = port;
    }

    fn event(&mut self, side: usize, call: CallKey, event: CallEvent) {
        let leg = self.legs.entry((side, call)).or_default();
        if event.is_last() {
            self.ports[side].extend(leg.port.take());
        }
        let asked = matches!(event, CallEvent::Offer { .. });
        leg.events.push(event);
        if asked {
            let after = Duration::from_millis(self.random.random_range(0..1_500));
            let refuse = self.random.random_ratio(1, 5);
            let answer = if refuse { Command::RefuseOffer } else { Command::AcceptOffer(session(side, 2)) };
            self.later(after, side, call, answer);
        }
    }

    /// What must be true when nobody wants anything any more; the sentence says what is not.
    pub fn settled(&self) -> Result<(), String> {
        for ((side, call), leg) in &self.legs {
            let lasts = leg.events.iter().filter(|event| event.is_last()).count();
            let ends = leg.events.last().is_some_and(CallEvent::is_last);
            if lasts != 1 || !ends {
                return Err(format!("{call:?} of side {side} has {lasts} outcomes: {:?}", leg.events));
            }
            if leg.offers_made != leg.offers_done {
                return Err(format!("{call:?} of side {side}: {} of {} offers", leg.offers_done, leg.offers_made));
            }
        }
        for (side, agent) in self.agents.iter().enumerate() {
            let held = agent.held();
            if !agent.is_quiet() || agent.next_wake().is_some() || held.any() {
                return Err(format!("side {side} still holds {held:?}"));
            }
            if self.ports[side].len() != usize::from(PORTS) {
                return Err(format!("side {side} lost {} ports", usize::from(PORTS) - self.ports[side].len()));
            }
        }
        Ok(())
    }
}

fn take_due<T: Ord>(heap: &mut BinaryHeap<Reverse<T>>, now: Instant, at: fn(&T) -> Instant) -> Option<Reverse<T>> {
    if heap.peek().is_some_and(|Reverse(entry)| at(entry) <= now) { heap.pop() } else { None }
}

/// What the called side does with a call: rings, answers, refuses, hangs up, or forgets about it.
fn answer(world: &mut World, side: usize, call: CallKey) {
    let ms = |world: &mut World, most: u64| Duration::from_millis(world.random.random_range(0..most));
    match world.random.random_range(0..10) {
        0 => world.later(Duration::ZERO, side, call, Command::Reject(603)),
        1 => {}
        2 => {
            let after = ms(world, 5_000);
            world.later(after, side, call, Command::HangUp);
        }
        kind => {
            let early = (kind > 7).then(|| session(side, 1));
            let ring = ms(world, 3_000);
            world.later(ring, side, call, Command::Ringing(early));
            let after = ring + ms(world, 20_000);
            let busy = kind == 3;
            let word = if busy { Command::Reject(486) } else { Command::Answer(session(side, 1)) };
            world.later(after, side, call, word);
        }
    }
    // Somebody ends what became of it, often while something is under way.
    for _ in 0..world.random.random_range(0..3) {
        let after = ms(world, 60_000);
        world.later(after, side, call, Command::Offer(session(side, 2)));
    }
    if world.random.random_ratio(1, 2) {
        let after = ms(world, 60_000);
        world.later(after, side, call, Command::HangUp);
    }
}

pub fn address(side: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, if side == CALLER { 1 } else { 2 }], 5060))
}

pub fn session(side: usize, version: u64) -> SessionDescription {
    let mut session = SessionDescription::offer(1, SocketAddr::new(address(side).ip(), 4000), &[AudioCodec::Pcmu]);
    session.version = version;
    session
}

fn agent(side: usize, now: Instant) -> UserAgent {
    let trunk: TrunkConfig =
        toml::from_str(&format!("name = \"peer\"\nhost = \"{}\"", address(1 - side))).expect("a valid trunk");
    let (mut token, mut call) = (0_u64, 1 << 32);
    let own: IpAddr = address(side).ip();
    let settings = Settings {
        user_agent: "simulated".into(),
        timers: Timers::from_t1(Duration::from_millis(500)),
        limits: Limits::default(),
        max_dialogs_per_source: 1_000,
        session_timer: Terms::new(20),
        ports: Ports::all(5060),
        local_address: Box::new(move |_| own),
        tokens: Box::new(move || {
            token += 1;
            format!("{side}{token:015x}")
        }),
        call_keys: Box::new(move || {
            call += 1;
            CallKey(call)
        }),
    };
    UserAgent::new(settings, Trunks::new(&[trunk]), Authority::new([0; 32], "test", [], now))
}
