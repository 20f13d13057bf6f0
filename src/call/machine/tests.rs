// States are literals here: a walk reads better when they are given, not lent.
#![allow(clippy::disallowed_methods, clippy::needless_pass_by_value)]

use super::*;
use crate::directory::DialVerdict;

const RETRY: Duration = Duration::from_secs(300);

fn terms(direction: Direction, retries_left: u32) -> Terms {
    Terms {
        direction,
        retries_left,
        retry_delay: RETRY,
        max_duration: Duration::from_secs(300),
        quiet_limit: Duration::from_secs(120),
        goodbye: Duration::from_secs(5),
        setup_limit: Duration::from_secs(115),
        closing_limit: Duration::from_secs(35),
    }
}

/// One step at `now`; the new state and the actions.
struct Bench {
    now: Instant,
    terms: Terms,
}

impl Bench {
    fn outbound(retries_left: u32) -> Bench {
        Bench { now: Instant::now(), terms: terms(Direction::Outbound, retries_left) }
    }

    fn inbound() -> Bench {
        Bench { now: Instant::now(), terms: terms(Direction::Inbound, 0) }
    }

    fn step(&self, state: &State, event: Event) -> Step {
        step(state.clone(), &self.terms, event, self.now)
    }

    fn dialing(&self) -> State {
        State::Dialing { give_up: self.now + self.terms.setup_limit }
    }

    fn ringing(&self) -> State {
        State::Ringing { give_up: self.now + self.terms.setup_limit }
    }

    fn talking(&self) -> State {
        State::Talking { until: self.now + self.terms.max_duration, quiet_since: self.now }
    }

    fn stopping(&self) -> State {
        let ending = Ending::completed(EndReason::MaxDuration, EndedBy::System);
        State::Stopping { ending, until: self.now + self.terms.goodbye }
    }

    fn closing(&self) -> State {
        State::Closing { until: self.now + self.terms.closing_limit }
    }

    /// The step leaves the SIP leg gone and settles so.
    #[track_caller]
    fn ends(&self, state: &State, event: Event, status: CallStatus, reason: EndReason, by: EndedBy) {
        let (next, actions) = self.step(state, event.clone());
        assert_eq!(next, State::Gone, "{state:?} {event:?}");
        assert_settled(&actions, false, status, reason, by);
        assert_eq!(actions.last(), Some(&Action::Release));
    }

    /// The step hangs up, settles so, and waits for the SIP leg.
    #[track_caller]
    fn closes(&self, state: &State, event: Event, status: CallStatus, reason: EndReason, by: EndedBy) {
        let (next, actions) = self.step(state, event.clone());
        assert_eq!(next, self.closing(), "{state:?} {event:?}");
        assert_eq!(actions.first(), Some(&Action::HangUp));
        assert_settled(&actions, false, status, reason, by);
    }

    #[track_caller]
    fn retries(&self, state: &State, event: Event, reason: EndReason) {
        let (_, actions) = self.step(state, event.clone());
        let retry = actions.iter().find_map(|action| match action {
            Action::Settle(Settlement::Retry { ending, after }) => Some((ending.reason, *after)),
            _ => None,
        });
        assert_eq!(retry, Some((reason, RETRY)), "{state:?} {event:?}");
    }

    #[track_caller]
    fn ignores(&self, state: &State, event: Event) {
        assert_eq!(self.step(state, event.clone()), (state.clone(), Vec::new()), "{event:?}");
    }
}

#[track_caller]
fn assert_settled(actions: &[Action], retry: bool, status: CallStatus, reason: EndReason, by: EndedBy) {
    let settlements: Vec<_> = actions
        .iter()
        .filter_map(|action| match action {
            Action::Settle(settlement) => Some(settlement),
            _ => None,
        })
        .collect();
    assert_eq!(settlements.len(), 1, "{actions:?}");
    assert_eq!(matches!(settlements[0], Settlement::Retry { .. }), retry, "{actions:?}");
    let ending = settlements[0].ending();
    assert_eq!((ending.status, ending.reason, ending.by), (status, reason, by));
}

fn rejected(code: u16) -> Event {
    Event::Rejected { code, cause: None, reason: "Phrase".into(), another: false }
}

#[test]
fn a_waiting_call_is_queued_when_due_and_dialled_when_a_line_is_free() {
    let bench = Bench::outbound(0);
    for wait in [Wait::Scheduled, Wait::Retry] {
        let queued = (State::Waiting(Wait::Queued), vec![Action::Save(Progress::Queued)]);
        assert_eq!(bench.step(&State::Waiting(wait), Event::Due), queued);
    }
    bench.ignores(&State::Waiting(Wait::Queued), Event::Due);
    for wait in [Wait::Scheduled, Wait::Queued, Wait::Retry] {
        let dialing = (bench.dialing(), vec![Action::Save(Progress::Dialing), Action::Invite]);
        assert_eq!(bench.step(&State::Waiting(wait), Event::Line), dialing);
    }
}

#[test]
fn a_waiting_call_can_be_cancelled_or_forbidden_and_survives_a_stop() {
    let bench = Bench::outbound(3);
    for wait in [Wait::Scheduled, Wait::Queued, Wait::Retry] {
        let state = State::Waiting(wait);
        bench.ends(&state, Event::HangUp, CallStatus::Canceled, EndReason::Cancelled, EndedBy::Api);
        bench.ends(
            &state,
            Event::Forbidden(DialVerdict::NotWhitelisted),
            CallStatus::Failed,
            EndReason::Rejected,
            EndedBy::System,
        );
        bench.ignores(&state, Event::Stop);
        bench.ignores(&state, Event::Restarted);
        bench.ignores(&state, Event::Tick);
    }
}

#[test]
fn dialling_becomes_ringing_and_both_become_talking() {
    let bench = Bench::outbound(0);
    assert_eq!(bench.step(&bench.dialing(), Event::Ringing), (bench.ringing(), vec![Action::Save(Progress::Ringing)]));
    bench.ignores(&bench.ringing(), Event::Ringing);
    for state in [bench.dialing(), bench.ringing()] {
        // The audio path comes before the disk.
        let talking = (bench.talking(), vec![Action::Connect, Action::Save(Progress::Answered)]);
        assert_eq!(bench.step(&state, Event::Answered), talking);
    }
}

#[test]
fn only_a_dialling_call_moves_to_the_next_trunk_and_only_when_the_trunk_is_in_trouble() {
    let bench = Bench::outbound(1);
    let silent = Event::Failed { failure: CallFailure::TrunkSilent, another: true };
    let unavailable = Event::Rejected { code: 503, cause: None, reason: String::new(), another: true };
    for event in [silent.clone(), unavailable] {
        assert_eq!(bench.step(&bench.dialing(), event), (bench.dialing(), vec![Action::NextTrunk]));
    }
    bench.retries(&bench.ringing(), silent, EndReason::Error);
    let busy = Event::Rejected { code: 486, cause: None, reason: String::new(), another: true };
    bench.retries(&bench.dialing(), busy, EndReason::Busy);
}

#[test]
fn refusals_and_failures_before_the_answer_settle_by_outcome() {
    let last = Bench::outbound(0);
    for state in [last.dialing(), last.ringing()] {
        last.ends(&state, rejected(486), CallStatus::Busy, EndReason::Busy, EndedBy::Callee);
        last.ends(&state, rejected(480), CallStatus::NoAnswer, EndReason::NoAnswer, EndedBy::Callee);
        last.ends(&state, rejected(603), CallStatus::Failed, EndReason::Rejected, EndedBy::Callee);
        let silent = Event::Failed { failure: CallFailure::TrunkSilent, another: false };
        last.ends(&state, silent, CallStatus::Failed, EndReason::Error, EndedBy::System);
        last.ends(&state, Event::Lost, CallStatus::Failed, EndReason::Error, EndedBy::System);
        last.ends(&state, Event::Restarted, CallStatus::Failed, EndReason::Restarted, EndedBy::System);
        last.ends(
            &state,
            Event::Forbidden(DialVerdict::NotWhitelisted),
            CallStatus::Failed,
            EndReason::Rejected,
            EndedBy::System,
        );
        last.ends(&state, Event::Unready("p".into()), CallStatus::Failed, EndReason::Error, EndedBy::System);
        last.closes(&state, Event::LegLost, CallStatus::Failed, EndReason::Error, EndedBy::System);
        last.closes(&state, Event::AgentFailed("p".into()), CallStatus::Failed, EndReason::Error, EndedBy::System);
        last.closes(&state, Event::AgentDone, CallStatus::Failed, EndReason::Error, EndedBy::System);
        last.closes(&state, Event::Unusable("p".into()), CallStatus::Failed, EndReason::Error, EndedBy::System);
        last.closes(&state, Event::Stop, CallStatus::Failed, EndReason::Restarted, EndedBy::System);
    }
    let more = Bench::outbound(2);
    for state in [more.dialing(), more.ringing()] {
        more.retries(&state, rejected(486), EndReason::Busy);
        more.retries(&state, rejected(480), EndReason::NoAnswer);
        more.retries(&state, rejected(603), EndReason::Rejected);
        more.retries(&state, Event::Restarted, EndReason::Restarted);
        more.retries(&state, Event::Stop, EndReason::Restarted);
        more.ends(&state, rejected(404), CallStatus::Failed, EndReason::Error, EndedBy::Callee);
        more.ends(
            &state,
            Event::Forbidden(DialVerdict::NotWhitelisted),
            CallStatus::Failed,
            EndReason::Rejected,
            EndedBy::System,
        );
        more.closes(&state, Event::Unusable("p".into()), CallStatus::Failed, EndReason::Error, EndedBy::System);
    }
}

#[test]
fn a_hang_up_before_the_answer_cancels_and_is_never_retried() {
    let bench = Bench::outbound(5);
    for state in [bench.dialing(), bench.ringing()] {
        bench.closes(&state, Event::HangUp, CallStatus::Canceled, EndReason::Cancelled, EndedBy::Api);
    }
}

#[test]
fn dialling_is_given_up_when_even_the_endpoint_says_nothing() {
    let mut bench = Bench::outbound(0);
    let state = bench.ringing();
    bench.ignores(&state, Event::Tick);
    bench.now += bench.terms.setup_limit;
    bench.closes(&state, Event::Tick, CallStatus::NoAnswer, EndReason::NoAnswer, EndedBy::System);
}

#[test]
fn an_answered_inbound_call_talks_when_it_is_acknowledged() {
    let mut bench = Bench::inbound();
    let state = State::answering(&bench.terms, bench.now);
    let (next, actions) = bench.step(&state, Event::Answered);
    assert_eq!((next, actions), (bench.talking(), vec![Action::Connect, Action::Save(Progress::Answered)]));
    bench.ends(&state, Event::PeerLeft, CallStatus::Canceled, EndReason::Cancelled, EndedBy::Caller);
    bench.ends(&state, Event::Lost, CallStatus::Failed, EndReason::Error, EndedBy::System);
    bench.closes(&state, Event::HangUp, CallStatus::Canceled, EndReason::Cancelled, EndedBy::Api);
    bench.closes(&state, Event::Stop, CallStatus::Failed, EndReason::Restarted, EndedBy::System);
    bench.closes(&state, Event::AgentFailed("p".into()), CallStatus::Failed, EndReason::Error, EndedBy::System);
    bench.closes(&state, Event::Unusable("p".into()), CallStatus::Failed, EndReason::Error, EndedBy::System);
    bench.ends(&state, Event::Restarted, CallStatus::Failed, EndReason::Restarted, EndedBy::System);
    bench.now += bench.terms.setup_limit;
    bench.closes(&state, Event::Tick, CallStatus::Failed, EndReason::Error, EndedBy::System);
}

#[test]
fn a_conversation_ends_in_each_of_its_ways_and_is_never_retried() {
    let bench = Bench::outbound(5);
    let state = bench.talking();
    bench.ends(&state, Event::PeerLeft, CallStatus::Completed, EndReason::Finished, EndedBy::Callee);
    bench.ends(&state, Event::Lost, CallStatus::Failed, EndReason::Error, EndedBy::System);
    bench.ends(&state, Event::Restarted, CallStatus::Failed, EndReason::Restarted, EndedBy::System);
    bench.closes(&state, Event::AgentDone, CallStatus::Completed, EndReason::Finished, EndedBy::Agent);
    bench.closes(&state, Event::AgentFailed("p".into()), CallStatus::Failed, EndReason::Error, EndedBy::System);
    bench.closes(&state, Event::LegLost, CallStatus::Failed, EndReason::Error, EndedBy::System);
    bench.closes(&state, Event::EmptyRoom, CallStatus::Completed, EndReason::EmptyRoom, EndedBy::System);
    bench.closes(&state, Event::HangUp, CallStatus::Completed, EndReason::Hangup, EndedBy::Api);
    let inbound = Bench::inbound();
    inbound.ends(&inbound.talking(), Event::PeerLeft, CallStatus::Completed, EndReason::Finished, EndedBy::Caller);
}

#[test]
fn at_the_maximum_duration_the_agent_says_goodbye_and_then_the_call_ends() {
    let mut bench = Bench::outbound(0);
    let talking = State::Talking { until: bench.now + bench.terms.max_duration, quiet_since: bench.now };
    bench.now += bench.terms.max_duration - bench.terms.quiet_limit;
    let (talking, _) = bench.step(&talking, Event::Heard);
    bench.now += bench.terms.quiet_limit - Duration::from_millis(1);
    bench.ignores(&talking, Event::Tick);
    bench.now += Duration::from_millis(1);
    let (stopping, actions) = bench.step(&talking, Event::Tick);
    assert_eq!((&stopping, actions), (&bench.stopping(), vec![Action::StopAgent]));
    let (completed, by) = (CallStatus::Completed, EndedBy::System);
    bench.closes(&stopping, Event::AgentDone, completed, EndReason::MaxDuration, by);
    bench.closes(&stopping, Event::AgentFailed("p".into()), completed, EndReason::MaxDuration, by);
    bench.closes(&stopping, Event::LegLost, completed, EndReason::MaxDuration, by);
    bench.closes(&stopping, Event::EmptyRoom, completed, EndReason::MaxDuration, by);
    bench.ends(&stopping, Event::PeerLeft, completed, EndReason::MaxDuration, by);
    bench.ends(&stopping, Event::Lost, completed, EndReason::MaxDuration, by);
    bench.closes(&stopping, Event::HangUp, completed, EndReason::Hangup, EndedBy::Api);
    bench.ignores(&stopping, Event::Tick);
    bench.now += bench.terms.goodbye;
    bench.closes(&stopping, Event::Tick, completed, EndReason::MaxDuration, by);
}

#[test]
fn a_box_that_stops_lets_the_agent_say_goodbye() {
    let mut bench = Bench::outbound(0);
    let (stopping, actions) = bench.step(&bench.talking(), Event::Stop);
    assert_eq!(actions, vec![Action::StopAgent]);
    bench.now += bench.terms.goodbye;
    bench.closes(&stopping, Event::Tick, CallStatus::Failed, EndReason::Restarted, EndedBy::System);
}

#[test]
fn an_empty_room_is_left_and_any_sound_puts_it_off() {
    let mut bench = Bench::outbound(0);
    let talking = bench.talking();
    bench.now += bench.terms.quiet_limit - Duration::from_millis(1);
    let (talking, actions) = bench.step(&talking, Event::Heard);
    assert!(actions.is_empty());
    bench.now += Duration::from_secs(1);
    bench.ignores(&talking, Event::Tick);
    bench.now += bench.terms.quiet_limit;
    bench.closes(&talking, Event::Tick, CallStatus::Completed, EndReason::EmptyRoom, EndedBy::System);
}

#[test]
fn a_200_that_crosses_our_cancel_is_hung_up_again_and_changes_no_outcome() {
    let bench = Bench::outbound(0);
    let (closing, _) = bench.step(&bench.ringing(), Event::HangUp);
    assert_eq!(bench.step(&closing, Event::Answered), (closing.clone(), vec![Action::HangUp]));
    assert_eq!(bench.step(&closing, Event::Left), (State::Gone, vec![Action::Release]));
}

#[test]
fn a_closing_call_is_released_by_any_end_of_its_leg_or_by_time() {
    let mut bench = Bench::outbound(0);
    let closing = bench.closing();
    let failed = Event::Failed { failure: CallFailure::TrunkSilent, another: false };
    for event in [Event::PeerLeft, Event::Lost, Event::Left, rejected(487), failed] {
        assert_eq!(bench.step(&closing, event), (State::Gone, vec![Action::Release]));
    }
    for event in [Event::HangUp, Event::Stop, Event::AgentDone, Event::LegLost, Event::Tick, Event::Ringing] {
        bench.ignores(&closing, event);
    }
    bench.now += bench.terms.closing_limit;
    assert_eq!(bench.step(&closing, Event::Tick), (State::Gone, vec![Action::Release]));
}

#[test]
fn every_state_that_waits_for_others_has_a_deadline() {
    let bench = Bench::outbound(0);
    for state in [bench.dialing(), bench.ringing(), bench.talking(), bench.stopping(), bench.closing()] {
        assert!(state.deadline(&bench.terms).is_some(), "{state:?}");
    }
    assert_eq!(State::Gone.deadline(&bench.terms), None);
}
