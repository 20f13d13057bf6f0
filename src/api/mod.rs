//! HTTPS: routes, wire types and mapping of each dialect, the token endpoint, health.
//!
//! Requests flow in; commands to `call`, `directory` and `identity` flow out. Rules that two dialects need live there,
//! not here. Adding a dialect touches its own folder and one line of `dialect`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::call::Calls;
use crate::clock::Clock;
use crate::config::Config;
use crate::directory::Directory;
use crate::identity::Identity;
use crate::ops::health::Health;
use crate::store::Store;

mod admin;
mod authenticate;
mod body;
mod codeb;
mod connection;
mod dialect;
mod fields;
mod health;
mod idempotency;
mod layers;
mod limit;
mod oidc;
mod page;
mod parameters;
mod problem;
mod refusal;
mod server;
#[cfg(test)]
mod tests;
mod tls;
mod twilio;

/// What the API needs of the rooms below.
pub struct Services {
    pub config: Arc<Config>,
    pub clock: Clock,
    pub store: Store,
    pub directory: Directory,
    pub identity: Identity,
    pub calls: Calls,
    pub health: Arc<Health>,
    /// Renders the Prometheus text page.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot listen for HTTPS on {address}: {source}; is another web server running, or [http] listen wrong?")]
    Bind { address: SocketAddr, source: std::io::Error },
    #[error("cannot listen for HTTP on {address}: {source}; is the port taken, or [http] plain_listen wrong?")]
    BindPlain { address: SocketAddr, source: std::io::Error },
    #[error("certificate {path}: {problem}")]
    Certificate { path: String, problem: String },
}

/// The running HTTPS (and, where configured, loopback HTTP) server.
pub struct Server {
    running: server::Running,
}

impl Server {
    pub async fn start(services: Services) -> Result<Server, StartError> {
        Ok(Server { running: server::start(services).await? })
    }

    pub fn https_address(&self) -> SocketAddr {
        self.running.https
    }

    pub fn plain_address(&self) -> Option<SocketAddr> {
        self.running.plain
    }

    /// PEM of the certificate that is served, for clients that pin it (the demo, curl --cacert).
    pub fn certificate_pem(&self) -> &str {
        &self.running.certificate_pem
    }

    /// Finishes open requests, at most for `limit`.
    pub async fn stop(self, limit: Duration) {
        self.running.stop(limit).await;
    }
}
