//! Floods, guesses and forged sources against one user agent, in virtual time.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::net::IpAddr;
use std::time::{Duration, Instant};

use trunkline::clock::{Clock, UtcTime};
use trunkline::config::Secret;
use trunkline::sip::agent::{CallKey, Output, Settings, UserAgent};
use trunkline::sip::dialog::timer::Terms;
use trunkline::sip::digest::client::{Authentication, Credentials};
use trunkline::sip::digest::server::Authority;
use trunkline::sip::guard::{BURST, FREE_TRIES};
use trunkline::sip::message::{Limits, Message, Response, read};
use trunkline::sip::transaction::Timers;
use trunkline::sip::transport::{Hop, Ports};
use trunkline::sip::trunk::Trunks;

const TRUNK: &str = "192.0.2.1:5060";
const STRANGER: &str = "198.51.100.7:5060";
const SDP: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";

struct Bench {
    agent: UserAgent,
    now: Instant,
    calls: Vec<CallKey>,
}

fn source(text: &str) -> Hop {
    Hop::udp(text.parse().expect("address"))
}

/// One without a body is as good as any other for what is refused before it is looked at.
fn request(method: &str, id: &str, to_tag: &str, more: &str) -> String {
    let body = if method == "INVITE" { SDP } else { "" };
    let tag = if to_tag.is_empty() { String::new() } else { format!(";tag={to_tag}") };
    let number = if matches!(method, "INVITE" | "CANCEL" | "ACK") { 1 } else { 2 };
    format!(
        "{method} sip:100@box SIP/2.0\r\nVia: SIP/2.0/UDP peer:5060;rport;branch=z9hG4bK{id}\r\nMax-Forwards: 70\r\n\
         From: <sip:1@peer>;tag=f\r\nTo: <sip:100@box>{tag}\r\nCall-ID: {id}\r\nCSeq: {number} {method}\r\n\
         Contact: <sip:1@192.0.2.1>\r\n{more}Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

impl Bench {
    fn new(users: &[(&str, &str)]) -> Bench {
        let now = Clock::manual(UtcTime(0)).now();
        let (mut token, mut call) = (0_u64, 0);
        let settings = Settings {
            user_agent: "test".into(),
            timers: Timers::from_t1(Duration::from_millis(500)),
            limits: Limits::default(),
            max_dialogs_per_source: 1_000,
            session_timer: Terms::new(1800),
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
        let trunk = toml::from_str("name = \"pbx\"\nhost = \"192.0.2.1\"").expect("a valid trunk");
        let users = users.iter().map(|(user, password)| ((*user).to_owned(), Secret::new(*password)));
        let authority = Authority::new([7; 32], "trunkline", users, now);
        Bench { agent: UserAgent::new(settings, Trunks::new(&[trunk]), authority), now, calls: Vec::new() }
    }

    /// What comes back; notes the calls that get through.
    fn send(&mut self, datagram: &str, from: &str) -> Vec<Response> {
        self.agent.datagram(datagram.as_bytes(), source(from), self.now);
        let mut answers = Vec::new();
        for output in self.agent.outputs() {
            match output {
                Output::Transmit { datagram, to, .. } => {
                    assert_eq!(to.ip(), source(from).ip(), "answers go to the source only");
                    if let Ok(Message::Response(response)) = read(&datagram, &Limits::default()) {
                        answers.push(response);
                    }
                }
                Output::Incoming(incoming) => self.calls.push(incoming.call),
                _ => {}
            }
        }
        answers
    }

    fn code(&mut self, datagram: &str, from: &str) -> Option<u16> {
        self.send(datagram, from).first().map(Response::code)
    }

    /// An INVITE with a password, after the challenge that it needs.
    fn log_in(&mut self, id: &str, user: &str, password: &str, from: &str) -> Vec<Response> {
        let challenge = self.send(&request("INVITE", &format!("{id}-asks"), "", ""), from).remove(0);
        if challenge.code() != 401 {
            return vec![challenge];
        }
        let credentials = Credentials { username: user.into(), password: Secret::new(password), realm: None };
        let (name, value) = Authentication::new(Some(credentials))
            .answer(&challenge, "INVITE", "sip:100@box", "cnonce")
            .expect("a challenge that can be answered");
        self.send(&request("INVITE", id, "", &format!("{name}: {value}\r\n")), from)
    }

    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(at) = self.agent.next_wake().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.agent.tick(self.now);
            self.agent.outputs();
        }
        self.now = end;
    }
}

#[test]
fn wrong_passwords_lock_their_source_out_for_a_while_and_no_other() {
    let mut bench = Bench::new(&[("200", "right")]);
    for number in 0..=FREE_TRIES {
        let answers = bench.log_in(&format!("guess-{number}"), "200", "wrong", STRANGER);
        assert_eq!(answers[0].code(), 401, "{number}");
    }
    let refused = bench.log_in("right", "200", "right", STRANGER).remove(0);
    assert_eq!((refused.code(), refused.fields.first("Retry-After")), (503, Some("2")));
    assert_eq!(bench.log_in("elsewhere", "200", "right", "203.0.113.5:5060")[0].code(), 100);
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.log_in("later", "200", "right", STRANGER)[0].code(), 100);
}

#[test]
fn a_forged_source_cannot_lock_anybody_out() {
    let mut bench = Bench::new(&[("200", "right")]);
    // The forger never sees the challenge, so the nonce is another address's or made up.
    let challenge = bench.send(&request("INVITE", "forger", "", ""), "203.0.113.66:5060").remove(0);
    let credentials = Credentials { username: "200".into(), password: Secret::new("x"), realm: None };
    let (name, value) = Authentication::new(Some(credentials))
        .answer(&challenge, "INVITE", "sip:100@box", "cnonce")
        .expect("a challenge that can be answered");
    for number in 0..40 {
        let forged = request("INVITE", &format!("forged-{number}"), "", &format!("{name}: {value}\r\n"));
        assert_eq!(bench.code(&forged, STRANGER), Some(401));
    }
    assert_eq!(bench.log_in("owner", "200", "right", STRANGER)[0].code(), 100);
}

#[test]
fn a_flood_from_one_source_gets_few_answers_and_trunks_get_all() {
    for users in [&[][..], &[("200", "right")]] {
        let mut bench = Bench::new(users);
        let answered = |bench: &mut Bench, from: &str| {
            let kinds = ["INVITE", "OPTIONS", "REGISTER", "FOO", "BYE"];
            let asks = (0..500).map(|number| request(kinds[number % 5], &format!("{from}{number}"), "", ""));
            // A broken one would be answered too.
            asks.chain(std::iter::once("INVITE sip:a@b SIP/3.0\r\nVia: SIP/2.0/UDP x\r\n\r\n".to_owned()))
                .filter(|ask| bench.code(ask, from).is_some())
                .count()
        };
        // Where nobody could ever sign in, silence is all that a stranger gets.
        let hopeless = users.is_empty();
        // The gate lets two hundred in, of which fifty are answered, and says sorry twenty times to the others.
        assert_eq!(answered(&mut bench, STRANGER), if hopeless { 0 } else { BURST as usize + 20 });
        assert_eq!(answered(&mut bench, TRUNK), 501);
        bench.pass(Duration::from_secs(1));
        assert_eq!(answered(&mut bench, STRANGER), if hopeless { 0 } else { 40 });
    }
}

#[test]
fn options_keeps_a_trunk_alive_and_tells_a_stranger_nothing() {
    let mut bench = Bench::new(&[]);
    assert_eq!(bench.code(&request("OPTIONS", "a", "", ""), TRUNK), Some(200));
    for method in ["OPTIONS", "INVITE", "REGISTER", "FOO", "BYE"] {
        assert!(bench.send(&request(method, method, "", ""), STRANGER).is_empty(), "{method}");
        assert!(bench.send(&request(method, method, "tag", ""), STRANGER).is_empty(), "{method}");
    }
    let mut bench = Bench::new(&[("200", "right")]);
    assert_eq!(bench.code(&request("OPTIONS", "a", "", ""), TRUNK), Some(200));
    let answer = bench.send(&request("OPTIONS", "b", "", ""), STRANGER).remove(0);
    assert_eq!((answer.code(), answer.fields.first("Allow")), (401, None));
}

#[test]
fn calls_that_come_and_go_fill_no_memory() {
    let mut bench = Bench::new(&[]);
    for number in 0..40_000 {
        let id = format!("c{number}");
        bench.send(&request("INVITE", &id, "", ""), TRUNK);
        bench.send(&request("CANCEL", &id, "", ""), TRUNK);
        // As fast as one trunk may.
        bench.now += Duration::from_micros(250);
    }
    let held = bench.calls.len();
    assert!((10_000..33_000).contains(&held), "{held}");
    assert_eq!(bench.code(&request("INVITE", "more", "", ""), TRUNK), Some(503));
    bench.pass(Duration::from_secs(100));
    assert!(bench.agent.next_wake().is_none(), "nothing is left behind");
    assert_eq!(bench.code(&request("INVITE", "again", "", ""), TRUNK), Some(100));
}

#[test]
fn a_dialog_cannot_be_used_to_fill_the_memory_and_can_still_be_ended() {
    let mut bench = Bench::new(&[]);
    bench.send(&request("INVITE", "call", "", ""), TRUNK);
    let call = bench.calls[0];
    bench.agent.command(call, trunkline::sip::event::Command::Ringing(None), bench.now);
    let ringing = bench.agent.outputs().into_iter().find_map(|output| match output {
        Output::Transmit { datagram, .. } => read(&datagram, &Limits::default()).ok(),
        _ => None,
    });
    let Some(Message::Response(ringing)) = ringing else { panic!("no 180") };
    let tag = ringing.to_tag().expect("a tag");
    let inside = |method: &str, number: u32| {
        let asked = request(method, &format!("in{number}"), &tag, "");
        asked
            .replace(&format!("Call-ID: in{number}"), "Call-ID: call")
            .replace("CSeq: 2 ", &format!("CSeq: {} ", number + 2))
            .replace("Content-Type: application/sdp\r\n", "")
    };
    let mut refused = 0;
    for number in 0..70_000 {
        refused += usize::from(bench.code(&inside("INFO", number), TRUNK) == Some(503));
    }
    assert!((4_000..5_000).contains(&refused), "{refused}");
    assert_eq!(bench.code(&inside("BYE", 80_000), TRUNK), Some(200));
}

#[test]
fn a_scanner_hears_nothing_even_where_extensions_could_sign_in() {
    let mut bench = Bench::new(&[("200", "right")]);
    for (id, agent) in [("a", "friendly-scanner"), ("b", "sundayddr"), ("c", "sipcli/v1.8")] {
        let scan = request("OPTIONS", id, "", &format!("User-Agent: {agent}\r\n"));
        assert!(bench.send(&scan, STRANGER).is_empty(), "{agent}");
        assert_eq!(bench.code(&scan, TRUNK), Some(200), "a trunk may call itself what it likes");
    }
    assert_eq!(bench.code(&request("OPTIONS", "d", "", "User-Agent: phone\r\n"), STRANGER), Some(401));
}

#[test]
fn under_a_flood_a_stranger_hears_503_without_having_been_parsed() {
    let mut bench = Bench::new(&[("200", "right")]);
    let codes: Vec<Option<u16>> =
        (0..300).map(|number| bench.code(&request("OPTIONS", &format!("f{number}"), "", ""), STRANGER)).collect();
    assert_eq!(codes.iter().filter(|code| **code == Some(401)).count(), BURST as usize);
    assert_eq!(codes.iter().filter(|code| **code == Some(503)).count(), 20);
    // Whoever has signed in is heard all the while, from wherever it calls.
    let phone = "203.0.113.5:5060";
    assert_eq!(bench.log_in("before", "200", "right", phone)[0].code(), 100);
    for number in 0..20_000_u32 {
        let forged = std::net::Ipv4Addr::from_bits(number.wrapping_mul(2_654_435_761));
        bench.send(&request("INVITE", &format!("g{number}"), "", ""), &format!("{forged}:5060"));
    }
    assert_eq!(bench.log_in("during", "200", "right", phone)[0].code(), 100);
    assert_eq!(bench.code(&request("INVITE", "trunk", "", ""), TRUNK), Some(100));
}
