//! A connection that is lost in the middle of a session: whether another is made, how often, and what is kept of the caller
//! meanwhile.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::ai::engine::CallerFrame;
use crate::ai::socket::{HandshakeError, SocketError};

/// Connections that are made for lost ones within so long, and the pauses before them.
pub const TRIES: usize = 4;
pub const WINDOW: Duration = Duration::from_secs(60);
pub const PAUSES: [Duration; TRIES] =
    [Duration::ZERO, Duration::from_millis(250), Duration::from_millis(500), Duration::from_secs(1)];
/// What is kept of the caller's speech while there is no connection.
pub const GAP: Duration = Duration::from_secs(2);

/// Whether another connection may help: not when the service found fault with what we said, or with our account, or
/// ended the session as it should.
pub fn is_lost(error: &SocketError) -> bool {
    match error {
        SocketError::Closed(1001 | 1006 | 1011..=1015, reason) => {
            let reason = reason.to_ascii_lowercase();
            !(reason.contains("quota") || reason.contains("billing"))
        }
        SocketError::Handshake(HandshakeError::Refused(status, _)) => *status >= 500,
        SocketError::Unreachable(_) | SocketError::TooLate | SocketError::Broken(_) | SocketError::Silent => true,
        SocketError::Deaf => true,
        SocketError::Closed(..) | SocketError::Frame(_) | SocketError::Handshake(_) => false,
        SocketError::Tls(_) | SocketError::NoTarget | SocketError::NoName => false,
    }
}

/// Counts the connections that were made for lost ones.
#[derive(Debug, Default)]
pub struct Tries(VecDeque<Instant>);

impl Tries {
    /// One more: the pause before it; `None` when that is one too many.
    pub fn another(&mut self, now: Instant) -> Option<Duration> {
        while self.0.front().is_some_and(|tried| now.saturating_duration_since(*tried) >= WINDOW) {
            self.0.pop_front();
        }
        let pause = PAUSES.get(self.0.len())?;
        self.0.push_back(now);
        Some(*pause)
    }
}

/// The end of what the caller says while there is no connection, as the service wants it.
#[derive(Debug, Default)]
pub struct Missed(VecDeque<u8>);

impl Missed {
    /// `most`: octets of [`GAP`].
    pub fn add(&mut self, heard: CallerFrame<'_>, most: usize) {
        match heard {
            CallerFrame::Ulaw(octets) | CallerFrame::Alaw(octets) => self.0.extend(octets),
            CallerFrame::Linear { pcm, .. } => self.0.extend(pcm.iter().flat_map(|sample| sample.to_le_bytes())),
        }
        let surplus = self.0.len().saturating_sub(most);
        self.0.drain(..surplus);
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// All of it, unless there is none.
    pub fn take(&mut self) -> Option<Vec<u8>> {
        (!self.0.is_empty()).then(|| std::mem::take(&mut self.0).into())
    }
}
