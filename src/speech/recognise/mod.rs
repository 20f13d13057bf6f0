//! The recogniser: an utterance in, its words out.
//!
//! One thread owns the network and takes utterances in order from a bounded queue; its arithmetic is spread over a
//! pool of as many threads as configured and no more, so that recognition cannot starve the media threads. An utterance
//! whose asker has gone is not recognised.

mod ct2;
mod mel;
mod vocabulary;
mod whisper;
mod words;

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use tokio::sync::oneshot;

use self::whisper::Whisper;
use super::{RECOGNISER_HZ, RecogniseError, StartError};

/// Utterances that may wait; one more is answered [`RecogniseError::Busy`].
const QUEUE: usize = 32;
/// Longest utterance, samples.
const LONGEST: usize = 30 * RECOGNISER_HZ as usize;

pub(super) type Answer = Result<String, RecogniseError>;

/// Hands utterances to the thread. The thread ends when the last clone is gone.
#[derive(Clone)]
pub(super) struct Recogniser {
    jobs: SyncSender<Job>,
}

struct Job {
    pcm: Vec<i16>,
    to: oneshot::Sender<Answer>,
}

impl Recogniser {
    /// Loads the model in `directory`; this takes a second or so.
    pub(super) fn start(directory: &Path, threads: usize) -> Result<Recogniser, StartError> {
        let fault = |problem| StartError::Model { directory: directory.display().to_string(), problem };
        if !directory.is_dir() {
            return Err(fault(String::from("there is no such folder")));
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads.max(1))
            .thread_name(|n| format!("recognise-{n}"))
            .build()
            .map_err(std::io::Error::other)?;
        let whisper = pool.install(|| Whisper::load(directory)).map_err(fault)?;
        let (jobs, waiting) = sync_channel(QUEUE);
        thread::Builder::new().name("recognise".into()).spawn(move || work(&pool, whisper, &waiting))?;
        Ok(Recogniser { jobs })
    }

    pub(super) fn recognise(&self, mut pcm: Vec<i16>) -> oneshot::Receiver<Answer> {
        let (to, from) = oneshot::channel();
        pcm.drain(..pcm.len().saturating_sub(LONGEST));
        match self.jobs.try_send(Job { pcm, to }) {
            Ok(()) => {}
            Err(TrySendError::Full(job)) => answer(job.to, Err(RecogniseError::Busy)),
            Err(TrySendError::Disconnected(job)) => {
                answer(job.to, Err(RecogniseError::Failed(String::from("its thread has ended"))));
            }
        }
        from
    }
}

fn work(pool: &rayon::ThreadPool, mut whisper: Whisper, waiting: &Receiver<Job>) {
    while let Ok(Job { pcm, to }) = waiting.recv() {
        if !to.is_closed() {
            answer(to, pool.install(|| whisper.transcribe(&pcm)).map_err(RecogniseError::Failed));
        }
    }
}

fn answer(to: oneshot::Sender<Answer>, answer: Answer) {
    // The asker may have gone: then nobody misses the answer.
    let _ = to.send(answer);
}
