//! What went over the wire, kept for a look afterwards: the messages of the last calls, and of whoever was turned away.
//!
//! The agent notes every message on its way in and out; a sent one costs a reference, a received one a copy. Readers take what they want
//! under the same lock, which is held for moments only.
//!
//! | Message | Kept in | Bound |
//! |---|---|---|
//! | of a call (its Call-ID was opened) | that call's list | [`MESSAGES`] a call; `calls` calls and `megabytes` in all, the oldest call goes |
//! | read, of no call (so far) | the ring `others`; moves to its call when that is opened | [`OTHERS`] |
//! | refused at the gate | the ring `refused`, at most [`REFUSED_A_SECOND`] a second | [`REFUSED`] |
//!
//! Bytes are kept as they were; whoever reads gets them with secrets blotted out ([`secrets`]).

mod hep;
mod ladder;
mod pcap;
mod secrets;
mod wire;

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::clock::{Clock, UtcTime};
use crate::config::TraceConfig;
use crate::sip::guard::density::Bucket;
use crate::sip::transport::{Hop, Ports, Transport};

pub use hep::{Exporter, encode};
pub use ladder::{Arrow, Ladder, Participant};
pub use pcap::pcap;

/// Messages of one call.
const MESSAGES: usize = 500;
const OTHERS: usize = 512;
const REFUSED: usize = 256;
const REFUSED_A_SECOND: u32 = 20;
/// Largest message of the two rings of no call, bytes; the rest is cut off.
const LONGEST_OTHER: usize = 2_048;

/// A message on its way, in or out.
#[derive(Debug, Clone)]
pub struct Sighting {
    /// Microseconds since 1970-01-01T00:00:00Z.
    pub at: u64,
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub transport: Transport,
    pub bytes: Bytes,
}

/// Where the agent notes and readers look; cheap to clone.
#[derive(Clone)]
pub struct Trace {
    rings: Arc<Mutex<Rings>>,
    exporter: Option<Exporter>,
    clock: Clock,
    start: Instant,
    start_utc: UtcTime,
    /// Our side of every message.
    local: IpAddr,
    ports: Ports,
}

#[derive(Default)]
struct Rings {
    calls: HashMap<Bytes, Kept>,
    /// Call-IDs, the oldest first.
    order: VecDeque<Bytes>,
    bytes: usize,
    others: VecDeque<(Bytes, Sighting)>,
    refused: VecDeque<Sighting>,
    refusals: Bucket,
    most_calls: usize,
    most_bytes: usize,
}

#[derive(Default)]
struct Kept {
    messages: Vec<Sighting>,
    bytes: usize,
}

impl Trace {
    /// `local` and `ports` are ours, as they are to be shown.
    pub fn new(config: &TraceConfig, exporter: Option<Exporter>, local: IpAddr, ports: Ports, clock: Clock) -> Trace {
        let rings = Rings { most_calls: config.calls, most_bytes: config.megabytes << 20, ..Rings::default() };
        let (start, start_utc) = (clock.now(), clock.utc());
        Trace { rings: Arc::new(Mutex::new(rings)), exporter, clock, start, start_utc, local, ports }
    }

    /// A call with this Call-ID begins: its messages are kept from now on, and those of it that came just before.
    pub fn open(&self, call_id: &str) {
        self.lock().open(&Bytes::copy_from_slice(call_id.as_bytes()));
    }

    /// `taken`: the guard let it in.
    pub fn received(&self, message: &[u8], from: Hop, taken: bool) {
        if self.is_off() || (!taken && !self.lock().may_keep_refused(self.clock.now())) {
            return;
        }
        let cut = if taken { message } else { message.get(..LONGEST_OTHER).unwrap_or(message) };
        let (to, transport) = (self.ours(from.transport), from.transport);
        let bytes = Bytes::copy_from_slice(cut);
        let sighting = Sighting { at: self.now(), from: from.address, to, transport, bytes };
        if taken {
            self.note(sighting);
        } else {
            self.lock().refuse(sighting);
        }
    }

    pub fn sent(&self, message: &Bytes, to: Hop) {
        if self.is_off() {
            return;
        }
        let (from, transport, bytes) = (self.ours(to.transport), to.transport, message.clone());
        self.note(Sighting { at: self.now(), from, to: to.address, transport, bytes });
    }

    /// The messages of the calls with these Call-IDs, in order of time, without secrets.
    pub fn messages<S: AsRef<str>>(&self, call_ids: &[S]) -> Vec<Sighting> {
        let mut found: Vec<Sighting> = {
            let rings = self.lock();
            let kept = call_ids.iter().filter_map(|id| rings.calls.get(id.as_ref().as_bytes()));
            kept.flat_map(|kept| kept.messages.iter().cloned()).collect()
        };
        found.sort_by_key(|sighting| sighting.at);
        found.into_iter().map(Sighting::without_secrets).collect()
    }

    /// Messages that belong to no call, those that were refused unread among them.
    pub fn others(&self) -> Vec<Sighting> {
        let mut found: Vec<Sighting> = {
            let rings = self.lock();
            rings.others.iter().map(|(_, sighting)| sighting).chain(&rings.refused).cloned().collect()
        };
        found.sort_by_key(|sighting| sighting.at);
        found.into_iter().map(Sighting::without_secrets).collect()
    }

    fn is_off(&self) -> bool {
        self.exporter.is_none() && self.lock().most_calls == 0
    }

    fn note(&self, sighting: Sighting) {
        // Keep-alives and noise are no messages.
        let Some(call_id) = wire::call_id(&sighting.bytes) else { return };
        if let Some(exporter) = &self.exporter {
            exporter.offer(&sighting);
        }
        self.lock().note(call_id, sighting);
    }

    fn ours(&self, transport: Transport) -> SocketAddr {
        SocketAddr::new(self.local, self.ports.of(transport))
    }

    /// Counted from one look at the wall clock, so that it never runs backwards.
    fn now(&self) -> u64 {
        let passed = self.clock.now().saturating_duration_since(self.start);
        let start = self.start_utc.0.max(0).unsigned_abs().saturating_mul(1_000);
        start.saturating_add(u64::try_from(passed.as_micros()).unwrap_or(u64::MAX))
    }

    // A poisoned lock only means that a thread panicked between two changes of lists that are each whole.
    fn lock(&self) -> MutexGuard<'_, Rings> {
        self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sighting {
    fn without_secrets(mut self) -> Sighting {
        if let Some(masked) = secrets::masked(&self.bytes) {
            self.bytes = masked;
        }
        self
    }
}

impl Rings {
    fn open(&mut self, call_id: &Bytes) {
        if self.most_calls == 0 || self.calls.contains_key(call_id) {
            return;
        }
        self.order.push_back(call_id.clone());
        self.calls.insert(call_id.clone(), Kept::default());
        let (early, others) = std::mem::take(&mut self.others).into_iter().partition(|(id, _)| id == call_id);
        self.others = others;
        let early: VecDeque<(Bytes, Sighting)> = early;
        for (_, sighting) in early {
            self.keep(call_id, sighting);
        }
        self.forget();
    }

    fn note(&mut self, call_id: Bytes, sighting: Sighting) {
        if self.calls.contains_key(&call_id) {
            self.keep(&call_id, sighting);
            self.forget();
            return;
        }
        if self.others.len() >= OTHERS {
            self.others.pop_front();
        }
        // A long one would keep the whole of its buffer.
        let whole = sighting.bytes.len() <= 8 * LONGEST_OTHER;
        let bytes = if whole {
            sighting.bytes
        } else {
            Bytes::copy_from_slice(sighting.bytes.get(..LONGEST_OTHER).unwrap_or_default())
        };
        self.others.push_back((call_id, Sighting { bytes, ..sighting }));
    }

    fn keep(&mut self, call_id: &Bytes, sighting: Sighting) {
        let Some(kept) = self.calls.get_mut(call_id) else { return };
        if kept.messages.len() >= MESSAGES {
            metrics::counter!("trunkline_sip_trace_messages_dropped_total").increment(1);
            return;
        }
        kept.bytes += sighting.bytes.len();
        self.bytes += sighting.bytes.len();
        kept.messages.push(sighting);
    }

    fn forget(&mut self) {
        while self.order.len() > self.most_calls || (self.bytes > self.most_bytes && self.order.len() > 1) {
            let Some(oldest) = self.order.pop_front() else { return };
            if let Some(kept) = self.calls.remove(&oldest) {
                self.bytes = self.bytes.saturating_sub(kept.bytes);
            }
        }
    }

    fn may_keep_refused(&mut self, now: Instant) -> bool {
        let drain = Duration::from_secs(1) / REFUSED_A_SECOND;
        self.refusals.take(drain, REFUSED_A_SECOND, now)
    }

    fn refuse(&mut self, sighting: Sighting) {
        if self.refused.len() >= REFUSED {
            self.refused.pop_front();
        }
        self.refused.push_back(sighting);
    }
}

#[cfg(test)]
mod tests;
