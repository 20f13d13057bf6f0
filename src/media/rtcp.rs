//! RTCP (RFC 3550 §6): sender and receiver reports, source description, goodbye; round trip from them.

use std::time::{Duration, Instant};

use crate::clock::UtcTime;

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const GOODBYE: u8 = 203;
const CNAME: u8 = 1;
/// Longest compound packet that [`Report::write`] makes.
pub const MAX_PACKET: usize = 128;
/// Seconds from 1900 (NTP) to 1970 (Unix).
const NTP_OFFSET: u64 = 2_208_988_800;

/// One report block (RFC 3550 §6.4.1): what a receiver says of one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Block {
    pub ssrc: u32,
    /// Loss since the previous report, in 256ths.
    pub fraction_lost: u8,
    /// Packets lost since the beginning; negative with duplicates. 24 bits on the wire.
    pub lost: i32,
    pub highest_sequence: u32,
    /// Timestamp units.
    pub jitter: u32,
    /// Middle 32 bits of the last sender report's NTP time; 0 = none came.
    pub last_report: u32,
    /// Since that report came, in 65,536ths of a second.
    pub delay: u32,
}

/// What a sender says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderInfo {
    /// NTP time, 32.32 fixed point.
    pub ntp: u64,
    /// The same instant on the RTP clock.
    pub timestamp: u32,
    pub packets: u32,
    pub octets: u32,
}

/// A compound packet of ours: report, CNAME, and a goodbye at the end of the stream.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    pub ssrc: u32,
    /// Present when we have sent since the last report.
    pub sender: Option<SenderInfo>,
    pub block: Option<Block>,
    /// Canonical name; at most 32 octets are sent.
    pub cname: &'a str,
    pub goodbye: bool,
}

impl Report<'_> {
    /// Writes the compound packet to `out`; returns its length.
    pub fn write(&self, out: &mut [u8; MAX_PACKET]) -> usize {
        let mut writer = Writer { out, length: 0 };
        let blocks = u8::from(self.block.is_some());
        let kind = if self.sender.is_some() { SENDER_REPORT } else { RECEIVER_REPORT };
        writer.section(blocks, kind, |w| {
            w.put(&self.ssrc.to_be_bytes());
            if let Some(sender) = self.sender {
                w.put(&sender.ntp.to_be_bytes());
                [sender.timestamp, sender.packets, sender.octets].iter().for_each(|word| w.put(&word.to_be_bytes()));
            }
            if let Some(block) = self.block {
                w.put(&block.write());
            }
        });
        writer.section(1, SOURCE_DESCRIPTION, |w| {
            let name = &self.cname.as_bytes()[..self.cname.len().min(32)];
            w.put(&self.ssrc.to_be_bytes());
            w.put(&[CNAME, name.len() as u8]);
            w.put(name);
            // At least one zero octet ends the list of items.
            w.put(&[0, 0, 0, 0][..4 - (2 + name.len()) % 4]);
        });
        if self.goodbye {
            writer.section(1, GOODBYE, |w| w.put(&self.ssrc.to_be_bytes()));
        }
        writer.length
    }
}

/// Room is guaranteed by [`MAX_PACKET`]: 28 + 24 + 4 + 4 + 2 + 32 + 4 + 8 = 106.
struct Writer<'a> {
    out: &'a mut [u8; MAX_PACKET],
    length: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) {
        if let Some(room) = self.out.get_mut(self.length..self.length + bytes.len()) {
            room.copy_from_slice(bytes);
            self.length += bytes.len();
        }
    }

    fn section(&mut self, count: u8, kind: u8, body: impl FnOnce(&mut Self)) {
        let start = self.length;
        self.put(&[0x80 | count, kind, 0, 0]);
        body(self);
        let words = ((self.length - start) / 4).saturating_sub(1) as u16;
        self.out[start + 2..start + 4].copy_from_slice(&words.to_be_bytes());
    }
}

impl Block {
    fn write(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        let lost = self.lost.clamp(-0x80_0000, 0x7F_FFFF).to_be_bytes();
        bytes[..4].copy_from_slice(&self.ssrc.to_be_bytes());
        bytes[4..8].copy_from_slice(&[self.fraction_lost, lost[1], lost[2], lost[3]]);
        let words = [self.highest_sequence, self.jitter, self.last_report, self.delay];
        for (room, word) in bytes[8..].chunks_exact_mut(4).zip(words) {
            room.copy_from_slice(&word.to_be_bytes());
        }
        bytes
    }

    fn read(bytes: &[u8]) -> Option<Block> {
        let lost = word(bytes, 4)?;
        Some(Block {
            ssrc: word(bytes, 0)?,
            fraction_lost: (lost >> 24) as u8,
            lost: ((lost << 8) as i32) >> 8,
            highest_sequence: word(bytes, 8)?,
            jitter: word(bytes, 12)?,
            last_report: word(bytes, 16)?,
            delay: word(bytes, 20)?,
        })
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.first_chunk::<4>().map(|word| u32::from_be_bytes(*word))
}

/// What a compound packet of the peer held that matters to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Heard {
    /// Source and NTP time of a sender report.
    pub sender: Option<(u32, u64)>,
    /// The block about our own source.
    pub about_us: Option<Block>,
    pub goodbye: bool,
}

/// Reads a compound packet; `None` when it is not valid RTCP (RFC 3550 A.2). Sections of other kinds are skipped.
pub fn read(datagram: &[u8], our_ssrc: u32) -> Option<Heard> {
    let mut heard = Heard::default();
    let mut rest = datagram;
    let mut first = true;
    while !rest.is_empty() {
        let &[flags, kind, high, low] = rest.first_chunk::<4>()?;
        let length = 4 * (usize::from(u16::from_be_bytes([high, low])) + 1);
        let section = rest.get(..length)?;
        if flags >> 6 != 2 || (first && !matches!(kind, SENDER_REPORT | RECEIVER_REPORT)) {
            return None;
        }
        let blocks = match kind {
            SENDER_REPORT => {
                let ntp = (u64::from(word(section, 8)?) << 32) | u64::from(word(section, 12)?);
                heard.sender = Some((word(section, 4)?, ntp));
                section.get(28..)?
            }
            RECEIVER_REPORT => section.get(8..)?,
            _ => &[],
        };
        heard.goodbye |= kind == GOODBYE;
        let count = usize::from(flags & 0x1F);
        let about_us = blocks.chunks_exact(24).take(count).filter_map(Block::read).find(|block| block.ssrc == our_ssrc);
        heard.about_us = heard.about_us.or(about_us);
        rest = &rest[length..];
        first = false;
    }
    (!first).then_some(heard)
}

/// NTP time that moves with the monotonic clock: set once per leg, so that a correction of the wall clock does not
/// bend round-trip times.
#[derive(Debug, Clone, Copy)]
pub struct NtpClock {
    start: Instant,
    ntp: u64,
}

impl NtpClock {
    pub fn new(start: Instant, utc: UtcTime) -> NtpClock {
        let milliseconds = utc.0.max(0).unsigned_abs();
        let ntp = ((milliseconds / 1_000 + NTP_OFFSET) << 32) | (((milliseconds % 1_000) << 32) / 1_000);
        NtpClock { start, ntp }
    }

    /// 32.32 fixed point.
    pub fn at(&self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.start);
        let fraction = (u64::from(passed.subsec_nanos()) << 32) / 1_000_000_000;
        self.ntp.wrapping_add((passed.as_secs() << 32) | fraction)
    }
}

/// Middle 32 bits of an NTP time: 65,536ths of a second.
pub fn middle(ntp: u64) -> u32 {
    (ntp >> 16) as u32
}

/// Round trip from a report block about us that came at NTP time `now` (RFC 3550 §6.4.1); `None` when the peer has
/// not yet had a report of ours, or when its numbers make no sense.
pub fn round_trip(block: Block, now: u64) -> Option<Duration> {
    if block.last_report == 0 {
        return None;
    }
    let units = middle(now).wrapping_sub(block.last_report).wrapping_sub(block.delay);
    // More than a minute, or negative: clocks that lie.
    (units < 60 << 16).then(|| Duration::from_nanos((u64::from(units) * 1_000_000_000) >> 16))
}

/// When to send the next report: 5 s ± half of it (RFC 3550 §6.2, §6.3.1); `random` is 0 to 1.
pub fn interval(random: f64) -> Duration {
    Duration::from_millis(2_500) + Duration::from_secs_f64(5.0 * random.clamp(0.0, 1.0))
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BLOCK: Block = Block {
        ssrc: 42,
        fraction_lost: 12,
        lost: -3,
        highest_sequence: 0x0001_FFFF,
        jitter: 17,
        last_report: 0x1234_5678,
        delay: 65_536,
    };
    const SENDER: SenderInfo = SenderInfo { ntp: 0x0102_0304_0506_0708, timestamp: 9, packets: 10, octets: 1_600 };

    fn written(report: Report<'_>) -> Vec<u8> {
        let mut out = [0; MAX_PACKET];
        let length = report.write(&mut out);
        out[..length].to_vec()
    }

    #[test]
    fn reads_what_it_writes() {
        for cname in ["", "a", "abc", "box-1234", &"x".repeat(99)] {
            let wire = written(Report { ssrc: 7, sender: Some(SENDER), block: Some(BLOCK), cname, goodbye: true });
            assert_eq!(wire.len() % 4, 0);
            let heard = read(&wire, 42).unwrap();
            assert_eq!(heard, Heard { sender: Some((7, SENDER.ntp)), about_us: Some(BLOCK), goodbye: true });
            assert_eq!(read(&wire, 43).unwrap().about_us, None);
        }
    }

    #[test]
    fn a_receiver_report_has_the_octets_of_the_standard() {
        let wire = written(Report { ssrc: 1, sender: None, block: None, cname: "ab", goodbye: false });
        assert_eq!(wire, [0x80, 201, 0, 1, 0, 0, 0, 1, 0x81, 202, 0, 3, 0, 0, 0, 1, 1, 2, b'a', b'b', 0, 0, 0, 0]);
    }

    #[test]
    fn refuses_what_is_not_rtcp() {
        assert_eq!(read(&[], 1), None);
        assert_eq!(read(&[0x80, 201, 0, 9, 0, 0, 0, 1], 1), None);
        assert_eq!(read(&[0x40, 201, 0, 1, 0, 0, 0, 1], 1), None);
        assert_eq!(read(&[0x80, 203, 0, 0], 1), None);
        assert_eq!(read(&[0x80, 200, 0, 1, 0, 0, 0, 1], 1), None);
    }

    #[test]
    fn round_trip_is_what_is_left_of_the_way_there_and_back() {
        let start = Instant::now();
        let clock = NtpClock::new(start, UtcTime(1_700_000_000_500));
        let sent = clock.at(start + Duration::from_secs(3));
        let block = Block { last_report: middle(sent), delay: 65_536 / 2, ..BLOCK };
        let came = clock.at(start + Duration::from_millis(3_580));
        let trip = round_trip(block, came).unwrap();
        assert!(trip.abs_diff(Duration::from_millis(80)) < Duration::from_millis(1), "{trip:?}");
        assert_eq!(round_trip(Block { last_report: 0, ..block }, came), None);
        assert_eq!(round_trip(Block { delay: 10 << 16, ..block }, came), None);
    }

    #[test]
    fn ntp_time_of_a_known_date() {
        let now = Instant::now();
        let clock = NtpClock::new(now, UtcTime(500));
        assert_eq!(clock.at(now), (2_208_988_800 << 32) | (1 << 31));
    }

    proptest! {
        #[test]
        fn no_datagram_panics(bytes in proptest::collection::vec(any::<u8>(), 0..120), flags in 0x80u8..0x90) {
            let mut bytes = bytes;
            if let [first, second, third, ..] = bytes.as_mut_slice() {
                (*first, *second, *third) = (flags, 200 + *second % 4, 0);
            }
            let _ = read(&bytes, 1);
        }
    }
}
