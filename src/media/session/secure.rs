//! Where packets meet their encryption. On a plain leg they pass as they are.

use std::time::Instant;

use crate::media::Remote;
use crate::media::session::link::Link;
use crate::media::session::tally::Tally;
use crate::media::srtp::{Change, Channel, Refused};

/// The encryption of a leg.
pub struct Cover {
    channel: Option<Channel>,
    /// It was there from the first packet to this one.
    always: bool,
}

impl Cover {
    pub fn new(remote: &Remote) -> Cover {
        let channel = remote.srtp.as_deref().map(Channel::new);
        Cover { always: channel.is_some(), channel }
    }

    /// Follows new signalling.
    pub fn change(&mut self, remote: &Remote, now: Instant) -> Change {
        let change = match (&mut self.channel, remote.srtp.as_deref()) {
            (Some(channel), Some(keys)) => channel.change(keys, now),
            (channel, keys) => {
                *channel = keys.map(Channel::new);
                Change::GoOn
            }
        };
        self.always &= self.channel.is_some();
        change
    }

    pub fn always(&self) -> bool {
        self.always
    }
}

impl Link {
    /// The RTP packet in a datagram; on an encrypted leg only an authentic one.
    pub fn open<'a>(&mut self, datagram: &'a mut [u8], now: Instant) -> Result<&'a [u8], Refused> {
        let Some(channel) = &mut self.cover.channel else { return Ok(datagram) };
        let length = channel.open(datagram, now)?;
        datagram.get(..length).ok_or(Refused::Malformed)
    }

    /// The same for RTCP.
    pub fn open_control<'a>(&mut self, datagram: &'a mut [u8], now: Instant) -> Result<&'a [u8], Refused> {
        let Some(channel) = &mut self.cover.channel else { return Ok(datagram) };
        let length = channel.open_control(datagram, now)?;
        datagram.get(..length).ok_or(Refused::Malformed)
    }

    /// Makes the packet in the first `length` octets of `buffer` fit to be sent; returns what is to be sent. `None` when
    /// it must not leave.
    pub fn seal<'a>(&mut self, buffer: &'a mut [u8], length: usize) -> Option<&'a [u8]> {
        let length = match &mut self.cover.channel {
            Some(channel) => channel.protect(buffer, length)?,
            None => length,
        };
        buffer.get(..length)
    }

    /// The same for RTCP.
    pub fn seal_control<'a>(&mut self, buffer: &'a mut [u8], length: usize) -> Option<&'a [u8]> {
        let length = match &mut self.cover.channel {
            Some(channel) => channel.protect_control(buffer, length)?,
            None => length,
        };
        buffer.get(..length)
    }
}

/// SRTP packets that were dropped, by reason.
#[derive(Default)]
pub struct Refusals {
    counts: [u64; 3],
    published: [u64; 3],
}

const REASONS: [&str; 3] = ["malformed", "replayed", "unauthentic"];

impl Refusals {
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Adds what is new to the program's counters.
    pub fn publish(&mut self) {
        for ((reason, now), before) in REASONS.into_iter().zip(self.counts).zip(&mut self.published) {
            if now > *before {
                metrics::counter!("trunkline_media_srtp_refused_total", "reason" => reason).increment(now - *before);
                *before = now;
            }
        }
    }
}

impl Tally {
    pub fn refuse(&mut self, refused: Refused) {
        let [malformed, replayed, unauthentic] = &mut self.refusals.counts;
        *match refused {
            Refused::Malformed => malformed,
            Refused::Replayed => replayed,
            Refused::Unauthentic => unauthentic,
        } += 1;
    }
}
