//! How calls are spread over the frame, and times over their percentiles.

use std::collections::BTreeSet;
use std::time::Duration;

use super::line::{PLACES, place};
use super::report::Spread;
use super::rtp::FRAME;

#[test]
fn calls_are_spread_over_the_frame_wherever_their_numbers_begin() {
    for first in [0, 17, 1_000] {
        let places: BTreeSet<Duration> = (first..first + PLACES).map(place).collect();
        assert_eq!(places.len(), PLACES as usize);
        assert!(places.iter().all(|place| *place < FRAME));
        let ten: Vec<Duration> = (first..first + 10).map(place).collect::<BTreeSet<_>>().into_iter().collect();
        let closest = ten.windows(2).map(|pair| pair[1] - pair[0]).min();
        assert!(closest >= Some(Duration::from_micros(900)), "{closest:?}");
    }
}

#[test]
fn percentiles_are_those_of_what_was_recorded() {
    let summary = (1..=1_000).map(Duration::from_millis).collect::<Spread>().summary();
    assert_eq!(summary.count, 1_000);
    for (value, expected) in [(summary.p50_ms, 500.0), (summary.p99_ms, 990.0), (summary.worst_ms, 1_000.0)] {
        assert!((value - expected).abs() < 2.0, "{summary:?}");
    }
}
