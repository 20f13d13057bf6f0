//! The local voice of the AI room: one file a subject.

mod common;
#[path = "../speech/common.rs"]
mod voice;

mod chat;
mod gemini;
mod live;
mod media_stream;
mod realtime;
mod session;
