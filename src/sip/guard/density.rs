//! How many requests strangers send, by host, network, region and all together, in memory that never grows.
//!
//! | Level | IPv4 | IPv6 | A second | At once |
//! |---|---|---|---|---|
//! | host | /32 | /64 | 40 | 200 |
//! | network | /24 | /48 | 200 | 600 |
//! | region | /16 | /32 | 1,000 | 2,000 |
//! | everybody | – | – | 2,000 | 4,000 |
//!
//! A tree of prefixes would need a node for each prefix seen, and whoever forges sources chooses how many are seen: it
//! can be filled, and what is thrown out then is for the attacker to choose. This is a count-min sketch instead: two
//! rows of leaky buckets, each prefix in one bucket of each row, under a hash that nobody outside can foresee. The
//! fuller bucket may hold others' requests, the emptier one is believed, so a prefix is never counted too low and
//! hardly ever too high: a quiet stranger is refused with k loud ones about with the chance (k/[`COLUMNS`])². Forged
//! sources all over the address space fill no host's bucket; the last row of the table stops those.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

pub struct Density {
    /// The first request.
    start: Option<Instant>,
    hash: RandomState,
    /// Both rows, one after the other: when each bucket will be empty, microseconds after the first request.
    empty_at: Vec<u64>,
    all_empty_at: u64,
}

/// Which bound was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Host,
    Network,
    Region,
    Everybody,
}

/// Buckets in one row.
pub const COLUMNS: usize = 16_384;

#[derive(Clone, Copy)]
struct Bound {
    level: Level,
    bits_v4: u32,
    bits_v6: u32,
    /// Microseconds that one request takes to drain.
    drain: u64,
    /// Requests that fit at once.
    burst: u64,
}

const BOUNDS: [Bound; 3] = [
    Bound { level: Level::Host, bits_v4: 32, bits_v6: 64, drain: 25_000, burst: 200 },
    Bound { level: Level::Network, bits_v4: 24, bits_v6: 48, drain: 5_000, burst: 600 },
    Bound { level: Level::Region, bits_v4: 16, bits_v6: 32, drain: 1_000, burst: 2_000 },
];
const ALL: Bound = Bound { level: Level::Everybody, bits_v4: 0, bits_v6: 0, drain: 500, burst: 4_000 };

impl Default for Density {
    fn default() -> Density {
        Density::new()
    }
}

impl Density {
    pub fn new() -> Density {
        Density { start: None, hash: RandomState::new(), empty_at: vec![0; 2 * COLUMNS], all_empty_at: 0 }
    }

    /// Counts a request of `source`; names the first bound that it is beyond. What is refused is not counted, so a loud
    /// source still has its share, and its neighbours theirs.
    pub fn take(&mut self, source: IpAddr, now: Instant) -> Result<(), Level> {
        let start = *self.start.get_or_insert(now);
        let now = u64::try_from(now.saturating_duration_since(start).as_micros()).unwrap_or(u64::MAX);
        let places = BOUNDS.map(|bound| self.places(prefix(source, bound)));
        let fill = |density: &Density, places: [usize; 2]| {
            let [first, second] = places.map(|place| density.empty_at.get(place).copied().unwrap_or_default());
            first.min(second).max(now)
        };
        for (bound, places) in BOUNDS.into_iter().zip(places) {
            if bound.is_full(fill(self, places), now) {
                return Err(bound.level);
            }
        }
        if ALL.is_full(self.all_empty_at.max(now), now) {
            return Err(ALL.level);
        }
        for (bound, places) in BOUNDS.into_iter().zip(places) {
            let next = fill(self, places).saturating_add(bound.drain);
            for place in places {
                if let Some(bucket) = self.empty_at.get_mut(place) {
                    *bucket = next.max(*bucket);
                }
            }
        }
        self.all_empty_at = self.all_empty_at.max(now).saturating_add(ALL.drain);
        Ok(())
    }

    /// One bucket in each row.
    fn places(&self, prefix: (u8, u128)) -> [usize; 2] {
        let hash = self.hash.hash_one(prefix);
        let column = |bits: u64| usize::try_from(bits % COLUMNS as u64).unwrap_or_default();
        [column(hash & 0xffff_ffff), COLUMNS + column(hash >> 32)]
    }
}

impl Bound {
    fn is_full(self, empty_at: u64, now: u64) -> bool {
        empty_at.saturating_sub(now) > self.drain * (self.burst - 1)
    }
}

/// What a source counts under: its kind and length, and its leading bits.
fn prefix(source: IpAddr, bound: Bound) -> (u8, u128) {
    match source.to_canonical() {
        IpAddr::V4(ip) => (bound.bits_v4 as u8, u128::from(ip.to_bits() >> (32 - bound.bits_v4))),
        IpAddr::V6(ip) => (128 | bound.bits_v6 as u8, ip.to_bits() >> (128 - bound.bits_v6)),
    }
}

/// A single leaky bucket, for what needs no sketch.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bucket {
    empty_at: Option<Instant>,
}

impl Bucket {
    /// Whether one more fits into `burst`, each of which takes `drain` to leave.
    pub fn take(&mut self, drain: Duration, burst: u32, now: Instant) -> bool {
        let empty_at = self.empty_at.map_or(now, |at| at.max(now));
        if empty_at.saturating_duration_since(now) > drain * (burst.max(1) - 1) {
            return false;
        }
        self.empty_at = Some(empty_at + drain);
        true
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    fn v4(number: u32) -> IpAddr {
        IpAddr::from(number.to_be_bytes())
    }

    fn passed(density: &mut Density, now: Instant, sources: impl Iterator<Item = IpAddr>) -> usize {
        sources.filter(|source| density.take(*source, now).is_ok()).count()
    }

    #[test]
    fn each_level_lets_its_burst_through_and_then_its_rate() {
        let now = Instant::now();
        type Source = fn(u32) -> IpAddr;
        let cases: [(Source, usize, usize); 4] = [
            (|_| v4(0xc633_6407), 200, 40),
            (|number| v4(0xc633_6400 | (number & 0xff)), 600, 200),
            (|number| v4(0xc633_0000 | (number.wrapping_mul(2_654_435_761) & 0xffff)), 2_000, 1_000),
            (|number| v4(number.wrapping_mul(2_654_435_761)), 4_000, 2_000),
        ];
        for (source, burst, rate) in cases {
            let mut density = Density::new();
            let sources = || (0..20_000).map(source);
            assert_eq!(passed(&mut density, now, sources()), burst);
            let later = passed(&mut density, now + Duration::from_secs(1), sources());
            assert_eq!(later, rate);
        }
    }

    #[test]
    fn a_network_of_ipv6_is_one_host_and_a_site_one_network() {
        let now = Instant::now();
        let site =
            |number: u32| -> IpAddr { format!("2001:db8:7:{:x}::{number:x}", number % 9_000).parse().expect("v6") };
        let mut density = Density::new();
        let host = (0..1_000).map(|number: u32| -> IpAddr { format!("2001:db8:1:2::{number:x}").parse().expect("v6") });
        assert_eq!(passed(&mut density, now, host), 200);
        assert_eq!(passed(&mut density, now, (0..1_000).map(site)), 600);
    }

    #[test]
    fn a_quiet_stranger_passes_beside_a_flood_of_a_thousand_loud_hosts() {
        let start = Instant::now();
        let mut density = Density::new();
        let (mut refused, mut asked) = (0, 0);
        for tick in 0..1_000_u32 {
            let now = start + Duration::from_millis(u64::from(tick) * 10);
            // Ten loud hosts in ten networks of ten regions, all beyond their own bound, together below everybody's.
            for loud in 0..10 {
                let _ = density.take(v4(loud << 24 | loud << 16 | 1), now);
            }
            if tick % 10 == 0 {
                asked += 1;
                refused += usize::from(density.take(v4(0xcb00_7105), now).is_err());
            }
        }
        assert_eq!((asked, refused), (100, 0));
    }

    #[test]
    fn the_memory_is_the_same_after_a_million_sources() {
        let now = Instant::now();
        let mut density = Density::new();
        let before = density.empty_at.capacity();
        for number in 0..1_000_000_u32 {
            let _ = density.take(v4(number.wrapping_mul(2_654_435_761)), now + Duration::from_micros(number.into()));
        }
        assert_eq!((density.empty_at.len(), density.empty_at.capacity()), (2 * COLUMNS, before));
    }
}
