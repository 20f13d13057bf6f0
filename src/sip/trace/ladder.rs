//! The messages of a call as a ladder: who took part, and an arrow for each message.

use std::net::SocketAddr;

use serde::Serialize;

use super::{Sighting, wire};

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ladder {
    pub participants: Vec<Participant>,
    /// Microseconds since 1970-01-01T00:00:00Z of the first message.
    #[serde(skip)]
    pub start: Option<u64>,
    pub messages: Vec<Arrow>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Participant {
    pub address: SocketAddr,
    /// Software that it names, in User-Agent or Server.
    pub software: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Arrow {
    /// After the first message.
    pub offset_ms: f64,
    /// Places among the participants.
    pub from: usize,
    pub to: usize,
    pub transport: &'static str,
    /// `INVITE`, `200 OK`, with the CSeq that it belongs to.
    pub summary: String,
    pub call_id: String,
    /// The same bytes as a message before.
    pub repeated: bool,
    pub bytes: usize,
    /// As it was on the wire, secrets blotted out.
    pub text: String,
}

/// Participants beyond so many share the last place: a forking proxy has a few.
const PARTICIPANTS: usize = 64;

impl Ladder {
    pub fn new(sightings: &[Sighting]) -> Ladder {
        let mut participants: Vec<Participant> = Vec::new();
        let mut messages: Vec<Arrow> = Vec::with_capacity(sightings.len());
        let start = sightings.first().map(|first| first.at);
        for (index, sighting) in sightings.iter().enumerate() {
            let (from, to) = (place(&mut participants, sighting.from), place(&mut participants, sighting.to));
            if let Some(participant) = participants.get_mut(from) {
                participant.software = participant.software.take().or_else(|| software(&sighting.bytes));
            }
            let passed = sighting.at.saturating_sub(start.unwrap_or_default());
            let before = sightings.get(..index).unwrap_or_default();
            let same = |other: &Sighting| {
                (other.from, other.to, &other.bytes) == (sighting.from, sighting.to, &sighting.bytes)
            };
            messages.push(Arrow {
                offset_ms: passed as f64 / 1_000.0,
                from,
                to,
                transport: sighting.transport.name(),
                summary: summary(&sighting.bytes),
                call_id: text(wire::header(&sighting.bytes, "Call-ID", "i")),
                repeated: before.iter().any(same),
                bytes: sighting.bytes.len(),
                text: String::from_utf8_lossy(&sighting.bytes).into_owned(),
            });
        }
        Ladder { participants, start, messages }
    }
}

fn place(participants: &mut Vec<Participant>, address: SocketAddr) -> usize {
    if let Some(place) = participants.iter().position(|participant| participant.address == address) {
        return place;
    }
    if participants.len() < PARTICIPANTS {
        participants.push(Participant { address, software: None });
    }
    participants.len() - 1
}

fn software(message: &[u8]) -> Option<String> {
    let found = wire::header(message, "User-Agent", "User-Agent").or_else(|| wire::header(message, "Server", "Server"));
    found.map(|name| text(Some(name)))
}

/// `INVITE sip:100@box (1 INVITE)`, `200 OK (1 INVITE)`.
fn summary(message: &[u8]) -> String {
    let first = wire::first_line(message);
    let first = first.strip_prefix("SIP/2.0 ").or_else(|| first.strip_suffix(" SIP/2.0")).unwrap_or(&first);
    let session =
        wire::header(message, "Content-Type", "c").is_some_and(|kind| kind.eq_ignore_ascii_case(b"application/sdp"));
    format!("{first} ({}){}", text(wire::header(message, "CSeq", "CSeq")), if session { " with session" } else { "" })
}

fn text(value: Option<&[u8]>) -> String {
    String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::sip::transport::Transport;

    #[test]
    fn arrows_go_between_participants_and_repetitions_show() {
        let [ours, theirs]: [SocketAddr; 2] =
            ["192.0.2.1:5060", "198.51.100.7:5070"].map(|text| text.parse().expect("address"));
        let sighting = |at, from, to, text: &'static str| Sighting {
            at,
            from,
            to,
            transport: Transport::Udp,
            bytes: Bytes::from_static(text.as_bytes()),
        };
        let invite = "INVITE sip:1@x SIP/2.0\r\nCall-ID: a\r\nCSeq: 1 INVITE\r\nUser-Agent: phone\r\nc: application/sdp\r\n\r\nv=0";
        let ladder = Ladder::new(&[
            sighting(1_000_000, theirs, ours, invite),
            sighting(1_500_000, theirs, ours, invite),
            sighting(1_501_500, ours, theirs, "SIP/2.0 200 OK\r\nCall-ID: a\r\nCSeq: 1 INVITE\r\nServer: box\r\n\r\n"),
        ]);
        let software = ladder.participants.iter().map(|one| one.software.as_deref()).collect::<Vec<_>>();
        assert_eq!(software, [Some("phone"), Some("box")]);
        let seen: Vec<_> =
            ladder.messages.iter().map(|arrow| (arrow.offset_ms, arrow.from, arrow.to, arrow.repeated)).collect();
        assert_eq!(seen, [(0.0, 0, 1, false), (500.0, 0, 1, true), (501.5, 1, 0, false)]);
        assert_eq!(ladder.messages[0].summary, "INVITE sip:1@x (1 INVITE) with session");
        assert_eq!(ladder.messages[2].summary, "200 OK (1 INVITE)");
    }
}
