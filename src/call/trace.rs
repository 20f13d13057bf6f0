//! A call's trace: the messages that the signalling kept under its Call-IDs and the figures of its sound, joined.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use uuid::Uuid;

use super::Calls;
use super::ledger;
use super::record::Call;
use crate::clock::UtcTime;
use crate::media::Quality;
use crate::sip::trace::{Ladder, Sighting, pcap};
use crate::store::StoreError;

/// Dialogs of one call: attempts, trunks, transfers.
const DIALOGS: usize = 32;
/// Looks at the sound of a call that are kept.
const SAMPLES: usize = 64;

/// What belongs to which call, for the last calls.
pub(super) struct Traces {
    most: usize,
    joined: Mutex<Joined>,
}

#[derive(Default)]
struct Joined {
    calls: HashMap<Uuid, Parts>,
    order: VecDeque<Uuid>,
}

#[derive(Default, Clone)]
struct Parts {
    call_ids: Vec<String>,
    samples: Samples,
}

/// Looks at the sound, spread evenly over the call however long it lasts: when there is no room, every second one goes,
/// and from then on half as many are kept.
#[derive(Debug, Default, Clone)]
struct Samples {
    kept: Vec<Sample>,
    /// One look in 2^`thinned` is kept.
    thinned: u32,
    looks: u64,
}

impl Samples {
    fn push(&mut self, sample: Sample) {
        let taken = self.looks.is_multiple_of(1 << self.thinned);
        self.looks += 1;
        if !taken {
            return;
        }
        self.kept.push(sample);
        if self.kept.len() == SAMPLES {
            let mut index = 0;
            self.kept.retain(|_| (index % 2 == 0, index += 1).0);
            self.thinned = (self.thinned + 1).min(63);
        }
    }
}

/// A look at the sound, at most once a second.
#[derive(Debug, Clone, Serialize)]
pub struct Sample {
    #[serde(skip)]
    at: UtcTime,
    /// After the first message of the trace.
    offset_ms: f64,
    #[serde(flatten)]
    quality: Quality,
}

/// The trace of one call, or of what belongs to none.
#[derive(Debug, Serialize)]
pub struct CallTrace {
    /// Absent for what belongs to no call.
    pub call: Option<Uuid>,
    pub alias: Option<String>,
    pub started_at: Option<String>,
    /// The whole in a line.
    pub summary: String,
    #[serde(flatten)]
    pub ladder: Ladder,
    /// RTP and RTCP figures as they were at the end.
    pub rtp: Option<Quality>,
    pub rtp_samples: Vec<Sample>,
    #[serde(skip)]
    sightings: Vec<Sighting>,
}

impl Traces {
    pub(super) fn new(most: usize) -> Traces {
        Traces { most, joined: Mutex::default() }
    }

    /// The call speaks SIP under this Call-ID.
    pub(super) fn joined(&self, call: Uuid, call_id: &str) {
        let mut joined = self.lock();
        let parts = joined.parts(call, self.most);
        if parts.call_ids.len() < DIALOGS && !parts.call_ids.iter().any(|known| known == call_id) {
            parts.call_ids.push(call_id.to_owned());
        }
        joined.forget(self.most);
    }

    pub(super) fn quality(&self, call: Uuid, at: UtcTime, quality: Quality) {
        let mut joined = self.lock();
        let Some(parts) = joined.calls.get_mut(&call) else { return };
        parts.samples.push(Sample { at, offset_ms: 0.0, quality });
    }

    fn of(&self, call: Uuid) -> Parts {
        self.lock().calls.get(&call).cloned().unwrap_or_default()
    }

    // A poisoned lock only means that a thread panicked between changes that are each whole.
    fn lock(&self) -> MutexGuard<'_, Joined> {
        self.joined.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Joined {
    fn parts(&mut self, call: Uuid, most: usize) -> &mut Parts {
        if most > 0 && !self.calls.contains_key(&call) {
            self.order.push_back(call);
        }
        self.calls.entry(call).or_default()
    }

    fn forget(&mut self, most: usize) {
        while self.order.len() > most {
            if let Some(oldest) = self.order.pop_front() {
                self.calls.remove(&oldest);
            }
        }
        if most == 0 {
            self.calls.clear();
        }
    }
}

impl Calls {
    /// The trace of a call of the organization, by its id in either form; without messages when they were forgotten.
    pub fn trace(&self, organization: Uuid, id: &str) -> Result<Option<CallTrace>, StoreError> {
        let records = self.read_model();
        let call = match Uuid::parse_str(id) {
            Ok(id) => records.call(organization, id)?,
            Err(_) => records.call_by_alias(organization, id)?,
        };
        Ok(call.map(|call| {
            let parts = self.room.traces.of(call.id);
            let sightings = self.room.endpoint.trace().messages(&parts.call_ids);
            CallTrace::new(Some(&call), sightings, parts.samples)
        }))
    }

    /// Messages that belong to no call, those refused unread among them.
    pub fn stray_messages(&self) -> CallTrace {
        CallTrace::new(None, self.room.endpoint.trace().others(), Samples::default())
    }
}

impl CallTrace {
    fn new(call: Option<&Call>, sightings: Vec<Sighting>, samples: Samples) -> CallTrace {
        let ladder = Ladder::new(&sightings);
        let start = ladder.start.and_then(|micros| i64::try_from(micros / 1_000).ok()).map(UtcTime);
        let offset = |sample: Sample| Sample {
            offset_ms: start.map_or(0.0, |start| sample.at.since(start).as_secs_f64() * 1_000.0),
            ..sample
        };
        let rtp = call.and_then(|call| call.quality).or_else(|| samples.kept.last().map(|sample| sample.quality));
        CallTrace {
            call: call.map(|call| call.id),
            alias: call.map(|call| call.alias.clone()),
            started_at: start.map(UtcTime::rfc3339),
            summary: summary(call, &ladder, rtp),
            ladder,
            rtp,
            rtp_samples: samples.kept.into_iter().map(offset).collect(),
            sightings,
        }
    }

    /// The messages as a capture file.
    pub fn pcap(&self) -> Vec<u8> {
        pcap(&self.sightings)
    }
}

fn summary(call: Option<&Call>, ladder: &Ladder, rtp: Option<Quality>) -> String {
    let seconds = ladder.messages.last().map_or(0.0, |last| last.offset_ms / 1_000.0);
    let repeated = ladder.messages.iter().filter(|arrow| arrow.repeated).count();
    let mut text = format!(
        "{} messages ({repeated} repeated) between {} participants in {seconds:.1} s",
        ladder.messages.len(),
        ladder.participants.len()
    );
    if let Some(call) = call {
        text += &format!("; {}", ledger::status_word(call.status));
        text += &call.end_reason.map(|reason| format!(", {}", reason.word())).unwrap_or_default();
        text += &call.sip_code.map(|code| format!(" ({code})")).unwrap_or_default();
    }
    if let Some(rtp) = rtp {
        let Quality { packets_received, packets_sent, lost, jitter_ms, mos, .. } = rtp;
        text += &format!(
            "; RTP {packets_received} in, {packets_sent} out, {lost} lost, jitter {jitter_ms:.1} ms, MOS {mos:.1}"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_calls_are_joined_and_the_others_forgotten() {
        let traces = Traces::new(3);
        let call = |number: u128| Uuid::from_u128(number);
        for number in 0..10 {
            traces.joined(call(number), &format!("a{number}"));
            traces.joined(call(number), &format!("a{number}"));
            traces.joined(call(number), &format!("b{number}"));
            for second in 0..400 {
                traces.quality(call(number), UtcTime(second * 1_000), Quality::default());
            }
        }
        assert!(traces.of(call(6)).call_ids.is_empty());
        assert_eq!(traces.of(call(7)).call_ids, ["a7", "b7"]);
        assert_eq!(traces.lock().calls.len(), 3);
        traces.quality(call(0), UtcTime(0), Quality::default());
        assert_eq!(traces.lock().calls.len(), 3, "figures of a forgotten call are not kept");
    }

    #[test]
    fn a_few_looks_tell_the_whole_of_a_long_call() {
        let traces = Traces::new(1);
        traces.joined(Uuid::nil(), "a");
        for second in 0..40_000 {
            traces.quality(Uuid::nil(), UtcTime(second * 1_000), Quality::default());
            let kept = traces.of(Uuid::nil()).samples.kept;
            assert!(kept.len() < SAMPLES && (second < 63 || kept.len() >= SAMPLES / 2), "{} at {second}", kept.len());
        }
        let kept = traces.of(Uuid::nil()).samples.kept;
        let steps: Vec<i64> = kept.windows(2).map(|two| two[1].at.0 - two[0].at.0).collect();
        assert_eq!(kept[0].at.0, 0);
        assert!(steps.iter().all(|step| *step == steps[0]), "{steps:?}");
        assert!(40_000_000 - kept.last().unwrap().at.0 <= steps[0]);
    }

    #[test]
    fn nothing_is_kept_when_it_is_switched_off() {
        let traces = Traces::new(0);
        traces.joined(Uuid::nil(), "a");
        assert!(traces.lock().calls.is_empty());
    }
}
