//! Messages out of a byte stream (RFC 3261 §18.3), and the keep-alives between them (RFC 5626 §3.5.1).
//!
//! Bytes flow in, in whatever pieces; frames flow out, the same for every way of cutting. Where a message ends is decided
//! by one Content-Length and nothing else; whatever could be read in two ways ends the stream, because what follows could
//! be read in two ways, too.
//!
//! | State | Bytes | Frame | Next |
//! |---|---|---|---|
//! | Between | CRLF, the first in a row | Pong | Between |
//! | | CRLF, the second in a row | Ping | Between |
//! | | LF | | Between |
//! | | a letter of a token | | Head |
//! | | the first byte of a TLS record | Alien: TLS | Broken |
//! | | anything else | Alien | Broken |
//! | Head | first line without `SIP/` | Alien | Broken |
//! | | LF without CR, CR without LF | Refused 400 | Broken |
//! | | more than a message may have | Refused 513 | Broken |
//! | | blank line; no, two or a malformed Content-Length | Refused 400 | Broken |
//! | | blank line; Content-Length beyond what a message may have | Refused 513 | Broken |
//! | | blank line; Content-Length n | | Body of n |
//! | Body of n | n bytes | Message | Between |
//! | Broken | anything | | Broken |

use bytes::{Bytes, BytesMut};

use crate::sip::message::method::is_token;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// One whole message, start line to the end of its body.
    Message(Bytes),
    /// Wants a CRLF back.
    Ping,
    /// May answer a ping of ours.
    Pong,
    /// To be answered as far as `head` allows; then the connection is to be closed.
    Refused(Refusal),
    /// The connection is to be closed without a word.
    Alien(Alien),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    /// Reason phrase of the answer.
    pub problem: &'static str,
    /// The lines that could be read.
    pub head: Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alien {
    /// A TLS handshake where plain text is spoken.
    Tls,
    NotSip,
}

#[derive(Debug)]
pub struct Framer {
    buffer: BytesMut,
    /// Bytes that one message may have.
    most: usize,
    state: State,
    /// An odd number of CRLFs came in a row.
    odd: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Between,
    /// `line` is where the unfinished line begins, `seen` how far it was searched for its end.
    Head {
        line: usize,
        seen: usize,
    },
    /// `total` is the length of head and body.
    Body {
        total: usize,
    },
    Broken,
}

/// Content type of a TLS handshake record (RFC 8446 §5.1).
const TLS_HANDSHAKE: u8 = 0x16;

impl Framer {
    pub fn new(most: usize) -> Framer {
        Framer { buffer: BytesMut::new(), most, state: State::Between, odd: false }
    }

    /// Where bytes are appended. What is left there after [`Framer::next`] gave nothing is less than one message.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// A message has begun and not ended.
    pub fn is_partial(&self) -> bool {
        !self.buffer.is_empty() && self.state != State::Broken
    }

    /// The CRLF that came last answered a ping of ours: it is not the first half of one of theirs.
    pub fn answered(&mut self) {
        self.odd = false;
    }

    /// The next frame that is whole.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<Frame> {
        loop {
            match self.state {
                State::Broken => {
                    self.buffer.clear();
                    return None;
                }
                State::Between => {
                    let first = *self.buffer.first()?;
                    if let Some(frame) = self.between(first)? {
                        return Some(frame);
                    }
                }
                State::Head { line, seen } => {
                    if let Some(frame) = self.head(line, seen)? {
                        return Some(frame);
                    }
                }
                State::Body { total } if self.buffer.len() < total => return None,
                State::Body { total } => {
                    self.state = State::Between;
                    self.odd = false;
                    return Some(Frame::Message(self.buffer.split_to(total).freeze()));
                }
            }
        }
    }

    /// `None`: more bytes are needed. `Some(None)`: the state has changed.
    fn between(&mut self, first: u8) -> Option<Option<Frame>> {
        match first {
            b'\r' => {
                let second = *self.buffer.get(1)?;
                if second != b'\n' {
                    return Some(Some(self.alien(Alien::NotSip)));
                }
                drop(self.buffer.split_to(2));
                self.odd = !self.odd;
                Some(Some(if self.odd { Frame::Pong } else { Frame::Ping }))
            }
            b'\n' => {
                drop(self.buffer.split_to(1));
                Some(None)
            }
            TLS_HANDSHAKE => Some(Some(self.alien(Alien::Tls))),
            first if is_token(first) => {
                self.state = State::Head { line: 0, seen: 0 };
                Some(None)
            }
            _ => Some(Some(self.alien(Alien::NotSip))),
        }
    }

    /// Looks for the next line end; as [`Framer::between`].
    fn head(&mut self, line: usize, seen: usize) -> Option<Option<Frame>> {
        let found = self.buffer.get(seen..).and_then(|rest| rest.iter().position(|byte| *byte == b'\n'));
        let end = found.map(|at| seen + at);
        if end.unwrap_or(self.buffer.len()) >= self.most {
            return Some(Some(self.refuse(line, 513, "Message Too Large")));
        }
        let Some(end) = end else {
            self.state = State::Head { line, seen: self.buffer.len() };
            return None;
        };
        let text = self.buffer.get(line..end).unwrap_or_default();
        if line == 0 && !names_sip(text) {
            return Some(Some(self.alien(Alien::NotSip)));
        }
        if text.last() != Some(&b'\r') {
            return Some(Some(self.refuse(line, 400, "Line Feed Without Carriage Return")));
        }
        if text.iter().filter(|byte| **byte == b'\r').count() > 1 {
            return Some(Some(self.refuse(line, 400, "Carriage Return Without Line Feed")));
        }
        let next = end + 1;
        if text.len() > 1 {
            self.state = State::Head { line: next, seen: next };
            return Some(None);
        }
        let length = content_length(self.buffer.get(..line).unwrap_or_default());
        match length.and_then(|length| next.checked_add(length).filter(|total| *total <= self.most).ok_or(TOO_LARGE)) {
            Ok(total) => {
                self.state = State::Body { total };
                Some(None)
            }
            Err((status, problem)) => Some(Some(self.refuse(next, status, problem))),
        }
    }

    fn alien(&mut self, alien: Alien) -> Frame {
        self.state = State::Broken;
        Frame::Alien(alien)
    }

    fn refuse(&mut self, readable: usize, status: u16, problem: &'static str) -> Frame {
        self.state = State::Broken;
        Frame::Refused(Refusal { status, problem, head: self.buffer.split_to(readable).freeze() })
    }
}

type Flaw = (u16, &'static str);
const TOO_LARGE: Flaw = (513, "Message Too Large");

/// A request or status line, even a bad one, names the protocol somewhere.
fn names_sip(line: &[u8]) -> bool {
    line.windows(4).any(|word| word.eq_ignore_ascii_case(b"SIP/"))
}

/// The one Content-Length of a head whose lines all end with CRLF.
fn content_length(head: &[u8]) -> Result<usize, Flaw> {
    let mut found: Option<Vec<u8>> = None;
    // Whether a folded line belongs to the Content-Length.
    let mut inside = false;
    for line in head.split(|byte| *byte == b'\n').skip(1) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.first().is_some_and(|first| matches!(first, b' ' | b'\t')) {
            if let Some(value) = found.as_mut().filter(|_| inside) {
                value.push(b' ');
                value.extend_from_slice(line.trim_ascii());
            }
            continue;
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = colon.and_then(|colon| line.split_at_checked(colon)).unwrap_or((line, &[]));
        let name = trimmed(name);
        inside = name.eq_ignore_ascii_case(b"content-length") || name.eq_ignore_ascii_case(b"l");
        if inside {
            if found.is_some() {
                return Err((400, "More Than One Content-Length"));
            }
            found = Some(trimmed(value.get(1..).unwrap_or_default()).to_vec());
        }
    }
    let value = found.ok_or((400, "Missing Content-Length"))?;
    let value = trimmed(&value);
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err((400, "Malformed Content-Length"));
    }
    let digits = std::str::from_utf8(value).map_err(|_| (400, "Malformed Content-Length"))?;
    digits.parse().map_err(|_| TOO_LARGE)
}

/// Without the white space that the reader takes away, too: both have to see the same number.
fn trimmed(text: &[u8]) -> &[u8] {
    let white = |byte: &u8| matches!(byte, b' ' | b'\t');
    let Some(start) = text.iter().position(|byte| !white(byte)) else { return &[] };
    let end = text.iter().rposition(|byte| !white(byte)).map_or(text.len(), |last| last + 1);
    text.get(start..end).unwrap_or_default()
}

#[cfg(test)]
mod tests;
