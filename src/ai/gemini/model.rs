//! What is known of the models: which of them break over which field of the setup.

use serde_json::Value;

/// The generation of a model, read from its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// Major and minor number; `None` when the name holds none.
    version: Option<(u32, u32)>,
    thinking: bool,
    native_audio: bool,
}

impl Family {
    /// `gemini-3.8-live`, `models/gemini-live-2.5-flash-native-audio`, …
    pub fn of(model: &str) -> Family {
        let name = model.rsplit('/').next().unwrap_or(model);
        let mut words = name.split('-');
        let version = words.by_ref().any(|word| word == "gemini").then(|| words.find_map(number)).flatten();
        Family {
            version,
            thinking: name.contains("thinking") && version >= Some((3, 8)),
            native_audio: name.contains("native-audio"),
        }
    }

    fn is_since(self, version: (u32, u32)) -> bool {
        self.version >= Some(version)
    }

    /// Turns of the conversation are taken only as its beginning; later text goes beside the sound.
    pub fn takes_text_beside_sound(self) -> bool {
        self.is_since((3, 0))
    }

    /// How a tool has to be declared so that the model waits for its result; `None`: it does so, or cannot.
    pub fn tool_behavior(self) -> Option<&'static str> {
        (self.is_since((3, 8)) && !self.thinking).then_some("BLOCKING")
    }

    /// It goes on while a tool works, and can be told to say nothing about the result.
    pub fn goes_on_during_tools(self) -> bool {
        self.thinking
    }
}

/// `3.8` or `3`.
fn number(word: &str) -> Option<(u32, u32)> {
    let (major, minor) = word.split_once('.').unwrap_or((word, "0"));
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// A field that a model does not take.
struct Trap {
    hits: fn(Family, &Value) -> bool,
    says: &'static str,
}

const TRAPS: &[Trap] = &[
    Trap {
        hits: |family, setup| {
            family.is_since((3, 8)) && !family.thinking && has(setup, "/generationConfig/thinkingConfig")
        },
        says: "models from 3.8 on take no thinkingConfig: leave it out",
    },
    Trap {
        hits: |family, setup| family.thinking && !has(setup, "/generationConfig/thinkingConfig/thinkingLevel"),
        says: "this model wants setup.generationConfig.thinkingConfig.thinkingLevel, e.g. \"LOW\"",
    },
    Trap {
        hits: |family, setup| family.thinking && any_tool(setup, "behavior", "BLOCKING"),
        says: "this model takes no tools of behavior BLOCKING",
    },
    Trap {
        hits: |family, setup| {
            family.is_since((3, 8)) && setup.pointer("/proactivity/proactiveAudio") == Some(&Value::Bool(false))
        },
        says: "proactiveAudio = false is an error with models from 3.8 on: leave it out",
    },
    Trap {
        hits: |family, setup| family.is_since((3, 0)) && has(setup, "/generationConfig/enableAffectiveDialog"),
        says: "enableAffectiveDialog is unknown to models from 3 on",
    },
    Trap {
        hits: |family, setup| {
            family.is_since((3, 0)) && !family.is_since((3, 8)) && has(setup, "/proactivity/proactiveAudio")
        },
        says: "this model takes no proactivity",
    },
    Trap {
        hits: |family, setup| family.is_since((3, 0)) && has(setup, "/generationConfig/thinkingConfig/thinkingBudget"),
        says: "models from 3 on take a thinkingLevel, no thinkingBudget",
    },
    Trap {
        hits: |family, setup| {
            family.is_since((3, 0)) && !family.is_since((3, 8)) && any_tool(setup, "behavior", "NON_BLOCKING")
        },
        says: "this model takes no tools of behavior NON_BLOCKING",
    },
    Trap {
        hits: |family, setup| family.native_audio && has(setup, "/generationConfig/speechConfig/languageCode"),
        says: "models with native audio choose the language themselves and may refuse one: leave `language` out",
    },
    Trap {
        hits: |_, setup| {
            let modalities = setup.pointer("/generationConfig/responseModalities").and_then(Value::as_array);
            modalities.is_none_or(|modalities| modalities.len() != 1 || modalities[0] != "AUDIO")
        },
        says: "responseModalities must be [\"AUDIO\"]: with anything else the caller hears nothing",
    },
    Trap {
        hits: |_, setup| {
            setup.pointer("/realtimeInputConfig/automaticActivityDetection/disabled") == Some(&Value::Bool(true))
        },
        says: "without automaticActivityDetection nobody tells the model when the caller speaks",
    },
];

/// Fields that one of the two services does not know.
const DEVELOPER_TRAPS: &[(&str, &str)] = &[
    ("/explicitVadSignal", "explicitVadSignal is known to Vertex AI only"),
    ("/sessionResumption/transparent", "sessionResumption.transparent is known to Vertex AI only"),
];
const VERTEX_TRAPS: &[(&str, &str)] = &[("/historyConfig", "historyConfig is unknown to Vertex AI")];

/// What of `setup` (the message's content) is known to break `model`.
pub fn warnings(model: &str, vertex: bool, setup: &Value) -> Vec<&'static str> {
    let family = Family::of(model);
    let services = if vertex { VERTEX_TRAPS } else { DEVELOPER_TRAPS };
    let of_model = TRAPS.iter().filter(|trap| (trap.hits)(family, setup)).map(|trap| trap.says);
    of_model.chain(services.iter().filter(|(field, _)| has(setup, field)).map(|(_, says)| *says)).collect()
}

fn has(setup: &Value, field: &str) -> bool {
    setup.pointer(field).is_some()
}

fn any_tool(setup: &Value, key: &str, value: &str) -> bool {
    let tools = setup.get("tools").and_then(Value::as_array).into_iter().flatten();
    let declarations = tools.filter_map(|tool| tool.get("functionDeclarations")?.as_array()).flatten();
    declarations.into_iter().any(|declaration| declaration.get(key).is_some_and(|found| found == value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_generation_is_read_from_any_form_of_the_name() {
        for (name, version) in [
            ("gemini-3.8-live", Some((3, 8))),
            ("models/gemini-3.1-flash-live-preview", Some((3, 1))),
            ("gemini-live-2.5-flash-native-audio", Some((2, 5))),
            ("projects/p-9/locations/l/publishers/google/models/gemini-2.0-flash-live-001", Some((2, 0))),
            ("gemini-4-live", Some((4, 0))),
            ("gemini-live-preview", None),
            ("bison-9", None),
            ("", None),
        ] {
            assert_eq!(Family::of(name).version, version, "{name}");
        }
        assert!(Family::of("gemini-3.8-live-extended-thinking").goes_on_during_tools());
        assert!(!Family::of("gemini-2.5-flash-exp-native-audio-thinking-dialog").goes_on_during_tools());
        assert!(
            !Family::of("gemini-2.5-flash").takes_text_beside_sound() && !Family::of("x").takes_text_beside_sound()
        );
        assert_eq!(Family::of("gemini-3.8-live").tool_behavior(), Some("BLOCKING"));
        assert_eq!(Family::of("gemini-3.1-flash-live-preview").tool_behavior(), None);
    }

    /// Each model with what breaks it, and one with which it is well.
    #[test]
    fn known_traps_are_named_and_nothing_else() {
        let thinking = json!({"generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}});
        let tool =
            |behavior| json!({"tools": [{"googleSearch": {}}, {"functionDeclarations": [{"behavior": behavior}]}]});
        for (model, vertex, more, word) in [
            ("gemini-3.8-live", false, json!({}), None),
            (
                "gemini-3.8-live",
                false,
                json!({"generationConfig": {"thinkingConfig": {"thinkingLevel": "LOW"}}}),
                Some("thinkingConfig"),
            ),
            ("gemini-3.8-live-extended-thinking", false, json!({}), Some("thinkingLevel")),
            ("gemini-3.8-live", false, json!({"proactivity": {"proactiveAudio": false}}), Some("proactiveAudio")),
            ("gemini-3.8-live", false, json!({"proactivity": {"proactiveAudio": true}}), None),
            ("gemini-3.8-live", false, json!({"generationConfig": {"enableAffectiveDialog": true}}), Some("Affective")),
            ("gemini-3.1-flash-live-preview", false, thinking.clone(), Some("thinkingBudget")),
            ("gemini-3.1-flash-live-preview", false, tool("NON_BLOCKING"), Some("NON_BLOCKING")),
            (
                "gemini-3.1-flash-live-preview",
                false,
                json!({"proactivity": {"proactiveAudio": true}}),
                Some("proactivity"),
            ),
            ("gemini-3.8-live", false, tool("NON_BLOCKING"), None),
            ("gemini-2.5-flash-live", false, thinking, None),
            (
                "gemini-2.5-flash-native-audio-preview-12-2025",
                false,
                json!({"generationConfig": {"speechConfig": {"languageCode": "de-DE"}}}),
                Some("language"),
            ),
            ("gemini-3.8-live", false, json!({"generationConfig": {"responseModalities": ["TEXT"]}}), Some("AUDIO")),
            (
                "gemini-3.8-live",
                false,
                json!({"realtimeInputConfig": {"automaticActivityDetection": {"disabled": true}}}),
                Some("automaticActivityDetection"),
            ),
            ("gemini-3.8-live", false, json!({"explicitVadSignal": true}), Some("Vertex")),
            ("gemini-3.8-live", true, json!({"explicitVadSignal": true}), None),
            ("gemini-3.8-live", true, json!({"historyConfig": {}}), Some("historyConfig")),
            ("gemini-3.8-live", false, json!({"sessionResumption": {"transparent": true}}), Some("transparent")),
        ] {
            let mut setup = json!({"generationConfig": {"responseModalities": ["AUDIO"]}});
            super::super::setup::lay_over(&mut setup, &more);
            let said = warnings(model, vertex, &setup);
            match word {
                Some(word) => assert!(said.len() == 1 && said[0].contains(word), "{model} {more}: {said:?}"),
                None => assert_eq!(said, [""; 0], "{model} {more}"),
            }
        }
    }
}
