//! Sound that is silent but for a loud frame now and then, each of another value: what comes back tells how long it took.

use std::time::{Duration, Instant};

use super::rtp_phone::Conversation;

/// Frames between two loud ones: a tenth of a second.
pub const EVERY: usize = 5;
/// Loud codes of µ-law, so that each loud frame can be told from those before and after it.
const CODES: usize = 96;

/// Silence, and a loud frame now and then.
pub fn beats(frames: usize) -> Vec<Option<Vec<u8>>> {
    let code = |n: usize| if n.is_multiple_of(EVERY) { (n / EVERY % CODES) as u8 } else { 0xFF };
    (0..frames).map(|n| Some(vec![code(n); 160])).collect()
}

/// When each loud frame left, and how long it took to come back.
pub fn delays(conversation: &Conversation) -> Vec<(Instant, Duration)> {
    let round = Duration::from_millis(20) * (EVERY * CODES) as u32;
    let mut delays = Vec::new();
    for (n, said) in conversation.said.iter().enumerate().step_by(EVERY) {
        let code = (n / EVERY % CODES) as u8;
        let is_it = |payload: &[u8]| payload.iter().filter(|octet| **octet == code).count() > 80;
        let back = conversation.got.iter().find(|got| got.at >= *said && got.at < *said + round && is_it(&got.payload));
        delays.extend(back.map(|got| (*said, got.at - *said)));
    }
    delays
}

/// The median and the longest.
pub fn summary(delays: impl Iterator<Item = Duration>) -> (Duration, Duration) {
    let mut sorted: Vec<Duration> = delays.collect();
    sorted.sort_unstable();
    (sorted[sorted.len() / 2], sorted[sorted.len() - 1])
}
