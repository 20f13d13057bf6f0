//! Where the configured service is, and what a call asks of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::ai::engine::{SessionOptions, Spoken, Wants};
use crate::ai::socket::{Target, Url};
use crate::ai::tools::{Tool, Tools};
use crate::ai::trust;
use crate::config::{KeyField, NoiseReduction, OpenAiConfig, RealtimeDialect, RealtimeFormat, Secret, TurnDetection};

/// Voices of OpenAI's own; a number that names one gets it.
const VOICES: [&str; 10] = ["alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse", "marin", "cedar"];

/// The configured service.
#[derive(Clone)]
pub struct Service {
    config: Arc<OpenAiConfig>,
    tls: Arc<rustls::ClientConfig>,
}

impl Service {
    /// The error is the operator's sentence.
    pub fn new(config: &OpenAiConfig) -> Result<Service, String> {
        let service = Service {
            tls: Arc::new(trust::authorities("engine.openai", config.ca.as_deref())?),
            config: Arc::new(config.clone()),
        };
        service.target(None, None).map(|_| service)
    }

    /// The model that calls have unless they name another.
    pub fn model(&self) -> Option<&str> {
        self.config.model.as_deref()
    }

    /// How it is reached; `key` and `model` are those of the call.
    pub fn target(&self, key: Option<&Secret>, model: Option<&str>) -> Result<Target, String> {
        let config = &self.config;
        let url: Url = address(config, model).parse().map_err(|problem| format!("[engine.openai] url {problem}"))?;
        let access = Access {
            section: "engine.openai",
            key: key.or(config.api_key.as_ref()),
            key_field: config.key_field,
            subprotocols: &config.subprotocols,
            headers: &config.headers,
        };
        let fields = access.fields()?;
        Ok(Target { url, fields, tls: self.tls.clone() })
    }

    /// What a call asks for.
    pub fn call(&self, options: &SessionOptions) -> Call {
        let config = &self.config;
        let named = Some(options.voice.as_str()).filter(|voice| VOICES.contains(voice)).map(str::to_owned);
        let tools = Tools::new(options);
        Call {
            dialect: config.dialect,
            instructions: options.briefing(),
            greeting: match &config.greeting {
                _ if !options.history.is_empty() => TAKES_OVER.to_owned(),
                Some(own) => own.clone(),
                None => greeting(&options.language),
            },
            history: options.history.clone(),
            language: options.language.split('-').next().unwrap_or_default().to_ascii_lowercase(),
            voice: config.voice.clone().or(named),
            input: config.input_format,
            output: config.output_format,
            transcription: Some(config.transcription_model.clone()).filter(|model| !model.is_empty()),
            turn_detection: config.turn_detection.as_ref().map(|detection| match detection {
                TurnDetection::None(_) => Value::Null,
                TurnDetection::Settings(table) => json(table),
            }),
            noise_reduction: config.noise_reduction,
            overlay: config.session.as_ref().map(json),
            declared: tools.declared(),
            tools,
            greet: config.greet,
            truncate: config.truncate,
            age: (config.reconnect_minutes > 0).then(|| Duration::from_secs(60 * config.reconnect_minutes)),
        }
    }
}

/// Fields of the request for a connection.
pub struct Access<'a> {
    pub section: &'static str,
    pub key: Option<&'a Secret>,
    pub key_field: KeyField,
    pub subprotocols: &'a [String],
    pub headers: &'a BTreeMap<String, Secret>,
}

impl Access<'_> {
    /// The error is the operator's sentence.
    pub fn fields(&self) -> Result<Vec<(String, String)>, String> {
        let mut fields = Vec::new();
        if let Some(key) = self.key {
            fields.push(match self.key_field {
                KeyField::Authorization => ("Authorization".to_owned(), format!("Bearer {}", key.expose())),
                KeyField::ApiKey => ("api-key".to_owned(), key.expose().to_owned()),
            });
        }
        if !self.subprotocols.is_empty() {
            fields.push(("Sec-WebSocket-Protocol".to_owned(), self.subprotocols.join(", ")));
        }
        fields.extend(self.headers.iter().map(|(name, value)| (name.clone(), value.expose().to_owned())));
        for (name, value) in &fields {
            let token = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.!~*'".contains(&b));
            if !token || value.chars().any(|c| c.is_control() || !c.is_ascii()) {
                return Err(format!("[{}] the field {name:?} of the request must be one line of ASCII", self.section));
            }
        }
        Ok(fields)
    }
}

/// A table of the operator's in the service's own words.
pub fn json(table: &toml::Table) -> Value {
    serde_json::to_value(table).unwrap_or(Value::Null)
}

const TAKES_OVER: &str = "You have just taken this call over from a colleague; the conversation so far is known to you. \
                          Tell the caller in one short sentence who you are, and go on.";

/// Whatever language the instructions are in, the caller is spoken to in that of the call.
pub fn greeting(language: &str) -> String {
    let language = match language.trim() {
        "" => "Speak the language that the instructions above are written in.".to_owned(),
        language => format!("Language of the call (BCP 47): {language}. Speak that language and no other."),
    };
    format!("[The phone has just been answered. Greet the caller now, in one short sentence. {language}]")
}

/// The configured address, its query and the model.
fn address(config: &OpenAiConfig, model: Option<&str>) -> String {
    let mut address = config.url.clone();
    let mut add = |name: &str, value: &str| {
        address.push(if address.contains('?') { '&' } else { '?' });
        address.push_str(&escaped(name));
        address.push('=');
        address.push_str(&escaped(value));
    };
    for (name, value) in &config.query {
        add(name, value);
    }
    let named = ["model", "deployment"].iter().any(|name| {
        let query = config.url.split_once('?').map_or("", |(_, query)| query);
        config.query.contains_key(*name) || query.split('&').any(|pair| pair.split('=').next() == Some(name))
    });
    if let Some(model) = model.or(config.model.as_deref()).filter(|_| !named) {
        add("model", model);
    }
    address
}

/// RFC 3986 §2.1.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// What one call asks of the service.
#[derive(Debug, Clone)]
pub struct Call {
    pub dialect: RealtimeDialect,
    pub instructions: String,
    pub greeting: String,
    /// ISO 639-1.
    pub language: String,
    pub voice: Option<String>,
    pub input: RealtimeFormat,
    pub output: RealtimeFormat,
    pub transcription: Option<String>,
    pub turn_detection: Option<Value>,
    pub noise_reduction: Option<NoiseReduction>,
    pub overlay: Option<Value>,
    pub declared: Vec<Tool>,
    pub tools: Tools,
    /// What was said before.
    pub history: Vec<Spoken>,
    pub greet: bool,
    pub truncate: bool,
    /// After which a connection is replaced.
    pub age: Option<Duration>,
}

impl Call {
    pub fn wants(&self) -> Wants {
        match self.input {
            RealtimeFormat::Pcmu => Wants::Ulaw,
            RealtimeFormat::Pcma => Wants::Alaw,
            RealtimeFormat::Pcm => Wants::LinearAt(24_000),
            RealtimeFormat::Pcm16000 => Wants::LinearAt(16_000),
        }
    }

    /// Octets of what the service hears in so long.
    pub fn input_octets(&self, span: Duration) -> usize {
        let a_second = match self.input {
            RealtimeFormat::Pcmu | RealtimeFormat::Pcma => 8_000,
            RealtimeFormat::Pcm => 48_000,
            RealtimeFormat::Pcm16000 => 32_000,
        };
        a_second * span.as_millis() as usize / 1_000
    }

    /// Whether somebody has to tell the service when the caller has finished.
    pub fn finds_no_turns(&self) -> bool {
        self.turn_detection == Some(Value::Null)
    }

    /// Whether the service stops an answer by itself when the caller begins to speak.
    pub fn interrupts(&self) -> bool {
        let of = |detection: &Value| detection.get("interrupt_response").and_then(Value::as_bool);
        self.turn_detection.as_ref().and_then(of).unwrap_or(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> OpenAiConfig {
        toml::from_str(text).expect("a section")
    }

    fn target(text: &str) -> Target {
        Service::new(&config(text)).expect("a service").target(None, None).expect("a target")
    }

    #[test]
    fn the_address_is_taken_as_it_is_and_the_model_appended_unless_it_is_named() {
        let path = |text: &str| target(text).url.path;
        assert_eq!(path("url = 'wss://h/v1/realtime'\nmodel = 'gpt realtime'"), "/v1/realtime?model=gpt%20realtime");
        assert_eq!(path("url = 'wss://h/r?model=a'\nmodel = 'b'"), "/r?model=a");
        let azure = "url = 'wss://h/r'\nmodel = 'b'\nquery = { api-version = '2025-10-01', deployment = 'd&e' }";
        assert_eq!(path(azure), "/r?api-version=2025-10-01&deployment=d%26e");
        let service = Service::new(&config("url = 'ws://h'\nmodel = 'b'")).expect("a service");
        assert_eq!(service.target(None, Some("c")).expect("a target").url.path, "/?model=c");
    }

    #[test]
    fn the_key_stands_in_the_field_that_the_service_wants() {
        let fields = |text: &str| target(&format!("url = 'ws://h'\n{text}")).fields;
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(fields("api_key = 'k'"), [pair("Authorization", "Bearer k")]);
        assert_eq!(
            fields("api_key = 'k'\nkey_field = 'api-key'\nsubprotocols = ['a', 'b']\nheaders = { X-Y = 'z' }"),
            [pair("api-key", "k"), pair("Sec-WebSocket-Protocol", "a, b"), pair("X-Y", "z")]
        );
        for broken in ["api_key = \"a\\r\\nb\"", "headers = { 'a b' = 'c' }", "headers = { a = \"\\u00fc\" }"] {
            let problem = Service::new(&config(&format!("url = 'ws://h'\n{broken}"))).map(|_| ());
            assert!(problem.expect_err(broken).contains("must be one line of ASCII"));
        }
        let service = Service::new(&config("url = 'ws://h'\napi_key = 'k'")).expect("a service");
        let own = service.target(Some(&Secret::new("own")), None).expect("a target");
        assert_eq!(own.fields, [pair("Authorization", "Bearer own")]);
    }
}
