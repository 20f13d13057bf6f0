//! Mail: a queue in the store and one task that empties it over SMTP.
//!
//! | A mail that | becomes |
//! |---|---|
//! | was queued, no `[mail]` section | waiting, held without a time limit; released by the first start with a section |
//! | was accepted by the mail server | sent |
//! | met an unreachable, busy or refusing server (network, TLS, sign-in, 4xx) | waiting, tried again after 1, 5, 15, 30 minutes, then hourly |
//! | is still waiting 24 hours after it was queued or released | failed, kept |
//! | was refused for good (5xx for this mail, no valid address) | failed, kept |
//!
//! What could not be sent because the server is not to be spoken with counts for every mail that is due, not only for
//! the one that found out. A mail whose fate is unknown (a crash or a cut between sending and noting it) is sent again
//! under the same Message-ID.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::MailConfig;
use crate::store::Store;

mod message;
mod queue;
mod relay;
mod schedule;
mod sender;

pub use queue::{Mail, MailState, QueuedMail, mails, queue_mail, trim_mails};

/// How long [`Mailer::stop`] waits for the mail that is under way.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// Sends queued mail over SMTP, retries for 24 hours; without SMTP settings mail stays `Waiting` and visible.
pub struct Mailer {
    wake: Arc<Notify>,
    stop: CancellationToken,
    /// Taken by the first stop.
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Mailer {
    /// Must be called within a Tokio runtime. The error is a sentence for the operator about the `[mail]` section.
    pub fn start(config: Option<&MailConfig>, store: Store, clock: Clock) -> Result<Mailer, String> {
        let relay = config.map(relay::Relay::new).transpose()?;
        let (wake, stop) = (Arc::new(Notify::new()), CancellationToken::new());
        let sender = sender::Sender::new(relay, store, clock, Arc::clone(&wake), stop.clone());
        Ok(Mailer { wake, stop, task: Mutex::new(Some(tokio::spawn(sender.run()))) })
    }

    /// Wakes the sender: something was queued.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Finishes the mail that is under way, within 10 seconds; what waits stays queued for the next start.
    pub async fn stop(&self) {
        self.stop.cancel();
        // A poisoned lock still holds the task.
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            let abort = task.abort_handle();
            if tokio::time::timeout(STOP_LIMIT, task).await.is_err() {
                abort.abort();
            }
        }
    }
}

impl Drop for Mailer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
