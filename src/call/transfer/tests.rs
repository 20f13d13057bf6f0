#![allow(clippy::disallowed_methods)]

use super::*;
use Action::{Back, Dial, Done, Drop, Join, Note, Park, Refer, Silent, Whisper};
use TransferOutcome::{Answered, Busy, Failed, NoAnswer, Rejected, Unknown};

const LIMITS: Limits = Limits { setup: Duration::from_secs(60), whisper: Duration::from_secs(30) };

/// Feeds `events` one after the other and returns the last state and the last actions. A `Tick` comes at the deadline.
fn after(events: &[Event]) -> (State, Vec<Action>) {
    let (mut state, mut now, mut last) = (State::Idle, Instant::now(), Vec::new());
    for event in events {
        if *event == Event::Tick {
            now = state.deadline().unwrap_or(now);
        }
        (state, last) = step(state, *event, LIMITS, now);
    }
    (state, last)
}

#[test]
fn walks_the_table() {
    use Event::{Answered as Up, AskBridge, AskRefer, PersonLeft, PersonSilent, Tick, Whispered};
    let refer = AskRefer { bridge: false, whisper: false };
    let auto = AskRefer { bridge: true, whisper: false };
    let bridge = AskBridge { whisper: false };
    let whisper = AskBridge { whisper: true };
    let news = Event::Refer;
    let accepted = news(ReferNews::Accepted);
    let failed = Event::Failed;
    let rows: &[(&[Event], &[Action])] = &[
        (&[refer], &[Park, Refer]),
        (&[bridge], &[Park, Dial]),
        (&[refer, accepted], &[]),
        (&[refer, accepted, news(ReferNews::Progress(180))], &[]),
        (&[refer, accepted, news(ReferNews::Done(200))], &[Note(Answered), Done]),
        (&[refer, accepted, news(ReferNews::Unknown)], &[Note(Unknown), Done]),
        (&[refer, accepted, news(ReferNews::Done(486))], &[Note(Busy), Back(Busy)]),
        (&[auto, accepted, news(ReferNews::Done(503))], &[Note(Failed), Back(Failed)]),
        (&[refer, news(ReferNews::Refused(405))], &[Note(Failed), Back(Failed)]),
        (&[refer, Tick], &[Note(NoAnswer), Back(NoAnswer)]),
        (&[auto, news(ReferNews::Refused(405))], &[Dial]),
        (&[auto, news(ReferNews::Refused(405)), Up], &[Note(Answered), Join]),
        (&[bridge, Up], &[Note(Answered), Join]),
        (&[whisper, Up], &[Whisper]),
        (&[bridge, failed(Busy)], &[Note(Busy), Drop, Back(Busy)]),
        (&[bridge, Event::Elsewhere], &[Dial]),
        (&[bridge, Event::Elsewhere, failed(Busy)], &[Note(Busy), Drop, Back(Busy)]),
        (&[bridge, PersonSilent], &[]),
        (&[bridge, Up, Event::Elsewhere], &[]),
        (&[bridge, PersonLeft], &[Note(Failed), Drop, Back(Failed)]),
        (&[bridge, Tick], &[Note(NoAnswer), Drop, Back(NoAnswer)]),
        (&[whisper, Up, Whispered], &[Note(Answered), Join]),
        (&[whisper, Up, Tick], &[Note(Answered), Join]),
        (&[whisper, Up, PersonLeft], &[Note(Rejected), Drop, Back(Rejected)]),
        (&[bridge, Up, PersonLeft], &[Drop, Done]),
        (&[bridge, Up, PersonSilent], &[Drop, Silent]),
        (&[bridge, Up, PersonLeft, PersonLeft], &[]),
        (&[bridge, Up, Whispered], &[]),
        (&[bridge, bridge], &[]),
    ];
    for (events, actions) in rows {
        assert_eq!(after(events).1, *actions, "{events:?}");
    }
}

#[test]
fn whatever_comes_a_transfer_has_one_outcome_and_the_person_is_never_left_behind() {
    use rand::{RngExt, SeedableRng, rngs::SmallRng};
    let events = [
        Event::AskBridge { whisper: true },
        Event::AskBridge { whisper: false },
        Event::AskRefer { bridge: true, whisper: true },
        Event::AskRefer { bridge: false, whisper: false },
        Event::Refer(ReferNews::Accepted),
        Event::Refer(ReferNews::Progress(180)),
        Event::Refer(ReferNews::Done(200)),
        Event::Refer(ReferNews::Done(486)),
        Event::Refer(ReferNews::Refused(405)),
        Event::Refer(ReferNews::Unknown),
        Event::Answered,
        Event::Failed(Busy),
        Event::Elsewhere,
        Event::Whispered,
        Event::PersonLeft,
        Event::PersonSilent,
        Event::Tick,
    ];
    for seed in 0..20_000 {
        let mut random = SmallRng::seed_from_u64(seed);
        let (mut state, mut now) = (State::Idle, Instant::now());
        let (mut outcomes, mut parked, mut leg, mut given) = (0, false, false, 0);
        for turn in 0..60 {
            let event = if turn < 40 { events[random.random_range(0..events.len())] } else { Event::Tick };
            if event == Event::Tick {
                now = state.deadline().unwrap_or(now);
            }
            let (next, actions) = step(state, event, LIMITS, now);
            for action in actions {
                assert_ne!(state, State::Over, "seed {seed}: {action:?} after the end");
                match action {
                    Park => parked = true,
                    Dial => leg = true,
                    Join | Whisper => assert!(leg, "seed {seed}"),
                    Drop => leg = false,
                    Note(_) => outcomes += 1,
                    Back(_) | Done | Silent => given += 1,
                    Refer => {}
                }
            }
            state = next;
        }
        if parked && state != State::Joined {
            assert_eq!((state, given), (State::Over, 1), "seed {seed}");
            assert!(!leg, "seed {seed}: the person's leg is left behind");
        }
        assert_eq!(outcomes, u32::from(parked), "seed {seed}");
    }
}
