//! What a call costs on this machine when nothing is done but the system calls that no gateway can do without: a packet
//! read, a frame of JSON and base64 written, its echo read, a packet written. No signalling, no clock of its own, no
//! recording, nothing counted, nothing checked. The distance to this is what the gateway itself costs.

#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Parser;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

#[path = "load/usage.rs"]
mod usage;

use usage::Usage;

/// RTP header and 20 ms of µ-law.
const PACKET: usize = 172;
const HEADER: usize = 12;
const FRAME: Duration = Duration::from_millis(20);
/// Before measuring.
const WARM: Duration = Duration::from_secs(2);
const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const BEFORE: &[u8] = br#"{"event":"media","sequenceNumber":"1","streamSid":"MZ","media":{"track":"inbound","chunk":"1","timestamp":"0","payload":""#;
const AFTER: &[u8] = br#""}}"#;

/// The system calls of calls, and nothing else. Loopback only.
#[derive(Parser)]
struct Flags {
    /// Live calls, step by step.
    #[arg(long, value_delimiter = ',', default_value = "200,500")]
    calls: Vec<usize>,
    /// How long each step is measured.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// The child: so many calls, and the port of the service.
    #[arg(long, num_args = 2, hide = true)]
    bare: Option<Vec<u16>>,
    /// Cargo says this to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> std::io::Result<()> {
    let flags = Flags::parse();
    if let Some([calls, service]) = flags.bare.as_deref() {
        return bare(usize::from(*calls), (HERE, *service).into());
    }
    flags.calls.iter().try_for_each(|calls| step(*calls, Duration::from_secs(flags.seconds)))
}

fn step(calls: usize, time: Duration) -> std::io::Result<()> {
    let service = TcpListener::bind((HERE, 0))?;
    let port = service.local_addr()?.port().to_string();
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--bare", &calls.to_string(), &port])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let streams = (0..calls).map(|_| Ok(service.accept()?.0)).collect::<std::io::Result<Vec<_>>>()?;
    let mut ports = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut ports)?;
    let ports: Vec<u16> = ports.split_whitespace().map(|port| port.parse().expect("a port")).collect();
    let phones = (0..calls).map(|_| UdpSocket::bind((HERE, 0))).collect::<std::io::Result<Vec<_>>>()?;
    let ears = phones.iter().map(UdpSocket::try_clone).collect::<std::io::Result<Vec<_>>>()?;
    // These three end with the program.
    thread::spawn(move || echo(streams));
    thread::spawn(move || listen(&ears));
    thread::spawn(move || speak(&phones, &ports));

    thread::sleep(WARM);
    let (before, begin) = (usage(child.id()), Instant::now());
    thread::sleep(time);
    let (after, elapsed) = (usage(child.id()), begin.elapsed().as_secs_f64());
    child.kill()?;
    child.wait()?;
    let cpu = (after.cpu_seconds - before.cpu_seconds) / elapsed;
    println!(
        "{calls:>4} calls: CPU {:>6.2} % of a core, {:.3} % a call, {:.3} CPU-s a call-minute for the system calls alone",
        cpu * 100.0,
        cpu * 100.0 / calls as f64,
        cpu * 60.0 / calls as f64
    );
    Ok(())
}

fn usage(id: u32) -> Usage {
    Usage::of(id).unwrap_or_else(|problem| panic!("{problem}"))
}

/// The phones: the calls' packets are spread evenly over the frame, and nothing is sent twice to make up for lateness.
fn speak(phones: &[UdpSocket], ports: &[u16]) {
    let mut packet = [0xFF; PACKET];
    packet[..2].copy_from_slice(&[0x80, 0]);
    let begin = Instant::now();
    for frame in 0_u32.. {
        for (number, (phone, port)) in phones.iter().zip(ports).enumerate() {
            let due = begin + FRAME * frame + FRAME.mul_f64(number as f64 / phones.len() as f64);
            let left = due.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                thread::sleep(left);
            }
            packet[2..4].copy_from_slice(&(frame as u16).to_be_bytes());
            if phone.send_to(&packet, (HERE, *port)).is_err() {
                return;
            }
        }
    }
}

fn listen(phones: &[UdpSocket]) {
    let mut room = [0; 2_048];
    on_each(phones, |number| {
        let _ = phones[number].recv(&mut room);
    });
}

/// The service: each frame comes back as it is, but for the mask.
fn echo(mut streams: Vec<TcpStream>) {
    streams.iter().for_each(|stream| stream.set_nodelay(true).expect("an option"));
    let polled = streams.iter().map(TcpStream::try_clone).collect::<std::io::Result<Vec<_>>>().expect("sockets");
    let (mut room, mut out) = (vec![0; 1 << 16], Vec::new());
    on_each(&polled, |number| {
        let Ok(length) = streams[number].read(&mut room) else { return };
        out.clear();
        let mut frames = &room[..length];
        while frames.len() > 8 {
            let size = usize::from(u16::from_be_bytes([frames[2], frames[3]]));
            if frames.len() < 8 + size {
                break;
            }
            let (frame, rest) = frames.split_at(8 + size);
            out.extend_from_slice(&[0x81, 126, frame[2], frame[3]]);
            let key = [frame[4], frame[5], frame[6], frame[7]];
            out.extend(frame[8..].iter().zip(key.iter().cycle()).map(|(octet, key)| octet ^ key));
            frames = rest;
        }
        let _ = streams[number].write_all(&out);
    });
}

/// Calls `ready` for each source that can be read, for ever.
fn on_each<S: AsFd>(sources: &[S], mut ready: impl FnMut(usize)) {
    let epoll = Epoll::new(EpollCreateFlags::empty()).expect("an epoll");
    for (number, source) in sources.iter().enumerate() {
        epoll.add(source, EpollEvent::new(EpollFlags::EPOLLIN, number as u64)).expect("added");
    }
    let mut events = [EpollEvent::empty(); 256];
    while let Ok(count) = epoll.wait(&mut events, EpollTimeout::NONE) {
        events[..count].iter().for_each(|event| ready(event.data() as usize));
    }
}

/// The gateway that does nothing else.
fn bare(calls: usize, service: SocketAddr) -> std::io::Result<()> {
    let sockets = (0..calls).map(|_| UdpSocket::bind((HERE, 0))).collect::<std::io::Result<Vec<_>>>()?;
    let mut streams = (0..calls).map(|_| TcpStream::connect(service)).collect::<std::io::Result<Vec<_>>>()?;
    let ports: Vec<String> =
        sockets.iter().map(|socket| Ok(socket.local_addr()?.port().to_string())).collect::<std::io::Result<_>>()?;
    println!("{}", ports.join(" "));
    for stream in &streams {
        stream.set_nodelay(true)?;
    }
    let mut sources: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
    let polled = streams.iter().map(TcpStream::try_clone).collect::<std::io::Result<Vec<_>>>()?;
    sources.extend(polled.iter().map(AsFd::as_fd));
    let mut phones: Vec<Option<SocketAddr>> = vec![None; calls];
    let (mut room, mut frame, mut packet) = (vec![0; 1 << 16], Vec::new(), vec![0; HEADER]);
    packet[..2].copy_from_slice(&[0x80, 0]);
    on_each(&sources, |number| match number.checked_sub(calls) {
        None => {
            let Ok((length, from)) = sockets[number].recv_from(&mut room) else { return };
            phones[number] = Some(from);
            write(&room[HEADER.min(length)..length], &mut frame);
            let _ = streams[number].write_all(&frame);
        }
        Some(number) => {
            let Ok(length) = streams[number].read(&mut room) else { return };
            let Some(phone) = phones[number] else { return };
            let mut frames = &room[..length];
            while frames.len() > 4 {
                let size = usize::from(u16::from_be_bytes([frames[2], frames[3]]));
                if frames.len() < 4 + size {
                    return;
                }
                let text = &frames[4..4 + size];
                packet.truncate(HEADER);
                // The text came from us: what the payload lies between is known.
                let payload = &text[BEFORE.len()..size - AFTER.len()];
                if STANDARD.decode_vec(payload, &mut packet).is_ok() {
                    let _ = sockets[number].send_to(&packet, phone);
                }
                frames = &frames[4 + size..];
            }
        }
    });
    Ok(())
}

/// A masked text frame (RFC 6455 §5.2) of one message.
fn write(payload: &[u8], out: &mut Vec<u8>) {
    let size = BEFORE.len() + payload.len().div_ceil(3) * 4 + AFTER.len();
    out.clear();
    out.extend_from_slice(&[0x81, 0x80 | 126]);
    out.extend_from_slice(&(size as u16).to_be_bytes());
    let key = [1, 2, 3, 4];
    out.extend_from_slice(&key);
    out.extend_from_slice(BEFORE);
    let start = out.len();
    out.resize(start + payload.len().div_ceil(3) * 4, 0);
    STANDARD.encode_slice(payload, &mut out[start..]).expect("there is room for it");
    out.extend_from_slice(AFTER);
    out[8..].iter_mut().zip(key.iter().cycle()).for_each(|(octet, key)| *octet ^= key);
}
