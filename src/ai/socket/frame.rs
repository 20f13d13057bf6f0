//! Frames of RFC 6455 as a client writes and reads them. No I/O.
//!
//! **Out.** A message is written straight into the buffer that the socket takes; its header is put before it and the mask
//! laid over it in place. **In.** Messages are handed out where they were read; only what is not whole yet, and what comes
//! in several frames, is copied.
//!
//! | What comes | Answer (RFC 6455) |
//! |---|---|
//! | a masked frame, a reserved bit, an unknown opcode | protocol error (§5.1, §5.2) |
//! | a control frame in pieces or longer than 125 octets | protocol error (§5.5) |
//! | a continuation of nothing, a new message within another | protocol error (§5.4) |
//! | a length that is not written in its shortest form | protocol error (§5.2) |
//! | a message beyond [`MOST`] octets | too big (§7.4.1, 1009) |
//! | text that is not UTF-8 | not UTF-8 (§8.1, 1007) |

use std::ops::Range;

/// Longest message that is taken, octets: minutes of speech in base64.
pub const MOST: usize = 16 << 20;
/// Room for the header that most messages have: two octets, a length of 16 bits, the mask.
const HEADER: usize = 8;
/// What a buffer keeps when it is empty.
const KEPT: usize = 4 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl Opcode {
    fn read(bits: u8) -> Option<Opcode> {
        Some(match bits {
            0 => Opcode::Continuation,
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            _ => return None,
        })
    }

    fn is_control(self) -> bool {
        self as u8 >= 8
    }
}

/// What the peer said.
#[derive(Debug, PartialEq, Eq)]
pub enum Message<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
    Ping(&'a [u8]),
    Pong(&'a [u8]),
    /// Code and reason; 1005 when it gave none (§7.1.5).
    Close(u16, &'a str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("the service broke the WebSocket protocol: {0}")]
    Protocol(&'static str),
    #[error("the service sent text that is not UTF-8")]
    NotUtf8,
    #[error("the service sent a message of more than {} MiB", MOST >> 20)]
    TooBig,
}

impl FrameError {
    /// The code that a Close says it with (§7.4.1).
    pub fn code(self) -> u16 {
        match self {
            FrameError::Protocol(_) => 1002,
            FrameError::NotUtf8 => 1007,
            FrameError::TooBig => 1009,
        }
    }
}

/// Frames on their way out.
#[derive(Debug, Default)]
pub struct Outgoing {
    buffer: Vec<u8>,
    /// Octets that the socket has taken.
    taken: usize,
}

impl Outgoing {
    /// Writes one message; `fill` appends its payload to what it is given and touches nothing before it.
    pub fn message(&mut self, opcode: Opcode, fill: impl FnOnce(&mut Vec<u8>)) {
        let start = self.buffer.len();
        self.buffer.resize(start + HEADER, 0);
        fill(&mut self.buffer);
        self.seal(opcode, start, rand::random());
    }

    /// The same, but nothing when `fill` appends nothing.
    pub fn message_unless_empty(&mut self, opcode: Opcode, fill: impl FnOnce(&mut Vec<u8>)) {
        let start = self.buffer.len();
        self.buffer.resize(start + HEADER, 0);
        fill(&mut self.buffer);
        if self.buffer.len() > start + HEADER {
            self.seal(opcode, start, rand::random());
        } else {
            self.buffer.truncate(start);
        }
    }

    /// Octets, as they are: the request that opens the connection.
    pub fn raw(&mut self, octets: &[u8]) {
        self.buffer.extend_from_slice(octets);
    }

    /// A Close with its code and, cut to fit, its reason (§5.5.1).
    pub fn close(&mut self, code: u16, reason: &str) {
        let end = reason.floor_char_boundary(123);
        self.message(Opcode::Close, |out| {
            out.extend_from_slice(&code.to_be_bytes());
            out.extend_from_slice(&reason.as_bytes()[..end]);
        });
    }

    fn seal(&mut self, opcode: Opcode, start: usize, mask: [u8; 4]) {
        let payload = start + HEADER;
        let length = self.buffer.len() - payload;
        let header = match length {
            0..=125 => 6,
            126..=0xFFFF => HEADER,
            _ => 14,
        };
        if header != HEADER {
            self.buffer.resize((payload + length).max(start + header + length), 0);
            self.buffer.copy_within(payload..payload + length, start + header);
            self.buffer.truncate(start + header + length);
        }
        let (head, payload) = self.buffer[start..].split_at_mut(header);
        head[0] = 0x80 | opcode as u8;
        head[1] = 0x80
            | match length {
                0..=125 => length as u8,
                126..=0xFFFF => 126,
                _ => 127,
            };
        match header {
            HEADER => head[2..4].copy_from_slice(&(length as u16).to_be_bytes()),
            14 => head[2..10].copy_from_slice(&(length as u64).to_be_bytes()),
            _ => {}
        }
        head[header - 4..].copy_from_slice(&mask);
        lay(mask, payload);
    }

    /// What the socket has not taken yet.
    pub fn waiting(&self) -> &[u8] {
        &self.buffer[self.taken..]
    }

    /// The socket took so many octets.
    pub fn took(&mut self, octets: usize) {
        self.taken += octets;
        if self.taken >= self.buffer.len() {
            self.taken = 0;
            self.buffer.clear();
            self.buffer.shrink_to(KEPT);
        } else if self.taken > self.buffer.len() / 2 {
            self.buffer.drain(..self.taken);
            self.taken = 0;
        }
    }
}

/// Lays `mask` over `payload`, eight octets at a time (§5.3).
fn lay(mask: [u8; 4], payload: &mut [u8]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (eights, rest) = payload.as_chunks_mut::<8>();
    for eight in eights {
        *eight = (u64::from_ne_bytes(*eight) ^ wide).to_ne_bytes();
    }
    for (octet, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *octet ^= mask;
    }
}

/// Frames that come in.
#[derive(Debug, Default)]
pub struct Incoming {
    /// The beginning of a frame that is not whole.
    rest: Vec<u8>,
    /// A message in several frames, so far.
    partial: Option<(Opcode, Vec<u8>)>,
}

/// A whole frame.
struct Frame {
    last: bool,
    opcode: Opcode,
    payload: Range<usize>,
}

impl Incoming {
    /// Takes what was read and hands out every message that it completes, in order.
    pub fn read(&mut self, octets: &[u8], mut out: impl FnMut(Message<'_>)) -> Result<(), FrameError> {
        if self.rest.is_empty() {
            let used = self.frames(octets, &mut out)?;
            self.rest.extend_from_slice(&octets[used..]);
            return Ok(());
        }
        let mut all = std::mem::take(&mut self.rest);
        all.extend_from_slice(octets);
        let used = self.frames(&all, &mut out)?;
        all.drain(..used);
        if all.is_empty() {
            all.shrink_to(KEPT);
        }
        self.rest = all;
        Ok(())
    }

    /// Reads whole frames; returns how many octets they have.
    fn frames(&mut self, octets: &[u8], out: &mut impl FnMut(Message<'_>)) -> Result<usize, FrameError> {
        let mut used = 0;
        while let Some(frame) = frame(&octets[used..])? {
            let payload = &octets[used..][frame.payload.clone()];
            used += frame.payload.end;
            self.take(frame.last, frame.opcode, payload, out)?;
        }
        Ok(used)
    }

    fn take(
        &mut self,
        last: bool,
        opcode: Opcode,
        payload: &[u8],
        out: &mut impl FnMut(Message<'_>),
    ) -> Result<(), FrameError> {
        match (opcode, &mut self.partial) {
            (Opcode::Continuation, None) => Err(FrameError::Protocol("a continuation of nothing")),
            (Opcode::Continuation, Some((_, so_far))) => {
                if so_far.len() + payload.len() > MOST {
                    return Err(FrameError::TooBig);
                }
                so_far.extend_from_slice(payload);
                if last && let Some((opcode, whole)) = self.partial.take() {
                    out(message(opcode, &whole)?);
                }
                Ok(())
            }
            (Opcode::Text | Opcode::Binary, Some(_)) => Err(FrameError::Protocol("a message within another")),
            (Opcode::Text | Opcode::Binary, None) if !last => {
                self.partial = Some((opcode, payload.to_vec()));
                Ok(())
            }
            _ => {
                out(message(opcode, payload)?);
                Ok(())
            }
        }
    }
}

/// The frame at the beginning of `octets`, if it is whole.
fn frame(octets: &[u8]) -> Result<Option<Frame>, FrameError> {
    let [first, second, ..] = *octets else { return Ok(None) };
    if first & 0x70 != 0 {
        return Err(FrameError::Protocol("a reserved bit"));
    }
    let opcode = Opcode::read(first & 0x0F).ok_or(FrameError::Protocol("an unknown opcode"))?;
    if second & 0x80 != 0 {
        return Err(FrameError::Protocol("a masked frame"));
    }
    let (last, short) = (first & 0x80 != 0, second & 0x7F);
    if opcode.is_control() && (!last || short > 125) {
        return Err(FrameError::Protocol("a control frame in pieces or too long"));
    }
    let Some((header, length)) = length(short, &octets[2..])? else { return Ok(None) };
    if length > MOST {
        return Err(FrameError::TooBig);
    }
    let payload = header..header + length;
    Ok((octets.len() >= payload.end).then_some(Frame { last, opcode, payload }))
}

/// Octets of the header and of the payload.
fn length(short: u8, more: &[u8]) -> Result<Option<(usize, usize)>, FrameError> {
    const LONG: FrameError = FrameError::Protocol("a length that is not in its shortest form");
    match (short, more) {
        (126, [a, b, ..]) => match u16::from_be_bytes([*a, *b]) {
            length @ 126.. => Ok(Some((4, length.into()))),
            _ => Err(LONG),
        },
        (127, [a, b, c, d, e, f, g, h, ..]) => match u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]) {
            0..=0xFFFF => Err(LONG),
            length => usize::try_from(length).map(|length| Some((10, length))).map_err(|_| FrameError::TooBig),
        },
        (126 | 127, _) => Ok(None),
        (short, _) => Ok(Some((2, short.into()))),
    }
}

fn message(opcode: Opcode, payload: &[u8]) -> Result<Message<'_>, FrameError> {
    let text = |octets| std::str::from_utf8(octets).map_err(|_| FrameError::NotUtf8);
    Ok(match opcode {
        Opcode::Text => Message::Text(text(payload)?),
        Opcode::Binary | Opcode::Continuation => Message::Binary(payload),
        Opcode::Ping => Message::Ping(payload),
        Opcode::Pong => Message::Pong(payload),
        Opcode::Close => match payload {
            [] => Message::Close(1005, ""),
            [a, b, reason @ ..] => Message::Close(u16::from_be_bytes([*a, *b]), text(reason)?),
            [_] => return Err(FrameError::Protocol("a close code of one octet")),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a server writes it: without a mask.
    fn served(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        match payload.len() {
            length @ 0..=125 => frame.push(length as u8),
            length @ 126..=0xFFFF => {
                frame.push(126);
                frame.extend_from_slice(&(length as u16).to_be_bytes());
            }
            length => {
                frame.push(127);
                frame.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        frame.extend_from_slice(payload);
        frame
    }

    fn read_in(pieces: usize, octets: &[u8]) -> Result<Vec<String>, FrameError> {
        let (mut incoming, mut messages) = (Incoming::default(), Vec::new());
        for piece in octets.chunks(pieces) {
            incoming.read(piece, |message| messages.push(format!("{message:?}")))?;
        }
        Ok(messages)
    }

    #[test]
    fn a_message_of_every_length_goes_out_masked_in_its_shortest_form() {
        for (length, header) in [(0, 6), (1, 6), (125, 6), (126, 8), (65_535, 8), (65_536, 14), (200_000, 14)] {
            let payload: Vec<u8> = (0..length).map(|n| n as u8).collect();
            let mut out = Outgoing::default();
            out.raw(b"before");
            out.message(Opcode::Binary, |buffer| buffer.extend_from_slice(&payload));
            out.message(Opcode::Ping, |_| {});
            let frame = &out.waiting()[6..];
            assert_eq!(frame.len(), header + length + 6, "{length}");
            assert_eq!((frame[0], frame[1] & 0x80), (0x82, 0x80));
            let told = match frame[1] & 0x7F {
                126 => usize::from(u16::from_be_bytes([frame[2], frame[3]])),
                127 => u64::from_be_bytes(frame[2..10].try_into().expect("eight")) as usize,
                short => usize::from(short),
            };
            assert_eq!(told, length);
            let (mask, masked) = (&frame[header - 4..header], &frame[header..header + length]);
            let opened: Vec<u8> = masked.iter().zip(mask.iter().cycle()).map(|(octet, mask)| octet ^ mask).collect();
            assert_eq!(opened, payload, "{length}");
            assert_eq!(frame[header + length], 0x89);
        }
    }

    #[test]
    fn nobody_can_tell_the_mask_of_the_next_message() {
        let masks = [(); 8].map(|()| {
            let mut out = Outgoing::default();
            out.message(Opcode::Ping, |_| {});
            out.waiting()[2..6].to_vec()
        });
        assert!(masks.iter().any(|mask| *mask != masks[0]), "{masks:02x?}");
    }

    #[test]
    fn the_socket_takes_what_it_can_and_the_rest_waits() {
        let mut out = Outgoing::default();
        out.raw(&[1, 2, 3, 4, 5]);
        out.took(2);
        assert_eq!(out.waiting(), [3, 4, 5]);
        out.raw(&[6]);
        out.took(2);
        assert_eq!(out.waiting(), [5, 6]);
        out.took(2);
        assert!(out.waiting().is_empty());
    }

    #[test]
    fn messages_come_whole_however_the_network_cuts_them() {
        let long = "x".repeat(70_000);
        let stream = [
            served(0x81, "Grüß".as_bytes()),
            served(0x01, b"in "),
            served(0x89, b"p"),
            served(0x00, b"three "),
            served(0x80, b"parts"),
            served(0x82, &[0xFF; 200]),
            served(0x81, long.as_bytes()),
            served(0x88, b"\x03\xe8bye"),
        ]
        .concat();
        let whole = read_in(stream.len(), &stream).expect("valid");
        assert_eq!(whole.len(), 6);
        assert_eq!(whole[0], r#"Text("Grüß")"#);
        assert_eq!(whole[1], "Ping([112])");
        assert_eq!(whole[2], r#"Text("in three parts")"#);
        assert_eq!(whole[4].len(), 70_000 + 8);
        assert_eq!(whole[5], r#"Close(1000, "bye")"#);
        for pieces in [1, 2, 3, 7, 100, 4_096] {
            assert_eq!(read_in(pieces, &stream).as_ref(), Ok(&whole), "{pieces}");
        }
    }

    #[test]
    fn what_the_table_refuses_is_refused() {
        let protocol: [&[u8]; 9] = [
            &[0x81, 0x81, 0, 0, 0, 0, 65],
            &[0xC1, 0],
            &[0x83, 0],
            &[0x09, 0],
            &[0x89, 126, 0, 126],
            &[0x80, 0],
            &[0x01, 0, 0x81, 0],
            &[0x82, 126, 0, 125],
            &[0x88, 1, 3],
        ];
        for stream in protocol {
            assert!(matches!(read_in(1, stream), Err(FrameError::Protocol(_))), "{stream:02x?}");
        }
        assert!(matches!(read_in(64, &[0x82, 127, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF]), Err(FrameError::Protocol(_))));
        assert_eq!(read_in(64, &served(0x81, &[0xC3])), Err(FrameError::NotUtf8));
        assert_eq!(read_in(64, &[0x82, 127, 0, 0, 0, 1, 0, 0, 0, 0]), Err(FrameError::TooBig));
        let mut many = served(0x02, &vec![0; MOST]);
        many.extend(served(0x80, &[0]));
        assert_eq!(read_in(1 << 20, &many), Err(FrameError::TooBig));
    }

    #[test]
    fn a_reason_is_cut_between_characters() {
        let mut out = Outgoing::default();
        out.close(1000, &"ü".repeat(100));
        assert_eq!(out.waiting()[1] & 0x7F, 2 + 122);
    }
}
