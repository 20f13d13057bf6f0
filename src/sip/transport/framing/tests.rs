//! The table of the framer walked, and every way of cutting a stream.

use proptest::prelude::*;

use super::*;
use crate::sip::message::{Limits, Unreadable, read};

const MOST: usize = 600;
const HEAD: &str = "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bKa\r\n";

/// Feeds `stream` in pieces of `size`.
fn frames(stream: &[u8], size: usize) -> Vec<Frame> {
    let (mut framer, mut found) = (Framer::new(MOST), Vec::new());
    for piece in stream.chunks(size) {
        framer.buffer().extend_from_slice(piece);
        found.extend(std::iter::from_fn(|| framer.next()));
        assert!(framer.buffer().len() <= size.saturating_add(MOST), "bounded");
    }
    found
}

/// What comes of `fields` in front of a body of four bytes and a second message.
fn verdict(fields: &str) -> Vec<String> {
    let stream = format!("{HEAD}{fields}\r\nabcd{HEAD}l: 0\r\n\r\n");
    let whole = frames(stream.as_bytes(), usize::MAX);
    assert_eq!(whole, frames(stream.as_bytes(), 1), "{fields}");
    let told = whole.into_iter().map(|frame| match frame {
        Frame::Message(bytes) => format!("message of {}", bytes.len() - HEAD.len()),
        Frame::Refused(refusal) => format!("{} {}", refusal.status, refusal.problem),
        other => format!("{other:?}"),
    });
    told.collect()
}

#[test]
fn content_length_alone_says_where_a_message_ends() {
    for good in [
        "Content-Length: 4\r\n",
        "content-length:4\r\n",
        "L: 4\r\n",
        "l \t: 4\r\n",
        "Content-Length : 0004 \t\r\n",
        "Content-Length:\r\n 4\r\n",
        "Content-Length: 4\r\n \r\n",
        "X: y\r\n Content-Length: 9\r\nl: 4\r\n",
        "XContent-Length: 9\r\nl: 4\r\nContent-Length-X: 7\r\n",
    ] {
        assert_eq!(verdict(good), [format!("message of {}", good.len() + 6), "message of 8".to_owned()], "{good:?}");
    }
    for (bad, answer) in [
        ("", "400 Missing Content-Length"),
        ("Content-Type: a/b\r\n", "400 Missing Content-Length"),
        ("\u{b}Content-Length: 4\r\n", "400 Missing Content-Length"),
        ("l: 4\r\nl: 4\r\n", "400 More Than One Content-Length"),
        ("l: 4\r\nContent-Length: 5\r\n", "400 More Than One Content-Length"),
        ("l: 4, 4\r\n", "400 Malformed Content-Length"),
        ("l: 4\r\n 0\r\n", "400 Malformed Content-Length"),
        ("l: -4\r\n", "400 Malformed Content-Length"),
        ("l: +4\r\n", "400 Malformed Content-Length"),
        ("l: 0x4\r\n", "400 Malformed Content-Length"),
        ("l: 4.0\r\n", "400 Malformed Content-Length"),
        ("l:\r\n", "400 Malformed Content-Length"),
        ("l\r\n", "400 Malformed Content-Length"),
        ("l: \u{664}\r\n", "400 Malformed Content-Length"),
        ("l: 99999\r\n", "513 Message Too Large"),
        ("l: 18446744073709551615\r\n", "513 Message Too Large"),
        ("l: 99999999999999999999999999\r\n", "513 Message Too Large"),
        ("X: y\nl: 4\r\n", "400 Line Feed Without Carriage Return"),
        ("X: y\rl: 4\r\n", "400 Carriage Return Without Line Feed"),
    ] {
        assert_eq!(verdict(bad), [answer], "{bad:?}");
    }
}

#[test]
fn what_is_no_sip_is_not_answered() {
    for (stream, alien) in [
        (&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"[..], Alien::Tls),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", Alien::NotSip),
        (b"\x00\x01\x00\x00", Alien::NotSip),
        (b"\rOPTIONS", Alien::NotSip),
        (b"hello\r\n", Alien::NotSip),
    ] {
        assert_eq!(frames(stream, usize::MAX), [Frame::Alien(alien)]);
        assert_eq!(frames(stream, 1), [Frame::Alien(alien)]);
    }
}

#[test]
fn a_head_without_end_is_refused_at_the_bound_with_what_could_be_read() {
    let stream = format!("{HEAD}X: {}", "y".repeat(2 * MOST));
    for size in [1, 7, 100] {
        let found = frames(stream.as_bytes(), size);
        let [Frame::Refused(refusal)] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((refusal.status, &refusal.head[..]), (513, HEAD.as_bytes()));
    }
}

#[test]
fn keep_alives_stand_between_messages_only() {
    let message = format!("{HEAD}l: 4\r\n\r\n\r\n\r\n");
    let stream = format!("\r\n\r\n{message}\r\n{message}\r\n\r\n\r\n");
    let whole = Frame::Message(Bytes::from(message));
    let wanted = [Frame::Pong, Frame::Ping, whole.clone(), Frame::Pong, whole, Frame::Pong, Frame::Ping, Frame::Pong];
    assert_eq!(frames(stream.as_bytes(), usize::MAX), wanted);
    assert_eq!(frames(stream.as_bytes(), 1), wanted);
}

fn piece() -> impl Strategy<Value = Vec<u8>> {
    let body = proptest::collection::vec(any::<u8>(), 0..40);
    let good = body.prop_map(|body| {
        let mut message = format!("{HEAD}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
        message.extend(body);
        message
    });
    prop_oneof![
        6 => good,
        2 => Just(b"\r\n".to_vec()),
        1 => Just(b"\r\n\r\n".to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..20),
        1 => Just(format!("{HEAD}l: 3\r\nl: 3\r\n\r\nabc").into_bytes()),
    ]
}

proptest! {
    #[test]
    fn every_way_of_cutting_gives_the_same_frames(
        pieces in proptest::collection::vec(piece(), 0..8), cuts in proptest::collection::vec(1usize..50, 1..40)
    ) {
        let stream = pieces.concat();
        let whole = frames(&stream, usize::MAX);
        let (mut framer, mut found, mut rest, mut cuts) = (Framer::new(MOST), Vec::new(), &stream[..], cuts.iter().cycle());
        while !rest.is_empty() {
            let (now, later) = rest.split_at((*cuts.next().expect("endless")).min(rest.len()));
            framer.buffer().extend_from_slice(now);
            found.extend(std::iter::from_fn(|| framer.next()));
            rest = later;
        }
        prop_assert_eq!(&found, &whole);
        // The reader sees each message end where the framer saw it end.
        for frame in &whole {
            let Frame::Message(bytes) = frame else { continue };
            match read(bytes, &Limits::default()) {
                Ok(message) => {
                    let body = match &message {
                        crate::sip::message::Message::Request(request) => &request.body,
                        crate::sip::message::Message::Response(response) => &response.body,
                    };
                    prop_assert!(bytes.ends_with(body));
                }
                Err(Unreadable::Request { problem, .. } | Unreadable::Noise(problem)) => {
                    prop_assert!(!problem.contains("Content-Length"), "{}", problem);
                }
            }
        }
    }

    #[test]
    fn nothing_makes_it_panic_or_grow(stream in proptest::collection::vec(any::<u8>(), 0..3_000), size in 1usize..200) {
        frames(&stream, size);
    }

    #[test]
    fn no_damage_to_a_head_is_framed_in_two_ways(at in 0usize..120, byte in any::<u8>()) {
        let mut stream = format!("{HEAD}Content-Length: 4\r\nX: y\r\n\r\nabcd{HEAD}l: 0\r\n\r\n").into_bytes();
        if let Some(slot) = stream.get_mut(at) { *slot = byte; }
        prop_assert_eq!(frames(&stream, usize::MAX), frames(&stream, 1));
        for frame in frames(&stream, 64) {
            if let Frame::Message(bytes) = frame
                && let Err(Unreadable::Request { problem, .. } | Unreadable::Noise(problem)) = read(&bytes, &Limits::default())
            {
                prop_assert!(!problem.contains("Content-Length"), "{}", problem);
            }
        }
    }
}
