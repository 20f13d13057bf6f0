#![allow(clippy::disallowed_methods)]

use super::*;
use crate::config::Secret;
use crate::sip::message::{Fields, Uri};

const CHALLENGE: &str = r#"Digest realm="pbx", nonce="n1", qop="auth""#;
const MINUTE: Duration = Duration::from_secs(60);

struct Bench {
    registration: Registration,
    contact: SipUri,
    now: Instant,
}

fn response(code: u16, fields: &[(&str, &str)]) -> Response {
    let mut response = Response::from_fields(&Fields::default(), code);
    for (name, value) in fields {
        response.fields.push(name, *value);
    }
    response
}

impl Bench {
    fn new(alone: bool) -> Bench {
        let now = Instant::now();
        let credentials = Credentials { username: "box".into(), password: Secret::new("pw"), realm: None };
        let Ok(Uri::Sip(contact)) = Uri::parse("sip:box@192.0.2.7:5060") else { panic!("a contact") };
        let terms = Terms { seconds: 600, alone };
        let mut registration = Registration::new(terms, Some(credentials));
        assert_eq!(registration.wake_at(), None);
        registration.begin(now);
        Bench { registration, contact, now }
    }

    fn asking(alone: bool) -> Bench {
        let mut bench = Bench::new(alone);
        assert_eq!(bench.registration.tick(bench.now), Some(Register { seconds: 600, authorization: None }));
        bench
    }

    fn around(&self, another: bool, random: u64) -> Surroundings<'static> {
        let contact: &'static SipUri = Box::leak(Box::new(self.contact.clone()));
        Surroundings { contact, uri: "sip:pbx", cnonce: "c", another, random, now: self.now }
    }

    fn answer(&mut self, code: u16, fields: &[(&str, &str)]) -> Option<Register> {
        let around = self.around(false, u64::MAX / 2);
        self.registration.answered(&response(code, fields), &around)
    }

    /// From now to the next wake-up.
    fn pause(&self) -> Duration {
        self.registration.wake_at().expect("a wake-up").saturating_duration_since(self.now)
    }

    fn standing(&self) -> Option<Duration> {
        self.registration.standing(self.now).map(|until| until - self.now)
    }
}

#[test]
fn a_binding_is_renewed_before_it_ends() {
    for random in [0, u64::MAX / 2, u64::MAX] {
        let mut bench = Bench::asking(false);
        let around = bench.around(false, random);
        let accepted = response(200, &[("Contact", "<sip:box@192.0.2.7>;expires=300")]);
        assert_eq!(bench.registration.answered(&accepted, &around), None);
        assert_eq!(bench.standing(), Some(5 * MINUTE), "the registrar's word counts, not ours");
        assert!((5 * MINUTE * 3 / 4..5 * MINUTE * 9 / 10).contains(&bench.pause()), "{:?}", bench.pause());
        bench.now += bench.pause();
        assert!(bench.registration.tick(bench.now).is_some());
        assert!(bench.standing().is_some(), "it stands while it is renewed");
    }
}

#[test]
fn the_lifetime_is_that_of_our_contact_then_expires_then_what_was_asked() {
    for (fields, seconds) in [
        (vec![("Contact", "<sip:x@192.0.2.9>;expires=10, <sip:box@192.0.2.7>;expires=120"), ("Expires", "30")], 120),
        (vec![("Contact", "<sip:box@192.0.2.7:5060>"), ("Expires", "90")], 90),
        (vec![("Contact", "<sip:box@192.0.2.7:5060>")], 600),
        (vec![], 600),
        (vec![("Contact", "<sip:box@203.0.113.5:1024>;expires=60")], 60),
    ] {
        let mut bench = Bench::asking(false);
        assert_eq!(bench.answer(200, &fields), None);
        assert_eq!(bench.standing(), Some(Duration::from_secs(seconds)), "{fields:?}");
    }
}

#[test]
fn an_answer_without_our_contact_is_no_registration() {
    for contacts in
        ["<sip:other@192.0.2.9>", "<sip:other@192.0.2.9>, <sip:box@192.0.2.99>", "<sip:box@192.0.2.7>;expires=0"]
    {
        let mut bench = Bench::asking(false);
        assert_eq!(bench.answer(200, &[("Contact", contacts)]), None);
        assert_eq!(bench.standing(), None, "{contacts}");
        assert!(bench.registration.problem().is_some() && bench.pause() >= 2 * MINUTE);
    }
}

#[test]
fn company_is_borne_or_the_binding_given_back() {
    let contacts = [("Contact", "<sip:other@192.0.2.9>, <sip:box@192.0.2.7>")];
    let mut bench = Bench::asking(false);
    assert_eq!(bench.answer(200, &contacts), None);
    assert!(bench.standing().is_some());
    let mut bench = Bench::asking(true);
    assert_eq!(bench.answer(200, &contacts), Some(Register { seconds: 0, authorization: None }));
    let challenged = bench.answer(401, &[("WWW-Authenticate", CHALLENGE)]).expect("credentials");
    assert!(challenged.seconds == 0 && challenged.authorization.is_some());
    assert_eq!(bench.answer(200, &[]), None);
    assert_eq!(bench.standing(), None);
    assert!(bench.registration.problem().is_some_and(|problem| problem.contains("other devices")));
    assert!(bench.pause() >= 2 * MINUTE && !bench.registration.is_gone());
}

#[test]
fn a_challenge_is_answered_once_and_a_stale_nonce_once_more() {
    let stale = format!("{CHALLENGE}, stale=true");
    let mut bench = Bench::asking(false);
    let again = bench.answer(401, &[("WWW-Authenticate", CHALLENGE)]).expect("credentials");
    assert_eq!((again.seconds, again.authorization.map(|(name, _)| name)), (600, Some("Authorization")));
    assert!(bench.answer(401, &[("WWW-Authenticate", &stale)]).is_some());
    assert_eq!(bench.answer(401, &[("WWW-Authenticate", &stale)]), None);
    assert!(bench.pause() >= 2 * MINUTE, "a wrong password is not tried again soon: accounts are locked for that");
    let mut bench = Bench::asking(false);
    bench.answer(407, &[("Proxy-Authenticate", CHALLENGE)]).expect("credentials");
    assert_eq!(bench.answer(407, &[("Proxy-Authenticate", CHALLENGE)]), None);
}

#[test]
fn a_longer_life_is_asked_for_once_and_within_reason() {
    let mut bench = Bench::asking(false);
    assert_eq!(bench.answer(423, &[("Min-Expires", "3600")]).map(|wish| wish.seconds), Some(3600));
    assert_eq!(bench.answer(423, &[("Min-Expires", "7200")]), None);
    for nonsense in ["5", "600", "99999999", "-1", "x"] {
        assert_eq!(Bench::asking(false).answer(423, &[("Min-Expires", nonsense)]), None, "{nonsense}");
    }
    let mut bench = Bench::asking(false);
    bench.answer(423, &[("Min-Expires", "3600")]);
    bench.answer(200, &[("Contact", "<sip:box@192.0.2.7>;expires=3600")]);
    bench.now += bench.pause();
    assert_eq!(bench.registration.tick(bench.now).map(|wish| wish.seconds), Some(3600), "the lesson is kept");
}

#[test]
fn failures_wait_longer_each_time_and_a_server_may_name_the_time() {
    let mut bench = Bench::asking(false);
    let mut pauses = Vec::new();
    for _ in 0..10 {
        let around = bench.around(false, u64::MAX);
        assert_eq!(bench.registration.unanswered("silent", &around), None);
        pauses.push(bench.pause().as_secs());
        bench.now += bench.pause();
        assert!(bench.registration.tick(bench.now).is_some());
    }
    assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 300, 300, 300, 300]);
    for (asked, least, most) in [("1", 5, 5), ("120", 120, 120), ("999999", 1800, 1800)] {
        let mut bench = Bench::asking(false);
        assert_eq!(bench.answer(503, &[("Retry-After", asked)]), None);
        assert!((least..=most).contains(&bench.pause().as_secs()), "{asked}: {:?}", bench.pause());
    }
}

#[test]
fn a_server_that_fails_is_left_for_the_next_at_once() {
    let mut bench = Bench::asking(false);
    let another = bench.around(true, 0);
    assert!(bench.registration.unanswered("silent", &another).is_some());
    assert!(bench.registration.answered(&response(503, &[("Retry-After", "60")]), &another).is_some());
    assert_eq!(bench.answer(503, &[]), None);
}

#[test]
fn a_standing_binding_outlives_a_failed_renewal() {
    let mut bench = Bench::asking(false);
    bench.answer(200, &[("Contact", "<sip:box@192.0.2.7>;expires=600")]);
    bench.now += bench.pause();
    bench.registration.tick(bench.now).expect("a renewal");
    bench.answer(500, &[]);
    assert!(bench.standing().is_some() && bench.registration.problem().is_some());
    bench.now += 10 * MINUTE;
    assert_eq!(bench.standing(), None);
}

#[test]
fn a_new_address_registers_anew() {
    let mut bench = Bench::asking(false);
    assert_eq!(bench.registration.moved(), None, "one REGISTER at a time");
    bench.answer(200, &[]);
    assert!(bench.registration.moved().is_some());
}

#[test]
fn leaving_gives_back_what_stands_and_asks_nothing_any_more() {
    let mut bench = Bench::asking(false);
    bench.answer(200, &[("Service-Route", "<sip:edge;lr>"), ("Service-Route", "<sip:core;lr>")]);
    assert_eq!(bench.registration.routes(), ["<sip:edge;lr>", "<sip:core;lr>"]);
    assert_eq!(bench.registration.leave(bench.now).map(|wish| wish.seconds), Some(0));
    assert!(bench.answer(401, &[("WWW-Authenticate", CHALLENGE)]).is_some_and(|wish| wish.seconds == 0));
    assert_eq!(bench.answer(200, &[]), None);
    assert!(bench.registration.is_gone() && bench.registration.wake_at().is_none());
    let mut idle = Bench::new(false);
    assert_eq!(idle.registration.leave(idle.now), None);
    assert!(idle.registration.is_gone());
}
