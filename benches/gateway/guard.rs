//! Whether the time of a digest verification tells which users there are: a known and an unknown name, both wrong.

use std::time::Instant;

use hdrhistogram::Histogram;
use trunkline::config::Secret;
use trunkline::sip::digest::client::{Authentication, Credentials};
use trunkline::sip::digest::server::{Authority, Verdict};
use trunkline::sip::message::{Fields, Response};

use super::report;

const SAMPLES: usize = 50_000;
/// As many as a large office has, so that looking one up counts.
const USERS: usize = 500;
const URI: &str = "sip:100@box.example.com";

pub fn times() {
    report::title("Guard: a digest verification that fails");
    let start = Instant::now();
    let users = (0..USERS).map(|user| (format!("{:04}", 1_000 + user), Secret::new("a password of usual length")));
    let mut authority = Authority::new([7; 32], "box", users, start);
    let source = [192, 0, 2, 1].into();
    let names = [("known", "1007"), ("unknown", "9007")];
    let values = names.map(|(_, user)| signed(&authority, user, start));
    let mut spreads = names.map(|_| Histogram::<u64>::new_with_bounds(1, 1_000_000_000, 3).expect("valid bounds"));
    for sample in 0..SAMPLES * 2 {
        // Who comes first changes, so that neither always finds the caches warm.
        let which = (sample ^ (sample >> 1)) & 1;
        let begin = Instant::now();
        let verdict = authority.judge([values[which].as_str()].into_iter(), "REGISTER", URI, source, start);
        let time = begin.elapsed();
        assert_eq!(verdict, Verdict::Wrong);
        spreads[which].saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }
    for ((name, _), spread) in names.iter().zip(&spreads) {
        let at = |quantile: f64| spread.value_at_quantile(quantile) as f64 / 1000.0;
        let count = spread.len();
        println!("{name:<46} median {:>9.3} µs   p99 {:>9.3} µs   ({count} samples)", at(0.5), at(0.99));
    }
    let ratio = |quantile: f64| {
        let [known, unknown] = [0, 1].map(|which: usize| spreads[which].value_at_quantile(quantile) as f64);
        known / unknown
    };
    println!("{:<46} median {:>9.3}      p99 {:>9.3}", "known : unknown", ratio(0.5), ratio(0.99));
}

/// What a phone with a wrong password sends.
fn signed(authority: &Authority, user: &str, now: Instant) -> String {
    let mut challenge = Response::from_fields(&Fields::default(), 401);
    for value in authority.challenges([192, 0, 2, 1].into(), false, now) {
        challenge.fields.push("WWW-Authenticate", value);
    }
    let credentials = Credentials { username: user.into(), password: Secret::new("a guess"), realm: None };
    Authentication::new(Some(credentials)).answer(&challenge, "REGISTER", URI, "c").expect("answered").1
}
