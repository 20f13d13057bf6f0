//! What the records room gets rid of: events and mails that nobody will ask for any more.

use std::time::Duration;

use crate::clock::Clock;
use crate::events;
use crate::store::{Store, StoreError};

const ROUND: Duration = Duration::from_secs(3600);
/// An event is kept so long for whoever delivers it.
const EVENTS_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// A mail is kept so long after it was queued, when it no longer waits.
const MAILS_KEPT: Duration = Duration::from_secs(90 * 24 * 3600);

/// Once an hour, until it is dropped or the store is closed. Expired sign-ins are forgotten by the API's own round.
pub(super) async fn run(store: Store, clock: Clock) {
    let mut round = tokio::time::interval(ROUND);
    loop {
        round.tick().await;
        match tidy(&store, &clock).await {
            Ok((0, 0)) => {}
            Ok((events, mails)) => tracing::info!(events, mails, "old records were removed"),
            Err(StoreError::Closed) => return,
            Err(problem) => tracing::warn!(%problem, "old records were not removed; it is tried again in an hour"),
        }
    }
}

/// How many events and mails went.
async fn tidy(store: &Store, clock: &Clock) -> Result<(usize, usize), StoreError> {
    let now = clock.utc();
    Ok((events::trim(store, now - EVENTS_KEPT).await?, events::trim_mails(store, now - MAILS_KEPT).await?))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::clock::UtcTime;
    use crate::events::{Event, EventKind, Mail};
    use crate::store::OpenOptions;

    #[tokio::test]
    async fn old_events_go_and_what_still_waits_stays() {
        let folder = tempfile::tempdir().expect("folder");
        let clock = Clock::manual(UtcTime(0));
        let store = Store::open(folder.path(), OpenOptions { cache_bytes: 1 << 20 }, clock.clone()).expect("store");
        let event = |at| Event {
            id: Uuid::nil(),
            organization: Uuid::nil(),
            at,
            kind: EventKind::CallQueued,
            subject: Uuid::nil(),
            data: serde_json::Value::Null,
        };
        let day = Duration::from_secs(24 * 3600);
        let (old, young) = (event(UtcTime(0)), event(UtcTime(0) + day * 80));
        store
            .write(move |change| -> Result<(), StoreError> {
                events::append(change, &old)?;
                events::append(change, &young)?;
                let mail = Mail { to: "a@example.com".into(), subject: String::new(), text: String::new() };
                events::queue_mail(change, Uuid::nil(), mail, UtcTime(0))
            })
            .await
            .expect("written");
        assert_eq!(tidy(&store, &clock).await.expect("tidy"), (0, 0));
        clock.advance(day * 100);
        assert_eq!(tidy(&store, &clock).await.expect("tidy"), (1, 0));
        assert_eq!(events::mails(&store, 10).expect("mails").len(), 1);
        assert_eq!(events::since(&store, 0, 10).expect("events").len(), 1);
    }
}
