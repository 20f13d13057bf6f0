//! Slots to packets.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::net::UdpSocket;

use crate::media::codec::{Codec, Encoder, MOST_OCTETS, comfort};
use crate::media::dtmf::{KEYS_WAITING, KeyPacket, KeySender, ToneSender};
use crate::media::frame::{self, Frame};
use crate::media::playout::{PlayoutQueue, Slot};
use crate::media::quality::energy;
use crate::media::rtp::{HEADER, Packet};
use crate::media::session::Session;
use crate::media::session::link::Link;
use crate::media::session::packer::{Packed, Packer};
use crate::media::srtp::TRAILER;
use crate::media::{KeyWay, OpusTuning, Remote};

/// After our own keys the phone system may reflect them for so long; such echoes press nothing.
const ECHO: Duration = Duration::from_millis(200);
/// Silent slots after which comfort noise takes over, where it was agreed, and slots between two packets of it: 200 ms.
const HUSH: u32 = 10;
static SILENCE: [i16; frame::MOST_SAMPLES] = [0; frame::MOST_SAMPLES];

/// Everything towards the phone.
pub struct Talk {
    pub queue: PlayoutQueue,
    pub encoder: Encoder,
    packer: Packer,
    pub way: KeyWay,
    pub keys: KeySender,
    pub tones: ToneSender,
    /// Keys that the signalling is to send.
    pub signalled: VecDeque<char>,
    pub overflow_told: bool,
    pub stream: Stream,
    /// When the last packet with speech left.
    pub last_speech: Option<Instant>,
    /// RMS of the last slot; 0 without speech.
    pub level: f32,
    /// Keys that come in before this are echoes of ours.
    deaf_until: Option<Instant>,
    /// Slots since something was to be heard.
    hush: u32,
    /// The last slot went by without a packet.
    rested: bool,
}

/// What a slot carries.
enum Load {
    /// A tone, speech, or silence.
    Sound,
    /// A key's packet, as it is.
    Ready {
        payload_type: u8,
        marker: bool,
        timestamp: u32,
        payload: [u8; 4],
    },
    /// How loud the silence is that follows.
    Noise {
        payload_type: u8,
    },
    Nothing,
}

/// Our RTP source.
pub struct Stream {
    pub ssrc: u32,
    sequence: u16,
    pub packets: u64,
    pub octets: u64,
    /// Of these, what went out under former sources.
    pub former: (u64, u64),
    /// Packets that the system would not take.
    pub refused: u64,
}

impl Stream {
    /// Source and first sequence number are random (RFC 3550 §5.1).
    fn new() -> Stream {
        let (ssrc, sequence) = (rand::random(), first_sequence());
        Stream { ssrc, sequence, packets: 0, octets: 0, former: (0, 0), refused: 0 }
    }

    /// Goes on under another source.
    pub fn renew(&mut self) {
        let Stream { packets, octets, refused, .. } = *self;
        *self = Stream { packets, octets, refused, former: (packets, octets), ..Stream::new() };
    }
}

impl Talk {
    /// Speaks G.711 until it is told otherwise. The first timestamp is random (RFC 3550 §5.1).
    pub fn new() -> Talk {
        Talk {
            queue: PlayoutQueue::new(rand::random()),
            encoder: Encoder::new(Codec::Pcmu, OpusTuning::default()),
            packer: Packer::new(Codec::Pcmu),
            way: KeyWay::Events,
            keys: KeySender::default(),
            tones: ToneSender::default(),
            signalled: VecDeque::new(),
            overflow_told: false,
            stream: Stream::new(),
            last_speech: None,
            level: 0.0,
            deaf_until: None,
            hush: 0,
            rested: false,
        }
    }

    /// Speaks as was agreed. A clock of another rate is another source (RFC 7160 §4.1).
    pub fn follow(&mut self, remote: &Remote) {
        self.way = remote.keys;
        self.packer.tune(remote.codec, remote.ptime);
        if !remote.send {
            self.packer.clear();
        }
        if remote.codec == self.encoder.codec() {
            self.encoder.tune(remote.opus);
            return;
        }
        if remote.codec.clock() != self.encoder.codec().clock() {
            self.stream.renew();
        }
        self.queue.tune(remote.codec, rand::random());
        self.encoder = Encoder::new(remote.codec, remote.opus);
    }

    /// Queues keys in the way that was agreed, as far as there is room.
    pub fn queue_keys(&mut self, keys: &str) {
        match self.way {
            KeyWay::Events => {
                self.keys.queue(keys);
            }
            KeyWay::Tones => {
                self.tones.queue(keys);
            }
            KeyWay::Signalling => {
                let room = KEYS_WAITING - self.signalled.len().min(KEYS_WAITING);
                self.signalled.extend(keys.chars().take(room));
            }
        }
    }

    /// All of `keys` or none. `events`: the peer agreed to them.
    pub fn press(&mut self, keys: &str, events: bool) -> bool {
        let waiting = match self.way {
            KeyWay::Events if !events => return false,
            KeyWay::Events => self.keys.waiting(),
            KeyWay::Tones => self.tones.waiting(),
            KeyWay::Signalling => self.signalled.len(),
        };
        let fits = waiting + keys.chars().count() <= KEYS_WAITING;
        if fits {
            self.queue_keys(keys);
        }
        fits
    }

    /// Whether keys that come in now are taken for echoes of our own.
    pub fn is_deaf(&self, now: Instant) -> bool {
        self.keys.is_sending() || self.tones.is_sending() || self.deaf_until.is_some_and(|until| now < until)
    }

    /// Whether speech has to wait because a key goes out.
    fn sounds_a_key(&self) -> bool {
        self.keys.takes_slot() || self.tones.takes_slot()
    }

    /// What a slot carries.
    /// The same, and the tone that it carries.
    fn load(&mut self, slot: &Slot, remote: &Remote) -> (Load, Option<Frame>) {
        if let Some(format) = remote.telephone_event
            && let Some(key) = self.keys.slot(slot.timestamp, format.clock)
        {
            self.deaf_until = Some(slot.due + ECHO);
            self.hush = 0;
            let KeyPacket { marker, timestamp, payload } = key;
            return (Load::Ready { payload_type: format.payload_type, marker, timestamp, payload }, None);
        }
        let rate = self.queue.rate();
        let tone = self.tones.slot(rate);
        if tone.is_some() {
            self.deaf_until = Some(slot.due + ECHO);
        }
        let silent = tone.is_none() && slot.speech.is_none();
        self.hush = if silent { self.hush.saturating_add(1) } else { 0 };
        if let Some(noise) = remote.comfort_noise.filter(|_| self.hush > HUSH && remote.codec.clock() == 8_000) {
            let due = (self.hush - HUSH - 1).is_multiple_of(HUSH);
            return (if due { Load::Noise { payload_type: noise.send } } else { Load::Nothing }, None);
        }
        (Load::Sound, tone)
    }
}

/// A packet's way out.
struct Exit<'a> {
    socket: &'a UdpSocket,
    ipv6: bool,
    link: &'a mut Link,
    stream: &'a mut Stream,
}

impl Exit<'_> {
    fn send(&mut self, payload_type: u8, marker: bool, timestamp: u32, payload: &[u8]) {
        let Exit { socket, ipv6, link, stream } = self;
        stream.sequence = stream.sequence.wrapping_add(1);
        let packet = Packet { marker, payload_type, sequence: stream.sequence, timestamp, ssrc: stream.ssrc, payload };
        let mut datagram = [0; HEADER + MOST_OCTETS + TRAILER];
        let Some(length) = packet.write(&mut datagram) else { return };
        let Some(sealed) = link.seal(&mut datagram, length) else { return };
        if send(socket, *ipv6, sealed, link.latch.destination()) {
            stream.packets += 1;
            stream.octets += (length - HEADER) as u64;
        } else {
            stream.refused += 1;
        }
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
        let rate = self.talk.queue.rate();
        while let Some(slot) = self.talk.queue.poll(now, self.talk.sounds_a_key()) {
            let (load, tone) = self.talk.load(&slot, &link.remote);
            let Talk { encoder, packer, stream, rested, .. } = &mut self.talk;
            let speech_type = link.remote.payload_type;
            let mut exit = Exit { socket: &self.sockets.rtp, ipv6: self.sockets.ipv6, link: &mut *link, stream };
            let mut speak = |packed: Packed<'_>| {
                let mut payload = [0; MOST_OCTETS];
                let length = encoder.encode(packed.pcm, &mut payload);
                // RFC 3551 §4.1: the first packet after a silence that was not sent.
                let marker = std::mem::replace(rested, length == 0) || packed.marker;
                if let Some(payload) = payload.get(..length).filter(|payload| !payload.is_empty()) {
                    exit.send(speech_type, marker, packed.timestamp, payload);
                }
            };
            if !matches!(load, Load::Sound) || !packer.goes_on_at(slot.timestamp) {
                packer.rest(&mut speak);
            }
            match load {
                Load::Sound => {
                    let pcm = tone.as_deref().or(slot.speech.as_deref()).unwrap_or(&SILENCE[..frame::samples(rate)]);
                    packer.push(slot.timestamp, slot.marker, pcm);
                    packer.packets(speak);
                }
                Load::Ready { payload_type, marker, timestamp, payload } => {
                    exit.send(payload_type, marker, timestamp, &payload);
                }
                Load::Noise { payload_type } => {
                    let marker = std::mem::replace(rested, false) || slot.marker;
                    exit.send(payload_type, marker, slot.timestamp, &comfort::payload());
                }
                Load::Nothing => *rested = true,
            }
            if let Some(pcm) = &slot.speech {
                self.talk.last_speech = Some(now);
                let energy = energy(pcm);
                self.tally.level_out.add_energy(energy, pcm.len());
                self.talk.level = (energy as f32 / pcm.len() as f32).sqrt();
                if let Some(tape) = &mut self.tape {
                    tape.lay_spoken(slot.due, pcm, now);
                }
            } else {
                self.talk.level = 0.0;
                self.tally.level_out.add_silence(frame::samples(rate));
            }
        }
    }
}

/// Sends without waiting. What the system does not take at once would be too late anyhow. The unspecified address (an
/// old way to say "hold") takes nothing: the system would deliver it to this host. `ipv6`: the socket is of that family.
pub fn send(socket: &UdpSocket, ipv6: bool, datagram: &[u8], destination: SocketAddr) -> bool {
    if destination.ip().to_canonical().is_unspecified() {
        return false;
    }
    let destination = reachable(destination, ipv6);
    SockRef::from(socket).send_to(datagram, &destination.into()).is_ok()
}

/// An IPv6 socket reaches IPv4 addresses in their mapped form.
fn reachable(destination: SocketAddr, from_ipv6: bool) -> SocketAddr {
    match destination.ip() {
        IpAddr::V4(ip) if from_ipv6 => SocketAddr::new(ip.to_ipv6_mapped().into(), destination.port()),
        _ => destination,
    }
}
