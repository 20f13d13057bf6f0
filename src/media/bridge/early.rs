//! What the phone of a person sends before it is answered (an announcement, the network's own ringback), for the caller
//! who waits: heard by the caller alone.

use std::task::{Context, Poll};

use tokio::sync::mpsc;

use super::{End, ON_THE_WAY, Pacer, Passed};
use crate::media::{PeerFactory, Playout};

/// The caller's end of it.
pub struct Early {
    come: mpsc::Receiver<Passed>,
    pacer: Pacer,
    begun: bool,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sounding {
    /// Nothing has come yet.
    NotYet,
    /// It has the caller's ear.
    Now,
    /// The phone's end is gone.
    Over,
}

/// A peer for the leg of the phone that rings, and what the caller's side gets of it.
pub fn early() -> (PeerFactory, Box<Early>) {
    let (out, come) = mpsc::channel(ON_THE_WAY);
    let (_, nothing) = mpsc::channel(1);
    let factory: PeerFactory = Box::new(move || Box::new(End::new(out, nothing)));
    (factory, Box::new(Early { come, pacer: Pacer::default(), begun: false }))
}

impl Early {
    /// Plays what has come; to be called at every wake-up.
    pub fn feed(&mut self, context: &mut Context<'_>, playout: &mut dyn Playout) -> Sounding {
        loop {
            match self.come.poll_recv(context) {
                Poll::Ready(Some(Passed::Sound(piece))) => {
                    // Whatever the caller heard until now.
                    if !std::mem::replace(&mut self.begun, true) {
                        playout.flush();
                    }
                    self.pacer.play(piece, playout);
                }
                // A phone that only rings presses nothing.
                Poll::Ready(Some(Passed::Key(_))) => {}
                Poll::Ready(None) => return Sounding::Over,
                Poll::Pending if self.begun => return Sounding::Now,
                Poll::Pending => return Sounding::NotYet,
            }
        }
    }
}
