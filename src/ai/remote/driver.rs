//! Joins a [`Dialect`] to its connections.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::{Desk, Dialect, Fate, Line, Order};
use crate::ai::alarm::Alarm;
use crate::ai::engine::{CallerFrame, Command, Event, Session, Sound, Wants};
use crate::ai::socket::{News, Opcode, Socket, SocketError, Target};
use crate::clock::Clock;

/// Commands that wait for the service to be ready.
const KEPT: usize = 64;

/// A session with a service elsewhere.
pub struct Remote<D: Dialect> {
    dialect: D,
    desk: Desk,
    clock: Clock,
    target: Option<Target>,
    live: Socket,
    next: Option<Socket>,
    kept: VecDeque<Command>,
    alarm: Alarm,
    waker: Option<Waker>,
    over: bool,
}

impl<D: Dialect> Remote<D> {
    /// `target`: `None` when the configured service cannot be connected to.
    pub fn new(dialect: D, target: Option<Target>, clock: Clock) -> Remote<D> {
        Remote {
            dialect,
            desk: Desk::new(clock.now()),
            live: Socket::new(target.clone(), clock.clone()),
            next: None,
            target,
            clock,
            kept: VecDeque::new(),
            alarm: Alarm::default(),
            waker: None,
            over: false,
        }
    }

    /// Does what the dialect ordered and gives it what waited for it; `true` when something went to a connection.
    fn settle(&mut self) -> bool {
        let mut any = self.carry_out();
        while !self.over
            && self.dialect.is_ready()
            && let Some(command) = self.kept.pop_front()
        {
            self.dialect.command(command, &mut self.desk);
            any |= self.carry_out();
        }
        if self.desk.over && !self.over {
            self.close();
        }
        any
    }

    fn carry_out(&mut self) -> bool {
        let Remote { dialect, desk, live, next, target, clock, .. } = self;
        desk.orders(|order| match order {
            Order::Send(Line::Live, text) => live.send(Opcode::Text, |out| out.extend_from_slice(text)),
            Order::Send(Line::Next, text) => {
                if let Some(next) = next {
                    next.send(Opcode::Text, |out| out.extend_from_slice(text));
                }
            }
            Order::Prepare => *next = Some(Socket::new(again(dialect, target.as_ref()), clock.clone())),
            Order::TakeOver => {
                if let Some(next) = next.take() {
                    std::mem::replace(live, next).close(1000);
                }
            }
            Order::Abandon => {
                if let Some(mut next) = next.take() {
                    next.close(1000);
                }
            }
        })
    }

    /// `true` when a connection took the place of one that ended.
    fn poll_live(&mut self, context: &mut Context<'_>) -> bool {
        let Remote { dialect, desk, live, .. } = self;
        let over = live.poll(context, |news| {
            // What the old connection says once another has taken over is not meant for the call any more.
            if desk.took_over || desk.over {
                return;
            }
            match news {
                News::Open => dialect.opened(Line::Live, desk),
                News::Message(message) => dialect.read(Line::Live, message, desk),
            }
        });
        match over {
            Poll::Ready(error) if !self.desk.took_over => self.live_ended(&error),
            _ => false,
        }
    }

    fn live_ended(&mut self, error: &SocketError) -> bool {
        if self.desk.over {
            return false;
        }
        match self.dialect.ended(error, &mut self.desk) {
            Fate::Over(error) => {
                self.desk.finish(error);
                false
            }
            Fate::Again => self.replace_live(Duration::ZERO),
            Fate::After(pause) => self.replace_live(pause),
        }
    }

    /// The next connection becomes the live one, or a new one is made after so long.
    fn replace_live(&mut self, pause: Duration) -> bool {
        self.live = self.next.take().unwrap_or_else(|| {
            let target = again(&self.dialect, self.target.as_ref());
            Socket::after(pause, target, self.clock.clone())
        });
        true
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> bool {
        let Remote { dialect, desk, next, .. } = self;
        let Some(socket) = next else { return false };
        let over = socket.poll(context, |news| {
            let line = if desk.took_over { Line::Live } else { Line::Next };
            match news {
                _ if desk.over => {}
                News::Open => dialect.opened(line, desk),
                News::Message(message) => dialect.read(line, message, desk),
            }
        });
        let Poll::Ready(error) = over else { return false };
        if self.desk.took_over {
            // It ended in the moment in which it took over.
            self.carry_out();
            return self.live_ended(&error);
        }
        self.next = None;
        self.dialect.next_ended(&error, &mut self.desk);
        false
    }

    /// The service is told that the call is over.
    fn stop(&mut self) {
        if !self.over {
            self.desk.now = self.clock.now();
            self.dialect.stop(&mut self.desk);
            self.carry_out();
            self.close();
        }
    }

    fn close(&mut self) {
        self.live.close(1000);
        if let Some(mut next) = self.next.take() {
            next.close(1000);
        }
        self.kept.clear();
        self.over = true;
    }
}

/// Where the service is now.
fn again<D: Dialect>(dialect: &D, first: Option<&Target>) -> Option<Target> {
    match dialect.target() {
        None => first.cloned(),
        Some(Ok(target)) => Some(target),
        Some(Err(problem)) => {
            tracing::error!("the service cannot be connected to: {problem}");
            None
        }
    }
}

impl<D: Dialect> Drop for Remote<D> {
    fn drop(&mut self) {
        self.stop();
    }
}

impl<D: Dialect> Session for Remote<D> {
    fn wants(&self) -> Wants {
        self.dialect.wants()
    }

    fn is_prompt(&self) -> bool {
        true
    }

    fn hear(&mut self, heard: CallerFrame<'_>, at: Instant) {
        if !self.over && self.dialect.listens() && heard.is(self.dialect.wants()) {
            let dialect = &mut self.dialect;
            self.live.send_speech(Opcode::Text, |out| dialect.speech(heard, at, out));
        }
    }

    fn command(&mut self, command: Command) {
        self.desk.now = self.clock.now();
        match command {
            _ if self.over => return,
            Command::Stop => {
                self.stop();
                self.desk.events.clear();
                self.desk.events.push_back(Event::Ended);
            }
            command if self.kept.len() < KEPT => {
                self.kept.push_back(command);
                self.settle();
            }
            _ => tracing::debug!("a command for a service that is not ready was dropped"),
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        loop {
            if let Some(event) = self.desk.take_event() {
                return Poll::Ready(event);
            }
            if self.over {
                return Poll::Pending;
            }
            self.desk.now = self.clock.now();
            self.settle();
            let mut more = self.poll_live(context);
            more |= self.settle();
            if !self.over {
                more |= self.poll_next(context);
                more |= self.settle();
            }
            if !self.over && self.dialect.due().is_some_and(|due| due <= self.desk.now) {
                self.dialect.on_time(&mut self.desk);
                more |= self.settle();
            }
            // What was written during the polls goes out with another.
            if !self.desk.events.is_empty() || (more && !self.over) {
                continue;
            }
            if let Some(due) = self.dialect.due() {
                self.alarm.set(due.saturating_duration_since(self.desk.now), due, context);
            }
            self.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
    }

    fn say(&mut self, text: &str) -> bool {
        if self.over || !self.dialect.is_ready() {
            return false;
        }
        self.desk.now = self.clock.now();
        let says = self.dialect.say(text, &mut self.desk);
        self.settle();
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        says
    }

    fn recycle(&mut self, sound: Sound) {
        self.desk.keep(sound);
    }
}
