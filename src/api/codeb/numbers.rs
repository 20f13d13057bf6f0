//! `GET /v1/numbers`: the inbound numbers, not paginated.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use serde::Serialize;

use crate::api::dialect::Context;
use crate::config::{NumberMode, Visibility};
use crate::directory::Number;

use super::{Admin, Failure, reading, tenant};

#[derive(Debug, Serialize)]
pub(super) struct NumbersBody {
    data: Numbers,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Numbers {
    tenant: String,
    virtual_numbers: Vec<VirtualNumber>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct VirtualNumber {
    name: String,
    number: String,
    mode: NumberMode,
    voice: String,
    language: String,
    save_transcripts: bool,
    max_duration_sec: u32,
    visibility: Visibility,
    // The document's prose promises these three; its example lacks them.
    system_prompt: Option<String>,
    route: Option<String>,
    record_calls: bool,
}

pub(super) async fn list(
    State(context): State<Arc<Context>>,
    Admin(principal): Admin,
    headers: HeaderMap,
) -> Result<axum::Json<NumbersBody>, Failure> {
    let tenant = tenant(&context.directory, &headers, &principal)?.host.clone();
    let numbers = reading(move || context.directory.numbers(principal.organization)).await?;
    Ok(axum::Json(body(tenant, numbers)))
}

fn body(tenant: String, numbers: Vec<Number>) -> NumbersBody {
    NumbersBody { data: Numbers { tenant, virtual_numbers: numbers.into_iter().map(virtual_number).collect() } }
}

fn virtual_number(number: Number) -> VirtualNumber {
    VirtualNumber {
        name: number.name,
        number: number.number,
        mode: number.mode,
        voice: number.voice,
        language: number.language,
        save_transcripts: number.save_transcripts,
        max_duration_sec: number.max_duration_seconds,
        visibility: number.visibility,
        system_prompt: Some(number.system_prompt).filter(|prompt| !prompt.is_empty()),
        route: None,
        record_calls: number.record_calls,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn has_the_documented_body_and_the_promised_additions() {
        let number = |name: &str, number: &str, voice: &str, visibility| Number {
            id: Uuid::nil(),
            organization: Uuid::nil(),
            name: name.into(),
            number: number.into(),
            mode: NumberMode::LiveVoiceAi,
            system_prompt: "reminder".into(),
            agent: None,
            voice: voice.into(),
            language: "en-US".into(),
            visibility,
            save_transcripts: true,
            record_calls: false,
            max_duration_seconds: 3500,
            email: Some("never@shown.example".into()),
            transfer_to: None,
            transfer_whisper: false,
        };
        let numbers = vec![
            number("codebdemo", "1234", "Aoede", Visibility::Public),
            number("MUSC", "24345", "Charon", Visibility::SignedIn),
        ];
        let expected = json!({"data": {"tenant": "phone.codeb.io", "virtualNumbers": [
            {"name": "codebdemo", "number": "1234", "mode": "live-voice-ai", "voice": "Aoede", "language": "en-US",
             "saveTranscripts": true, "maxDurationSec": 3500, "visibility": "public",
             "systemPrompt": "reminder", "route": null, "recordCalls": false},
            {"name": "MUSC", "number": "24345", "mode": "live-voice-ai", "voice": "Charon", "language": "en-US",
             "saveTranscripts": true, "maxDurationSec": 3500, "visibility": "signed-in",
             "systemPrompt": "reminder", "route": null, "recordCalls": false}
        ]}});
        assert_eq!(serde_json::to_value(body("phone.codeb.io".into(), numbers)).expect("JSON"), expected);
        assert_eq!(json!(NumberMode::Tts), "tts");
    }
}
