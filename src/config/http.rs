//! The REST and token surface.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// HTTPS address of the REST and token surface.
    pub listen: SocketAddr,
    /// Plain-HTTP address, loopback only: for `/metrics`, health checks and local scripts. Off when absent.
    pub plain_listen: Option<SocketAddr>,
    /// PEM certificate chain and key; a self-signed pair is made in the state directory when both are absent.
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub max_body_bytes: usize,
    pub request_timeout_seconds: u64,
    pub requests_per_minute: u32,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 443)),
            plain_listen: None,
            certificate: None,
            key: None,
            max_body_bytes: 256 * 1024,
            request_timeout_seconds: 30,
            requests_per_minute: 300,
        }
    }
}
