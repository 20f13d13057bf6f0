//! The media threads as the rest of the program sees them.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::MediaConfig;
use crate::media::ports::PortPairs;
use crate::media::recorder::Recorder;
use crate::media::session::Shared;
use crate::media::worker::{self, OpenOrder, Order, Worker};
use crate::media::{Leg, LegOptions, OpenError};

/// The media threads. Cheap to clone; the threads end with [`MediaPlane::stop`] or with the last clone.
#[derive(Clone)]
pub struct MediaPlane {
    inner: Arc<Inner>,
}

struct Inner {
    workers: Vec<Worker>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    recorder: Arc<Recorder>,
    stopping: CancellationToken,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

impl MediaPlane {
    /// Starts the threads: `config.threads` of them, or one a core.
    pub fn start(config: &MediaConfig, clock: Clock) -> std::io::Result<MediaPlane> {
        let recorder = Arc::new(Recorder::start()?);
        let [first, last] = config.ports;
        let shared = Shared {
            clock,
            recorder: Arc::clone(&recorder),
            ports: (last > 0).then(|| Arc::new(Mutex::new(PortPairs::new(first, last, rand::random_range(0..32_768))))),
            rtp_timeout: Duration::from_secs(config.rtp_timeout_seconds),
            jitter_limit: Duration::from_millis(config.jitter_max_ms),
        };
        let cores = worker::allowed_cores();
        let count = if config.threads == 0 { cores.len().max(1) } else { config.threads };
        let stopping = CancellationToken::new();
        let (mut workers, mut threads) = (Vec::new(), Vec::new());
        for index in 0..count {
            let core = cores.get(index % cores.len().max(1)).copied();
            let (worker, thread) = worker::start(index, core, shared.clone(), stopping.clone())?;
            workers.push(worker);
            threads.push(thread);
        }
        tracing::info!(threads = count, "media threads are up");
        Ok(MediaPlane { inner: Arc::new(Inner { workers, threads: Mutex::new(threads), recorder, stopping }) })
    }

    /// Opens a leg on the least loaded thread: a bound RTP/RTCP port pair that waits for [`crate::media::LegControl::connect`].
    pub async fn open(&self, options: LegOptions) -> Result<Leg, OpenError> {
        let threads = self.inner.workers.iter().enumerate();
        let (thread, _) = threads.min_by_key(|(_, worker)| worker.load()).ok_or(OpenError::Stopping)?;
        self.open_on(thread, options).await
    }

    /// Opens a leg on the thread of `leg`, with which it is to be joined.
    pub async fn open_beside(&self, leg: &Leg, options: LegOptions) -> Result<Leg, OpenError> {
        self.open_on(leg.thread, options).await
    }

    async fn open_on(&self, thread: usize, options: LegOptions) -> Result<Leg, OpenError> {
        let worker = self.inner.workers.get(thread).ok_or(OpenError::Stopping)?;
        let (reply, answer) = oneshot::channel();
        let order = Order::Open(Box::new(OpenOrder { options, load: worker.take_load(), reply }));
        worker.orders.send(order).await.map_err(|_| OpenError::Stopping)?;
        let mut leg = answer.await.map_err(|_| OpenError::Stopping)??;
        leg.thread = thread;
        Ok(leg)
    }

    pub fn live_legs(&self) -> usize {
        self.inner.workers.iter().map(Worker::load).sum()
    }

    /// Whether every media thread answers within `limit` (readiness, watchdog).
    pub async fn alive(&self, limit: Duration) -> bool {
        let pings = self.inner.workers.iter().map(|worker| async {
            let (reply, answer) = oneshot::channel();
            worker.orders.send(Order::Ping(reply)).await.is_ok() && answer.await.is_ok()
        });
        tokio::time::timeout(limit, join_all(pings)).await.is_ok_and(|answers| answers.into_iter().all(|alive| alive))
    }

    /// Closes all legs and joins the threads.
    pub async fn stop(&self) {
        self.inner.stopping.cancel();
        let threads = std::mem::take(&mut *self.inner.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let recorder = Arc::clone(&self.inner.recorder);
        let joined = tokio::task::spawn_blocking(move || {
            let panicked = threads.into_iter().map(JoinHandle::join).filter(Result::is_err).count();
            recorder.stop();
            panicked
        });
        if !matches!(joined.await, Ok(0)) {
            tracing::error!("a media thread panicked");
        }
    }
}
