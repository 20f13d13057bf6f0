//! Numbers of a leg: once a second as an event, and as counters of the whole program.

use std::time::{Duration, Instant};

use crate::media::FRAME;
use crate::media::quality::{Impairment, LevelMeter, Quality, mos};
use crate::media::receive::Reception;
use crate::media::session::Session;
use crate::media::session::outbound::Talk;
use crate::media::session::secure::Refusals;

const EVERY: Duration = Duration::from_secs(1);

#[derive(Default)]
pub struct Tally {
    /// Datagrams that were dropped unheard.
    pub foreign: u64,
    pub refusals: Refusals,
    pub level_in: LevelMeter,
    pub level_out: LevelMeter,
    next: Option<Instant>,
    published: [u64; 6],
}

impl Tally {
    /// Begins the seconds.
    pub fn begin(&mut self, now: Instant) {
        self.next = Some(now + EVERY);
    }

    pub fn next_due(&self) -> Option<Instant> {
        self.next
    }

    /// Whether a second is over; begins the next one. Seconds that were slept through are left out.
    pub fn is_due(&mut self, now: Instant) -> bool {
        let Some(due) = self.next.filter(|due| *due <= now) else { return false };
        self.next = Some(if now - due < EVERY { due + EVERY } else { now + EVERY });
        true
    }

    /// Adds what is new to the program's counters.
    pub fn publish(&mut self, reception: &Reception, talk: &Talk) {
        self.refusals.publish();
        const NAMES: [&str; 6] = [
            "trunkline_media_packets_received_total",
            "trunkline_media_packets_sent_total",
            "trunkline_media_packets_lost_total",
            "trunkline_media_packets_late_total",
            "trunkline_media_packets_foreign_total",
            // What the system would not take: the way to that phone is full.
            "trunkline_media_packets_unsent_total",
        ];
        let counts = reception.arrivals.counts();
        let late = reception.jitter.counts().late;
        let current = [counts.received, talk.stream.packets, counts.lost, late, self.foreign, talk.stream.refused];
        for ((name, now), before) in NAMES.into_iter().zip(current).zip(&mut self.published) {
            // A packet that was counted as lost may still come: then the counter waits.
            metrics::counter!(name).increment(now.saturating_sub(*before));
            *before = now.max(*before);
        }
    }
}

impl Session {
    /// The numbers now; the levels begin anew.
    pub(super) fn quality(&mut self) -> Quality {
        let counts = self.reception.arrivals.counts();
        let late = self.reception.jitter.counts().late;
        let buffer = self.reception.jitter.delay();
        let trip = self.control.round_trip();
        // Mouth to ear: half the round trip, our buffer, and a frame to fill a packet.
        let delay = trip.unwrap_or_default() / 2 + buffer + FRAME;
        let expected = counts.received.saturating_sub(counts.duplicate) + counts.lost;
        let missed = (counts.lost + late) as f32 / expected.max(1) as f32;
        Quality {
            packets_received: counts.received,
            packets_sent: self.talk.stream.packets,
            lost: counts.lost,
            late,
            duplicate: counts.duplicate,
            reordered: counts.reordered,
            foreign: self.tally.foreign,
            refused: self.tally.refusals.total(),
            encrypted: self.link.as_ref().is_some_and(|link| link.cover.always()),
            jitter_ms: self.reception.arrivals.jitter_ms(),
            round_trip_ms: trip.map(|trip| trip.as_secs_f32() * 1e3),
            remote_loss: self.control.remote_loss(),
            mos: mos(Impairment::of(self.reception.codec()), missed, delay),
            level_in_db: self.tally.level_in.take(),
            level_out_db: self.tally.level_out.take(),
            buffer_ms: buffer.as_secs_f32() * 1e3,
        }
    }
}
