use std::ops::Bound;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::schedule::{LIFETIME, next_attempt};
use crate::clock::UtcTime;
use crate::store::{Change, Order, Store, StoreError, Table};

const MAILS: Table<Uuid, Kept> = Table::new("mails");
const BY_TIME: Table<(UtcTime, Uuid), ()> = Table::new("mails_by_time");
/// Waiting mails by the time of their next attempt.
const DUE: Table<(UtcTime, Uuid), ()> = Table::new("mails_due");
/// Waiting mails that nothing can be done for until a mail server is configured.
const HELD: Table<Uuid, ()> = Table::new("mails_held");

/// Mails that one change settles, holds, releases or removes.
const AT_ONCE: usize = 256;

const NOT_CONFIGURED: &str = "no [mail] section in the configuration; the mail is kept and goes out once there is one";

/// A mail to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mail {
    pub to: String,
    pub subject: String,
    pub text: String,
}

/// Where a queued mail stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct QueuedMail {
    pub id: Uuid,
    pub mail: Mail,
    pub queued_at: UtcTime,
    pub attempts: u32,
    pub next_attempt_at: UtcTime,
    /// The last failure, in the operator's words.
    pub problem: Option<String>,
    pub state: MailState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MailState {
    Waiting,
    Sent,
    /// Not delivered within 24 hours, or refused for good; kept and visible.
    Failed,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kept {
    #[serde(flatten)]
    mail: QueuedMail,
    /// After this it is not tried again.
    deadline: UtcTime,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Sent,
    /// It may work later.
    Delayed(String),
    /// It never will.
    Refused(String),
}

/// Queues a mail inside a change (the one that ends a call). A second mail under the same id is ignored.
pub fn queue_mail(change: &mut Change<'_>, id: Uuid, mail: Mail, at: UtcTime) -> Result<(), StoreError> {
    if change.get(&MAILS, &id)?.is_some() {
        return Ok(());
    }
    let state = MailState::Waiting;
    let mail = QueuedMail { id, mail, queued_at: at, attempts: 0, next_attempt_at: at, problem: None, state };
    change.put(&DUE, &(at, id), &())?;
    change.put(&BY_TIME, &(at, id), &())?;
    change.put(&MAILS, &id, &Kept { mail, deadline: at + LIFETIME })
}

/// Mail in the queue and its history, newest first (for operators and tests).
pub fn mails(store: &Store, limit: usize) -> Result<Vec<QueuedMail>, StoreError> {
    let snapshot = store.read()?;
    let mut ids = Vec::new();
    snapshot.scan(&BY_TIME, Bound::Unbounded, Bound::Unbounded, Order::Descending, &mut |(_, id), ()| {
        ids.push(id);
        ids.len() <= limit
    })?;
    let kept = ids.iter().take(limit).map(|id| snapshot.get(&MAILS, id));
    kept.filter_map(Result::transpose).map(|kept| kept.map(|kept| kept.mail)).collect()
}

/// Removes mails that were queued before `before` and are no longer waiting; returns how many.
pub async fn trim_mails(store: &Store, before: UtcTime) -> Result<usize, StoreError> {
    let (mut removed, mut from) = (0, None);
    loop {
        let (now, next) = store.write(move |change| trim_some(change, from, before)).await?;
        removed += now;
        if next.is_none() {
            return Ok(removed);
        }
        from = next;
    }
}

type Place = (UtcTime, Uuid);

/// Looks at the next mails after `from`; the place to go on from, if there may be more.
fn trim_some(
    change: &mut Change<'_>,
    from: Option<Place>,
    before: UtcTime,
) -> Result<(usize, Option<Place>), StoreError> {
    let (from, to) = (from.as_ref().map_or(Bound::Unbounded, Bound::Excluded), (before, Uuid::nil()));
    let old = change.range(&BY_TIME, from, Bound::Excluded(&to), AT_ONCE)?;
    let mut removed = 0;
    for (place, ()) in &old {
        let waits = change.get(&MAILS, &place.1)?.is_some_and(|kept| kept.mail.state == MailState::Waiting);
        if !waits {
            change.delete(&MAILS, &place.1)?;
            change.delete(&BY_TIME, place)?;
            removed += 1;
        }
    }
    Ok((removed, old.last().filter(|_| old.len() == AT_ONCE).map(|(place, ())| *place)))
}

/// Waiting mails whose time has come, those that wait longest first.
pub(super) fn due(
    store: &Store,
    now: UtcTime,
    limit: usize,
    skip: &dyn Fn(Uuid) -> bool,
) -> Result<Vec<QueuedMail>, StoreError> {
    let snapshot = store.read()?;
    let mut ids = Vec::new();
    let to = (now, Uuid::max());
    snapshot.scan(&DUE, Bound::Unbounded, Bound::Included(&to), Order::Ascending, &mut |(_, id), ()| {
        if !skip(id) {
            ids.push(id);
        }
        ids.len() < limit
    })?;
    let kept = ids.iter().map(|id| snapshot.get(&MAILS, id));
    kept.filter_map(Result::transpose).map(|kept| kept.map(|kept| kept.mail)).collect()
}

/// When the next attempt is due.
pub(super) fn next_due(store: &Store) -> Result<Option<UtcTime>, StoreError> {
    let mut next = None;
    store.read()?.scan(&DUE, Bound::Unbounded, Bound::Unbounded, Order::Ascending, &mut |(at, _), ()| {
        next = Some(at);
        false
    })?;
    Ok(next)
}

/// Notes how the attempt of a waiting mail ended.
pub(super) fn settle(change: &mut Change<'_>, id: Uuid, outcome: Outcome, now: UtcTime) -> Result<(), StoreError> {
    let Some(mut kept) = change.get(&MAILS, &id)?.filter(|kept| kept.mail.state == MailState::Waiting) else {
        return Ok(());
    };
    let mail = &mut kept.mail;
    change.delete(&DUE, &(mail.next_attempt_at, id))?;
    mail.attempts += 1;
    (mail.state, mail.problem) = match outcome {
        Outcome::Sent => (MailState::Sent, None),
        Outcome::Refused(problem) => (MailState::Failed, Some(problem)),
        Outcome::Delayed(problem) => match next_attempt(mail.attempts, now, kept.deadline) {
            Some(next) => {
                mail.next_attempt_at = next;
                change.put(&DUE, &(next, id), &())?;
                (MailState::Waiting, Some(problem))
            }
            None => (MailState::Failed, Some(format!("given up after 24 hours: {problem}"))),
        },
    };
    change.put(&MAILS, &id, &kept)
}

/// Puts every waiting mail aside, because there is no mail server to send it to.
pub(super) async fn hold_all(store: &Store) -> Result<(), StoreError> {
    while next_due(store)?.is_some() {
        let hold = store.write(|change| {
            for ((at, id), ()) in change.range(&DUE, Bound::Unbounded, Bound::Unbounded, AT_ONCE)? {
                change.delete(&DUE, &(at, id))?;
                change.put(&HELD, &id, &())?;
                if let Some(mut kept) = change.get(&MAILS, &id)? {
                    kept.mail.problem = Some(NOT_CONFIGURED.into());
                    change.put(&MAILS, &id, &kept)?;
                }
            }
            Ok::<(), StoreError>(())
        });
        hold.await?;
    }
    Ok(())
}

/// Makes every held mail due: a mail server has been configured since. Its 24 hours begin now.
pub(super) async fn release_all(store: &Store, now: UtcTime) -> Result<(), StoreError> {
    loop {
        let released: usize = store.write(move |change| release_some(change, now)).await?;
        if released < AT_ONCE {
            return Ok(());
        }
    }
}

fn release_some(change: &mut Change<'_>, now: UtcTime) -> Result<usize, StoreError> {
    let held = change.range(&HELD, Bound::Unbounded, Bound::Unbounded, AT_ONCE)?;
    for (id, ()) in &held {
        change.delete(&HELD, id)?;
        if let Some(mut kept) = change.get(&MAILS, id)? {
            kept.mail.problem = None;
            kept.mail.next_attempt_at = now;
            kept.deadline = now + LIFETIME;
            change.put(&DUE, &(now, *id), &())?;
            change.put(&MAILS, id, &kept)?;
        }
    }
    Ok(held.len())
}

/// How long until `next`, seen from `now`.
pub(super) fn wait(next: UtcTime, now: UtcTime) -> Duration {
    next.since(now)
}
