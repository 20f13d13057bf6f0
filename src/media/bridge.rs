//! Two legs joined: what one phone says the other hears. Both live on one media thread (see
//! [`crate::media::MediaPlane::open_beside`]); frames and keys go through bounded queues, one each way, so each leg
//! keeps its own pace, codec, jitter buffer and key events.
//!
//! | A frame comes from the other leg, and | What is done |
//! |---|---|
//! | a slot has passed in silence, or nothing was sent yet | it waits for the next one: two begin together |
//! | less than [`PLENTY`] is queued | it is queued |
//! | [`PLENTY`] is queued and it is quiet, or [`TOO_MUCH`] is queued | it is left out: the other clock runs faster |
//!
//! The frame in hand costs 20 ms and bridges the time between the clock of the one leg and that of the other.

mod early;
mod ringback;

use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::media::{HeardFrame, Peer, PeerFactory, Playout};

pub use early::{Early, Sounding, early};
pub use ringback::Ringback;

/// Frames and keys on their way from leg to leg; more are lost.
const ON_THE_WAY: usize = 16;
/// Samples of a piece: 20 ms at 16 kHz.
const PIECE: usize = 320;
const PLENTY: Duration = Duration::from_millis(60);
const TOO_MUCH: Duration = Duration::from_millis(120);
/// A sender whose last frame left so long ago has missed a slot.
const MISSED: Duration = Duration::from_millis(25);
/// Largest sample of a quiet piece.
const QUIET: u16 = 250;

/// Both ends of a bridge, each to be attached to its leg.
pub fn pair() -> (PeerFactory, PeerFactory) {
    let (to_second, from_first) = mpsc::channel(ON_THE_WAY);
    let (to_first, from_second) = mpsc::channel(ON_THE_WAY);
    (factory(to_second, from_second), factory(to_first, from_first))
}

fn factory(out: mpsc::Sender<Passed>, come: mpsc::Receiver<Passed>) -> PeerFactory {
    Box::new(move || Box::new(End::new(out, come)))
}

// Boxed, a frame would cost an allocation.
#[allow(clippy::large_enum_variant)]
enum Passed {
    Sound(Piece),
    Key(char),
}

#[derive(Clone)]
struct Piece {
    pcm: [i16; PIECE],
    length: usize,
    rate: u32,
}

impl Piece {
    fn samples(&self) -> &[i16] {
        self.pcm.get(..self.length).unwrap_or_default()
    }

    fn is_quiet(&self) -> bool {
        self.samples().iter().all(|sample| sample.unsigned_abs() <= QUIET)
    }
}

/// One leg's end.
struct End {
    out: mpsc::Sender<Passed>,
    come: mpsc::Receiver<Passed>,
    /// What was queued before the bridge has been thrown away.
    begun: bool,
    pacer: Pacer,
}

impl End {
    fn new(out: mpsc::Sender<Passed>, come: mpsc::Receiver<Passed>) -> End {
        End { out, come, begun: false, pacer: Pacer::default() }
    }
}

/// Keeps the queue of one leg at the pace of the other, as the table says.
#[derive(Default)]
struct Pacer {
    /// The first of two pieces that begin together.
    waiting: Option<Piece>,
}

impl Pacer {
    fn play(&mut self, piece: Piece, playout: &mut dyn Playout) {
        let starved = playout.queued().is_zero()
            && playout.last_sent().is_none_or(|last| playout.now().saturating_duration_since(last) >= MISSED);
        match self.waiting.take() {
            Some(first) => {
                playout.push(first.samples(), first.rate);
                playout.push(piece.samples(), piece.rate);
            }
            None if starved => self.waiting = Some(piece),
            None if playout.queued() >= TOO_MUCH || (playout.queued() >= PLENTY && piece.is_quiet()) => {}
            None => playout.push(piece.samples(), piece.rate),
        }
    }
}

impl Peer for End {
    fn keeps_pace(&self) -> bool {
        true
    }

    fn heard(&mut self, frame: HeardFrame<'_>, _: &mut dyn Playout) {
        for samples in frame.pcm.chunks(PIECE) {
            let mut piece = Piece { pcm: [0; PIECE], length: samples.len(), rate: frame.rate };
            for (to, from) in piece.pcm.iter_mut().zip(samples) {
                *to = *from;
            }
            // A leg that does not fetch them for so long has no use for them any more.
            let _ = self.out.try_send(Passed::Sound(piece));
        }
    }

    fn key(&mut self, key: char, _: &mut dyn Playout) {
        let _ = self.out.try_send(Passed::Key(key));
    }

    fn played(&mut self, _: u64, _: &mut dyn Playout) {}

    fn poll(&mut self, context: &mut Context<'_>, playout: &mut dyn Playout) -> Poll<()> {
        if !std::mem::replace(&mut self.begun, true) {
            playout.flush();
        }
        while let Poll::Ready(Some(passed)) = self.come.poll_recv(context) {
            match passed {
                Passed::Sound(piece) => self.pacer.play(piece, playout),
                Passed::Key(key) => playout.send_keys(key.encode_utf8(&mut [0; 4])),
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests;
