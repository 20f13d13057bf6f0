//! The media plane: RTP in and out of a phone, 20 ms at a time.
//!
//! Pure parts (rtp, rtcp, jitter, codec, dtmf, playout, quality, resample) take packets and instants; `session` joins
//! them to a socket; `worker` runs one pinned thread with its own runtime per core. A leg lives on one thread for
//! life, together with its [`Peer`] (the voice AI's side). Other threads see only [`LegEvent`]s and send only
//! commands. This room knows nothing of SIP, calls or AI services.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::config::MediaConfig;

/// Samples per second at which frames cross the [`Peer`] boundary on a narrow-band leg.
pub const NARROW_BAND_HZ: u32 = 8_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    Pcmu,
    Pcma,
}

/// One received 20 ms frame, in playing order.
pub struct HeardFrame<'a> {
    /// Linear samples at `rate` Hz.
    pub pcm: &'a [i16],
    pub rate: u32,
    /// When the packet came off the socket (or when concealment stood in for it).
    pub at: Instant,
    /// Made up in place of a lost packet.
    pub concealed: bool,
    /// The payload as received, when it needs no decoding on the way to a service of the same codec.
    pub encoded: Option<(Codec, &'a [u8])>,
}

/// What a leg's audio is connected to. Built on the media thread, stays there.
pub trait Peer {
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

    fn now(&self) -> Instant;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flushed {
    /// Audio thrown away.
    pub dropped: Duration,
}

/// What the media plane tells the control plane about a leg.
#[derive(Debug, Clone, PartialEq)]
pub enum LegEvent {
    /// The first RTP packet came, and its address was accepted.
    Connected,
    /// A key was pressed on the phone.
    Key(char),
    /// Once a second while connected.
    Quality(Quality),
    /// No RTP for the configured time.
    Silent,
    /// The leg is gone; last event.
    Closed(Box<LegReport>),
}

/// Numbers of the last second (levels) and since the start (the rest).
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct Quality {
    pub packets_received: u64,
    pub packets_sent: u64,
    /// Sequence numbers that never came.
    pub lost: u64,
    pub late: u64,
    pub duplicate: u64,
    pub reordered: u64,
    /// Packets dropped because they came from an address that the signalling does not allow, or were not RTP.
    pub foreign: u64,
    /// RFC 3550 §6.4.1 interarrival jitter, milliseconds.
    pub jitter_ms: f32,
    /// From RTCP (RFC 3550 §6.4.1), milliseconds.
    pub round_trip_ms: Option<f32>,
    /// Loss that the peer reports of our packets, 0 to 1.
    pub remote_loss: Option<f32>,
    /// Estimated by the E-model (ITU-T G.107), 1 to 4.5.
    pub mos: f32,
    /// RMS of the last second, dBFS.
    pub level_in_db: f32,
    pub level_out_db: f32,
    /// Delay of the jitter buffer, milliseconds.
    pub buffer_ms: f32,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct LegReport {
    pub quality: Quality,
    pub recording: Option<PathBuf>,
}

/// How a leg is opened.
#[derive(Debug, Clone)]
pub struct LegOptions {
    /// Address to bind; unspecified = all.
    pub bind: IpAddr,
    /// Stereo WAV to write (left the phone, right the box) from the moment the leg is connected.
    pub recording: Option<PathBuf>,
}

/// Where a leg's packets go and what they carry; from the agreed session descriptions.
#[derive(Debug, Clone, PartialEq)]
pub struct Remote {
    pub rtp: SocketAddr,
    pub rtcp: SocketAddr,
    pub codec: Codec,
    pub payload_type: u8,
    /// Every payload type that may come, with its codec.
    pub accepted: Vec<(u8, Codec)>,
    pub telephone_event: Option<u8>,
    pub send: bool,
    pub receive: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("no free RTP port in [media] ports; raise the range or lower the calls per trunk")]
    PortsExhausted,
    #[error("cannot open an RTP socket: {0}")]
    Socket(#[from] std::io::Error),
    #[error("the media threads are stopping")]
    Stopping,
}

/// The media threads.
#[derive(Clone)]
pub struct MediaPlane {
    pub(crate) _todo: (),
}

impl MediaPlane {
    /// Starts the threads.
    pub fn start(config: &MediaConfig, clock: Clock) -> std::io::Result<MediaPlane> {
        todo!("media: {config:?} {clock:?}")
    }

    /// Opens a leg on the least loaded thread: a bound RTP/RTCP port pair that waits for [`Leg::connect`].
    pub async fn open(&self, options: LegOptions) -> Result<Leg, OpenError> {
        todo!("media: {options:?}")
    }

    pub fn live_legs(&self) -> usize {
        todo!("media")
    }

    /// Whether every media thread answers within `limit` (readiness, watchdog).
    pub async fn alive(&self, limit: Duration) -> bool {
        todo!("media: {limit:?}")
    }

    /// Closes all legs and joins the threads.
    pub async fn stop(&self) {
        todo!("media")
    }
}

/// The control side of a leg. Dropping it closes the leg.
pub struct Leg {
    pub local_rtp_port: u16,
    pub control: LegControl,
    pub events: mpsc::Receiver<LegEvent>,
}

/// Commands to a leg; cheap to clone, never blocks, ignored once the leg is closed.
#[derive(Clone)]
pub struct LegControl {
    pub(crate) _todo: (),
}

impl LegControl {
    /// Starts (or changes) the exchange of packets.
    pub fn connect(&self, remote: Remote) {
        todo!("media: {remote:?}")
    }

    /// Connects the audio to a peer; replaces the former one.
    pub fn attach(&self, factory: PeerFactory) {
        let _ = factory;
        todo!("media")
    }

    /// Closes the leg: RTCP BYE, recording finished, [`LegEvent::Closed`].
    pub fn close(&self) {
        todo!("media")
    }
}
