//! RTCP of a leg: reports out and in.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::clock::UtcTime;
use crate::media::rtcp::{Block, MAX_PACKET, NtpClock, Report, SenderInfo, interval, middle, read, round_trip};
use crate::media::session::Session;
use crate::media::session::outbound::send;
use crate::media::srtp::TRAILER;

pub struct Control {
    clock: NtpClock,
    /// Says nothing about us (RFC 7022 §4.2: random, per session).
    name: String,
    due: Option<Instant>,
    /// Packets sent when the last report was made.
    reported: u64,
    /// Middle of the NTP time of the peer's last sender report, and when it came.
    peer_report: Option<(u32, u32, Instant)>,
    round_trip: Option<Duration>,
    remote_loss: Option<f32>,
}

impl Control {
    pub fn new(now: Instant, utc: UtcTime) -> Control {
        Control {
            clock: NtpClock::new(now, utc),
            name: format!("{:016x}", rand::random::<u64>()),
            due: None,
            reported: 0,
            peer_report: None,
            round_trip: None,
            remote_loss: None,
        }
    }

    /// The first report comes after half an interval (RFC 3550 §6.2).
    pub fn begin(&mut self, now: Instant) {
        self.due = Some(now + interval(rand::random()) / 2);
    }

    pub fn next_due(&self) -> Option<Instant> {
        self.due
    }

    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    pub fn remote_loss(&self) -> Option<f32> {
        self.remote_loss
    }

    /// Fills in which report of the peer a block answers.
    fn answering(&self, block: Block, now: Instant) -> Block {
        match self.peer_report {
            Some((ssrc, last_report, came)) if ssrc == block.ssrc => {
                let waited = now.saturating_duration_since(came).as_micros() << 16;
                Block { last_report, delay: u32::try_from(waited / 1_000_000).unwrap_or(u32::MAX), ..block }
            }
            _ => block,
        }
    }
}

impl Session {
    pub(super) fn send_report(&mut self, now: Instant) {
        if self.control.due.is_some_and(|due| due <= now) {
            self.control.due = Some(now + interval(rand::random()));
            self.report(now, false);
        }
    }

    pub(super) fn send_goodbye(&mut self, now: Instant) {
        self.report(now, true);
    }

    fn report(&mut self, now: Instant, goodbye: bool) {
        let Some(link) = &mut self.link else { return };
        let stream = &self.talk.stream;
        let sent = stream.packets > self.control.reported;
        self.control.reported = stream.packets;
        let sender = self.talk.queue.timestamp(now).filter(|_| sent).map(|timestamp| SenderInfo {
            ntp: self.control.clock.at(now),
            timestamp,
            packets: (stream.packets - stream.former.0) as u32,
            octets: (stream.octets - stream.former.1) as u32,
        });
        let block = self.reception.arrivals.report().map(|block| self.control.answering(block, now));
        let report = Report { ssrc: stream.ssrc, sender, block, cname: &self.control.name, goodbye };
        let mut datagram = [0; MAX_PACKET + TRAILER];
        let length = datagram.first_chunk_mut().map_or(0, |front| report.write(front));
        let destination = link.control_destination();
        if let Some(sealed) = link.seal_control(&mut datagram, length) {
            send(&self.sockets.rtcp, self.sockets.ipv6, sealed, destination);
        }
    }

    /// Takes a datagram from the RTCP socket.
    pub(super) fn take_report(&mut self, datagram: &mut [u8], source: SocketAddr, now: Instant) {
        let Some(link) = &mut self.link else { return };
        if !link.latch.admits_control(source) {
            self.tally.foreign += 1;
            return;
        }
        let opened = match link.open_control(datagram, now) {
            Ok(opened) => opened,
            Err(refused) => return self.tally.refuse(refused),
        };
        let Some(heard) = read(opened, self.talk.stream.ssrc) else {
            self.tally.foreign += 1;
            return;
        };
        link.control_source = Some(source);
        link.hears_report(now, self.reception.is_resting());
        if let Some((ssrc, ntp)) = heard.sender {
            self.control.peer_report = Some((ssrc, middle(ntp), now));
        }
        if let Some(block) = heard.about_us {
            let loss = f32::from(block.fraction_lost) / 256.0;
            self.control.remote_loss = Some(loss);
            self.talk.encoder.hear_of_loss(loss);
            self.control.round_trip = round_trip(block, self.control.clock.at(now)).or(self.control.round_trip);
        }
    }
}
