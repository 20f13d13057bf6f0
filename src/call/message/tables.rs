//! Where text messages lie in the store, and the one way to write them.

use std::ops::Bound;
use std::time::Duration;

use sha2::Digest;
use uuid::Uuid;

use super::record::Message;
use crate::clock::UtcTime;
use crate::store::{Change, StoreError, Table};

pub(super) const MESSAGES: Table<Uuid, Message> = Table::new("messages");
/// Organization and id: ids are in the order of time.
pub(super) const BY_CREATION: Table<(Uuid, Uuid), ()> = Table::new("messages_by_creation");
/// Texts that wait to be sent.
pub(super) const BY_DUE: Table<(UtcTime, Uuid), ()> = Table::new("messages_by_due");
/// Texts that came in lately, by what makes them the same, and their ages.
const SEEN: Table<[u8; 32], Uuid> = Table::new("messages_seen");
const SEEN_BY_AGE: Table<(UtcTime, [u8; 32]), ()> = Table::new("messages_seen_by_age");

/// How long a text is known again.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);
/// Entries that one text sweeps out: more than one, so that the table shrinks.
const SWEEP: usize = 8;

/// Writes `message` and moves its index entries.
pub(super) fn save(change: &mut Change<'_>, message: &Message) -> Result<(), StoreError> {
    let before = change.get(&MESSAGES, &message.id)?;
    if let Some(due) = before.as_ref().and_then(|before| before.due_at).filter(|due| Some(*due) != message.due_at) {
        change.delete(&BY_DUE, &(due, message.id))?;
    }
    if let Some(due) = message.due_at {
        change.put(&BY_DUE, &(due, message.id), &())?;
    }
    if before.is_none() {
        change.put(&BY_CREATION, &(message.organization, message.id), &())?;
    }
    change.put(&MESSAGES, &message.id, message)
}

/// Whether this text is here for the first time within a day; remembers it.
pub(super) fn is_new(change: &mut Change<'_>, identity: [u8; 32], id: Uuid, now: UtcTime) -> Result<bool, StoreError> {
    let expired = (now - REMEMBERED, [0xff; 32]);
    for ((at, old), ()) in change.range(&SEEN_BY_AGE, Bound::Unbounded, Bound::Included(&expired), SWEEP)? {
        change.delete(&SEEN_BY_AGE, &(at, old))?;
        change.delete(&SEEN, &old)?;
    }
    if change.get(&SEEN, &identity)?.is_some() {
        return Ok(false);
    }
    change.put(&SEEN, &identity, &id)?;
    change.put(&SEEN_BY_AGE, &(now, identity), &())?;
    Ok(true)
}

/// What makes two texts the same: who sent them, Call-ID, CSeq and From tag. Each with its length, so that no two
/// quadruples read the same.
pub(super) fn identity(origin: &str, (call_id, sequence, tag): &(String, u32, String)) -> [u8; 32] {
    let mut digest = sha2::Sha256::new();
    for part in [origin, call_id, &sequence.to_string(), tag] {
        digest.update(part.len().to_be_bytes());
        digest.update(part.as_bytes());
    }
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::store::{OpenOptions, Store};

    #[test]
    fn texts_are_the_same_only_when_all_that_names_them_is() {
        let of = |origin, call_id: &str, sequence, tag: &str| identity(origin, &(call_id.into(), sequence, tag.into()));
        let text = of("gsm", "a", 1, "t");
        assert_eq!(text, of("gsm", "a", 1, "t"));
        for other in [of("pbx", "a", 1, "t"), of("gsm", "b", 1, "t"), of("gsm", "a", 2, "t"), of("gsm", "a", 1, "u")] {
            assert_ne!(text, other);
        }
        assert_ne!(of("gs", "ma", 1, "t"), of("gsm", "a", 1, "t"), "parts do not run together");
    }

    #[tokio::test]
    async fn a_text_is_known_again_for_a_day() {
        let folder = tempfile::tempdir().expect("folder");
        let clock = Clock::manual(UtcTime(1_000_000_000_000));
        let store = Store::open(folder.path(), OpenOptions { cache_bytes: 1 << 20 }, clock.clone()).expect("store");
        let comes = async |what: u8| {
            let (id, now) = (clock.id(), clock.utc());
            store.write(move |change| is_new(change, [what; 32], id, now)).await.expect("written")
        };
        assert!(comes(1).await && !comes(1).await && comes(2).await);
        clock.advance(REMEMBERED - Duration::from_secs(1));
        assert!(!comes(1).await && !comes(2).await && comes(3).await);
        clock.advance(Duration::from_secs(2));
        assert!(comes(1).await && comes(2).await && !comes(3).await);
        let ages = store.read().expect("read").count(&SEEN_BY_AGE).expect("counted");
        assert_eq!(ages, 3, "what is forgotten leaves nothing behind");
    }
}
