//! A stage for legs: peers that speak tones and write down what they hear, and a phone made of bare sockets.

#![allow(dead_code, clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use trunkline::clock::Clock;
use trunkline::config::MediaConfig;
use trunkline::media::codec::g711::Law;
use trunkline::media::rtp::Packet;
use trunkline::media::{
    Codec, HeardFrame, KeyFormat, Leg, LegEvent, LegOptions, LegReport, MediaPlane, Peer, PeerFactory, Playout, Remote,
};

pub const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Tests that measure time on the wire have the machine to themselves.
static STAGE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

pub async fn alone() -> tokio::sync::MutexGuard<'static, ()> {
    STAGE.lock().await
}

pub fn config() -> MediaConfig {
    MediaConfig { ports: [0, 0], threads: 1, ..MediaConfig::default() }
}

pub fn plane() -> MediaPlane {
    MediaPlane::start(&config(), Clock::system()).unwrap()
}

pub async fn open(plane: &MediaPlane) -> Leg {
    plane.open(LegOptions { bind: LOCAL, recording: None }).await.unwrap()
}

pub fn remote(port: u16, codec: Codec) -> Remote {
    let events = KeyFormat { payload_type: 101, clock: 8_000 };
    Remote {
        accepted: vec![(0, Codec::Pcmu), (8, Codec::Pcma)],
        telephone_event: Some(events),
        accepted_events: vec![events],
        ..Remote::new(SocketAddr::new(LOCAL, port), codec)
    }
}

/// What a peer has heard so far.
#[derive(Default)]
pub struct Ear {
    pub pcm: Vec<i16>,
    /// Samples a second of the last frame.
    pub rate: u32,
    pub concealed: usize,
    pub frames: Vec<Instant>,
    pub keys: String,
    pub marks: Vec<u64>,
}

/// What a test tells its peer.
pub enum Cue {
    Push(Vec<i16>, u32),
    Mark(u64),
    Finish,
    Flush(tokio::sync::oneshot::Sender<(Instant, Duration)>),
    Keys(&'static str),
    Panic,
}

/// Speaks a tone without end, if it has one; writes down what it hears; takes cues.
pub struct Actor {
    tone: Option<(f64, u32)>,
    phase: usize,
    ear: Arc<Mutex<Ear>>,
    cues: mpsc::Receiver<Cue>,
    /// Answers the first loud frame with this.
    reply: Option<Vec<i16>>,
}

pub struct Strings {
    pub ear: Arc<Mutex<Ear>>,
    pub cues: mpsc::Sender<Cue>,
}

pub fn actor(tone: Option<(f64, u32)>, reply: Option<Vec<i16>>) -> (PeerFactory, Strings) {
    let ear = Arc::<Mutex<Ear>>::default();
    let (sender, cues) = mpsc::channel(64);
    let strings = Strings { ear: Arc::clone(&ear), cues: sender };
    (Box::new(move || Box::new(Actor { tone, phase: 0, ear, cues, reply })), strings)
}

impl Peer for Actor {
    fn heard(&mut self, frame: HeardFrame<'_>, playout: &mut dyn Playout) {
        let mut ear = self.ear.lock().unwrap();
        ear.pcm.extend_from_slice(frame.pcm);
        ear.rate = frame.rate;
        ear.concealed += usize::from(frame.concealed);
        ear.frames.push(playout.now());
        if level(frame.pcm) > -30.0
            && let Some(reply) = self.reply.take()
        {
            playout.push(&reply, 8_000);
        }
    }

    fn key(&mut self, key: char, _: &mut dyn Playout) {
        self.ear.lock().unwrap().keys.push(key);
    }

    fn played(&mut self, mark: u64, _: &mut dyn Playout) {
        self.ear.lock().unwrap().marks.push(mark);
    }

    fn poll(&mut self, context: &mut Context<'_>, playout: &mut dyn Playout) -> Poll<()> {
        if let Some((hz, rate)) = self.tone {
            while playout.queued() < Duration::from_millis(60) {
                let count = rate as usize / 50;
                playout.push(&tone(hz, rate, self.phase, count), rate);
                self.phase += count;
            }
        }
        while let Poll::Ready(Some(cue)) = self.cues.poll_recv(context) {
            match cue {
                Cue::Push(pcm, rate) => playout.push(&pcm, rate),
                Cue::Mark(mark) => playout.mark(mark),
                Cue::Finish => playout.finish(),
                Cue::Keys(keys) => playout.send_keys(keys),
                Cue::Flush(done) => {
                    let dropped = playout.flush().dropped;
                    let _ = done.send((Instant::now(), dropped));
                }
                Cue::Panic => panic!("as the test wishes"),
            }
        }
        Poll::Pending
    }
}

impl Strings {
    pub async fn cue(&self, cue: Cue) {
        self.cues.send(cue).await.ok().unwrap();
    }

    /// Waits until the ear fulfils `wish`.
    pub async fn until(&self, wish: impl Fn(&Ear) -> bool) {
        let start = Instant::now();
        while !wish(&self.ear.lock().unwrap()) {
            assert!(start.elapsed() < PATIENCE, "the peer waited in vain");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Waits until `wish` is fulfilled.
pub async fn within_patience(wish: impl Fn() -> bool) {
    let start = Instant::now();
    while !wish() {
        assert!(start.elapsed() < PATIENCE, "waited in vain");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub fn tone(hz: f64, rate: u32, from: usize, count: usize) -> Vec<i16> {
    let step = std::f64::consts::TAU * hz / f64::from(rate);
    (from..from + count).map(|n| (10_000.0 * (step * n as f64).sin()) as i16).collect()
}

/// RMS, dBFS.
pub fn level(pcm: &[i16]) -> f64 {
    let power = pcm.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / pcm.len().max(1) as f64;
    10.0 * (power.max(1e-3) / 32_768.0f64.powi(2)).log10()
}

/// Part of the power at `hz` (Goertzel), in dB below the whole: 0 = a pure tone; and the rest against the tone.
pub fn purity(pcm: &[i16], hz: f64) -> f64 {
    purity_at(pcm, hz, 8_000)
}

pub fn purity_at(pcm: &[i16], hz: f64, rate: u32) -> f64 {
    let coefficient = 2.0 * (std::f64::consts::TAU * hz / f64::from(rate)).cos();
    let (mut s1, mut s2) = (0.0, 0.0);
    for sample in pcm {
        (s1, s2) = (f64::from(*sample) + coefficient * s1 - s2, s1);
    }
    let count = pcm.len() as f64;
    let tone = 2.0 * (s1 * s1 + s2 * s2 - coefficient * s1 * s2) / (count * count);
    let whole = pcm.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / count;
    10.0 * (tone / (whole - tone).max(1e-6)).log10()
}

/// Longest run of samples that are all but silent.
pub fn longest_hole(pcm: &[i16]) -> usize {
    pcm.chunk_by(|a, b| (a.abs() < 40) == (b.abs() < 40))
        .filter(|run| run[0].abs() < 40)
        .map(<[i16]>::len)
        .max()
        .unwrap_or(0)
}

/// A phone of bare sockets on a port pair of its own.
pub struct Phone {
    pub rtp: UdpSocket,
    pub rtcp: UdpSocket,
    pub port: u16,
    pub leg: SocketAddr,
    pub sequence: u16,
    pub timestamp: u32,
}

/// A datagram as the phone got it.
#[derive(Debug, Clone)]
pub struct Got {
    pub at: Instant,
    pub ssrc: u32,
    pub marker: bool,
    pub payload_type: u8,
    pub sequence: u16,
    pub timestamp: u32,
    pub payload: Vec<u8>,
}

impl Got {
    pub fn is_speech(&self) -> bool {
        self.payload_type != 101 && self.payload.iter().any(|octet| !matches!(octet, 0xFF | 0x7F | 0xD5 | 0x55))
    }
}

impl Phone {
    pub async fn new(leg: &Leg) -> Phone {
        loop {
            let rtp = UdpSocket::bind((LOCAL, 0)).await.unwrap();
            let port = rtp.local_addr().unwrap().port();
            if port % 2 == 0
                && let Ok(rtcp) = UdpSocket::bind((LOCAL, port + 1)).await
            {
                let leg = SocketAddr::new(LOCAL, leg.local_rtp_port);
                return Phone { rtp, rtcp, port, leg, sequence: 65_000, timestamp: u32::MAX - 10_000 };
            }
        }
    }

    /// Moves on by a packet without sending it.
    pub fn skip(&mut self) {
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(160);
    }

    /// The next packet.
    pub fn next(&mut self, payload_type: u8, payload: &[u8]) -> Vec<u8> {
        self.skip();
        self.datagram(payload_type, payload)
    }

    pub fn datagram(&self, payload_type: u8, payload: &[u8]) -> Vec<u8> {
        let (sequence, timestamp) = (self.sequence, self.timestamp);
        let packet = Packet { marker: false, payload_type, sequence, timestamp, ssrc: 77, payload };
        let mut out = vec![0; 12 + payload.len()];
        packet.write(&mut out).unwrap();
        out
    }

    pub async fn send(&self, datagram: &[u8]) {
        self.rtp.send_to(datagram, self.leg).await.unwrap();
    }

    /// Sends a tone for `frames` packets, in real time.
    pub async fn speak(&mut self, hz: f64, frames: usize) {
        let mut clock = tokio::time::interval(Duration::from_millis(20));
        for n in 0..frames {
            clock.tick().await;
            let mut payload = [0; 160];
            Law::Micro.encode(&tone(hz, 8_000, n * 160, 160), &mut payload);
            let datagram = self.next(0, &payload);
            self.send(&datagram).await;
        }
    }

    pub async fn receive(&self) -> Got {
        let mut buffer = [0; 2_048];
        let read = self.rtp.recv_from(&mut buffer);
        let (length, _) = tokio::time::timeout(PATIENCE, read).await.expect("nothing came").unwrap();
        let packet = Packet::read(&buffer[..length]).unwrap();
        Got {
            at: Instant::now(),
            ssrc: packet.ssrc,
            marker: packet.marker,
            payload_type: packet.payload_type,
            sequence: packet.sequence,
            timestamp: packet.timestamp,
            payload: packet.payload.to_vec(),
        }
    }

    /// All that comes until `until`.
    pub async fn receive_until(&self, until: Instant) -> Vec<Got> {
        let mut got = Vec::new();
        while let Ok(packet) = tokio::time::timeout_at(until.into(), self.receive()).await {
            got.push(packet);
        }
        got
    }
}

pub async fn event(leg: &mut Leg) -> LegEvent {
    tokio::time::timeout(PATIENCE, leg.events.recv()).await.expect("no event").expect("the channel closed")
}

/// Waits for the event that `wish` picks; passes over all others.
pub async fn await_event<T>(leg: &mut Leg, wish: impl Fn(LegEvent) -> Option<T>) -> T {
    loop {
        if let Some(wanted) = wish(event(leg).await) {
            return wanted;
        }
    }
}

/// Waits until the leg has taken `packets`, so that its last report counts them all.
pub async fn received(leg: &mut Leg, packets: u64) {
    let counted = |event| match event {
        LegEvent::Quality(quality) if quality.packets_received >= packets => Some(()),
        _ => None,
    };
    await_event(leg, counted).await;
}

/// Waits until the leg has taken the last of `packets`, or knows what it has not got.
pub async fn accounted(leg: &mut Leg, packets: u64) {
    let counted = |event| match event {
        LegEvent::Quality(quality) if quality.packets_received + quality.lost >= packets => Some(()),
        _ => None,
    };
    await_event(leg, counted).await;
}

pub async fn close(leg: &mut Leg) -> LegReport {
    leg.control.close();
    await_event(leg, |event| if let LegEvent::Closed(report) = event { Some(*report) } else { None }).await
}
