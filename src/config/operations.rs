//! State directory, shutdown, logs and traces.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use super::Secret;

/// Where everything that must outlive a restart lies: store, keys, recordings, transcripts.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StateConfig {
    pub directory: PathBuf,
    /// redb page cache, MiB.
    pub cache_mib: usize,
    /// Text messages are kept so many days; 0 = for ever.
    pub message_days: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShutdownConfig {
    /// How long live calls may go on after SIGTERM before they get BYE.
    pub drain_seconds: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// `error`, `warn`, `info`, `debug` or `trace`, or a tracing filter.
    pub level: String,
    pub format: LogFormat,
}

/// The SIP messages that are kept for a look afterwards, and where they are sent.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TraceConfig {
    /// The last so many calls; 0 keeps nothing.
    pub calls: usize,
    /// Memory for all of them.
    pub megabytes: usize,
    /// A Homer collector that gets every message (HEPv3 over UDP).
    pub hep: Option<SocketAddr>,
    pub hep_id: u32,
    pub hep_password: Option<Secret>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

impl Default for StateConfig {
    fn default() -> Self {
        Self { directory: "/var/lib/trunkline".into(), cache_mib: 16, message_days: 90 }
    }
}

impl Default for ShutdownConfig {
    fn default() -> Self {
        Self { drain_seconds: 30 }
    }
}

impl Default for TraceConfig {
    fn default() -> Self {
        Self { calls: 100, megabytes: 16, hep: None, hep_id: 2001, hep_password: None }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Text }
    }
}
