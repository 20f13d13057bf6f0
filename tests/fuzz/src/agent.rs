//! Sequences of events into the transaction and dialog machines: two user agents, a link, and somebody who repeats,
//! changes and invents messages between them. In the end every call has one outcome and nothing is left.

#[path = "../../sip/world.rs"]
mod world;

use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use trunkline::sip::agent::CallKey;
use trunkline::sip::event::Command;

use world::{CALLEE, CALLER, Link, World, session};

/// Steps of one input.
const MOST: usize = 200;

#[derive(Debug, Arbitrary)]
enum Act {
    Dial,
    /// Milliseconds, squared to reach far.
    Wait(u8),
    Say {
        callee: bool,
        call: u8,
        word: Word,
    },
    /// A datagram that was on the wire, to either side, with octets changed.
    Repeat {
        callee: bool,
        which: u8,
        changes: Vec<(u16, u8)>,
    },
    /// The same with a piece put in.
    Insert {
        callee: bool,
        which: u8,
        at: u16,
        piece: Vec<u8>,
    },
}

#[derive(Debug, Arbitrary)]
enum Word {
    Ringing,
    Early,
    Answer,
    Reject(u16),
    Offer,
    AcceptOffer,
    RefuseOffer,
    HangUp,
}

pub fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let (Ok(seed), Ok(lost), Ok(doubled)) =
        (input.arbitrary(), input.int_in_range(0..=300), input.int_in_range(0..=100))
    else {
        return;
    };
    let mut world = World::new(seed, Link { lost, doubled, delay: (0, 300) });
    let mut dialled = 0;
    for _ in 0..MOST {
        let Ok(act) = input.arbitrary::<Act>() else { break };
        if input.is_empty() {
            break;
        }
        play(&mut world, act, &mut dialled);
    }
    world.run(Duration::from_secs(60));
    world.hang_up_all();
    world.run(Duration::from_secs(900));
    if let Err(problem) = world.settled() {
        panic!("{problem}");
    }
}

fn play(world: &mut World, act: Act, dialled: &mut u64) {
    let side = |callee: bool| if callee { CALLEE } else { CALLER };
    match act {
        Act::Dial if *dialled < 8 => {
            *dialled += 1;
            world.dial(*dialled, Duration::from_secs(30));
        }
        Act::Dial => {}
        Act::Wait(span) => world.run(Duration::from_millis(u64::from(span) * u64::from(span))),
        Act::Say { callee, call, word } => {
            let side = side(callee);
            let legs: Vec<CallKey> =
                world.legs.keys().filter(|(owner, _)| *owner == side).map(|(_, call)| *call).collect();
            if let Some(call) = legs.get(usize::from(call) % legs.len().max(1)) {
                world.command(side, *call, command(word, side));
            }
        }
        Act::Repeat { callee, which, changes } => {
            let Some(mut datagram) = world.seen(which) else { return };
            for (at, octet) in changes.iter().take(8) {
                let at = usize::from(*at) % datagram.len().max(1);
                if let Some(place) = datagram.get_mut(at) {
                    *place = *octet;
                }
            }
            world.throw(side(callee), &datagram);
        }
        Act::Insert { callee, which, at, piece } => {
            let Some(mut datagram) = world.seen(which) else { return };
            let at = usize::from(at) % datagram.len().max(1);
            datagram.splice(at..at, piece.into_iter().take(200));
            world.throw(side(callee), &datagram);
        }
    }
}

fn command(word: Word, side: usize) -> Command {
    match word {
        Word::Ringing => Command::Ringing(None),
        Word::Early => Command::Ringing(Some(session(side, 1))),
        Word::Answer => Command::Answer(session(side, 1)),
        Word::Reject(code) => Command::Reject(300 + code % 400),
        Word::Offer => Command::Offer(session(side, 2)),
        Word::AcceptOffer => Command::AcceptOffer(session(side, 2)),
        Word::RefuseOffer => Command::RefuseOffer,
        Word::HangUp => Command::HangUp,
    }
}
