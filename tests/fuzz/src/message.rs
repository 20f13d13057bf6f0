//! A datagram on the SIP port. What was understood means the same after it was written and read again, and every request
//! can be answered.

#![allow(clippy::expect_used)]

use trunkline::sip::message::check::check;
use trunkline::sip::message::{Limits, Message, Response, read};

/// What we write may be longer than what it was read from: lists become lines, compact names full ones.
const WIDE: Limits = Limits { bytes: 1 << 20, fields: 100_000, field_bytes: 1 << 16 };

pub fn run(data: &[u8]) {
    match read(data, &Limits::default()) {
        Ok(Message::Request(request)) => {
            assert!(Response::to(&request, 500).write().is_ok(), "a request that cannot be answered: {request:?}");
            let written = request.write().expect("what was read can be written");
            let Ok(Message::Request(again)) = read(&written, &WIDE) else {
                panic!("a written request cannot be read: {:?}", String::from_utf8_lossy(&written));
            };
            assert_eq!((&again.method, &again.uri, &again.body), (&request.method, &request.uri, &request.body));
            // What was refused for being said twice may be fine once it is said once.
            assert!(check(&request).is_err() || check(&again).is_ok(), "{request:?}");
        }
        Ok(Message::Response(response)) => {
            let Ok(written) = response.write() else { return };
            let Ok(Message::Response(again)) = read(&written, &WIDE) else {
                panic!("a written response cannot be read: {:?}", String::from_utf8_lossy(&written));
            };
            assert_eq!((again.code(), &again.body), (response.code(), &response.body));
        }
        Err(_) => {}
    }
}
