//! Every key that the file may hold: its section, its kind, its range. One table, walked by `walk`.
//!
//! The typed sections say what the program reads; this table says what an operator may write and how a mistake is
//! explained. A test holds the two against each other.

use super::check;

/// Checks a text; `Err` is the remedy ("write …").
pub(super) type Check = fn(&str) -> Result<(), String>;

/// A section of the file.
#[derive(Debug)]
pub struct Section {
    pub name: &'static str,
    /// `[[name]]`, any number of times.
    pub many: bool,
    pub fields: &'static [Field],
}

/// A key of a section.
#[derive(Debug)]
pub struct Field {
    pub name: &'static str,
    pub required: bool,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Text(Check),
    Flag,
    /// A whole number within the bounds, both included.
    Whole(i64, i64),
    Choice(&'static [&'static str]),
    Secret,
    /// A list of texts.
    Texts(Check),
    Choices(&'static [&'static str]),
    /// Names of the operator's own, each with a text.
    NamedTexts(Check),
    /// Names of the operator's own, each with a secret.
    NamedSecrets,
    /// A table that is passed on as JSON, or one of these words.
    Foreign(&'static [&'static str]),
    /// A file or folder that must exist.
    File,
    Folder,
    /// First and last port.
    Ports,
    /// A section inside a section.
    Table(&'static [Field]),
    /// A list of sections inside a section.
    Tables(&'static [Field]),
}

const fn may(name: &'static str, kind: Kind) -> Field {
    Field { name, required: false, kind }
}

const fn must(name: &'static str, kind: Kind) -> Field {
    Field { name, required: true, kind }
}

const fn one(name: &'static str, fields: &'static [Field]) -> Section {
    Section { name, many: false, fields }
}

const fn many(name: &'static str, fields: &'static [Field]) -> Section {
    Section { name, many: true, fields }
}

/// Every section, in the order of the explained file.
pub const fn sections() -> &'static [Section] {
    SECTIONS
}

impl Field {
    /// The keys of a section inside this one, if it is one.
    pub fn inner(&self) -> Option<&'static [Field]> {
        match self.kind {
            Kind::Table(fields) => Some(fields),
            _ => None,
        }
    }
}

use Kind::{
    Choice, Choices, File, Flag, Folder, Foreign, NamedSecrets, NamedTexts, Ports, Secret, Table, Tables, Text, Texts,
    Whole,
};

const OPENAI: &[Field] = &[
    must("url", Text(check::web_socket)),
    may("query", NamedTexts(check::filled)),
    may("headers", NamedSecrets),
    may("api_key", Secret),
    may("key_field", Choice(&["authorization", "api-key"])),
    may("subprotocols", Texts(check::header_text)),
    may("dialect", Choice(&["ga", "beta"])),
    may("input_format", Choice(&["pcmu", "pcma", "pcm", "pcm-16000"])),
    may("output_format", Choice(&["pcmu", "pcma", "pcm", "pcm-16000"])),
    may("model", Text(check::filled)),
    may("voice", Text(check::filled)),
    may("transcription_model", Text(|_| Ok(()))),
    may("turn_detection", Foreign(&["none"])),
    may("noise_reduction", Choice(&["near-field", "far-field"])),
    may("session", Foreign(&[])),
    may("greeting", Text(check::filled)),
    may("greet", Flag),
    may("truncate", Flag),
    may("reconnect_minutes", Whole(0, 1_440)),
    may("ca", File),
];

const OPENAI_LIVE: &[Field] = &[
    must("url", Text(check::web_socket)),
    may("headers", NamedSecrets),
    may("api_key", Secret),
    may("key_field", Choice(&["authorization", "api-key"])),
    must("model", Text(check::filled)),
    may("backend_model", Text(check::filled)),
    may("format", Choice(&["pcmu", "pcma", "pcm", "pcm-16000"])),
    may("voice", Text(check::filled)),
    may("session", Foreign(&[])),
    may("greeting", Text(check::filled)),
    may("greet", Flag),
    may("ca", File),
];

const GEMINI: &[Field] = &[
    must("model", Text(check::resource)),
    may("api_key", Secret),
    may(
        "vertex",
        Table(&[
            must("project", Text(check::resource)),
            must("location", Text(check::resource)),
            may("token", Secret),
            may("token_file", File),
            may("quota_project", Text(check::resource)),
        ]),
    ),
    may("version", Choice(&["v1beta", "v1", "v1alpha", "v1beta1"])),
    may("url", Text(check::web_socket)),
    may("ca", File),
    may("voice", Text(check::filled)),
    may("language", Text(check::language_or_call)),
    may("transcription", Flag),
    may("audio_ms", Whole(20, 100)),
    may("greeting", Text(check::filled)),
    may("greet_by", Choice(&["auto", "content", "input"])),
    may("resumption", Flag),
    may("compression", Flag),
    may("compression_trigger", Whole(1, 10_000_000)),
    may("compression_target", Whole(1, 10_000_000)),
    may(
        "activity",
        Table(&[
            may("start", Choice(&["high", "low"])),
            may("end", Choice(&["high", "low"])),
            may("prefix_padding_ms", Whole(0, 10_000)),
            may("silence_ms", Whole(0, 10_000)),
            may("interrupts", Flag),
            may("coverage", Choice(&["activity", "all-input"])),
        ]),
    ),
    may("setup", Foreign(&[])),
];

const SECTIONS: &[Section] = &[
    one(
        "organization",
        &[
            may("host", Text(check::host_name)),
            may("name", Text(check::filled)),
            may("voice", Text(check::filled)),
            may("language", Text(check::language)),
            may("time_zone", Text(check::time_zone)),
        ],
    ),
    one(
        "state",
        &[may("directory", Text(check::filled)), may("cache_mib", Whole(1, 4096)), may("message_days", Whole(0, 3650))],
    ),
    one(
        "http",
        &[
            may("listen", Text(check::socket_address)),
            may("plain_listen", Text(check::loopback_address)),
            may("certificate", File),
            may("key", File),
            may("max_body_bytes", Whole(1024, 16 * 1024 * 1024)),
            may("request_timeout_seconds", Whole(1, 600)),
            may("requests_per_minute", Whole(1, 1_000_000)),
        ],
    ),
    one(
        "sip",
        &[
            may("listen", Text(check::socket_address)),
            may("tcp_listen", Text(check::socket_address)),
            may("tls_listen", Text(check::socket_address)),
            may("certificate", File),
            may("key", File),
            may("client_ca", File),
            may("max_connections", Whole(1, 65_535)),
            may("max_connections_per_source", Whole(1, 65_535)),
            may("connection_idle_seconds", Whole(10, 86_400)),
            may("keepalive_seconds", Whole(0, 3600)),
            may("advertised", Text(check::address)),
            may("user_agent", Text(check::header_text)),
            may("t1_ms", Whole(50, 5000)),
            may("max_message_bytes", Whole(1300, 65_535)),
            may("max_dialogs_per_source", Whole(1, 100_000)),
            may("session_expires_seconds", Whole(0, 86_400)),
            may("digest", Choices(&["sha-256", "md5"])),
            may("registration_seconds", Whole(60, 86_400)),
            may("probe_seconds", Whole(0, 3600)),
        ],
    ),
    one("dns", &[may("servers", Texts(check::name_server))]),
    one(
        "media",
        &[
            may("ports", Ports),
            may("threads", Whole(0, 256)),
            may("rtp_timeout_seconds", Whole(0, 3600)),
            may("jitter_max_ms", Whole(20, 1000)),
            may("record", Flag),
        ],
    ),
    one("speech", &[may("model_directory", Folder), may("threads", Whole(1, 64))]),
    one(
        "engine",
        &[
            may("kind", Choice(&["local", "echo", "media-stream", "openai", "openai-live", "gemini"])),
            may("model", Text(check::filled)),
            may(
                "chat",
                Table(&[
                    must("url", Text(check::web_address)),
                    must("model", Text(check::filled)),
                    may("api_key", Secret),
                    may("ca", File),
                    may("timeout_seconds", Whole(1, 300)),
                    may("tools", Flag),
                ]),
            ),
            may(
                "media_stream",
                Table(&[
                    must("url", Text(check::web_socket)),
                    may("authorization", Secret),
                    may("ca", File),
                    may("dialect", Choice(&["twilio", "telnyx", "plivo"])),
                    may("account_sid", Text(check::account)),
                    may("auth_token", Secret),
                    may("on_end", Choice(&["hang-up", "transfer"])),
                ]),
            ),
            may("openai", Table(OPENAI)),
            may("openai_live", Table(OPENAI_LIVE)),
            may("gemini", Table(GEMINI)),
            may(
                "turns",
                Table(&[
                    may("ears", Choice(&["service", "box"])),
                    may("interrupt_after_ms", Whole(40, 2000)),
                    may("pause_ms", Whole(200, 5000)),
                    may("echo_loss_db", Whole(0, 60)),
                    may("silence_seconds", Whole(0, 600)),
                    may("silence_prompts", Whole(0, 20)),
                    may("silence_text", Text(check::filled)),
                ]),
            ),
            may("fault_sentence", Text(check::filled)),
            may("fault_transfer", Flag),
        ],
    ),
    one(
        "mail",
        &[
            must("host", Text(check::host_or_address)),
            may("port", Whole(1, 65_535)),
            may("security", Choice(&["starttls", "tls", "none"])),
            may("username", Text(check::filled)),
            may("password", Secret),
            must("from", Text(check::mailbox)),
            may("ca", File),
        ],
    ),
    one(
        "dial",
        &[
            may("allow", Texts(check::dial_prefix)),
            may("deny", Texts(check::dial_prefix)),
            may("fixed", Flag),
            may("hours", Text(check::hours)),
            may("max_calls", Whole(1, 10_000)),
            may("max_minutes_per_day", Whole(1, 1_000_000)),
        ],
    ),
    one("shutdown", &[may("drain_seconds", Whole(0, 86_400))]),
    one("log", &[may("level", Text(check::log_level)), may("format", Choice(&["text", "json"]))]),
    one(
        "trace",
        &[
            may("calls", Whole(0, 10_000)),
            may("megabytes", Whole(1, 1024)),
            may("hep", Text(check::socket_address)),
            may("hep_id", Whole(0, 4_294_967_295)),
            may("hep_password", Secret),
        ],
    ),
    many(
        "trunk",
        &[
            must("name", Text(check::trunk_name)),
            must("host", Text(check::trunk_host)),
            may("transport", Choice(&["udp", "tcp", "tls", "auto"])),
            may("ca", File),
            may("tls_name", Text(check::host_or_address)),
            may("certificate", File),
            may("key", File),
            may("username", Text(check::sip_user)),
            may("password", Secret),
            may("realm", Text(check::header_text)),
            may("caller_id", Text(check::sip_user)),
            may("sources", Texts(check::network)),
            may("internal", Flag),
            may("max_calls", Whole(1, 10_000)),
            may("codecs", Choices(&["pcmu", "pcma", "g722", "opus"])),
            may("codec_order", Choice(&["offer", "ours"])),
            may("srtp", Choice(&["off", "offered", "required"])),
            may("srtp_over_plain", Flag),
            may("messages", Flag),
            may("ring_seconds", Whole(1, 300)),
            may("refer", Flag),
            may(
                "hosts",
                Tables(&[
                    must("host", Text(check::trunk_host)),
                    may("priority", Whole(0, 65_535)),
                    may("weight", Whole(0, 65_535)),
                ]),
            ),
            may("outbound_proxy", Text(check::trunk_host)),
            may("register", Flag),
            may("register_seconds", Whole(60, 86_400)),
            may("sole_contact", Flag),
            may("options_seconds", Whole(0, 3600)),
            may("priority", Whole(0, 65_535)),
            may("weight", Whole(0, 65_535)),
            may("destinations", Texts(check::dial_prefix)),
            may("calls_per_second", Whole(0, 10_000)),
            may("dtmf", Choice(&["auto", "rfc4733", "info", "inband"])),
            may("identity", Choices(&["from", "p-asserted-identity", "remote-party-id"])),
            may("anonymous", Flag),
            may("number_format", Choice(&["as-is", "e164", "plain", "national"])),
            may("country", Text(check::country_code)),
            may("called_out", Texts(check::number_rule)),
            may("caller_out", Texts(check::number_rule)),
            may("called_in", Texts(check::number_rule)),
            may("caller_in", Texts(check::number_rule)),
        ],
    ),
    many(
        "extension",
        &[
            must("user", Text(check::sip_user)),
            must("password", Secret),
            may("name", Text(check::header_text)),
            may("srtp", Choice(&["off", "offered", "required"])),
        ],
    ),
    many(
        "number",
        &[
            must("name", Text(check::filled)),
            must("number", Text(check::phone_number)),
            may("mode", Choice(&["live-voice-ai", "tts"])),
            may("system_prompt", Text(check::filled)),
            may("agent", Text(check::slug)),
            may("voice", Text(check::filled)),
            may("language", Text(check::language)),
            may("visibility", Choice(&["public", "signed-in"])),
            may("save_transcripts", Flag),
            may("record_calls", Flag),
            may("max_duration_seconds", Whole(10, 36_000)),
            may("email", Text(check::mailbox)),
            may("transfer_to", Text(check::phone_number)),
            may("transfer_whisper", Flag),
        ],
    ),
    many("prompt", &[must("slug", Text(check::slug)), must("text", Text(check::filled))]),
    many(
        "agents",
        &[
            must("name", Text(check::slug)),
            must("instructions", Text(check::filled)),
            may("greeting", Text(check::filled)),
            may("voice", Text(check::filled)),
            may("language", Text(check::language)),
            may("tools", Texts(check::tool_name)),
            may("hand_offs", Texts(check::slug)),
            may("max_duration_seconds", Whole(10, 36_000)),
            may("transfer_to", Text(check::phone_number)),
            may("transfer_whisper", Flag),
            may("confirm_first_write", Flag),
        ],
    ),
    many(
        "tools",
        &[
            must("name", Text(check::tool_name)),
            may("description", Text(check::filled)),
            may("parameters", Foreign(&[])),
            may("url", Text(check::tool_address)),
            may("link", Text(check::link)),
            may("method", Choice(&["post", "get"])),
            may("headers", NamedSecrets),
            may("timeout_seconds", Whole(1, 10)),
            may("write", Flag),
            may("filler", Text(check::filled)),
            may("networks", Texts(check::network)),
            may("ca", File),
        ],
    ),
];
