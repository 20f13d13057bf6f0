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
use crate::directory::Directory;
use crate::events::Mailer;
use crate::media::{MediaPlane, Quality};
use crate::sip::endpoint::{Endpoint, IncomingCall};
use crate::store::{Store, StoreError};

pub mod record;
pub use record::{Call, CallStatus, Direction, EndReason, Speaker, Turn};

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
    /// The SIP engine is not running or the box is stopping.
    #[error("the SIP engine is not running")]
    Unavailable,
    /// The idempotency key was used for another request.
    #[error("this idempotency key belongs to another request")]
    KeyReused,
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

/// Everything the call room needs of the rooms below.
pub struct Services {
    pub config: Arc<Config>,
    pub clock: Clock,
    pub store: Store,
    pub directory: Directory,
    pub endpoint: Endpoint,
    pub media: MediaPlane,
    pub engines: Engines,
    pub mailer: Arc<Mailer>,
}

/// Handle on all calls; cheap to clone.
#[derive(Clone)]
pub struct Calls {
    pub(crate) _todo: (),
}

impl Calls {
    /// Applies the restart rules, starts the dialer and the inbound answerer.
    pub async fn start(
        services: Services,
        inbound: tokio::sync::mpsc::Receiver<IncomingCall>,
    ) -> Result<Calls, StoreError> {
        let _ = (services, inbound);
        todo!("call")
    }

    /// Persists and queues the order; returns once it is on disk, never waits for the dial.
    pub async fn place(&self, order: PlaceCall) -> Result<Placed, PlaceError> {
        todo!("call: {order:?}")
    }

    /// Ends or cancels a call at any moment; idempotent. `None` when there is no such call in the organization.
    pub async fn hang_up(&self, organization: Uuid, call: Uuid, actor: &str) -> Result<Option<HungUp>, StoreError> {
        todo!("call: {organization} {call} {actor}")
    }

    /// What happens to live calls, as it happens (demo, console). A slow reader loses the oldest.
    pub fn watch(&self) -> broadcast::Receiver<LiveEvent> {
        todo!("call")
    }

    pub fn live(&self) -> usize {
        todo!("call")
    }

    /// Takes no new calls, lets live ones go on for `limit`, then hangs up. Returns when none is left.
    pub async fn drain(&self, limit: Duration) {
        todo!("call: {limit:?}")
    }

    /// What integrators may see.
    pub fn read_model(&self) -> record::ReadModel {
        todo!("call")
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
    /// The caller interrupted; `after` is the time from detection to the last packet of agent speech.
    BargeIn {
        after: Duration,
    },
    Ended(EndReason),
}
