//! Listeners and their end: what is accepted, how many at once, how it stops.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::config::Config;
use crate::identity::Identity;

use super::body::BodyLimits;
use super::connection::{Door, Slots};
use super::dialect::{self, Context};
use super::health::Checks;
use super::layers::{self, Surroundings};
use super::limit::RequestLimit;
use super::{Services, StartError, tls, twilio};

/// Connections open at once.
const CONNECTIONS: usize = 512;
/// Of these from one address, loopback aside: nobody can take all of them.
const CONNECTIONS_PER_ADDRESS: usize = 64;
/// A body must be in by then, or by the deadline of the request where that is shorter.
const BODY_TIME: Duration = Duration::from_secs(10);
const HOUSEKEEPING: Duration = Duration::from_secs(3600);

pub(super) struct Running {
    pub(super) https: SocketAddr,
    pub(super) plain: Option<SocketAddr>,
    pub(super) certificate_pem: String,
    /// No new connections, and open ones end after the request they are at.
    drain: CancellationToken,
    /// Open ones end now.
    cut: CancellationToken,
    tasks: TaskTracker,
}

impl Running {
    pub(super) async fn stop(self, limit: Duration) {
        self.drain.cancel();
        self.tasks.close();
        if tokio::time::timeout(limit, self.tasks.wait()).await.is_err() {
            warn!(open = self.tasks.len(), "HTTP requests were cut off");
            self.cut.cancel();
            self.tasks.wait().await;
        }
    }
}

pub(super) async fn start(services: Services) -> Result<Running, StartError> {
    let config = services.config.clone();
    let tls = tls::load(&config, &services.clock)?;
    let (https, https_address) =
        bind(config.http.listen).await.map_err(|source| StartError::Bind { address: config.http.listen, source })?;
    let plain = match config.http.plain_listen {
        None => None,
        Some(address) => Some(bind(address).await.map_err(|source| StartError::BindPlain { address, source })?),
    };
    let surroundings = Arc::new(surroundings(&services));
    let identity = services.identity.clone();
    let context = Arc::new(context(services, &config, https_address.port()));
    let router = surrounded(dialect::all_routes(&context), surroundings.clone());
    let (drain, cut, tasks) = (CancellationToken::new(), CancellationToken::new(), TaskTracker::new());
    let door = Door {
        router,
        slots: Slots::new(CONNECTIONS, CONNECTIONS_PER_ADDRESS),
        drain: drain.clone(),
        cut: cut.clone(),
        tasks: tasks.clone(),
    };
    tasks.spawn(door.clone().accept(https, Some(tls.config)));
    let plain_address = plain.as_ref().map(|(_, address)| *address);
    if let Some((listener, _)) = plain {
        tasks.spawn(door.accept(listener, None));
    }
    tasks.spawn(housekeep(identity, surroundings, drain.clone()));
    info!(https = %https_address, plain = ?plain_address, "HTTP is up");
    let certificate_pem = tls.certificate_pem;
    Ok(Running { https: https_address, plain: plain_address, certificate_pem, drain, cut, tasks })
}

async fn bind(address: SocketAddr) -> std::io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

fn limits(config: &Config) -> (BodyLimits, Duration) {
    let deadline = Duration::from_secs(config.http.request_timeout_seconds.max(1));
    (BodyLimits { bytes: config.http.max_body_bytes, time: BODY_TIME.min(deadline / 2) }, deadline)
}

fn surroundings(services: &Services) -> Surroundings {
    let (limits, deadline) = limits(&services.config);
    Surroundings {
        clock: services.clock.clone(),
        identity: services.identity.clone(),
        requests: RequestLimit::new(services.config.http.requests_per_minute, services.clock.clone()),
        limits,
        deadline,
    }
}

fn context(services: Services, config: &Config, port: u16) -> Context {
    let host = &config.organization.host;
    Context {
        read_model: services.calls.read_model(),
        calls: services.calls,
        directory: services.directory,
        identity: services.identity,
        limits: limits(config).0,
        base_url: if port == 443 { format!("https://{host}") } else { format!("https://{host}:{port}") },
        account: twilio::Account::of(config),
        transcripts: config.state.directory.join("transcripts"),
        health: Checks::new(services.health, services.metrics, services.clock),
    }
}

/// The routes with what every request goes through.
pub(super) fn surrounded(routes: Router, surroundings: Arc<Surroundings>) -> Router {
    routes
        .fallback(layers::not_found)
        .method_not_allowed_fallback(layers::method_not_allowed)
        .layer(from_fn_with_state(surroundings, layers::surround))
}

async fn housekeep(identity: Identity, surroundings: Arc<Surroundings>, drain: CancellationToken) {
    let mut tick = tokio::time::interval(HOUSEKEEPING);
    loop {
        tokio::select! {
            () = drain.cancelled() => return,
            _ = tick.tick() => {}
        }
        surroundings.requests.sweep();
        if let Err(problem) = identity.housekeep().await {
            warn!(%problem, "expired tokens were not removed");
        }
    }
}
