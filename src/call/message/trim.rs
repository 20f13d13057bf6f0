//! Old texts go.

use std::ops::Bound;

use uuid::Uuid;

use super::tables::{BY_CREATION, MESSAGES};
use crate::clock::UtcTime;
use crate::store::{Change, Store, StoreError};

/// Texts that one transaction looks at.
const AT_ONCE: usize = 500;

/// Removes texts that are older than `before`, but for those that still wait to be sent; returns how many.
pub async fn trim(store: &Store, before: UtcTime) -> Result<usize, StoreError> {
    let (mut removed, mut after) = (0, Uuid::nil());
    loop {
        let (gone, last) = store.write(move |change| trim_some(change, after, before)).await?;
        removed += gone;
        let Some(last) = last else { return Ok(removed) };
        after = last;
    }
}

/// How many went, and after which to go on. Ids are in the order of time.
fn trim_some(change: &mut Change<'_>, after: Uuid, before: UtcTime) -> Result<(usize, Option<Uuid>), StoreError> {
    let oldest = change.range(&MESSAGES, Bound::Excluded(&after), Bound::Unbounded, AT_ONCE)?;
    let full = oldest.len() == AT_ONCE;
    let (mut removed, mut last) = (0, None);
    for (id, message) in oldest {
        if message.created_at >= before {
            return Ok((removed, None));
        }
        last = Some(id);
        if message.due_at.is_none() {
            change.delete(&MESSAGES, &id)?;
            change.delete(&BY_CREATION, &(message.organization, id))?;
            removed += 1;
        }
    }
    Ok((removed, last.filter(|_| full)))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use super::super::record::{self, Message, MessageStatus};
    use super::super::tables;
    use super::*;
    use crate::call::record::Direction;
    use crate::clock::Clock;
    use crate::store::OpenOptions;

    pub(crate) fn message(clock: &Clock, due_at: Option<UtcTime>) -> Message {
        Message {
            id: clock.id(),
            organization: Uuid::nil(),
            direction: Direction::Outbound,
            trunk: "gsm".into(),
            from: String::new(),
            to: "+4930".into(),
            text: "hi".into(),
            status: if due_at.is_some() { MessageStatus::Queued } else { MessageStatus::Sent },
            created_at: clock.utc(),
            sent_at: None,
            due_at,
            attempts: 0,
            sip_code: None,
            error_detail: String::new(),
            delivery: None,
            reported_at: None,
            requested_by: String::new(),
        }
    }

    pub(crate) async fn save(store: &Store, messages: Vec<Message>) {
        let saved = store.write(move |change| {
            messages.iter().try_for_each(|message| tables::save(change, message))?;
            Ok::<_, StoreError>(())
        });
        saved.await.expect("written");
    }

    #[tokio::test]
    async fn old_texts_go_in_pieces_and_what_still_waits_stays() {
        let folder = tempfile::tempdir().expect("folder");
        let clock = Clock::manual(UtcTime(1_000_000_000_000));
        let store = Store::open(folder.path(), OpenOptions { cache_bytes: 1 << 20 }, clock.clone()).expect("store");
        let waits = message(&clock, Some(clock.utc()));
        let mut old = vec![waits.clone()];
        for _ in 0..2 * AT_ONCE {
            old.push(message(&clock, None));
        }
        save(&store, old).await;
        clock.advance(Duration::from_secs(1));
        let (limit, young) = (clock.utc(), message(&clock, None));
        save(&store, vec![young.clone()]).await;
        assert_eq!(trim(&store, limit).await.expect("trimmed"), 2 * AT_ONCE);
        assert_eq!(trim(&store, limit).await.expect("trimmed"), 0);
        let left = record::page(&store, Uuid::nil(), None, 10).expect("a page");
        let left: Vec<Uuid> = left.items.iter().map(|message| message.id).collect();
        assert_eq!(left, [young.id, waits.id]);
        assert_eq!(store.read().expect("read").count(&BY_CREATION).expect("counted"), 2, "no index entry is left");
    }
}
