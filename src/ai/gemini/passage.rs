//! From one connection to the next: a call outlives its connections. No I/O, no clock.
//!
//! | State | What comes | What is done | Next |
//! |---|---|---|---|
//! | asked | `setupComplete` | | open |
//! | open | a handle that can be resumed | kept, the newest counts | open |
//! | open | `goAway` | | leaving until shortly before its end |
//! | leaving | nobody speaks, and the handle holds all that was said; or the end is near | a second connection | leaving, next asked |
//! | leaving, next open | nobody has spoken since | the second takes over | open |
//! | leaving, next open | somebody has | the second is given up, another is made later | leaving |
//! | open, leaving | the connection is lost ([`is_lost`]) | the next takes over; or a new one, with the handle, else with what was said | asked |
//! | open | it is closed because of something that we did | | over |
//! | asked with a handle | 1007, 1008: the handle is refused | a new one with what was said | asked |
//! | asked with a handle or what was said | lost | again, a little later, up to [`TRIES`] | asked |
//! | asked for the first time | lost | | over |
//!
//! Nothing that was spoken is asked for again: what a connection had begun to answer is not repeated on the next.

use std::time::{Duration, Instant};

use crate::ai::socket::{HandshakeError, SocketError};

/// Connections in a row that brought nothing.
const TRIES: u32 = 4;
/// How long before its end a connection is left in any case.
const LEAST_MARGIN: Duration = Duration::from_secs(1);
const MOST_MARGIN: Duration = Duration::from_secs(10);
/// Until a connection that could not be made is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// What a connection begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    New,
    /// The state that the service keeps under this name.
    Handle(String),
    /// What was said, as text.
    Replay,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Way {
    /// Being connected, or set up.
    Asked(Entry),
    Open,
}

/// What is to be done about the second connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Nothing,
    Prepare,
    TakeOver,
    Abandon,
}

/// What becomes of a call whose connection is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    Over,
    /// The next connection takes over, or is made after so long.
    Again(Duration),
}

/// What is known of the call when it matters where it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scene {
    /// Nobody is in the middle of anything.
    pub quiet: bool,
    /// Something was said that could be repeated as text.
    pub history: bool,
}

#[derive(Debug)]
pub struct Passage {
    live: Way,
    next: Option<Way>,
    /// The newest; empty until there is one.
    handle: Option<String>,
    /// The handle holds everything that was said.
    current: bool,
    /// When the live connection is left in any case.
    leaving: Option<Instant>,
    /// No second connection before.
    not_before: Option<Instant>,
    /// Connections since something was last heard.
    tries: u32,
    resumes: bool,
    /// A connection has been open.
    begun: bool,
}

impl Passage {
    /// `resumes`: a call may outlive its connection.
    pub fn new(resumes: bool) -> Passage {
        Passage {
            live: Way::Asked(Entry::New),
            next: None,
            handle: None,
            current: false,
            leaving: None,
            not_before: None,
            tries: 0,
            resumes,
            begun: false,
        }
    }

    /// The first connection is told a conversation that it did not have.
    pub fn continuing(mut self) -> Passage {
        self.live = Way::Asked(Entry::Replay);
        self
    }

    pub fn is_open(&self) -> bool {
        self.live == Way::Open
    }

    /// None has been open yet.
    pub fn is_first(&self) -> bool {
        !self.begun
    }

    /// What the connection begins with; `next`: the second one.
    pub fn entry(&self, next: bool) -> Option<&Entry> {
        match if next { self.next.as_ref() } else { Some(&self.live) } {
            Some(Way::Asked(entry)) => Some(entry),
            _ => None,
        }
    }

    /// It is set up; what it began with. `None`: it was already.
    pub fn completed(&mut self, next: bool) -> Option<Entry> {
        let way = if next { self.next.as_mut()? } else { &mut self.live };
        self.begun = true;
        match std::mem::replace(way, Way::Open) {
            Way::Asked(entry) => Some(entry),
            Way::Open => None,
        }
    }

    /// `handle`: `None` when the service cannot be resumed at this moment.
    pub fn resumable(&mut self, handle: Option<String>) {
        self.current = handle.is_some();
        if handle.is_some() {
            self.handle = handle;
        }
    }

    /// Something was said that no handle holds yet.
    pub fn touched(&mut self) {
        self.current = false;
        self.tries = 0;
    }

    pub fn going_away(&mut self, left: Duration, now: Instant) {
        if self.resumes {
            let margin = (left / 3).clamp(LEAST_MARGIN, MOST_MARGIN);
            self.leaving = Some(now + left.saturating_sub(margin));
        }
    }

    /// When [`Passage::step`] is worth another look.
    pub fn due(&self) -> Option<Instant> {
        let leaving = self.leaving?;
        match &self.next {
            None => Some(self.not_before.unwrap_or(leaving)),
            Some(Way::Open) => Some(leaving),
            Some(Way::Asked(_)) => None,
        }
    }

    pub fn step(&mut self, scene: Scene, now: Instant) -> Step {
        let Some(leaving) = self.leaving.filter(|_| self.is_open()) else { return Step::Nothing };
        let near = now >= leaving;
        self.not_before = self.not_before.filter(|not_before| now < *not_before);
        let ripe = near || (scene.quiet && self.current);
        match &self.next {
            None if ripe && self.not_before.is_none() => {
                self.next = Some(Way::Asked(self.way_back(scene)));
                Step::Prepare
            }
            Some(Way::Open) if ripe => {
                self.next = None;
                self.leaving = None;
                Step::TakeOver
            }
            // What has been said meanwhile it does not know.
            Some(Way::Open) if !self.current => {
                self.next = None;
                Step::Abandon
            }
            _ => Step::Nothing,
        }
    }

    /// The live connection is over.
    pub fn lost(&mut self, error: &SocketError, scene: Scene) -> Loss {
        self.leaving = None;
        self.not_before = None;
        let refused = matches!(error, SocketError::Closed(1007 | 1008, _));
        let entry = match &self.live {
            Way::Asked(_) if !self.begun => return Loss::Over,
            Way::Asked(Entry::Handle(_)) if refused => {
                self.handle = None;
                self.way_back(scene)
            }
            Way::Asked(entry) if is_lost(error) => entry.clone(),
            Way::Open if is_lost(error) && self.resumes => self.way_back(scene),
            _ => return Loss::Over,
        };
        if let Some(next) = self.next.take() {
            self.live = next;
            return Loss::Again(Duration::ZERO);
        }
        if self.tries >= TRIES {
            return Loss::Over;
        }
        let pause = PAUSE * self.tries * self.tries;
        self.tries += 1;
        self.live = Way::Asked(entry);
        Loss::Again(pause)
    }

    /// The second connection is lost before it took over.
    pub fn next_lost(&mut self, error: &SocketError, now: Instant) {
        if let Some(Way::Asked(Entry::Handle(_))) = self.next.take()
            && matches!(error, SocketError::Closed(1007 | 1008, _))
        {
            self.handle = None;
        }
        self.not_before = Some(now + 2 * PAUSE);
    }

    fn way_back(&self, scene: Scene) -> Entry {
        match &self.handle {
            Some(handle) => Entry::Handle(handle.clone()),
            None if scene.history => Entry::Replay,
            None => Entry::New,
        }
    }
}

/// Whether another connection may help: not when the service found fault with what we said, or with our account.
fn is_lost(error: &SocketError) -> bool {
    match error {
        SocketError::Closed(1000 | 1001 | 1005 | 1006 | 1011..=1015, reason) => {
            let reason = reason.to_ascii_lowercase();
            !(reason.contains("quota") || reason.contains("billing"))
        }
        SocketError::Handshake(HandshakeError::Refused(status, _)) => *status == 429 || *status >= 500,
        SocketError::Unreachable(_) | SocketError::TooLate | SocketError::Broken(_) | SocketError::Silent => true,
        SocketError::Tls(_) | SocketError::Deaf => true,
        SocketError::Closed(..) | SocketError::Frame(_) | SocketError::Handshake(_) => false,
        SocketError::NoTarget | SocketError::NoName => false,
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    const QUIET: Scene = Scene { quiet: true, history: true };
    const BUSY: Scene = Scene { quiet: false, history: true };
    const NOTHING_SAID: Scene = Scene { quiet: true, history: false };

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn closed(code: u16) -> SocketError {
        SocketError::Closed(code, String::new())
    }

    /// A passage whose first connection is open.
    fn open() -> Passage {
        let mut passage = Passage::new(true);
        assert!(passage.is_first() && !passage.is_open());
        assert_eq!(passage.completed(false), Some(Entry::New));
        assert_eq!(passage.completed(false), None);
        assert!(passage.is_open() && !passage.is_first());
        passage
    }

    fn handle(name: &str) -> Option<String> {
        Some(name.to_owned())
    }

    #[test]
    fn a_connection_that_is_going_away_is_left_in_a_pause_with_the_newest_handle() {
        let (mut passage, now) = (open(), Instant::now());
        assert_eq!(passage.step(QUIET, now), Step::Nothing);
        passage.resumable(handle("old"));
        passage.resumable(handle("new"));
        passage.resumable(None);
        passage.going_away(s(60), now);
        assert_eq!(passage.step(QUIET, now), Step::Nothing, "the handle does not hold everything");
        passage.resumable(handle("newest"));
        assert_eq!(passage.step(BUSY, now), Step::Nothing, "somebody speaks");
        assert_eq!(passage.step(QUIET, now), Step::Prepare);
        assert_eq!(passage.step(QUIET, now), Step::Nothing, "one is enough");
        assert_eq!(passage.entry(true), Some(&Entry::Handle("newest".into())));
        assert!(passage.completed(true).is_some());
        assert_eq!(passage.step(BUSY, now), Step::Nothing, "not in the middle of a word");
        assert_eq!(passage.step(QUIET, now), Step::TakeOver);
        assert!(passage.is_open() && passage.due().is_none());
        assert_eq!(passage.step(QUIET, now), Step::Nothing);
    }

    #[test]
    fn a_second_connection_that_missed_something_is_made_again() {
        let (mut passage, now) = (open(), Instant::now());
        passage.resumable(handle("one"));
        passage.going_away(s(60), now);
        assert_eq!(passage.step(QUIET, now), Step::Prepare);
        passage.touched();
        assert!(passage.completed(true).is_some());
        assert_eq!(passage.step(BUSY, now), Step::Abandon);
        passage.resumable(handle("two"));
        assert_eq!(passage.step(QUIET, now), Step::Prepare);
        assert_eq!(passage.entry(true), Some(&Entry::Handle("two".into())));
    }

    #[test]
    fn shortly_before_the_end_nobody_waits_for_a_pause() {
        let (mut passage, now) = (open(), Instant::now());
        passage.resumable(handle("h"));
        passage.touched();
        passage.going_away(s(60), now);
        assert_eq!(passage.due(), Some(now + s(50)));
        assert_eq!(passage.step(BUSY, now + s(49)), Step::Nothing);
        assert_eq!(passage.step(BUSY, now + s(50)), Step::Prepare);
        assert_eq!(passage.due(), None);
        assert!(passage.completed(true).is_some());
        assert_eq!(passage.step(BUSY, now + s(51)), Step::TakeOver);
        let mut passage = open();
        passage.going_away(Duration::ZERO, now);
        assert_eq!(passage.step(NOTHING_SAID, now), Step::Prepare, "at once");
        assert_eq!(passage.entry(true), Some(&Entry::New));
        let mut passage = Passage::new(false);
        passage.completed(false);
        passage.going_away(s(1), now);
        assert_eq!((passage.due(), passage.step(QUIET, now + s(9))), (None, Step::Nothing), "not wanted");
        assert_eq!(passage.lost(&closed(1011), QUIET), Loss::Over);
    }

    #[test]
    fn a_second_connection_that_is_refused_is_made_without_the_handle_and_not_at_once() {
        let (mut passage, now) = (open(), Instant::now());
        passage.resumable(handle("h"));
        passage.going_away(s(60), now);
        assert_eq!(passage.step(QUIET, now), Step::Prepare);
        passage.next_lost(&closed(1007), now);
        assert_eq!(passage.step(QUIET, now), Step::Nothing);
        assert_eq!(passage.due(), Some(now + s(1)));
        assert_eq!(passage.step(BUSY, now + s(1)), Step::Nothing);
        assert_eq!(passage.due(), Some(now + s(50)));
        assert_eq!(passage.step(QUIET, now + s(2)), Step::Prepare);
        assert_eq!(passage.entry(true), Some(&Entry::Replay));
    }

    #[test]
    fn a_lost_connection_is_made_again_with_the_handle_and_without_one_when_it_is_refused() {
        let mut passage = open();
        passage.resumable(handle("h"));
        assert_eq!(passage.lost(&closed(1006), QUIET), Loss::Again(Duration::ZERO));
        assert_eq!(passage.entry(false), Some(&Entry::Handle("h".into())));
        assert!(!passage.is_open() && !passage.is_first());
        assert_eq!(passage.lost(&closed(1007), QUIET), Loss::Again(PAUSE));
        assert_eq!(passage.entry(false), Some(&Entry::Replay));
        assert!(passage.completed(false).is_some());
        passage.touched();
        assert_eq!(passage.lost(&closed(1011), NOTHING_SAID), Loss::Again(Duration::ZERO));
        assert_eq!(passage.entry(false), Some(&Entry::New));
        assert!(!passage.is_first(), "the call goes on");
    }

    #[test]
    fn the_second_connection_takes_over_when_the_first_is_lost_as_far_as_it_is() {
        for done in [false, true] {
            let (mut passage, now) = (open(), Instant::now());
            passage.resumable(handle("h"));
            passage.going_away(s(9), now);
            assert_eq!(passage.step(QUIET, now), Step::Prepare);
            if done {
                assert!(passage.completed(true).is_some());
            }
            assert_eq!(passage.lost(&closed(1001), BUSY), Loss::Again(Duration::ZERO));
            assert_eq!(passage.is_open(), done);
            assert_eq!(passage.due(), None);
        }
    }

    #[test]
    fn a_call_begins_once_even_when_a_new_session_takes_over_before_it_is_set_up() {
        let (mut passage, now) = (open(), Instant::now());
        passage.going_away(Duration::ZERO, now);
        assert_eq!(passage.step(NOTHING_SAID, now), Step::Prepare);
        assert_eq!(passage.lost(&closed(1006), NOTHING_SAID), Loss::Again(Duration::ZERO));
        assert_eq!(passage.entry(false), Some(&Entry::New));
        assert!(!passage.is_first());
        assert_eq!(passage.lost(&closed(1006), NOTHING_SAID), Loss::Again(Duration::ZERO), "tried again");
    }

    #[test]
    fn what_another_connection_does_not_mend_ends_the_call_and_so_do_too_many() {
        let refused = |status| SocketError::Handshake(HandshakeError::Refused(status, String::new()));
        let quota = || SocketError::Closed(1011, ", You exceeded your current Quota".into());
        for error in [closed(1007), closed(1008), closed(1002), refused(401), quota(), SocketError::NoTarget] {
            let mut passage = open();
            passage.resumable(handle("h"));
            assert_eq!(passage.lost(&error, QUIET), Loss::Over, "{error}");
        }
        for error in [closed(1011), closed(1006), refused(503), closed(1008)] {
            assert_eq!(Passage::new(true).lost(&error, NOTHING_SAID), Loss::Over, "never set up: {error}");
        }
        let mut passage = open();
        let mut pauses = Vec::new();
        while let Loss::Again(pause) = passage.lost(&refused(503), QUIET) {
            pauses.push(pause.as_millis());
        }
        assert_eq!(pauses, [0, 500, 2_000, 4_500]);
    }
}
