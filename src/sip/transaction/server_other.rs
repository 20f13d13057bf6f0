//! Non-INVITE server transaction: RFC 3261 §17.2.2. The state table stands in the parent module.

use std::time::Instant;

use bytes::Bytes;

use super::{ServerOutput, Timers};

#[derive(Debug)]
pub struct ServerOther {
    timers: Timers,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Trying,
    Proceeding { provisional: Bytes },
    Completed { response: Bytes, j: Instant },
    Terminated,
}

impl ServerOther {
    pub fn start(timers: Timers) -> ServerOther {
        ServerOther { timers, state: State::Trying }
    }

    /// The request came again.
    pub fn repeated(&mut self, out: &mut Vec<ServerOutput>) {
        match &self.state {
            State::Proceeding { provisional: response } | State::Completed { response, .. } => {
                out.push(ServerOutput::Send(response.clone()));
            }
            State::Trying | State::Terminated => {}
        }
    }

    pub fn respond(&mut self, code: u16, response: Bytes, now: Instant, out: &mut Vec<ServerOutput>) {
        if !self.is_open() {
            return;
        }
        out.push(ServerOutput::Send(response.clone()));
        self.state = match code {
            100..=199 => State::Proceeding { provisional: response },
            _ if self.timers.reliable => State::Terminated,
            _ => State::Completed { response, j: now + self.timers.give_up() },
        };
    }

    pub fn tick(&mut self, now: Instant) {
        if self.wake_at().is_some_and(|j| now >= j) {
            self.state = State::Terminated;
        }
    }

    pub fn wake_at(&self) -> Option<Instant> {
        match &self.state {
            State::Completed { j, .. } => Some(*j),
            State::Trying | State::Proceeding { .. } | State::Terminated => None,
        }
    }

    /// No final response has been given.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Trying | State::Proceeding { .. })
    }

    pub fn is_terminated(&self) -> bool {
        self.state == State::Terminated
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use std::time::Duration;

    use super::super::ServerOutput::Send;
    use super::super::Transport;
    use super::*;

    #[test]
    fn over_tcp_its_answer_ends_it() {
        let mut machine = ServerOther::start(Timers::from_t1(Duration::from_millis(500)).over(Transport::Tcp));
        let mut out = Vec::new();
        machine.respond(200, "200".into(), Instant::now(), &mut out);
        assert!(machine.is_terminated() && out == [Send("200".into())]);
    }

    #[test]
    fn repeats_get_the_last_response_until_j() {
        let mut machine = ServerOther::start(Timers::from_t1(Duration::from_millis(500)));
        let (start, mut out) = (Instant::now(), Vec::new());
        machine.repeated(&mut out);
        assert_eq!(out, []);
        machine.respond(100, "100".into(), start, &mut out);
        machine.repeated(&mut out);
        machine.respond(200, "200".into(), start, &mut out);
        machine.respond(500, "500".into(), start, &mut out);
        machine.repeated(&mut out);
        let sent = |text: &'static str| Send(text.into());
        assert_eq!(out, [sent("100"), sent("100"), sent("200"), sent("200")]);
        machine.tick(start + Duration::from_millis(31_999));
        assert!(!machine.is_terminated());
        machine.tick(start + Duration::from_millis(32_000));
        assert!(machine.is_terminated());
    }
}
