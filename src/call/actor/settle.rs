//! The end of an attempt: gather what the legs still know, then one last entry.

use std::time::Duration;

use super::Actor;
use crate::call::machine::Settlement;
use crate::call::scribe::{Closing, Entry, owes_transcript};
use crate::call::{HungUp, LiveFact, ledger};
use crate::media::{LegEvent, LegReport};

/// How long a closing leg may take to finish its recording and hand over the last words.
const LAST_REPORTS: Duration = Duration::from_secs(2);

impl Actor {
    /// Fixes the outcome: record, transcript, events and mail in one change, then tells whoever waits.
    pub(super) async fn settle(&mut self, settlement: &Settlement) {
        let ended_at = self.room.clock.utc();
        self.end_transfer();
        self.drop_tools();
        // A guard against a leg that never closes; what it had to say is then lost, the outcome is not.
        let _ = tokio::time::timeout(LAST_REPORTS, self.close_media()).await;
        self.assembly.finish(ended_at);
        let turns = self.closed_turns();
        let dispatched = self.call.dispatched_at.is_some() || self.call.answered_at.is_some();
        let attempted = dispatched || self.call.direction == crate::call::Direction::Inbound;
        let mut call = self.call.clone();
        let settlement = &self.with_fault(settlement);
        let mut events = ledger::settle(&mut call, settlement, attempted, ended_at, &self.room.clock);
        if !matches!(settlement, Settlement::Final(_)) {
            events.retain(|event| event.kind != crate::events::EventKind::CallFinished);
        }
        let closing = call.status.is_final().then(|| Closing {
            transcript: owes_transcript(&call),
            mail: true,
            turns: self.assembly.turns(),
        });
        self.call = call.clone();
        let written = self.scribe.close(Entry { call: Some(Box::new(call)), turns, events, closing }).await;
        self.settled = true;
        if let Some(written) = written {
            self.call = *written;
        }
        self.announce();
    }

    /// Closes the leg and takes what it and the bridge still report.
    async fn close_media(&mut self) {
        let Some(mut media) = self.media.take() else { return self.drain_reports().await };
        media.leg.control.close();
        while let Some(event) = media.leg.events.recv().await {
            match event {
                LegEvent::Quality(quality) => self.call.quality = Some(*quality),
                LegEvent::Closed(report) => {
                    self.keep_report(&report);
                    break;
                }
                _ => {}
            }
        }
        drop(media);
        self.drain_reports().await;
    }

    /// The bridge goes with its leg; its last reports tell how much of the agent's words was heard.
    async fn drain_reports(&mut self) {
        while let Some(reports) = &mut self.voice.reports {
            match reports.recv().await {
                Some(report) => drop(self.take_report(report)),
                None => self.voice.reports = None,
            }
        }
    }

    pub(super) fn keep_report(&mut self, report: &LegReport) {
        self.call.quality = Some(report.quality);
        self.call.recording = report.recording.as_ref().map(|path| path.to_string_lossy().into_owned());
    }

    fn announce(&mut self) {
        let room = &self.room;
        room.registry.release(self.call.id);
        room.mailer.wake();
        room.due.notify_one();
        room.tell(self.call.id, LiveFact::Status(self.call.status));
        if let Some(reason) = self.call.end_reason {
            room.tell(self.call.id, LiveFact::Ended(reason));
        }
        let noop = !self.ended_by_api();
        for reply in self.waiting.drain(..) {
            // Whoever asked may have gone away.
            let _ = reply.send(HungUp { status: self.call.status, noop });
        }
        let id = self.call.id;
        tracing::info!(call = %id, status = ledger::status_word(self.call.status), attempt = self.call.attempt, "call attempt ended");
    }
}
