//! Credentials and challenges: the header of a stranger judged by us, and a server's challenge answered by us.

use std::net::{IpAddr, Ipv4Addr};

use trunkline::clock::{Clock, UtcTime};
use trunkline::config::Secret;
use trunkline::sip::digest::client::{Authentication, Credentials};
use trunkline::sip::digest::server::{Authority, Verdict};
use trunkline::sip::message::{Limits, Message, read};

const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9));

pub fn run(data: &[u8]) {
    let now = Clock::manual(UtcTime(0)).now();
    let Ok(text) = std::str::from_utf8(data) else { return };
    let user = ("alice".to_owned(), Secret::new("a password that the input does not know"));
    let mut authority = Authority::new([7; 32], "trunkline", [user], now);
    let verdict = authority.judge(text.lines(), "INVITE", "sip:1@192.0.2.1", SOURCE, now);
    assert!(!matches!(verdict, Verdict::Accepted(_)), "let in without the password");

    let line: String = text.chars().filter(|letter| !letter.is_control()).collect();
    let head = format!("SIP/2.0 401 Unauthorized\r\nWWW-Authenticate: {line}\r\nContent-Length: 0\r\n\r\n");
    let Ok(Message::Response(challenge)) = read(head.as_bytes(), &Limits::default()) else { return };
    let credentials = Credentials { username: "bob".into(), password: Secret::new("secret of bob"), realm: None };
    let mut authentication = Authentication::new(Some(credentials));
    for _ in 0..4 {
        let Some((_, value)) = authentication.answer(&challenge, "INVITE", "sip:1@192.0.2.1", "cnonce") else { return };
        assert!(!value.contains(['\r', '\n']), "a line break in {value:?}");
        assert!(!value.contains("secret of bob"), "the password itself was sent");
    }
    panic!("more than two tries for one request");
}
