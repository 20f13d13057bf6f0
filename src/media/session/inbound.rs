//! Datagrams to the listening side.

use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::ReadBuf;
use tokio::net::UdpSocket;

use crate::media::LegEvent;
use crate::media::dtmf::Way;
use crate::media::latch::Origin;
use crate::media::receive::Content;
use crate::media::rtp::Packet;
use crate::media::session::desk::Desk;
use crate::media::session::{BUDGET, DATAGRAM, Session};

/// A leg that looks so late was asleep, as the whole machine was.
const ASLEEP: Duration = Duration::from_millis(10);

impl Session {
    /// Reads what waits on both sockets, at most [`BUDGET`] datagrams of each; `true` when there may be more.
    pub(super) fn read_datagrams(&mut self, context: &mut Context<'_>) -> bool {
        // Not cleared: a leg wakes often, and mostly finds one short packet or none.
        let mut octets = [const { MaybeUninit::uninit() }; DATAGRAM];
        let mut room = ReadBuf::uninit(&mut octets);
        let now = self.clock.now();
        for _ in 0..BUDGET {
            let Some(source) = receive(&self.sockets.rtcp, context, &mut room) else { break };
            self.take_report(room.filled_mut(), source, now);
        }
        if self.next_due().is_some_and(|due| now.saturating_duration_since(due) > ASLEEP) {
            self.catch_up(now);
        }
        for _ in 0..BUDGET {
            let Some(source) = receive(&self.sockets.rtp, context, &mut room) else { return false };
            self.take_media(room.filled_mut(), source, now);
        }
        true
    }

    /// After a sleep of the machine timers may be heard of before the packets are that have come meanwhile: those are
    /// looked for, lest something is made up for what is there.
    fn catch_up(&mut self, now: Instant) {
        let Ok(socket) = self.sockets.rtp.as_fd().try_clone_to_owned() else { return };
        let socket = std::net::UdpSocket::from(socket);
        let mut buffer = [0; DATAGRAM];
        for _ in 0..BUDGET {
            let Ok((length, source)) = socket.recv_from(&mut buffer) else { return };
            self.take_media(&mut buffer[..length], source, now);
        }
    }

    /// Before the leg is connected nobody is known, so everything is discarded.
    fn take_media(&mut self, datagram: &mut [u8], source: SocketAddr, now: Instant) {
        let Some(link) = &mut self.link else { return };
        if !link.latch.may_admit(source) {
            self.tally.foreign += 1;
            return;
        }
        let opened = match link.open(datagram, now) {
            Ok(opened) => opened,
            Err(refused) => return self.tally.refuse(refused),
        };
        let Ok(packet) = Packet::read(opened) else {
            self.tally.foreign += 1;
            return;
        };
        let Some(content) = link.content(packet.payload_type) else {
            self.tally.foreign += 1;
            // It holds a place in the sequence all the same: what is dropped here was not lost on the way.
            if link.latch.is_latched() && link.latch.admit(source) == Origin::Ours {
                self.reception.arrivals.note(packet.ssrc, packet.sequence, None, now);
            }
            return;
        };
        if link.latch.admit(source) == Origin::Foreign {
            self.tally.foreign += 1;
            return;
        }
        let (first, receive) = (link.hears(now), link.remote.receive);
        if first {
            self.tally.begin(now);
            self.outbox.send(LegEvent::Connected);
        }
        if receive {
            self.take_accepted(&packet, content, now);
        } else {
            self.reception.arrivals.note(packet.ssrc, packet.sequence, None, now);
        }
    }

    fn take_accepted(&mut self, packet: &Packet<'_>, content: Content, now: Instant) {
        if let Some(key) = self.reception.packet(packet, content, now) {
            self.press(key, Way::Event, now);
        }
        // Whoever takes frames as they come takes them one by one: all that came during a sleep would not fit into the
        // buffer, which is made for what the network holds back.
        if self.reception.is_prompt() {
            self.hear(now);
        }
    }

    /// A key of the phone, unless it is the echo of one of ours, or a press that has come by another way.
    pub(super) fn press(&mut self, key: char, way: Way, now: Instant) {
        if way != Way::Signalling && self.talk.is_deaf(now) {
            return self.presses.note(way);
        }
        if !self.presses.admit(key, way, now) {
            return;
        }
        if let Some(peer) = &mut self.peer {
            peer.key(key, &mut Desk::new(&mut self.talk, now));
        }
        self.outbox.send(LegEvent::Key(key));
    }
}

/// Reads the next datagram and tells where it came from; `None` when none waits (the waker is then registered). An error, such as a report of an
/// unreachable port, is passed over: the next read tells what comes after it.
fn receive(socket: &UdpSocket, context: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Option<SocketAddr> {
    for _ in 0..BUDGET {
        room.clear();
        match socket.poll_recv_from(context, room) {
            Poll::Ready(Ok(source)) => return Some(source),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => return None,
        }
    }
    context.waker().wake_by_ref();
    None
}
