//! The first message of a connection: what the model shall be.

use serde_json::{Map, Value, json};

use super::model::Family;
use super::passage::Entry;
use super::service::Service;
use crate::ai::engine::SessionOptions;
use crate::ai::tools::{Tool, Tools};
use crate::config::{ActivityConfig, Coverage, Sensitivity};

/// A call's part of the setup.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub model: String,
    pub family: Family,
    pub instructions: String,
    voice: String,
    language: Option<String>,
    tools: Vec<Tool>,
}

impl Wanted {
    pub fn new(service: &Service, options: &SessionOptions, tools: &Tools) -> Wanted {
        let config = &service.config;
        let model = service.model(options.model.as_deref());
        let language = config.language.as_deref().map(|language| match language {
            "call" => options.language.clone(),
            tag => tag.to_owned(),
        });
        Wanted {
            family: Family::of(&model),
            model,
            instructions: options.briefing(),
            voice: config.voice.clone().unwrap_or_else(|| options.voice.clone()),
            language: language.filter(|language| !language.is_empty()),
            tools: tools.declared(),
        }
    }
}

/// What `setup` holds; only what was configured, because each model takes something else.
pub fn content(service: &Service, wanted: &Wanted, entry: &Entry) -> Value {
    let config = &service.config;
    let mut setup = json!({
        "model": wanted.model,
        "generationConfig": { "responseModalities": ["AUDIO"] },
    });
    let mut speech = Map::new();
    if let Some(language) = &wanted.language {
        speech.insert("languageCode".into(), json!(language));
    }
    if !wanted.voice.is_empty() {
        let voice = json!({ "prebuiltVoiceConfig": { "voiceName": wanted.voice } });
        speech.insert("voiceConfig".into(), voice);
    }
    if !speech.is_empty() {
        setup["generationConfig"]["speechConfig"] = Value::Object(speech);
    }
    if !wanted.instructions.trim().is_empty() {
        setup["systemInstruction"] = json!({ "parts": [{ "text": wanted.instructions }] });
    }
    if !wanted.tools.is_empty() {
        let declarations: Vec<Value> = wanted.tools.iter().map(|tool| declaration(tool, wanted.family)).collect();
        setup["tools"] = json!([{ "functionDeclarations": declarations }]);
    }
    if let Some(activity) = &config.activity {
        setup["realtimeInputConfig"] = realtime(activity);
    }
    if config.transcription {
        setup["inputAudioTranscription"] = json!({});
        setup["outputAudioTranscription"] = json!({});
    }
    if config.resumption {
        setup["sessionResumption"] = match entry {
            Entry::Handle(handle) => json!({ "handle": handle }),
            Entry::New | Entry::Replay => json!({}),
        };
    }
    if config.compression {
        let mut window = json!({ "slidingWindow": {} });
        if let Some(target) = config.compression_target {
            window["slidingWindow"]["targetTokens"] = json!(target.to_string());
        }
        if let Some(trigger) = config.compression_trigger {
            window["triggerTokens"] = json!(trigger.to_string());
        }
        setup["contextWindowCompression"] = window;
    }
    if *entry == Entry::Replay && config.vertex.is_none() {
        setup["historyConfig"] = json!({ "initialHistoryInClientContent": true });
    }
    let mut overlay = config.setup.clone();
    // The operator's tools stand beside those of the call.
    if let (Some(Value::Array(more)), Some(tools)) =
        (overlay.get("tools").cloned(), setup.get_mut("tools").and_then(Value::as_array_mut))
    {
        tools.extend(more);
        overlay.remove("tools");
    }
    lay_over(&mut setup, &Value::Object(overlay));
    setup
}

/// Puts what `over` says in the place of what `value` says, key by key.
pub fn lay_over(value: &mut Value, over: &Value) {
    match (value, over) {
        (Value::Object(value), Value::Object(over)) => {
            for (key, over) in over {
                lay_over(value.entry(key.clone()).or_insert(Value::Null), over);
            }
        }
        (value, over) => *value = over.clone(),
    }
}

fn declaration(tool: &Tool, family: Family) -> Value {
    let mut declaration = json!({ "name": tool.name, "description": tool.description });
    if tool.parameters["properties"].as_object().is_some_and(|properties| !properties.is_empty()) {
        declaration["parameters"] = schema(&tool.parameters);
    }
    if let Some(behavior) = family.tool_behavior() {
        declaration["behavior"] = json!(behavior);
    }
    declaration
}

/// A JSON schema in the service's spelling: types in capitals.
fn schema(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| match value {
                Value::String(name) if key == "type" => (key.clone(), json!(name.to_ascii_uppercase())),
                value => (key.clone(), schema(value)),
            })
            .collect(),
        Value::Array(items) => items.iter().map(schema).collect(),
        value => value.clone(),
    }
}

fn realtime(activity: &ActivityConfig) -> Value {
    let word = |sensitivity: Sensitivity| match sensitivity {
        Sensitivity::High => "HIGH",
        Sensitivity::Low => "LOW",
    };
    let mut detection = Map::new();
    if let Some(start) = activity.start {
        detection.insert("startOfSpeechSensitivity".into(), json!(format!("START_SENSITIVITY_{}", word(start))));
    }
    if let Some(end) = activity.end {
        detection.insert("endOfSpeechSensitivity".into(), json!(format!("END_SENSITIVITY_{}", word(end))));
    }
    if let Some(ms) = activity.prefix_padding_ms {
        detection.insert("prefixPaddingMs".into(), json!(ms));
    }
    if let Some(ms) = activity.silence_ms {
        detection.insert("silenceDurationMs".into(), json!(ms));
    }
    let mut realtime = Map::new();
    if !detection.is_empty() {
        realtime.insert("automaticActivityDetection".into(), Value::Object(detection));
    }
    if let Some(interrupts) = activity.interrupts {
        let handling = if interrupts { "START_OF_ACTIVITY_INTERRUPTS" } else { "NO_INTERRUPTION" };
        realtime.insert("activityHandling".into(), json!(handling));
    }
    if let Some(coverage) = activity.coverage {
        let coverage = match coverage {
            Coverage::Activity => "TURN_INCLUDES_ONLY_ACTIVITY",
            Coverage::AllInput => "TURN_INCLUDES_ALL_INPUT",
        };
        realtime.insert("turnCoverage".into(), json!(coverage));
    }
    Value::Object(realtime)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ai::engine::Person;

    fn made(text: &str, options: &SessionOptions, entry: &Entry) -> Value {
        let service = Service::new(&toml::from_str(text).expect("right")).expect("usable");
        let tools = Tools::new(options);
        content(&service, &Wanted::new(&service, options, &tools), entry)
    }

    fn options() -> SessionOptions {
        let (voice, language) = ("Kore".into(), "de-DE".into());
        SessionOptions { voice, language, ..SessionOptions::new("Be kind.".into()) }
    }

    #[test]
    fn the_five_lines_of_configuration_give_a_whole_setup_and_nothing_that_a_model_may_refuse() {
        let mut setup = made("model = \"gemini-2.5-live\"\napi_key = \"k\"", &options(), &Entry::New);
        let tools = setup["tools"].take();
        assert_eq!(
            setup,
            json!({
                "model": "models/gemini-2.5-live",
                "generationConfig": {
                    "responseModalities": ["AUDIO"],
                    "speechConfig": { "voiceConfig": { "prebuiltVoiceConfig": { "voiceName": "Kore" } } },
                },
                "systemInstruction": { "parts": [{ "text": "Be kind." }] },
                "tools": null,
                "inputAudioTranscription": {},
                "outputAudioTranscription": {},
                "sessionResumption": {},
                "contextWindowCompression": { "slidingWindow": {} },
            })
        );
        let declared = tools[0]["functionDeclarations"].as_array().expect("tools");
        let keys = declared.iter().find(|tool| tool["name"] == "send_dtmf").expect("keys");
        assert_eq!(keys["parameters"]["type"], "OBJECT");
        assert_eq!(keys["parameters"]["properties"]["keys"]["type"], "STRING");
        assert_eq!(keys["parameters"]["required"], json!(["keys"]));
        assert!(declared.iter().all(|tool| tool.get("behavior").is_none()));
    }

    #[test]
    fn everything_that_can_be_configured_is_said_in_the_services_words() {
        let text = r#"
            model = "gemini-3.8-live"
            api_key = "k"
            voice = "Puck"
            language = "call"
            compression_trigger = 25600
            compression_target = 12800
            activity = { start = "high", end = "low", prefix_padding_ms = 40, silence_ms = 500, interrupts = false, coverage = "all-input" }
            [setup]
            tools = [{ googleSearch = {} }]
            labels = { team = "desk" }
            [setup.generationConfig]
            temperature = 0.7
        "#;
        let person = Some(Person { destination: "+49".into(), whisper: false });
        let setup = made(text, &SessionOptions { person, ..options() }, &Entry::Handle("h-1".into()));
        assert_eq!(
            setup["generationConfig"],
            json!({
                "responseModalities": ["AUDIO"],
                "temperature": 0.7,
                "speechConfig": {
                    "languageCode": "de-DE",
                    "voiceConfig": { "prebuiltVoiceConfig": { "voiceName": "Puck" } },
                },
            })
        );
        assert_eq!(
            setup["realtimeInputConfig"],
            json!({
                "automaticActivityDetection": {
                    "startOfSpeechSensitivity": "START_SENSITIVITY_HIGH",
                    "endOfSpeechSensitivity": "END_SENSITIVITY_LOW",
                    "prefixPaddingMs": 40,
                    "silenceDurationMs": 500,
                },
                "activityHandling": "NO_INTERRUPTION",
                "turnCoverage": "TURN_INCLUDES_ALL_INPUT",
            })
        );
        assert_eq!(
            setup["contextWindowCompression"],
            json!({ "triggerTokens": "25600", "slidingWindow": { "targetTokens": "12800" } })
        );
        assert_eq!(setup["sessionResumption"], json!({ "handle": "h-1" }));
        assert_eq!(setup["labels"], json!({ "team": "desk" }));
        let tools = setup["tools"].as_array().expect("tools");
        assert_eq!(tools[1], json!({ "googleSearch": {} }));
        let declared = tools[0]["functionDeclarations"].as_array().expect("tools");
        assert!(declared.iter().all(|tool| tool["behavior"] == "BLOCKING"), "its tools run aside otherwise");
        let transfer = declared.iter().find(|tool| tool["name"] == "transfer_call").expect("a person");
        assert!(transfer.get("parameters").is_none(), "an object without properties is refused");
    }

    #[test]
    fn what_is_off_is_not_said_and_a_history_is_announced_where_it_can_be() {
        let off = "model = \"m\"\napi_key = \"k\"\ntranscription = false\nresumption = false\ncompression = false";
        let bare = SessionOptions { instructions: " ".into(), voice: String::new(), ..options() };
        let mut setup = made(off, &bare, &Entry::New);
        setup.as_object_mut().expect("an object").remove("tools");
        assert_eq!(setup, json!({ "model": "models/m", "generationConfig": { "responseModalities": ["AUDIO"] } }));
        let history = json!({ "initialHistoryInClientContent": true });
        assert_eq!(made("model = \"m\"\napi_key = \"k\"", &options(), &Entry::Replay)["historyConfig"], history);
        let vertex = "model = \"m\"\n[vertex]\nproject = \"p\"\nlocation = \"l\"\ntoken = \"t\"";
        assert!(made(vertex, &options(), &Entry::Replay).get("historyConfig").is_none());
    }
}
