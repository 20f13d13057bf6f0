//! What the signalling agreed on, and what has come of it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::media::Remote;
use crate::media::codec::Sound;
use crate::media::latch::Latch;
use crate::media::receive::Content;
use crate::media::session::secure::Cover;
use crate::media::srtp::Change;

/// See [`Link::silent_at`].
const RESTING: u32 = 4;

pub struct Link {
    pub remote: Remote,
    pub latch: Latch,
    pub cover: Cover,
    /// Where the peer's RTCP came from, once it did.
    pub control_source: Option<SocketAddr>,
    /// When RTP came last, or could first have come.
    heard_at: Instant,
    silent: bool,
    connected: bool,
}

impl Link {
    pub fn new(remote: Remote, now: Instant) -> Link {
        let (latch, cover) = (Latch::new(remote.rtp), Cover::new(&remote));
        Link { remote, latch, cover, control_source: None, heard_at: now, silent: false, connected: false }
    }

    /// Follows new signalling.
    pub fn change(&mut self, remote: Remote, now: Instant) -> Change {
        let change = self.cover.change(&remote, now);
        if remote.rtp != self.remote.rtp || remote.rtcp != self.remote.rtcp {
            self.control_source = None;
        }
        self.latch.signal(remote.rtp);
        self.remote = remote;
        self.heard_at = now;
        self.silent = false;
        change
    }

    /// What a payload type carries; `None` = not agreed.
    pub fn content(&self, payload_type: u8) -> Option<Content> {
        let remote = &self.remote;
        if let Some(keys) = remote.accepted_events.iter().find(|format| format.payload_type == payload_type) {
            return Some(Content::Keys(keys.clock));
        }
        if remote.comfort_noise.is_some_and(|noise| noise.accept == payload_type) {
            return Some(Content::Audio(Sound::Noise));
        }
        let agreed = remote.accepted.iter().find(|(accepted, _)| *accepted == payload_type);
        agreed.map(|(_, codec)| Content::Audio(Sound::Voice(*codec)))
    }

    /// Takes note of an accepted packet; `true` for the first.
    pub fn hears(&mut self, now: Instant) -> bool {
        self.heard_at = now;
        self.silent = false;
        !std::mem::replace(&mut self.connected, true)
    }

    /// A report of the peer came: a sign of life where silence is not sent.
    pub fn hears_report(&mut self, now: Instant, resting: bool) {
        if resting {
            self.heard_at = now;
        }
    }

    /// When the absence of RTP is to be told; `None` = never, or told already. On hold nothing is expected. A phone that
    /// has said that it is silent may be so for long: it gets [`RESTING`] times the time.
    pub fn silent_at(&self, timeout: Duration, resting: bool) -> Option<Instant> {
        let expected = !timeout.is_zero() && !self.silent && self.remote.receive;
        expected.then(|| self.heard_at + timeout * if resting { RESTING } else { 1 })
    }

    /// Whether the time without RTP has just run out; true once a silence.
    pub fn falls_silent(&mut self, now: Instant, timeout: Duration, resting: bool) -> bool {
        let falls = self.silent_at(timeout, resting).is_some_and(|at| at <= now);
        self.silent |= falls;
        falls
    }

    /// Where RTCP goes: where the peer's came from, else what was signalled, else beside the latched address.
    pub fn control_destination(&self) -> SocketAddr {
        let media = self.latch.destination();
        match self.control_source {
            Some(source) => source,
            None if media.ip() == self.remote.rtcp.ip().to_canonical() => self.remote.rtcp,
            None => SocketAddr::new(media.ip(), media.port().saturating_add(1)),
        }
    }
}
