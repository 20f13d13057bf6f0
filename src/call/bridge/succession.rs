//! One agent follows another in the same call, and the caller hears nothing but another voice.
//!
//! | The next agent | The one at hand | What happens |
//! |---|---|---|
//! | is being connected | speaks, hears the caller | the last words go out |
//! | is there | has said its last words | it has the call, and speaks first |
//! | cannot be reached | | keeps the call; the actor is told, and tells it |
//! | is being connected | ends, or fails | nobody hears the caller until the next one is there |
//!
//! Items of both have numbers of their own: those of a session are counted on from the last of the one before.

use std::task::{Context, Poll};
use std::time::Duration;

use super::{ASIDE, Bridge, EVENTS_A_POLL, Mark, Report};
use crate::ai::{Command, Event, Session};
use crate::media::Playout;

/// An agent that is going to have the call.
pub(super) struct Successor {
    session: Box<dyn Session>,
    ready: bool,
    /// What the one before said has gone out.
    pub(super) due: bool,
}

/// Numbers of items within a session, and within the call.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// The session's 0.
    base: u64,
    pub(super) highest: u64,
}

impl Numbers {
    /// `event` with the call's numbers.
    pub(super) fn outside(&mut self, mut event: Event) -> Event {
        let item = match &mut event {
            Event::Audio(audio) => &mut audio.item,
            Event::AudioEnd { item } | Event::AgentText { item, .. } => item,
            _ => return event,
        };
        *item = item.saturating_add(self.base).min(ASIDE - 1);
        self.highest = self.highest.max(*item);
        event
    }

    /// The session's number; `None` when the item is of one before.
    fn inside(&self, item: u64) -> Option<u64> {
        item.checked_sub(self.base).filter(|_| item < ASIDE)
    }

    pub(super) fn next_session(&mut self) {
        self.base = self.highest.saturating_add(1);
    }
}

impl Bridge {
    pub(super) fn tell_played(&mut self, item: u64) {
        if let Some(item) = self.numbers.inside(item) {
            self.session.command(Command::Played { item });
        }
    }

    pub(super) fn tell_truncated(&mut self, item: u64, played: Duration) {
        if let Some(item) = self.numbers.inside(item) {
            self.session.command(Command::Truncate { item, played });
        }
    }

    /// `session` is to have the call.
    pub(super) fn expect(&mut self, session: Box<dyn Session>, playout: &mut dyn Playout) {
        self.successor = Some(Successor { session, ready: false, due: false });
        if self.parked.is_none() {
            playout.finish();
            if playout.queued().is_zero() {
                self.due();
            } else {
                self.mark(Mark::Successor, playout);
            }
        }
    }

    pub(super) fn due(&mut self) {
        if let Some(successor) = &mut self.successor {
            successor.due = true;
        }
    }

    /// Connects it, and gives it the call when the time has come.
    pub(super) fn poll_successor(&mut self, context: &mut Context<'_>, playout: &mut dyn Playout) {
        for _ in 0..EVENTS_A_POLL {
            let Some(successor) = &mut self.successor else { return };
            match successor.session.poll_event(context) {
                Poll::Ready(Event::Ready) => successor.ready = true,
                Poll::Ready(Event::Error { fatal: true, .. } | Event::Ended) => return self.stay(playout),
                // It was asked for nothing yet.
                Poll::Ready(_) => {}
                Poll::Pending => break,
            }
        }
        if self.parked.is_none() && self.successor.as_ref().is_some_and(|successor| successor.ready && successor.due) {
            self.succeed(playout);
            // Its first events may be there already.
            context.waker().wake_by_ref();
        }
    }

    fn succeed(&mut self, playout: &mut dyn Playout) {
        let Some(Successor { session, .. }) = self.successor.take() else { return };
        // What came of unfinished items is all that will come.
        let open: Vec<u64> = self.items.iter().filter(|item| !item.ended).map(|item| item.id).collect();
        for item in open {
            self.on_audio_end(item, playout);
        }
        self.session.command(Command::Stop);
        self.session = session;
        self.numbers.next_session();
        self.calls.forget();
        self.end_filler(playout);
        self.listening = true;
        self.leaving = None;
        self.marks.retain(|(_, meaning)| *meaning != Mark::Left);
        (self.caller_speaks, self.caller_stopped) = (false, None);
        if self.on_hold {
            self.session.command(Command::Hold(true));
        }
        self.session.command(Command::Greet);
        self.report(Report::Succeeded);
    }

    /// The call stays with the one at hand, if that is still there.
    fn stay(&mut self, playout: &mut dyn Playout) {
        self.successor = None;
        self.report(Report::NotSucceeded);
        if !self.listening {
            self.leave(None, playout);
        }
    }
}
