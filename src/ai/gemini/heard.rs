//! What the service says, read where it lies. A message may carry several things at once; what is unknown is passed over.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Rate of sound that names none.
const RATE: u32 = 24_000;
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// One message.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Heard<'a> {
    pub setup_complete: Option<IgnoredAny>,
    #[serde(borrow)]
    pub server_content: Option<Content<'a>>,
    pub tool_call: Option<ToolCalls>,
    pub tool_call_cancellation: Option<Cancelled>,
    pub usage_metadata: Option<Used>,
    pub go_away: Option<GoAway>,
    pub session_resumption_update: Option<Resumption>,
    pub voice_activity: Option<VoiceActivity>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Content<'a> {
    #[serde(borrow)]
    pub model_turn: Option<ModelTurn<'a>>,
    pub interrupted: Option<bool>,
    pub generation_complete: Option<bool>,
    pub turn_complete: Option<bool>,
    pub interaction_status: Option<String>,
    pub input_transcription: Option<Transcription>,
    pub output_transcription: Option<Transcription>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ModelTurn<'a> {
    #[serde(borrow)]
    pub parts: Parts<'a>,
}

/// As a rule one, which needs no memory of its own.
#[derive(Debug, Default)]
pub struct Parts<'a> {
    first: Option<Part<'a>>,
    more: Vec<Part<'a>>,
}

impl<'a> Parts<'a> {
    pub fn iter(&self) -> impl Iterator<Item = &Part<'a>> {
        self.first.iter().chain(&self.more)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Part<'a> {
    #[serde(borrow)]
    pub inline_data: Option<Blob<'a>>,
    /// The model talks to itself.
    pub thought: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Blob<'a> {
    #[serde(borrow)]
    mime_type: Cow<'a, str>,
    #[serde(borrow)]
    data: Cow<'a, str>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Transcription {
    pub text: Option<String>,
    pub finished: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ToolCalls {
    pub function_calls: Vec<ToolCall>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ToolCall {
    pub id: Option<String>,
    pub name: String,
    pub args: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Cancelled {
    pub ids: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Used {
    pub prompt_token_count: Option<Count>,
    pub total_token_count: Option<Count>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GoAway {
    time_left: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Resumption {
    pub new_handle: Option<String>,
    pub resumable: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VoiceActivity {
    #[serde(alias = "type")]
    pub voice_activity_type: Option<String>,
}

/// A number, or, as protocol buffers write long ones, its digits in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count(pub u64);

/// Reads one message.
pub fn read(octets: &[u8]) -> Result<Heard<'_>, &'static str> {
    // A list would be read as the fields in their order.
    if octets.trim_ascii_start().first() == Some(&b'[') {
        return Err("a message that has not the form of the protocol");
    }
    serde_json::from_slice(octets).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => "a message that has not the form of the protocol",
        _ => "a message that is no JSON",
    })
}

impl Blob<'_> {
    /// Puts the sound into `pcm`; returns its rate. `octets` is room to work in.
    pub fn sound(&self, octets: &mut Vec<u8>, pcm: &mut Vec<i16>) -> Result<u32, &'static str> {
        let rate = rate(&self.mime_type)?;
        octets.clear();
        pcm.clear();
        BASE64.decode_vec(self.data.as_bytes(), octets).map_err(|_| "sound that is no base64")?;
        // Half a sample at the end is none: the next piece begins anew.
        pcm.extend(octets.as_chunks::<2>().0.iter().map(|pair| i16::from_le_bytes(*pair)));
        Ok(rate)
    }
}

/// `audio/pcm;rate=24000`, perhaps with more parameters.
fn rate(mime_type: &str) -> Result<u32, &'static str> {
    let mut parts = mime_type.split(';').map(str::trim);
    let kind = parts.next().unwrap_or_default();
    if !kind.is_empty() && !kind.eq_ignore_ascii_case("audio/pcm") && !kind.eq_ignore_ascii_case("audio/l16") {
        return Err("something that is no PCM sound");
    }
    let rate = parts.find_map(|part| part.strip_prefix("rate="));
    let rate = rate.map_or(Some(RATE), |rate| rate.trim_matches('"').parse().ok());
    rate.filter(|rate| (4_000..=192_000).contains(rate)).ok_or("sound of an impossible rate")
}

impl GoAway {
    pub fn left(&self) -> Duration {
        self.time_left.as_deref().and_then(span).unwrap_or_default()
    }
}

/// `49.5s`, as protocol buffers write a duration.
fn span(text: &str) -> Option<Duration> {
    let seconds: f64 = text.strip_suffix('s')?.parse().ok()?;
    Duration::try_from_secs_f64(seconds.clamp(0.0, 86_400.0)).ok()
}

impl<'de: 'a, 'a> Deserialize<'de> for Parts<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PartsVisitor)
    }
}

struct PartsVisitor;

impl<'de> Visitor<'de> for PartsVisitor {
    type Value = Parts<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of parts")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Parts<'de>, E> {
        Ok(Parts::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Parts<'de>, A::Error> {
        let first = parts.next_element()?;
        let mut more = Vec::new();
        while let Some(part) = parts.next_element()? {
            more.push(part);
        }
        Ok(Parts { first, more })
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CountVisitor)
    }
}

struct CountVisitor;

impl Visitor<'_> for CountVisitor {
    type Value = Count;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_u64<E>(self, number: u64) -> Result<Count, E> {
        Ok(Count(number))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Count, E> {
        Ok(Count(0))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Count, E> {
        // Saturates.
        Ok(Count(number as u64))
    }

    fn visit_str<E>(self, digits: &str) -> Result<Count, E> {
        Ok(Count(digits.parse().unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn many_things_in_one_message_and_unknown_ones_between_are_read() {
        let text = br#"{"new":{"a":[1]},"serverContent":{"x":null,"modelTurn":{"role":"model","parts":[
            {"text":"hm","thought":true},{"inlineData":{"mimeType":"audio/pcm;rate=24000","data":"AQAC\u0041A=="}},{"y":1}]},
            "interrupted":null,"turnComplete":true,"interactionStatus":"IDLE",
            "inputTranscription":{"text":"he","languageCode":"en-US"}},
            "usageMetadata":{"promptTokenCount":"12","totalTokenCount":30,"promptTokensDetails":[{}]},
            "goAway":{"timeLeft":"49.5s"},"toolCallCancellation":{"ids":["a"]},
            "voiceActivity":{"type":"ACTIVITY_START","audioOffset":"1.2s"},
            "sessionResumptionUpdate":{"newHandle":"h","resumable":true},"setupComplete":{}}"#;
        let heard = read(text).expect("a message");
        let content = heard.server_content.expect("content");
        let turn = content.model_turn.expect("a turn");
        let parts: Vec<_> = turn.parts.iter().collect();
        assert_eq!(parts.len(), 3);
        assert_eq!(parts[0].thought, Some(true));
        let (mut octets, mut pcm) = (vec![9; 3], vec![9; 3]);
        assert_eq!(parts[1].inline_data.as_ref().expect("sound").sound(&mut octets, &mut pcm), Ok(24_000));
        assert_eq!(pcm, [1, 2]);
        assert_eq!((content.interrupted, content.turn_complete), (None, Some(true)));
        assert_eq!(content.input_transcription.and_then(|words| words.text).as_deref(), Some("he"));
        let used = heard.usage_metadata.expect("usage");
        assert_eq!((used.prompt_token_count, used.total_token_count), (Some(Count(12)), Some(Count(30))));
        assert_eq!(heard.go_away.expect("going").left(), Duration::from_millis(49_500));
        assert!(heard.setup_complete.is_some());
        assert_eq!(heard.voice_activity.and_then(|it| it.voice_activity_type).as_deref(), Some("ACTIVITY_START"));
    }

    #[test]
    fn data_that_is_plain_is_read_where_it_lies() {
        let heard = read(
            br#"{"serverContent":{"modelTurn":{"parts":[{"inlineData":{"data":"AAA=","mimeType":"audio/pcm"}}]}}}"#,
        )
        .expect("a message");
        let turn = heard.server_content.and_then(|content| content.model_turn).expect("a turn");
        let blob = turn.parts.iter().next().and_then(|part| part.inline_data.as_ref()).expect("sound");
        assert!(matches!((&blob.data, &blob.mime_type), (Cow::Borrowed(_), Cow::Borrowed(_))), "no copy");
        assert!(turn.parts.more.is_empty());
    }

    #[test]
    fn sound_says_its_rate_and_what_is_no_sound_is_named() {
        let sound = |mime_type: &str, data: &str| {
            let (mut octets, mut pcm) = (Vec::new(), Vec::new());
            let blob = Blob { mime_type: mime_type.to_owned().into(), data: data.to_owned().into() };
            blob.sound(&mut octets, &mut pcm).map(|rate| (rate, pcm))
        };
        assert_eq!(sound("audio/pcm;rate=16000", "AQD/fw=="), Ok((16_000, vec![1, 32_767])));
        assert_eq!(sound("audio/PCM; channels=1; rate=48000", "AQA"), Ok((48_000, vec![1])), "no padding");
        assert_eq!(sound("", "AQA="), Ok((24_000, vec![1])));
        assert_eq!(sound("audio/pcm", "AQAC"), Ok((24_000, vec![1])), "half a sample is none");
        assert_eq!(sound("audio/pcm", ""), Ok((24_000, vec![])));
        for (mime_type, data, problem) in [
            ("audio/pcm", "A*==", "sound that is no base64"),
            ("audio/pcm", "A", "sound that is no base64"),
            ("audio/opus", "AQA=", "something that is no PCM sound"),
            ("image/png", "AQA=", "something that is no PCM sound"),
            ("audio/pcm;rate=0", "AQA=", "sound of an impossible rate"),
            ("audio/pcm;rate=x", "AQA=", "sound of an impossible rate"),
            ("audio/pcm;rate=4294967295", "AQA=", "sound of an impossible rate"),
        ] {
            assert_eq!(sound(mime_type, data), Err(problem), "{mime_type} {data}");
        }
        let ten_seconds: Vec<u8> = (0..480_000).map(|n| n as u8).collect();
        assert_eq!(sound("audio/pcm", &STANDARD.encode(&ten_seconds)).map(|(_, pcm)| pcm.len()), Ok(240_000));
    }

    #[test]
    fn what_is_broken_is_told_and_what_is_strange_is_passed_over() {
        for (text, problem) in [
            ("", "a message that is no JSON"),
            ("{", "a message that is no JSON"),
            ("\u{0}\u{1}", "a message that is no JSON"),
            ("[]", "a message that has not the form of the protocol"),
            (r#"{"serverContent":7}"#, "a message that has not the form of the protocol"),
            (r#"{"serverContent":{"modelTurn":{"parts":{}}}}"#, "a message that has not the form of the protocol"),
            (r#"{"toolCall":{"functionCalls":[{"name":1}]}}"#, "a message that has not the form of the protocol"),
        ] {
            assert_eq!(read(text.as_bytes()).err(), Some(problem), "{text}");
        }
        assert_eq!(read(&[0xFF, 0xFE]).err(), Some("a message that is no JSON"));
        for fine in ["{}", r#"{"serverContent":null}"#, r#"{"serverContent":{"modelTurn":{"parts":null}}}"#] {
            assert!(read(fine.as_bytes()).is_ok(), "{fine}");
        }
        for (text, left) in [("3s", 3_000), ("0.5s", 500), ("-1s", 0), ("x", 0), ("1e99s", 86_400_000), ("NaNs", 0)] {
            let left = Duration::from_millis(left);
            assert_eq!(GoAway { time_left: Some(text.into()) }.left(), left, "{text}");
        }
    }
}
