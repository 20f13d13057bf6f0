//! Calls: the only room where SIP, media and AI meet.
//!
//! Orders to call and inbound INVITEs flow in; SIP and media commands, records, transcripts and events flow out.
//! `machine` is a pure function of (state, event, now); `actor` carries out its actions and feeds it events; nothing
//! else changes a call. A state change, its transcript facts and the events they raise are one store change.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;
use uuid::Uuid;

use crate::ai::Engines;
use crate::clock::{Clock, UtcTime};
use crate::config::{Config, Secret};
use crate::directory::{DialVerdict, Directory};
use crate::events::Mailer;
use crate::media::{MediaPlane, Quality};
use crate::ops::outbound::Outbound;
use crate::sip::endpoint::{Endpoint, IncomingCall};
use crate::store::{Store, StoreError};

mod actor;
mod bridge;
mod dialer;
mod inbound;
mod internal;
mod keys;
mod ledger;
mod lines;
mod machine;
pub mod message;
mod network;
mod once;
mod outcome;
mod place;
mod played;
mod ports;
mod read_model;
pub mod record;
mod registry;
mod report;
mod restart;
mod room;
mod scribe;
#[cfg(test)]
mod simulation;
mod tables;
mod toll;
mod tools;
mod trace;
mod transcript;
pub mod transfer;
mod trunks;

pub use keys::{Keys, KeysError};
pub use network::{Cause, Network};
pub use record::{Call, CallStatus, Direction, EndReason, Speaker, Turn};
pub use room::Tuning;
pub use tools::{TakenMessage, ToolOutcome, ToolUse};
pub use trace::CallTrace;
pub use transfer::{TransferError, TransferMode, TransferOrder};
pub use trunks::{TrunkHealth, TrunkRegistration, TrunkReport};

use self::message::Messages;
use self::registry::Order;
use self::room::Room;

/// An order to call.
#[derive(Debug, Clone)]
pub struct PlaceCall {
    pub organization: Uuid,
    pub tenant: String,
    pub requested_by: String,
    /// E.164, already checked. With `uri` set, only a label.
    pub phone: String,
    /// A complete SIP URI to dial in place of `phone` through the trunk (only the operator's own tools set it).
    pub uri: Option<String>,
    /// Name of the trunk to go through; the box chooses when absent.
    pub trunk: Option<String>,
    pub display_name: String,
    pub email: Option<String>,
    /// Text or slug as given.
    pub prompt: String,
    /// `None` = the box's configured engine key.
    pub engine_key: Option<Secret>,
    pub model: Option<String>,
    pub voice: String,
    pub language: String,
    pub max_duration: Duration,
    pub retries: u32,
    pub retry_delay: Duration,
    pub scheduled_for: Option<UtcTime>,
    /// Add `phone` to the dial whitelist first.
    pub whitelist: bool,
    /// Key under which the same order is recognised for 24 h, with a hash of the request; scoped by the caller.
    pub idempotency: Option<(String, [u8; 32])>,
}

#[derive(Debug, Clone)]
pub struct Placed {
    pub call: Call,
    pub whitelist_added: bool,
    pub whitelist_error: Option<String>,
    /// The order was seen before; `call` is the first one's.
    pub replayed: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// No trunk or no engine is configured.
    #[error("no outbound trunk is configured")]
    NotConfigured,
    /// The trunk that was named does not exist, or no trunk's destinations hold the number.
    #[error("no trunk carries this call: it does not exist, or none is configured for this destination")]
    NoTrunk,
    /// The SIP engine is not running or the box is stopping.
    #[error("the SIP engine is not running")]
    Unavailable,
    /// The idempotency key was used for another request.
    #[error("this idempotency key belongs to another request")]
    KeyReused,
    /// The dial policy is against it.
    #[error("{}", verdict.words())]
    Refused {
        verdict: DialVerdict,
        /// When it may be tried again, where that is known.
        retry_after: Option<Duration>,
    },
    /// Too many calls wait.
    #[error("too many calls are waiting")]
    Full,
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HungUp {
    pub status: CallStatus,
    /// The call had ended before.
    pub noop: bool,
}

/// What became of a hold or a resume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// The far end agreed, or it was so already.
    Done,
    /// The far end refused with this code (0: it hung up); the call goes on as it was.
    Refused(u16),
    /// The call is not live, or another change is under way.
    NotNow,
}

/// Everything the call room needs of the rooms below.
pub struct Services {
    pub config: Arc<Config>,
    pub clock: Clock,
    pub store: Store,
    pub directory: Directory,
    pub endpoint: Endpoint,
    pub media: MediaPlane,
    pub engines: Engines,
    /// Carries requests of tools.
    pub outbound: Outbound,
    pub mailer: Arc<Mailer>,
}

/// Handle on all calls; cheap to clone.
#[derive(Clone)]
pub struct Calls {
    room: Arc<Room>,
    messages: Messages,
}

impl Calls {
    /// Applies the restart rules, starts the dialer and the inbound answerer.
    pub async fn start(
        services: Services,
        inbound: tokio::sync::mpsc::Receiver<IncomingCall>,
    ) -> Result<Calls, StoreError> {
        Calls::start_tuned(services, inbound, Tuning::default()).await
    }

    /// [`Calls::start`] with other limits.
    pub async fn start_tuned(
        services: Services,
        inbound: tokio::sync::mpsc::Receiver<IncomingCall>,
        tuning: Tuning,
    ) -> Result<Calls, StoreError> {
        let room = Arc::new(Room::new(services, tuning));
        restart::close_interrupted(&room).await?;
        tokio::spawn(dialer::run(Arc::clone(&room)));
        tokio::spawn(trunks::follow(Arc::downgrade(&room), room.endpoint.trunk_statuses()));
        tokio::spawn(inbound::run(Arc::clone(&room), inbound));
        let messages = Messages::start(&room);
        Ok(Calls { room, messages })
    }

    /// Persists and queues the order; returns once it is on disk, never waits for the dial.
    pub async fn place(&self, order: PlaceCall) -> Result<Placed, PlaceError> {
        place::place(&self.room, order).await
    }

    /// Ends or cancels a call at any moment; idempotent. `None` when there is no such call in the organization.
    pub async fn hang_up(&self, organization: Uuid, call: Uuid, actor: &str) -> Result<Option<HungUp>, StoreError> {
        let found = place::hang_up(&self.room, organization, call).await?;
        if let Some(HungUp { noop: false, .. }) = found {
            tracing::info!(%call, actor, "call ended through the API");
        }
        Ok(found)
    }

    /// The record of a call of whatever organization, for those who serve the whole box; of one that was answered just
    /// now, once it is on disk.
    pub async fn record(&self, call: Uuid) -> Result<Option<Call>, StoreError> {
        place::record(&self.room, call).await
    }

    /// Puts a live call on hold, or takes it back: the far end hears nothing, and neither it nor the agent is heard.
    /// `None` when there is no such call in the organization.
    pub async fn hold(&self, organization: Uuid, call: Uuid, on: bool) -> Result<Option<Held>, StoreError> {
        place::hold(&self.room, organization, call, on).await
    }

    /// Presses keys towards the far end of a live call, in the way that its trunk takes them; returns once they are on
    /// their way, not when they have sounded.
    pub async fn press(&self, organization: Uuid, call: Uuid, keys: Keys) -> Result<(), KeysError> {
        place::press(&self.room, organization, call, keys).await
    }

    /// Transfers a live call to a person; returns how, once it has begun. What comes of it is told by the record.
    pub async fn transfer(
        &self,
        organization: Uuid,
        call: Uuid,
        order: TransferOrder,
    ) -> Result<TransferMode, TransferError> {
        place::transfer(&self.room, organization, call, order).await
    }

    /// What happens to live calls, as it happens (demo, console). A slow reader loses the oldest.
    pub fn watch(&self) -> broadcast::Receiver<LiveEvent> {
        self.room.live.subscribe()
    }

    /// How each trunk is, in the order of the configuration.
    pub fn trunks(&self) -> Vec<TrunkReport> {
        trunks::reports(&self.room)
    }

    pub fn live(&self) -> usize {
        self.room.registry.len()
    }

    /// Takes no new calls, lets live ones go on for `limit`, then hangs up. Returns when none is left.
    pub async fn drain(&self, limit: Duration) {
        self.room.drain();
        if tokio::time::timeout(limit, self.room.registry.empty()).await.is_ok() {
            return;
        }
        for orders in self.room.registry.all() {
            // A full inbox means that somebody else is ending this call.
            let _ = orders.try_send(Order::Stop);
        }
        let _ = tokio::time::timeout(self.room.tuning.last_words(), self.room.registry.empty()).await;
    }

    /// Text messages.
    pub fn messages(&self) -> &Messages {
        &self.messages
    }

    /// Whether `destination` is an extension of this box, which is called without a trunk.
    pub fn is_extension(&self, destination: &str) -> bool {
        self.room.extension(destination).is_some()
    }

    /// What integrators may see.
    pub fn read_model(&self) -> record::ReadModel {
        record::ReadModel::new(self.room.store.clone())
    }
}

/// A moment in a live call.
#[derive(Debug, Clone)]
pub struct LiveEvent {
    pub call: Uuid,
    pub at: UtcTime,
    pub what: LiveFact,
}

#[derive(Debug, Clone)]
pub enum LiveFact {
    Status(CallStatus),
    /// Words of a turn so far; `last` closes it. `delay` of an agent turn: from the last word of the caller to the
    /// first sound of the agent on the wire.
    Words {
        speaker: Speaker,
        text: String,
        last: bool,
        delay: Option<Duration>,
    },
    Quality(Quality),
    Key(char),
    /// The call is on hold, by either side, or is so no more.
    Hold(bool),
    /// The caller interrupted; measured at the packets of agent speech that really left.
    BargeIn {
        /// When the voice AI said that the caller speaks.
        detected_at: UtcTime,
        /// From the caller's first sound to the last packet of agent speech.
        since_onset: Duration,
        /// From the detection to the last packet of agent speech; zero when none left any more.
        since_detection: Duration,
    },
    Ended(EndReason),
}
