//! When somebody wants to be woken.
//!
//! Every change of a wake-up time is noted anew and old notes are not taken back: whoever is woken looks whether it is
//! really due.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use super::CallKey;
use crate::sip::transaction::{ClientKey, ServerKey};

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wake {
    Client(ClientKey),
    Server(ServerKey),
    Call(CallKey),
}

#[derive(Default)]
pub struct Schedule(BinaryHeap<Reverse<(Instant, Wake)>>);

impl Schedule {
    pub fn at(&mut self, time: Option<Instant>, wake: Wake) {
        if let Some(time) = time {
            self.0.push(Reverse((time, wake)));
        }
    }

    pub fn next(&self) -> Option<Instant> {
        self.0.peek().map(|Reverse((time, _))| *time)
    }

    pub fn due(&mut self, now: Instant) -> Option<Wake> {
        if self.next()? > now {
            return None;
        }
        self.0.pop().map(|Reverse((_, wake))| wake)
    }
}
