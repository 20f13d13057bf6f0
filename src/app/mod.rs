//! Composition root: builds, starts, drains and stops; the only place that knows every room.
//!
//! A [`Config`] flows in; a running box comes out, or one sentence for the operator. Order of the start: store →
//! directory → identity → speech → engines → media → SIP → mail → calls → API. The stop runs the other way round, after
//! the live calls had their time. No rule of the product lives here.

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::api::Server;
use crate::call::Calls;
use crate::clock::Clock;
use crate::config::Config;
use crate::directory::Directory;
use crate::events::Mailer;
use crate::identity::Identity;
use crate::media::MediaPlane;
use crate::ops::notify;
use crate::ops::signals::{Signals, Wish};
use crate::sip::endpoint::Endpoint;
use crate::store::Store;

mod error;
mod housekeeping;
mod offline;
mod probes;
mod start;

pub use error::StartError;
pub use offline::Offline;

/// The answers to our BYEs and the last packets.
const SIP_FAREWELL: Duration = Duration::from_secs(2);
/// The mail that is under way.
const MAIL_FAREWELL: Duration = Duration::from_secs(8);
/// Open HTTP requests.
const API_FAREWELL: Duration = Duration::from_secs(3);

/// The running box.
pub struct App {
    config: Arc<Config>,
    store: Store,
    directory: Directory,
    identity: Identity,
    media: MediaPlane,
    endpoint: Endpoint,
    mailer: Arc<Mailer>,
    calls: Calls,
    server: Server,
    claim_code: Option<String>,
    recognises_speech: bool,
    /// Watchdog and metrics; ended with the box.
    chores: JoinSet<()>,
}

impl App {
    /// Starts every room. On an error, what was started already is stopped again.
    pub async fn start(config: Config, clock: Clock) -> Result<App, StartError> {
        Box::pin(start::start(config, clock)).await
    }

    /// Serves until SIGTERM or SIGINT, then stops as [`App::stop`] does; a second signal ends the drain.
    /// `reload` is called for SIGHUP.
    pub async fn run_until_stopped(self, mut signals: Signals, reload: impl Fn()) {
        notify::ready("serving");
        while signals.next().await == Wish::Reload {
            notify::reloading();
            reload();
            notify::ready("serving");
        }
        let drain = Duration::from_secs(self.config.shutdown.drain_seconds);
        tracing::info!(
            seconds = drain.as_secs(),
            live = self.calls.live(),
            "stopping: no new calls, live ones may end"
        );
        Box::pin(self.stop(drain, signals.stop())).await;
    }

    /// Takes no new calls, gives live ones `drain` to end, hangs up what is left, then stops mail, API and store.
    /// When `hurry` completes first, nothing is waited for.
    pub async fn stop(mut self, drain: Duration, hurry: impl Future<Output = ()>) {
        notify::stopping(drain + SIP_FAREWELL + MAIL_FAREWELL + API_FAREWELL + Duration::from_secs(5));
        self.endpoint.refuse_new_calls();
        let farewell = tokio::select! {
            () = self.calls.drain(drain) => SIP_FAREWELL,
            () = hurry => {
                tracing::warn!(live = self.calls.live(), "told again to stop: live calls are hung up now");
                // Records of the calls are still written; the restart rules close what is not.
                let _ = tokio::time::timeout(SIP_FAREWELL, self.calls.drain(Duration::ZERO)).await;
                Duration::from_millis(500)
            }
        };
        self.endpoint.stop(farewell).await;
        self.media.stop().await;
        // Mail that was not sent is still queued in the store.
        let _ = tokio::time::timeout(MAIL_FAREWELL.min(farewell * 4), self.mailer.stop()).await;
        self.server.stop(API_FAREWELL.min(farewell + Duration::from_secs(1))).await;
        self.chores.shutdown().await;
        self.store.close().await;
        tracing::info!("stopped");
    }

    pub fn https_address(&self) -> SocketAddr {
        self.server.https_address()
    }

    pub fn plain_address(&self) -> Option<SocketAddr> {
        self.server.plain_address()
    }

    pub fn sip_address(&self) -> SocketAddr {
        self.endpoint.local_address()
    }

    /// PEM of the certificate that is served.
    pub fn certificate_pem(&self) -> &str {
        self.server.certificate_pem()
    }

    pub fn state_directory(&self) -> &Path {
        &self.config.state.directory
    }

    pub fn calls(&self) -> &Calls {
        &self.calls
    }

    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The code with which the first administrator is made; `None` once there is one.
    pub fn claim_code(&self) -> Option<&str> {
        self.claim_code.as_deref()
    }

    /// Whether the local voice understands words, or only keys.
    pub fn recognises_speech(&self) -> bool {
        self.recognises_speech
    }
}
