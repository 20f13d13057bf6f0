//! Two user agents in virtual time over a network that loses, repeats and reorders.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use trunkline::clock::{Clock, UtcTime};
use trunkline::config::TrunkConfig;
use trunkline::sip::agent::{CallKey, DialOrder, Output, Settings, UserAgent, dialable};
use trunkline::sip::dialog::timer::Terms;
use trunkline::sip::digest::server::Authority;
use trunkline::sip::endpoint::DialPolicy;
use trunkline::sip::event::{CallEvent, Command, EndedBy};
use trunkline::sip::message::Limits;
use trunkline::sip::sdp::{AudioCodec, SessionDescription};
use trunkline::sip::transaction::Timers;
use trunkline::sip::transport::{Hop, Ports};
use trunkline::sip::trunk::Trunks;

const CALLER: usize = 0;
const CALLEE: usize = 1;
const T1: Duration = Duration::from_millis(500);

fn address(side: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, if side == CALLER { 1 } else { 2 }], 5060))
}

fn session(side: usize) -> SessionDescription {
    SessionDescription::offer(1, SocketAddr::new(address(side).ip(), 4000), &[AudioCodec::Pcmu])
}

fn agent(side: usize, now: Instant) -> UserAgent {
    let trunk: TrunkConfig =
        toml::from_str(&format!("name = \"peer\"\nhost = \"{}\"", address(1 - side))).expect("a valid trunk");
    let (mut token, mut call) = (0_u64, 100);
    let own: IpAddr = address(side).ip();
    let settings = Settings {
        user_agent: "test".into(),
        timers: Timers::from_t1(T1),
        limits: Limits::default(),
        max_dialogs_per_source: 10,
        session_timer: Terms::new(1800),
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

/// What the network does to a datagram.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Deliver,
    Lose,
    Twice,
    Late,
}

struct World {
    agents: [UserAgent; 2],
    now: Instant,
    start: Instant,
    wire: VecDeque<(usize, Vec<u8>)>,
    fates: VecDeque<Fate>,
    /// Time, side, call and event.
    events: Vec<(Duration, usize, CallKey, CallEvent)>,
    sent: Vec<(Duration, usize, String)>,
    /// What the called side says when a call comes in.
    on_call: Vec<Command>,
}

impl World {
    fn new(fates: Vec<Fate>, on_call: Vec<Command>) -> World {
        let start = Clock::manual(UtcTime(0)).now();
        let agents = [agent(CALLER, start), agent(CALLEE, start)];
        let (wire, events, sent) = (VecDeque::new(), Vec::new(), Vec::new());
        World { agents, now: start, start, wire, fates: fates.into(), events, sent, on_call }
    }

    fn dial(&mut self) -> CallKey {
        let order = DialOrder {
            trunk: "peer".into(),
            target: dialable(&format!("sip:100@{}", address(CALLEE))).expect("dialable"),
            caller_number: Some("1".into()),
            caller_name: None,
            offer: session(CALLER),
            ring_timeout: Duration::from_secs(120),
            call_id: "call".into(),
            policy: DialPolicy::default(),
        };
        self.agents[CALLER].dial(CallKey(1), order, self.now);
        self.settle();
        CallKey(1)
    }

    fn command(&mut self, side: usize, call: CallKey, command: Command) {
        self.agents[side].command(call, command, self.now);
        self.settle();
    }

    /// Carries out outputs and delivers datagrams until all is still.
    fn settle(&mut self) {
        loop {
            for side in [CALLER, CALLEE] {
                for output in self.agents[side].outputs() {
                    self.output(side, output);
                }
            }
            let Some((side, datagram)) = self.wire.pop_front() else { return };
            self.agents[side].datagram(&datagram, Hop::udp(address(1 - side)), self.now);
        }
    }

    fn output(&mut self, side: usize, output: Output) {
        match output {
            Output::Transmit { datagram, .. } => {
                let line = String::from_utf8_lossy(&datagram).lines().next().unwrap_or_default().to_owned();
                self.sent.push((self.now - self.start, side, line));
                let entry = (1 - side, datagram.to_vec());
                match self.fates.pop_front().unwrap_or(Fate::Deliver) {
                    Fate::Deliver => self.wire.push_back(entry),
                    Fate::Lose => {}
                    Fate::Twice => self.wire.extend([entry.clone(), entry]),
                    Fate::Late => self.wire.push_front(entry),
                }
            }
            Output::Incoming(incoming) => {
                for command in self.on_call.clone() {
                    self.agents[side].command(incoming.call, command, self.now);
                }
            }
            Output::Event { call, event } => self.events.push((self.now - self.start, side, call, event)),
            Output::OfferDone { .. }
            | Output::Resolve { .. }
            | Output::Trunk(_)
            | Output::Message(_)
            | Output::MessageDone { .. } => {}
        }
    }

    /// Lets virtual time pass.
    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(at) = self.agents.iter().filter_map(UserAgent::next_wake).min().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            for agent in &mut self.agents {
                agent.tick(self.now);
            }
            self.settle();
        }
        self.now = end;
    }

    fn heard(&self, side: usize) -> Vec<CallEvent> {
        self.events.iter().filter(|(_, at, _, _)| *at == side).map(|(_, _, _, event)| event.clone()).collect()
    }

    fn times(&self, side: usize, start: &str) -> Vec<u128> {
        let lines = self.sent.iter().filter(|(_, at, line)| *at == side && line.starts_with(start));
        lines.map(|(time, _, _)| time.as_millis()).collect()
    }
}

fn answer() -> Vec<Command> {
    vec![Command::Ringing(None), Command::Answer(session(CALLEE))]
}

#[test]
fn a_hang_up_before_the_ack_waits_for_it() {
    // The ACK is the fifth datagram: INVITE, 100, 180, 200, ACK.
    let deliver = Fate::Deliver;
    let mut commands = answer();
    commands.push(Command::HangUp);
    let mut world = World::new(vec![deliver, deliver, deliver, deliver, Fate::Lose], commands);
    world.dial();
    assert_eq!(world.heard(CALLEE), [CallEvent::Ended { by: EndedBy::Us }]);
    assert_eq!(world.times(CALLEE, "BYE"), [0_u128; 0]);
    world.run(Duration::from_secs(1));
    assert_eq!(world.times(CALLEE, "SIP/2.0 200"), [0, 500]);
    assert_eq!(world.times(CALLEE, "BYE"), [500]);
    assert_eq!(world.heard(CALLER).last(), Some(&CallEvent::Ended { by: EndedBy::Peer }));
}

#[test]
fn a_ringing_phone_gives_a_sign_of_life_every_minute() {
    let mut world = World::new(Vec::new(), vec![Command::Ringing(None)]);
    world.dial();
    world.run(Duration::from_secs(119));
    assert_eq!(world.times(CALLEE, "SIP/2.0 180"), [0, 60_000]);
}

#[test]
fn a_cancel_without_a_final_answer_is_given_up_after_64_t1() {
    let mut world = World::new(Vec::new(), vec![Command::Ringing(None)]);
    let call = world.dial();
    world.fates = vec![Fate::Lose; 10_000].into();
    world.command(CALLER, call, Command::HangUp);
    assert_eq!(world.heard(CALLER).last(), Some(&CallEvent::Ended { by: EndedBy::Us }));
    assert!(!world.agents[CALLER].is_quiet());
    world.run(Duration::from_secs(33));
    assert!(world.agents[CALLER].is_quiet());
}

#[test]
fn a_hang_up_before_any_answer_cancels_with_the_first_sign() {
    let mut world = World::new(vec![Fate::Lose, Fate::Lose], vec![Command::Ringing(None)]);
    let call = world.dial();
    world.command(CALLER, call, Command::HangUp);
    assert_eq!(world.times(CALLER, "CANCEL"), [0_u128; 0]);
    world.run(Duration::from_secs(5));
    assert_eq!(world.times(CALLER, "INVITE"), [0, 500, 1_500]);
    assert_eq!(world.times(CALLER, "CANCEL"), [1_500]);
    assert_eq!(world.heard(CALLEE).last(), Some(&CallEvent::Ended { by: EndedBy::Peer }));
}

#[test]
fn a_dead_caller_costs_no_place_for_ever() {
    let mut world = World::new(vec![Fate::Deliver], answer());
    world.fates.extend(vec![Fate::Lose; 10_000]);
    world.dial();
    world.run(Duration::from_secs(100));
    assert_eq!(world.heard(CALLEE), [CallEvent::Ended { by: EndedBy::Lost }]);
    assert!(world.agents[CALLEE].is_quiet() && world.agents[CALLER].is_quiet());
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = prop_oneof![
        4 => Just(Fate::Deliver), 3 => Just(Fate::Lose), 2 => Just(Fate::Twice), 2 => Just(Fate::Late)
    ];
    proptest::collection::vec(fate, 0..40)
}

proptest! {
    #[test]
    fn both_sides_agree_in_the_end_whatever_the_network_does(
        fates in fates(), hang_up_by in 0usize..2, after_ms in 0u64..20_000, refuse in any::<bool>()
    ) {
        let commands = if refuse { vec![Command::Reject(486)] } else { answer() };
        let mut world = World::new(fates, commands);
        let call = world.dial();
        world.run(Duration::from_millis(after_ms));
        let key = if hang_up_by == CALLER { call } else { CallKey(101) };
        world.command(hang_up_by, key, Command::HangUp);
        world.run(Duration::from_secs(60));
        // The called side may have been told to hang up before the INVITE reached it.
        world.command(CALLER, call, Command::HangUp);
        world.run(Duration::from_secs(300));
        for side in [CALLER, CALLEE] {
            let heard = world.heard(side);
            let last = heard.iter().filter(|event| event.is_last()).count();
            prop_assert!(last <= 1, "{side}: {heard:?}");
            prop_assert!(heard.is_empty() || heard.last().is_some_and(CallEvent::is_last), "{side}: {heard:?}");
            prop_assert!(world.agents[side].is_quiet());
            prop_assert!(world.agents[side].next_wake().is_none(), "nothing is left behind");
        }
    }
}
