//! Something that the agent says.

use crate::ai::engine::Event;
use crate::ai::remote::Desk;
use crate::config::RealtimeFormat;

/// One item of an answer.
#[derive(Debug)]
pub struct Item {
    pub id: u64,
    /// Of the service.
    pub name: String,
    pub answer: String,
    pub content: u64,
    pub line: u32,
    pub text: String,
    /// The words so far are complete.
    pub text_over: bool,
    /// Samples or octets that came.
    pub samples: u64,
    /// Half a sample.
    pub odd: Option<u8>,
    /// Nothing more comes.
    pub ended: bool,
    /// Played, or cut off.
    pub played: bool,
}

impl Item {
    /// Nothing more comes.
    pub fn end(&mut self, desk: &mut Desk) {
        if !std::mem::replace(&mut self.ended, true) {
            // Half a sample is none.
            self.odd = None;
            // A tool call has no sound, and nobody will say that it was played.
            self.played |= self.samples == 0;
            if self.samples > 0 {
                desk.event(Event::AudioEnd { item: self.id });
            }
        }
    }
}

/// Samples a second.
pub fn rate(format: RealtimeFormat) -> u32 {
    match format {
        RealtimeFormat::Pcmu | RealtimeFormat::Pcma => 8_000,
        RealtimeFormat::Pcm => 24_000,
        RealtimeFormat::Pcm16000 => 16_000,
    }
}
