//! Keys in INFO, as sent since before RFC 6086: `application/dtmf-relay` and `application/dtmf`. Packages of RFC 6086
//! are not spoken.

use std::collections::VecDeque;

use crate::sip::message::{Request, Response, media_type};

use super::options::ACCEPT;

/// The longest body that can hold a key.
const MAX_BODY: usize = 256;
/// Keys of ours that may wait for the peer.
const MAX_WAITING: usize = 64;
/// Length that we tell for a key, milliseconds.
const DURATION: u32 = 160;

/// The answer that an INFO is owed, and the key in it.
pub fn read(request: &Request) -> (Response, Option<char>) {
    if request.fields.first("Info-Package").is_some() {
        return (Response::to(request, 469).with("Recv-Info", ""), None);
    }
    let text = String::from_utf8_lossy(request.body.get(..MAX_BODY.min(request.body.len())).unwrap_or_default());
    let key = match media_type(&request.fields).as_deref() {
        // Without a body it is a sign of life.
        None if request.body.is_empty() => return (Response::to(request, 200), None),
        Some("application/dtmf-relay") => relayed(&text),
        Some("application/dtmf") => key_of(text.trim()),
        None | Some(_) => return (Response::to(request, 415).with("Accept", ACCEPT), None),
    };
    match key {
        Some(key) => (Response::to(request, 200), Some(key)),
        None => {
            let mut response = Response::to(request, 400);
            response.reason = "Malformed Signal".into();
            (response, None)
        }
    }
}

/// `Signal=5`, `Duration=160`, one a line.
fn relayed(text: &str) -> Option<char> {
    let signal = text.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        name.trim().eq_ignore_ascii_case("signal").then(|| value.trim())
    });
    key_of(signal?)
}

/// A key as it is printed, or its number in RFC 4733 §3.2 (10 to 15 for `*`, `#`, A to D).
fn key_of(text: &str) -> Option<char> {
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        (Some(key), None) => Some(key.to_ascii_uppercase()).filter(|key| "0123456789*#ABCD".contains(*key)),
        _ => match text {
            "10" => Some('*'),
            "11" => Some('#'),
            "12" => Some('A'),
            "13" => Some('B'),
            "14" => Some('C'),
            "15" => Some('D'),
            _ => None,
        },
    }
}

/// Keys of ours on their way, one at a time so that they stay in order.
#[derive(Default)]
pub struct Keys {
    waiting: VecDeque<char>,
    sent: bool,
}

impl Keys {
    /// Nothing but keys of a telephone is taken.
    pub fn add(&mut self, key: char) {
        if self.waiting.len() < MAX_WAITING
            && let Some(key) = key_of(key.encode_utf8(&mut [0; 4]))
        {
            self.waiting.push_back(key);
        }
    }

    /// The next key, when it may go.
    pub fn take(&mut self) -> Option<char> {
        let key = if self.sent { None } else { self.waiting.pop_front() };
        self.sent |= key.is_some();
        key
    }

    /// The one before was answered, or never will be.
    pub fn done(&mut self) {
        self.sent = false;
    }

    pub fn body(key: char) -> String {
        format!("Signal={key}\r\nDuration={DURATION}\r\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::message::Uri;

    fn info(kind: &str, body: &str) -> Request {
        let mut request = Request::new(rsip::Method::Info.into(), Uri::parse("sip:a@b").expect("a URI"));
        if !kind.is_empty() {
            request.fields.push("Content-Type", kind);
        }
        request.body = body.to_owned().into();
        request
    }

    #[test]
    fn each_form_of_a_key_is_read() {
        for (kind, body, key) in [
            ("application/dtmf-relay", "Signal=5\r\nDuration=160\r\n", '5'),
            ("application/dtmf-relay", "Signal= *\nDuration= 100", '*'),
            ("Application/DTMF-Relay; x=y", "signal=11\r\n", '#'),
            ("application/dtmf", "d", 'D'),
            ("application/dtmf", "10\r\n", '*'),
        ] {
            let (response, found) = read(&info(kind, body));
            assert_eq!((response.code(), found), (200, Some(key)), "{kind} {body}");
        }
    }

    #[test]
    fn what_is_no_key_gets_the_refusal_that_fits() {
        for (kind, body, code) in [
            ("", "", 200),
            ("", "5", 415),
            ("text/plain", "5", 415),
            ("application/dtmf-relay", "Duration=5", 400),
            ("application/dtmf-relay", "Signal=16", 400),
            ("application/dtmf", "", 400),
            ("application/dtmf", "55", 400),
        ] {
            let (response, key) = read(&info(kind, body));
            assert_eq!((response.code(), key), (code, None), "{kind} {body}");
        }
        let mut package = info("application/dtmf", "5");
        package.fields.push("Info-Package", "foo");
        let (response, key) = read(&package);
        assert_eq!((response.code(), key, response.fields.first("Recv-Info")), (469, None, Some("")));
        assert_eq!(read(&info("application/dtmf", &"\u{fffd}".repeat(5_000))).0.code(), 400);
    }

    #[test]
    fn our_keys_go_one_after_the_other() {
        let mut keys = Keys::default();
        for key in "1x#".chars() {
            keys.add(key);
        }
        assert_eq!((keys.take(), keys.take()), (Some('1'), None));
        keys.done();
        assert_eq!(keys.take(), Some('#'));
        keys.done();
        assert_eq!(keys.take(), None);
        for _ in 0..1_000 {
            keys.add('7');
        }
        assert_eq!(keys.waiting.len(), MAX_WAITING);
        assert_eq!(Keys::body('#'), "Signal=#\r\nDuration=160\r\n");
    }
}
