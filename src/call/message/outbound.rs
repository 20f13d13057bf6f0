//! One task that sends what waits, and what the answer of the peer means for it.

use std::collections::{HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use uuid::Uuid;

use super::record::{Message, MessageStatus};
use super::tables::{self, BY_DUE, MESSAGES};
use super::{count, event};
use crate::call::record::Direction;
use crate::call::room::Room;
use crate::clock::UtcTime;
use crate::directory::DialVerdict;
use crate::events::{self, EventKind};
use crate::sip::endpoint::{MessageOrder, MessageOutcome, MessageRoute};
use crate::store::{Order, StoreError};

/// Texts under way at once; to one recipient one at a time, so that they arrive in their order.
const AT_ONCE: usize = 16;
/// How far behind the head of the queue another recipient is looked for.
const LOOK_AHEAD: usize = 256;
/// The sender looks at the clock at least so often: wall-clock time may jump.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
/// After a failed read or write.
const AFTER_AN_ERROR: Duration = Duration::from_secs(1);
/// Tries of one text.
const MAX_TRIES: u32 = 5;
/// Longest pause that a peer may order.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// Runs until the room drains. What is under way then is tried again at the next start, unless it ends before.
pub(super) async fn run(room: Arc<Room>) {
    let mut under_way = UnderWay::default();
    while !room.is_draining() {
        let pause = match begin(&room, &mut under_way) {
            Ok(Some(next)) => next.since(room.clock.utc()).min(LONGEST_SLEEP),
            Ok(None) => LONGEST_SLEEP,
            Err(error) => {
                tracing::warn!(%error, "waiting text messages cannot be read; trying again");
                AFTER_AN_ERROR
            }
        };
        tokio::select! {
            () = room.texts_due.notified() => {}
            Some(done) = under_way.tasks.join_next() => under_way.ended(done),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

#[derive(Default)]
struct UnderWay {
    tasks: JoinSet<Uuid>,
    /// By task: what it sends, and to whom.
    texts: HashMap<tokio::task::Id, (Uuid, String)>,
}

impl UnderWay {
    fn ended(&mut self, done: Result<Uuid, tokio::task::JoinError>) {
        match done {
            Ok(id) => self.texts.retain(|_, (text, _)| *text != id),
            Err(error) => {
                self.texts.remove(&error.id());
            }
        }
    }

    fn allows(&self, message: &Message) -> bool {
        self.texts.values().all(|(id, to)| *id != message.id && *to != message.to)
    }
}

/// Begins to send what is due; returns when something will be.
fn begin(room: &Arc<Room>, under_way: &mut UnderWay) -> Result<Option<UtcTime>, StoreError> {
    let (now, snapshot) = (room.clock.utc(), room.store.read()?);
    let (mut due, mut next) = (Vec::new(), None);
    snapshot.scan(&BY_DUE, Bound::Unbounded, Bound::Unbounded, Order::Ascending, &mut |(at, id), ()| {
        if at > now {
            next = Some(at);
            return false;
        }
        due.push(id);
        due.len() < LOOK_AHEAD
    })?;
    let mut passed_over: HashSet<String> = HashSet::new();
    for id in due {
        if under_way.texts.len() >= AT_ONCE {
            break;
        }
        let Some(message) = snapshot.get(&MESSAGES, &id)? else { continue };
        // Whoever was passed over waits for the text before.
        if !under_way.allows(&message) || !passed_over.insert(message.to.clone()) {
            passed_over.insert(message.to);
            continue;
        }
        let to = message.to.clone();
        let task = under_way.tasks.spawn(deliver(Arc::clone(room), message));
        under_way.texts.insert(task.id(), (id, to));
    }
    Ok(next)
}

/// One try, and its outcome on disk.
async fn deliver(room: Arc<Room>, message: Message) -> Uuid {
    let id = message.id;
    let outcome = match attempt(&room, &message).await {
        Ok(outcome) => outcome,
        Err(error) => {
            tracing::warn!(%error, "a text message cannot be sent now");
            tokio::time::sleep(AFTER_AN_ERROR).await;
            return id;
        }
    };
    let verdict = verdict(&outcome, message.attempts + 1, room.tuning.message_retry);
    if let Err(error) = settle(&room, id, verdict).await {
        tracing::warn!(%error, "the fate of a text message could not be written; it is sent again");
        tokio::time::sleep(AFTER_AN_ERROR).await;
    }
    id
}

/// `None` when the dial policy no longer allows it.
async fn attempt(room: &Room, message: &Message) -> Result<Option<MessageOutcome>, StoreError> {
    let route = if message.trunk.is_empty() {
        MessageRoute::Extension(message.to.clone())
    } else {
        if room.directory.may_dial(message.organization, &message.to)? != DialVerdict::Allowed {
            return Ok(None);
        }
        MessageRoute::Trunk { name: message.trunk.clone(), number: message.to.clone() }
    };
    let from = Some(message.from.clone()).filter(|from| !from.is_empty());
    let order = MessageOrder { route, from, call_id: message.call_id(), text: message.text.clone() };
    Ok(Some(room.endpoint.send_message(order).await))
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Sent { code: u16 },
    Again { after: Duration, code: Option<u16>, detail: String },
    Failed { code: Option<u16>, detail: String },
}

/// `tries` counts the one that has this outcome. Pauses grow fourfold from `base`.
fn verdict(outcome: &Option<MessageOutcome>, tries: u32, base: Duration) -> Verdict {
    let (code, detail, ordered, worth) = match outcome {
        None => (None, "the dial policy does not allow this number".to_owned(), None, false),
        Some(MessageOutcome::Accepted(code)) => return Verdict::Sent { code: *code },
        Some(MessageOutcome::Refused { code, reason, retry_after }) => {
            // 501 and 505 say what will not change; 606 and its kin are the recipient's will.
            let worth = matches!(code, 408 | 480 | 500 | 502..=504 | 506..=599);
            (Some(*code), format!("{code} {reason}").trim().to_owned(), *retry_after, worth)
        }
        Some(MessageOutcome::Silent) => (None, "the peer gave no answer".to_owned(), None, true),
        Some(MessageOutcome::Unreachable(problem)) => (None, problem.clone(), None, true),
        Some(MessageOutcome::Unauthorized) => (None, "the trunk refuses our credentials".to_owned(), None, false),
    };
    if !worth || tries >= MAX_TRIES {
        return Verdict::Failed { code, detail };
    }
    let grown = base * 4_u32.saturating_pow(tries.saturating_sub(1));
    let after = ordered.unwrap_or(grown).clamp(Duration::from_millis(1), LONGEST_PAUSE);
    Verdict::Again { after, code, detail }
}

async fn settle(room: &Room, id: Uuid, verdict: Verdict) -> Result<(), StoreError> {
    let clock = room.clock.clone();
    room.store
        .write(move |change| {
            let Some(mut message) = change.get(&MESSAGES, &id)? else { return Ok(()) };
            let now = clock.utc();
            message.attempts += 1;
            message.due_at = None;
            let kind = match verdict {
                Verdict::Sent { code } => {
                    message.status = MessageStatus::Sent;
                    (message.sent_at, message.sip_code) = (Some(now), Some(code));
                    message.error_detail.clear();
                    Some((EventKind::MessageSent, "sent"))
                }
                Verdict::Again { after, code, detail } => {
                    message.due_at = Some(now + after);
                    (message.sip_code, message.error_detail) = (code, detail);
                    None
                }
                Verdict::Failed { code, detail } => {
                    message.status = MessageStatus::Failed;
                    (message.sip_code, message.error_detail) = (code, detail);
                    Some((EventKind::MessageFailed, "failed"))
                }
            };
            tables::save(change, &message)?;
            if let Some((kind, status)) = kind {
                count(Direction::Outbound, status);
                events::append(change, &event(&message, kind, &clock))?;
            }
            Ok(())
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Duration = Duration::from_secs(30);

    fn refused(code: u16, retry_after: Option<u64>) -> Option<MessageOutcome> {
        let retry_after = retry_after.map(Duration::from_secs);
        Some(MessageOutcome::Refused { code, reason: "Phrase".into(), retry_after })
    }

    fn pause(outcome: &Option<MessageOutcome>, tries: u32) -> Option<u64> {
        match verdict(outcome, tries, BASE) {
            Verdict::Again { after, .. } => Some(after.as_secs()),
            Verdict::Failed { .. } => None,
            Verdict::Sent { code } => panic!("sent: {code}"),
        }
    }

    #[test]
    fn what_may_pass_is_tried_again_with_growing_pauses() {
        for outcome in [
            refused(503, None),
            refused(480, None),
            Some(MessageOutcome::Silent),
            Some(MessageOutcome::Unreachable("x".into())),
        ] {
            let pauses: Vec<_> = (1..=5).map(|tries| pause(&outcome, tries)).collect();
            assert_eq!(pauses, [Some(30), Some(120), Some(480), Some(1920), None], "{outcome:?}");
        }
    }

    #[test]
    fn the_peer_may_order_a_pause_within_bounds() {
        assert_eq!(pause(&refused(503, Some(7)), 1), Some(7));
        assert_eq!(pause(&refused(503, Some(1_000_000)), 1), Some(3600));
    }

    #[test]
    fn a_refusal_that_will_not_change_is_final() {
        for code in [300, 400, 403, 404, 405, 413, 415, 488, 501, 505, 600, 603, 606] {
            assert_eq!(pause(&refused(code, None), 1), None, "{code}");
        }
        assert_eq!(pause(&Some(MessageOutcome::Unauthorized), 1), None);
        assert_eq!(pause(&None, 1), None);
    }

    #[test]
    fn any_2xx_is_taken_as_sent() {
        for code in [200, 202] {
            assert_eq!(verdict(&Some(MessageOutcome::Accepted(code)), 1, BASE), Verdict::Sent { code });
        }
    }
}
