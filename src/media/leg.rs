//! A leg as the control plane sees it: options in, events out, commands at any time.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::media::{Codec, FRAME, OpusTuning, PeerFactory, Quality, SrtpKeys};

/// Commands that may wait; a leg reads them at every wake-up, at least every 20 ms once it is connected.
pub(crate) const COMMANDS: usize = 64;
/// Events that may wait for the control plane.
pub(crate) const EVENTS: usize = 64;

/// What the media plane tells the control plane about a leg.
#[derive(Debug, Clone, PartialEq)]
pub enum LegEvent {
    /// The first RTP packet came, and its address was accepted.
    Connected,
    /// A key was pressed on the phone.
    Key(char),
    /// A key that the signalling is to send, where keys travel so.
    SendKey(char),
    /// Once a second while connected.
    Quality(Box<Quality>),
    /// No RTP for the configured time.
    Silent,
    /// The leg is gone; last event.
    Closed(Box<LegReport>),
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
    /// Sound in a packet of ours: 10 to 60 ms in steps of 10, for Opus without 30 and 50. Packets that come may be of any
    /// length up to 120 ms.
    pub ptime: Duration,
    /// What keys are sent as.
    pub telephone_event: Option<KeyFormat>,
    /// Every form in which keys may come.
    pub accepted_events: Vec<KeyFormat>,
    /// Set where both sides take comfort noise (RFC 3389); used with codecs of an 8 kHz clock.
    pub comfort_noise: Option<ComfortNoise>,
    /// What the peer wants to receive as Opus.
    pub opus: OpusTuning,
    pub keys: KeyWay,
    pub send: bool,
    pub receive: bool,
    /// Keys of an encrypted stream.
    pub srtp: Option<Box<SrtpKeys>>,
}

impl Remote {
    /// An exchange of `codec` in both directions under its usual payload type, and of nothing else.
    pub fn new(rtp: SocketAddr, codec: Codec) -> Remote {
        Remote {
            rtp,
            rtcp: SocketAddr::new(rtp.ip(), rtp.port().saturating_add(1)),
            codec,
            payload_type: codec.payload_type(),
            accepted: vec![(codec.payload_type(), codec)],
            ptime: FRAME,
            telephone_event: None,
            accepted_events: Vec::new(),
            comfort_noise: None,
            opus: OpusTuning::default(),
            keys: KeyWay::Events,
            send: true,
            receive: true,
            srtp: None,
        }
    }
}

/// RFC 4733 `telephone-event` under a payload type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyFormat {
    pub payload_type: u8,
    /// Ticks a second of its durations.
    pub clock: u32,
}

/// Payload types of comfort noise: each side names the one that it receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ComfortNoise {
    pub send: u8,
    pub accept: u8,
}

/// How keys travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyWay {
    /// As RFC 4733 events, both ways; tones in the sound are sound.
    #[default]
    Events,
    /// As tones in the sound, both ways; events that come all the same count as well, once.
    Tones,
    /// Ours by the signalling ([`LegEvent::SendKey`]); the phone's as they come.
    Signalling,
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

/// The control side of a leg. Dropping it closes the leg.
pub struct Leg {
    pub local_rtp_port: u16,
    pub control: LegControl,
    /// At most 64 wait. When the channel is full, [`LegEvent::Quality`] is left out first; [`LegEvent::Closed`] always
    /// has a place.
    pub events: mpsc::Receiver<LegEvent>,
    /// Number of the media thread that it lives on.
    pub(crate) thread: usize,
    _closes: DropGuard,
}

impl Leg {
    pub(crate) fn new(local_rtp_port: u16, control: LegControl, events: mpsc::Receiver<LegEvent>) -> Leg {
        let closes = control.closing.clone().drop_guard();
        Leg { local_rtp_port, control, events, thread: 0, _closes: closes }
    }
}

/// Commands to a leg; cheap to clone, never blocks, ignored once the leg is closed.
#[derive(Clone)]
pub struct LegControl {
    commands: mpsc::Sender<Command>,
    closing: CancellationToken,
}

pub(crate) enum Command {
    Connect(Box<Remote>),
    Attach(PeerFactory),
    /// A key of the phone that the signalling brought.
    Key(char),
    /// Keys for the phone, and who wants to know whether they were taken.
    Press(String, oneshot::Sender<bool>),
}

impl LegControl {
    pub(crate) fn new(closing: CancellationToken) -> (LegControl, mpsc::Receiver<Command>) {
        let (commands, receiver) = mpsc::channel(COMMANDS);
        (LegControl { commands, closing }, receiver)
    }

    /// Starts (or changes) the exchange of packets.
    pub fn connect(&self, remote: Remote) {
        self.order(Command::Connect(Box::new(remote)));
    }

    /// Connects the audio to a peer; replaces the former one.
    pub fn attach(&self, factory: PeerFactory) {
        self.order(Command::Attach(factory));
    }

    /// The signalling brought a key of the phone: it goes the way of one in the stream, and counts once with it.
    pub fn key(&self, key: char) {
        self.order(Command::Key(key));
    }

    /// Sends keys to the phone, in the stream's way; `false` when they do not all fit behind those that wait, and when the
    /// peer did not agree to events. Gone unanswered when the leg is closed.
    pub fn press(&self, keys: String) -> oneshot::Receiver<bool> {
        let (taken, answer) = oneshot::channel();
        self.order(Command::Press(keys, taken));
        answer
    }

    /// Closes the leg: RTCP BYE, recording finished, [`LegEvent::Closed`].
    pub fn close(&self) {
        self.closing.cancel();
    }

    fn order(&self, command: Command) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.commands.try_send(command) {
            tracing::error!("a media leg does not read its commands; one was dropped");
        }
    }
}
