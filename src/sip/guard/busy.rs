//! 503 without a look inside: the answer to a request that was never parsed.
//!
//! Lines are copied as they came; only the top Via is read, for the way back. What has no way back, no way to be matched
//! (RFC 3261 §8.2.6), or is no request at all gets nothing.

use bytes::{BufMut, Bytes, BytesMut};

use crate::sip::message::Via;
use crate::sip::transport::Hop;

/// A longer head is not copied.
const LONGEST: usize = 4_096;
const WANTED: [(&[u8], &[u8]); 5] =
    [(b"via", b"v"), (b"from", b"f"), (b"to", b"t"), (b"call-id", b"i"), (b"cseq", b"cseq")];

/// The answer and the address that it goes to.
pub fn busy(datagram: &[u8], source: Hop, retry_after: u64) -> Option<(Bytes, Hop)> {
    let head = datagram.get(..LONGEST).unwrap_or(datagram);
    let mut lines = head.split_inclusive(|byte| *byte == b'\n');
    let first = lines.next()?.trim_ascii_end();
    if !first.ends_with(b" SIP/2.0") || first.starts_with(b"ACK ") {
        return None;
    }
    let mut answer = BytesMut::with_capacity(datagram.len().min(LONGEST) + 128);
    answer.put_slice(b"SIP/2.0 503 Service Unavailable\r\n");
    let (mut seen, mut to) = ([false; WANTED.len()], None);
    for line in lines {
        let line = line.trim_ascii_end();
        if line.is_empty() {
            break;
        }
        // Folded lines are rare enough not to be worth an answer under a flood.
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            return None;
        }
        let Some(field) = field(line) else { continue };
        match field {
            0 if to.is_none() => to = Some(top_via(line, source, &mut answer)?),
            2 => to_with_tag(line, &mut answer),
            _ => answer.put_slice(line),
        }
        answer.put_slice(b"\r\n");
        if let Some(seen) = seen.get_mut(field) {
            *seen = true;
        }
    }
    answer.put_slice(format!("Retry-After: {retry_after}\r\nContent-Length: 0\r\n\r\n").as_bytes());
    seen.iter().all(|seen| *seen).then_some((answer.freeze(), to?))
}

/// Which of [`WANTED`] a line is.
fn field(line: &[u8]) -> Option<usize> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let name = line.get(..colon)?.trim_ascii();
    WANTED.iter().position(|(long, short)| name.eq_ignore_ascii_case(long) || name.eq_ignore_ascii_case(short))
}

/// Writes the line with `received` and `rport` filled in (RFC 3261 §18.2.1, RFC 3581 §4); returns the way back.
fn top_via(line: &[u8], source: Hop, answer: &mut BytesMut) -> Option<Hop> {
    let value = std::str::from_utf8(line).ok()?.split_once(':')?.1.trim();
    let (top, rest) = match value.split_once(',') {
        Some((top, rest)) => (top, Some(rest)),
        None => (value, None),
    };
    let mut via = Via::parse(top.trim()).ok()?;
    via.stamp(source.address);
    answer.put_slice(format!("Via: {via}").as_bytes());
    if let Some(rest) = rest {
        answer.put_slice(b",");
        answer.put_slice(rest.as_bytes());
    }
    Some(via.reply_to(source))
}

/// A tag of our own, the same each time, as RFC 3261 §8.2.7 asks of who keeps no state.
fn to_with_tag(line: &[u8], answer: &mut BytesMut) {
    answer.put_slice(line);
    if !line.windows(5).any(|window| window.eq_ignore_ascii_case(b";tag=")) {
        answer.put_slice(b";tag=busy");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::message::{Limits, Message, read};

    const ASK: &str = "OPTIONS sip:100@box SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9:5070;rport;branch=z9hG4bKx, SIP/2.0/UDP a\r\n\
                       v: SIP/2.0/UDP b\r\nMax-Forwards: 70\r\nf: <sip:1@peer>;tag=f\r\nTo: <sip:100@box>\r\ni: abc\r\n\
                       CSeq: 7 OPTIONS\r\nContent-Length: 4\r\n\r\nVia:";

    fn source() -> Hop {
        Hop::udp("198.51.100.7:6000".parse().expect("address"))
    }

    #[test]
    fn the_answer_can_be_matched_and_finds_its_way() {
        let (answer, to) = busy(ASK.as_bytes(), source(), 10).expect("an answer");
        assert_eq!(to, source());
        let Ok(Message::Response(answer)) = read(&answer, &Limits::default()) else { panic!("not a response") };
        assert_eq!((answer.code(), answer.fields.first("Retry-After")), (503, Some("10")));
        assert_eq!(answer.fields.first("CSeq"), Some("7 OPTIONS"));
        assert_eq!(answer.fields.first("Call-ID"), Some("abc"));
        assert_eq!(answer.to_tag().as_deref(), Some("busy"));
        let vias = answer.fields.list("Via");
        assert_eq!(vias.len(), 3);
        assert!(vias[0].contains("received=198.51.100.7") && vias[0].contains("rport=6000"), "{}", vias[0]);
    }

    #[test]
    fn what_cannot_be_answered_is_not() {
        for (from, to) in [
            ("OPTIONS sip:100@box SIP/2.0", "ACK sip:100@box SIP/2.0"),
            ("OPTIONS sip:100@box SIP/2.0", "SIP/2.0 200 OK"),
            ("Via: SIP/2.0/UDP 192.0.2.9:5070", "Via: nonsense"),
            ("CSeq: 7 OPTIONS\r\n", ""),
            ("i: abc\r\n", ""),
            ("Max-Forwards: 70\r\n", " folded\r\n"),
        ] {
            assert!(busy(ASK.replace(from, to).as_bytes(), source(), 10).is_none(), "{to}");
        }
        assert!(busy(b"", source(), 1).is_none());
        assert!(busy(&[0xff; 5_000], source(), 1).is_none());
    }
}
