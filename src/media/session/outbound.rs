//! Slots to packets.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::net::UdpSocket;

use crate::media::dtmf::KeySender;
use crate::media::playout::{PlayoutQueue, Slot};
use crate::media::recorder::Side;
use crate::media::rtp::{HEADER, Packet};
use crate::media::session::Session;
use crate::media::srtp::TRAILER;
use crate::media::{FRAME_SAMPLES, Remote};

/// After our own keys the phone system may reflect them for so long; such echoes press nothing.
const ECHO: Duration = Duration::from_millis(200);

/// Everything towards the phone.
pub struct Talk {
    pub queue: PlayoutQueue,
    pub keys: KeySender,
    pub overflow_told: bool,
    pub stream: Stream,
    /// When the last packet with speech left.
    pub last_speech: Option<Instant>,
    /// Keys that come in before this are echoes of ours.
    deaf_until: Option<Instant>,
}

/// Our RTP source.
pub struct Stream {
    pub ssrc: u32,
    sequence: u16,
    pub packets: u64,
    pub octets: u64,
    /// Packets that the system would not take.
    pub refused: u64,
}

impl Talk {
    /// Source, first sequence number and first timestamp are random (RFC 3550 §5.1).
    pub fn new() -> Talk {
        Talk {
            queue: PlayoutQueue::new(rand::random()),
            keys: KeySender::default(),
            overflow_told: false,
            stream: Stream { ssrc: rand::random(), sequence: first_sequence(), packets: 0, octets: 0, refused: 0 },
            last_speech: None,
            deaf_until: None,
        }
    }

    /// Whether keys that come in now are taken for echoes of our own.
    pub fn is_deaf(&self, now: Instant) -> bool {
        self.keys.is_sending() || self.deaf_until.is_some_and(|until| now < until)
    }

    /// The packet of a slot: a key's, or audio.
    fn packet<'a>(&mut self, slot: &Slot, remote: &Remote, payload: &'a mut [u8; FRAME_SAMPLES]) -> Packet<'a> {
        let key = remote.telephone_event.and_then(|kind| Some((kind, self.keys.slot(slot.timestamp)?)));
        let (payload_type, marker, timestamp, length) = match key {
            Some((kind, key)) => {
                payload[..4].copy_from_slice(&key.payload);
                self.deaf_until = Some(slot.due + ECHO);
                (kind, key.marker, key.timestamp, 4)
            }
            None => {
                payload.fill(remote.codec.silence());
                if let Some(pcm) = &slot.speech {
                    remote.codec.encode(pcm, payload);
                }
                (remote.payload_type, slot.marker, slot.timestamp, FRAME_SAMPLES)
            }
        };
        self.stream.sequence = self.stream.sequence.wrapping_add(1);
        let (sequence, ssrc) = (self.stream.sequence, self.stream.ssrc);
        Packet { marker, payload_type, sequence, timestamp, ssrc, payload: &payload[..length] }
    }
}

impl Stream {
    /// Goes on under another source.
    pub fn renew(&mut self) {
        (self.ssrc, self.sequence) = (rand::random(), first_sequence());
    }
}

/// Random, and far from its first rollover: a receiver that misses that one cannot read SRTP (RFC 3711 §3.3.1).
fn first_sequence() -> u16 {
    rand::random::<u16>() >> 1
}

impl Session {
    /// Sends every slot that is due.
    pub(super) fn send_slots(&mut self) {
        let Some(link) = &mut self.link else { return };
        let now = self.clock.now();
        if link.remote.telephone_event.is_none() && self.talk.keys.is_sending() {
            tracing::debug!("keys are not sent: the peer did not agree to telephone-event");
            self.talk.keys = KeySender::default();
        }
        while let Some(slot) = self.talk.queue.poll(now, self.talk.keys.takes_slot()) {
            let mut payload = [0; FRAME_SAMPLES];
            let mut datagram = [0; HEADER + FRAME_SAMPLES + TRAILER];
            let packet = self.talk.packet(&slot, &link.remote, &mut payload);
            let Some(length) = packet.write(&mut datagram) else { continue };
            let Some(sealed) = link.seal(&mut datagram, length) else { continue };
            let stream = &mut self.talk.stream;
            if send(&self.sockets.rtp, sealed, link.latch.destination()) {
                stream.packets += 1;
                stream.octets += (length - HEADER) as u64;
            } else {
                stream.refused += 1;
            }
            if let Some(pcm) = &slot.speech {
                self.talk.last_speech = Some(now);
                self.tally.level_out.add(pcm);
                if let Some(tape) = &mut self.tape {
                    tape.lay(Side::Box, slot.due, pcm);
                }
            } else {
                self.tally.level_out.add(&[0; FRAME_SAMPLES]);
            }
        }
    }
}

/// Sends without waiting. What the system does not take at once would be too late anyhow. The unspecified address (an
/// old way to say "hold") takes nothing: the system would deliver it to this host.
pub fn send(socket: &UdpSocket, datagram: &[u8], destination: SocketAddr) -> bool {
    if destination.ip().to_canonical().is_unspecified() {
        return false;
    }
    let destination = reachable(destination, socket.local_addr().is_ok_and(|local| local.is_ipv6()));
    SockRef::from(socket).send_to(datagram, &destination.into()).is_ok()
}

/// An IPv6 socket reaches IPv4 addresses in their mapped form.
fn reachable(destination: SocketAddr, from_ipv6: bool) -> SocketAddr {
    match destination.ip() {
        IpAddr::V4(ip) if from_ipv6 => SocketAddr::new(ip.to_ipv6_mapped().into(), destination.port()),
        _ => destination,
    }
}
