use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::queue::{self, Outcome, QueuedMail};
use super::relay::{Attempt, Relay, Session};
use crate::clock::Clock;
use crate::store::{Store, StoreError};

/// Mails read from the queue at once.
const AT_ONCE: usize = 32;
/// The longest sleep: a step of the wall clock is noticed within it.
const LONGEST_WAIT: Duration = Duration::from_secs(10 * 60);
/// After the store failed.
const WAIT_FOR_STORE: Duration = Duration::from_secs(10);

/// The task that empties the queue.
pub(super) struct Sender {
    relay: Option<Relay>,
    store: Store,
    clock: Clock,
    wake: Arc<Notify>,
    stop: CancellationToken,
    released: bool,
    /// Outcomes that the store would not take yet. Such a mail must not be sent again.
    unsaved: HashMap<Uuid, Outcome>,
}

impl Sender {
    pub(super) fn new(
        relay: Option<Relay>,
        store: Store,
        clock: Clock,
        wake: Arc<Notify>,
        stop: CancellationToken,
    ) -> Sender {
        Sender { relay, store, clock, wake, stop, released: false, unsaved: HashMap::new() }
    }

    pub(super) async fn run(mut self) {
        loop {
            let wait = match self.round().await {
                Ok(wait) => wait,
                Err(StoreError::Closed) => return,
                Err(error) => {
                    tracing::warn!(%error, "the mail queue cannot be worked on; trying again");
                    WAIT_FOR_STORE
                }
            };
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.wake.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Sends what is due; how long until there may be more.
    async fn round(&mut self) -> Result<Duration, StoreError> {
        if self.relay.is_none() {
            queue::hold_all(&self.store).await?;
            return Ok(LONGEST_WAIT);
        }
        if !self.released {
            queue::release_all(&self.store, self.clock.utc()).await?;
            self.released = true;
        }
        self.save_unsaved().await?;
        self.send_due().await?;
        let now = self.clock.utc();
        let next = queue::next_due(&self.store)?.map_or(LONGEST_WAIT, |next| queue::wait(next, now));
        Ok(next.min(LONGEST_WAIT))
    }

    async fn send_due(&mut self) -> Result<(), StoreError> {
        let mut session = None;
        while !self.stop.is_cancelled() {
            let due = self.due()?;
            if due.is_empty() {
                break;
            }
            for mail in due {
                if self.stop.is_cancelled() {
                    break;
                }
                match self.session(session.take()).await {
                    Ok(open) => session = self.send(open, &mail).await?,
                    Err(problem) => return self.delay_all_due(&problem).await,
                }
            }
        }
        if let Some(session) = session {
            session.quit().await;
        }
        Ok(())
    }

    fn due(&self) -> Result<Vec<QueuedMail>, StoreError> {
        queue::due(&self.store, self.clock.utc(), AT_ONCE, &|id| self.unsaved.contains_key(&id))
    }

    /// The session at hand, or a new one.
    async fn session(&self, open: Option<Session>) -> Result<Session, String> {
        match (open, &self.relay) {
            (Some(session), _) => Ok(session),
            (None, Some(relay)) => relay.connect().await,
            (None, None) => Err("no [mail] section".into()),
        }
    }

    /// Sends one mail and notes how it went; the session, if it can be used again.
    async fn send(&mut self, mut session: Session, mail: &QueuedMail) -> Result<Option<Session>, StoreError> {
        let Some(relay) = &self.relay else { return Ok(None) };
        let Attempt { outcome, code } = relay.send(&mut session, mail).await;
        // Neither address nor subject nor the server's words, which may repeat them.
        let (mail, attempt) = (mail.id, mail.attempts + 1);
        match &outcome {
            Outcome::Sent => tracing::info!(%mail, attempt, "mail sent"),
            Outcome::Delayed(_) => tracing::warn!(%mail, attempt, code, "mail not sent yet; it is tried again"),
            Outcome::Refused(_) => tracing::warn!(%mail, attempt, code, "mail refused; it is kept"),
        }
        metrics::counter!("trunkline_mails_total", "outcome" => word(&outcome)).increment(1);
        self.settle(vec![(mail, outcome)]).await?;
        if session.usable() {
            return Ok(Some(session));
        }
        session.quit().await;
        Ok(None)
    }

    /// The server cannot be used: the same holds for every mail that is due.
    async fn delay_all_due(&mut self, problem: &str) -> Result<(), StoreError> {
        let mut count = 0;
        loop {
            let due = self.due()?;
            if due.is_empty() {
                break;
            }
            count += due.len();
            self.settle(due.iter().map(|mail| (mail.id, Outcome::Delayed(problem.to_owned()))).collect()).await?;
        }
        // The server's words may repeat a user name; they stand in the queue for those who may see it.
        tracing::warn!(mails = count, "the mail server cannot be used; mail is kept and tried again");
        tracing::debug!(problem, "why the mail server cannot be used");
        metrics::counter!("trunkline_mails_total", "outcome" => "delayed").increment(count as u64);
        Ok(())
    }

    async fn save_unsaved(&mut self) -> Result<(), StoreError> {
        let outcomes: Vec<_> = self.unsaved.clone().into_iter().collect();
        if !outcomes.is_empty() {
            self.settle(outcomes).await?;
            self.unsaved.clear();
        }
        Ok(())
    }

    /// Notes outcomes; what the store does not take is remembered.
    async fn settle(&mut self, outcomes: Vec<(Uuid, Outcome)>) -> Result<(), StoreError> {
        let now = self.clock.utc();
        let written = outcomes.clone();
        let settled = self.store.write(move |change| {
            written.into_iter().try_for_each(|(id, outcome)| queue::settle(change, id, outcome, now))
        });
        let settled: Result<(), StoreError> = settled.await;
        if settled.is_err() {
            self.unsaved.extend(outcomes);
        }
        settled
    }
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Sent => "sent",
        Outcome::Delayed(_) => "delayed",
        Outcome::Refused(_) => "refused",
    }
}
