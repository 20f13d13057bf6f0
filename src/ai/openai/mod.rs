//! OpenAI Realtime and whatever speaks its protocol (<https://platform.openai.com/docs/guides/realtime>), both as it is
//! and as it was in its beta: events of both are read alike, only the session is asked for in the one or the other form.
//!
//! | State of a connection | What happens | Next |
//! |---|---|---|
//! | connecting | open | opened: the service speaks first |
//! | opened | `session.created` | asked: `session.update` goes out |
//! | asked | `session.updated` | ready |
//! | opened, asked | `error`, [`PATIENCE`] over | the live one: over; the next one: given up, tried again later |
//! | ready | it is as old as the service allows | a next one is prepared beside it |
//! | ready, the next one too | neither speaks | the next one is told what was said, and takes over |
//! | ready | lost ([`is_lost`]) | the next one goes on, if there is one; else a new one is made, is told what was said, and
//! hears what the caller said meanwhile, the last [`GAP`] of it |
//! | ready | lost [`TRIES`] times within [`WINDOW`], or closed for a reason | over |
//! | being made anew | refused | over |
//!
//! What is said on a connection that is ready: [`talk`].

pub(super) mod history;
mod item;
mod manual;
pub(super) mod render;
pub(super) mod settings;
mod talk;
#[cfg(test)]
mod tests;
pub(super) mod wire;

use std::time::{Duration, Instant};

pub use settings::{Call, Service};

use self::talk::Talk;
use self::wire::Said;
use super::engine::{CallerFrame, Command, Event, Wants};
use super::remote::loss::{GAP, Missed, TRIES, Tries, WINDOW, is_lost};
use super::remote::{Desk, Dialect, Fate, Line, sentence};
use super::socket::{Message, SocketError};

/// Until a connection that is open is set up.
const PATIENCE: Duration = Duration::from_secs(10);
/// A next connection that failed is tried again after so long.
const AGAIN: Duration = Duration::from_secs(60);
/// How often it is looked whether the next connection can take over.
const LOOK: Duration = Duration::from_millis(500);
/// After so long it takes over although the caller may be speaking, after twice as long in any case.
const LONGEST_WAIT: Duration = Duration::from_secs(120);

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Setup {
    Connecting,
    Opened { late: Instant },
    Asked { late: Instant },
    Ready,
}

impl Setup {
    fn late(self) -> Option<Instant> {
        match self {
            Setup::Opened { late } | Setup::Asked { late } => Some(late),
            Setup::Connecting | Setup::Ready => None,
        }
    }
}

/// A conversation with the service, but for its connections.
#[derive(Debug)]
pub struct OpenAi {
    talk: Talk,
    live: Setup,
    next: Option<Setup>,
    /// The session was told to be ready.
    told: bool,
    /// The live connection goes on with what another began.
    continues: bool,
    /// When a next connection is due.
    renew: Option<Instant>,
    /// When to look whether it can take over, and until when that needs a pause.
    look: Option<(Instant, Instant)>,
    tries: Tries,
    missed: Missed,
}

impl OpenAi {
    pub fn new(call: Call) -> OpenAi {
        OpenAi {
            talk: Talk::new(call),
            live: Setup::Connecting,
            next: None,
            told: false,
            continues: false,
            renew: None,
            look: None,
            tries: Tries::default(),
            missed: Missed::default(),
        }
    }

    /// Events that belong to the setting up of a connection; `false` for any other.
    fn set_up(&mut self, line: Line, said: &Said<'_>, desk: &mut Desk) -> bool {
        let setup = match line {
            Line::Live => Some(self.live),
            Line::Next => self.next,
        };
        let Some(setup) = setup.filter(|setup| *setup != Setup::Ready) else { return false };
        match (setup, &*said.kind) {
            (Setup::Opened { late }, "session.created") => {
                let update = render::session(&self.talk.call);
                desk.send(line, |out| talk::write(&update, out));
                self.put(line, Setup::Asked { late });
            }
            (Setup::Asked { .. }, "session.updated") => {
                self.put(line, Setup::Ready);
                self.ready(line, desk);
            }
            (_, "error") => {
                let problem = format!("the service does not set the session up: {}", wire::complaint(&said.error));
                self.not_set_up(line, problem, desk);
            }
            _ => {}
        }
        true
    }

    fn put(&mut self, line: Line, setup: Setup) {
        match line {
            Line::Live => self.live = setup,
            Line::Next => self.next = Some(setup),
        }
    }

    fn ready(&mut self, line: Line, desk: &mut Desk) {
        if line == Line::Next {
            self.look = Some((desk.now, desk.now + LONGEST_WAIT));
            return self.hand_over(desk);
        }
        self.renew = self.talk.call.age.map(|age| desk.now + age);
        let first = !std::mem::replace(&mut self.told, true);
        if first {
            desk.event(Event::Ready);
        }
        let continues = std::mem::take(&mut self.continues);
        if continues || first {
            // At first: what another agent and the caller said.
            self.talk.move_to(Line::Live, desk);
        }
        if continues {
            if let Some(missed) = self.missed.take() {
                desk.send(Line::Live, |out| render::append_octets(&missed, out));
            }
            self.talk.resume(desk);
        }
    }

    fn not_set_up(&mut self, line: Line, problem: String, desk: &mut Desk) {
        match line {
            Line::Live => {
                self.live = Setup::Connecting;
                desk.fail(problem);
            }
            Line::Next => {
                desk.abandon();
                desk.problem(problem);
                self.without_next(desk);
            }
        }
    }

    fn without_next(&mut self, desk: &Desk) {
        self.next = None;
        self.look = None;
        self.renew = Some(desk.now + AGAIN);
    }

    /// The next connection takes over, if it is ready and this is a pause.
    fn hand_over(&mut self, desk: &mut Desk) {
        let Some((_, patience)) = self.look.filter(|_| self.next == Some(Setup::Ready)) else { return };
        let late = |by: Duration| desk.now >= patience + by;
        let pause =
            self.talk.is_at_rest(desk.now) || (late(Duration::ZERO) && self.talk.is_silent()) || late(LONGEST_WAIT);
        if !pause {
            self.look = Some((desk.now + LOOK, patience));
            return;
        }
        self.talk.moved(desk);
        self.talk.move_to(Line::Next, desk);
        desk.take_over();
        self.talk.resume(desk);
        (self.live, self.next, self.look) = (Setup::Ready, None, None);
        self.renew = self.talk.call.age.map(|age| desk.now + age);
    }

    /// Goes on over a new connection, if that may help.
    fn make_anew(&mut self, error: &SocketError, desk: &mut Desk) -> Fate {
        if !self.told || !is_lost(error) {
            return Fate::Over(Some(sentence(error)));
        }
        let Some(pause) = self.tries.another(desk.now) else {
            return Fate::Over(Some(format!("{}, {TRIES} times within {} s", sentence(error), WINDOW.as_secs())));
        };
        desk.problem(format!("the session is continued over a new connection: {}", sentence(error)));
        if !self.continues {
            self.talk.moved(desk);
        }
        (self.live, self.look, self.renew, self.continues) = (Setup::Connecting, None, None, true);
        Fate::After(pause)
    }
}

impl Dialect for OpenAi {
    fn wants(&self) -> Wants {
        self.talk.call.wants()
    }

    fn opened(&mut self, line: Line, desk: &mut Desk) {
        self.put(line, Setup::Opened { late: desk.now + PATIENCE });
    }

    fn read(&mut self, line: Line, message: Message<'_>, desk: &mut Desk) {
        let text = match message {
            Message::Text(text) => text,
            Message::Binary(octets) => std::str::from_utf8(octets).unwrap_or_default(),
            _ => return,
        };
        let Some(said) = wire::read(text) else {
            return self.talk.tell_once("what is no JSON object", desk);
        };
        if !self.set_up(line, &said, desk) && line == Line::Live {
            self.talk.read(&said, desk);
        }
    }

    fn is_ready(&self) -> bool {
        self.live == Setup::Ready
    }

    fn listens(&self) -> bool {
        self.told
    }

    fn speech(&mut self, heard: CallerFrame<'_>, _at: Instant, out: &mut Vec<u8>) {
        if self.is_ready() {
            render::append(heard, out);
        } else {
            self.missed.add(heard, self.talk.call.input_octets(GAP));
        }
    }

    fn command(&mut self, command: Command, desk: &mut Desk) {
        match command {
            Command::Greet => self.talk.greet(desk),
            Command::Key(key) => self.talk.key(key, desk),
            Command::Text(text) => self.talk.text(&text, desk),
            Command::ToolResult { id, output } => self.talk.result(id, output, desk),
            Command::UpdateInstructions(text) => self.talk.instructions(text, desk),
            Command::Truncate { item, played } => self.talk.truncate(item, played, desk),
            Command::Played { item } => self.talk.played(item),
            Command::Hold(on_hold) => self.talk.hold(on_hold, desk),
            Command::TransferBegun => self.talk.transfer_begun(desk),
            Command::TransferFailed { outcome } => self.talk.transfer_failed(&outcome, desk),
            Command::CallerBegan { .. } => self.talk.caller_began(desk),
            Command::CallerStopped { .. } => self.talk.caller_stopped(desk),
            Command::Stop => {}
        }
    }

    fn say(&mut self, text: &str, desk: &mut Desk) -> bool {
        self.talk.say(text, desk)
    }

    fn ended(&mut self, error: &SocketError, desk: &mut Desk) -> Fate {
        let Some(next) = self.next.take() else { return self.make_anew(error, desk) };
        tracing::debug!("a connection to the voice AI is lost, and another goes on: {error}");
        (self.live, self.look, self.continues) = (next, None, true);
        self.talk.moved(desk);
        if next == Setup::Ready {
            self.ready(Line::Live, desk);
        }
        Fate::Again
    }

    fn next_ended(&mut self, error: &SocketError, desk: &mut Desk) {
        desk.problem(format!("the session cannot be continued yet: {}", sentence(error)));
        self.without_next(desk);
    }

    fn due(&self) -> Option<Instant> {
        let renew = self.renew.filter(|_| self.next.is_none());
        let look = self.look.map(|(at, _)| at);
        let next = self.next.and_then(Setup::late);
        [self.live.late(), next, renew, look, self.talk.keys_due()].into_iter().flatten().min()
    }

    fn on_time(&mut self, desk: &mut Desk) {
        let now = desk.now;
        let is_late = |setup: Setup| setup.late().is_some_and(|late| late <= now);
        let late = || format!("the service did not set the session up within {} s", PATIENCE.as_secs());
        if is_late(self.live) {
            return self.not_set_up(Line::Live, late(), desk);
        }
        if self.next.is_some_and(is_late) {
            self.not_set_up(Line::Next, late(), desk);
        }
        if self.next.is_none() && self.renew.is_some_and(|renew| renew <= now) {
            self.next = Some(Setup::Connecting);
            desk.prepare();
        }
        if self.talk.keys_due().is_some_and(|due| due <= now) && self.is_ready() {
            self.talk.release_keys(desk);
        }
        if self.look.is_some_and(|(at, _)| at <= now) {
            self.hand_over(desk);
        }
    }
}
