//! The four transaction machines of RFC 3261 §17, with the Accepted state of RFC 6026, over UDP and over
//! transports that lose nothing.
//!
//! Messages (already written) and [`std::time::Instant`]s go in; what to send and what to tell the user agent comes
//! out. A machine holds no clock: it is asked with [`ClientInvite::wake_at`] and its kin when it wants to be ticked.
//!
//! | Machine | State | Input | Output | Next |
//! |---|---|---|---|---|
//! | INVITE client | – | start | send request, A = T1, B = 64·T1 | Calling |
//! | | Calling | A | send request, A doubles | Calling |
//! | | Calling | B | timed out | Terminated |
//! | | Calling, Proceeding | 1xx | deliver | Proceeding |
//! | | Calling, Proceeding | 2xx | deliver, M = 64·T1 | Accepted |
//! | | Calling, Proceeding | 300–699 | send ACK, deliver, D = 64·T1 | Completed |
//! | | Proceeding | cancelled | C = 64·T1 | Proceeding |
//! | | Proceeding | C | | Terminated |
//! | | Completed | 300–699 | send ACK | Completed |
//! | | Completed | D | | Terminated |
//! | | Accepted | 2xx | deliver (the core sends ACK) | Accepted |
//! | | Accepted | M | | Terminated |
//! | | Calling … Completed | transport error | failed | Terminated |
//! | other client | – | start | send request, E = T1, F = 64·T1 | Trying |
//! | | Trying, Proceeding | E | send request, E = min(2·E, T2); T2 in Proceeding | same |
//! | | Trying, Proceeding | F | timed out | Terminated |
//! | | Trying, Proceeding | 1xx | deliver | Proceeding |
//! | | Trying, Proceeding | 200–699 | deliver, K = T4 | Completed |
//! | | Completed | K | | Terminated |
//! | INVITE server | – | start | | Proceeding |
//! | | Proceeding | request again | send last 1xx | Proceeding |
//! | | Proceeding | respond 1xx | send | Proceeding |
//! | | Proceeding | respond 2xx | send, L = 64·T1 | Accepted |
//! | | Proceeding | respond 300–699 | send, G = T1, H = 64·T1 | Completed |
//! | | Completed | G | send, G = min(2·G, T2) | Completed |
//! | | Completed | request again | send | Completed |
//! | | Completed | ACK | I = T4 | Confirmed |
//! | | Completed | H | no ACK came | Terminated |
//! | | Confirmed | I | | Terminated |
//! | | Accepted | request again | | Accepted |
//! | | Accepted | respond 2xx | send (the core repeats it) | Accepted |
//! | | Accepted | L | | Terminated |
//! | other server | – | start | | Trying |
//! | | Trying, Proceeding | respond 1xx | send | Proceeding |
//! | | Trying, Proceeding | respond 200–699 | send, J = 64·T1 | Completed |
//! | | Proceeding, Completed | request again | send last response | same |
//! | | Completed | J | | Terminated |
//!
//! Over TCP and TLS there are no timers A, E and G, and D, I, J and K are zero (RFC 3261 §17, table 4): Completed and
//! Confirmed end as soon as they begin, but for the INVITE server's Completed, which waits for its ACK. The 2xx is repeated
//! by the core over every transport, and so L and M stay.
//!
//! C is not the proxy's timer of that name but the end of RFC 3261 §9.1. D is 64·T1, which is the 32 s of the RFC at its T1; K and I are T4.

pub mod client_invite;
pub mod client_other;
pub mod key;
pub mod server_invite;
pub mod server_other;
pub mod table;

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::transport::Transport;

pub use client_invite::ClientInvite;
pub use client_other::ClientOther;
pub use key::{ClientKey, ServerKey};
pub use server_invite::ServerInvite;
pub use server_other::ServerOther;

/// The base intervals (RFC 3261 §17.1.1.1); the others are multiples of T1 in the proportions of the RFC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers {
    pub t1: Duration,
    pub t2: Duration,
    pub t4: Duration,
    /// The transport loses nothing: A, E and G never fire, D, I, J and K are zero.
    pub reliable: bool,
}

impl Timers {
    /// T2 = 8·T1 (4 s) and T4 = 10·T1 (5 s).
    pub fn from_t1(t1: Duration) -> Timers {
        Timers { t1, t2: t1 * 8, t4: t1 * 10, reliable: false }
    }

    /// The same for a transaction over `transport`.
    pub fn over(self, transport: Transport) -> Timers {
        Timers { reliable: transport.is_reliable(), ..self }
    }

    /// 8·T1, four transmissions: a server that has said nothing until then is left where another is there.
    pub fn patience(&self) -> Duration {
        self.t1 * 8
    }

    /// 64·T1: timers B, D, F, H, J, L, M.
    pub fn give_up(&self) -> Duration {
        self.t1 * 64
    }
}

/// What a client machine wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientOutput {
    Send(Bytes),
    /// Pass the response that was just given up to the user agent.
    Deliver,
    /// Timer B or F.
    TimedOut,
    /// The transport refused the request.
    Failed,
}

/// What a server machine wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerOutput {
    Send(Bytes),
    /// Timer H: a final refusal was never acknowledged.
    NoAck,
}

/// A retransmission timer with its growing interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    pub at: Instant,
    interval: Duration,
}

impl Backoff {
    pub fn start(now: Instant, first: Duration) -> Backoff {
        Backoff { at: now + first, interval: first }
    }

    /// Whether it fired; then it is armed again with the double interval, at most `ceiling`.
    pub fn fired(&mut self, now: Instant, ceiling: Duration) -> bool {
        if now < self.at {
            return false;
        }
        self.interval = (self.interval * 2).min(ceiling);
        // Counted from when it was due, so that a late tick does not push all that follows; unless it was very late.
        self.at += self.interval;
        if self.at <= now {
            self.at = now + self.interval;
        }
        true
    }
}
