//! Twenty thousand requests a second from many forged sources while twenty calls talk: `make flood`.
//!
//! The flood comes from this process, the box is another. `FLOOD_SECONDS` (at most 20) and `FLOOD_RATE` change it.

// Real time is what is measured.
#![allow(clippy::disallowed_methods)]

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::support;
use support::Setup;

const CALLS: usize = 20;
const SOURCES: u32 = 300;
const FRAME: Duration = Duration::from_millis(20);
/// A packet that comes so long after the one before is late.
const LATE: Duration = Duration::from_millis(60);
const NUMBER: &str = "\n[[number]]\nname = \"Desk\"\nnumber = \"1234\"\nvisibility = \"public\"\nsystem_prompt = \"Hi\"\n\
                      [[extension]]\nuser = \"200\"\npassword = \"a password of the flood test\"\n";

fn setting(name: &str, otherwise: u64, most: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise).min(most)
}

/// The PBX: one socket for the signalling of all calls.
struct Pbx {
    socket: UdpSocket,
    gateway: SocketAddr,
    /// Of each call, what follows the To header.
    tags: Vec<String>,
}

impl Pbx {
    fn message(&self, call: usize, method: &str, sequence: u32, rtp: u16) -> String {
        let port = self.socket.local_addr().expect("bound").port();
        let body = if method == "INVITE" {
            format!(
                "v=0\r\no=p 1 {sequence} IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {rtp} RTP/AVP 0\r\n"
            )
        } else {
            String::new()
        };
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        format!(
            "{method} sip:1234@{gateway} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bK{method}{call}x{sequence};rport\r\n\
             From: <sip:+4915100{call:03}@127.0.0.1:{port}>;tag=f{call}\r\nTo: <sip:1234@{gateway}>{tag}\r\nCall-ID: flood-{call}\r\n\
             CSeq: {sequence} {method}\r\nContact: <sip:127.0.0.1:{port}>\r\nMax-Forwards: 70\r\n{kind}Content-Length: {length}\r\n\r\n{body}",
            gateway = self.gateway,
            tag = self.tags[call],
            length = body.len(),
        )
    }

    /// Sends `method` in every call and waits for each 200; the answers and the slowest time.
    fn all(&mut self, method: &str, sequence: u32, rtp: &[u16]) -> (HashMap<usize, String>, Duration) {
        let (begin, mut slowest) = (Instant::now(), Duration::ZERO);
        let mut answers = HashMap::new();
        let mut next_try = begin;
        self.socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout");
        while answers.len() < CALLS && begin.elapsed() < Duration::from_secs(20) {
            if Instant::now() >= next_try {
                for call in (0..CALLS).filter(|call| !answers.contains_key(call)) {
                    let message = self.message(call, method, sequence, rtp[call]);
                    self.socket.send_to(message.as_bytes(), self.gateway).expect("sent");
                }
                next_try += Duration::from_millis(500);
            }
            let mut buffer = [0; 4_096];
            let Ok((length, _)) = self.socket.recv_from(&mut buffer) else { continue };
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            let of_this = text.starts_with("SIP/2.0 200") && text.contains(&format!("CSeq: {sequence} {method}"));
            let call = text.split("flood-").nth(1).and_then(|rest| rest.split("\r\n").next()?.parse::<usize>().ok());
            let (true, Some(call)) = (of_this, call) else { continue };
            if method == "INVITE" {
                let to = text.lines().find(|line| line.starts_with("To:")).unwrap_or_default();
                self.tags[call] = to.split_once(";tag=").map(|(_, tag)| format!(";tag={tag}")).unwrap_or_default();
                let ack = self.message(call, "ACK", sequence, 0);
                self.socket.send_to(ack.as_bytes(), self.gateway).expect("sent");
            }
            if answers.insert(call, text).is_none() {
                slowest = begin.elapsed();
            }
        }
        (answers, slowest)
    }
}

/// What came of the sound of all calls in a while.
#[derive(Debug, Default)]
struct Heard {
    packets: u64,
    late: u64,
    longest: Duration,
}

/// Talks on every line for `span` and listens.
fn talk(lines: &[(UdpSocket, SocketAddr)], sequence: &mut u16, span: Duration) -> Heard {
    let (begin, mut heard) = (Instant::now(), Heard::default());
    let mut last: Vec<Option<Instant>> = vec![None; lines.len()];
    let mut tick = begin;
    while begin.elapsed() < span {
        *sequence = sequence.wrapping_add(1);
        let mut packet = vec![0x80, 0];
        packet.extend(sequence.to_be_bytes());
        packet.extend((u32::from(*sequence) * 160).to_be_bytes());
        packet.extend(77_u32.to_be_bytes());
        packet.extend([0x55; 160]);
        for (socket, to) in lines {
            socket.send_to(&packet, to).expect("sent");
        }
        tick += FRAME;
        while Instant::now() < tick {
            for ((socket, _), last) in lines.iter().zip(&mut last) {
                while socket.recv_from(&mut [0; 2_048]).is_ok() {
                    let now = Instant::now();
                    let gap = last.replace(now).map(|last| now - last).unwrap_or_default();
                    heard.packets += 1;
                    heard.late += u64::from(gap > LATE);
                    heard.longest = heard.longest.max(gap);
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    heard
}

/// Requests of every kind, at `rate` a second, from sources of their own.
fn flood(target: SocketAddr, rate: u64, seed: u32, running: &AtomicBool, sent: &AtomicU64) {
    let sockets: Vec<UdpSocket> = (0..SOURCES)
        .map(|number| {
            let random = (number + seed * SOURCES).wrapping_mul(2_654_435_761);
            // 127.0.0.x is the box and its trunk.
            let source =
                Ipv4Addr::new(127, 1 + (random >> 24) as u8 % 250, (random >> 16) as u8, 1 + (random >> 8) as u8 % 250);
            UdpSocket::bind((source, 0)).expect("a loopback address")
        })
        .collect();
    let (begin, mut count) = (Instant::now(), 0_u64);
    while running.load(Ordering::Relaxed) {
        let due = begin.elapsed().as_micros() as u64 * rate / 1_000_000;
        while count < due {
            let method = ["INVITE", "OPTIONS", "REGISTER"][(count % 3) as usize];
            let message = format!(
                "{method} sip:{count}@box SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK{seed}x{count};rport\r\n\
                 From: <sip:{count}@a>;tag={count}\r\nTo: <sip:{count}@box>\r\nCall-ID: f{seed}-{count}\r\nCSeq: 1 {method}\r\n\
                 Contact: <sip:1@192.0.2.1>\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
            );
            let socket = &sockets[(count % u64::from(SOURCES)) as usize];
            sent.fetch_add(u64::from(socket.send_to(message.as_bytes(), target).is_ok()), Ordering::Relaxed);
            count += 1;
        }
        std::thread::sleep(Duration::from_micros(500));
    }
}

fn resident_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("a process");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).unwrap_or_default()
}

#[test]
fn twenty_calls_go_on_under_twenty_thousand_requests_a_second() {
    let _turn = support::take_turn();
    let span = Duration::from_secs(setting("FLOOD_SECONDS", 4, 20));
    let rate = setting("FLOOD_RATE", 20_000, 50_000);
    let pbx = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let port = pbx.local_addr().expect("bound").port();
    let gateway = Setup::new().engine("echo").trunk("pbx", port, "").more(NUMBER).start();
    let mut pbx = Pbx { socket: pbx, gateway: gateway.setup.sip, tags: vec![String::new(); CALLS] };

    let phones: Vec<UdpSocket> = (0..CALLS).map(|_| UdpSocket::bind("127.0.0.1:0").expect("a socket")).collect();
    let ports: Vec<u16> = phones.iter().map(|phone| phone.local_addr().expect("bound").port()).collect();
    let (answers, _) = pbx.all("INVITE", 1, &ports);
    assert_eq!(answers.len(), CALLS, "every call is answered");
    let lines: Vec<(UdpSocket, SocketAddr)> = phones
        .into_iter()
        .enumerate()
        .map(|(call, phone)| {
            phone.set_nonblocking(true).expect("settable");
            let media = answers[&call].lines().find_map(|line| line.strip_prefix("m=audio ")).expect("a session");
            let port: u16 = media.split(' ').next().and_then(|text| text.parse().ok()).expect("a port");
            (phone, SocketAddr::from(([127, 0, 0, 1], port)))
        })
        .collect();

    let mut sequence = 0;
    talk(&lines, &mut sequence, Duration::from_secs(1));
    let before = talk(&lines, &mut sequence, span.min(Duration::from_secs(5)));
    let memory_before = resident_kib(gateway.process.id());
    let (running, sent) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
    let begin = Instant::now();
    let flooders: Vec<_> = (0..2)
        .map(|seed| {
            let (running, sent, target) = (running.clone(), sent.clone(), gateway.setup.sip);
            std::thread::spawn(move || flood(target, rate / 2, seed, &running, &sent))
        })
        .collect();
    let during = talk(&lines, &mut sequence, span);
    let (changed, change_time) = pbx.all("INVITE", 2, &ports);
    let (ended, end_time) = pbx.all("BYE", 3, &ports);
    let elapsed = begin.elapsed();
    running.store(false, Ordering::Relaxed);
    flooders.into_iter().for_each(|flooder| flooder.join().expect("the flood ends"));
    let memory_after = resident_kib(gateway.process.id());

    let sent = sent.load(Ordering::Relaxed);
    let per_second = sent as f64 / elapsed.as_secs_f64();
    println!(
        "flood: {sent} requests in {:.1} s, {per_second:.0} a second, from {} sources",
        elapsed.as_secs_f64(),
        2 * SOURCES
    );
    println!("sound before: {before:?}");
    println!("sound during: {during:?}");
    println!("re-INVITE: {} of {CALLS} answered, the last after {change_time:?}", changed.len());
    println!("BYE: {} of {CALLS} answered, the last after {end_time:?}", ended.len());
    println!("memory: {memory_before} KiB before, {memory_after} KiB after");
    let metrics = gateway.get("/metrics").text();
    for line in metrics.lines().filter(|line| line.starts_with("trunkline_sip_gate_refused_total")) {
        println!("{line}");
    }
    assert_eq!((changed.len(), ended.len()), (CALLS, CALLS), "every re-INVITE and every BYE is answered");
    let expected = CALLS as u64 * (span.as_millis() / FRAME.as_millis()) as u64;
    assert!(during.packets * 100 >= expected * 95, "{} of {expected} packets came", during.packets);
    // A machine that is busy with other things delays packets without a flood, too.
    let usual = before.late * span.as_secs() / span.as_secs().min(5);
    assert!(
        during.late <= usual + expected / 50,
        "{} of {expected} packets were late, {usual} without a flood",
        during.late
    );
    assert!(memory_after < memory_before + 48 * 1024, "memory grew from {memory_before} to {memory_after} KiB");
    assert!(metrics.contains("trunkline_sip_gate_refused_total{reason=\"flood\"}"), "the gate was never asked");
}
