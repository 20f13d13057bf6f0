#![allow(clippy::disallowed_methods)]

use super::*;
use crate::sip::dialog::{Act, LocalEnd};
use crate::sip::digest::client::{Authentication, Credentials};
use crate::sip::message::check::check;
use crate::sip::message::{Limits, Message, read};
use crate::sip::transaction::Timers;
use crate::sip::transport::{Hop, Transport};

const T1: Duration = Duration::from_millis(500);

/// A confirmed dialog with its REFER machine, in virtual time.
struct Bench {
    refer: Refer,
    dialog: Dialog,
    common: Common,
    now: Instant,
    out: Vec<Act>,
    token: u64,
}

fn request(text: &str) -> Request {
    match read(text.replace('\n', "\r\n").as_bytes(), &Limits::default()) {
        Ok(Message::Request(request)) => request,
        other => panic!("{other:?}"),
    }
}

/// A request of the peer in the dialog; `more` are further header lines, then a blank one and the body.
fn of_peer(method: &str, sequence: u32, more: &str) -> Request {
    let (head, body) = more.split_once("\n\n").unwrap_or((more, ""));
    let head = if head.is_empty() { String::new() } else { format!("{head}\n") };
    request(&format!(
        "{method} sip:box@192.0.2.1 SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.2;branch=z9hG4bK{method}{sequence}\n\
         Max-Forwards: 70\nFrom: <sip:peer@192.0.2.2>;tag=theirs\nTo: <sip:box@192.0.2.1>;tag=ours\nCall-ID: call\n\
         CSeq: {sequence} {method}\nContact: <sip:peer@192.0.2.2>\n{head}Content-Length: {}\n\n{body}",
        body.len()
    ))
}

fn notify(sequence: u32, state: &str, body: &str) -> Request {
    let kind = "Content-Type: message/sipfrag;version=2.0";
    of_peer("NOTIFY", sequence, &format!("Event: refer\nSubscription-State: {state}\n{kind}\n\n{body}"))
}

impl Bench {
    fn new() -> Bench {
        let invite = of_peer("INVITE", 1, "");
        let checked = check(&invite).expect("sound");
        let hop = Hop::udp("192.0.2.2:5060".parse().expect("address"));
        let dialog = Dialog::from_request(&invite, &checked, "ours", hop).expect("a dialog");
        let local = LocalEnd {
            transport: Transport::Udp,
            sent_by: "192.0.2.1:5060".into(),
            contact: "<sip:box@192.0.2.1>".into(),
            user_agent: "test".into(),
        };
        let credentials = Credentials { username: "u".into(), password: crate::config::Secret::new("p"), realm: None };
        let common = Common::new(local, "ours".into(), Authentication::new(Some(credentials)), true);
        Bench { refer: Refer::default(), dialog, common, now: Instant::now(), out: Vec::new(), token: 0 }
    }

    /// Lets the machine act and returns, a line each, what it sent and told.
    fn act(&mut self, act: impl FnOnce(&mut Refer, &mut Dialog, &mut Common, &mut Step<'_>)) -> Vec<String> {
        let token = &mut self.token;
        let mut tokens = || {
            *token += 1;
            format!("{token:016x}")
        };
        let mut step = Step { now: self.now, timers: Timers::from_t1(T1), tokens: &mut tokens, out: &mut self.out };
        act(&mut self.refer, &mut self.dialog, &mut self.common, &mut step);
        self.out.drain(..).map(|act| shown(&act)).collect()
    }

    fn send(&mut self) -> Vec<String> {
        self.act(|refer, dialog, common, step| refer.send("sip:person@192.0.2.2", None, dialog, common, step))
    }

    fn answer(&mut self, code: u16, more: &[(&str, &str)]) -> Vec<String> {
        let asked = of_peer("REFER", 1, "");
        let mut response = Response::to(&asked, code);
        for (name, value) in more {
            response.fields.push(name, *value);
        }
        self.act(|refer, dialog, common, step| {
            refer.response(Purpose::Refer, &asked, &response, dialog, common, step);
        })
    }

    fn notified(&mut self, request: &Request) -> Vec<String> {
        let key = key_of(request);
        self.act(|refer, _, common, step| refer.notified(request, &key, common, step))
    }

    fn asked(&mut self, request: &Request) -> Vec<String> {
        let key = key_of(request);
        self.act(|refer, _, common, step| refer.asked(request, &key, common, step))
    }

    fn decide(&mut self, code: u16) -> Vec<String> {
        self.act(|refer, dialog, common, step| refer.decide(code, dialog, common, step))
    }

    fn report(&mut self, code: u16) -> Vec<String> {
        self.act(|refer, dialog, common, step| refer.report(code, dialog, common, step))
    }

    /// The peer takes our NOTIFY.
    fn heard(&mut self) -> Vec<String> {
        let ours = of_peer("NOTIFY", 1, "");
        let response = Response::to(&ours, 200);
        self.act(|refer, dialog, common, step| {
            refer.response(Purpose::Notify, &ours, &response, dialog, common, step);
        })
    }

    /// Goes to the next deadline, which must be there.
    fn wait(&mut self) -> Vec<String> {
        self.now = self.refer.wake_at().expect("a deadline");
        self.act(Refer::tick)
    }
}

fn key_of(request: &Request) -> ServerKey {
    ServerKey::of_request(request, &check(request).expect("sound"))
}

fn shown(act: &Act) -> String {
    match act {
        Act::Send { request, .. } => {
            let state = request.fields.first("Subscription-State").unwrap_or_default();
            let body = String::from_utf8_lossy(&request.body);
            let event = request.fields.first("Event").unwrap_or_default();
            [request.method.to_string().as_str(), event, state, body.trim()].join(" ").trim().to_owned()
        }
        Act::Respond { response, .. } => response.code().to_string(),
        Act::Event(CallEvent::Refer(news)) => format!("{news:?}"),
        Act::Event(CallEvent::Referred(referral)) => format!("Referred {}", referral.target.uri),
        other => format!("{other:?}"),
    }
}

const TRYING: &str = "SIP/2.0 100 Trying\r\n";
const OK: &str = "SIP/2.0 200 OK\r\n";

#[test]
fn ours_walks_the_table_to_the_good_end() {
    let mut bench = Bench::new();
    assert_eq!(bench.send(), ["REFER"]);
    assert_eq!(bench.send(), ["Refused(491)"]);
    assert_eq!(bench.answer(100, &[]), [""; 0]);
    assert_eq!(bench.answer(202, &[]), ["Accepted"]);
    assert_eq!(bench.notified(&notify(2, "active;expires=60", TRYING)), ["200", "Progress(100)"]);
    assert_eq!(bench.notified(&notify(3, "active", "SIP/2.0 180 Ringing\r\n")), ["200", "Progress(180)"]);
    assert_eq!(bench.notified(&notify(4, "active;expires=50", OK)), ["200", "Done(200)"]);
    assert_eq!(bench.notified(&notify(5, "terminated;reason=noresource", OK)), ["200"], "told once");
    assert_eq!(bench.notified(&notify(6, "terminated;reason=noresource", OK)), ["481"]);
    assert_eq!(bench.refer.wake_at(), None);
    assert_eq!(bench.send(), ["REFER"], "and again");
}

#[test]
fn ours_walks_the_table_to_every_other_end() {
    let sent = || {
        let mut bench = Bench::new();
        bench.send();
        bench
    };
    let watching = || {
        let mut bench = sent();
        bench.answer(202, &[]);
        bench
    };
    for code in [403, 405, 501, 603] {
        assert_eq!(sent().answer(code, &[]), [format!("Refused({code})")]);
    }
    assert_eq!(sent().answer(202, &[("Refer-Sub", "false")]), ["Accepted", "Unknown"]);
    assert_eq!(sent().act(|refer, _, common, step| refer.failed(Purpose::Refer, 408, common, step)), ["Refused(408)"]);
    assert_eq!(watching().notified(&notify(2, "terminated", "SIP/2.0 503 Busy\r\n")), ["200", "Done(503)"]);
    assert_eq!(watching().notified(&notify(2, "terminated;reason=timeout", TRYING)), ["200", "Unknown"]);
    assert_eq!(
        watching().notified(&of_peer("NOTIFY", 2, "Event: refer\nSubscription-State: terminated")),
        ["200", "Unknown"]
    );
    let mut silent = watching();
    let begin = silent.now;
    assert_eq!(silent.wait(), ["Unknown"]);
    assert_eq!(silent.now - begin, 64 * T1);
    let mut endless = watching();
    let begin = endless.now;
    endless.notified(&notify(2, "active;expires=99999999", TRYING));
    assert_eq!(endless.wait(), ["Unknown"]);
    assert_eq!(endless.now - begin, LONGEST, "whatever the peer says");
    let mut unwilling = Bench::new();
    unwilling.common.refuses_refer = true;
    assert_eq!(unwilling.send(), ["Refused(405)"]);
}

#[test]
fn a_notify_may_overtake_the_202() {
    let mut bench = Bench::new();
    bench.send();
    assert_eq!(bench.notified(&notify(2, "active;expires=60", TRYING)), ["200", "Accepted", "Progress(100)"]);
    assert_eq!(bench.answer(202, &[]), [""; 0]);
    assert_eq!(bench.notified(&notify(3, "terminated", OK)), ["200", "Done(200)"]);
}

#[test]
fn a_challenge_is_answered_and_the_events_follow_the_new_cseq() {
    let mut bench = Bench::new();
    bench.send();
    assert_eq!(bench.answer(401, &[("WWW-Authenticate", "Digest realm=\"r\", nonce=\"n\", algorithm=MD5")]), ["REFER"]);
    assert_eq!(bench.answer(202, &[]), ["Accepted"]);
    let of = |id: u32| {
        of_peer(
            "NOTIFY",
            10 + id,
            &format!("Event: refer;id={id}\nSubscription-State: active\nContent-Type: message/sipfrag\n\n{OK}"),
        )
    };
    assert_eq!(bench.notified(&of(1)), ["481"], "the CSeq that was challenged");
    assert_eq!(bench.notified(&of(2)), ["200", "Done(200)"]);
}

#[test]
fn a_notify_that_is_none_is_refused() {
    let mut bench = Bench::new();
    bench.send();
    bench.answer(202, &[]);
    let fragment = "Content-Type: message/sipfrag\n\nSIP/2.0 200 OK\r\n";
    for (more, code) in [
        (format!("Event: presence\nSubscription-State: active\n{fragment}"), "489"),
        (format!("Subscription-State: active\n{fragment}"), "489"),
        (format!("Event: refer\n{fragment}"), "400"),
        ("Event: refer\nSubscription-State: active".to_owned(), "400"),
        ("Event: refer\nSubscription-State: active\nContent-Type: text/plain\n\nSIP/2.0 200 OK".to_owned(), "415"),
        ("Event: refer\nSubscription-State: active\nContent-Type: message/sipfrag\n\nhello".to_owned(), "400"),
        ("Event: refer\nSubscription-State: active\nContent-Type: message/sipfrag\n\nSIP/2.0 999 X".to_owned(), "400"),
    ] {
        assert_eq!(bench.notified(&of_peer("NOTIFY", 2, &more)), [code], "{more}");
    }
    assert_eq!(bench.notified(&notify(3, "terminated", OK)), ["200", "Done(200)"], "none of it did harm");
}

fn refer_of_peer(sequence: u32, more: &str) -> Request {
    of_peer("REFER", sequence, &format!("Refer-To: <sip:person@192.0.2.3>{more}"))
}

#[test]
fn theirs_walks_the_table() {
    let mut bench = Bench::new();
    assert_eq!(bench.asked(&refer_of_peer(2, "")), ["Referred sip:person@192.0.2.3"]);
    assert_eq!(bench.asked(&refer_of_peer(3, "")), ["491"]);
    assert_eq!(bench.decide(202), ["202", "NOTIFY refer active;expires=180 SIP/2.0 100 Trying"]);
    assert_eq!(bench.asked(&refer_of_peer(4, "")), ["491"]);
    assert_eq!(bench.heard(), [""; 0]);
    assert_eq!(bench.report(180), ["NOTIFY refer active;expires=180 SIP/2.0 180 Ringing"]);
    for code in [181, 200, 183] {
        assert_eq!(bench.report(code), [""; 0], "one is under way");
    }
    assert_eq!(bench.heard(), ["NOTIFY refer active;expires=180 SIP/2.0 181 Call Is Being Forwarded"]);
    assert_eq!(bench.heard(), ["NOTIFY refer terminated;reason=noresource SIP/2.0 200 OK"], "the end is the last");
    assert_eq!(bench.heard(), [""; 0]);
    assert_eq!(bench.report(200), [""; 0]);
    // Only the first needs no id.
    bench.asked(&refer_of_peer(5, ""));
    assert_eq!(bench.decide(202), ["202", "NOTIFY refer;id=5 active;expires=180 SIP/2.0 100 Trying"]);
    assert_eq!(bench.wait(), ["NOTIFY refer;id=5 terminated;reason=timeout SIP/2.0 100 Trying"]);
}

#[test]
fn theirs_is_refused_when_it_must_be() {
    let mut bench = Bench::new();
    for more in ["", "Refer-To: nonsense", "Refer-To: <http://example.com>", "Refer-To: <sip:a@b>\nRefer-To: <sip:c@d>"]
    {
        assert_eq!(bench.asked(&of_peer("REFER", 2, more)), ["400"], "{more}");
    }
    bench.asked(&refer_of_peer(3, ""));
    assert_eq!(bench.decide(403), ["403"]);
    bench.asked(&refer_of_peer(4, ""));
    assert_eq!(bench.wait(), ["500"], "the owner said nothing");
    bench.asked(&refer_of_peer(5, ""));
    assert_eq!(bench.act(Refer::close), ["481"], "the call is over");
    bench.asked(&refer_of_peer(6, ""));
    bench.decide(202);
    bench.report(486);
    let last = "NOTIFY refer;id=6 terminated;reason=noresource SIP/2.0 486 Busy Here";
    assert_eq!(bench.act(Refer::close), [last], "what waited is told before the call ends");
    bench.asked(&refer_of_peer(7, "\nRefer-Sub: false"));
    assert_eq!(bench.decide(202), ["202"], "no subscription is wanted");
    assert_eq!(bench.report(200), [""; 0]);
    bench.asked(&refer_of_peer(8, ""));
    bench.decide(202);
    bench.act(|refer, _, common, step| refer.failed(Purpose::Notify, 481, common, step));
    assert_eq!(bench.report(180), [""; 0], "nobody listens any more");
    bench.common.quiet = true;
    assert_eq!(bench.asked(&refer_of_peer(9, "")), ["481"]);
}
