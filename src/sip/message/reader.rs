//! Size-limited reading of one datagram.

use bytes::Bytes;

use super::method::is_token;
use super::writer::is_one_line;
use super::{Fields, Message, Method, Request, Response, Uri};

/// What a message may not exceed.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub bytes: usize,
    pub fields: usize,
    /// Of one field after unfolding.
    pub field_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { bytes: 65_535, fields: 200, field_bytes: 8_192 }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreadable {
    /// Nothing that could be answered: a keep-alive, noise, a broken response.
    Noise(&'static str),
    /// A broken request whose fields can still be echoed with `status`; `problem` becomes the reason phrase.
    Request { status: u16, problem: &'static str, fields: Fields },
}

/// Reads a datagram. Bytes after Content-Length are ignored (RFC 3261 §18.3).
pub fn read(datagram: &[u8], limits: &Limits) -> Result<Message, Unreadable> {
    // Keep-alives and stray line ends before the start line are to be ignored (RFC 3261 §7.5).
    let start = datagram.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).ok_or(Unreadable::Noise("empty"))?;
    let datagram = datagram.get(start..).unwrap_or_default();
    let (head, body) = split_head(datagram);
    let mut lines = Lines(head);
    let start_line = lines.next().unwrap_or_default();
    if start_line.starts_with(b"SIP/") {
        let fields = read_fields(lines, limits).map_err(|(problem, _)| Unreadable::Noise(problem))?;
        return read_response(start_line, fields, body).map(Message::Response).map_err(Unreadable::Noise);
    }
    if !start_line.contains(&b' ') || start_line.first().is_none_or(|byte| !is_token(*byte)) {
        return Err(Unreadable::Noise("not a SIP message"));
    }
    let (fields, mut flaw) = match read_fields(lines, limits) {
        Ok(fields) => (fields, None),
        Err((problem, fields)) => (fields, Some((400, problem))),
    };
    if datagram.len() > limits.bytes {
        flaw = Some((513, "Message Too Large"));
    }
    let refuse = |(status, problem), fields| Err(Unreadable::Request { status, problem, fields });
    if let Some(flaw) = flaw {
        return refuse(flaw, fields);
    }
    match read_request(start_line, &fields, body) {
        Ok((method, uri, body)) => Ok(Message::Request(Request { method, uri, fields, body })),
        Err(flaw) => refuse(flaw, fields),
    }
}

/// The fields of a request's head, for the refusal that it is owed; none for ACK and responses, which get none.
pub fn fields_of(head: &[u8], limits: &Limits) -> Option<Fields> {
    let mut lines = Lines(head);
    let start_line = lines.next()?;
    if start_line.starts_with(b"SIP/") || start_line.starts_with(b"ACK ") {
        return None;
    }
    match read_fields(lines, limits) {
        Ok(fields) | Err((_, fields)) => Some(fields),
    }
}

type Flaw = (u16, &'static str);

fn read_request(line: &[u8], fields: &Fields, body: &[u8]) -> Result<(Method, Uri, Bytes), Flaw> {
    let line = std::str::from_utf8(line).map_err(|_| (400, "Request Line Is Not UTF-8"))?;
    if !is_one_line(line) {
        return Err((400, "Malformed Request Line"));
    }
    let mut words = line.split(' ');
    let (Some(method), Some(uri), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err((400, "Malformed Request Line"));
    };
    let method = Method::parse(method).ok_or((400, "Malformed Method"))?;
    if !version.eq_ignore_ascii_case("SIP/2.0") {
        let known = version.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("SIP/"));
        return Err(if known { (505, "Version Not Supported") } else { (400, "Malformed Request Line") });
    }
    let uri = Uri::parse(uri).map_err(|_| (400, "Malformed Request-URI"))?;
    Ok((method, uri, cut_body(fields, body).map_err(|problem| (400, problem))?))
}

fn read_response(line: &[u8], fields: Fields, body: &[u8]) -> Result<Response, &'static str> {
    let line = String::from_utf8_lossy(line);
    let rest = line.strip_prefix("SIP/2.0 ").ok_or("unknown version")?;
    let (code, reason) = rest.split_once(' ').unwrap_or((rest, ""));
    let code: u16 = code.parse().ok().filter(|code| (100..700).contains(code)).ok_or("impossible status code")?;
    let body = cut_body(&fields, body)?;
    Ok(Response { status: code.into(), reason: reason.trim().to_owned(), fields, body })
}

/// The body as Content-Length says; without the field, all that is left (RFC 3261 §18.3).
fn cut_body(fields: &Fields, rest: &[u8]) -> Result<Bytes, &'static str> {
    let mut lengths = fields.all("Content-Length");
    let Some(first) = lengths.next() else { return Ok(Bytes::copy_from_slice(rest)) };
    if lengths.any(|other| other != first) {
        return Err("Conflicting Content-Length");
    }
    if first.is_empty() || !first.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("Malformed Content-Length");
    }
    let length: usize = first.parse().map_err(|_| "Malformed Content-Length")?;
    rest.get(..length).map(Bytes::copy_from_slice).ok_or("Body Shorter Than Content-Length")
}

/// Cuts at the first blank line.
fn split_head(datagram: &[u8]) -> (&[u8], &[u8]) {
    let mut at = 0;
    while let Some(found) = datagram.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == b'\n')) {
        let end = at + found + 1;
        let rest = datagram.get(end..).unwrap_or_default();
        let blank = if rest.starts_with(b"\r\n") { 2 } else { usize::from(rest.starts_with(b"\n")) };
        if blank > 0 {
            return (datagram.get(..end).unwrap_or_default(), rest.get(blank..).unwrap_or_default());
        }
        at = end;
    }
    (datagram, &[])
}

/// Reads fields, folded lines joined. On a flaw the readable fields are handed back for the answer.
fn read_fields(lines: Lines<'_>, limits: &Limits) -> Result<Fields, (&'static str, Fields)> {
    let mut unfolded: Vec<Vec<u8>> = Vec::new();
    let mut flaw = None;
    for line in lines {
        let fold = line.first().is_some_and(|first| matches!(first, b' ' | b'\t'));
        match unfolded.last_mut() {
            Some(last) if fold => {
                last.push(b' ');
                last.extend_from_slice(line.trim_ascii());
            }
            _ => unfolded.push(line.to_vec()),
        }
        if unfolded.len() > limits.fields {
            unfolded.pop();
            flaw = Some("Too Many Header Fields");
            break;
        }
    }
    let mut fields = Fields::default();
    for line in unfolded {
        if line.len() > limits.field_bytes {
            flaw = flaw.or(Some("Header Field Too Long"));
            continue;
        }
        match read_field(&line) {
            Ok((name, value)) => fields.push(name, value),
            Err(problem) => flaw = flaw.or(Some(problem)),
        }
    }
    match flaw {
        None => Ok(fields),
        Some(problem) => Err((problem, fields)),
    }
}

fn read_field(line: &[u8]) -> Result<(&str, &str), &'static str> {
    let line = std::str::from_utf8(line).map_err(|_| "Header Field Is Not UTF-8")?;
    let (name, value) = line.split_once(':').ok_or("Header Field Without Colon")?;
    let name = name.trim_end_matches([' ', '\t']);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err("Malformed Header Name");
    }
    if !is_one_line(value) {
        return Err("Control Character In Header Field");
    }
    Ok((name, value.trim_matches([' ', '\t'])))
}

/// Lines ended by CRLF or a lone LF.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let end = self.0.iter().position(|byte| *byte == b'\n');
        let (line, rest) = match end {
            Some(end) => (self.0.get(..end)?, self.0.get(end + 1..)?),
            None => (self.0, &[][..]),
        };
        self.0 = rest;
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEAD: &str = "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKa\r\n";

    fn status(text: &str) -> Option<u16> {
        match read(text.as_bytes(), &Limits { bytes: 2_000, fields: 10, field_bytes: 100 }) {
            Ok(_) => None,
            Err(Unreadable::Request { status, .. }) => Some(status),
            Err(Unreadable::Noise(_)) => Some(0),
        }
    }

    #[test]
    fn folded_fields_are_joined() {
        let text = format!("{HEAD}Subject : a\r\n  b\r\n\tc\r\n\r\n");
        let Ok(Message::Request(request)) = read(text.as_bytes(), &Limits::default()) else { panic!("readable") };
        assert_eq!(request.fields.first("Subject"), Some("a b c"));
    }

    #[test]
    fn content_length_cuts_the_body_and_may_not_lie() {
        let text = format!("{HEAD}l: 2\r\n\r\nabcd");
        let Ok(Message::Request(request)) = read(text.as_bytes(), &Limits::default()) else { panic!("readable") };
        assert_eq!(&request.body[..], b"ab");
        for length in ["5", "-1", "x", "", "99999999999999999999999"] {
            assert_eq!(status(&format!("{HEAD}Content-Length: {length}\r\n\r\nabcd")), Some(400), "{length}");
        }
        assert_eq!(status(&format!("{HEAD}l: 2\r\nl: 3\r\n\r\nabcd")), Some(400));
    }

    #[test]
    fn limits_are_answered_not_exceeded() {
        assert_eq!(status(&format!("{HEAD}X: {}\r\n\r\n", "y".repeat(200))), Some(400));
        assert_eq!(status(&format!("{HEAD}{}\r\n", "X: y\r\n".repeat(20))), Some(400));
        assert_eq!(status(&format!("{HEAD}\r\n{}", "z".repeat(3_000))), Some(513));
    }

    #[test]
    fn a_nul_stands_only_where_it_could_be_echoed() {
        assert_eq!(status(&format!("{HEAD}X: a\0b\r\n\r\n")), Some(400));
        assert_eq!(status(&format!("{HEAD}X: a\rb\r\n\r\n")), Some(400));
        assert_eq!(status("OPTIONS sip:\0a@b SIP/2.0\r\n\r\n"), Some(400));
        assert_eq!(status(&format!("{HEAD}X: \"a\\\0b\"\r\n\r\n")), None);
    }

    #[test]
    fn noise_is_told_from_broken_requests() {
        assert_eq!(status("\r\n\r\n"), Some(0));
        assert_eq!(status("\u{0}\u{1}binary stuff"), Some(0));
        assert_eq!(status("SIP/2.0 4294967301 x\r\n\r\n"), Some(0));
        assert_eq!(status("OPTIONS sip:a@b SIP/7.0\r\n\r\n"), Some(505));
        assert_eq!(status("OPTIONS  sip:a@b SIP/2.0\r\n\r\n"), Some(400));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = read(&bytes, &Limits::default());
        }

        #[test]
        fn no_damage_to_a_good_message_makes_it_panic(at in 0usize..600, byte in any::<u8>()) {
            let mut bytes = include_bytes!("../../../tests/corpus/rfc4475/wsinv.dat").to_vec();
            if let Some(slot) = bytes.get_mut(at) { *slot = byte; }
            if let Ok(Message::Request(request)) = read(&bytes, &Limits::default()) {
                let _ = super::super::check::check(&request);
                let _ = request.write();
            }
        }
    }
}
