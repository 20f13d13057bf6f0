//! One call, several addresses of the trunk's name; in virtual time.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use trunkline::clock::{Clock, UtcTime};
use trunkline::sip::agent::{CallKey, DialOrder, Output, Settings, UserAgent, dialable};
use trunkline::sip::dialog::timer::Terms;
use trunkline::sip::digest::server::Authority;
use trunkline::sip::endpoint::DialPolicy;
use trunkline::sip::event::{CallEvent, CallFailure, Command, EndedBy};
use trunkline::sip::message::{Limits, Message, Request, Response, read};
use trunkline::sip::resolve::{Families, Site};
use trunkline::sip::sdp::{AudioCodec, SessionDescription};
use trunkline::sip::transaction::Timers;
use trunkline::sip::transport::{Hop, Ports, Transport, TrunkId};
use trunkline::sip::trunk::Trunks;
use trunkline::sip::trunk::status::Living;

const FIRST: &str = "192.0.2.1";
const SECOND: &str = "192.0.2.2";

struct Bench {
    agent: UserAgent,
    start: Instant,
    now: Instant,
    /// Time in ms, destination and request.
    sent: Vec<(u128, Hop, Request)>,
    invites: Vec<(Hop, Request)>,
    events: Vec<CallEvent>,
    health: Option<Living>,
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("address")
}

fn session() -> SessionDescription {
    SessionDescription::offer(1, "192.0.2.100:4000".parse().expect("address"), &[AudioCodec::Pcmu])
}

impl Bench {
    fn new() -> Bench {
        Bench::with("")
    }

    /// A trunk that has left three rounds of OPTIONS unanswered.
    fn down() -> Bench {
        let mut bench = Bench::with("options_seconds = 30");
        bench.agent.begin_trunks(Families { v4: true, v6: false }, bench.now);
        for _ in 0..300 {
            bench.run(Duration::from_secs(1));
            if bench.health == Some(Living::Down) {
                // Just asked: no OPTIONS comes between for the next half minute.
                bench.sent.clear();
                bench.start = bench.now;
                return bench;
            }
        }
        panic!("the trunk never goes down: {:?}", bench.health);
    }

    fn with(more: &str) -> Bench {
        let start = Clock::manual(UtcTime(0)).now();
        let trunk =
            toml::from_str(&format!("name = \"pbx\"\nhost = \"pbx.example.com\"\n{more}")).expect("a valid trunk");
        let mut token = 0_u64;
        let settings = Settings {
            user_agent: "test".into(),
            timers: Timers::from_t1(Duration::from_millis(500)),
            limits: Limits::default(),
            max_dialogs_per_source: 10,
            session_timer: Terms::new(1800),
            ports: Ports::all(5060),
            local_address: Box::new(|_| ip("192.0.2.100")),
            tokens: Box::new(move || {
                token += 1;
                format!("{token:016x}")
            }),
            call_keys: Box::new(|| CallKey(100)),
        };
        let authority = Authority::new([0; 32], "test", [], start);
        let mut agent = UserAgent::new(settings, Trunks::new(&[trunk]), authority);
        let addresses = [FIRST, SECOND].map(|address| SocketAddr::new(ip(address), 5060)).into();
        agent.trunk_located(TrunkId(0), 0, Ok(vec![Site::of(Transport::Udp, addresses)]), start);
        Bench { agent, start, now: start, sent: Vec::new(), invites: Vec::new(), events: Vec::new(), health: None }
    }

    fn dial(&mut self, call: u64) {
        self.dial_to(call, "sip:100@pbx.example.com");
    }

    fn dial_to(&mut self, call: u64, target: &str) {
        let order = DialOrder {
            trunk: "pbx".into(),
            target: dialable(target).expect("dialable"),
            caller_number: Some("1".into()),
            caller_name: None,
            offer: session(),
            ring_timeout: Duration::from_secs(120),
            call_id: format!("call-{call}"),
            policy: DialPolicy::default(),
        };
        self.agent.dial(CallKey(call), order, self.now);
        self.collect();
    }

    fn collect(&mut self) {
        for output in self.agent.outputs() {
            match output {
                Output::Transmit { to, datagram, .. } => {
                    let Ok(Message::Request(request)) = read(&datagram, &Limits::default()) else {
                        panic!("only requests go out here")
                    };
                    if request.is(rsip::Method::Invite) {
                        self.invites.push((to, request.clone()));
                    }
                    self.sent.push(((self.now - self.start).as_millis(), to, request));
                }
                Output::Event { event, .. } => self.events.push(event),
                Output::Trunk(status) => self.health = Some(status.health),
                other => panic!("unexpected: {other:?}"),
            }
        }
    }

    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(at) = self.agent.next_wake().filter(|at| *at <= end) {
            self.now = at;
            self.agent.tick(at);
            self.collect();
        }
        self.now = end;
    }

    /// Times and methods of what was sent to that address.
    fn sent_to(&self, address: &str) -> Vec<(u128, String)> {
        let theirs = self.sent.iter().filter(|(_, to, _)| to.ip() == ip(address));
        theirs.map(|(at, _, request)| (*at, request.method.to_string())).collect()
    }

    fn last_invite(&self, address: &str) -> Request {
        let mut theirs = self.invites.iter().rev().filter(|(to, _)| to.ip() == ip(address));
        theirs.next().expect("an INVITE").1.clone()
    }

    fn answer(&mut self, address: &str, code: u16) {
        let mut response = Response::to(&self.last_invite(address), code).with_to_tag(&format!("tag-{address}"));
        if code == 200 {
            response =
                response.with("Contact", format!("<sip:{address}>")).with_body("application/sdp", session().write());
        }
        let datagram = response.write().expect("writable");
        self.agent.datagram(&datagram, Hop::udp(SocketAddr::new(ip(address), 5060)), self.now);
        self.collect();
    }
}

#[test]
fn a_silent_address_is_left_for_the_next_after_8_t1() {
    let mut bench = Bench::new();
    bench.dial(1);
    bench.run(Duration::from_secs(4));
    let times: Vec<u128> = bench.sent_to(FIRST).iter().map(|(at, _)| *at).collect();
    assert_eq!(times, [0, 500, 1_500, 3_500]);
    assert_eq!(bench.sent_to(SECOND), [(4_000, "INVITE".to_owned())]);
    let (first, second) = (bench.last_invite(FIRST), bench.last_invite(SECOND));
    assert_ne!(first.branch(), second.branch());
    assert_eq!(first.fields.first("Call-ID"), second.fields.first("Call-ID"));
    bench.answer(SECOND, 200);
    assert!(matches!(bench.events.as_slice(), [CallEvent::Answered { .. }]), "{:?}", bench.events);
    bench.run(Duration::from_secs(60));
    assert_eq!(bench.events.len(), 1, "the first address running out of time ends nothing");
}

#[test]
fn the_next_call_begins_with_the_address_that_answered() {
    let mut bench = Bench::new();
    bench.dial(1);
    bench.run(Duration::from_secs(5));
    bench.answer(SECOND, 200);
    bench.sent.clear();
    bench.dial(2);
    assert_eq!(bench.sent[0].1.ip(), ip(SECOND));
    bench.run(Duration::from_secs(61));
    bench.sent.clear();
    bench.dial(3);
    assert_eq!(bench.sent[0].1.ip(), ip(FIRST), "a minute later the order of DNS counts again");
}

#[test]
fn an_address_that_has_said_anything_is_not_left() {
    let mut bench = Bench::new();
    bench.dial(1);
    bench.run(Duration::from_secs(3));
    bench.answer(FIRST, 100);
    bench.run(Duration::from_secs(100));
    assert_eq!(bench.sent_to(SECOND), []);
}

#[test]
fn an_overloaded_or_unreachable_address_is_left_at_once_and_the_last_counts() {
    let mut bench = Bench::new();
    bench.dial(1);
    bench.answer(FIRST, 503);
    assert_eq!(bench.sent_to(SECOND), [(0, "INVITE".to_owned())]);
    bench.answer(SECOND, 503);
    assert!(matches!(bench.events.as_slice(), [CallEvent::Rejected { code: 503, .. }]), "{:?}", bench.events);
}

#[test]
fn all_silent_is_a_silent_trunk() {
    let mut bench = Bench::new();
    bench.dial(1);
    bench.run(Duration::from_secs(40));
    assert_eq!(bench.events, [CallEvent::Failed(CallFailure::TrunkSilent)]);
    bench.run(Duration::from_secs(100));
    assert!(bench.agent.is_quiet() && bench.agent.next_wake().is_none(), "nothing is left behind");
}

#[test]
fn a_trunk_that_is_down_is_tried_for_seconds_and_no_longer() {
    let mut bench = Bench::down();
    bench.dial(1);
    bench.run(Duration::from_millis(7_999));
    assert!(bench.events.is_empty(), "each of its servers gets a try: {:?}", bench.events);
    bench.run(Duration::from_millis(1));
    assert_eq!(bench.events, [CallEvent::Failed(CallFailure::TrunkDown)]);
    let invites = |address| -> Vec<u128> {
        let all = bench.sent_to(address).into_iter().filter(|(_, method)| method == "INVITE");
        all.map(|(at, _)| at).filter(|at| *at < 8_000).collect()
    };
    // The one that was left is asked on, so that it can be cancelled should it have heard.
    assert_eq!(invites(FIRST), [0, 500, 1_500, 3_500, 7_500]);
    assert_eq!(invites(SECOND), [4_000, 4_500, 5_500, 7_500], "four transmissions");
    bench.run(Duration::from_secs(20));
    bench.answer(SECOND, 180);
    assert!(bench.sent_to(SECOND).iter().any(|(_, method)| method == "CANCEL"), "nobody wants it any more");
    assert_eq!(bench.events.len(), 1, "{:?}", bench.events);
}

#[test]
fn a_call_elsewhere_is_not_cut_short_because_its_trunk_is_down() {
    let mut bench = Bench::down();
    bench.dial_to(1, "sip:100@192.0.2.9");
    bench.run(Duration::from_millis(500 * 64 - 1));
    assert!(bench.events.is_empty(), "{:?}", bench.events);
    bench.run(Duration::from_millis(1));
    assert_eq!(bench.events, [CallEvent::Failed(CallFailure::TrunkSilent)]);
}

#[test]
fn a_trunk_that_has_come_back_since_it_was_asked_carries_the_call() {
    let mut bench = Bench::down();
    bench.dial(1);
    bench.run(Duration::from_secs(3));
    let address = if bench.sent_to(FIRST).is_empty() { SECOND } else { FIRST };
    bench.answer(address, 180);
    bench.run(Duration::from_secs(15));
    assert!(matches!(bench.events[..], [CallEvent::Ringing { code: 180, .. }]), "{:?}", bench.events);
    bench.answer(address, 200);
    assert!(matches!(bench.events.last(), Some(CallEvent::Answered { .. })), "{:?}", bench.events);
}

#[test]
fn a_late_sign_of_the_address_that_was_left_is_cancelled() {
    let mut bench = Bench::new();
    bench.dial(1);
    bench.run(Duration::from_secs(5));
    bench.answer(SECOND, 200);
    bench.sent.clear();
    bench.answer(FIRST, 180);
    bench.answer(FIRST, 180);
    assert_eq!(bench.sent_to(FIRST).iter().map(|(_, method)| method.as_str()).collect::<Vec<_>>(), ["CANCEL"]);
    assert_eq!(bench.events.len(), 1, "its ringing is nobody's");
    bench.agent.command(CallKey(1), Command::HangUp, bench.now);
    bench.run(Duration::from_secs(200));
    assert_eq!(bench.events.last(), Some(&CallEvent::Ended { by: EndedBy::Us }));
    assert!(bench.agent.is_quiet() && bench.agent.next_wake().is_none(), "nothing is left behind");
}

#[test]
fn a_late_answer_of_the_address_that_was_left_is_hung_up() {
    let mut bench = Bench::new();
    bench.dial(1);
    bench.run(Duration::from_secs(5));
    bench.sent.clear();
    bench.answer(SECOND, 180);
    bench.answer(FIRST, 200);
    let methods: Vec<String> = bench.sent_to(FIRST).into_iter().map(|(_, method)| method).collect();
    assert_eq!(methods, ["ACK", "BYE"]);
    bench.answer(SECOND, 200);
    assert!(matches!(bench.events.last(), Some(CallEvent::Answered { .. })), "{:?}", bench.events);
}

#[test]
fn a_hang_up_is_not_carried_to_the_next_address() {
    let mut bench = Bench::new();
    bench.dial(1);
    bench.agent.command(CallKey(1), Command::HangUp, bench.now);
    bench.run(Duration::from_secs(100));
    assert_eq!(bench.sent_to(SECOND), []);
    assert_eq!(bench.events, [CallEvent::Ended { by: EndedBy::Us }]);
    assert!(bench.agent.is_quiet() && bench.agent.next_wake().is_none());
}

impl Bench {
    fn answer_busy(&mut self, address: &str, retry_after: &str) {
        let invite = self.last_invite(address);
        let response = Response::to(&invite, 503).with_to_tag("busy").with("Retry-After", retry_after);
        let datagram = response.write().expect("writable");
        self.agent.datagram(&datagram, Hop::udp(SocketAddr::new(ip(address), 5060)), self.now);
        self.collect();
    }
}

#[test]
fn an_address_that_asks_for_a_pause_gets_no_call_until_then() {
    let mut bench = Bench::new();
    bench.dial(1);
    bench.answer_busy(FIRST, "30");
    bench.answer(SECOND, 200);
    bench.run(Duration::from_secs(29));
    bench.sent.clear();
    bench.dial(2);
    bench.answer_busy(SECOND, "10");
    assert_eq!(bench.sent_to(FIRST), [], "not even when the other one is busy, too");
    assert!(matches!(bench.events.last(), Some(CallEvent::Rejected { code: 503, .. })), "{:?}", bench.events);
    bench.sent.clear();
    bench.dial(3);
    assert_eq!(bench.sent.len(), 0, "every server asked to be left alone");
    let told = bench.events.last();
    assert!(
        matches!(told, Some(CallEvent::Rejected { code: 503, retry_after: Some(pause), .. }) if pause.as_secs() <= 2),
        "{told:?}"
    );
    bench.run(Duration::from_secs(2));
    bench.dial(4);
    assert_eq!(bench.sent_to(FIRST).len(), 1);
}
