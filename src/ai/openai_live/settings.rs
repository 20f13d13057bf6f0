//! Where the configured service is, and what a call asks of it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::ai::engine::{SessionOptions, Wants};
use crate::ai::openai::settings::{Access, greeting, json};
use crate::ai::socket::{Target, Url};
use crate::ai::tools::{Tool, Tools};
use crate::ai::trust;
use crate::config::{OpenAiLiveConfig, RealtimeFormat, Secret};

/// Voices of the service's own; a number that names one gets it.
const VOICES: [&str; 23] = [
    "alloy", "ash", "ballad", "beacon", "bossa", "cedar", "cinder", "coral", "delta", "echo", "gleam", "marin",
    "meridian", "quartz", "ripple", "sage", "shida", "shimmer", "stone", "tempo", "verse", "vesper", "willow",
];

/// The configured service.
#[derive(Clone)]
pub struct Service {
    config: Arc<OpenAiLiveConfig>,
    tls: Arc<rustls::ClientConfig>,
}

impl Service {
    /// The error is the operator's sentence.
    pub fn new(config: &OpenAiLiveConfig) -> Result<Service, String> {
        let service = Service {
            tls: Arc::new(trust::authorities("engine.openai_live", config.ca.as_deref())?),
            config: Arc::new(config.clone()),
        };
        service.target(None).map(|_| service)
    }

    /// The model that calls have unless they name another.
    pub fn model(&self) -> &str {
        &self.config.model
    }

    /// How it is reached; `key` is that of the call.
    pub fn target(&self, key: Option<&Secret>) -> Result<Target, String> {
        let config = &self.config;
        let url: Url = config.url.parse().map_err(|problem| format!("[engine.openai_live] url {problem}"))?;
        let access = Access {
            section: "engine.openai_live",
            key: key.or(config.api_key.as_ref()),
            key_field: config.key_field,
            subprotocols: &[],
            headers: &config.headers,
        };
        Ok(Target { url, fields: access.fields()?, tls: self.tls.clone() })
    }

    /// What a call asks for; `model`: the call's own.
    pub fn call(&self, options: &SessionOptions, model: Option<&str>) -> Call {
        let config = &self.config;
        let named = Some(options.voice.as_str()).filter(|voice| VOICES.contains(voice)).map(str::to_owned);
        let tools = Tools::new(options);
        Call {
            instructions: options.briefing_with_history(),
            greeting: config.greeting.clone().unwrap_or_else(|| greeting(&options.language)),
            language: options.language.clone(),
            model: model.unwrap_or(&config.model).to_owned(),
            backend: config.backend_model.clone(),
            voice: config.voice.clone().or(named),
            format: config.format,
            overlay: config.session.as_ref().map(json),
            declared: tools.declared(),
            tools,
            greet: config.greet,
        }
    }
}

/// What one call asks of the service.
#[derive(Debug, Clone)]
pub struct Call {
    pub instructions: String,
    pub greeting: String,
    /// BCP 47; may be empty.
    pub language: String,
    pub model: String,
    pub backend: Option<String>,
    pub voice: Option<String>,
    pub format: RealtimeFormat,
    pub overlay: Option<Value>,
    pub declared: Vec<Tool>,
    pub tools: Tools,
    pub greet: bool,
}

impl Call {
    pub fn wants(&self) -> Wants {
        match self.format {
            RealtimeFormat::Pcmu => Wants::Ulaw,
            RealtimeFormat::Pcma => Wants::Alaw,
            RealtimeFormat::Pcm => Wants::LinearAt(24_000),
            RealtimeFormat::Pcm16000 => Wants::LinearAt(16_000),
        }
    }

    /// Octets of sound in so long.
    pub fn octets(&self, span: Duration) -> usize {
        let a_second = match self.format {
            RealtimeFormat::Pcmu | RealtimeFormat::Pcma => 8_000,
            RealtimeFormat::Pcm => 48_000,
            RealtimeFormat::Pcm16000 => 32_000,
        };
        a_second * span.as_millis() as usize / 1_000
    }
}
