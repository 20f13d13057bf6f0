//! Requests outside of calls take the way that calls take: MESSAGE, OPTIONS and REGISTER, in virtual time. Large ones go by
//! TCP, and back to UDP where nobody takes it; a server that is of no use is left for the next.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use trunkline::clock::{Clock, UtcTime};
use trunkline::sip::agent::{
    CallKey, MOST_OVER_UDP, MessageKey, MessageOrder, MessageOutcome, MessageRoute, Output, Settings, UserAgent,
};
use trunkline::sip::dialog::timer::Terms;
use trunkline::sip::digest::server::Authority;
use trunkline::sip::message::{Limits, Message, Request, Response, read};
use trunkline::sip::resolve::Families;
use trunkline::sip::transaction::{ClientKey, Timers};
use trunkline::sip::transport::{Hop, Ports, Transport};
use trunkline::sip::trunk::Trunks;
use trunkline::sip::trunk::status::{Living, Registered, TrunkStatus};

const FIRST: &str = "192.0.2.1:5060";
const SECOND: &str = "192.0.2.2:5060";
const T1: Duration = Duration::from_millis(500);

struct Sent {
    to: Hop,
    request: Request,
    size: usize,
    key: ClientKey,
}

struct Bench {
    agent: UserAgent,
    now: Instant,
    /// What has not been looked at, without repetitions.
    sent: Vec<Sent>,
    /// All that went out, by destination.
    seen: Vec<(Hop, Request)>,
    repeated: usize,
    outcomes: Vec<MessageOutcome>,
    status: Option<TrunkStatus>,
    texts: u64,
}

impl Bench {
    fn new(more: &str) -> Bench {
        let now = Clock::manual(UtcTime(0)).now();
        let trunk = toml::from_str(&format!(
            "name = \"carrier\"\nhost = \"carrier.test\"\n{more}\n\
             hosts = [{{ host = \"{FIRST}\", priority = 1 }}, {{ host = \"{SECOND}\", priority = 2 }}]"
        ));
        let mut token = 0_u64;
        let settings = Settings {
            user_agent: "test".into(),
            timers: Timers::from_t1(T1),
            limits: Limits::default(),
            max_dialogs_per_source: 10,
            ports: Ports::all(5060),
            session_timer: Terms::new(1800),
            // Another way out to each server.
            local_address: Box::new(|peer| {
                IpAddr::from([192, 0, 2, if address(FIRST).ip() == peer { 100 } else { 200 }])
            }),
            tokens: Box::new(move || {
                token += 1;
                format!("{token:016x}")
            }),
            call_keys: Box::new(|| CallKey(100)),
        };
        let authority = Authority::new([0; 32], "test", [], now);
        let agent = UserAgent::new(settings, Trunks::new(&[trunk.expect("a valid trunk")]), authority);
        let (sent, outcomes) = (Vec::new(), Vec::new());
        Bench { agent, now, sent, seen: Vec::new(), repeated: 0, outcomes, status: None, texts: 0 }
    }

    fn begun(more: &str) -> Bench {
        let mut bench = Bench::new(more);
        bench.agent.begin_trunks(Families { v4: true, v6: false }, bench.now);
        bench.passes(Duration::ZERO);
        bench
    }

    fn collect(&mut self) {
        for output in self.agent.outputs() {
            match output {
                Output::Transmit { to, datagram, transaction } => {
                    let Ok(Message::Request(request)) = read(&datagram, &Limits::default()) else {
                        panic!("a request")
                    };
                    if self.seen.contains(&(to, request.clone())) {
                        self.repeated += 1;
                        continue;
                    }
                    self.seen.push((to, request.clone()));
                    let key = transaction.expect("its transaction");
                    self.sent.push(Sent { to, request, size: datagram.len(), key });
                }
                Output::MessageDone { outcome, .. } => self.outcomes.push(outcome),
                Output::Trunk(status) => self.status = Some(status),
                other => panic!("unexpected: {other:?}"),
            }
        }
    }

    fn passes(&mut self, span: Duration) {
        let end = self.now + span;
        self.collect();
        while let Some(at) = self.agent.next_wake().filter(|at| *at <= end) {
            self.now = at;
            self.agent.tick(at);
            self.collect();
        }
        self.now = end;
    }

    fn texts(&mut self, text: &str) {
        self.texts += 1;
        let order = MessageOrder {
            route: MessageRoute::Trunk { name: "carrier".into(), number: "4930".into() },
            from: None,
            call_id: format!("text-{}", self.texts),
            text: text.into(),
        };
        self.agent.send_message(MessageKey(self.texts), &order, self.now);
        self.collect();
    }

    /// The one request that went out since the last look.
    fn only(&mut self) -> Sent {
        assert_eq!(self.sent.len(), 1, "{:?}", self.sent.iter().map(|sent| sent.to).collect::<Vec<_>>());
        self.sent.remove(0)
    }

    fn answer(&mut self, sent: &Sent, code: u16, more: &[(&str, &str)]) {
        self.answer_over(sent.to.transport, sent, code, more);
    }

    fn answer_over(&mut self, transport: Transport, sent: &Sent, code: u16, more: &[(&str, &str)]) {
        let mut response = Response::to(&sent.request, code).with_to_tag("t");
        for (name, value) in more {
            response = response.with(name, *value);
        }
        let source = Hop { transport, ..sent.to };
        self.agent.datagram(&response.write().expect("writable"), source, self.now);
        self.collect();
    }

    fn refuses(&mut self, sent: &Sent) {
        self.agent.transport_failed(&sent.key, "nobody listens there", self.now);
        self.collect();
    }

    fn outcome(&mut self) -> MessageOutcome {
        assert_eq!(self.outcomes.len(), 1, "told once: {:?}", self.outcomes);
        self.outcomes.remove(0)
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn via(sent: &Sent) -> String {
    let via = sent.request.fields.first("Via").unwrap_or_default();
    via.split(' ').next().unwrap_or_default().to_owned()
}

fn went(sent: &Sent) -> (Transport, String) {
    (sent.to.transport, sent.to.address.to_string())
}

fn field(sent: &Sent, name: &str) -> String {
    sent.request.fields.first(name).unwrap_or_default().to_owned()
}

#[test]
fn a_large_text_goes_by_tcp_and_falls_back_to_udp_for_ten_minutes() {
    let mut bench = Bench::new("");
    bench.texts(&"x".repeat(MOST_OVER_UDP));
    let sent = bench.only();
    assert_eq!((went(&sent), via(&sent).as_str()), ((Transport::Tcp, FIRST.into()), "SIP/2.0/TCP"));
    bench.refuses(&sent);
    let again = bench.only();
    assert_eq!((went(&again), via(&again).as_str()), ((Transport::Udp, FIRST.into()), "SIP/2.0/UDP"));
    assert_eq!(again.request.branch(), sent.request.branch(), "the same transaction");
    bench.answer(&again, 202, &[]);
    assert_eq!(bench.outcome(), MessageOutcome::Accepted(202));
    for (pause, expected) in [(599, Transport::Udp), (1, Transport::Tcp)] {
        bench.passes(Duration::from_secs(pause));
        bench.texts(&"x".repeat(MOST_OVER_UDP));
        let sent = bench.only();
        assert_eq!(sent.to.transport, expected, "after {pause} s more");
        bench.answer(&sent, 200, &[]);
        bench.outcome();
    }
}

#[test]
fn thirteen_hundred_bytes_are_where_tcp_begins() {
    let mut bench = Bench::new("");
    bench.texts("x");
    let small = bench.only();
    // Content-Length grows by two digits.
    let room = MOST_OVER_UDP - small.size;
    for (length, transport) in [(room - 1, Transport::Udp), (room, Transport::Tcp)] {
        let mut bench = Bench::new("");
        bench.texts(&"x".repeat(length));
        let sent = bench.only();
        assert_eq!(sent.to.transport, transport, "{} bytes", sent.size);
        assert!(sent.size.abs_diff(MOST_OVER_UDP) <= 1);
    }
}

#[test]
fn a_large_register_and_large_options_go_by_tcp_too() {
    let long = "u".repeat(700);
    let register = format!("username = \"{long}\"\npassword = \"pw\"\nregister = true");
    let options = format!("username = \"{long}\"\npassword = \"pw\"\noptions_seconds = 30");
    for (more, method) in [(register, "REGISTER"), (options, "OPTIONS")] {
        let mut bench = Bench::begun(&more);
        let sent = bench.only();
        assert_eq!(sent.request.method.to_string(), method);
        assert_eq!((went(&sent), via(&sent).as_str()), ((Transport::Tcp, FIRST.into()), "SIP/2.0/TCP"));
        bench.refuses(&sent);
        let again = bench.only();
        assert_eq!(went(&again), (Transport::Udp, FIRST.into()));
        let contact = field(&again, "Contact");
        bench.answer(&again, 200, &[("Contact", &contact)]);
        let status = bench.status.clone().expect("a status");
        assert!(status.health == Living::Up || matches!(status.registration, Registered::Until(_)), "{status:?}");
    }
}

#[test]
fn a_text_goes_to_the_next_server_when_one_is_silent_overloaded_or_away() {
    let silent = |bench: &mut Bench, _: &Sent| bench.passes(T1 * 8);
    let overloaded = |bench: &mut Bench, sent: &Sent| bench.answer(sent, 503, &[]);
    let away = |bench: &mut Bench, sent: &Sent| bench.refuses(sent);
    type Fate<'a> = &'a dyn Fn(&mut Bench, &Sent);
    let fates: [(&str, Fate<'_>); 3] = [("silent", &silent), ("overloaded", &overloaded), ("away", &away)];
    for (name, fate) in fates {
        let mut bench = Bench::new("");
        bench.texts("hi");
        let first = bench.only();
        assert_eq!(went(&first), (Transport::Udp, FIRST.into()));
        fate(&mut bench, &first);
        let second = bench.only();
        assert_eq!(went(&second), (Transport::Udp, SECOND.into()), "{name}");
        assert_ne!(first.request.branch(), second.request.branch(), "a new transaction (RFC 3263 §4.3)");
        for same in ["Call-ID", "CSeq", "From", "To"] {
            assert_eq!(field(&first, same), field(&second, same), "{name}");
        }
        bench.answer(&first, 200, &[]);
        assert!(bench.outcomes.is_empty(), "{name}: what was left is not heard any more");
        bench.answer(&second, 202, &[]);
        assert_eq!(bench.outcome(), MessageOutcome::Accepted(202), "{name}");
        bench.texts("again");
        assert_eq!(went(&bench.only()), (Transport::Udp, SECOND.into()), "{name}: the one that works comes first");
    }
}

#[test]
fn the_last_server_has_the_word() {
    let mut bench = Bench::new("");
    bench.texts("hi");
    for (server, retry_after) in [(FIRST, "9"), (SECOND, "7")] {
        let sent = bench.only();
        assert_eq!(went(&sent).1, server);
        bench.answer(&sent, 503, &[("Retry-After", retry_after)]);
    }
    let pause = |seconds| Some(Duration::from_secs(seconds));
    let overloaded = bench.outcome();
    assert!(
        matches!(&overloaded, MessageOutcome::Refused { code: 503, retry_after, .. } if *retry_after == pause(7)),
        "{overloaded:?}"
    );
    bench.texts("both asked for a pause");
    let resting = bench.outcome();
    assert!(matches!(&resting, MessageOutcome::Refused { code: 503, retry_after, .. } if *retry_after == pause(8)));
    assert!(bench.sent.is_empty(), "and get it");
    // Nobody says anything: 8·T1 for the first, timer F for the last.
    let mut bench = Bench::new("");
    bench.texts("hi");
    bench.passes(T1 * 72 - Duration::from_millis(1));
    assert!(bench.outcomes.is_empty());
    bench.passes(Duration::from_millis(1));
    assert_eq!(bench.outcome(), MessageOutcome::Silent);
    assert_eq!((bench.sent.len(), bench.repeated), (2, 3 + 10));
    bench.passes(Duration::from_secs(60));
    assert!(bench.agent.next_wake().is_none(), "nothing is left behind");
}

#[test]
fn a_server_that_says_trying_is_not_left_before_timer_f() {
    let mut bench = Bench::new("");
    bench.texts("hi");
    let first = bench.only();
    bench.answer(&first, 100, &[]);
    bench.passes(T1 * 64 - Duration::from_millis(1));
    assert!(bench.sent.is_empty());
    bench.passes(Duration::from_millis(1));
    assert_eq!(went(&bench.only()).1, SECOND);
}

#[test]
fn the_next_server_sees_no_answer_to_the_challenge_of_the_first() {
    let mut bench = Bench::new("username = \"box\"\npassword = \"pw\"");
    let challenge = ("WWW-Authenticate", "Digest realm=\"carrier\", nonce=\"n\", qop=\"auth\"");
    bench.texts("hi");
    for server in [FIRST, SECOND] {
        let plain = bench.only();
        assert_eq!((went(&plain).1.as_str(), field(&plain, "Authorization").as_str()), (server, ""));
        bench.answer(&plain, 401, &[challenge]);
        let signed = bench.only();
        assert_eq!(went(&signed).1, server, "credentials go to whoever asked for them");
        assert!(field(&signed, "Authorization").starts_with("Digest username=\"box\""));
        bench.answer(&signed, if server == FIRST { 503 } else { 200 }, &[]);
    }
    assert_eq!(bench.outcome(), MessageOutcome::Accepted(200));
}

#[test]
fn a_text_takes_the_route_of_the_trunk_and_its_numbers() {
    let mut bench = Bench::new("outbound_proxy = \"edge.carrier.test\"\ncaller_id = \"4930\"");
    bench.texts("hi");
    let sent = bench.only();
    assert_eq!(field(&sent, "Route"), "<sip:edge.carrier.test;lr>");
    assert!(field(&sent, "From").starts_with("<sip:4930@carrier.test>"), "{}", field(&sent, "From"));
}

#[test]
fn one_living_server_keeps_the_trunk_alive_within_one_question() {
    let mut bench = Bench::begun("options_seconds = 30");
    let first = bench.only();
    assert_eq!(went(&first).1, FIRST);
    bench.passes(T1 * 8);
    let second = bench.only();
    assert_eq!(went(&second).1, SECOND);
    bench.answer(&second, 408, &[]);
    assert!(bench.status.as_ref().is_some_and(|status| status.health == Living::Unknown && status.problem.is_some()));
    bench.passes(Duration::from_secs(30));
    let third = bench.only();
    bench.answer(&third, 405, &[]);
    assert!(bench.status.as_ref().is_some_and(|status| status.health == Living::Up), "{:?}", bench.status);
}

#[test]
fn each_server_is_told_where_the_box_is_seen_from_it() {
    let mut bench = Bench::begun("options_seconds = 30");
    for box_at in ["192.0.2.100", "192.0.2.200"] {
        let sent = bench.only();
        for name in ["Via", "Contact"] {
            assert!(field(&sent, name).contains(box_at), "{}", field(&sent, name));
        }
        bench.passes(T1 * 8);
    }
}

#[test]
fn what_went_over_tls_is_not_answered_in_plain_text() {
    let mut bench = Bench::new("transport = \"tls\"");
    bench.texts("hi");
    let sent = bench.only();
    assert_eq!(sent.to.transport, Transport::Tls);
    for plain in [Transport::Udp, Transport::Tcp] {
        bench.answer_over(plain, &sent, 404, &[]);
        assert!(bench.outcomes.is_empty(), "{plain:?}");
    }
    bench.answer(&sent, 200, &[]);
    assert_eq!(bench.outcome(), MessageOutcome::Accepted(200));
}

#[test]
fn a_register_to_the_next_server_has_the_next_number_and_tells_the_way_back() {
    let mut bench = Bench::begun("username = \"box\"\npassword = \"pw\"\nregister = true");
    let first = bench.only();
    bench.passes(T1 * 8);
    let second = bench.only();
    assert_eq!((went(&first).1.as_str(), went(&second).1.as_str()), (FIRST, SECOND));
    assert_eq!((field(&first, "CSeq").as_str(), field(&second, "CSeq").as_str()), ("1 REGISTER", "2 REGISTER"));
    assert_eq!(field(&first, "Call-ID"), field(&second, "Call-ID"));
    let challenge = ("WWW-Authenticate", "Digest realm=\"carrier\", nonce=\"n\", qop=\"auth\"");
    bench.answer(&second, 401, &[challenge]);
    let signed = bench.only();
    assert_eq!(went(&signed).1, SECOND, "credentials go to whoever asked for them");
    let contact = field(&signed, "Contact");
    bench.answer(&signed, 200, &[("Contact", &contact)]);
    assert!(bench.status.as_ref().is_some_and(|status| matches!(status.registration, Registered::Until(_))));
}
