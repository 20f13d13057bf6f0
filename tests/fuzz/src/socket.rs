//! Frames of a WebSocket service: cut anywhere, they give the same messages or the same refusal, and no more than came in.

use trunkline::ai::socket::frame::{FrameError, Incoming, Message, Opcode, Outgoing};

/// The first octet says how the rest is cut.
pub fn run(data: &[u8]) {
    let Some((&cut, stream)) = data.split_first() else { return };
    let whole = messages(stream, stream.len());
    assert_eq!(whole, messages(stream, 1 + usize::from(cut % 97)), "the cutting shows");
    let carried: usize = whole.0.iter().map(|(_, octets)| octets.len()).sum();
    assert!(carried <= stream.len());
    // What goes out is read back by a peer that takes the mask off.
    let mut out = Outgoing::default();
    out.message(Opcode::Binary, |buffer| buffer.extend_from_slice(stream));
    assert_eq!(unmasked(out.waiting()).as_deref(), Some(stream));
}

type Kept = Vec<(char, Vec<u8>)>;

fn messages(stream: &[u8], step: usize) -> (Kept, Option<FrameError>) {
    let (mut incoming, mut kept) = (Incoming::default(), Vec::new());
    for piece in stream.chunks(step.max(1)) {
        let read = incoming.read(piece, |message| {
            kept.push(match message {
                Message::Text(text) => ('t', text.as_bytes().to_vec()),
                Message::Binary(octets) => ('b', octets.to_vec()),
                Message::Ping(octets) => ('i', octets.to_vec()),
                Message::Pong(octets) => ('o', octets.to_vec()),
                Message::Close(_, reason) => ('c', reason.as_bytes().to_vec()),
            });
        });
        if let Err(error) = read {
            return (kept, Some(error));
        }
    }
    (kept, None)
}

/// The payload of one masked frame (RFC 6455 §5.3).
fn unmasked(frame: &[u8]) -> Option<Vec<u8>> {
    let header = match frame.get(1)? & 0x7F {
        126 => 8,
        127 => 14,
        _ => 6,
    };
    let (head, payload) = frame.split_at_checked(header)?;
    Some(payload.iter().zip(head[header - 4..].iter().cycle()).map(|(octet, mask)| octet ^ mask).collect())
}
