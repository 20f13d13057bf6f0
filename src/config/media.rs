//! RTP and the local voice.

use std::path::PathBuf;

use serde::Deserialize;

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MediaConfig {
    /// First and last UDP port for RTP (even) and RTCP (the odd one above).
    pub ports: [u16; 2],
    /// Media threads; 0 = one a core.
    pub threads: usize,
    /// A live leg that receives no RTP for so long ends with outcome `empty-room`. 0 = never.
    pub rtp_timeout_seconds: u64,
    /// Ceiling of the adaptive jitter buffer, milliseconds.
    pub jitter_max_ms: u64,
    /// Record calls (stereo WAV: left the phone, right the box).
    pub record: bool,
}

/// The local voice.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpeechConfig {
    /// Folder with the Whisper model (`model.bin`, `vocabulary.txt`); without it the script uses the keypad.
    pub model_directory: Option<PathBuf>,
    /// Threads for recognition and synthesis.
    pub threads: usize,
}

impl Default for MediaConfig {
    fn default() -> Self {
        Self { ports: [20_000, 29_999], threads: 0, rtp_timeout_seconds: 60, jitter_max_ms: 200, record: true }
    }
}

impl Default for SpeechConfig {
    fn default() -> Self {
        Self { model_directory: None, threads: 1 }
    }
}
