//! A session description of the peer: as an offer that is answered, as an answer to ours, and written back.

use std::net::SocketAddr;

use trunkline::sip::sdp::{AudioCodec, SessionDescription};

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(theirs) = SessionDescription::parse(text) else { return };
    if theirs.codecs.is_empty() {
        // Such a stream is refused, never written: an `m=` line must name a format.
        return;
    }
    let written = theirs.write();
    match SessionDescription::parse(&written) {
        Ok(again) => assert_eq!(again.write(), written, "writing is not stable"),
        Err(problem) => panic!("{problem} in what we wrote:\n{written}"),
    }
    let ours = SocketAddr::from(([192, 0, 2, 1], 4000));
    let codecs = [AudioCodec::Pcma, AudioCodec::Pcmu];
    if let Ok((answer, agreed)) = theirs.answer(1, ours, &codecs) {
        assert!(codecs.contains(&agreed.codec));
        // Our own answer is one that we would understand.
        SessionDescription::parse(&answer.write()).expect("our answer reads");
    }
    // An answer may also be one that agrees on nothing.
    let _ = SessionDescription::offer(1, ours, &codecs).agree(&theirs);
}
