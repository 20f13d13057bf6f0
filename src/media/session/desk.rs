//! The peer's view of what is sent to the phone.

use std::time::{Duration, Instant};

use crate::media::session::outbound::Talk;
use crate::media::{Flushed, Playout};

pub struct Desk<'a> {
    talk: &'a mut Talk,
    now: Instant,
}

impl<'a> Desk<'a> {
    pub fn new(talk: &'a mut Talk, now: Instant) -> Desk<'a> {
        Desk { talk, now }
    }
}

impl Playout for Desk<'_> {
    fn push(&mut self, pcm: &[i16], rate: u32) {
        let refused = self.talk.queue.push(pcm, rate);
        if refused > 0 && !std::mem::replace(&mut self.talk.overflow_told, true) {
            tracing::warn!(refused, rate, "audio for the phone was dropped: the queue is full, or the rate is unknown");
        }
    }

    fn finish(&mut self) {
        self.talk.queue.finish();
    }

    fn flush(&mut self) -> Flushed {
        self.talk.queue.flush()
    }

    fn mark(&mut self, mark: u64) {
        self.talk.queue.mark(mark);
    }

    fn send_keys(&mut self, keys: &str) {
        self.talk.queue_keys(keys);
    }

    fn queued(&self) -> Duration {
        self.talk.queue.queued()
    }

    fn sent(&self) -> Duration {
        self.talk.queue.sent()
    }

    fn last_sent(&self) -> Option<Instant> {
        self.talk.last_speech
    }

    fn level(&self) -> f32 {
        self.talk.level
    }

    fn now(&self) -> Instant {
        self.now
    }
}
