//! A call that gets no media ports: the log, a counter and the outbox tell the operator.

use std::time::{Duration, Instant};

use serde_json::json;

use super::room::Room;
use crate::events::{self, Event, EventKind};
use crate::media::OpenError;

/// A range that is used up is told of once in this time; the counter counts every call.
const AGAIN: Duration = Duration::from_secs(60);

/// When the last alert was raised.
#[derive(Debug, Default)]
pub(super) struct Told(std::sync::Mutex<Option<Instant>>);

impl Told {
    /// Whether it is time for an alert; then it is taken as raised.
    fn is_due(&self, now: Instant) -> bool {
        // A poisoned lock only means that another thread panicked.
        let mut last = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let due = last.is_none_or(|last| now.saturating_duration_since(last) >= AGAIN);
        if due {
            *last = Some(now);
        }
        due
    }
}

impl Room {
    /// Takes note of a leg that could not be opened.
    pub(super) async fn note_no_leg(&self, error: &OpenError) {
        if !matches!(error, OpenError::PortsExhausted) {
            return;
        }
        metrics::counter!("trunkline_media_ports_exhausted_total").increment(1);
        if !self.ports_told.is_due(self.clock.now()) {
            return;
        }
        let [first, last] = self.config.media.ports;
        tracing::warn!(first, last, "every media port of [media] ports is in use: calls are refused");
        let organization = self.directory.organization("").id;
        let event = Event {
            id: self.clock.id(),
            organization,
            at: self.clock.utc(),
            kind: EventKind::MediaPortsAlert,
            subject: organization,
            data: json!({ "type": "alert.media_ports", "first": first, "last": last }),
        };
        if let Err(error) = self.store.write(move |change| events::append(change, &event)).await {
            tracing::warn!(%error, "an alert could not be written");
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_raised_once_a_minute() {
        let (told, now) = (Told::default(), Instant::now());
        let after = |seconds| told.is_due(now + Duration::from_secs(seconds));
        assert_eq!([after(0), after(0), after(59), after(60), after(61)], [true, false, false, true, false]);
    }
}
