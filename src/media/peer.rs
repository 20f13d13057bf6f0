//! The boundary between a leg and what its audio is connected to.

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::media::Codec;

/// One received 20 ms frame, in playing order.
pub struct HeardFrame<'a> {
    /// Linear samples at `rate` Hz: 20 ms.
    pub pcm: &'a [i16],
    /// 8,000 or 16,000: that of the codec that the phone sends. It may change from one frame to the next.
    pub rate: u32,
    /// When the packet came off the socket (or when concealment stood in for it).
    pub at: Instant,
    /// Made up in place of a lost packet. Silence that the phone does not send is not.
    pub concealed: bool,
    /// The payload as received, when it needs no decoding on the way to a service of the same codec.
    pub encoded: Option<(Codec, &'a [u8])>,
}

/// What a leg's audio is connected to. Built on the media thread, stays there.
pub trait Peer {
    /// Whether frames are wanted as they come off the network, and not at the even pace at which they are played.
    fn is_prompt(&self) -> bool {
        false
    }

    /// Whether it keeps the queue of what goes to the phone at the pace of its source by itself.
    fn keeps_pace(&self) -> bool {
        false
    }

    /// A frame from the phone.
    fn heard(&mut self, frame: HeardFrame<'_>, playout: &mut dyn Playout);

    /// A key pressed on the phone (`0`–`9`, `*`, `#`, `A`–`D`), once per press, at its start.
    fn key(&mut self, key: char, playout: &mut dyn Playout);

    /// Everything queued before `mark` has gone out on the wire.
    fn played(&mut self, mark: u64, playout: &mut dyn Playout);

    /// Polled after every wake-up of the leg; drain what is ready (audio of the service, commands) and register the
    /// waker. `Ready` = the peer is done and wants the leg no more; the leg stays up with silence.
    fn poll(&mut self, context: &mut Context<'_>, playout: &mut dyn Playout) -> Poll<()>;
}

/// Builds a peer on the media thread.
pub type PeerFactory = Box<dyn FnOnce() -> Box<dyn Peer> + Send>;

/// The queue of audio towards the phone, as a [`Peer`] sees it.
pub trait Playout {
    /// Appends linear samples at `rate` Hz (any of 8, 16, 24, 48 kHz); any length, never blocks. An odd remainder is
    /// kept for the next call.
    fn push(&mut self, pcm: &[i16], rate: u32);

    /// Pads the remainder to a whole frame: the end of a turn.
    fn finish(&mut self);

    /// Drops all that has not gone out. Marks inside the dropped part are reported through [`Peer::played`] no more.
    fn flush(&mut self) -> Flushed;

    /// [`Peer::played`] is called with `mark` once everything pushed so far has gone out.
    fn mark(&mut self, mark: u64);

    /// Sends RFC 4733 keys to the phone.
    fn send_keys(&mut self, keys: &str);

    /// Audio queued and not yet sent.
    fn queued(&self) -> Duration;

    /// Audio sent since the leg began.
    fn sent(&self) -> Duration;

    /// When the last packet with audio of the queue left; `None` before the first.
    fn last_sent(&self) -> Option<Instant>;

    /// How loud the audio of the queue is that leaves now, RMS; 0 = none does.
    fn level(&self) -> f32;

    fn now(&self) -> Instant;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flushed {
    /// Audio thrown away.
    pub dropped: Duration,
}
