//! The sound of a phone as bare RTP: says what the test wants, and writes down every packet of the box.
#![allow(dead_code, clippy::disallowed_methods)]

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use trunkline::clock::{Clock, UtcTime};
use trunkline::media::Codec;
use trunkline::media::codec::g711::Law;
use trunkline::media::rtp::Packet;
use trunkline::sip::sdp::{AudioCodec, Direction, SessionDescription};

use super::within;

const FRAME: Duration = Duration::from_millis(20);
/// Samples above it are speech, not the noise of a codec.
const LOUD: u16 = 300;

/// A packet of the box.
#[derive(Debug, Clone)]
pub struct Got {
    pub at: Instant,
    pub utc: UtcTime,
    pub payload_type: u8,
    pub timestamp: u32,
    pub octets: usize,
    pub loud: bool,
}

#[derive(Default)]
struct Speaking {
    to: Option<SocketAddr>,
    codec: Option<Codec>,
    /// A tone without end.
    humming: bool,
    words: VecDeque<i16>,
    /// When loud frames left.
    loud: Vec<Instant>,
    phase: u32,
}

pub struct Line {
    pub address: SocketAddr,
    speaking: Arc<Mutex<Speaking>>,
    got: Arc<Mutex<Vec<Got>>>,
    tasks: [tokio::task::JoinHandle<()>; 2],
}

impl Drop for Line {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

impl Line {
    pub async fn open() -> Line {
        let socket = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port"));
        let address = socket.local_addr().expect("bound");
        let (speaking, got) = (Arc::<Mutex<Speaking>>::default(), Arc::<Mutex<Vec<Got>>>::default());
        let tasks = [tokio::spawn(speak(socket.clone(), speaking.clone())), tokio::spawn(listen(socket, got.clone()))];
        Line { address, speaking, got, tasks }
    }

    fn speaking(&self) -> MutexGuard<'_, Speaking> {
        self.speaking.lock().expect("unharmed")
    }

    /// Sends a tone to `to` from now on.
    pub fn hum(&self, to: SocketAddr, codec: Codec) {
        let mut speaking = self.speaking();
        (speaking.to, speaking.codec, speaking.humming) = (Some(to), Some(codec), true);
    }

    /// Sends silence to `to` from now on, and words when there are some.
    pub fn attend(&self, to: SocketAddr, codec: Codec) {
        let mut speaking = self.speaking();
        (speaking.to, speaking.codec, speaking.humming) = (Some(to), Some(codec), false);
    }

    pub fn say(&self, pcm: &[i16]) {
        self.speaking().words.extend(pcm);
    }

    pub fn stop(&self) {
        self.speaking().to = None;
    }

    /// When loud frames left.
    pub fn said(&self) -> Vec<Instant> {
        self.speaking().loud.clone()
    }

    pub fn got(&self) -> Vec<Got> {
        self.got.lock().expect("unharmed").clone()
    }

    pub fn forget(&self) {
        self.got.lock().expect("unharmed").clear();
    }

    /// Waits until `count` loud packets have come from now on; returns the last.
    pub async fn hears(&self, count: usize) -> Got {
        self.forget();
        within("the box's sound", async {
            loop {
                if let Some(got) = self.got().into_iter().filter(|got| got.loud).nth(count - 1) {
                    return got;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
    }

    /// Packets that come during `span`, after those that were under way.
    pub async fn packets_during(&self, span: Duration) -> usize {
        tokio::time::sleep(3 * FRAME).await;
        self.forget();
        tokio::time::sleep(span).await;
        self.got().len()
    }

    /// Our description: this line, `codecs`, `direction`.
    pub fn describes(&self, version: u64, codecs: &[AudioCodec], direction: Direction) -> SessionDescription {
        SessionDescription { version, direction, ..SessionDescription::offer(9, self.address, codecs) }
    }
}

async fn speak(socket: Arc<UdpSocket>, speaking: Arc<Mutex<Speaking>>) {
    let mut clock = tokio::time::interval(FRAME);
    let (mut sequence, mut timestamp) = (100u16, 5_000u32);
    loop {
        clock.tick().await;
        (sequence, timestamp) = (sequence.wrapping_add(1), timestamp.wrapping_add(160));
        let Some((datagram, to)) = speaking.lock().expect("unharmed").frame(sequence, timestamp) else { continue };
        socket.send_to(&datagram, to).await.expect("sent");
    }
}

impl Speaking {
    fn frame(&mut self, sequence: u16, timestamp: u32) -> Option<(Vec<u8>, SocketAddr)> {
        let (to, codec) = (self.to?, self.codec?);
        let pcm: Vec<i16> = (0..160)
            .map(|_| {
                self.phase += 1;
                let tone = (f64::from(self.phase) * 440.0 * std::f64::consts::TAU / 8000.0).sin() * 8000.0;
                if self.humming { tone as i16 } else { self.words.pop_front().unwrap_or(0) }
            })
            .collect();
        if pcm.iter().any(|sample| sample.unsigned_abs() > LOUD) {
            self.loud.push(Instant::now());
        }
        let mut payload = [0; 160];
        codec.law().expect("the line speaks G.711").encode(&pcm, &mut payload);
        let payload_type = codec.payload_type();
        let packet = Packet { marker: false, payload_type, sequence, timestamp, ssrc: 77, payload: &payload };
        let mut datagram = vec![0; 172];
        packet.write(&mut datagram).expect("room");
        Some((datagram, to))
    }
}

async fn listen(socket: Arc<UdpSocket>, got: Arc<Mutex<Vec<Got>>>) {
    let clock = Clock::system();
    let mut buffer = [0; 2_048];
    while let Ok((length, _)) = socket.recv_from(&mut buffer).await {
        let (at, utc) = (Instant::now(), clock.utc());
        let Ok(packet) = Packet::read(&buffer[..length]) else { continue };
        let law = if packet.payload_type == 8 { Law::A } else { Law::Micro };
        let mut pcm = [0; 960];
        let count = if packet.payload_type == 101 { 0 } else { law.decode(packet.payload, &mut pcm) };
        let loud = pcm[..count].iter().any(|sample| sample.unsigned_abs() > LOUD);
        let (payload_type, timestamp, octets) = (packet.payload_type, packet.timestamp, packet.payload.len());
        got.lock().expect("unharmed").push(Got { at, utc, payload_type, timestamp, octets, loud });
    }
}
