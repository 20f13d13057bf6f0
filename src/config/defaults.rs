//! Defaults of single keys inside sections that have required ones.

use super::{CodecName, IdentityHeader};

pub(super) fn chat_timeout() -> u64 {
    20
}
pub(super) fn transcription_model() -> String {
    "gpt-4o-mini-transcribe".into()
}
pub(super) fn realtime_minutes() -> u64 {
    55
}
pub(super) fn max_calls() -> usize {
    30
}
pub(super) fn codecs() -> Vec<CodecName> {
    vec![CodecName::Pcmu, CodecName::Pcma]
}
pub(super) fn ring_seconds() -> u64 {
    45
}
pub(super) fn register_seconds() -> u32 {
    600
}
pub(super) fn identity() -> Vec<IdentityHeader> {
    vec![IdentityHeader::From]
}
pub(super) fn yes() -> bool {
    true
}
pub(super) fn max_duration() -> u32 {
    3600
}
pub(super) fn gemini_audio_ms() -> u32 {
    20
}
pub(super) fn gemini_greeting() -> String {
    "The phone has just been answered. Greet the caller now.".into()
}
pub(super) fn tool_timeout() -> u64 {
    10
}
