//! INVITE client transaction: RFC 3261 §17.1.1 with RFC 6026 §7.2. The state table stands in the parent module.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Backoff, ClientOutput, Timers};

#[derive(Debug)]
pub struct ClientInvite {
    request: Bytes,
    timers: Timers,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Calling {
        /// None over a transport that loses nothing.
        a: Option<Backoff>,
        b: Instant,
    },
    /// `c` is the end of the wait once a CANCEL was sent.
    Proceeding {
        c: Option<Instant>,
    },
    Completed {
        ack: Bytes,
        d: Instant,
    },
    Accepted {
        m: Instant,
    },
    Terminated,
}

/// Timer A is not bounded by T2.
const NO_CEILING: Duration = Duration::MAX;

impl ClientInvite {
    pub fn start(request: Bytes, timers: Timers, now: Instant, out: &mut Vec<ClientOutput>) -> ClientInvite {
        out.push(ClientOutput::Send(request.clone()));
        let a = (!timers.reliable).then(|| Backoff::start(now, timers.t1));
        let state = State::Calling { a, b: now + timers.give_up() };
        ClientInvite { request, timers, state }
    }

    /// `ack` builds the ACK that a final refusal is owed.
    pub fn response(&mut self, code: u16, ack: impl FnOnce() -> Bytes, now: Instant, out: &mut Vec<ClientOutput>) {
        match (&self.state, code) {
            (State::Calling { .. }, 100..=199) => {
                self.state = State::Proceeding { c: None };
                out.push(ClientOutput::Deliver);
            }
            (State::Proceeding { .. }, 100..=199) => out.push(ClientOutput::Deliver),
            (State::Calling { .. } | State::Proceeding { .. }, 200..=299) => {
                self.state = State::Accepted { m: now + self.timers.give_up() };
                out.push(ClientOutput::Deliver);
            }
            (State::Calling { .. } | State::Proceeding { .. }, _) => {
                let ack = ack();
                out.push(ClientOutput::Send(ack.clone()));
                out.push(ClientOutput::Deliver);
                self.state = match self.timers.reliable {
                    true => State::Terminated,
                    false => State::Completed { ack, d: now + self.timers.give_up() },
                };
            }
            (State::Completed { ack, .. }, 300..) => out.push(ClientOutput::Send(ack.clone())),
            (State::Accepted { .. }, 200..=299) => out.push(ClientOutput::Deliver),
            (State::Completed { .. } | State::Accepted { .. } | State::Terminated, _) => {}
        }
    }

    pub fn tick(&mut self, now: Instant, out: &mut Vec<ClientOutput>) {
        match &mut self.state {
            State::Calling { b, .. } if now >= *b => {
                self.state = State::Terminated;
                out.push(ClientOutput::TimedOut);
            }
            State::Calling { a, .. } => {
                if a.as_mut().is_some_and(|a| a.fired(now, NO_CEILING)) {
                    out.push(ClientOutput::Send(self.request.clone()));
                }
            }
            State::Proceeding { c: Some(end) } | State::Completed { d: end, .. } | State::Accepted { m: end }
                if now >= *end =>
            {
                self.state = State::Terminated;
            }
            State::Proceeding { .. } | State::Completed { .. } | State::Accepted { .. } | State::Terminated => {}
        }
    }

    pub fn transport_failed(&mut self, out: &mut Vec<ClientOutput>) {
        if matches!(self.state, State::Calling { .. } | State::Proceeding { .. } | State::Completed { .. }) {
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
        matches!(self.state, State::Calling { .. })
    }

    /// A CANCEL was sent: without a final response, all ends after 64·T1 (RFC 3261 §9.1).
    pub fn cancelled(&mut self, now: Instant) {
        if let State::Proceeding { c: c @ None } = &mut self.state {
            *c = Some(now + self.timers.give_up());
        }
    }

    pub fn wake_at(&self) -> Option<Instant> {
        match &self.state {
            State::Calling { a, b } => Some(a.map_or(*b, |a| a.at.min(*b))),
            State::Completed { d: end, .. } | State::Accepted { m: end } => Some(*end),
            State::Proceeding { c } => *c,
            State::Terminated => None,
        }
    }

    pub fn awaits_final(&self) -> bool {
        matches!(self.state, State::Calling { .. } | State::Proceeding { .. })
    }

    pub fn is_terminated(&self) -> bool {
        self.state == State::Terminated
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::super::ClientOutput::{Deliver, Failed, Send, TimedOut};
    use super::super::Transport;
    use super::*;

    const T1: Duration = Duration::from_millis(500);

    struct Bench {
        machine: ClientInvite,
        start: Instant,
        out: Vec<ClientOutput>,
    }

    fn request() -> ClientOutput {
        Send("INVITE".into())
    }

    fn ack() -> ClientOutput {
        Send("ACK".into())
    }

    impl Bench {
        fn new() -> Bench {
            Bench::with(Timers::from_t1(T1))
        }

        fn with(timers: Timers) -> Bench {
            let (start, mut out) = (Instant::now(), Vec::new());
            let machine = ClientInvite::start("INVITE".into(), timers, start, &mut out);
            assert_eq!(out, [request()]);
            Bench { machine, start, out: Vec::new() }
        }

        fn response(&mut self, code: u16, at_ms: u64) -> Vec<ClientOutput> {
            self.machine.response(code, || "ACK".into(), self.start + Duration::from_millis(at_ms), &mut self.out);
            std::mem::take(&mut self.out)
        }

        /// Ticks at every wake-up until `until_ms`; returns (time in ms, output).
        fn run(&mut self, until_ms: u64) -> Vec<(u128, ClientOutput)> {
            let mut seen = Vec::new();
            while let Some(at) = self.machine.wake_at().filter(|at| *at <= self.start + Duration::from_millis(until_ms))
            {
                self.machine.tick(at, &mut self.out);
                seen.extend(self.out.drain(..).map(|output| ((at - self.start).as_millis(), output)));
            }
            seen
        }
    }

    #[test]
    fn calling_repeats_with_doubling_a_and_ends_with_b() {
        let seen = Bench::new().run(40_000);
        let times: Vec<u128> = seen.iter().map(|(at, _)| *at).collect();
        assert_eq!(times, [500, 1_500, 3_500, 7_500, 15_500, 31_500, 32_000]);
        assert_eq!(seen.last(), Some(&(32_000, TimedOut)));
    }

    #[test]
    fn over_tcp_nothing_is_repeated_and_a_refusal_ends_it_at_once() {
        let timers = Timers::from_t1(T1).over(Transport::Tcp);
        let mut bench = Bench::with(timers);
        let seen = bench.run(40_000);
        assert_eq!(seen, [(32_000, TimedOut)]);
        let mut bench = Bench::with(timers);
        assert_eq!(bench.response(486, 10), [ack(), Deliver]);
        assert!(bench.machine.is_terminated());
    }

    #[test]
    fn a_provisional_stops_a_and_b() {
        let mut bench = Bench::new();
        assert_eq!(bench.response(100, 10), [Deliver]);
        assert_eq!(bench.response(180, 20), [Deliver]);
        assert_eq!(bench.run(100_000), []);
        assert!(bench.machine.awaits_final());
    }

    #[test]
    fn a_refusal_is_acknowledged_once_delivered_and_every_repeat_acknowledged() {
        let mut bench = Bench::new();
        assert_eq!(bench.response(486, 10), [ack(), Deliver]);
        assert_eq!(bench.response(486, 20), [ack()]);
        assert_eq!(bench.response(200, 30), []);
        assert_eq!(bench.response(180, 30), []);
        assert_eq!(bench.run(32_009), []);
        assert!(!bench.machine.is_terminated());
        bench.run(32_010);
        assert!(bench.machine.is_terminated());
    }

    #[test]
    fn accepted_delivers_every_2xx_until_m() {
        let mut bench = Bench::new();
        bench.response(183, 5);
        assert_eq!(bench.response(200, 10), [Deliver]);
        assert_eq!(bench.response(200, 500), [Deliver]);
        assert_eq!(bench.response(486, 600), []);
        bench.run(32_010);
        assert!(bench.machine.is_terminated());
        assert_eq!(bench.response(200, 33_000), []);
    }

    #[test]
    fn a_transport_error_ends_it() {
        let mut bench = Bench::new();
        bench.machine.transport_failed(&mut bench.out);
        assert_eq!(bench.out, [Failed]);
        assert!(bench.machine.is_terminated());
    }

    #[test]
    fn a_cancelled_call_waits_64_t1_for_its_end_and_no_longer() {
        let mut bench = Bench::new();
        bench.response(180, 5);
        bench.machine.cancelled(bench.start + Duration::from_millis(10));
        assert_eq!(bench.response(180, 400), [Deliver], "ringing on does not prolong it");
        assert_eq!(bench.run(32_009), []);
        assert!(bench.machine.awaits_final());
        assert_eq!(bench.run(32_010), []);
        assert!(bench.machine.is_terminated());
    }
}
