//! Reliable provisional responses (RFC 3262), both roles.
//!
//! | INVITE says | A 101–199 of ours |
//! |---|---|
//! | `Require: 100rel` | is reliable, always |
//! | `Supported: 100rel` | is reliable when it carries a session description |
//! | neither | is not |
//!
//! | Reliable response of ours | Input | Output | Next |
//! |---|---|---|---|
//! | none waits | ringing | 18x with RSeq | waits |
//! | waits | another ringing | – (the last one is sent after the PRACK) | waits |
//! | | T1, 2·T1, 4·T1 … | the same again | waits |
//! | | PRACK that names it | 200 | none waits |
//! | | any other PRACK | 481 | waits |
//! | | answer, and it carries a session description | – (held until the PRACK) | waits |
//! | | 64·T1 | 504 to the INVITE | over |
//!
//! | Reliable response of the peer | Output |
//! |---|---|
//! | the first, or RSeq one higher than the last | PRACK; told to the owner |
//! | RSeq as before or lower | – (it crossed our PRACK) |
//! | RSeq higher by more | – (one before it was lost; the peer repeats both) |

use std::time::Instant;

use crate::sip::message::{CSeq, Fields, Method, Request, Response};
use crate::sip::transaction::Backoff;

use super::{Step, options};

/// How a response of the peer stands in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Not reliable.
    Plain,
    /// To be acknowledged under this number.
    Next(u32),
    /// To be passed over.
    Not,
}

/// The peer's reliable responses in one early dialog.
#[derive(Debug, Clone, Copy, Default)]
pub struct Received {
    last: Option<u32>,
}

impl Received {
    pub fn take(&mut self, response: &Response) -> Order {
        if !options::requires(&response.fields, "100rel") {
            return Order::Plain;
        }
        let number = response.fields.first("RSeq").and_then(|text| text.trim().parse::<u32>().ok());
        let Some(number) = number.filter(|number| *number > 0) else { return Order::Plain };
        if self.last.is_some_and(|last| last.checked_add(1) != Some(number)) {
            return Order::Not;
        }
        self.last = Some(number);
        Order::Next(number)
    }
}

/// The value of RAck for a response under `number`.
pub fn rack(number: u32, response: &Response) -> Option<String> {
    Some(format!("{number} {}", response.cseq()?))
}

/// Our reliable responses to one INVITE.
pub struct Sent {
    wanted: Wanted,
    next: u32,
    waiting: Option<Waiting>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Never,
    WithSession,
    Always,
}

struct Waiting {
    number: u32,
    response: Response,
    repeat: Backoff,
    give_up: Instant,
}

/// What the clock did.
pub enum Lapse {
    Nothing,
    Repeat(Box<Response>),
    /// 64·T1 without a PRACK.
    Unheard,
}

impl Sent {
    pub fn new(invite: &Fields) -> Sent {
        let wanted = match (options::requires(invite, "100rel"), options::lists(invite, "100rel")) {
            (true, _) => Wanted::Always,
            (false, true) => Wanted::WithSession,
            (false, false) => Wanted::Never,
        };
        Sent { wanted, next: 0, waiting: None }
    }

    /// Whether a response must be sent reliably.
    pub fn covers(&self, has_session: bool) -> bool {
        match self.wanted {
            Wanted::Never => false,
            Wanted::WithSession => has_session,
            Wanted::Always => true,
        }
    }

    /// Numbers `response` and waits for its PRACK.
    pub fn send(&mut self, response: &mut Response, step: &mut Step<'_>) {
        if self.next == 0 {
            // 1 to 2³¹ − 1 at random (RFC 3262 §3); small, so that the numbers after it fit, too.
            let random = u32::from_str_radix(step.token().get(..6).unwrap_or("1"), 16).unwrap_or(1);
            self.next = random.max(1);
        }
        let number = self.next;
        self.next += 1;
        response.fields.push("Require", "100rel");
        response.fields.push("RSeq", number.to_string());
        let repeat = Backoff::start(step.now, step.timers.t1);
        let give_up = step.now + step.timers.give_up();
        self.waiting = Some(Waiting { number, response: response.clone(), repeat, give_up });
    }

    pub fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// No 2xx may go out before the PRACK (RFC 3262 §3).
    pub fn holds_answer(&self) -> bool {
        self.waiting.as_ref().is_some_and(|waiting| !waiting.response.body.is_empty())
    }

    /// Whether `prack` acknowledges the response that waits; then it waits no more.
    pub fn acknowledge(&mut self, prack: &Request, invite: &Request) -> bool {
        let named = Rack::read(&prack.fields);
        let fits = self.waiting.as_ref().zip(named).is_some_and(|(waiting, named)| {
            let cseq = invite.fields.first("CSeq").and_then(CSeq::parse).map(|cseq| cseq.number);
            named.number == waiting.number && Some(named.sequence) == cseq && named.method.is(rsip::Method::Invite)
        });
        if fits {
            self.waiting = None;
        }
        fits
    }

    pub fn tick(&mut self, step: &Step<'_>) -> Lapse {
        let Some(waiting) = &mut self.waiting else { return Lapse::Nothing };
        if step.now >= waiting.give_up {
            self.waiting = None;
            return Lapse::Unheard;
        }
        // Without the ceiling of T2 (RFC 3262 §3).
        if waiting.repeat.fired(step.now, step.timers.give_up()) {
            return Lapse::Repeat(Box::new(waiting.response.clone()));
        }
        Lapse::Nothing
    }

    pub fn wake_at(&self) -> Option<Instant> {
        self.waiting.as_ref().map(|waiting| waiting.repeat.at.min(waiting.give_up))
    }
}

/// Number of the response, and CSeq of its INVITE (RFC 3262 §7.2).
struct Rack {
    number: u32,
    sequence: u32,
    method: Method,
}

impl Rack {
    fn read(fields: &Fields) -> Option<Rack> {
        let (number, cseq) = fields.first("RAck")?.trim().split_once(char::is_whitespace)?;
        let CSeq { number: sequence, method } = CSeq::parse(cseq)?;
        Some(Rack { number: number.parse().ok()?, sequence, method })
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sip::message::Uri;
    use crate::sip::transaction::Timers;

    const T1: Duration = Duration::from_millis(500);

    fn request(method: rsip::Method, lines: &[(&str, &str)]) -> Request {
        let mut request = Request::new(method.into(), Uri::parse("sip:a@b").expect("a URI"));
        request.fields.push("CSeq", format!("7 {method}"));
        for (name, value) in lines {
            request.fields.push(name, *value);
        }
        request
    }

    fn ringing(lines: &[(&str, &str)]) -> Response {
        let mut response = Response::to(&request(rsip::Method::Invite, &[]), 180);
        for (name, value) in lines {
            response.fields.push(name, *value);
        }
        response
    }

    fn at(now: Instant, tokens: &mut dyn FnMut() -> String, act: impl FnOnce(&mut Step<'_>)) {
        act(&mut Step { now, timers: Timers::from_t1(T1), tokens, out: &mut Vec::new() });
    }

    #[test]
    fn what_the_invite_says_decides() {
        for (line, plain, with_session) in [("", false, false), ("Supported", false, true), ("Require", true, true)] {
            let invite = request(rsip::Method::Invite, &[(line, "100rel")]);
            let sent = Sent::new(&invite.fields);
            assert_eq!((sent.covers(false), sent.covers(true)), (plain, with_session), "{line}");
        }
    }

    #[test]
    fn the_peers_responses_are_taken_in_order_once() {
        let mut received = Received::default();
        let mut take = |number: &str| received.take(&ringing(&[("Require", "100rel"), ("RSeq", number)]));
        assert_eq!(take("41"), Order::Next(41));
        assert_eq!([take("41"), take("43"), take("40")], [Order::Not; 3]);
        assert_eq!([take("42"), take("43")], [Order::Next(42), Order::Next(43)]);
        assert_eq!([take("x"), take("0")], [Order::Plain; 2]);
        assert_eq!(Received::default().take(&ringing(&[("RSeq", "1")])), Order::Plain, "without Require");
        assert_eq!(rack(41, &ringing(&[])).as_deref(), Some("41 7 INVITE"));
    }

    #[test]
    fn ours_is_repeated_until_its_prack_and_no_other() {
        let (start, mut tokens) = (Instant::now(), || "0000290000000000".to_owned());
        let invite = request(rsip::Method::Invite, &[("Require", "100rel")]);
        let mut sent = Sent::new(&invite.fields);
        let mut response = ringing(&[]).with_body("application/sdp", "v=0");
        at(start, &mut tokens, |step| sent.send(&mut response, step));
        assert_eq!(response.fields.first("RSeq"), Some("41"));
        assert!(sent.is_waiting() && sent.holds_answer());
        let mut repeats = Vec::new();
        while let Some(when) = sent.wake_at() {
            at(when, &mut tokens, |step| match sent.tick(step) {
                Lapse::Repeat(again) => {
                    assert_eq!(*again, response);
                    repeats.push((when - start).as_millis());
                }
                Lapse::Unheard => repeats.push(0),
                Lapse::Nothing => panic!("woken for nothing"),
            });
        }
        assert_eq!(repeats, [500, 1_500, 3_500, 7_500, 15_500, 31_500, 0], "and then given up");

        at(start, &mut tokens, |step| sent.send(&mut ringing(&[]), step));
        let prack = |value: &str| request(rsip::Method::PRack, &[("RAck", value)]);
        for wrong in ["41 7 INVITE", "42 8 INVITE", "42 7 UPDATE", "42 7", "", "-1 7 INVITE"] {
            assert!(!sent.acknowledge(&prack(wrong), &invite), "{wrong}");
        }
        assert!(!sent.acknowledge(&request(rsip::Method::PRack, &[]), &invite));
        assert!(sent.acknowledge(&prack("42 7 INVITE"), &invite));
        assert!(!sent.acknowledge(&prack("42 7 INVITE"), &invite), "it waits no more");
        assert_eq!(sent.wake_at(), None);
    }
}
