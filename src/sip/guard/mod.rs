//! The bounds on what one source may have of us.
//!
//! Before anything is parsed, [`Guard::gate`] looks at the source and at a few bytes:
//!
//! | Source | Datagram | What happens |
//! |---|---|---|
//! | trunk, or vouched for (signed in, or a peer in a call, within ten minutes) | begins a transaction of its own | let in, up to 4,000 a second, 8,000 at once; beyond: 503 |
//! | the same | ACK, BYE, CANCEL, PRACK, UPDATE, INFO, a response | let in |
//! | stranger | beyond what [`density`] allows | 503 at most 20 times a second where there are extensions, else silence |
//! | stranger | names a known scanner | silence |
//! | stranger | else | let in |
//!
//! Behind the gate:
//!
//! | What | Bound | Beyond it |
//! |---|---|---|
//! | dialogs at once | `max_dialogs_per_source` | 503 |
//! | wrong passwords | [`FREE_TRIES`], forgotten ten minutes after the last | 503 for 1 s, then 2 s, 4 s … up to [`LONGEST_LOCK`] |
//! | answers to a stranger (neither trunk nor in a call) | [`BURST`] at once, then one every 50 ms | silence |
//! | answers to a stranger where there are no extensions | none | silence |
//!
//! A wrong password counts only when it answers a nonce that we sent to that very address, so nobody can lock others
//! out with forged sources. Strangers get bounded answers because a forged source would make us throw them at its
//! owner. Networks of IPv6 count as one source up to /64. Every table has a fixed size.

mod answers;
mod busy;
pub mod density;
pub mod journal;
mod known;
pub mod scanner;
mod tries;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use answers::Answers;
pub use busy::busy;
use density::{Bucket, Density, Level};
use journal::{Journal, Reason};
use known::Known;
use tries::Tries;

pub struct Guard {
    limit: usize,
    dialogs: HashMap<IpAddr, usize>,
    tries: Tries,
    answers: Answers,
    density: Density,
    known: Known,
    journal: Journal,
    /// 503s to strangers under a flood, of all together.
    sorry: Bucket,
    shed: Bucket,
}

/// Wrong passwords that cost nothing: people mistype.
pub const FREE_TRIES: u32 = 5;
/// The longest that a source is refused after a wrong password.
pub const LONGEST_LOCK: Duration = Duration::from_secs(300);
/// Answers that a stranger gets at once.
pub const BURST: u32 = 50;
/// Seconds after which whoever was refused for our lack of time may come again.
pub const BUSY_FOR: u64 = 10;
const SORRY_EVERY: Duration = Duration::from_millis(50);
const SORRY_BURST: u32 = 20;
/// The log speaks of a flood as often.
const SHED_LINE_EVERY: Duration = Duration::from_secs(30);

/// What a source is to the box by its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Trunk,
    /// May become an extension by a password.
    Guest,
    /// There are no extensions.
    Hopeless,
}

/// What the gate says of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    Pass,
    Silence,
    /// To be answered by [`busy`].
    Busy,
}

impl Guard {
    pub fn new(limit: usize) -> Guard {
        Guard {
            limit,
            dialogs: HashMap::new(),
            tries: Tries::default(),
            answers: Answers::new(),
            density: Density::new(),
            known: Known::new(),
            journal: Journal::new(),
            sorry: Bucket::default(),
            shed: Bucket::default(),
        }
    }

    /// Asked for every datagram before it is parsed. Allocates nothing.
    pub fn gate(&mut self, datagram: &[u8], source: IpAddr, standing: Standing, now: Instant) -> Gate {
        let network = network(source);
        if standing == Standing::Trunk || self.known.knows(network, now) {
            let fits = goes_on(datagram) || self.known.take(network, now);
            return if fits { Gate::Pass } else { refused("trunk-flood", Gate::Busy) };
        }
        if let Err(level) = self.density.take(source, now) {
            self.note_flood(source, level, now);
            let sorry = standing == Standing::Guest && self.sorry.take(SORRY_EVERY, SORRY_BURST, now);
            return refused("flood", if sorry { Gate::Busy } else { Gate::Silence });
        }
        if scanner::is_scanner(datagram) {
            self.note(source, Reason::Scanner, now);
            return refused("scanner", Gate::Silence);
        }
        Gate::Pass
    }

    /// The source has shown who it is, or is a party of a call: it is no stranger for the next ten minutes.
    pub fn vouch(&mut self, source: IpAddr, now: Instant) {
        self.known.note(network(source), now);
    }

    pub fn is_vouched(&self, source: IpAddr, now: Instant) -> bool {
        self.known.knows(network(source), now)
    }

    /// Notes a refusal for the log.
    pub fn note(&mut self, source: IpAddr, reason: Reason, now: Instant) {
        if let Some(line) = self.journal.note(source, reason, now) {
            line.write();
        }
    }

    /// Only a single loud host is named: whoever fills a network's or everybody's share has most likely forged it.
    fn note_flood(&mut self, source: IpAddr, level: Level, now: Instant) {
        if level == Level::Host {
            self.note(source, Reason::Flood, now);
        } else if self.shed.take(SHED_LINE_EVERY, 1, now) {
            tracing::warn!(?level, "requests of strangers are dropped unread: there are too many of them");
        }
    }

    /// Takes a place for one dialog; `false` when the source has none left.
    pub fn enter(&mut self, source: IpAddr) -> bool {
        let held = self.dialogs.entry(source).or_default();
        let free = *held < self.limit;
        if free {
            *held += 1;
        } else if *held == 0 {
            self.dialogs.remove(&source);
        }
        free
    }

    pub fn leave(&mut self, source: IpAddr) {
        if let Some(held) = self.dialogs.get_mut(&source) {
            *held = held.saturating_sub(1);
            if *held == 0 {
                self.dialogs.remove(&source);
            }
        }
    }

    /// Notes a wrong password.
    pub fn failed(&mut self, source: IpAddr, now: Instant) {
        self.tries.failed(network(source), now);
        if self.locked_for(source, now).is_some() {
            self.note(source, Reason::Password, now);
        }
    }

    /// How long the source is still refused for its wrong passwords.
    pub fn locked_for(&self, source: IpAddr, now: Instant) -> Option<Duration> {
        let until = self.tries.find(network(source))?.locked_until;
        until.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    /// Whether a stranger at `source` gets one more answer.
    pub fn may_answer(&mut self, source: IpAddr, now: Instant) -> bool {
        self.answers.take(network(source), now)
    }
}

fn refused(reason: &'static str, gate: Gate) -> Gate {
    metrics::counter!("trunkline_sip_gate_refused_total", "reason" => reason).increment(1);
    gate
}

/// Belongs to something that is under way.
fn goes_on(datagram: &[u8]) -> bool {
    const BEGINNINGS: [&[u8]; 7] = [b"SIP/2.0 ", b"ACK ", b"BYE ", b"CANCEL ", b"PRACK ", b"UPDATE ", b"INFO "];
    BEGINNINGS.iter().any(|beginning| datagram.starts_with(beginning))
}

/// What counts as one source.
fn network(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(_) => source,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests;
