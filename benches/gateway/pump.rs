//! RTP of many calls: 50 packets a second each way, and how long the echo takes.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::pulse;
use super::report::Spread;

pub const FRAME: Duration = Duration::from_millis(20);
/// µ-law: silence, and the loudest value.
pub const QUIET: u8 = 0xff;
pub const LOUD: u8 = 0x80;
/// A loud frame goes out once in so many.
const PULSE_EVERY: u32 = 25;

/// No pulse is sent so shortly before the end.
const LAST_PULSE: Duration = Duration::from_millis(500);

static RUNS: AtomicU32 = AtomicU32::new(0);

/// One side of a call.
struct Line {
    socket: UdpSocket,
    remote: SocketAddr,
}

#[derive(Default)]
pub struct Counts {
    pub sent: u64,
    pub received: u64,
}

pub struct Outcome {
    pub counts: Counts,
    /// Loud frames sent, and those that came back.
    pub pulses: (u64, u64),
    /// From a loud frame sent, by the phone or by whoever answers for it, to the phone that hears it.
    pub echo: Spread,
    /// How late our own sender was: a large value says that this machine, not the gateway, was at its limit.
    pub own_lateness: Spread,
}

/// A packet of one value.
pub fn packet(sequence: u32, source: u32, value: u8) -> [u8; 172] {
    let mut packet = [value; 172];
    packet[0] = 0x80;
    packet[1] = if sequence == 0 { 0x80 } else { 0 };
    packet[2..4].copy_from_slice(&u16::try_from(sequence % 65_536).expect("reduced").to_be_bytes());
    packet[4..8].copy_from_slice(&sequence.wrapping_mul(160).to_be_bytes());
    packet[8..12].copy_from_slice(&source.to_be_bytes());
    packet
}

/// Whether an RTP packet of 12 octets header carries a loud µ-law sample.
pub fn is_loud(packet: &[u8]) -> bool {
    packet.get(12..).is_some_and(|payload| payload.iter().any(|byte| !byte & 0x70 >= 0x60))
}

/// Talks on all lines for `time`.
pub fn run(lines: Vec<(UdpSocket, SocketAddr)>, time: Duration) -> Outcome {
    let mut lines: Vec<Line> = lines
        .into_iter()
        .map(|(socket, remote)| {
            socket.set_nonblocking(true).expect("non-blocking");
            Line { socket, remote }
        })
        .collect();
    let mut outcome =
        Outcome { counts: Counts::default(), pulses: (0, 0), echo: Spread::new(), own_lateness: Spread::new() };
    // The streams go on where those of an earlier run cannot have been.
    let first = RUNS.fetch_add(10_000, Ordering::Relaxed);
    let (begin, count) = (Instant::now(), u32::try_from(lines.len()).expect("few lines"));
    let mut frame = 0_u32;
    while begin.elapsed() < time {
        // The calls are spread over the 20 ms, as calls are.
        for index in 0..count {
            let due = begin + FRAME * frame + FRAME * index / count;
            while Instant::now() < due {
                drain(&mut lines, &mut outcome);
                std::thread::sleep(due.saturating_duration_since(Instant::now()).min(Duration::from_micros(200)));
            }
            outcome.own_lateness.record(due.elapsed());
            let line = &lines[index as usize];
            // Pulses of different lines at different times; the last ones have time to come back.
            let pulse = (frame + index).is_multiple_of(PULSE_EVERY) && begin.elapsed() + LAST_PULSE < time;
            let mut packet = packet(first + frame, index + 1, QUIET);
            if pulse {
                outcome.pulses.0 += 1;
                pulse::write(Instant::now(), &mut packet[12..]);
            }
            if line.socket.send_to(&packet, line.remote).is_ok() {
                outcome.counts.sent += 1;
            }
        }
        frame += 1;
    }
    drain(&mut lines, &mut outcome);
    outcome
}

fn drain(lines: &mut [Line], outcome: &mut Outcome) {
    let mut buffer = [0; 2048];
    for line in lines {
        while let Ok((length, _)) = line.socket.recv_from(&mut buffer) {
            outcome.counts.received += 1;
            if let Some(age) = buffer.get(12..length).and_then(pulse::age) {
                outcome.pulses.1 += 1;
                outcome.echo.record(age);
            }
        }
    }
}
