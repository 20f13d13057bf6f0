//! What every call of the box shares.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, broadcast};
use uuid::Uuid;

use super::lines::Lines;
use super::machine::Terms;
use super::ports::Told;
use super::record::Call;
use super::registry::Registry;
use super::scribe::{Desk, Entry};
use super::tables::BY_ALIAS;
use super::trace::Traces;
use super::{Direction, LiveEvent, LiveFact, Services, ledger};
use crate::ai::Engines;
use crate::clock::Clock;
use crate::config::{Config, TrunkConfig};
use crate::directory::Directory;
use crate::events::Mailer;
use crate::media::MediaPlane;
use crate::ops::outbound::Outbound;
use crate::sip::endpoint::Endpoint;
use crate::store::{Store, StoreError};

/// Events that a slow watcher may fall behind.
const WATCH: usize = 1024;
/// What the endpoint needs beyond the ring time to give an INVITE up by itself: timer B and the CANCEL's own.
const SETUP_SLACK: Duration = Duration::from_secs(70);

/// Limits that an installation has no reason to change, and that tests make small.
#[derive(Debug, Clone)]
pub struct Tuning {
    /// Calls that may wait for a time or a line.
    pub waiting_calls: u64,
    /// Calls of all extensions together.
    pub extension_lines: usize,
    /// A live call in which neither side is heard for so long is an empty room.
    pub quiet_limit: Duration,
    /// How long the agent may say goodbye when its time is over.
    pub goodbye: Duration,
    /// Guard over the end of a SIP leg: 64·T1 (RFC 3261 §17) and a little.
    pub closing_limit: Duration,
    /// Pause before a text is tried for the second time; it grows fourfold from try to try.
    pub message_retry: Duration,
}

impl Default for Tuning {
    fn default() -> Tuning {
        Tuning {
            waiting_calls: 10_000,
            extension_lines: 100,
            quiet_limit: Duration::from_secs(120),
            goodbye: Duration::from_secs(5),
            closing_limit: Duration::from_secs(35),
            message_retry: Duration::from_secs(30),
        }
    }
}

impl Tuning {
    /// How long a drain waits for goodbyes and last writes.
    pub(super) fn last_words(&self) -> Duration {
        self.goodbye + Duration::from_secs(5)
    }
}

pub(super) struct Room {
    pub(super) config: Arc<Config>,
    pub(super) clock: Clock,
    pub(super) store: Store,
    pub(super) directory: Directory,
    pub(super) endpoint: Endpoint,
    pub(super) media: MediaPlane,
    pub(super) engines: Engines,
    pub(super) outbound: Outbound,
    pub(super) mailer: Arc<Mailer>,
    pub(super) tuning: Tuning,
    pub(super) registry: Registry,
    pub(super) lines: Lines,
    pub(super) traces: Traces,
    pub(super) live: broadcast::Sender<LiveEvent>,
    /// Wakes the dialer: a call waits, or a line is free.
    pub(super) due: Arc<Notify>,
    /// Wakes the sender of text messages: one waits.
    pub(super) texts_due: Arc<Notify>,
    /// See [`Room::note_no_leg`].
    pub(super) ports_told: Told,
    draining: AtomicBool,
}

impl Room {
    pub(super) fn new(services: Services, tuning: Tuning) -> Room {
        let due = Arc::new(Notify::new());
        Room {
            traces: Traces::new(services.config.trace.calls),
            lines: Lines::new(&services.config.trunks, tuning.extension_lines, Arc::clone(&due)),
            config: services.config,
            clock: services.clock,
            store: services.store,
            directory: services.directory,
            endpoint: services.endpoint,
            media: services.media,
            engines: services.engines,
            outbound: services.outbound,
            mailer: services.mailer,
            tuning,
            registry: Registry::default(),
            live: broadcast::Sender::new(WATCH),
            due,
            texts_due: Arc::default(),
            ports_told: Told::default(),
            draining: AtomicBool::new(false),
        }
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.endpoint.refuse_new_calls();
        self.due.notify_one();
    }

    pub(super) fn tell(&self, call: Uuid, what: LiveFact) {
        // Nobody watching is no error.
        let _ = self.live.send(LiveEvent { call, at: self.clock.utc(), what });
    }

    pub(super) fn desk(&self) -> Desk {
        Desk {
            store: self.store.clone(),
            clock: self.clock.clone(),
            transcripts: self.config.state.directory.join("transcripts"),
            directory: self.directory.clone(),
        }
    }

    pub(super) fn trunk(&self, name: &str) -> Option<&TrunkConfig> {
        self.config.trunks.iter().find(|trunk| trunk.name == name)
    }

    /// Where this attempt of `call` is recorded; `None` when it is not to be, or the folder cannot be had.
    pub(super) fn recording(&self, call: &Call) -> Option<PathBuf> {
        if !call.record_call {
            return None;
        }
        let folder = self.config.state.directory.join("recordings");
        let made =
            std::os::unix::fs::DirBuilderExt::mode(std::fs::DirBuilder::new().recursive(true), 0o700).create(&folder);
        match made {
            Ok(()) => Some(folder.join(format!("{}-{}.wav", call.alias, call.attempt))),
            Err(error) => {
                tracing::warn!(%error, "the folder of the recordings cannot be made; the call is not recorded");
                None
            }
        }
    }

    pub(super) fn terms(&self, call: &Call) -> Terms {
        let ring = self.config.trunks.iter().map(|trunk| trunk.ring_seconds).max().unwrap_or_default();
        let never = Duration::from_secs(365 * 24 * 3600);
        Terms {
            direction: call.direction,
            retries_left: call.retries_left,
            retry_delay: Duration::from_millis(call.retry_delay_ms),
            max_duration: Duration::from_secs(call.max_seconds.into()),
            // An operator who switched the RTP watch off wants silent calls kept.
            quiet_limit: if self.config.media.rtp_timeout_seconds == 0 { never } else { self.tuning.quiet_limit },
            goodbye: self.tuning.goodbye,
            setup_limit: Duration::from_secs(ring) + SETUP_SLACK,
            closing_limit: self.tuning.closing_limit,
        }
    }

    /// An alias that no call has.
    pub(super) fn fresh_alias(&self, direction: Direction) -> Result<String, StoreError> {
        let snapshot = self.store.read()?;
        loop {
            let alias = ledger::alias(direction);
            if snapshot.get(&BY_ALIAS, &alias)?.is_none() {
                return Ok(alias);
            }
        }
    }

    /// Writes an entry for a call without an actor; wakes who has to act on it.
    pub(super) async fn write_once(&self, call: Uuid, entry: Entry) -> Result<Option<Call>, StoreError> {
        let written = self.desk().write_once(call, entry).await?;
        self.mailer.wake();
        self.due.notify_one();
        Ok(written.map(|call| *call))
    }
}
