//! Events towards the control plane: never waits, never loses the last one.

use std::path::PathBuf;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::media::leg::EVENTS;
use crate::media::{LegEvent, LegReport, Quality};

/// Places that quality events leave free for the others.
const RESERVED: usize = EVENTS / 2;

pub struct Outbox {
    sender: mpsc::Sender<LegEvent>,
    /// The place of the last event, reserved from the start. Gone once it is used.
    last: Option<mpsc::OwnedPermit<LegEvent>>,
    report: LegReport,
}

impl Outbox {
    pub fn new() -> (Outbox, mpsc::Receiver<LegEvent>) {
        let (sender, receiver) = mpsc::channel(EVENTS + 1);
        // A fresh channel always has room.
        let last = sender.clone().try_reserve_owned().ok();
        (Outbox { sender, last, report: LegReport::default() }, receiver)
    }

    pub fn send(&mut self, event: LegEvent) {
        if let LegEvent::Quality(quality) = &event {
            self.report.quality = **quality;
            if self.sender.capacity() <= RESERVED {
                return;
            }
        }
        if let Err(TrySendError::Full(event)) = self.sender.try_send(event) {
            let kind = std::mem::discriminant(&event);
            tracing::warn!(?kind, "a media event was dropped: nobody reads a leg's events");
        }
    }

    pub fn close(mut self, quality: Quality, recording: Option<PathBuf>) {
        self.report = LegReport { quality, recording };
    }
}

/// However the leg ends, even by a panic of its peer, the last event goes out.
impl Drop for Outbox {
    fn drop(&mut self) {
        if let Some(last) = self.last.take() {
            last.send(LegEvent::Closed(Box::new(std::mem::take(&mut self.report))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quality_gives_way_first_and_the_last_event_always_has_a_place() {
        let (mut outbox, mut events) = Outbox::new();
        (0..100).for_each(|_| outbox.send(LegEvent::Quality(Box::default())));
        (0..100).for_each(|_| outbox.send(LegEvent::Key('1')));
        outbox.close(Quality { lost: 7, ..Quality::default() }, None);
        let got: Vec<LegEvent> = std::iter::from_fn(|| events.try_recv().ok()).collect();
        assert_eq!(got.iter().filter(|event| matches!(event, LegEvent::Key(_))).count(), RESERVED);
        assert_eq!(got.len(), EVENTS + 1);
        let Some(LegEvent::Closed(report)) = got.last() else { panic!("no last event") };
        assert_eq!(report.quality.lost, 7);
    }

    #[test]
    fn a_leg_that_vanishes_still_tells_its_end_and_its_last_numbers() {
        let (mut outbox, mut events) = Outbox::new();
        outbox.send(LegEvent::Quality(Box::new(Quality { lost: 3, ..Quality::default() })));
        drop(outbox);
        events.try_recv().unwrap();
        assert!(matches!(events.try_recv(), Ok(LegEvent::Closed(report)) if report.quality.lost == 3));
    }
}
