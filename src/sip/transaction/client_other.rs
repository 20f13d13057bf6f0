//! Non-INVITE client transaction: RFC 3261 §17.1.2. The state table stands in the parent module.

use std::time::Instant;

use bytes::Bytes;

use super::{Backoff, ClientOutput, Timers};

#[derive(Debug)]
pub struct ClientOther {
    request: Bytes,
    timers: Timers,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Trying { e: Option<Backoff>, f: Instant },
    Proceeding { e: Option<Instant>, f: Instant },
    Completed { k: Instant },
    Terminated,
}

impl ClientOther {
    pub fn start(request: Bytes, timers: Timers, now: Instant, out: &mut Vec<ClientOutput>) -> ClientOther {
        out.push(ClientOutput::Send(request.clone()));
        let e = (!timers.reliable).then(|| Backoff::start(now, timers.t1));
        let state = State::Trying { e, f: now + timers.give_up() };
        ClientOther { request, timers, state }
    }

    pub fn response(&mut self, code: u16, now: Instant, out: &mut Vec<ClientOutput>) {
        let f = match &self.state {
            State::Trying { f, .. } | State::Proceeding { f, .. } => *f,
            State::Completed { .. } | State::Terminated => return,
        };
        out.push(ClientOutput::Deliver);
        self.state = match (code, &self.state) {
            (100..=199, State::Proceeding { e, .. }) => State::Proceeding { e: *e, f },
            (100..=199, _) => State::Proceeding { e: (!self.timers.reliable).then(|| now + self.timers.t2), f },
            _ if self.timers.reliable => State::Terminated,
            _ => State::Completed { k: now + self.timers.t4 },
        };
    }

    pub fn tick(&mut self, now: Instant, out: &mut Vec<ClientOutput>) {
        match &mut self.state {
            State::Trying { f, .. } | State::Proceeding { f, .. } if now >= *f => {
                self.state = State::Terminated;
                out.push(ClientOutput::TimedOut);
            }
            State::Trying { e, .. } => {
                if e.as_mut().is_some_and(|e| e.fired(now, self.timers.t2)) {
                    out.push(ClientOutput::Send(self.request.clone()));
                }
            }
            State::Proceeding { e: Some(e), .. } if now >= *e => {
                *e = now + self.timers.t2;
                out.push(ClientOutput::Send(self.request.clone()));
            }
            State::Completed { k } if now >= *k => self.state = State::Terminated,
            State::Proceeding { .. } | State::Completed { .. } | State::Terminated => {}
        }
    }

    pub fn transport_failed(&mut self, out: &mut Vec<ClientOutput>) {
        if self.awaits_final() {
            self.state = State::Terminated;
            out.push(ClientOutput::Failed);
        }
    }

    /// Sends the request again on a new connection, as long as nobody has answered it.
    pub fn again(&self, out: &mut Vec<ClientOutput>) {
        if self.is_unanswered() {
            out.push(ClientOutput::Send(self.request.clone()));
        }
    }

    /// Not even a provisional response came.
    pub fn is_unanswered(&self) -> bool {
        matches!(self.state, State::Trying { .. })
    }

    pub fn wake_at(&self) -> Option<Instant> {
        match &self.state {
            State::Trying { e, f } => Some(e.map_or(*f, |e| e.at.min(*f))),
            State::Proceeding { e, f } => Some(e.map_or(*f, |e| e.min(*f))),
            State::Completed { k } => Some(*k),
            State::Terminated => None,
        }
    }

    pub fn awaits_final(&self) -> bool {
        matches!(self.state, State::Trying { .. } | State::Proceeding { .. })
    }

    pub fn is_terminated(&self) -> bool {
        self.state == State::Terminated
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use std::time::Duration;

    use super::super::ClientOutput::{Deliver, Failed, Send, TimedOut};
    use super::super::Transport;
    use super::*;

    fn started() -> (ClientOther, Instant) {
        let (now, mut out) = (Instant::now(), Vec::new());
        let timers = Timers::from_t1(Duration::from_millis(500));
        (ClientOther::start("BYE".into(), timers, now, &mut out), now)
    }

    fn run(machine: &mut ClientOther, start: Instant, until_ms: u64) -> (Vec<u128>, Vec<ClientOutput>) {
        let (mut times, mut outputs) = (Vec::new(), Vec::new());
        while let Some(at) = machine.wake_at().filter(|at| *at <= start + Duration::from_millis(until_ms)) {
            let mut out = Vec::new();
            machine.tick(at, &mut out);
            times.extend(out.iter().map(|_| (at - start).as_millis()));
            outputs.extend(out);
        }
        (times, outputs)
    }

    #[test]
    fn trying_repeats_up_to_t2_and_ends_with_f() {
        let (mut machine, start) = started();
        let (times, outputs) = run(&mut machine, start, 60_000);
        assert_eq!(times, [500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500, 32_000]);
        assert_eq!(outputs.last(), Some(&TimedOut));
        assert!(machine.is_terminated());
    }

    #[test]
    fn proceeding_repeats_every_t2_and_still_ends_with_f() {
        let (mut machine, start) = started();
        let mut out = Vec::new();
        machine.response(100, start + Duration::from_millis(100), &mut out);
        assert_eq!(out, [Deliver]);
        let (times, outputs) = run(&mut machine, start, 60_000);
        assert_eq!(times, [4_100, 8_100, 12_100, 16_100, 20_100, 24_100, 28_100, 32_000]);
        assert_eq!(outputs.last(), Some(&TimedOut));
    }

    #[test]
    fn over_tcp_nothing_is_repeated_and_the_answer_ends_it_at_once() {
        let timers = Timers::from_t1(Duration::from_millis(500)).over(Transport::Tls);
        let (start, mut out) = (Instant::now(), Vec::new());
        let mut machine = ClientOther::start("BYE".into(), timers, start, &mut out);
        machine.response(100, start, &mut out);
        assert_eq!(run(&mut machine, start, 60_000), (vec![32_000], vec![TimedOut]));
        let mut machine = ClientOther::start("BYE".into(), timers, start, &mut out);
        machine.again(&mut out);
        machine.response(200, start, &mut out);
        assert!(machine.is_terminated());
        machine.again(&mut out);
        let sent = Send("BYE".into());
        assert_eq!(out[out.len() - 3..], [sent.clone(), sent, Deliver]);
    }

    #[test]
    fn a_final_response_is_delivered_once_and_absorbed_until_k() {
        let (mut machine, start) = started();
        let mut out = Vec::new();
        machine.response(200, start, &mut out);
        machine.response(200, start + Duration::from_millis(1), &mut out);
        assert_eq!(out, [Deliver]);
        run(&mut machine, start, 4_999);
        assert!(!machine.is_terminated());
        run(&mut machine, start, 5_000);
        assert!(machine.is_terminated());
    }

    #[test]
    fn a_transport_error_ends_it() {
        let (mut machine, _) = started();
        let mut out = Vec::new();
        machine.transport_failed(&mut out);
        assert_eq!(out, [Failed]);
        assert!(machine.is_terminated());
    }
}
