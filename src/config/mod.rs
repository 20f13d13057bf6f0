//! File to validated types: what the operator wrote, once, at the edge.
//!
//! Bytes of a TOML file flow in; a [`Config`] or a list of mistakes (file, line, key, remedy) flows out. Unknown keys
//! are mistakes. The inside never re-checks. This room knows no other room.

use serde::Deserialize;

mod agent;
mod check;
mod cross;
mod cross_agents;
mod defaults;
mod dns;
mod engine;
mod gemini;
mod hours;
mod http;
mod load;
mod mail;
mod media;
mod mistake;
mod number;
mod openai;
mod openai_live;
mod operations;
mod organization;
mod schema;
mod secret;
mod sip;
mod tree;
mod trunk;
mod turns;
mod walk;

pub use agent::{
    AgentConfig, BOOK_APPOINTMENT, BUILT_IN_TOOLS, RESERVED_TOOLS, SEND_PAYMENT_LINK, ToolConfig, ToolMethod,
    tool_schema,
};
pub use dns::{DnsConfig, DnsServer};
pub use engine::{ChatConfig, EngineConfig, EngineKind, MediaStreamConfig, MediaStreamDialect, OnEnd};
pub use gemini::{ActivityConfig, Coverage, GeminiConfig, GreetBy, Sensitivity, VertexConfig};
pub use hours::Hours;
pub use http::HttpConfig;
pub use mail::{MailConfig, MailSecurity};
pub use media::{MediaConfig, SpeechConfig};
pub use mistake::{Mistake, Mistakes};
pub use number::{NumberConfig, NumberMode, PromptConfig, Visibility};
pub use openai::{KeyField, NoiseReduction, OpenAiConfig, RealtimeDialect, RealtimeFormat, TurnDetection};
pub use openai_live::OpenAiLiveConfig;
pub use operations::{LogConfig, LogFormat, ShutdownConfig, StateConfig, TraceConfig};
pub use organization::{DialConfig, OrganizationConfig};
pub use schema::{Field, Section, sections};
pub use secret::Secret;
pub use sip::{CodecName, CodecOrder, DigestName, ExtensionConfig, SipConfig, SrtpPolicy, TransportName, TrunkConfig};
pub use trunk::{DtmfMode, IdentityHeader, NumberFormat, NumberRule, TrunkHost};
pub use turns::{TurnEars, TurnsConfig};

/// The whole configuration. Every section has defaults that work on a LAN; the smallest file names one trunk.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub organization: OrganizationConfig,
    pub state: StateConfig,
    pub http: HttpConfig,
    pub sip: SipConfig,
    pub dns: DnsConfig,
    pub media: MediaConfig,
    pub speech: SpeechConfig,
    pub engine: EngineConfig,
    pub mail: Option<MailConfig>,
    pub dial: DialConfig,
    pub shutdown: ShutdownConfig,
    pub log: LogConfig,
    pub trace: TraceConfig,
    #[serde(rename = "trunk")]
    pub trunks: Vec<TrunkConfig>,
    #[serde(rename = "extension")]
    pub extensions: Vec<ExtensionConfig>,
    #[serde(rename = "number")]
    pub numbers: Vec<NumberConfig>,
    #[serde(rename = "prompt")]
    pub prompts: Vec<PromptConfig>,
    pub agents: Vec<AgentConfig>,
    pub tools: Vec<ToolConfig>,
}
