//! Ten thousand calls between two user agents over links that lose, delay, double and reorder: every call has one
//! outcome on each side, no dialog or transaction is stuck, no port leaks.
#![allow(clippy::expect_used, clippy::panic)]

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use trunkline::sip::event::{CallEvent, Command};

use super::world::{CALLER, Link, World, session};

const CALLS: u64 = 10_000;
/// That share one link and one pair of agents.
const TOGETHER: u64 = 20;

#[test]
fn ten_thousand_seeded_calls_have_one_outcome_each_and_leave_nothing_behind() {
    let (mut answered, mut refused, mut failed, mut ended, mut datagrams) = (0, 0, 0, 0, 0);
    for seed in 0..CALLS / TOGETHER {
        let world = live(seed);
        if let Err(problem) = world.settled() {
            panic!("seed {seed}, {:?}: {problem}", world.link);
        }
        datagrams += world.datagrams;
        for (_, leg) in world.legs.iter().filter(|((side, _), _)| *side == CALLER) {
            answered += u32::from(leg.events.iter().any(|event| matches!(event, CallEvent::Answered { .. })));
            match leg.events.last() {
                Some(CallEvent::Rejected { .. }) => refused += 1,
                Some(CallEvent::Failed(_)) => failed += 1,
                _ => ended += 1,
            }
        }
    }
    println!(
        "simulation: {CALLS} calls, {datagrams} datagrams: {answered} answered; {ended} ended, {refused} refused, \
         {failed} failed; nothing stuck, no port lost"
    );
    assert_eq!(refused + failed + ended, CALLS);
    // Each way was gone often enough to mean something.
    assert!(answered > 2_000 && refused > 500 && failed > 500, "the simulation is one-sided");
}

/// A world and everything that happens in it.
fn live(seed: u64) -> World {
    let mut random = SmallRng::seed_from_u64(seed);
    let link = Link {
        lost: [0, 10, 50, 200, 400][random.random_range(0..5)],
        doubled: [0, 20, 100][random.random_range(0..3)],
        delay: [(0, 0), (5, 30), (20, 400), (0, 1_500)][random.random_range(0..4)],
    };
    let mut world = World::new(seed, link);
    for number in 1..=TOGETHER {
        let call = world.dial(number, Duration::from_secs(random.random_range(1..40)));
        if random.random_ratio(1, 2) {
            let after = Duration::from_millis(random.random_range(0..60_000));
            world.later(after, CALLER, call, Command::Offer(session(CALLER, 2)));
        }
        if random.random_ratio(2, 3) {
            let after = Duration::from_millis(random.random_range(0..60_000));
            world.later(after, CALLER, call, Command::HangUp);
        }
        world.run(Duration::from_millis(random.random_range(0..4_000)));
    }
    world.run(Duration::from_secs(120));
    world.hang_up_all();
    world.run(Duration::from_secs(600));
    world
}
