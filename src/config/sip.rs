//! The SIP endpoint, the trunks it reaches and the phones that may call it.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use serde::Deserialize;

use super::trunk::{DtmfMode, IdentityHeader, NumberFormat, NumberRule, TrunkHost};
use super::{Secret, defaults};

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SipConfig {
    pub listen: SocketAddr,
    /// The address of `listen` when absent.
    pub tcp_listen: Option<SocketAddr>,
    /// No TLS is taken when absent.
    pub tls_listen: Option<SocketAddr>,
    /// What TLS shows: PEM files of the chain and its key; the box's own pair when absent.
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// Peers must show a certificate of this authority.
    pub client_ca: Option<PathBuf>,
    /// TCP and TLS connections that peers may hold at once.
    pub max_connections: usize,
    pub max_connections_per_source: usize,
    /// Seconds until a connection on which nothing happens is closed.
    pub connection_idle_seconds: u64,
    /// Seconds between two keep-alives on connections of our own; 0 = none.
    pub keepalive_seconds: u64,
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
    /// Digest algorithms that extensions are offered, preferred first.
    pub digest: Vec<DigestName>,
    /// Longest time that a phone's registration is granted, seconds; after a restart a phone comes back within it.
    pub registration_seconds: u64,
    /// How often registered phones are probed, seconds; 0 = never.
    pub probe_seconds: u64,
}

/// A PBX or carrier.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrunkConfig {
    pub name: String,
    /// `host`, `host:port`, `[v6]:port` of the peer: the domain of its URIs, and where it is unless `hosts` says more.
    pub host: String,
    /// Where it can be reached instead, best first.
    #[serde(default)]
    pub hosts: Vec<TrunkHost>,
    /// All requests go there, with a Route that names it.
    #[serde(default)]
    pub outbound_proxy: Option<String>,
    #[serde(default)]
    pub transport: TransportName,
    /// The authority that its TLS certificate must come from; the public ones when absent.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// The name that its TLS certificate must carry; the host when absent.
    #[serde(default)]
    pub tls_name: Option<String>,
    /// What we show it: PEM files of a chain and its key.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    #[serde(default)]
    pub key: Option<PathBuf>,
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
    /// Whose order of codecs decides when the peer offers.
    #[serde(default)]
    pub codec_order: CodecOrder,
    /// Encryption of the sound, with keys in the session description.
    #[serde(default)]
    pub srtp: SrtpPolicy,
    /// Keys may be sent over signalling that is not encrypted itself.
    #[serde(default)]
    pub srtp_over_plain: bool,
    /// It carries text messages (SIP MESSAGE), in and out.
    #[serde(default)]
    pub messages: bool,
    /// Seconds until an unanswered call is given up.
    #[serde(default = "defaults::ring_seconds")]
    pub ring_seconds: u64,
    /// A call is transferred by asking the peer to do it (REFER), where the peer takes that.
    #[serde(default)]
    pub refer: bool,
    /// Register under `username`, so that the trunk finds us.
    #[serde(default)]
    pub register: bool,
    /// Lifetime asked for, seconds.
    #[serde(default = "defaults::register_seconds")]
    pub register_seconds: u32,
    /// A registrar that lists other devices under our account is refused.
    #[serde(default)]
    pub sole_contact: bool,
    /// Seconds between two OPTIONS that ask whether it lives; 0 = never asked.
    #[serde(default)]
    pub options_seconds: u64,
    /// Among the trunks that may carry a call the lowest comes first.
    #[serde(default)]
    pub priority: u16,
    /// Share of the calls among trunks of one priority; all 0 = in the order of the file.
    #[serde(default)]
    pub weight: u16,
    /// Beginnings of the numbers that go this way; all when empty.
    #[serde(default)]
    pub destinations: Vec<String>,
    /// New calls a second in each direction; 0 = unlimited.
    #[serde(default)]
    pub calls_per_second: u32,
    #[serde(default)]
    pub dtmf: DtmfMode,
    /// Where our caller's number stands.
    #[serde(default = "defaults::identity")]
    pub identity: Vec<IdentityHeader>,
    /// Our number is withheld from the called side.
    #[serde(default)]
    pub anonymous: bool,
    #[serde(default)]
    pub number_format: NumberFormat,
    /// Country code without `+`, for the national format.
    #[serde(default)]
    pub country: Option<String>,
    /// Rules by which numbers are rewritten, after the format when going out, before it when coming in.
    #[serde(default)]
    pub called_out: Vec<NumberRule>,
    #[serde(default)]
    pub caller_out: Vec<NumberRule>,
    #[serde(default)]
    pub called_in: Vec<NumberRule>,
    #[serde(default)]
    pub caller_in: Vec<NumberRule>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CodecName {
    Pcmu,
    Pcma,
    G722,
    Opus,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TransportName {
    #[default]
    Udp,
    Tcp,
    Tls,
    /// Whatever DNS names (RFC 3263 §4.1): NAPTR, then SRV.
    Auto,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CodecOrder {
    /// The peer's, as RFC 3264 §6.1 would like it.
    #[default]
    Offer,
    Ours,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SrtpPolicy {
    #[default]
    Off,
    /// Where the peer can.
    Offered,
    /// Or no call.
    Required,
}

/// A digest algorithm (RFC 8760).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum DigestName {
    #[serde(rename = "sha-256")]
    Sha256,
    #[serde(rename = "md5")]
    Md5,
}

/// A phone on the LAN that authenticates by digest when it registers with the box, calls it or sends it a text.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtensionConfig {
    pub user: String,
    pub password: Secret,
    /// Whose phone it is: shown where its phone names nobody.
    #[serde(default)]
    pub name: Option<String>,
    /// SRTP in its calls; keys go over TLS only.
    #[serde(default = "offered")]
    pub srtp: SrtpPolicy,
}

impl ExtensionConfig {
    /// What its phone is offered, and may ask for, when its signalling is over TLS or is not: where anybody could read
    /// the keys there are none, unless nothing but keys will do.
    pub fn srtp_over(&self, secure: bool) -> SrtpPolicy {
        match self.srtp {
            SrtpPolicy::Offered if !secure => SrtpPolicy::Off,
            policy => policy,
        }
    }
}

fn offered() -> SrtpPolicy {
    SrtpPolicy::Offered
}

impl TrunkConfig {
    /// With nothing but its two required keys.
    pub fn at(name: &str, host: &str) -> TrunkConfig {
        TrunkConfig {
            name: name.into(),
            host: host.into(),
            hosts: Vec::new(),
            outbound_proxy: None,
            transport: TransportName::default(),
            ca: None,
            tls_name: None,
            certificate: None,
            key: None,
            username: None,
            password: None,
            realm: None,
            caller_id: None,
            sources: Vec::new(),
            internal: false,
            messages: false,
            refer: false,
            max_calls: defaults::max_calls(),
            codecs: defaults::codecs(),
            codec_order: CodecOrder::default(),
            srtp: SrtpPolicy::default(),
            srtp_over_plain: false,
            ring_seconds: defaults::ring_seconds(),
            register: false,
            register_seconds: defaults::register_seconds(),
            sole_contact: false,
            options_seconds: 0,
            priority: 0,
            weight: 0,
            destinations: Vec::new(),
            calls_per_second: 0,
            dtmf: DtmfMode::default(),
            identity: defaults::identity(),
            anonymous: false,
            number_format: NumberFormat::default(),
            country: None,
            called_out: Vec::new(),
            caller_out: Vec::new(),
            called_in: Vec::new(),
            caller_in: Vec::new(),
        }
    }
}

impl Default for SipConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 5060)),
            tcp_listen: None,
            tls_listen: None,
            certificate: None,
            key: None,
            client_ca: None,
            max_connections: 2048,
            max_connections_per_source: 256,
            connection_idle_seconds: 3600,
            keepalive_seconds: 100,
            advertised: None,
            user_agent: concat!("Trunkline/", env!("CARGO_PKG_VERSION")).into(),
            t1_ms: 500,
            max_message_bytes: 65_535,
            max_dialogs_per_source: 1000,
            session_expires_seconds: 1800,
            digest: vec![DigestName::Sha256, DigestName::Md5],
            registration_seconds: 300,
            probe_seconds: 30,
        }
    }
}
