//! Texts that come in: on disk first, then 200.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use uuid::Uuid;

use super::record::{Delivery, Message, MessageStatus};
use super::tables::{self, MESSAGES};
use super::{count, event};
use crate::call::record::Direction;
use crate::call::room::Room;
use crate::events::{self, EventKind};
use crate::sip::endpoint::{IncomingMessage, Origin};
use crate::sip::pager::{self, Content, Report};
use crate::store::StoreError;

/// Texts that are being written at once: the store puts what waits into one commit.
const AT_ONCE: usize = 64;
/// When the store cannot take a text, the peer may come again after so long.
const STORE_RETRY: Duration = Duration::from_secs(10);

/// Takes texts until the endpoint closes the channel.
pub(super) async fn run(room: Arc<Room>, mut texts: mpsc::Receiver<IncomingMessage>) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    while let Some(text) = texts.recv().await {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let room = Arc::clone(&room);
        tokio::spawn(async move {
            take(&room, text).await;
            drop(place);
        });
    }
}

async fn take(room: &Room, incoming: IncomingMessage) {
    let kept = match &incoming.content {
        Content::Text(text) => keep(room, &incoming, text.clone()).await,
        Content::Report(report) => note(room, report.clone(), incoming.in_reply_to.clone()).await,
    };
    match kept {
        Ok(()) => incoming.accept(),
        Err(error) => {
            tracing::warn!(%error, "a text message could not be written; its sender is asked to try again");
            incoming.refuse(503, Some(STORE_RETRY));
        }
    }
}

async fn keep(room: &Room, incoming: &IncomingMessage, text: String) -> Result<(), StoreError> {
    let (trunk, sender) = match &incoming.origin {
        Origin::Trunk(name) => (name.clone(), String::new()),
        Origin::Extension(user) => (String::new(), user.clone()),
    };
    let identity = tables::identity(if trunk.is_empty() { &sender } else { &trunk }, &incoming.identity);
    let message = Message {
        id: room.clock.id(),
        organization: room.directory.organization("").id,
        direction: Direction::Inbound,
        trunk,
        // An extension is who it signed in as, whatever its phone writes.
        from: if sender.is_empty() { incoming.from.clone() } else { sender.clone() },
        to: incoming.to.clone(),
        text,
        status: MessageStatus::Received,
        created_at: room.clock.utc(),
        sent_at: None,
        due_at: None,
        attempts: 0,
        sip_code: None,
        error_detail: String::new(),
        delivery: None,
        reported_at: None,
        requested_by: sender,
    };
    let clock = room.clock.clone();
    let new = room
        .store
        .write(move |change| {
            if !tables::is_new(change, identity, message.id, clock.utc())? {
                return Ok::<_, StoreError>(false);
            }
            tables::save(change, &message)?;
            events::append(change, &event(&message, EventKind::MessageReceived, &clock))?;
            Ok(true)
        })
        .await?;
    count(Direction::Inbound, if new { "received" } else { "repeated" });
    Ok(())
}

/// Notes what became of a text of ours. A report on one that we do not know is taken and forgotten.
async fn note(room: &Room, report: Report, in_reply_to: Option<String>) -> Result<(), StoreError> {
    let delivery = match report.delivery {
        pager::Delivery::Delivered => Delivery::Delivered,
        pager::Delivery::Displayed => Delivery::Displayed,
        pager::Delivery::Failed => Delivery::Failed,
        pager::Delivery::UnderWay => return Ok(()),
    };
    // Gateways name the message by the id that they saw: its Call-ID.
    let names = [Some(report.message_id), in_reply_to];
    let Some(id) = names.into_iter().flatten().find_map(|name| Uuid::parse_str(name.trim()).ok()) else {
        return Ok(());
    };
    let clock = room.clock.clone();
    room.store
        .write(move |change| {
            let Some(mut message) = change.get(&MESSAGES, &id)? else { return Ok(()) };
            if message.direction != Direction::Outbound || message.delivery == Some(delivery) {
                return Ok(());
            }
            message.delivery = Some(delivery);
            message.reported_at = Some(clock.utc());
            tables::save(change, &message)?;
            let failed = delivery == Delivery::Failed;
            let kind = if failed { EventKind::MessageFailed } else { EventKind::MessageDelivered };
            events::append(change, &event(&message, kind, &clock))
        })
        .await
}
