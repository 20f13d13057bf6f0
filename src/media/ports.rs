//! Even/odd UDP port pairs (RFC 3550 §11) of the configured range.
//!
//! Pairs are handed out in turn, so a port that was given back rests as long as the range allows, and never less
//! than [`REST`]: late packets of the old call must not reach the new one.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long a pair rests before it is handed out again.
pub const REST: Duration = Duration::from_secs(2);

/// The free pairs, named by their even port.
#[derive(Debug)]
pub struct PortPairs {
    fresh: VecDeque<u16>,
    resting: VecDeque<(u16, Instant)>,
}

impl PortPairs {
    /// Pairs that lie wholly in `first..=last`, beginning `offset` pairs into the range (a random start keeps ports
    /// from being guessed and two processes from trying the same ones).
    pub fn new(first: u16, last: u16, offset: usize) -> PortPairs {
        let mut fresh: VecDeque<u16> =
            (first..=last).filter(|port| *port > 0 && port.is_multiple_of(2) && *port < last).collect();
        if !fresh.is_empty() {
            let turns = offset % fresh.len();
            fresh.rotate_left(turns);
        }
        PortPairs { fresh, resting: VecDeque::new() }
    }

    /// The pair that has rested longest; `None` when all are in use or too young.
    pub fn take(&mut self, now: Instant) -> Option<u16> {
        if let Some(port) = self.fresh.pop_front() {
            return Some(port);
        }
        let &(port, since) = self.resting.front()?;
        (now.saturating_duration_since(since) >= REST).then(|| {
            self.resting.pop_front();
            port
        })
    }

    /// Gives a pair back.
    pub fn give_back(&mut self, port: u16, now: Instant) {
        self.resting.push_back((port, now));
    }

    /// Pairs that are not in use.
    pub fn free(&self) -> usize {
        self.fresh.len() + self.resting.len()
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    #[test]
    fn hands_out_even_ports_whose_odd_neighbour_is_in_the_range() {
        let now = Instant::now();
        let mut pairs = PortPairs::new(20_001, 20_006, 0);
        assert_eq!([pairs.take(now), pairs.take(now), pairs.take(now)], [Some(20_002), Some(20_004), None]);
        assert_eq!(PortPairs::new(65_534, 65_535, 3).take(now), Some(65_534));
        assert_eq!(PortPairs::new(9, 5, 1).take(now), None);
    }

    #[test]
    fn a_port_given_back_is_the_last_to_come_again_and_rests() {
        let now = Instant::now();
        let mut pairs = PortPairs::new(20_000, 20_005, 1);
        let first = pairs.take(now).unwrap();
        assert_eq!(first, 20_002);
        pairs.give_back(first, now);
        assert_eq!([pairs.take(now), pairs.take(now), pairs.take(now)], [Some(20_004), Some(20_000), None]);
        assert_eq!(pairs.take(now + REST), Some(first));
        assert_eq!(pairs.free(), 0);
    }
}
