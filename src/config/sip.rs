//! The SIP endpoint, the trunks it reaches and the phones that may call it.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::Deserialize;

use super::{Secret, defaults};

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SipConfig {
    pub listen: SocketAddr,
    /// Address written into Via, Contact and SDP when it differs from the one bound (NAT, 0.0.0.0).
    pub advertised: Option<IpAddr>,
    pub user_agent: String,
    /// RFC 3261 T1, milliseconds.
    pub t1_ms: u64,
    pub max_message_bytes: usize,
    /// Dialogs that one source address may hold at once.
    pub max_dialogs_per_source: usize,
    /// Session timer that is asked for (RFC 4028), seconds; 0 = none.
    pub session_expires_seconds: u32,
}

/// A PBX or carrier.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrunkConfig {
    pub name: String,
    /// `host`, `host:port`, `[v6]:port` of the peer.
    pub host: String,
    #[serde(default)]
    pub username: Option<String>,
    #[serde(default)]
    pub password: Option<Secret>,
    /// Digest realm that is answered; any realm of this trunk's host when absent.
    #[serde(default)]
    pub realm: Option<String>,
    /// User part of From; the caller id of calls that name none.
    #[serde(default)]
    pub caller_id: Option<String>,
    /// Addresses that inbound calls of this trunk come from; the resolved `host` when empty.
    #[serde(default)]
    pub sources: Vec<IpNet>,
    /// Its callers count as signed in (a PBX whose extensions are authenticated).
    #[serde(default)]
    pub internal: bool,
    #[serde(default = "defaults::max_calls")]
    pub max_calls: usize,
    /// Codecs in order of preference.
    #[serde(default = "defaults::codecs")]
    pub codecs: Vec<CodecName>,
    /// Seconds until an unanswered call is given up.
    #[serde(default = "defaults::ring_seconds")]
    pub ring_seconds: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CodecName {
    Pcmu,
    Pcma,
    G722,
    Opus,
}

/// A phone on the LAN that authenticates by digest when it calls the box.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtensionConfig {
    pub user: String,
    pub password: Secret,
}

impl Default for SipConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 5060)),
            advertised: None,
            user_agent: concat!("Trunkline/", env!("CARGO_PKG_VERSION")).into(),
            t1_ms: 500,
            max_message_bytes: 65_535,
            max_dialogs_per_source: 1000,
            session_expires_seconds: 1800,
        }
    }
}
