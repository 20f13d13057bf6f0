//! What every service elsewhere has in common: [`Remote`] drives a [`Dialect`] over its connection.
//!
//! A dialect is pure: messages, commands, frames and instants go in; events and messages to be sent lie on its
//! [`Desk`]. It never waits and never sees a socket.
//!
//! | What happens | What the driver does |
//! |---|---|
//! | the session is polled first | connects; [`Dialect::opened`] |
//! | a command before [`Dialect::is_ready`] | keeps it until then, in order |
//! | a frame before that | drops it: a live voice is worth nothing late |
//! | [`Desk::prepare`] | connects a second time, beside the live line |
//! | [`Desk::take_over`] | the second connection is the live one, the first is closed |
//! | the live connection ends | [`Dialect::ended`]: over with an operator's sentence, or again |
//! | [`Desk::fail`] | the error, then [`Event::Ended`]; the connection is closed |
//! | [`Command::Stop`] | [`Dialect::stop`] says goodbye; what was queued of events is dropped; [`Event::Ended`] |

mod driver;
pub mod loss;

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

pub use driver::Remote;

use super::engine::{Audio, CallerFrame, Command, Event, Sound, Wants};
use super::socket::{HandshakeError, Message, SocketError, Target};

/// Buffers of speech that are kept for the next.
const BUFFERS: usize = 8;
/// Events that may wait to be fetched when speech is dropped.
const PIECES: usize = 4_096;
/// Events that may wait at all.
const MOST: usize = 2 * PIECES;

/// One of the connections of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// The one that the caller talks over.
    Live,
    /// The one that is being set up to take over.
    Next,
}

/// How a service speaks. No I/O, no clock.
pub trait Dialect {
    /// The form in which it wants to hear the caller.
    fn wants(&self) -> Wants;

    /// Where the service is for the next connection, if that is not where it was for the first; the error is the
    /// operator's sentence.
    fn target(&self) -> Option<Result<Target, String>> {
        None
    }

    /// Messages can go out on `line`.
    fn opened(&mut self, line: Line, desk: &mut Desk);

    fn read(&mut self, line: Line, message: Message<'_>, desk: &mut Desk);

    /// Frames and commands are understood on the live line.
    fn is_ready(&self) -> bool;

    /// Whether frames go out now.
    fn listens(&self) -> bool {
        self.is_ready()
    }

    /// Appends the message that carries a frame in the wanted form to `out`; nothing, while it gathers frames.
    fn speech(&mut self, heard: CallerFrame<'_>, at: Instant, out: &mut Vec<u8>);

    /// Any but [`Command::Stop`], once it is ready.
    fn command(&mut self, command: Command, desk: &mut Desk);

    /// Says a sentence in the service's voice; `false` when that cannot be.
    fn say(&mut self, _text: &str, _desk: &mut Desk) -> bool {
        false
    }

    /// The call is over: last messages.
    fn stop(&mut self, _desk: &mut Desk) {}

    /// The live connection is over.
    fn ended(&mut self, error: &SocketError, desk: &mut Desk) -> Fate;

    /// The connection that was to take over is lost.
    fn next_ended(&mut self, _error: &SocketError, _desk: &mut Desk) {}

    /// When [`Dialect::on_time`] has something to do.
    fn due(&self) -> Option<Instant> {
        None
    }

    /// What was due has come.
    fn on_time(&mut self, _desk: &mut Desk) {}
}

/// What becomes of a session whose connection is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// Over, and why if that is an error.
    Over(Option<String>),
    /// The connection that is being set up becomes the live one at once; if there is none, a new one is made.
    Again,
    /// The same, but a new connection is made after so long.
    After(Duration),
}

/// What a dialect has before it: where it puts events and messages, and the time.
#[derive(Debug)]
pub struct Desk {
    pub now: Instant,
    events: VecDeque<Event>,
    letters: VecDeque<Letter>,
    /// Payloads of `letters`.
    text: Vec<u8>,
    octets: Vec<Vec<u8>>,
    samples: Vec<Vec<i16>>,
    /// The next line was ordered to take over, and the driver has not done so yet.
    took_over: bool,
    over: bool,
}

#[derive(Debug)]
enum Letter {
    Text(Line, Range<usize>),
    Prepare,
    TakeOver,
    Abandon,
}

/// What a dialect wants done, in order.
#[derive(Debug, PartialEq, Eq)]
pub enum Order<'a> {
    /// A text message for a line.
    Send(Line, &'a [u8]),
    /// Connect once more.
    Prepare,
    TakeOver,
    /// The connection that was being set up is not needed.
    Abandon,
}

impl Desk {
    pub fn new(now: Instant) -> Desk {
        Desk {
            now,
            events: VecDeque::new(),
            letters: VecDeque::new(),
            text: Vec::new(),
            octets: Vec::new(),
            samples: Vec::new(),
            took_over: false,
            over: false,
        }
    }

    /// Queues a text message; `fill` appends it to what it is given.
    pub fn send(&mut self, line: Line, fill: impl FnOnce(&mut Vec<u8>)) {
        let start = self.text.len();
        fill(&mut self.text);
        self.letters.push_back(Letter::Text(line, start..self.text.len()));
    }

    pub fn event(&mut self, event: Event) {
        if self.events.len() < MOST || matches!(event, Event::Error { fatal: true, .. } | Event::Ended) {
            self.events.push_back(event);
        }
    }

    /// A problem that the session survives.
    pub fn problem(&mut self, message: impl Into<String>) {
        self.event(Event::Error { message: message.into(), fatal: false });
    }

    /// Speech of the agent; nothing is done with none.
    pub fn speech(&mut self, item: u64, sound: Sound) {
        if sound.span().is_zero() || self.events.len() >= PIECES {
            self.keep(sound);
        } else {
            self.events.push_back(Event::Audio(Audio { item, sound }));
        }
    }

    /// An empty buffer for octets.
    pub fn octets(&mut self) -> Vec<u8> {
        self.octets.pop().unwrap_or_default()
    }

    /// An empty buffer for samples.
    pub fn samples(&mut self) -> Vec<i16> {
        self.samples.pop().unwrap_or_default()
    }

    /// Takes back sound that has been used.
    pub fn keep(&mut self, sound: Sound) {
        match sound {
            Sound::Ulaw(mut octets) | Sound::Alaw(mut octets) if self.octets.len() < BUFFERS => {
                octets.clear();
                self.octets.push(octets);
            }
            Sound::Linear { mut pcm, .. } if self.samples.len() < BUFFERS => {
                pcm.clear();
                self.samples.push(pcm);
            }
            _ => {}
        }
    }

    /// Connects once more, beside the live line.
    pub fn prepare(&mut self) {
        self.letters.push_back(Letter::Prepare);
    }

    /// The next line becomes the live one: whatever is sent from now on goes there.
    pub fn take_over(&mut self) {
        self.took_over = true;
        self.letters.push_back(Letter::TakeOver);
    }

    /// Gives up the next line.
    pub fn abandon(&mut self) {
        self.letters.push_back(Letter::Abandon);
    }

    /// The session cannot go on.
    pub fn fail(&mut self, message: impl Into<String>) {
        self.finish(Some(message.into()));
    }

    fn finish(&mut self, error: Option<String>) {
        if !std::mem::replace(&mut self.over, true) {
            if let Some(message) = error {
                self.event(Event::Error { message, fatal: true });
            }
            self.event(Event::Ended);
        }
    }

    /// The next event.
    pub fn take_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Hands out what is to be done; `true` when there was something.
    pub fn orders(&mut self, mut out: impl FnMut(Order<'_>)) -> bool {
        let any = !self.letters.is_empty();
        for letter in self.letters.drain(..) {
            out(match letter {
                Letter::Text(line, range) => Order::Send(line, &self.text[range]),
                Letter::Prepare => Order::Prepare,
                Letter::TakeOver => Order::TakeOver,
                Letter::Abandon => Order::Abandon,
            });
        }
        self.text.clear();
        self.took_over = false;
        any
    }
}

/// The operator's sentence about a connection that failed: what happened, and what to look at where that is known.
pub fn sentence(error: &SocketError) -> String {
    let advice = match error {
        SocketError::Handshake(HandshakeError::Refused(401 | 403, _)) => ": the service does not accept the key",
        SocketError::Handshake(HandshakeError::Refused(404, _)) => ": check the address and the model",
        SocketError::Handshake(HandshakeError::Refused(429, _)) => ": too many sessions, or no credit left",
        SocketError::Handshake(HandshakeError::Refused(500..=599, _)) => ": the service has a problem of its own",
        _ => "",
    };
    format!("{error}{advice}")
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    #[test]
    fn orders_come_in_the_order_in_which_they_were_given() {
        let mut desk = Desk::new(Instant::now());
        desk.send(Line::Live, |out| out.extend_from_slice(b"one"));
        desk.prepare();
        desk.send(Line::Next, |out| out.extend_from_slice(b"two"));
        desk.take_over();
        desk.send(Line::Live, |_| {});
        let mut seen = Vec::new();
        assert!(desk.orders(|order| seen.push(format!("{order:?}"))));
        assert_eq!(
            seen,
            ["Send(Live, [111, 110, 101])", "Prepare", "Send(Next, [116, 119, 111])", "TakeOver", "Send(Live, [])"]
        );
        assert!(!desk.orders(|order| panic!("{order:?}")));
    }

    #[test]
    fn a_flood_is_bounded_but_the_end_is_always_told() {
        let mut desk = Desk::new(Instant::now());
        for _ in 0..3 * MOST {
            desk.speech(1, Sound::Ulaw(vec![0xFF; 8]));
            desk.event(Event::TurnEnd);
        }
        desk.fail("enough");
        desk.fail("again");
        let events: Vec<Event> = std::iter::from_fn(|| desk.take_event()).collect();
        assert_eq!(events.len(), MOST + 2);
        assert!(events.iter().filter(|event| matches!(event, Event::Audio(_))).count() <= PIECES);
        assert_eq!(events[MOST..], [Event::Error { message: "enough".into(), fatal: true }, Event::Ended]);
    }

    #[test]
    fn used_sound_is_used_again() {
        let mut desk = Desk::new(Instant::now());
        let mut octets = Vec::with_capacity(1_000);
        octets.push(1);
        desk.keep(Sound::Ulaw(octets));
        let again = desk.octets();
        assert!(again.is_empty() && again.capacity() >= 1_000);
        desk.speech(1, Sound::Linear { pcm: Vec::with_capacity(500), rate: 24_000 });
        assert!(desk.samples().capacity() >= 500, "none was sent");
        assert!(desk.take_event().is_none());
    }

    #[test]
    fn a_refusal_says_what_to_look_at() {
        let refused = |status| SocketError::Handshake(HandshakeError::Refused(status, ": no".into()));
        assert_eq!(
            sentence(&refused(401)),
            "the service refused the connection with 401: no: the service does not accept the key"
        );
        assert!(sentence(&refused(404)).ends_with("check the address and the model"));
        assert_eq!(
            sentence(&SocketError::Closed(1011, ", quota".into())),
            "the service closed the connection (1011, quota)"
        );
    }
}
