//! What `/readyz` and the watchdog ask.

use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::media::MediaPlane;
use crate::ops::disk;
use crate::ops::health::Health;
use crate::sip::endpoint::{Endpoint, TrunkStatus};
use crate::store::Store;

/// A part that needs longer than this does not work.
const PATIENCE: Duration = Duration::from_secs(2);

/// What must work for the box to be worth keeping alive: the watchdog restarts it otherwise.
pub(super) fn vital(endpoint: &Endpoint, media: &MediaPlane, store: &Store) -> Health {
    let mut health = Health::default();
    let (endpoint, media, store) = (endpoint.clone(), media.clone(), store.clone());
    health.add("sip", move || {
        let endpoint = endpoint.clone();
        async move {
            let alive = tokio::time::timeout(PATIENCE, endpoint.alive()).await.unwrap_or(false);
            said(alive, "the SIP endpoint does not answer")
        }
    });
    health.add("media", move || {
        let media = media.clone();
        async move { said(media.alive(PATIENCE).await, "a media thread does not answer") }
    });
    health.add("store", move || {
        let store = store.clone();
        async move { said(store.alive(PATIENCE).await, "the store takes no writes; is the disk full?") }
    });
    health
}

/// The vital parts, and what a restart would not mend.
pub(super) fn ready(config: &Arc<Config>, endpoint: &Endpoint, media: &MediaPlane, store: &Store) -> Health {
    let mut health = vital(endpoint, media, store);
    let folder = config.state.directory.clone();
    health.add("disk", move || {
        let free = disk::enough(&folder, disk::LEAST_FREE_MIB);
        async move { free }
    });
    let endpoint = endpoint.clone();
    health.note(move || endpoint.trunk_statuses().borrow().iter().map(trunk).collect());
    health
}

fn trunk(status: &TrunkStatus) -> (String, Result<(), String>) {
    let words = || status.problem.clone().unwrap_or_else(|| "it cannot be used".to_owned());
    (status.name.clone(), if status.is_usable() { Ok(()) } else { Err(words()) })
}

fn said(good: bool, problem: &str) -> Result<(), String> {
    if good { Ok(()) } else { Err(problem.to_owned()) }
}
