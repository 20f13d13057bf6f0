//! Whole lives of calls in virtual time: the machine among collaborators that do anything in any order.
//!
//! Whatever comes, a call settles each attempt exactly once, does nothing after its final outcome but end its SIP leg,
//! is never tried more often than it may be, and is over soon after somebody hangs it up.

use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::machine::{Action, Event, Settlement, State, Terms, Wait, step};
use super::record::{CallStatus, Direction, EndedBy};
use crate::directory::DialVerdict;
use crate::sip::endpoint::CallFailure;

const RUNS: u64 = 20_000;
/// More steps than any life takes: the longest is bounded by deadlines.
const STEPS: usize = 400;

struct Life {
    seed: u64,
    random: SmallRng,
    now: Instant,
    terms: Terms,
    state: State,
    attempts: u32,
    settled_attempts: u32,
    released: u32,
    outcome: Option<(CallStatus, EndedBy)>,
    hung_up: Option<Instant>,
    leg: Leg,
}

/// The virtual SIP leg: up from the INVITE (or our 200) until it ends or is asked to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leg {
    None,
    Up,
    Ending,
}

impl Life {
    fn new(seed: u64) -> Life {
        let mut random = SmallRng::seed_from_u64(seed);
        let inbound = random.random_ratio(1, 4);
        let direction = if inbound { Direction::Inbound } else { Direction::Outbound };
        let terms = Terms {
            direction,
            retries_left: if inbound { 0 } else { random.random_range(0..4) },
            retry_delay: Duration::from_secs(60),
            max_duration: Duration::from_secs(random.random_range(10..600)),
            quiet_limit: Duration::from_secs(120),
            goodbye: Duration::from_secs(5),
            setup_limit: Duration::from_secs(115),
            closing_limit: Duration::from_secs(35),
        };
        #[allow(clippy::disallowed_methods)]
        let now = Instant::now();
        let state = if inbound { State::answering(&terms, now) } else { State::Waiting(Wait::Queued) };
        Life {
            seed,
            random,
            now,
            terms,
            state,
            attempts: u32::from(inbound),
            settled_attempts: 0,
            released: 0,
            outcome: None,
            hung_up: None,
            leg: if inbound { Leg::Up } else { Leg::None },
        }
    }

    fn live(mut self) -> (CallStatus, u32) {
        let allowed = self.terms.retries_left + 1;
        for _ in 0..STEPS {
            if let (State::Gone, Some((status, _))) = (&self.state, self.outcome) {
                assert_eq!(self.settled_attempts, self.attempts, "seed {}", self.seed);
                assert_eq!(self.released, self.settled_attempts, "seed {}", self.seed);
                assert!(self.attempts <= allowed, "seed {}: {} attempts of {allowed}", self.seed, self.attempts);
                return (status, self.attempts);
            }
            self.pass_time();
            let event = self.anything();
            self.feed(event);
        }
        panic!("seed {}: still {:?} after {STEPS} events", self.seed, self.state);
    }

    /// Time passes, now and then up to just after the next deadline.
    fn pass_time(&mut self) {
        if self.random.random_ratio(1, 3)
            && let Some(deadline) = self.state.deadline(&self.terms)
        {
            self.now = self.now.max(deadline);
            self.feed(Event::Tick);
        } else {
            self.now += Duration::from_millis(self.random.random_range(0..3000));
        }
    }

    fn anything(&mut self) -> Event {
        let codes = [300, 401, 404, 408, 480, 486, 487, 488, 500, 503, 600, 603, 607];
        match self.random.random_range(0..26) {
            0..=3 => Event::Line,
            4 => Event::Due,
            5 => Event::Ringing,
            6..=8 => Event::Answered,
            9 | 10 => {
                let code = codes[self.random.random_range(0..codes.len())];
                Event::Rejected { code, cause: None, reason: String::new(), another: self.random.random() }
            }
            11 => Event::Failed { failure: CallFailure::TrunkSilent, another: self.random.random() },
            12 => Event::Failed { failure: CallFailure::NoAnswer, another: self.random.random() },
            13 => Event::PeerLeft,
            14 => Event::Lost,
            15 => Event::Left,
            16 => Event::EmptyRoom,
            17 => Event::LegLost,
            18 => Event::Heard,
            19 => Event::AgentDone,
            20 => Event::AgentFailed(String::new()),
            21 => Event::HangUp,
            22 => Event::Stop,
            23 => Event::Unusable(String::new()),
            24 => [Event::Forbidden(DialVerdict::NotWhitelisted), Event::Unready(String::new())]
                [self.random.random_range(0..2)]
            .clone(),
            _ => Event::Tick,
        }
    }

    #[allow(clippy::needless_pass_by_value)]
    fn feed(&mut self, event: Event) {
        let waited = matches!(self.state, State::Waiting(_));
        let was_closing = matches!(self.state, State::Closing { .. });
        let hang_up = event == Event::HangUp && self.state != State::Gone && !was_closing;
        self.end_leg(&event);
        let (state, actions) = step(self.state.clone(), &self.terms, event.clone(), self.now);
        if let Some((status, _)) = self.outcome {
            let allowed = |action: &Action| matches!(action, Action::HangUp | Action::Release);
            assert!(actions.iter().all(allowed), "seed {}: {actions:?} after {status:?}", self.seed);
        }
        self.state = state;
        for action in actions {
            self.perform(&action, &event, waited);
        }
        if hang_up {
            let by = self.outcome.map(|(_, by)| by);
            assert_eq!(by, Some(EndedBy::Api), "seed {}: a hang-up did not end {:?}", self.seed, self.state);
            self.hung_up = Some(self.now);
        }
        if let Some(since) = self.hung_up {
            let limit = self.terms.closing_limit + Duration::from_secs(4);
            let over = self.state == State::Gone || self.now <= since + limit;
            assert!(over, "seed {}: hung up, but still {:?}", self.seed, self.state);
        }
    }

    /// Final events end the leg, whatever the machine makes of them.
    fn end_leg(&mut self, event: &Event) {
        let ends = matches!(
            event,
            Event::Rejected { .. } | Event::Failed { .. } | Event::PeerLeft | Event::Lost | Event::Left
        );
        if ends && !matches!(self.state, State::Waiting(_)) {
            self.leg = Leg::None;
        }
    }

    fn perform(&mut self, action: &Action, event: &Event, waited: bool) {
        match action {
            Action::Invite | Action::NextTrunk => {
                self.attempts += u32::from(*action == Action::Invite);
                self.leg = Leg::Up;
            }
            Action::HangUp if self.leg == Leg::Up => self.leg = Leg::Ending,
            Action::Settle(settlement) => self.settle(settlement, waited),
            Action::Release => self.release(event, waited),
            _ => {}
        }
    }

    fn release(&mut self, event: &Event, waited: bool) {
        self.released += u32::from(!waited);
        // An attempt that is refused by the guard or cannot be prepared has sent no INVITE.
        let never_up = matches!(event, Event::Forbidden(_) | Event::Unready(_));
        assert!(self.leg != Leg::Up || never_up, "seed {}: the SIP leg is left behind by {event:?}", self.seed);
        self.leg = Leg::None;
        if self.outcome.is_none() {
            self.state = State::Waiting(Wait::Retry);
        }
    }

    fn settle(&mut self, settlement: &Settlement, waited: bool) {
        assert!(self.outcome.is_none(), "seed {}: a second outcome", self.seed);
        self.settled_attempts += u32::from(!waited);
        assert!(self.settled_attempts <= self.attempts, "seed {}: an attempt settled twice", self.seed);
        match settlement {
            Settlement::Final(ending) => {
                assert!(ending.status.is_final());
                self.outcome = Some((ending.status, ending.by));
            }
            Settlement::Retry { .. } => {
                assert!(self.terms.retries_left > 0, "seed {}: a retry too many", self.seed);
                self.terms.retries_left -= 1;
            }
        }
    }
}

#[test]
fn every_life_has_exactly_one_final_outcome_whatever_happens() {
    let mut seen = std::collections::HashSet::new();
    let mut most_attempts = 0;
    for seed in 0..RUNS {
        let (status, attempts) = Life::new(seed).live();
        seen.insert(status);
        most_attempts = most_attempts.max(attempts);
    }
    // The runs are worth something only if they reach every final status and every retry.
    assert_eq!(seen.len(), 5, "{seen:?}");
    assert_eq!(most_attempts, 4);
}
