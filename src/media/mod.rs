//! The media plane: RTP in and out of a phone, 20 ms at a time.
//!
//! Pure parts (rtp, rtcp, jitter, codec, restore, resample, conceal, dtmf, playout, quality, latch) take packets and instants;
//! `receive` joins them for what comes in; `session` joins everything to a socket; `worker` runs one pinned thread
//! with its own runtime per core; `recorder` writes WAV files on a thread of its own. A leg lives on one media thread
//! for life, together with its [`Peer`] (the voice AI's side). Other threads see only [`LegEvent`]s and send only
//! commands.
//!
//! ```text
//! socket ─▶ srtp ─▶ latch ─▶ rtp ─▶ jitter ─▶ restore (codec, conceal) ─▶ Peer::heard  (every 20 ms of the leg's clock)
//! socket ◀─ srtp ◀─ rtp ◀── codec ◀─ playout ◀─ resample ◀────── Playout::push        (any time, any length, any rate)
//! ```
//!
//! **Rates.** Sound crosses the [`Peer`] boundary at the codec's own rate, 8 or 16 kHz, and each frame says which; a
//! codec that changes during the call changes it from one frame to the next. Towards the phone any rate is taken and
//! converted once.
//!
//! **Timing.** Every deadline is computed from an instant the leg keeps (its epoch, or the start of a spurt), never
//! from the previous wake-up, so nothing drifts. Tokio's timers round up to whole milliseconds: a packet leaves 0 to
//! about 1 ms after its deadline, plus what the scheduler adds; its timestamp always tells the deadline.
//!
//! A leg's peer may also be another leg: `bridge` joins two.
//!
//! This room knows nothing of SIP, calls or AI services.

pub mod bell;
pub mod bridge;
pub mod codec;
pub mod conceal;
pub mod dtmf;
pub mod frame;
pub mod jitter;
pub mod latch;
mod leg;
mod peer;
mod plane;
pub mod playout;
pub mod ports;
pub mod quality;
mod receive;
pub mod recorder;
pub mod resample;
pub mod restore;
pub mod rtcp;
pub mod rtp;
mod session;
pub mod srtp;
mod worker;

pub use codec::Codec;
pub use codec::opus::OpusTuning;
pub use leg::{ComfortNoise, KeyFormat, KeyWay, Leg, LegControl, LegEvent, LegOptions, LegReport, OpenError, Remote};
pub use peer::{Flushed, HeardFrame, Peer, PeerFactory, Playout};
pub use plane::MediaPlane;
pub use quality::Quality;
pub use srtp::{SrtpKey, SrtpKeys, Suite};

use std::time::Duration;

/// Samples a second of a frame on a narrow-band leg.
pub const NARROW_BAND_HZ: u32 = 8_000;

/// Samples a second of a frame on a wide-band leg.
pub const WIDE_BAND_HZ: u32 = 16_000;

/// Length of a frame on the wire and at the [`Peer`] boundary.
pub const FRAME: Duration = Duration::from_millis(20);

/// Samples in a narrow-band frame; also the octets of its payload in G.711 and G.722, and the ticks of their clock.
pub const FRAME_SAMPLES: usize = 160;
