//! Sends the caller's audio back, frame by frame: for measurements of everything around it.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use super::engine::{Audio, CallerFrame, Command, Event, Session, Sound};

/// Frames that wait to be fetched; one more pushes out the oldest.
const ROOM: usize = 50;
/// The whole call is one item.
const ITEM: u64 = 1;

pub(super) struct EchoSession {
    out: VecDeque<Event>,
    waker: Option<Waker>,
    ended: bool,
}

impl EchoSession {
    pub(super) fn new() -> EchoSession {
        EchoSession { out: VecDeque::from([Event::Ready]), waker: None, ended: false }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

fn audio(pcm: &[i16], rate: u32) -> Audio {
    Audio { item: ITEM, sound: Sound::Linear { pcm: pcm.to_vec(), rate } }
}

impl Session for EchoSession {
    fn hear(&mut self, heard: CallerFrame<'_>, _at: Instant) {
        let CallerFrame::Linear { pcm, rate } = heard else { return };
        if self.ended || pcm.is_empty() {
            return;
        }
        if self.out.len() >= ROOM {
            let oldest = self.out.iter().position(|event| matches!(event, Event::Audio(_)));
            oldest.and_then(|at| self.out.remove(at));
        }
        self.out.push_back(Event::Audio(audio(pcm, rate)));
        self.wake();
    }

    fn command(&mut self, command: Command) {
        if command == Command::Stop {
            self.out.clear();
            self.out.push_back(Event::Ended);
            self.ended = true;
            self.wake();
        }
    }

    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        if let Some(event) = self.out.pop_front() {
            return Poll::Ready(event);
        }
        self.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    fn next(session: &mut EchoSession) -> Option<Event> {
        match session.poll_event(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(event) => Some(event),
            Poll::Pending => None,
        }
    }

    #[test]
    fn gives_every_frame_back_until_it_is_stopped() {
        let mut session = EchoSession::new();
        assert_eq!(next(&mut session), Some(Event::Ready));
        assert_eq!(next(&mut session), None);
        session.hear(CallerFrame::Linear { pcm: &[1, 2, 3], rate: 8000 }, Instant::now());
        assert_eq!(next(&mut session), Some(Event::Audio(audio(&[1, 2, 3], 8000))));
        session.command(Command::Greet);
        assert_eq!(next(&mut session), None);
        session.command(Command::Stop);
        session.hear(CallerFrame::Linear { pcm: &[4], rate: 8000 }, Instant::now());
        assert_eq!(next(&mut session), Some(Event::Ended));
        assert_eq!(next(&mut session), None);
    }

    #[test]
    fn keeps_the_newest_frames_when_nobody_fetches_them() {
        let mut session = EchoSession::new();
        for n in 0..200 {
            session.hear(CallerFrame::Linear { pcm: &[n], rate: 8000 }, Instant::now());
        }
        let mut events = Vec::new();
        while let Some(event) = next(&mut session) {
            events.push(event);
        }
        assert_eq!(events.len(), ROOM);
        assert_eq!(events[0], Event::Ready);
        assert_eq!(events.last(), Some(&Event::Audio(audio(&[199], 8000))));
    }
}
