//! Sentences spoken lately: bounded by bytes, the least recently used goes first.

use std::collections::HashMap;

use super::super::{Spoken, Voice};

/// Samples kept, bytes: about four minutes of speech.
const ROOM: usize = 8 * 1024 * 1024;
/// Longer sentences are rarely said twice.
const LONGEST: usize = 200;

#[derive(Default)]
pub(super) struct Cache {
    kept: HashMap<(String, Voice), Kept>,
    bytes: usize,
    uses: u64,
}

struct Kept {
    pcm: Vec<i16>,
    rate: u32,
    last_use: u64,
}

impl Cache {
    /// `text` spoken, from memory or by `synthesise`.
    pub(super) fn spoken(
        &mut self,
        text: &str,
        voice: Voice,
        synthesise: impl FnOnce(&str, Voice) -> Option<(Vec<i16>, u32)>,
    ) -> Option<Spoken> {
        self.uses += 1;
        let key = (text.to_owned(), voice);
        if let Some(kept) = self.kept.get_mut(&key) {
            kept.last_use = self.uses;
            return Some(Spoken { text: key.0, pcm: kept.pcm.clone(), rate: kept.rate });
        }
        let (pcm, rate) = synthesise(text, voice)?;
        if text.len() <= LONGEST {
            self.keep(key, pcm.clone(), rate);
        }
        Some(Spoken { text: text.to_owned(), pcm, rate })
    }

    fn keep(&mut self, key: (String, Voice), pcm: Vec<i16>, rate: u32) {
        let size = size_of_val(pcm.as_slice());
        if size > ROOM / 4 {
            return;
        }
        while self.bytes + size > ROOM {
            let Some(oldest) = self.kept.iter().min_by_key(|(_, kept)| kept.last_use).map(|(key, _)| key.clone())
            else {
                return;
            };
            if let Some(gone) = self.kept.remove(&oldest) {
                self.bytes -= size_of_val(gone.pcm.as_slice());
            }
        }
        self.bytes += size;
        self.kept.insert(key, Kept { pcm, rate, last_use: self.uses });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_is_synthesised_once_and_the_room_is_bounded() {
        let mut cache = Cache::default();
        let mut calls = 0;
        for _ in 0..3 {
            let spoken = cache.spoken("Hello.", Voice::Slt, |_, _| {
                calls += 1;
                Some((vec![1; 1000], 16_000))
            });
            assert_eq!(spoken.expect("spoken").pcm.len(), 1000);
        }
        assert_eq!(calls, 1);
        for n in 0..40 {
            cache.spoken(&format!("{n}"), Voice::Slt, |_, _| Some((vec![0; 300_000], 16_000)));
            assert!(cache.bytes <= ROOM);
        }
        assert_eq!(cache.bytes, cache.kept.values().map(|kept| kept.pcm.len() * 2).sum::<usize>());
    }
}
