//! File to validated types: what the operator wrote, once, at the edge.
//!
//! Bytes of a TOML file flow in; a [`Config`] or a list of mistakes (file, line, key, remedy) flows out. Unknown keys
//! are mistakes. The inside never re-checks. This room knows no other room.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use serde::Deserialize;

mod secret;
pub use secret::Secret;

/// The whole configuration. Every section has defaults that work on a LAN; the smallest file names one trunk.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub organization: OrganizationConfig,
    pub state: StateConfig,
    pub http: HttpConfig,
    pub sip: SipConfig,
    pub media: MediaConfig,
    pub speech: SpeechConfig,
    pub engine: EngineConfig,
    pub mail: Option<MailConfig>,
    pub dial: DialConfig,
    pub shutdown: ShutdownConfig,
    pub log: LogConfig,
    #[serde(rename = "trunk")]
    pub trunks: Vec<TrunkConfig>,
    #[serde(rename = "extension")]
    pub extensions: Vec<ExtensionConfig>,
    #[serde(rename = "number")]
    pub numbers: Vec<NumberConfig>,
    #[serde(rename = "prompt")]
    pub prompts: Vec<PromptConfig>,
}

/// The tenant that this box serves.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OrganizationConfig {
    /// Host name under which clients reach the box; the tenant name on the wire.
    pub host: String,
    pub name: String,
    pub voice: String,
    pub language: String,
}

/// Where everything that must outlive a restart lies: store, keys, recordings, transcripts.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StateConfig {
    pub directory: PathBuf,
    /// redb page cache, MiB.
    pub cache_mib: usize,
}

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
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MediaConfig {
    /// First and last UDP port for RTP (even) and RTCP (the odd one above).
    pub ports: [u16; 2],
    /// Media threads; 0 = one a core.
    pub threads: usize,
    /// A live leg that receives no RTP for so long ends with outcome `empty-room`. 0 = never.
    pub rtp_timeout_seconds: u64,
    /// Ceiling of the adaptive jitter buffer, milliseconds.
    pub jitter_max_ms: u64,
    /// Record calls (stereo WAV: left the phone, right the box).
    pub record: bool,
}

/// The local voice.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpeechConfig {
    /// Folder with the Whisper model (`model.bin`, `vocabulary.txt`); without it the script uses the keypad.
    pub model_directory: Option<PathBuf>,
    /// Threads for recognition and synthesis.
    pub threads: usize,
}

/// The voice AI that calls are connected to.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EngineConfig {
    /// `local` is the only kind in this version.
    pub kind: EngineKind,
    /// Model name shown in records, e.g. `models/local-script`.
    pub model: String,
    /// An OpenAI-compatible `/v1/chat/completions` endpoint as the brain; the built-in script when absent.
    pub chat: Option<ChatConfig>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EngineKind {
    #[default]
    Local,
    /// Sends the caller's audio back; for measurements.
    Echo,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatConfig {
    /// Base URL up to and without `/chat/completions`, e.g. `http://192.168.1.20:11434/v1`.
    pub url: String,
    pub model: String,
    #[serde(default)]
    pub api_key: Option<Secret>,
    #[serde(default = "defaults::chat_timeout")]
    pub timeout_seconds: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MailConfig {
    pub host: String,
    #[serde(default)]
    pub port: Option<u16>,
    #[serde(default)]
    pub security: MailSecurity,
    #[serde(default)]
    pub username: Option<String>,
    #[serde(default)]
    pub password: Option<Secret>,
    pub from: String,
    /// PEM file of a private CA.
    #[serde(default)]
    pub ca: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MailSecurity {
    #[default]
    Starttls,
    Tls,
    /// Plain text; only towards a relay on the same host.
    None,
}

/// Who may be dialled. Denied unless whitelisted or matched here.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DialConfig {
    /// Number prefixes that are always allowed, e.g. `+4930` or `1` (short numbers).
    pub allow: Vec<String>,
    /// Prefixes that are never dialled, even when whitelisted.
    pub deny: Vec<String>,
    /// `true`: only the prefixes above may be dialled, API whitelisting adds nothing.
    pub fixed: bool,
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
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
}

/// A phone on the LAN that authenticates by digest when it calls the box.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtensionConfig {
    pub user: String,
    pub password: Secret,
}

/// A number that the box answers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NumberConfig {
    pub name: String,
    /// DID (`+4930…`) or short number (`1234`).
    pub number: String,
    #[serde(default)]
    pub mode: NumberMode,
    /// Instructions, or the slug of a `[[prompt]]`; for mode `tts` the text to speak.
    pub system_prompt: String,
    #[serde(default)]
    pub voice: Option<String>,
    #[serde(default)]
    pub language: Option<String>,
    #[serde(default)]
    pub visibility: Visibility,
    #[serde(default = "defaults::yes")]
    pub save_transcripts: bool,
    #[serde(default = "defaults::yes")]
    pub record_calls: bool,
    #[serde(default = "defaults::max_duration")]
    pub max_duration_seconds: u32,
    /// Receives the transcript of each call.
    #[serde(default)]
    pub email: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NumberMode {
    #[default]
    LiveVoiceAi,
    Tts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Visibility {
    Public,
    #[default]
    SignedIn,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromptConfig {
    /// `^[a-z0-9][a-z0-9_-]{0,63}$`
    pub slug: String,
    pub text: String,
}

mod defaults {
    use super::CodecName;

    pub(super) fn chat_timeout() -> u64 {
        20
    }
    pub(super) fn max_calls() -> usize {
        30
    }
    pub(super) fn codecs() -> Vec<CodecName> {
        vec![CodecName::Pcmu, CodecName::Pcma]
    }
    pub(super) fn ring_seconds() -> u64 {
        45
    }
    pub(super) fn yes() -> bool {
        true
    }
    pub(super) fn max_duration() -> u32 {
        3600
    }
}

impl Default for OrganizationConfig {
    fn default() -> Self {
        Self {
            host: "trunkline.local".into(),
            name: "Trunkline".into(),
            voice: "Aoede".into(),
            language: "en-US".into(),
        }
    }
}

impl Default for StateConfig {
    fn default() -> Self {
        Self { directory: "/var/lib/trunkline".into(), cache_mib: 16 }
    }
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

impl Default for SipConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 5060)),
            advertised: None,
            user_agent: concat!("Trunkline/", env!("CARGO_PKG_VERSION")).into(),
            t1_ms: 500,
            max_message_bytes: 65_535,
            max_dialogs_per_source: 1000,
        }
    }
}

impl Default for MediaConfig {
    fn default() -> Self {
        Self { ports: [20_000, 29_999], threads: 0, rtp_timeout_seconds: 60, jitter_max_ms: 200, record: true }
    }
}

impl Default for SpeechConfig {
    fn default() -> Self {
        Self { model_directory: None, threads: 1 }
    }
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self { kind: EngineKind::Local, model: "models/local-script".into(), chat: None }
    }
}

impl Default for ShutdownConfig {
    fn default() -> Self {
        Self { drain_seconds: 30 }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Text }
    }
}
