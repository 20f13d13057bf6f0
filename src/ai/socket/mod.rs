//! One driver for every service: connects, keeps the connection alive, carries messages. RFC 6455 as a client.
//!
//! | State | What happens | Next |
//! |---|---|---|
//! | connecting | connected | handshake |
//! | handshake | 101 | open |
//! | handshake over a connection that was kept | gone without a word | connecting |
//! | connecting, handshake | refused, [`PATIENCE`] over | over |
//! | open | Ping | Pong |
//! | open | nothing came for [`PING`] | Ping; nothing for as long again: over |
//! | open | Close, end of the stream, a frame that breaks the protocol | Close as far as it can go; over |
//!
//! It lives on the media thread of its call and is polled there. What is read is parsed where it was read, in a buffer that
//! all sockets of the thread share.

pub mod frame;
mod handshake;
mod spare;
mod stream;
mod url;

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Sleep;

use crate::clock::Clock;

pub use frame::{FrameError, Message, Opcode};
pub use handshake::HandshakeError;
pub use url::{NoUrl, Url};

use frame::{Incoming, Outgoing};
use handshake::{Handshake, Request};
use stream::Stream;

/// Until it is open.
const PATIENCE: Duration = Duration::from_secs(10);
/// Silence after which the service is asked whether it is there.
const PING: Duration = Duration::from_secs(20);
/// Octets read at once.
const ROOM: usize = 64 << 10;
/// Reads in one turn, so that a flood cannot starve the neighbours.
const READS: usize = 4;
/// Octets that wait for a service that does not read; more speech is dropped: four seconds of it.
const SPEECH_WAITS: usize = 64 << 10;
/// How long a service has to read the last words and to close.
const FAREWELL: Duration = Duration::from_secs(2);
/// Octets that wait in all; beyond, the service is given up.
const MOST_WAITS: usize = 1 << 20;

thread_local! {
    static ROOMS: RefCell<Vec<u8>> = RefCell::new(vec![0; ROOM]);
}

/// How a service is reached.
#[derive(Clone)]
pub struct Target {
    pub url: Url,
    /// Fields of the request, such as authorization.
    pub fields: Vec<(String, String)>,
    pub tls: Arc<rustls::ClientConfig>,
}

#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error("no service is configured that can be connected to")]
    NoTarget,
    #[error("the service cannot be reached: {0}")]
    Unreachable(io::Error),
    #[error("the service did not answer within {} s", PATIENCE.as_secs())]
    TooLate,
    #[error("TLS to the service failed: {0}")]
    Tls(io::Error),
    #[error("the service's host is no name that a certificate can have")]
    NoName,
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("the connection to the service broke: {0}")]
    Broken(io::Error),
    #[error("the service has said nothing for {} s", 2 * PING.as_secs())]
    Silent,
    #[error("the service does not read what it is sent")]
    Deaf,
    /// Code and reason of its Close; 1006 when the connection just ended.
    #[error("the service closed the connection ({0}{1})")]
    Closed(u16, String),
}

type Connecting = Pin<Box<dyn Future<Output = Result<Stream, SocketError>>>>;

enum State {
    /// Until it is first polled; connects after so long.
    New(Option<Box<Target>>, Duration),
    Connecting(Connecting, Handshake),
    /// With what to begin again, should the service have closed a connection that waited for it.
    Handshake(Stream, Handshake, Option<Box<Target>>),
    Open(Stream),
    Over,
}

/// What [`Socket::poll`] hands out.
pub enum News<'a> {
    /// Messages can go out and come in.
    Open,
    Message(Message<'a>),
}

pub struct Socket {
    clock: Clock,
    state: State,
    /// The handshake's; nothing else goes out before its answer (RFC 6455 §4.1).
    request: Outgoing,
    out: Outgoing,
    incoming: Incoming,
    timer: Pin<Box<Sleep>>,
    /// A Ping is out and nothing has come since.
    asked: bool,
    heard: bool,
    /// For which a connection is kept once this one is open.
    next: Option<Box<Target>>,
    /// Speech that was dropped because the service did not read.
    pub dropped: u64,
}

impl Socket {
    /// Connects when it is first polled; without a target it is over then.
    pub fn new(target: Option<Target>, clock: Clock) -> Socket {
        Socket::after(Duration::ZERO, target, clock)
    }

    /// The same, so long after that.
    pub fn after(pause: Duration, target: Option<Target>, clock: Clock) -> Socket {
        Socket {
            clock,
            state: State::New(target.map(Box::new), pause),
            request: Outgoing::default(),
            out: Outgoing::default(),
            incoming: Incoming::default(),
            timer: Box::pin(tokio::time::sleep(pause + PATIENCE)),
            asked: false,
            heard: false,
            next: None,
            dropped: 0,
        }
    }

    /// Queues a message; `fill` appends its payload. Goes out with the next poll.
    pub fn send(&mut self, opcode: Opcode, fill: impl FnOnce(&mut Vec<u8>)) {
        self.out.message(opcode, fill);
    }

    /// The same for speech, which is worth nothing late: `false` when it was dropped because too much waits. A message of
    /// which `fill` writes nothing is not sent.
    pub fn send_speech(&mut self, opcode: Opcode, fill: impl FnOnce(&mut Vec<u8>)) -> bool {
        let room = self.out.waiting().len() < SPEECH_WAITS;
        if room {
            self.out.message_unless_empty(opcode, fill);
        } else {
            self.dropped += 1;
            metrics::counter!("trunkline_ai_speech_dropped_total").increment(1);
        }
        room
    }

    /// Says goodbye: what is queued and a Close go out, and the service's own Close is waited for a moment, on a task of
    /// its own. Whoever closes with something unread takes back what the service has not read yet.
    pub fn close(&mut self, code: u16) {
        if let State::Open(stream) = std::mem::replace(&mut self.state, State::Over)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            self.out.close(code, "");
            let farewell = farewell(stream, std::mem::take(&mut self.out));
            runtime.spawn(tokio::time::timeout(FAREWELL, farewell));
        }
    }

    /// Does what can be done now; `Ready` = it is over, and why. `out` gets what came.
    pub fn poll(&mut self, context: &mut Context<'_>, mut out: impl FnMut(News<'_>)) -> Poll<SocketError> {
        loop {
            match self.turn(context, &mut out) {
                Ok(true) => {}
                Ok(false) => return Poll::Pending,
                Err(error) => {
                    if let State::Open(stream) = &mut self.state {
                        if let SocketError::Frame(frame) = &error {
                            self.out.close(frame.code(), "");
                        }
                        // What the system does not take now nobody waits for.
                        let _ = write(stream, &mut self.out, context);
                    }
                    self.state = State::Over;
                    return Poll::Ready(error);
                }
            }
        }
    }

    /// One step; `true` when there may be another.
    fn turn(&mut self, context: &mut Context<'_>, out: &mut impl FnMut(News<'_>)) -> Result<bool, SocketError> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::New(target, pause) => {
                let target = target.ok_or(SocketError::NoTarget)?;
                let handshake = self.begin(&target);
                self.next = target.url.secure.then(|| target.clone());
                if pause.is_zero()
                    && let Some(stream) = spare::take(&target)
                {
                    self.state = State::Handshake(stream, handshake, Some(target));
                    return Ok(true);
                }
                let Target { url, tls, .. } = *target;
                let connecting = async move {
                    if !pause.is_zero() {
                        tokio::time::sleep(pause).await;
                    }
                    Stream::connect(url, tls).await
                };
                self.state = State::Connecting(Box::pin(connecting), handshake);
                Ok(true)
            }
            State::Connecting(mut connecting, handshake) => match connecting.as_mut().poll(context) {
                Poll::Ready(stream) => {
                    self.state = State::Handshake(stream?, handshake, None);
                    Ok(true)
                }
                Poll::Pending => {
                    self.state = State::Connecting(connecting, handshake);
                    self.late(context)
                }
            },
            State::Handshake(mut stream, mut handshake, mut again) => {
                let (mut answer, mut silent) = (None, true);
                let more = write(&mut stream, &mut self.request, context).and_then(|()| {
                    read(&mut stream, context, |octets| {
                        silent = false;
                        answer = handshake.read(octets)?;
                        Ok(())
                    })
                });
                again = again.filter(|_| silent);
                let more = match (more, again.take()) {
                    (Err(_), Some(target)) => {
                        let handshake = self.begin(&target);
                        let Target { url, tls, .. } = *target;
                        self.state = State::Connecting(Box::pin(Stream::connect(url, tls)), handshake);
                        return Ok(true);
                    }
                    (more, kept) => {
                        again = kept;
                        more?
                    }
                };
                let Some(rest) = answer else {
                    self.state = State::Handshake(stream, handshake, again);
                    return if more { Ok(true) } else { self.late(context) };
                };
                if let Some(target) = self.next.take() {
                    spare::prepare(&target, &self.clock);
                }
                self.state = State::Open(stream);
                self.timer.as_mut().reset((self.clock.now() + PING).into());
                out(News::Open);
                self.take(&rest, out)?;
                Ok(true)
            }
            State::Open(stream) => {
                self.state = State::Open(stream);
                self.go_on(context, out)
            }
            State::Over => Ok(false),
        }
    }

    /// The request goes out once there is a connection.
    fn begin(&mut self, target: &Target) -> Handshake {
        let request =
            Request { host: target.url.authority(), path: target.url.path.clone(), fields: target.fields.clone() };
        let (handshake, octets) = Handshake::begin(&request, rand::random());
        self.request = Outgoing::default();
        self.request.raw(&octets);
        handshake
    }

    fn late(&mut self, context: &mut Context<'_>) -> Result<bool, SocketError> {
        match self.timer.as_mut().poll(context) {
            Poll::Ready(()) => Err(SocketError::TooLate),
            Poll::Pending => Ok(false),
        }
    }

    fn go_on(&mut self, context: &mut Context<'_>, out: &mut impl FnMut(News<'_>)) -> Result<bool, SocketError> {
        for reads in 0..=READS {
            if reads == READS {
                context.waker().wake_by_ref();
                break;
            }
            let State::Open(stream) = &mut self.state else { return Ok(false) };
            let (incoming, replies, heard) = (&mut self.incoming, &mut self.out, &mut self.heard);
            let mut closed = None;
            let more = read(stream, context, |octets| {
                *heard = true;
                incoming.read(octets, |message| pass(message, replies, &mut closed, out))?;
                Ok(())
            })?;
            if let Some(error) = closed {
                return Err(error);
            }
            if !more {
                break;
            }
        }
        self.keep_alive(context)?;
        let State::Open(stream) = &mut self.state else { return Ok(false) };
        write(stream, &mut self.out, context)?;
        if self.out.waiting().len() > MOST_WAITS {
            return Err(SocketError::Deaf);
        }
        Ok(false)
    }

    /// What came right behind the handshake.
    fn take(&mut self, octets: &[u8], out: &mut impl FnMut(News<'_>)) -> Result<(), SocketError> {
        let (replies, mut closed) = (&mut self.out, None);
        self.incoming.read(octets, |message| pass(message, replies, &mut closed, out))?;
        closed.map_or(Ok(()), Err)
    }

    fn keep_alive(&mut self, context: &mut Context<'_>) -> Result<(), SocketError> {
        while self.timer.as_mut().poll(context).is_ready() {
            let next = self.timer.deadline() + PING;
            self.timer.as_mut().reset(next);
            let heard = std::mem::take(&mut self.heard);
            if heard {
                self.asked = false;
            } else if std::mem::replace(&mut self.asked, true) {
                return Err(SocketError::Silent);
            } else {
                self.out.message(Opcode::Ping, |_| {});
            }
        }
        Ok(())
    }
}

/// The end of a connection: everything out, then whatever comes until the service closes.
async fn farewell(mut stream: Stream, mut out: Outgoing) {
    poll_fn(|context| {
        loop {
            match write(&mut stream, &mut out, context) {
                Ok(()) if !out.waiting().is_empty() => return Poll::Pending,
                Err(_) => return Poll::Ready(()),
                Ok(()) => {}
            }
            match read(&mut stream, context, |_| Ok(())) {
                Ok(true) => {}
                Ok(false) => return Poll::Pending,
                Err(_) => return Poll::Ready(()),
            }
        }
    })
    .await;
}

/// Answers what is the protocol's own business and hands out the rest.
fn pass(
    message: Message<'_>,
    replies: &mut Outgoing,
    closed: &mut Option<SocketError>,
    out: &mut impl FnMut(News<'_>),
) {
    match message {
        _ if closed.is_some() => {}
        Message::Ping(octets) => replies.message(Opcode::Pong, |reply| reply.extend_from_slice(octets)),
        Message::Pong(_) => {}
        Message::Close(code, reason) => {
            // 1005 and 1006 are never sent (§7.4.1).
            replies.close(if code == 1005 { 1000 } else { code }, "");
            let reason = if reason.is_empty() { String::new() } else { format!(", {reason}") };
            *closed = Some(SocketError::Closed(code, reason));
        }
        Message::Text(_) | Message::Binary(_) => out(News::Message(message)),
    }
}

/// Reads once; `true` when there may be more.
fn read(
    stream: &mut Stream,
    context: &mut Context<'_>,
    take: impl FnOnce(&[u8]) -> Result<(), SocketError>,
) -> Result<bool, SocketError> {
    ROOMS.with_borrow_mut(|room| match stream.poll_read(context, room) {
        Poll::Ready(Ok(0)) => Err(SocketError::Closed(1006, String::new())),
        Poll::Ready(Ok(length)) => take(&room[..length]).map(|()| true),
        Poll::Ready(Err(error)) => Err(SocketError::Broken(error)),
        Poll::Pending => Ok(false),
    })
}

fn write(stream: &mut Stream, out: &mut Outgoing, context: &mut Context<'_>) -> Result<(), SocketError> {
    if out.waiting().is_empty() {
        return Ok(());
    }
    while !out.waiting().is_empty() {
        match stream.poll_write(context, out.waiting()) {
            Poll::Ready(Ok(taken)) => out.took(taken),
            Poll::Ready(Err(error)) => return Err(SocketError::Broken(error)),
            Poll::Pending => break,
        }
    }
    match stream.poll_flush(context) {
        Poll::Ready(Err(error)) => Err(SocketError::Broken(error)),
        Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
    }
}
