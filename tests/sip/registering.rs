//! A trunk that registers, in virtual time: a change of our address, servers that fail, the end of the box.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use trunkline::clock::{Clock, UtcTime};
use trunkline::sip::agent::{CallKey, Output, Settings, UserAgent};
use trunkline::sip::dialog::timer::Terms;
use trunkline::sip::digest::server::Authority;
use trunkline::sip::message::{Limits, Message, Request, Response, read};
use trunkline::sip::resolve::Families;
use trunkline::sip::transaction::Timers;
use trunkline::sip::transport::{Hop, Ports};
use trunkline::sip::trunk::Trunks;
use trunkline::sip::trunk::status::{Registered, TrunkStatus};

const FIRST: &str = "192.0.2.1:5060";
const SECOND: &str = "192.0.2.2:5060";

struct Bench {
    agent: UserAgent,
    ours: Arc<Mutex<IpAddr>>,
    now: Instant,
    /// Where each REGISTER went.
    registers: Vec<(String, Request)>,
    last: Option<TrunkStatus>,
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("address")
}

impl Bench {
    fn new() -> Bench {
        let now = Clock::manual(UtcTime(0)).now();
        let trunk = toml::from_str(&format!(
            "name = \"carrier\"\nhost = \"carrier.test\"\nusername = \"box\"\npassword = \"pw\"\nregister = true\n\
             hosts = [{{ host = \"{FIRST}\", priority = 1 }}, {{ host = \"{SECOND}\", priority = 2 }}]"
        ));
        let ours = Arc::new(Mutex::new(ip("192.0.2.100")));
        let (seen, mut token) = (ours.clone(), 0_u64);
        let settings = Settings {
            user_agent: "test".into(),
            timers: Timers::from_t1(Duration::from_millis(500)),
            limits: Limits::default(),
            max_dialogs_per_source: 10,
            ports: Ports::all(5060),
            session_timer: Terms::new(1800),
            local_address: Box::new(move |_| *seen.lock().expect("whole")),
            tokens: Box::new(move || {
                token += 1;
                format!("{token:016x}")
            }),
            call_keys: Box::new(|| CallKey(100)),
        };
        let authority = Authority::new([0; 32], "test", [], now);
        let agent = UserAgent::new(settings, Trunks::new(&[trunk.expect("a valid trunk")]), authority);
        let mut bench = Bench { agent, ours, now, registers: Vec::new(), last: None };
        bench.agent.begin_trunks(Families { v4: true, v6: false }, now);
        bench.run(Duration::ZERO);
        bench
    }

    fn collect(&mut self) {
        for output in self.agent.outputs() {
            match output {
                Output::Transmit { to, datagram, .. } => {
                    let Ok(Message::Request(request)) = read(&datagram, &Limits::default()) else {
                        panic!("a request")
                    };
                    assert!(request.is(rsip::Method::Register));
                    let repeated = self.registers.last().is_some_and(|(_, last)| last.branch() == request.branch());
                    if !repeated {
                        self.registers.push((to.address.to_string(), request));
                    }
                }
                Output::Trunk(status) => self.last = Some(status),
                other => panic!("unexpected: {other:?}"),
            }
        }
    }

    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        self.collect();
        while let Some(at) = self.agent.next_wake().filter(|at| *at <= end) {
            self.now = at;
            self.agent.tick(at);
            self.collect();
        }
        self.now = end;
    }

    fn answer(&mut self, code: u16, contact: bool) {
        let (to, request) = self.registers.last().expect("a REGISTER").clone();
        let mut response = Response::to(&request, code).with_to_tag("t");
        if contact {
            response = response.with("Contact", request.fields.first("Contact").expect("ours"));
        }
        let source: SocketAddr = to.parse().expect("address");
        self.agent.datagram(&response.write().expect("writable"), Hop::udp(source), self.now);
        self.collect();
    }

    fn registration(&self) -> Registered {
        self.last.as_ref().expect("a status").registration
    }

    fn last_contact(&self) -> String {
        self.registers.last().and_then(|(_, request)| request.fields.first("Contact")).expect("a contact").to_owned()
    }
}

#[test]
fn a_new_address_of_ours_is_registered_within_seconds() {
    let mut bench = Bench::new();
    assert_eq!((bench.registers.len(), bench.registers[0].0.as_str()), (1, FIRST));
    assert!(bench.last_contact().contains("box@192.0.2.100:5060"));
    bench.answer(200, true);
    assert!(matches!(bench.registration(), Registered::Until(_)));
    bench.run(Duration::from_secs(60));
    assert_eq!(bench.registers.len(), 1, "nothing to say while nothing changes");
    *bench.ours.lock().expect("whole") = ip("198.51.100.7");
    bench.run(Duration::from_secs(16));
    assert_eq!(bench.registers.len(), 2);
    assert!(bench.last_contact().contains("box@198.51.100.7:5060"), "{}", bench.last_contact());
    let number = |at: usize| bench.registers[at].1.fields.first("CSeq").map(str::to_owned);
    assert_eq!((number(0).as_deref(), number(1).as_deref()), (Some("1 REGISTER"), Some("2 REGISTER")));
    let call_id = |at: usize| bench.registers[at].1.fields.first("Call-ID").map(str::to_owned);
    assert_eq!(call_id(0), call_id(1), "one Call-ID for all (RFC 3261 §10.2)");
}

#[test]
fn a_silent_registrar_is_left_for_the_next_and_both_are_tried_again_later() {
    let mut bench = Bench::new();
    bench.run(Duration::from_secs(4));
    assert_eq!(bench.registers.iter().map(|(to, _)| to.as_str()).collect::<Vec<_>>(), [FIRST, SECOND]);
    assert_eq!(bench.registration(), Registered::Pending, "one is still being asked");
    bench.run(Duration::from_secs(32));
    assert_eq!(bench.registration(), Registered::No);
    assert!(bench.last.as_ref().is_some_and(|status| !status.is_usable() && status.problem.is_some()));
    for _ in 0..10 {
        if bench.registers.len() == 2 {
            bench.run(Duration::from_secs(1));
        }
    }
    assert_eq!(bench.registers.len(), 3, "and again after a pause");
    bench.answer(200, true);
    assert!(matches!(bench.registration(), Registered::Until(_)));
}

#[test]
fn the_end_of_the_box_gives_the_binding_back_and_waits_for_the_answer() {
    let mut bench = Bench::new();
    bench.answer(200, true);
    bench.agent.leave_trunks(bench.now);
    bench.collect();
    assert!(bench.last_contact().ends_with(";expires=0"));
    assert!(!bench.agent.is_quiet());
    bench.answer(200, false);
    assert!(bench.agent.is_quiet());
    bench.run(Duration::from_secs(4_000));
    assert_eq!(bench.registers.len(), 2, "nothing is asked any more");
    assert!(bench.agent.next_wake().is_none(), "nothing is left behind");
}

#[test]
fn a_renewal_comes_in_time_for_ever() {
    let mut bench = Bench::new();
    for _ in 0..50 {
        bench.answer(200, true);
        let before = bench.registers.len();
        assert!(matches!(bench.registration(), Registered::Until(_)));
        bench.run(Duration::from_secs(600 * 3 / 4 - 1));
        assert_eq!(bench.registers.len(), before, "not while most of the ten minutes are left");
        for _ in 0..80 {
            if bench.registers.len() == before {
                bench.run(Duration::from_secs(1));
            }
        }
        assert_eq!(bench.registers.len(), before + 1, "once, before the ten minutes are over");
    }
}
