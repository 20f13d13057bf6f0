//! The speaker: text into samples, sentence by sentence, on one thread.
//!
//! Jobs take turns a sentence at a time, so that a long text of one call does not hold up the first word of another.
//! A sentence that was spoken lately is kept ([`cache`]): the script says the same ones in every call. flite keeps
//! global state and is called by one thread at a time; more threads would gain nothing.

mod cache;
mod flite;
mod pronounce;
mod sentences;

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;

pub use sentences::{Splitter, sentences};

use self::cache::Cache;
use super::{Spoken, Voice};

/// Texts that may wait; one more is refused (its channel closes without a word).
const QUEUE: usize = 512;
/// Sentences of one text that are spoken ahead of its reader.
const AHEAD: usize = 4;
/// How soon a text is looked at again whose reader is behind.
const RETRY: Duration = Duration::from_millis(10);
/// Longest text of one job, bytes; the rest is not spoken.
const LONGEST_TEXT: usize = 64 * 1024;

/// Hands texts to the thread. The thread ends when the last clone is gone.
#[derive(Clone)]
pub(super) struct Speaker {
    jobs: SyncSender<Job>,
}

struct Job {
    sentences: VecDeque<String>,
    voice: Voice,
    to: mpsc::Sender<Spoken>,
}

impl Speaker {
    pub(super) fn start() -> std::io::Result<Speaker> {
        let (jobs, waiting) = sync_channel(QUEUE);
        thread::Builder::new().name("speak".into()).spawn(move || Bench::new(waiting).run())?;
        Ok(Speaker { jobs })
    }

    pub(super) fn speak(&self, mut text: String, voice: Voice) -> mpsc::Receiver<Spoken> {
        let (to, from) = mpsc::channel(AHEAD);
        let end = (0..=text.len().min(LONGEST_TEXT)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        let sentences: VecDeque<String> = sentences(&text).into();
        if !sentences.is_empty() && self.jobs.try_send(Job { sentences, voice, to }).is_err() {
            tracing::warn!("the speaker's queue is full: a text was not spoken");
        }
        from
    }
}

/// The thread's own state.
struct Bench {
    waiting: Receiver<Job>,
    jobs: VecDeque<Job>,
    cache: Cache,
}

impl Bench {
    fn new(waiting: Receiver<Job>) -> Bench {
        Bench { waiting, jobs: VecDeque::new(), cache: Cache::default() }
    }

    fn run(mut self) {
        let mut idle_turns = 0;
        while self.fetch(idle_turns) {
            let Some(job) = self.jobs.pop_front() else { continue };
            match self.turn(job) {
                Turn::Spoke => idle_turns = 0,
                Turn::Behind => idle_turns += 1,
            }
        }
    }

    /// Takes in new jobs; sleeps while there is nothing to do. `false` when nobody can send any more.
    fn fetch(&mut self, idle_turns: usize) -> bool {
        if self.jobs.is_empty() {
            match self.waiting.recv() {
                Ok(job) => self.jobs.push_back(job),
                Err(_) => return false,
            }
        } else if idle_turns >= self.jobs.len() {
            match self.waiting.recv_timeout(RETRY) {
                Ok(job) => self.jobs.push_front(job),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        loop {
            match self.waiting.try_recv() {
                // A new text goes first: somebody waits for its first word.
                Ok(job) => self.jobs.push_front(job),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return !self.jobs.is_empty(),
            }
        }
    }

    /// One sentence of `job`, which then goes to the back of the row.
    fn turn(&mut self, mut job: Job) -> Turn {
        if job.to.is_closed() {
            return Turn::Spoke;
        }
        if job.to.capacity() == 0 {
            self.jobs.push_back(job);
            return Turn::Behind;
        }
        if let Some(text) = job.sentences.pop_front() {
            let spoken = self.cache.spoken(&text, job.voice, synthesise);
            // A sentence that the voice cannot say (another script, say) must still be accounted for.
            let spoken = spoken.unwrap_or(Spoken { text, pcm: Vec::new(), rate: super::RECOGNISER_HZ });
            // There is room, and only this thread sends: it fails only when the reader has just gone.
            let _ = job.to.try_send(spoken);
        }
        if !job.sentences.is_empty() {
            self.jobs.push_back(job);
        }
        Turn::Spoke
    }
}

enum Turn {
    Spoke,
    /// The reader has not taken what it has; look again later.
    Behind,
}

fn synthesise(text: &str, voice: Voice) -> Option<(Vec<i16>, u32)> {
    let plain = pronounce::pronounceable(text);
    if plain.is_empty() {
        return None;
    }
    flite::synthesise(&plain, voice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn speaks_a_text_sentence_by_sentence_at_16_khz_in_both_voices() {
        let speaker = Speaker::start().expect("thread");
        for voice in [Voice::Slt, Voice::Kal] {
            let mut from = speaker.speak("Good morning. This is a test!".into(), voice);
            let first = from.blocking_recv().expect("first sentence");
            let second = from.blocking_recv().expect("second sentence");
            assert_eq!((first.text.as_str(), second.text.as_str()), ("Good morning.", "This is a test!"));
            assert_eq!(first.rate, 16_000);
            assert!(first.pcm.len() > 8_000 && first.pcm.iter().any(|sample| sample.abs() > 3_000));
            assert!(from.blocking_recv().is_none(), "the channel closes at the end");
        }
    }

    #[test]
    fn a_text_whose_reader_is_slow_does_not_hold_up_another() {
        let speaker = Speaker::start().expect("thread");
        let long = (0..40).map(|n| format!("Sentence {n}. ")).collect::<String>();
        let mut slow = speaker.speak(long, Voice::Slt);
        let mut quick = speaker.speak("Hello.".into(), Voice::Slt);
        assert_eq!(quick.blocking_recv().expect("spoken").text, "Hello.");
        let mut count = 0;
        while slow.blocking_recv().is_some() {
            count += 1;
        }
        assert_eq!(count, 40);
    }

    #[test]
    fn dropping_the_reader_stops_the_work() {
        let speaker = Speaker::start().expect("thread");
        drop(speaker.speak("This is a rather long sentence that costs time. ".repeat(500), Voice::Slt));
        let mut from = speaker.speak("Next.".into(), Voice::Slt);
        assert_eq!(from.blocking_recv().expect("spoken").text, "Next.");
    }

    #[test]
    fn text_without_words_closes_at_once() {
        let speaker = Speaker::start().expect("thread");
        assert!(speaker.speak(" … ".into(), Voice::Slt).blocking_recv().is_none());
        let unsayable = speaker.speak("漢字".into(), Voice::Slt).blocking_recv().expect("accounted for");
        assert!(unsayable.pcm.is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn no_text_harms_the_voice(text in "[ -~]{0,120}|\\PC{0,60}|[0-9$.,:/%+-]{1,60}|[A-Z.']{1,80}") {
            for sentence in sentences(&text) {
                let _ = synthesise(&sentence, Voice::Slt);
                let _ = synthesise(&sentence, Voice::Kal);
            }
        }
    }
}
