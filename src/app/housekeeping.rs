//! What the records room gets rid of: events, mails and texts that nobody will ask for any more.

use std::time::Duration;

use crate::call::message;
use crate::clock::Clock;
use crate::events;
use crate::store::{Store, StoreError};

const DAY: Duration = Duration::from_secs(24 * 3600);
const ROUND: Duration = Duration::from_secs(3600);
/// An event is kept so long for whoever delivers it.
const EVENTS_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// A mail is kept so long after it was queued, when it no longer waits.
const MAILS_KEPT: Duration = Duration::from_secs(90 * 24 * 3600);

/// What went in one round.
#[derive(Debug, Default, PartialEq, Eq)]
struct Removed {
    events: usize,
    mails: usize,
    messages: usize,
}

/// Once an hour, until it is dropped or the store is closed. Expired sign-ins are forgotten by the API's own round.
/// Texts are kept for `message_days`; for ever when 0.
pub(super) async fn run(store: Store, clock: Clock, message_days: u32) {
    let mut round = tokio::time::interval(ROUND);
    loop {
        round.tick().await;
        match tidy(&store, &clock, message_days).await {
            Ok(removed) if removed == Removed::default() => {}
            Ok(Removed { events, mails, messages }) => {
                tracing::info!(events, mails, messages, "old records were removed");
            }
            Err(StoreError::Closed) => return,
            Err(problem) => tracing::warn!(%problem, "old records were not removed; it is tried again in an hour"),
        }
    }
}

async fn tidy(store: &Store, clock: &Clock, message_days: u32) -> Result<Removed, StoreError> {
    let now = clock.utc();
    let events = events::trim(store, now - EVENTS_KEPT).await?;
    let mails = events::trim_mails(store, now - MAILS_KEPT).await?;
    let messages = match message_days {
        0 => 0,
        days => message::trim(store, now - DAY * days).await?,
    };
    Ok(Removed { events, mails, messages })
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
        assert_eq!(tidy(&store, &clock, 90).await.expect("tidy"), Removed::default());
        clock.advance(day * 100);
        assert_eq!(tidy(&store, &clock, 90).await.expect("tidy"), Removed { events: 1, ..Removed::default() });
        assert_eq!(events::mails(&store, 10).expect("mails").len(), 1);
        assert_eq!(events::since(&store, 0, 10).expect("events").len(), 1);
    }

    #[tokio::test]
    async fn texts_go_after_the_days_of_the_configuration_and_never_when_these_are_none() {
        let folder = tempfile::tempdir().expect("folder");
        let clock = Clock::manual(UtcTime(0));
        let store = Store::open(folder.path(), OpenOptions { cache_bytes: 1 << 20 }, clock.clone()).expect("store");
        message::tests::save(&store, vec![message::tests::message(&clock, None)]).await;
        clock.advance(DAY * 90);
        assert_eq!(tidy(&store, &clock, 90).await.expect("tidy"), Removed::default(), "to the day");
        clock.advance(Duration::from_secs(1));
        assert_eq!(tidy(&store, &clock, 0).await.expect("tidy"), Removed::default(), "for ever");
        assert_eq!(tidy(&store, &clock, 90).await.expect("tidy"), Removed { messages: 1, ..Removed::default() });
    }
}
