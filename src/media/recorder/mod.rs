//! Recording: stereo WAV, left the phone, right the box, 16 bit, 8 kHz or 16 kHz as the call.
//!
//! A leg lays its samples on a [`Tape`] by time and sends finished stretches over a bounded queue to one writer thread
//! ([`Recorder`]), so a slow disk never holds up audio. Every stretch carries its position: one that found no room
//! becomes silence of the same length, and both channels stay aligned with the wire. The header is brought up to date
//! once a second of sound, so that what a crash leaves is playable.
//!
//! The phone's channel is what was on the wire, not what the listener got: each packet lies where its timestamp puts
//! it. What the jitter buffer did for the listener's sake – stand-ins for what was only late, frames left out or
//! doubled in silence – is not in it; what really was lost is.

#[cfg(test)]
mod bursts;
mod tape;
mod writer;

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use uuid::Uuid;

use crate::clock::Clock;
use crate::media::frame::Frame;
use crate::media::receive::Heard;
use crate::media::recorder::tape::{Layout, Side};
use crate::media::recorder::writer::{Message, write_all};

/// Stretches that may wait for the disk, over all legs.
const QUEUE: usize = 1_024;
/// How long the end of a recording waits for room in the queue, and then for the disk.
const PATIENCE: Duration = Duration::from_secs(5);

/// The writer thread.
#[derive(Debug)]
pub struct Recorder {
    queue: Mutex<Option<SyncSender<Message>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Recorder {
    pub fn start() -> std::io::Result<Recorder> {
        let (sender, receiver) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new().name("media-recorder".into()).spawn(move || write_all(&receiver))?;
        Ok(Recorder { queue: Mutex::new(Some(sender)), thread: Mutex::new(Some(thread)) })
    }

    /// Begins a recording at `path` with `rate` samples a second, the first of which belongs to `origin`. `None` when the
    /// queue is full or closed.
    pub fn open(&self, clock: &Clock, path: PathBuf, origin: Instant, rate: u32) -> Option<Tape> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let id = clock.id();
        match queue.try_send(Message::Open { id, path, rate }) {
            Ok(()) => Some(Tape { id, layout: Layout::new(origin, rate), queue, missed: 0 }),
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
    missed: u64,
}

impl Tape {
    /// Lays a frame of the phone where it lay on the wire.
    pub fn lay_heard(&mut self, heard: &Heard) {
        self.layout.lay_heard(heard);
    }

    /// Lays a frame of the box that left at `at`.
    pub fn lay_spoken(&mut self, at: Instant, pcm: &Frame) {
        self.layout.lay(Side::Box, at, pcm, pcm.rate());
    }

    /// Hands what is old enough to the writer.
    pub fn roll(&mut self, now: Instant) {
        while let Some(stretch) = self.layout.finished(now) {
            let message = Message::Stretch { id: self.id, start: stretch.start, stereo: stretch.stereo };
            if self.queue.try_send(message).is_err() {
                self.missed += 1;
                if self.missed == 1 {
                    tracing::warn!("a recording has a hole: the disk is too slow");
                }
            }
        }
    }

    /// Writes the rest; returns the file once it is complete and readable, `None` when it could not be written.
    pub async fn finish(mut self, now: Instant) -> Option<PathBuf> {
        self.roll(now);
        let (reply, done) = oneshot::channel();
        let rest = self.layout.rest(now);
        let mut message = Message::Close { id: self.id, start: rest.start, stereo: rest.stereo, reply };
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
