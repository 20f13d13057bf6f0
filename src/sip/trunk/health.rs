//! Whether a trunk lives, by OPTIONS (RFC 3261 §11), with hysteresis: one lost packet takes nothing out, one lucky one
//! brings nothing back. Pure.
//!
//! | State | Input | Next |
//! |---|---|---|
//! | Unproven | a good answer | Up |
//! | Unproven, Up | failure, fewer than [`FAILURES`] in a row | as it was |
//! | Unproven, Up | failure number [`FAILURES`] | Down |
//! | Up | a good answer | Up, the count begins anew |
//! | Down | a good answer, fewer than [`RECOVERIES`] in a row | Down |
//! | Down | good answer number [`RECOVERIES`] | Up |
//! | Down | a failure | Down, the count begins anew |
//!
//! Any final answer is good but 408 and 503: a trunk that refuses OPTIONS lives, too.

use std::time::{Duration, Instant};

pub struct Health {
    every: Duration,
    state: State,
    /// `None` before the beginning and while a question is under way.
    next: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Unproven { failures: u32 },
    Up { failures: u32 },
    Down { answers: u32 },
}

/// Failures in a row that take a trunk out.
pub const FAILURES: u32 = 3;
/// Answers in a row that bring it back.
pub const RECOVERIES: u32 = 2;

impl Health {
    pub fn new(every: Duration) -> Health {
        Health { every, state: State::Unproven { failures: 0 }, next: None }
    }

    pub fn begin(&mut self, now: Instant) {
        self.next = Some(now);
    }

    /// Nothing is asked any more.
    pub fn end(&mut self) {
        self.next = None;
    }

    pub fn wake_at(&self) -> Option<Instant> {
        self.next
    }

    /// Whether OPTIONS is to be sent now.
    pub fn tick(&mut self, now: Instant) -> bool {
        let due = self.next.is_some_and(|at| now >= at);
        if due {
            self.next = None;
        }
        due
    }

    /// Whether that answer shows a living trunk.
    pub fn is_good(code: u16) -> bool {
        !matches!(code, 408 | 503)
    }

    /// The outcome of a question; `true` when the trunk went down or came back by it.
    pub fn heard(&mut self, good: bool, now: Instant) -> bool {
        self.next = Some(now + self.every);
        let was_down = self.is_down();
        self.state = match (self.state, good) {
            (State::Unproven { .. } | State::Up { .. }, true) => State::Up { failures: 0 },
            (State::Unproven { failures } | State::Up { failures }, false) if failures + 1 >= FAILURES => {
                State::Down { answers: 0 }
            }
            (State::Unproven { failures }, false) => State::Unproven { failures: failures + 1 },
            (State::Up { failures }, false) => State::Up { failures: failures + 1 },
            (State::Down { answers }, true) if answers + 1 >= RECOVERIES => State::Up { failures: 0 },
            (State::Down { answers }, true) => State::Down { answers: answers + 1 },
            (State::Down { .. }, false) => State::Down { answers: 0 },
        };
        was_down != self.is_down()
    }

    pub fn is_down(&self) -> bool {
        matches!(self.state, State::Down { .. })
    }

    pub fn state(&self) -> State {
        self.state
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    fn after(outcomes: &str) -> State {
        let now = Instant::now();
        let mut health = Health::new(Duration::from_secs(30));
        for outcome in outcomes.chars() {
            health.heard(outcome == '+', now);
        }
        health.state()
    }

    #[test]
    fn the_rows_of_the_table() {
        for (outcomes, state) in [
            ("", State::Unproven { failures: 0 }),
            ("+", State::Up { failures: 0 }),
            ("--", State::Unproven { failures: 2 }),
            ("---", State::Down { answers: 0 }),
            ("+--", State::Up { failures: 2 }),
            ("+--+--", State::Up { failures: 2 }),
            ("+---", State::Down { answers: 0 }),
            ("---+", State::Down { answers: 1 }),
            ("---+-+", State::Down { answers: 1 }),
            ("---++", State::Up { failures: 0 }),
        ] {
            assert_eq!(after(outcomes), state, "{outcomes}");
        }
    }

    #[test]
    fn one_question_at_a_time_and_a_change_is_told_once() {
        let now = Instant::now();
        let mut health = Health::new(Duration::from_secs(30));
        health.begin(now);
        assert!(health.tick(now) && !health.tick(now + Duration::from_secs(99)));
        assert!(!health.heard(true, now) && health.wake_at() == Some(now + Duration::from_secs(30)));
        assert_eq!([false, false, false, false].map(|good| health.heard(good, now)), [false, false, true, false]);
        assert_eq!([true, true, true].map(|good| health.heard(good, now)), [false, true, false]);
        assert!(Health::is_good(200) && Health::is_good(405) && !Health::is_good(503) && !Health::is_good(408));
    }
}
