//! One call that rings several phones: the first that answers has it.
//!
//! Events of the branches and the owner's wish flow in; what to tell the owner, whom to hang up and when to ring the
//! next phones flows out. A branch is named by whatever the caller names it by.
//!
//! | State | Input | Output | Next |
//! |---|---|---|---|
//! | Ringing | 180 to 183 of a branch | told, its early media only when it is the first branch to have some | Ringing |
//! | Ringing | a key, a reason, an offer of a branch | nothing | same |
//! | Ringing | a branch answers | the others hung up, told | Won |
//! | Ringing | 6xx of a branch | the others hung up, told (RFC 3261 §16.7) | Over |
//! | Ringing | refusal or failure while others ring | kept if it is the best so far | Ringing |
//! | Ringing | the last one's, and phones of lower q wait | those are rung | Ringing |
//! | Ringing | the last one's, and none waits | the best is told | Over |
//! | Ringing | hang up | all hung up, told that it ended | Over |
//! | Won | anything of the winner | told | Won, Over after its last |
//! | Won, Over | anything of another branch | nothing | same |

use crate::sip::event::{CallEvent, CallFailure, EndedBy};

#[derive(Debug)]
pub struct Fork<B> {
    state: State<B>,
}

#[derive(Debug)]
enum State<B> {
    Ringing {
        branches: Vec<B>,
        /// Groups of phones that wait for their turn.
        waiting: usize,
        /// Whose early media is heard.
        early: Option<B>,
        best: Option<Box<CallEvent>>,
    },
    Won(B),
    Over,
}

// Acts live for a moment.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act<B> {
    Tell(CallEvent),
    HangUp(B),
    /// The next group is to be rung and given to [`Fork::ringing`].
    RingNext,
}

impl<B: Copy + PartialEq> Fork<B> {
    /// Before its first phones ring; `groups` of them will.
    pub fn new(groups: usize) -> Fork<B> {
        Fork { state: State::Ringing { branches: Vec::new(), waiting: groups, early: None, best: None } }
    }

    /// The next group rings under these names.
    pub fn ringing(&mut self, group: impl IntoIterator<Item = B>) {
        if let State::Ringing { branches, waiting, .. } = &mut self.state {
            branches.extend(group);
            *waiting = waiting.saturating_sub(1);
        }
    }

    pub fn event(&mut self, branch: B, event: CallEvent) -> Vec<Act<B>> {
        match &mut self.state {
            State::Won(winner) if *winner == branch => {
                if event.is_last() {
                    self.state = State::Over;
                }
                vec![Act::Tell(event)]
            }
            State::Ringing { branches, .. } if branches.contains(&branch) => self.while_ringing(branch, event),
            State::Ringing { .. } | State::Won(_) | State::Over => Vec::new(),
        }
    }

    /// The owner gives up.
    pub fn hang_up(&mut self) -> Vec<Act<B>> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Ringing { branches, .. } => {
                let mut acts: Vec<Act<B>> = branches.into_iter().map(Act::HangUp).collect();
                acts.push(Act::Tell(CallEvent::Ended { by: EndedBy::Us }));
                acts
            }
            State::Won(winner) => {
                self.state = State::Won(winner);
                vec![Act::HangUp(winner)]
            }
            State::Over => Vec::new(),
        }
    }

    /// The branch that has the call.
    pub fn winner(&self) -> Option<B> {
        match self.state {
            State::Won(winner) => Some(winner),
            State::Ringing { .. } | State::Over => None,
        }
    }

    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    fn while_ringing(&mut self, branch: B, event: CallEvent) -> Vec<Act<B>> {
        let State::Ringing { branches, waiting, early, best } = &mut self.state else { return Vec::new() };
        match event {
            CallEvent::Ringing { code, session } => {
                let heard = session.is_none() || *early.get_or_insert(branch) == branch;
                vec![Act::Tell(CallEvent::Ringing { code, session: session.filter(|_| heard) })]
            }
            CallEvent::Answered { .. } => {
                let mut acts = all_but(branches, branch);
                self.state = State::Won(branch);
                acts.push(Act::Tell(event));
                acts
            }
            // Keys, reasons and offers of a phone that only rings belong to nobody's call yet.
            event if !event.is_last() => Vec::new(),
            CallEvent::Rejected { code: 600.., .. } => {
                let mut acts = all_but(branches, branch);
                self.state = State::Over;
                acts.push(Act::Tell(event));
                acts
            }
            event => {
                branches.retain(|other| *other != branch);
                if best.as_ref().is_none_or(|best| rank(&event) < rank(best)) {
                    *best = Some(Box::new(event));
                }
                if !branches.is_empty() {
                    return Vec::new();
                }
                if *waiting > 0 {
                    return vec![Act::RingNext];
                }
                let told = best.take().map(|best| Act::Tell(*best));
                self.state = State::Over;
                told.into_iter().collect()
            }
        }
    }
}

fn all_but<B: Copy + PartialEq>(branches: &[B], one: B) -> Vec<Act<B>> {
    branches.iter().filter(|other| **other != one).map(|other| Act::HangUp(*other)).collect()
}

/// The lowest tells most about the person: busy before away before what only the network said.
fn rank(event: &CallEvent) -> u16 {
    match event {
        CallEvent::Rejected { code: 486, .. } => 0,
        CallEvent::Rejected { code: 408 | 480 | 487, .. } | CallEvent::Failed(CallFailure::NoAnswer) => 1,
        CallEvent::Rejected { code, .. } => *code,
        _ => u16::MAX,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sip::sdp::{AudioCodec, SessionDescription};

    fn ringing() -> CallEvent {
        CallEvent::Ringing { code: 180, session: None }
    }

    fn early() -> CallEvent {
        let session = SessionDescription::offer(1, ([127, 0, 0, 1], 4000).into(), &[AudioCodec::Pcmu]);
        CallEvent::Ringing { code: 183, session: Some(Box::new(session)) }
    }

    fn answered() -> CallEvent {
        CallEvent::Answered { session: None }
    }

    fn rejected(code: u16) -> CallEvent {
        CallEvent::Rejected { code, reason: String::new(), retry_after: None }
    }

    fn ended(by: EndedBy) -> CallEvent {
        CallEvent::Ended { by }
    }

    fn fork(groups: &[&[u8]]) -> Fork<u8> {
        let mut fork = Fork::new(groups.len());
        fork.ringing(groups[0].iter().copied());
        fork
    }

    use Act::{HangUp, RingNext, Tell};

    #[test]
    fn the_first_answer_has_the_call_and_the_others_are_cancelled() {
        let mut fork = fork(&[&[1, 2, 3]]);
        assert_eq!(fork.event(2, ringing()), [Tell(ringing())]);
        for nothing in [CallEvent::Key('1'), CallEvent::Because(Vec::new()), CallEvent::Offer { session: None }] {
            assert_eq!(fork.event(1, nothing), [], "no answer");
        }
        assert_eq!(fork.event(2, answered()), [HangUp(1), HangUp(3), Tell(answered())]);
        assert_eq!(fork.winner(), Some(2));
        assert_eq!(fork.event(1, ended(EndedBy::Us)), []);
        assert_eq!(fork.event(3, answered()), [], "its 2xx crossed: the branch hangs itself up");
        assert_eq!(fork.event(2, CallEvent::Offer { session: None }), [Tell(CallEvent::Offer { session: None })]);
        assert_eq!(fork.hang_up(), [HangUp(2)]);
        assert_eq!(fork.event(2, ended(EndedBy::Us)), [Tell(ended(EndedBy::Us))]);
        assert!(fork.is_over());
    }

    #[test]
    fn a_6xx_speaks_for_all() {
        let mut fork = fork(&[&[1, 2], &[3]]);
        assert_eq!(fork.event(1, rejected(603)), [HangUp(2), Tell(rejected(603))]);
        assert_eq!(fork.event(2, ended(EndedBy::Us)), []);
    }

    #[test]
    fn the_best_refusal_is_told_when_nobody_is_left() {
        let mut fork = fork(&[&[1, 2, 3, 4]]);
        assert_eq!(fork.event(1, rejected(404)), []);
        assert_eq!(fork.event(2, CallEvent::Failed(CallFailure::TrunkSilent)), []);
        assert_eq!(fork.event(3, rejected(486)), []);
        assert_eq!(fork.event(4, CallEvent::Failed(CallFailure::NoAnswer)), [Tell(rejected(486))]);
        assert!(fork.is_over());
        assert_eq!(fork.hang_up(), []);
    }

    #[test]
    fn phones_of_lower_q_ring_when_the_others_are_done() {
        let mut fork = fork(&[&[1], &[2]]);
        assert_eq!(fork.event(1, rejected(480)), [RingNext]);
        fork.ringing([2]);
        assert_eq!(fork.event(2, rejected(404)), [Tell(rejected(480))]);
    }

    #[test]
    fn hanging_up_ends_it_at_once_for_the_owner() {
        let mut fork = fork(&[&[1, 2], &[3]]);
        assert_eq!(fork.hang_up(), [HangUp(1), HangUp(2), Tell(ended(EndedBy::Us))]);
        assert_eq!(fork.event(1, ended(EndedBy::Us)), []);
        assert_eq!(fork.event(2, answered()), []);
    }

    #[test]
    fn early_media_is_that_of_one_phone() {
        let mut fork = fork(&[&[1, 2]]);
        assert_eq!(fork.event(1, early()), [Tell(early())]);
        assert_eq!(fork.event(2, early()), [Tell(CallEvent::Ringing { code: 183, session: None })]);
        assert_eq!(fork.event(1, early()), [Tell(early())]);
    }

    proptest! {
        /// Whatever the phones do: the owner hears one last event at most, exactly one once every phone is done, and
        /// nothing after it; at most one phone keeps the call.
        #[test]
        fn every_fork_has_one_end(steps in proptest::collection::vec((0u8..6, 0u8..6), 0..60), first in 1u8..6) {
            let mut fork = Fork::new(2);
            fork.ringing(0..first);
            let mut rung = first;
            let (mut last, mut done) = (0, std::collections::BTreeSet::new());
            let all: Vec<(u8, u8)> = steps.into_iter().chain((0..12).map(|branch| (branch % 6, 4))).collect();
            for (branch, what) in all {
                if branch >= rung || done.contains(&branch) {
                    continue;
                }
                let event = match what {
                    0 => ringing(),
                    1 => early(),
                    2 => answered(),
                    3 => rejected(486),
                    4 => ended(EndedBy::Peer),
                    _ => rejected(603),
                };
                if event.is_last() {
                    done.insert(branch);
                }
                for act in fork.event(branch, event) {
                    match act {
                        Tell(event) => {
                            prop_assert_eq!(last, 0, "nothing comes after the last");
                            last += usize::from(event.is_last());
                        }
                        RingNext => {
                            rung = 6;
                            fork.ringing(first..6);
                        }
                        HangUp(other) => prop_assert!(other != branch),
                    }
                }
            }
            prop_assert_eq!(last, 1);
            prop_assert!(fork.is_over());
        }
    }
}
