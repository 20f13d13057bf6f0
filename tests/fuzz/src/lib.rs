//! What is fuzzed, each as a function of bytes that panics when an invariant breaks.
//!
//! libFuzzer drives them (`make fuzz`); `tests/corpus.rs` replays the kept inputs and seeded changes of them with
//! every test run.

pub mod agent;
pub mod digest;
pub mod framing;
pub mod gemini;
pub mod live;
pub mod media_stream;
pub mod message;
pub mod realtime;
pub mod rtcp;
pub mod rtp;
pub mod sdp;
pub mod socket;
pub mod srtp;

/// A target: its name, which is that of its corpus and its program, and what it does with bytes.
pub type Target = (&'static str, fn(&[u8]));

pub const TARGETS: &[Target] = &[
    ("agent", agent::run),
    ("message", message::run),
    ("sdp", sdp::run),
    ("digest", digest::run),
    ("rtp", rtp::run),
    ("rtcp", rtcp::run),
    ("framing", framing::run),
    ("srtp", srtp::run),
    ("socket", socket::run),
    ("live", live::run),
    ("realtime", realtime::run),
    ("gemini", gemini::run),
    ("media_stream", media_stream::run),
];
