//! The way in: the guard is asked before anything is parsed, and again before a stranger is answered.

use std::time::Instant;

use super::{Output, UserAgent};
use crate::sip::guard::journal::Reason;
use crate::sip::guard::{BUSY_FOR, Gate, Standing, busy};
use crate::sip::trace::Trace;
use crate::sip::transport::Hop;

impl UserAgent {
    /// Takes what came in; `false` when the guard refused it unread.
    pub fn datagram(&mut self, datagram: &[u8], source: Hop, now: Instant) -> bool {
        let gate = self.guard.gate(datagram, source.ip(), self.standing(source), now);
        if let Some(trace) = &self.trace {
            trace.received(datagram, source, gate == Gate::Pass);
        }
        match gate {
            Gate::Pass => {
                self.admitted(datagram, source, now);
                return true;
            }
            Gate::Silence => {}
            Gate::Busy => {
                if let Some((datagram, to)) = busy(datagram, source, BUSY_FOR) {
                    self.out.push(Output::Transmit { to, datagram, transaction: None });
                }
            }
        }
        false
    }

    /// Every message on its way in and out is noted there from now on.
    pub fn trace_to(&mut self, trace: Trace) {
        self.trace = Some(trace);
    }

    /// Notes what goes out.
    pub(super) fn trace_outputs(&self) {
        let Some(trace) = &self.trace else { return };
        for output in &self.out {
            match output {
                Output::Transmit { to, datagram, .. } => trace.sent(datagram, *to),
                Output::Incoming(incoming) => trace.open(&incoming.call_id),
                _ => {}
            }
        }
    }

    /// Strangers get few answers, and none at all where nobody could ever sign in: whoever scans finds nothing here.
    pub(super) fn is_unheard(&mut self, source: Hop, now: Instant) -> bool {
        match self.standing(source) {
            Standing::Trunk => false,
            Standing::Hopeless if !self.guard.is_vouched(source.ip(), now) => {
                self.guard.note(source.ip(), Reason::Stranger, now);
                true
            }
            Standing::Hopeless | Standing::Guest => !self.guard.may_answer(source.ip(), now),
        }
    }

    fn standing(&self, source: Hop) -> Standing {
        match self.trunk_of(source) {
            Some(_) => Standing::Trunk,
            None if self.authority.has_users() => Standing::Guest,
            None => Standing::Hopeless,
        }
    }
}
