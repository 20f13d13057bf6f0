//! Byte-exact writing. Nothing that would begin a new line can get out, whatever it was built from.

use bytes::{BufMut, Bytes, BytesMut};

use super::{Fields, Message, Request, Response};

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// A CR, LF or NUL in a start line or field; the message is not sent.
    #[error("a line break inside a SIP field")]
    LineBreak,
}

impl Message {
    pub fn write(&self) -> Result<Bytes, WriteError> {
        match self {
            Message::Request(request) => request.write(),
            Message::Response(response) => response.write(),
        }
    }
}

impl Request {
    /// The wire form; Content-Length is that of the body.
    pub fn write(&self) -> Result<Bytes, WriteError> {
        write(&format!("{} {} SIP/2.0", self.method, self.uri), &self.fields, &self.body)
    }
}

impl Response {
    /// The wire form; Content-Length is that of the body.
    pub fn write(&self) -> Result<Bytes, WriteError> {
        write(&format!("SIP/2.0 {} {}", self.code(), self.reason), &self.fields, &self.body)
    }
}

fn write(start: &str, fields: &Fields, body: &Bytes) -> Result<Bytes, WriteError> {
    let mut wire = BytesMut::with_capacity(512 + body.len());
    put(&mut wire, start)?;
    for (name, value) in fields.iter() {
        if name.eq_ignore_ascii_case("Content-Length") {
            continue;
        }
        if name.contains([':', ' ', '\0', '\r', '\n']) {
            return Err(WriteError::LineBreak);
        }
        wire.put_slice(name.as_bytes());
        wire.put_slice(b": ");
        put(&mut wire, value)?;
    }
    put(&mut wire, &format!("Content-Length: {}", body.len()))?;
    wire.put_slice(b"\r\n");
    wire.put_slice(body);
    Ok(wire.freeze())
}

fn put(wire: &mut BytesMut, line: &str) -> Result<(), WriteError> {
    if !is_one_line(line) {
        return Err(WriteError::LineBreak);
    }
    wire.put_slice(line.as_bytes());
    wire.put_slice(b"\r\n");
    Ok(())
}

/// Stays a line of its own wherever it is written. A NUL may only stand as a quoted pair, where RFC 3261 §25.1 allows it
/// (and we may have to echo it). The reader asks for the same: what could not be echoed could not be answered.
pub(super) fn is_one_line(text: &str) -> bool {
    let mut before = 0;
    text.bytes().all(|byte| {
        let sound = !matches!(byte, b'\r' | b'\n') && (byte != 0 || before == b'\\');
        before = byte;
        sound
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Limits, Method, Uri, read};
    use super::*;
    use proptest::prelude::*;

    fn request() -> Request {
        let uri = Uri::parse("sip:a@b").expect("valid");
        let mut request = Request::new(Method::Known(rsip::Method::Message), uri);
        request.fields.push("Via", "SIP/2.0/UDP h;branch=z9hG4bK1");
        request
    }

    #[test]
    fn a_line_break_in_any_field_is_refused() {
        for evil in ["x\r\nInjected: 1", "x\ny", "x\ry", "x\0y"] {
            let mut request = request();
            request.fields.push("Subject", evil);
            assert_eq!(request.write(), Err(WriteError::LineBreak), "{evil:?}");
            let mut response = Response::to(&request, 200);
            response.reason = evil.into();
            assert_eq!(response.write(), Err(WriteError::LineBreak), "{evil:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read_back(
            value in "[ -~äöü]{0,60}", body in proptest::collection::vec(any::<u8>(), 0..300)
        ) {
            let mut request = request().with_body("application/octet-stream", body);
            request.fields.push("Subject", value.trim());
            let wire = request.write().expect("writable");
            let Ok(Message::Request(back)) = read(&wire, &Limits::default()) else { panic!("not a request") };
            prop_assert_eq!(&back.body, &request.body);
            prop_assert_eq!(back.fields.first("Subject"), Some(value.trim()));
            prop_assert_eq!(back.write().expect("writable"), wire);
        }
    }
}
