//! A byte stream on a TCP connection: cut anywhere, it gives the same messages, and no more than came in.

use trunkline::sip::message::{Limits, read};
use trunkline::sip::transport::framing::{Frame, Framer};

const MOST: usize = 4_096;

/// The first octet says how the rest is cut.
pub fn run(data: &[u8]) {
    let Some((&cut, stream)) = data.split_first() else { return };
    let whole = frames(stream, stream.len());
    let pieces = frames(stream, 1 + usize::from(cut % 97));
    assert_eq!(whole, pieces, "the cutting shows");
    let carried: usize =
        whole.iter().map(|frame| if let Frame::Message(bytes) = frame { bytes.len() } else { 0 }).sum();
    assert!(carried <= stream.len());
    for frame in &whole {
        if let Frame::Message(bytes) = frame {
            assert!(bytes.len() <= MOST);
            // What the framer lets through is judged by the reader like a datagram.
            let _ = read(bytes, &Limits::default());
        }
    }
}

fn frames(stream: &[u8], step: usize) -> Vec<Frame> {
    let mut framer = Framer::new(MOST);
    let mut found = Vec::new();
    for piece in stream.chunks(step.max(1)) {
        framer.buffer().extend_from_slice(piece);
        while let Some(frame) = framer.next() {
            found.push(frame);
        }
        assert!(framer.buffer().len() <= MOST + piece.len(), "more is kept than one message may have");
    }
    found
}
