//! One press, one key, by however many ways it comes: as an event, as a tone in the sound, and told by the signalling
//! (INFO). Gateways send the same press by two of them, and the second may come much later: an INFO often leaves when the
//! key is let go, and is repeated when it is lost.
//!
//! So each press is paired with what comes of it by the other ways, one by one: two quick presses of a key are two, told
//! twice they are still two.
//!
//! | Phone so far | A key comes, and | Counts |
//! |---|---|---|
//! | has sent events | it is a tone | no: the sound is the same key again, or speech |
//! | any | the oldest press of it within the window has not come this way yet | no: it is that press |
//! | any | otherwise | yes |
//!
//! The window is [`WINDOW`], and [`LONG_WINDOW`] once a press has come by two ways: then a twin of each is to be expected.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(2);
/// An INFO that is lost twice comes after 1.5 s (RFC 3261 §17.1.2.2), one whose key was held down after seconds.
const LONG_WINDOW: Duration = Duration::from_secs(8);
/// Presses that are remembered.
const REMEMBERED: usize = 32;

/// How a key comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Event,
    Tone,
    Signalling,
}

/// The last presses of one phone.
#[derive(Debug, Default)]
pub struct Presses {
    recent: VecDeque<Press>,
    events_came: bool,
    /// A press has come by two ways.
    doubles: bool,
}

#[derive(Debug)]
struct Press {
    key: char,
    at: Instant,
    ways: [bool; 3],
}

impl Presses {
    /// Whether `key`, which comes by `way`, is a new press.
    pub fn admit(&mut self, key: char, way: Way, now: Instant) -> bool {
        self.note(way);
        if way == Way::Tone && self.events_came {
            return false;
        }
        let window = if self.doubles { LONG_WINDOW } else { WINDOW };
        self.recent.retain(|press| now.saturating_duration_since(press.at) < window);
        let known = self.recent.iter_mut().find(|press| press.key == key && !press.has_come(way));
        if let Some(press) = known {
            press.comes(way);
            self.doubles = true;
            return false;
        }
        if self.recent.len() >= REMEMBERED {
            self.recent.pop_front();
        }
        let mut press = Press { key, at: now, ways: [false; 3] };
        press.comes(way);
        self.recent.push_back(press);
        true
    }

    /// Something came by `way`, whether or not it is a key of the phone.
    pub fn note(&mut self, way: Way) {
        self.events_came |= way == Way::Event;
    }
}

impl Press {
    fn has_come(&self, way: Way) -> bool {
        self.ways.get(way as usize).copied().unwrap_or_default()
    }

    fn comes(&mut self, way: Way) {
        if let Some(come) = self.ways.get_mut(way as usize) {
            *come = true;
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use Way::{Event, Signalling, Tone};

    /// What counts of keys that come at so many milliseconds.
    fn counted(keys: &[(u64, char, Way)]) -> String {
        let (start, mut presses) = (Instant::now(), Presses::default());
        let admitted = |(at, key, way): &(u64, char, Way)| {
            presses.admit(*key, *way, start + Duration::from_millis(*at)).then_some(*key)
        };
        keys.iter().filter_map(admitted).collect()
    }

    #[test]
    fn walks_the_table() {
        let rows: &[(&[(u64, char, Way)], &str)] = &[
            // One way: each press counts.
            (&[(0, '5', Event), (180, '5', Event), (360, '5', Event)], "555"),
            (&[(0, '5', Signalling), (180, '5', Signalling)], "55"),
            (&[(0, '1', Tone), (180, '1', Tone)], "11"),
            // Two ways, in either order.
            (&[(0, '5', Event), (20, '5', Signalling)], "5"),
            (&[(0, '5', Signalling), (400, '5', Event)], "5"),
            (&[(0, '5', Tone), (400, '5', Signalling)], "5"),
            // Two quick presses, told twice, in two orders.
            (&[(0, '5', Event), (90, '5', Signalling), (180, '5', Event), (270, '5', Signalling)], "55"),
            (&[(0, '5', Event), (180, '5', Event), (190, '5', Signalling), (280, '5', Signalling)], "55"),
            (&[(0, '1', Signalling), (10, '2', Signalling), (300, '1', Event), (480, '2', Event)], "12"),
            // Three ways.
            (&[(0, '9', Tone), (40, '9', Event), (60, '9', Signalling), (500, '9', Event)], "99"),
            // Beyond the window it is another press, unless a twin is expected.
            (&[(0, '5', Event), (2_500, '5', Signalling)], "55"),
            (&[(0, '1', Event), (50, '1', Signalling), (3_000, '5', Event), (5_500, '5', Signalling)], "15"),
            (&[(0, '1', Event), (50, '1', Signalling), (3_000, '5', Event), (11_500, '5', Signalling)], "155"),
            // After an event, tones are the same keys again, or speech.
            (&[(0, '5', Event), (10_000, '7', Tone)], "5"),
            (&[(0, '7', Tone), (10_000, '5', Event), (20_000, '7', Tone)], "75"),
            // A way that lost one: the other has it.
            (&[(0, '1', Event), (20, '1', Signalling), (300, '2', Signalling), (600, '3', Event)], "123"),
        ];
        for (keys, expected) in rows {
            assert_eq!(counted(keys), *expected, "{keys:?}");
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (now, mut presses) = (Instant::now(), Presses::default());
        for _ in 0..10_000 {
            assert!(presses.admit('1', Event, now));
        }
        assert_eq!(presses.recent.len(), REMEMBERED);
    }

    proptest! {
        /// Whatever is pressed at a person's pace and however late its twins come within the window: each press counts
        /// once.
        #[test]
        fn each_press_counts_once(
            keys in proptest::collection::vec((0u8..3, 80u64..600, 0u64..1_900), 1..25),
            first in prop::bool::ANY,
        ) {
            let (early, late) = if first { (Event, Signalling) } else { (Signalling, Event) };
            let (mut at, mut due, mut all, mut expected) = (0, 0, Vec::new(), String::new());
            for (key, pause, skew) in keys {
                let key = char::from(b'1' + key);
                at += pause;
                // Each way keeps its order.
                due = due.max(at + skew);
                all.push((at, key, early));
                all.push((due, key, late));
                expected.push(key);
            }
            all.sort_by_key(|(at, _, way)| (*at, *way == late));
            // A pile of late twins may go beyond the window; that is no press of a person.
            prop_assume!(all.iter().filter(|(_, _, way)| *way == late).zip(all.iter().filter(|(_, _, way)| *way == early))
                .all(|(twin, press)| twin.0 - press.0 < 2_000));
            prop_assert_eq!(counted(&all), expected);
        }
    }
}
