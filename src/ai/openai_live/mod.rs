//! OpenAI Live: the service hears and speaks at the same time and decides by itself when to do which; nothing on the wire
//! says where a turn begins or ends.
//!
//! | State of a connection | What happens | Next |
//! |---|---|---|
//! | connecting | open | asked: `session.start` goes out, with what was said on the one before |
//! | asked | `session.started` | ready |
//! | asked | `error`, [`PATIENCE`] over | the live one: over; the next one: given up, tried again later |
//! | ready | the session's end is near ([`MARGIN`]), and neither speaks | a next one is prepared beside it |
//! | ready, the next one too | the agent is silent | the next one takes over |
//! | ready | `session.closed` because it expired or broke, or lost ([`is_lost`]) | the next one goes on, if there is one; else
//! a new one is made, and hears what the caller said meanwhile, the last [`GAP`] of it |
//! | ready | lost [`TRIES`] times within [`WINDOW`]; closed for another reason | over |
//!
//! What is said on a connection that is ready: [`talk`].

mod level;
mod render;
mod settings;
mod talk;
#[cfg(test)]
mod tests;
mod wire;

use std::time::{Duration, Instant};

pub use settings::{Call, Service};

use self::talk::Talk;
use super::engine::{CallerFrame, Command, Event, Wants};
use super::openai::wire::complaint;
use super::remote::loss::{GAP, Missed, TRIES, Tries, WINDOW, is_lost};
use super::remote::{Desk, Dialect, Fate, Line, sentence};
use super::socket::{Message, SocketError};
use crate::clock::UtcTime;

/// Until a connection that is open is set up.
const PATIENCE: Duration = Duration::from_secs(10);
/// A session is continued over another connection so long before its end, in a pause; without one [`LAST`] before it.
const MARGIN: Duration = Duration::from_secs(120);
const LAST: Duration = Duration::from_secs(20);
/// A next connection that failed is tried again after so long.
const AGAIN: Duration = Duration::from_secs(20);
/// How often it is looked whether this is a pause.
const LOOK: Duration = Duration::from_millis(500);

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Setup {
    Connecting,
    Asked { late: Instant },
    Ready,
}

impl Setup {
    fn late(self) -> Option<Instant> {
        match self {
            Setup::Asked { late } => Some(late),
            Setup::Connecting | Setup::Ready => None,
        }
    }
}

/// A conversation with the service, but for its connections.
#[derive(Debug)]
pub struct OpenAiLive {
    talk: Talk,
    /// An instant and what the clock on the wall said then.
    wall: (Instant, UtcTime),
    live: Setup,
    next: Option<Setup>,
    /// The session was told to be ready.
    told: bool,
    /// The live connection goes on with what another began; `true`: that one was lost while the agent spoke.
    continues: Option<bool>,
    /// When to look whether another connection can be made or take over, and when that must be done.
    renew: Option<(Instant, Instant)>,
    /// When the session on the next connection ends.
    next_end: Option<Instant>,
    tries: Tries,
    missed: Missed,
}

impl OpenAiLive {
    /// `wall`: an instant and what the clock on the wall said then.
    pub fn new(call: Call, wall: (Instant, UtcTime)) -> OpenAiLive {
        OpenAiLive {
            talk: Talk::new(call),
            wall,
            live: Setup::Connecting,
            next: None,
            told: false,
            continues: None,
            renew: None,
            next_end: None,
            tries: Tries::default(),
            missed: Missed::default(),
        }
    }

    fn setup(&self, line: Line) -> Option<Setup> {
        match line {
            Line::Live => Some(self.live),
            Line::Next => self.next,
        }
    }

    fn put(&mut self, line: Line, setup: Setup) {
        match line {
            Line::Live => self.live = setup,
            Line::Next => self.next = Some(setup),
        }
    }

    fn ready(&mut self, line: Line, expires: Option<i64>, desk: &mut Desk) {
        self.put(line, Setup::Ready);
        let end = expires.and_then(|end| self.instant(end));
        if line == Line::Next {
            self.next_end = end;
            return self.hand_over(desk);
        }
        if !std::mem::replace(&mut self.told, true) {
            desk.event(Event::Ready);
        }
        self.go_on(end, desk);
    }

    /// The live connection is ready: it is told what it does not know.
    fn go_on(&mut self, end: Option<Instant>, desk: &mut Desk) {
        self.begin_watch(end, desk);
        if let Some(interrupted) = self.continues.take() {
            if let Some(missed) = self.missed.take() {
                desk.send(Line::Live, |out| render::audio(CallerFrame::Ulaw(&missed), out));
            }
            self.talk.resume(interrupted, desk);
        }
    }

    /// When the clock on the wall says so.
    fn instant(&self, unix_seconds: i64) -> Option<Instant> {
        let (at, utc) = self.wall;
        at.checked_add(UtcTime(unix_seconds.checked_mul(1_000)?).since(utc))
    }

    /// The session on the live connection ends then.
    fn begin_watch(&mut self, end: Option<Instant>, desk: &Desk) {
        self.renew = end.map(|end| {
            let left = end.saturating_duration_since(desk.now);
            // A short session is left in its second half.
            let (margin, last) = (MARGIN.min(left / 2), LAST.min(left / 4));
            (desk.now + (left - margin), desk.now + (left - last))
        });
    }

    fn not_set_up(&mut self, line: Line, problem: String, desk: &mut Desk) {
        match line {
            // Or there is no other to go on with.
            line if line == Line::Live || self.continues.is_some() => {
                self.live = Setup::Connecting;
                desk.fail(problem);
            }
            _ => {
                desk.abandon();
                desk.problem(problem);
                self.without_next(desk);
            }
        }
    }

    fn without_next(&mut self, desk: &Desk) {
        self.next = None;
        self.renew = self.renew.map(|(_, last)| (desk.now + AGAIN, last));
    }

    /// The next connection, which is ready, takes over, unless the agent speaks and there is time.
    fn hand_over(&mut self, desk: &mut Desk) {
        if let Some((_, last)) = self.renew.filter(|(_, last)| *last > desk.now && !self.talk.is_silent()) {
            self.renew = Some((desk.now + LOOK, last));
            return;
        }
        self.leave(desk);
        desk.take_over();
        (self.live, self.next) = (Setup::Ready, None);
        self.go_on(self.next_end, desk);
    }

    /// The live session ends because of `why`; another connection may help.
    fn lost(&mut self, why: &str, desk: &mut Desk) -> Option<Duration> {
        let pause = self.tries.another(desk.now)?;
        desk.problem(format!("the session is continued over a new connection: {why}"));
        self.leave(desk);
        Some(pause)
    }

    fn leave(&mut self, desk: &mut Desk) {
        if self.continues.is_none() {
            self.continues = Some(self.talk.moved(desk));
        }
        (self.live, self.renew) = (Setup::Connecting, None);
    }

    /// The service says that the session is over.
    fn closed(&mut self, reason: &str, desk: &mut Desk) {
        match reason {
            "expired" | "connection_lost" => {
                if self.lost(&format!("the service ended the session: {reason}"), desk).is_none() {
                    return desk
                        .fail(format!("the service ended the session: {reason}, {TRIES} times within a minute"));
                }
                match self.next {
                    Some(Setup::Ready) => self.hand_over(desk),
                    Some(_) => {}
                    None => {
                        self.next = Some(Setup::Connecting);
                        desk.prepare();
                    }
                }
            }
            "content" => desk.fail("the service ended the session: its safety filter did not like what was said"),
            "close_requested" | "remote_hangup" => desk.fail("the service ended the session"),
            other => desk.fail(format!("the service ended the session: {other}")),
        }
    }
}

impl Dialect for OpenAiLive {
    fn wants(&self) -> Wants {
        self.talk.call.wants()
    }

    fn opened(&mut self, line: Line, desk: &mut Desk) {
        let start = self.talk.start();
        desk.send(line, |out| talk::write(&start, out));
        self.put(line, Setup::Asked { late: desk.now + PATIENCE });
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
        match (self.setup(line), &*said.kind) {
            (Some(Setup::Asked { .. }), "session.started") => {
                self.ready(line, said.session["expires_at"].as_i64(), desk);
            }
            (Some(Setup::Asked { .. }), "error") => {
                let problem = format!("the service does not set the session up: {}", complaint(&said.error));
                self.not_set_up(line, problem, desk);
            }
            (Some(Setup::Asked { .. }), "session.closed") => {
                self.not_set_up(line, format!("the service does not set the session up: {}", &*said.reason), desk);
            }
            (Some(Setup::Ready), "session.closed") if line == Line::Live => self.closed(&said.reason, desk),
            (Some(Setup::Ready), _) if line == Line::Live => self.talk.read(&said, desk),
            _ => {}
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
            render::audio(heard, out);
        } else {
            self.missed.add(heard, self.talk.call.octets(GAP));
        }
    }

    fn command(&mut self, command: Command, desk: &mut Desk) {
        match command {
            Command::Greet => self.talk.greet(desk),
            Command::Key(key) => self.talk.key(key, desk),
            Command::Text(text) => self.talk.text(&text, desk),
            Command::ToolResult { id, output } => self.talk.result(&id, output, desk),
            Command::UpdateInstructions(text) => self.talk.instructions(text, desk),
            Command::Truncate { item, played } => self.talk.truncate(item, played),
            Command::Hold(on_hold) => self.talk.hold(on_hold, desk),
            Command::TransferBegun => self.talk.transfer_begun(desk),
            Command::TransferFailed { outcome } => self.talk.transfer_failed(&outcome, desk),
            Command::Played { .. } | Command::CallerBegan { .. } | Command::CallerStopped { .. } | Command::Stop => {}
        }
    }

    fn stop(&mut self, desk: &mut Desk) {
        if self.is_ready() {
            talk::send(desk, &render::close());
        }
    }

    fn ended(&mut self, error: &SocketError, desk: &mut Desk) -> Fate {
        if let Some(next) = self.next.take() {
            tracing::debug!("a connection to the voice AI is lost, and another goes on: {error}");
            self.leave(desk);
            self.live = next;
            if next == Setup::Ready {
                self.go_on(self.next_end, desk);
            }
            return Fate::Again;
        }
        if !self.told || !is_lost(error) {
            return Fate::Over(Some(sentence(error)));
        }
        match self.lost(&sentence(error), desk) {
            Some(pause) => Fate::After(pause),
            None => Fate::Over(Some(format!("{}, {TRIES} times within {} s", sentence(error), WINDOW.as_secs()))),
        }
    }

    fn next_ended(&mut self, error: &SocketError, desk: &mut Desk) {
        if self.continues.is_some() {
            // There is no other.
            return desk.fail(sentence(error));
        }
        desk.problem(format!("the session cannot be continued yet: {}", sentence(error)));
        self.without_next(desk);
    }

    fn due(&self) -> Option<Instant> {
        let renew = self.renew.map(|(at, _)| at).filter(|_| matches!(self.next, None | Some(Setup::Ready)));
        [self.live.late(), self.next.and_then(Setup::late), renew, self.talk.due()].into_iter().flatten().min()
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
        self.talk.on_time(self.is_ready(), desk);
        let Some((_, last)) = self.renew.filter(|(at, _)| *at <= now) else { return };
        if self.next == Some(Setup::Ready) {
            self.hand_over(desk);
        } else if self.next.is_none() {
            if self.talk.is_at_rest() || (last <= now && self.talk.is_silent()) || last + LAST / 2 <= now {
                self.next = Some(Setup::Connecting);
                desk.prepare();
            } else {
                self.renew = Some((now + LOOK, last));
            }
        }
    }
}
