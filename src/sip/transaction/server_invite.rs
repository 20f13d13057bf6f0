//! INVITE server transaction: RFC 3261 §17.2.1 with RFC 6026 §7.1. The state table stands in the parent module.

use std::time::Instant;

use bytes::Bytes;

use super::{Backoff, ServerOutput, Timers};

#[derive(Debug)]
pub struct ServerInvite {
    timers: Timers,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Proceeding { provisional: Option<Bytes> },
    Completed { refusal: Bytes, g: Option<Backoff>, h: Instant },
    Confirmed { i: Instant },
    Accepted { l: Instant },
    Terminated,
}

impl ServerInvite {
    pub fn start(timers: Timers) -> ServerInvite {
        ServerInvite { timers, state: State::Proceeding { provisional: None } }
    }

    /// The INVITE came again.
    pub fn repeated(&mut self, out: &mut Vec<ServerOutput>) {
        match &self.state {
            State::Proceeding { provisional: Some(response) } | State::Completed { refusal: response, .. } => {
                out.push(ServerOutput::Send(response.clone()));
            }
            // Accepted: the core repeats the 2xx on its own timer.
            State::Proceeding { provisional: None }
            | State::Confirmed { .. }
            | State::Accepted { .. }
            | State::Terminated => {}
        }
    }

    pub fn ack(&mut self, now: Instant) {
        if matches!(self.state, State::Completed { .. }) {
            self.state = match self.timers.reliable {
                true => State::Terminated,
                false => State::Confirmed { i: now + self.timers.t4 },
            };
        }
    }

    pub fn respond(&mut self, code: u16, response: Bytes, now: Instant, out: &mut Vec<ServerOutput>) {
        match (&mut self.state, code) {
            (State::Proceeding { provisional }, 100..=199) => *provisional = Some(response.clone()),
            (State::Proceeding { .. }, 200..=299) => {
                self.state = State::Accepted { l: now + self.timers.give_up() };
            }
            (State::Proceeding { .. }, _) => {
                let g = (!self.timers.reliable).then(|| Backoff::start(now, self.timers.t1));
                self.state = State::Completed { refusal: response.clone(), g, h: now + self.timers.give_up() };
            }
            (State::Accepted { .. }, 200..=299) => {}
            _ => return,
        }
        out.push(ServerOutput::Send(response));
    }

    pub fn tick(&mut self, now: Instant, out: &mut Vec<ServerOutput>) {
        match &mut self.state {
            State::Completed { h, .. } if now >= *h => {
                self.state = State::Terminated;
                out.push(ServerOutput::NoAck);
            }
            State::Completed { refusal, g, .. } => {
                if g.as_mut().is_some_and(|g| g.fired(now, self.timers.t2)) {
                    out.push(ServerOutput::Send(refusal.clone()));
                }
            }
            State::Confirmed { i: end } | State::Accepted { l: end } if now >= *end => self.state = State::Terminated,
            State::Proceeding { .. } | State::Confirmed { .. } | State::Accepted { .. } | State::Terminated => {}
        }
    }

    pub fn wake_at(&self) -> Option<Instant> {
        match &self.state {
            State::Completed { g, h, .. } => Some(g.map_or(*h, |g| g.at.min(*h))),
            State::Confirmed { i: end } | State::Accepted { l: end } => Some(*end),
            State::Proceeding { .. } | State::Terminated => None,
        }
    }

    /// No final response has been given.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Proceeding { .. })
    }

    pub fn is_terminated(&self) -> bool {
        self.state == State::Terminated
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use std::time::Duration;

    use super::super::ServerOutput::{NoAck, Send};
    use super::super::Transport;
    use super::*;

    struct Bench {
        machine: ServerInvite,
        start: Instant,
        out: Vec<ServerOutput>,
    }

    impl Bench {
        fn new() -> Bench {
            let machine = ServerInvite::start(Timers::from_t1(Duration::from_millis(500)));
            Bench { machine, start: Instant::now(), out: Vec::new() }
        }

        fn respond(&mut self, code: u16) -> Vec<ServerOutput> {
            self.machine.respond(code, code.to_string().into(), self.start, &mut self.out);
            std::mem::take(&mut self.out)
        }

        fn repeated(&mut self) -> Vec<ServerOutput> {
            self.machine.repeated(&mut self.out);
            std::mem::take(&mut self.out)
        }

        fn run(&mut self, until_ms: u64) -> Vec<(u128, ServerOutput)> {
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
    fn a_repeated_invite_gets_the_last_provisional() {
        let mut bench = Bench::new();
        assert_eq!(bench.repeated(), []);
        assert_eq!(bench.respond(100), [Send("100".into())]);
        assert_eq!(bench.respond(180), [Send("180".into())]);
        assert_eq!(bench.repeated(), [Send("180".into())]);
        assert!(bench.machine.is_open());
    }

    #[test]
    fn a_refusal_repeats_with_g_until_the_ack_then_rests_for_i() {
        let mut bench = Bench::new();
        assert_eq!(bench.respond(486), [Send("486".into())]);
        assert_eq!(bench.repeated(), [Send("486".into())]);
        let times: Vec<u128> = bench.run(12_000).iter().map(|(at, _)| *at).collect();
        assert_eq!(times, [500, 1_500, 3_500, 7_500, 11_500]);
        bench.machine.ack(bench.start + Duration::from_millis(12_000));
        assert_eq!(bench.repeated(), []);
        assert_eq!(bench.run(16_999), []);
        assert!(!bench.machine.is_terminated());
        bench.run(17_000);
        assert!(bench.machine.is_terminated());
    }

    #[test]
    fn over_tcp_a_refusal_is_not_repeated_and_its_ack_ends_it() {
        let timers = Timers::from_t1(Duration::from_millis(500)).over(Transport::Tcp);
        let mut bench = Bench { machine: ServerInvite::start(timers), ..Bench::new() };
        bench.respond(486);
        assert_eq!(bench.run(31_999), []);
        assert_eq!(bench.repeated(), [Send("486".into())]);
        bench.machine.ack(bench.start + Duration::from_secs(1));
        assert!(bench.machine.is_terminated());
    }

    #[test]
    fn a_refusal_without_ack_ends_with_h() {
        let mut bench = Bench::new();
        bench.respond(486);
        assert_eq!(bench.run(40_000).last(), Some(&(32_000, NoAck)));
        assert!(bench.machine.is_terminated());
    }

    #[test]
    fn accepted_absorbs_repeats_lets_the_core_repeat_and_ends_with_l() {
        let mut bench = Bench::new();
        assert_eq!(bench.respond(200), [Send("200".into())]);
        assert_eq!(bench.repeated(), []);
        assert_eq!(bench.respond(200), [Send("200".into())]);
        assert_eq!(bench.respond(486), []);
        assert_eq!(bench.run(31_999), []);
        bench.run(32_000);
        assert!(bench.machine.is_terminated());
    }
}
