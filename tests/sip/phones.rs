//! Registered phones and texts against one user agent, in virtual time.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::net::IpAddr;
use std::time::{Duration, Instant};

use trunkline::clock::{Clock, UtcTime};
use trunkline::config::Secret;
use trunkline::sip::agent::{
    CallKey, MessageKey, MessageOrder, MessageOutcome, MessageRoute, Origin, Output, PhoneSettings, ReceivedMessage,
    RingOrder, Settings, UserAgent,
};
use trunkline::sip::dialog::timer;
use trunkline::sip::digest::client::{Authentication, Credentials};
use trunkline::sip::digest::server::Authority;
use trunkline::sip::event::{CallEvent, Command, EndedBy};
use trunkline::sip::message::{Limits, Message, Request, Response, read};
use trunkline::sip::pager::Content;
use trunkline::sip::registrar::Policy;
use trunkline::sip::sdp::{AudioCodec, CodecOrder, SessionDescription, SrtpPolicy, Terms};
use trunkline::sip::transaction::Timers;
use trunkline::sip::transport::{Hop, Link, Ports, Transport};
use trunkline::sip::trunk::Trunks;

const DESK: &str = "198.51.100.7:40001";
const MOBILE: &str = "198.51.100.7:40002";
/// Over TLS.
const SAFE: &str = "198.51.100.7:40003";
const TRUNK: &str = "192.0.2.1:5060";

fn hop(address: &str) -> Hop {
    let address = address.parse().expect("address");
    if address == SAFE.parse().expect("address") {
        return Hop::new(Transport::Tls, address, Link::Connection(1));
    }
    Hop::udp(address)
}

fn session() -> SessionDescription {
    SessionDescription::offer(1, ([192, 0, 2, 100], 4000).into(), &[AudioCodec::Pcmu])
}

struct Bench {
    agent: UserAgent,
    now: Instant,
    events: Vec<CallEvent>,
    texts: Vec<ReceivedMessage>,
    outcomes: Vec<MessageOutcome>,
    sequence: u32,
}

impl Bench {
    fn new() -> Bench {
        let now = Clock::manual(UtcTime(0)).now();
        let (mut token, mut call) = (0_u64, 100);
        let settings = Settings {
            user_agent: "test".into(),
            timers: Timers::from_t1(Duration::from_millis(500)),
            limits: Limits::default(),
            max_dialogs_per_source: 10,
            session_timer: timer::Terms::new(1800),
            ports: Ports::all(5060),
            local_address: Box::new(|_| IpAddr::from([192, 0, 2, 100])),
            tokens: Box::new(move || {
                token += 1;
                format!("{token:016x}")
            }),
            call_keys: Box::new(move || {
                call += 1;
                CallKey(call)
            }),
        };
        let trunk =
            |name: &str, host: &str| toml::from_str(&format!("name = \"{name}\"\nhost = \"{host}\"")).expect("valid");
        let trunks = Trunks::new(&[trunk("gsm", TRUNK), trunk("pbx", "192.0.2.2")]);
        // 12 is there and has no password: nobody signs in as it.
        let users =
            [("10", "secret"), ("11", "other"), ("12", "")].map(|(user, word)| (user.to_owned(), Secret::new(word)));
        let phones = PhoneSettings {
            policy: Policy { longest: Duration::from_secs(300), probe_every: Some(Duration::from_secs(30)) },
            texting: ["gsm".to_owned()].into(),
            date: Some(Box::new(|| "Thu, 01 Jan 1970 00:00:00 GMT".into())),
        };
        let agent = UserAgent::new(settings, trunks, Authority::new([0; 32], "box", users, now)).with_phones(phones);
        Bench { agent, now, events: Vec::new(), texts: Vec::new(), outcomes: Vec::new(), sequence: 0 }
    }

    /// What is sent, and where; all else is kept.
    fn sent(&mut self) -> Vec<(Hop, Message)> {
        let mut sent = Vec::new();
        for output in self.agent.outputs() {
            match output {
                Output::Transmit { to, datagram, .. } => {
                    sent.push((to, read(&datagram, &Limits::default()).expect("readable")));
                }
                Output::Event { event, .. } => self.events.push(event),
                Output::Message(message) => self.texts.push(*message),
                Output::MessageDone { outcome, .. } => self.outcomes.push(outcome),
                _ => {}
            }
        }
        sent
    }

    fn hears(&mut self, from: &str, text: &str) -> Vec<(Hop, Message)> {
        self.agent.datagram(text.as_bytes(), hop(from), self.now);
        self.sent()
    }

    fn asks(&mut self, from: &str, text: &str) -> Response {
        match self.hears(from, text).into_iter().next_back() {
            Some((to, Message::Response(response))) => {
                let from = hop(from);
                // On a connection its end is enough.
                let same = (to.transport, to.link, to.ip()) == (from.transport, from.link, from.ip());
                assert!(
                    same && (to == from || from.transport.is_reliable()),
                    "{to}: answers go where they were asked for"
                );
                response
            }
            other => panic!("{other:?}"),
        }
    }

    fn passes(&mut self, seconds: u64) -> Vec<(Hop, Message)> {
        let end = self.now + Duration::from_secs(seconds);
        while let Some(at) = self.agent.next_wake().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.agent.tick(self.now);
        }
        self.now = end;
        self.sent()
    }

    fn request(&mut self, method: &str, user: &str, lines: &str, body: &str) -> String {
        self.sequence += 1;
        let number = self.sequence;
        format!(
            "{method} sip:box SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.5:5060;rport;branch=z9hG4bK{number}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{user}@box>;tag=f\r\nTo: <sip:{user}@box>\r\nCall-ID: phone-{user}\r\n\
             CSeq: {number} {method}\r\n{lines}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    /// The request, its challenge, and the request with credentials of `user`; the last answer and the text of it.
    fn signed(
        &mut self,
        from: &str,
        method: &str,
        (user, word): (&str, &str),
        lines: &str,
        body: &str,
    ) -> (Response, String) {
        let first = self.request(method, user, lines, body);
        let challenge = self.asks(from, &first);
        assert_eq!(challenge.code(), 401);
        let credentials = Credentials { username: user.into(), password: Secret::new(word), realm: None };
        let mut auth = Authentication::new(Some(credentials));
        let (name, value) = auth.answer(&challenge, method, "sip:box", "c").expect("a challenge of ours");
        let again = self.request(method, user, &format!("{name}: {value}\r\n{lines}"), body);
        (self.asks(from, &again), again)
    }

    /// A phone behind a NAT: what it says of itself is not where it is.
    fn register(&mut self, from: &str, inner: &str, more: &str) -> Response {
        let lines = format!("Contact: <sip:10@{inner}>{more}\r\n");
        self.signed(from, "REGISTER", ("10", "secret"), &lines, "").0
    }

    fn ring(&mut self) -> Vec<(Hop, Request)> {
        self.ring_with(session())
    }

    fn ring_with(&mut self, offer: SessionDescription) -> Vec<(Hop, Request)> {
        let ring_timeout = Duration::from_secs(60);
        let (user, caller_name, call_id) = ("10".into(), Some("Box".into()), "ring".into());
        self.agent.ring(CallKey(1), RingOrder { user, caller_name, offer, ring_timeout, call_id }, self.now);
        requests(self.sent())
    }

    fn answer(&mut self, from: &str, request: &Request, code: u16, body: bool) -> Vec<(Hop, Request)> {
        let mut response = Response::to(request, code).with_to_tag(from).with("Contact", "<sip:10@10.0.0.5>");
        if body {
            response = response.with_body("application/sdp", session().write());
        }
        let datagram = response.write().expect("written");
        self.agent.datagram(&datagram, hop(from), self.now);
        requests(self.sent())
    }
}

fn requests(sent: Vec<(Hop, Message)>) -> Vec<(Hop, Request)> {
    let one = |(hop, message)| match message {
        Message::Request(request) => Some((hop, request)),
        Message::Response(_) => None,
    };
    sent.into_iter().filter_map(one).collect()
}

fn methods(sent: &[(Hop, Request)]) -> Vec<String> {
    sent.iter().map(|(_, request)| request.method.to_string()).collect()
}

#[test]
fn a_phone_is_rung_where_it_registered_from_whatever_it_calls_itself() {
    let mut bench = Bench::new();
    let answer = bench.register(DESK, "10.0.0.5:5060", ";expires=120");
    assert_eq!(answer.code(), 200);
    assert_eq!(answer.fields.first("Contact"), Some("<sip:10@10.0.0.5:5060>;expires=120"));
    assert!(answer.fields.first("Date").is_some() && answer.to_tag().is_some());
    let rung = bench.ring();
    assert_eq!((rung.len(), rung[0].0), (1, hop(DESK)));
    assert_eq!(rung[0].1.uri.to_string(), "sip:10@10.0.0.5:5060");
}

#[test]
fn the_first_phone_that_answers_has_the_call_and_the_other_is_cancelled() {
    let mut bench = Bench::new();
    bench.register(DESK, "10.0.0.5:5060", "");
    bench.register(MOBILE, "10.0.0.6:5060", "");
    let rung = bench.ring();
    assert_eq!(rung.len(), 2);
    let of = |from: &str| rung.iter().find(|(to, _)| *to == hop(from)).map(|(_, invite)| invite.clone()).expect("rung");
    assert_ne!(of(DESK).fields.first("From"), of(MOBILE).fields.first("From"), "two dialogs of one call");
    bench.answer(DESK, &of(DESK), 180, false);
    bench.answer(MOBILE, &of(MOBILE), 180, false);
    let sent = bench.answer(MOBILE, &of(MOBILE), 200, true);
    assert_eq!(methods(&sent), ["ACK", "CANCEL"]);
    assert_eq!((sent[0].0, sent[1].0), (hop(MOBILE), hop(DESK)));
    let why: Vec<_> = sent[1].1.fields.all("Reason").collect();
    assert_eq!(why, ["SIP;cause=200;text=\"Call completed elsewhere\""], "RFC 3326 §3.1");
    assert!(matches!(bench.events.last(), Some(CallEvent::Answered { .. })), "{:?}", bench.events);
    // It is a call like any other to its owner.
    bench.agent.command(CallKey(1), Command::HangUp, bench.now);
    let sent = requests(bench.sent());
    assert_eq!((methods(&sent), sent[0].0), (vec!["BYE".to_owned()], hop(MOBILE)));
    assert_eq!(bench.events.last(), Some(&CallEvent::Ended { by: EndedBy::Us }));
    let told = bench.events.len();
    bench.answer(DESK, &of(DESK), 487, false);
    bench.passes(120);
    assert_eq!(bench.events.len(), told, "the loser is not heard of");
}

#[test]
fn a_caller_that_hangs_up_is_no_call_completed_elsewhere() {
    let mut bench = Bench::new();
    bench.register(DESK, "10.0.0.5:5060", "");
    let rung = bench.ring();
    bench.answer(DESK, &rung[0].1, 180, false);
    bench.agent.command(CallKey(1), Command::HangUp, bench.now);
    let sent = requests(bench.sent());
    assert_eq!(methods(&sent), ["CANCEL"]);
    assert!(sent[0].1.fields.all("Reason").all(|why| !why.contains("cause=200")), "a missed call is to be shown");
}

#[test]
fn keys_go_to_phones_over_tls_only() {
    let terms =
        |srtp| Terms { codecs: &[AudioCodec::Pcmu], order: CodecOrder::Offer, srtp, random: |bytes| bytes.fill(7) };
    let at = ([192, 0, 2, 100], 4000).into();
    let body = |request: &Request| String::from_utf8(request.body.to_vec()).expect("text");
    let mut bench = Bench::new();
    bench.register(DESK, "10.0.0.5:5060", "");
    let required = SessionDescription::propose(1, at, &terms(SrtpPolicy::Required));
    assert!(bench.ring_with(required.clone()).is_empty(), "there is nobody who may hear the keys");
    assert!(matches!(bench.events.pop(), Some(CallEvent::Rejected { code: 488, .. })));
    bench.register(SAFE, "10.0.0.7:5061", "");
    let rung = bench.ring_with(required);
    assert_eq!(rung.iter().map(|(to, _)| *to).collect::<Vec<_>>(), [hop(SAFE)]);
    assert!(body(&rung[0].1).contains("RTP/SAVP"));
    let mut bench = Bench::new();
    bench.register(DESK, "10.0.0.5:5060", "");
    bench.register(SAFE, "10.0.0.7:5061", "");
    let rung = bench.ring_with(SessionDescription::propose(1, at, &terms(SrtpPolicy::Offered)));
    assert_eq!(rung.len(), 2);
    for (to, invite) in rung {
        let offer = body(&invite);
        assert!(offer.contains("RTP/AVP"), "{offer}");
        assert_eq!(offer.contains("a=crypto"), to == hop(SAFE), "{to}: {offer}");
    }
}

#[test]
fn a_late_answer_of_the_loser_is_acknowledged_and_ended() {
    let mut bench = Bench::new();
    bench.register(DESK, "10.0.0.5:5060", "");
    bench.register(MOBILE, "10.0.0.6:5060", "");
    let rung = bench.ring();
    let (first, second) = (rung[0].clone(), rung[1].clone());
    let address = |hop: Hop| hop.address.to_string();
    bench.answer(&address(first.0), &first.1, 200, true);
    let sent = bench.answer(&address(second.0), &second.1, 200, true);
    assert_eq!(methods(&sent), ["ACK", "BYE"]);
    assert_eq!(bench.events.len(), 1, "{:?}", bench.events);
}

#[test]
fn nobody_registered_is_480_and_every_phone_busy_is_486() {
    let mut bench = Bench::new();
    assert!(bench.ring().is_empty());
    assert!(matches!(bench.events.pop(), Some(CallEvent::Rejected { code: 480, .. })));
    bench.register(DESK, "10.0.0.5:5060", "");
    bench.register(MOBILE, "10.0.0.6:5060", ";q=0.5");
    let rung = bench.ring();
    assert_eq!(rung.len(), 1, "the lower q waits");
    let sent = bench.answer(DESK, &rung[0].1, 486, false);
    assert_eq!(methods(&sent), ["ACK", "INVITE"]);
    assert!(bench.events.is_empty());
    bench.answer(MOBILE, &sent[1].1, 404, false);
    assert!(matches!(bench.events[..], [CallEvent::Rejected { code: 486, .. }]), "{:?}", bench.events);
}

#[test]
fn a_repeated_register_gets_the_same_answer_and_a_replayed_one_is_challenged() {
    let mut bench = Bench::new();
    let (answer, text) = bench.signed(DESK, "REGISTER", ("10", "secret"), "Contact: <sip:10@10.0.0.5>\r\n", "");
    assert_eq!(answer.code(), 200);
    assert_eq!(bench.asks(DESK, &text), answer);
    assert_eq!(
        bench.asks(DESK, &text.replace("branch=z9hG4bK", "branch=z9hG4bKx")).code(),
        401,
        "its nonce count is used"
    );
    let elsewhere = text.replace("branch=z9hG4bK", "branch=z9hG4bKy");
    assert_eq!(bench.asks(MOBILE, &elsewhere).code(), 401, "the nonce is of another address");
}

#[test]
fn nobody_registers_for_another_and_unknown_users_get_what_known_ones_get() {
    let mut bench = Bench::new();
    let lines = "Contact: <sip:10@10.0.0.5>\r\n";
    let foreign = bench.request("REGISTER", "10", lines, "");
    let challenge = bench.asks(DESK, &foreign);
    let credentials = Credentials { username: "11".into(), password: Secret::new("other"), realm: None };
    let answer = Authentication::new(Some(credentials)).answer(&challenge, "REGISTER", "sip:box", "c");
    let (name, value) = answer.expect("answered");
    let foreign = bench.request("REGISTER", "10", &format!("{name}: {value}\r\n{lines}"), "");
    assert_eq!(bench.asks(DESK, &foreign).code(), 403);
    let shape = |response: &Response| response.fields.iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
    let (known, _) = bench.signed(DESK, "REGISTER", ("10", "wrong"), lines, "");
    let (unknown, _) = bench.signed(DESK, "REGISTER", ("99", "wrong"), lines, "");
    assert_eq!((known.code(), shape(&known)), (unknown.code(), shape(&unknown)));
    assert_eq!(known.code(), 401);
    assert!(bench.ring().is_empty());
}

/// The octets of an answer, without what differs each time: the nonce, our tag, and what repeats the question.
fn octets(answer: &Response) -> String {
    let text = String::from_utf8(answer.write().expect("writable").to_vec()).expect("text");
    let without = |text: &str, begin: &str, end: &str| match text.split_once(begin) {
        Some((head, rest)) => format!("{head}{begin}{}", rest.find(end).map_or("", |at| &rest[at..])),
        None => text.to_owned(),
    };
    let repeats = ["Via:", "From:", "Call-ID:", "CSeq:"];
    let lines = text.split("\r\n").filter(|line| !repeats.iter().any(|name| line.starts_with(name)));
    let line = |line: &str| match line.split_once(':') {
        Some(("To", _)) => "To".to_owned(),
        _ => without(line, "nonce=\"", "\""),
    };
    lines.map(line).collect::<Vec<_>>().join("\r\n")
}

#[test]
fn nobody_learns_from_an_answer_which_users_there_are() {
    // The right password of nobody, a wrong one, one that may not sign in, and its empty password.
    let kinds = [("10", "wrong"), ("99", "secret"), ("12", "wrong"), ("12", "")];
    for method in ["REGISTER", "INVITE", "MESSAGE", "OPTIONS"] {
        let answers = kinds.map(|(user, word)| {
            let mut bench = Bench::new();
            let plain = bench.request(method, user, "Contact: <sip:x@10.0.0.5>\r\n", "");
            let challenge = octets(&bench.asks(DESK, &plain));
            let lines = "Contact: <sip:x@10.0.0.5>\r\n";
            let (refusal, _) = bench.signed(DESK, method, (user, word), lines, "");
            (challenge, octets(&refusal))
        });
        let (challenge, refusal) = &answers[0];
        assert!(challenge.starts_with("SIP/2.0 401 ") && challenge.contains("WWW-Authenticate: Digest"), "{challenge}");
        assert_eq!(challenge, refusal, "{method}: a wrong password is challenged like none");
        for (kind, answer) in kinds.iter().zip(&answers) {
            assert_eq!(answer, &answers[0], "{method} of {kind:?}");
        }
    }
}

#[test]
fn a_required_extension_is_understood_or_refused() {
    let mut bench = Bench::new();
    let odd = bench.request("REGISTER", "10", "Require: gruu\r\n", "");
    let refusal = bench.asks(DESK, &odd);
    assert_eq!((refusal.code(), refusal.fields.first("Unsupported")), (420, Some("gruu")));
    let lines = "Require: path\r\nSupported: outbound, path\r\nPath: <sip:edge.example.com;lr>\r\n\
                 Contact: <sip:10@10.0.0.5>;+sip.instance=\"<urn:uuid:1>\";reg-id=1\r\n";
    let (answer, _) = bench.signed(DESK, "REGISTER", ("10", "secret"), lines, "");
    assert_eq!((answer.code(), answer.fields.first("Require")), (200, Some("outbound")));
    assert_eq!(answer.fields.first("Path"), Some("<sip:edge.example.com;lr>"));
    assert!(answer.fields.first("Flow-Timer").is_some());
    assert_eq!(bench.ring()[0].1.fields.first("Route"), Some("<sip:edge.example.com;lr>"));
}

#[test]
fn a_phone_that_answers_no_probe_is_forgotten_and_one_that_refuses_it_stays() {
    let mut bench = Bench::new();
    bench.register(DESK, "10.0.0.5:5060", "");
    let probes = requests(bench.passes(31));
    assert_eq!((methods(&probes).first().map(String::as_str), probes[0].0), (Some("OPTIONS"), hop(DESK)));
    bench.answer(DESK, &probes[0].1, 405, false);
    let silent = requests(bench.passes(125));
    assert!(silent.len() > 4, "repeated as timer E says");
    assert!(bench.ring().is_empty());
    assert!(matches!(bench.events[..], [CallEvent::Rejected { code: 480, .. }]));
}

fn text(bench: &mut Bench, from: &str, lines: &str, body: &str) -> String {
    bench.request("MESSAGE", from, lines, body)
}

#[test]
fn a_text_waits_for_its_answer_and_a_repetition_gets_the_same() {
    let mut bench = Bench::new();
    let message = text(&mut bench, "4930777", "Content-Type: text/plain\r\n", "hi");
    assert!(bench.hears(TRUNK, &message).is_empty() && bench.hears(TRUNK, &message).is_empty());
    let taken = bench.texts.pop().expect("a text");
    assert!(bench.texts.is_empty(), "once");
    assert_eq!((taken.origin, taken.from.as_str()), (Origin::Trunk("gsm".into()), "4930777"));
    assert_eq!(taken.content, Content::Text("hi".into()));
    bench.agent.answer_message(&taken.key, 200, None, bench.now);
    bench.agent.answer_message(&taken.key, 503, None, bench.now);
    let answers = bench.sent();
    assert!(matches!(&answers[..], [(_, Message::Response(answer))] if answer.code() == 200), "{answers:?}");
    assert_eq!(bench.asks(TRUNK, &message).code(), 200);
}

#[test]
fn texts_come_from_trunks_that_carry_them_and_signed_in_phones_only() {
    let mut bench = Bench::new();
    let plain = text(&mut bench, "1", "", "hi");
    assert_eq!(bench.asks("192.0.2.2:5060", &plain).code(), 405);
    let stranger = text(&mut bench, "1", "", "hi");
    assert_eq!(bench.asks(DESK, &stranger).code(), 401);
    let coded = text(&mut bench, "1", "Content-Type: text/html\r\n", "hi");
    let refusal = bench.asks(TRUNK, &coded);
    assert_eq!(
        (refusal.code(), refusal.fields.first("Accept")),
        (415, Some("text/plain, message/cpim, message/imdn+xml"))
    );
    assert!(bench.texts.is_empty());
    let first = text(&mut bench, "10", "", "hi");
    let challenge = bench.asks(DESK, &first);
    let credentials = Credentials { username: "10".into(), password: Secret::new("secret"), realm: None };
    let answer = Authentication::new(Some(credentials)).answer(&challenge, "MESSAGE", "sip:box", "c");
    let (name, value) = answer.expect("answered");
    let signed = text(&mut bench, "10", &format!("{name}: {value}\r\n"), "hi");
    bench.hears(DESK, &signed);
    assert_eq!(bench.texts.pop().map(|text| text.origin), Some(Origin::Extension("10".into())));
}

#[test]
fn the_fate_of_a_text_is_told_once() {
    let order = |number: &str| MessageOrder {
        route: MessageRoute::Trunk { name: "gsm".into(), number: number.into() },
        from: None,
        call_id: "0123456789abcdef0123456789abcdef".into(),
        text: "Grüße".into(),
    };
    let mut bench = Bench::new();
    bench.agent.send_message(MessageKey(1), &order("+4930"), bench.now);
    let sent = requests(bench.sent());
    assert_eq!((sent[0].0, sent[0].1.uri.to_string().contains("4930")), (hop(TRUNK), true));
    assert_eq!(&sent[0].1.body[..], "Grüße".as_bytes());
    bench.answer(TRUNK, &sent[0].1, 100, false);
    assert!(bench.outcomes.is_empty());
    bench.answer(TRUNK, &sent[0].1, 202, false);
    bench.answer(TRUNK, &sent[0].1, 200, false);
    assert_eq!(bench.outcomes.drain(..).collect::<Vec<_>>(), [MessageOutcome::Accepted(202)]);
    // Silence: repeated as timer E says, the same every time, and given up with timer F.
    bench.agent.send_message(MessageKey(2), &order("+4931"), bench.now);
    let repeated = requests(bench.passes(40));
    assert_eq!(bench.outcomes.drain(..).collect::<Vec<_>>(), [MessageOutcome::Silent]);
    assert_eq!(repeated.len(), 11);
    assert!(repeated.iter().all(|(_, request)| *request == repeated[0].1));
    // A way that does not exist.
    bench.agent.send_message(MessageKey(3), &order("1\r\nX: y"), bench.now);
    bench.sent();
    assert!(matches!(bench.outcomes[..], [MessageOutcome::Unreachable(_)]));
}
