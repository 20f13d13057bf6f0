//! Delays inside the media plane, with a probe in the engine's place: one live leg, one socket as the phone.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::mpsc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::mpsc as queue;
use trunkline::clock::Clock;
use trunkline::config::MediaConfig;
use trunkline::media::{Codec, HeardFrame, LegOptions, MediaPlane, Peer, Playout, Remote};

use super::report::{Spread, title};
use super::rtp::{FRAME, HEADER, QUIET, packet};
use super::support::{audio, free_udp_range};

const HEARD: u32 = 1_000;
const TURNS: u32 = 60;

enum Order {
    Speak(Vec<i16>),
    Flush,
}

/// Stands where an engine stands: tells when it was given a frame, speaks and flushes when told. Delays are counted from
/// the order, so that waking the leg is part of them.
struct Probe {
    orders: queue::Receiver<Order>,
    heard: mpsc::SyncSender<(i16, Instant)>,
}

impl Peer for Probe {
    fn heard(&mut self, frame: HeardFrame<'_>, _: &mut dyn Playout) {
        if !frame.concealed {
            let _ = self.heard.try_send((frame.pcm[frame.pcm.len() / 2], Instant::now()));
        }
    }

    fn key(&mut self, _: char, _: &mut dyn Playout) {}

    fn played(&mut self, _: u64, _: &mut dyn Playout) {}

    fn poll(&mut self, context: &mut Context<'_>, playout: &mut dyn Playout) -> Poll<()> {
        while let Poll::Ready(order) = self.orders.poll_recv(context) {
            match order {
                Some(Order::Speak(pcm)) => {
                    playout.push(&pcm, 8_000);
                    playout.finish();
                }
                Some(Order::Flush) => {
                    playout.flush();
                }
                None => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }
}

pub fn delays() {
    title("media plane: one leg, a probe in the engine's place");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let first = free_udp_range(20);
    let config = MediaConfig { ports: [first, first + 19], threads: 1, record: false, ..MediaConfig::default() };
    let plane = MediaPlane::start(&config, Clock::system()).expect("the media plane starts");
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let leg = runtime.block_on(plane.open(LegOptions { bind: local, recording: None })).expect("a leg");
    let phone = UdpSocket::bind((local, 0)).expect("a port");
    let address = phone.local_addr().expect("bound");
    leg.control.connect(Remote::new(address, Codec::Pcmu));
    let (orders, order_queue) = queue::channel(4);
    let (heard, heard_frames) = mpsc::sync_channel(4_096);
    leg.control.attach(Box::new(move || Box::new(Probe { orders: order_queue, heard })));

    let gateway = SocketAddr::new(local, leg.local_rtp_port);
    let sequence = hear(&phone, gateway, &heard_frames);
    speak(&phone, gateway, sequence, &orders);
    drop(leg);
    runtime.block_on(plane.stop());
}

/// RTP in → frame at the engine: each packet carries a value by which its frame is known.
fn hear(phone: &UdpSocket, gateway: SocketAddr, heard: &mpsc::Receiver<(i16, Instant)>) -> u32 {
    let value = |sequence: u32| 0x90 + u8::try_from(sequence % 96).expect("reduced");
    let mut sent: Vec<Instant> = Vec::new();
    let begin = Instant::now();
    for sequence in 0..HEARD {
        std::thread::sleep((begin + FRAME * sequence).saturating_duration_since(Instant::now()));
        sent.push(Instant::now());
        phone.send_to(&packet(sequence, 7, value(sequence)), gateway).expect("sent");
    }
    std::thread::sleep(Duration::from_millis(300));
    let mut spread = Spread::default();
    let mut next = 0_usize;
    for (sample, at) in heard.try_iter() {
        // The frame of a packet is the next one with its value; values repeat after 1.9 s.
        let found = (next..sent.len().min(next + 90)).find(|index| {
            let byte = value(u32::try_from(*index).expect("few packets"));
            audio::from_ulaw(&[byte])[0] == sample
        });
        if let Some(index) = found {
            spread.record(at.saturating_duration_since(sent[index]));
            next = index + 1;
        }
    }
    spread.summary().print("RTP in → engine frame out");
    HEARD
}

/// Engine audio → first loud RTP packet, and flush → last loud RTP packet.
fn speak(phone: &UdpSocket, gateway: SocketAddr, mut sequence: u32, orders: &queue::Sender<Order>) {
    let loud: Vec<i16> = (0..16_000).map(|index| if index / 8 % 2 == 0 { 12_000 } else { -12_000 }).collect();
    let (mut first, mut silence) = (Spread::default(), Spread::default());
    phone.set_read_timeout(Some(Duration::from_millis(1))).expect("a timeout");
    let mut tick = Instant::now();
    for turn in 0..TURNS {
        // Not in step with the packets' clock.
        let pause = Duration::from_millis(200 + u64::from(turn * 7 % 20));
        listen(phone, gateway, &mut sequence, &mut tick, pause);
        let pushed = Instant::now();
        orders.try_send(Order::Speak(loud.clone())).expect("the probe takes orders");
        let (began, _) = listen(phone, gateway, &mut sequence, &mut tick, Duration::from_millis(300));
        if let Some(began) = began {
            first.record(began.saturating_duration_since(pushed));
        }
        let flushed = Instant::now();
        orders.try_send(Order::Flush).expect("the probe takes orders");
        let (_, ended) = listen(phone, gateway, &mut sequence, &mut tick, Duration::from_millis(200));
        silence.record(ended.map_or(Duration::ZERO, |ended| ended.saturating_duration_since(flushed)));
    }
    first.summary().print("first audio out → RTP out");
    silence.summary().print("flush → last loud packet on the wire");
}

/// Sends silence and listens for `time`; when the first and the last loud packet came.
fn listen(
    phone: &UdpSocket,
    gateway: SocketAddr,
    sequence: &mut u32,
    tick: &mut Instant,
    time: Duration,
) -> (Option<Instant>, Option<Instant>) {
    let (mut first, mut last) = (None, None);
    let begin = Instant::now();
    let mut buffer = [0; 2048];
    while begin.elapsed() < time {
        if tick.elapsed() >= FRAME {
            *tick = Instant::now();
            phone.send_to(&packet(*sequence, 7, QUIET), gateway).expect("sent");
            *sequence += 1;
        }
        if let Ok((length, _)) = phone.recv_from(&mut buffer)
            && is_loud(&buffer[..length])
        {
            let now = Instant::now();
            first.get_or_insert(now);
            last = Some(now);
        }
    }
    (first, last)
}

/// Whether an RTP packet carries a loud µ-law sample.
fn is_loud(packet: &[u8]) -> bool {
    packet.get(HEADER..).is_some_and(|payload| payload.iter().any(|byte| !byte & 0x70 >= 0x60))
}
