//! Recording: stereo WAV, left the phone, right the box, 16 bit, 8 kHz or 16 kHz as the call.
//!
//! A leg lays its samples on a [`Tape`] by time and sends them in batches over a bounded queue to one writer thread
//! ([`Recorder`]), so a slow disk never holds up audio. Every frame carries its position, and the writer puts it there,
//! however late it comes: a batch that found no room is silence of the same length, and both channels stay aligned with
//! the wire. The header is brought up to date once a second of sound, so that what a crash leaves is playable.
//!
//! The phone's channel is what was on the wire, not what the listener got: each packet lies where its timestamp puts
//! it. What the jitter buffer did for the listener's sake – stand-ins for what was only late, frames left out or
//! doubled in silence – is not in it; what really was lost is.

#[cfg(test)]
mod bursts;
mod tape;
mod writer;

use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use uuid::Uuid;

use crate::clock::Clock;
use crate::media::frame::Frame;
use crate::media::receive::Heard;
use crate::media::recorder::tape::{Batch, Layout, Side};
use crate::media::recorder::writer::{Closing, Message, write_all};

/// Batches that may wait for the disk, over all legs: twelve seconds of a hundred calls.
const QUEUE: usize = 4_096;
/// Batches kept for the next, over all legs.
const SPARE: usize = 64;
/// How long the end of a recording waits for room in the queue, and then for the disk.
const PATIENCE: Duration = Duration::from_secs(5);

/// The writer thread.
#[derive(Debug)]
pub struct Recorder {
    queue: Mutex<Option<SyncSender<Message>>>,
    spare: Spare,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Batches that have been written: their memory serves again.
#[derive(Debug, Clone, Default)]
pub struct Spare(Arc<Mutex<Batches>>);

// In the boxes in which they go through the queue.
#[allow(clippy::vec_box)]
type Batches = Vec<Box<Batch>>;

impl Spare {
    fn take(&self) -> Box<Batch> {
        self.lock().pop().unwrap_or_default()
    }

    fn give(&self, mut batch: Box<Batch>) {
        batch.clear();
        let mut spare = self.lock();
        if spare.len() < SPARE {
            spare.push(batch);
        }
    }

    // A poisoned lock only means that a thread panicked between two whole operations.
    fn lock(&self) -> MutexGuard<'_, Batches> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recorder {
    pub fn start() -> std::io::Result<Recorder> {
        let (sender, receiver) = sync_channel(QUEUE);
        let spare = Spare::default();
        let written = spare.clone();
        let thread =
            std::thread::Builder::new().name("media-recorder".into()).spawn(move || write_all(&receiver, &written))?;
        Ok(Recorder { queue: Mutex::new(Some(sender)), spare, thread: Mutex::new(Some(thread)) })
    }

    /// Begins a recording at `path` with `rate` samples a second, the first of which belongs to `origin`. `None` when the
    /// queue is full or closed.
    pub fn open(&self, clock: &Clock, path: PathBuf, origin: Instant, rate: u32) -> Option<Tape> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let id = clock.id();
        match queue.try_send(Message::Open { id, path: Box::new(path), rate }) {
            Ok(()) => {
                Some(Tape { id, layout: Layout::new(origin, rate), queue, spare: self.spare.clone(), missed: false })
            }
            Err(_) => {
                tracing::warn!("a call is not recorded: the recorder's queue is full; is the disk too slow?");
                None
            }
        }
    }

    /// Waits for all that is queued to be written, and ends the thread. Open tapes keep it alive.
    pub fn stop(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the recorder thread panicked");
        }
    }
}

/// One leg's recording.
#[derive(Debug)]
pub struct Tape {
    id: Uuid,
    layout: Layout,
    queue: SyncSender<Message>,
    spare: Spare,
    /// A hole has been told.
    missed: bool,
}

impl Tape {
    /// Lays a frame of the phone where it lay on the wire.
    pub fn lay_heard(&mut self, heard: &Heard, now: Instant) {
        self.layout.lay_heard(heard, now);
    }

    /// Lays a frame of the box that left at `at`.
    pub fn lay_spoken(&mut self, at: Instant, pcm: &Frame, now: Instant) {
        self.layout.lay(Side::Box, at, pcm, pcm.rate(), now);
    }

    /// Hands what waits to the writer, if it is worth it.
    pub fn roll(&mut self, now: Instant) {
        let Some(batch) = self.layout.finished(now, || self.spare.take()) else { return };
        if let Err(TrySendError::Full(message) | TrySendError::Disconnected(message)) =
            self.queue.try_send(Message::Batch { id: self.id, batch })
        {
            if let Message::Batch { batch, .. } = message {
                self.spare.give(batch);
            }
            if !std::mem::replace(&mut self.missed, true) {
                tracing::warn!("a recording has a hole: the disk is too slow");
            }
        }
    }

    /// Writes the rest; returns the file once it is complete and readable, `None` when it could not be written.
    pub async fn finish(self, now: Instant) -> Option<PathBuf> {
        let (reply, done) = oneshot::channel();
        let (batch, end) = self.layout.rest(now);
        let mut message = Message::Close { id: self.id, closing: Box::new(Closing { batch, end, reply }) };
        let queue = self.queue;
        let closed = async move {
            while let Err(TrySendError::Full(back)) = queue.try_send(message) {
                message = back;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            // The thread must not be kept alive while it is waited for.
            drop(queue);
            done.await.ok().flatten()
        };
        tokio::time::timeout(PATIENCE, closed).await.ok().flatten()
    }
}
