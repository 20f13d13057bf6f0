//! Messages of a media stream, written and read. No state but the counters.
//!
//! | | Twilio | Telnyx | Plivo |
//! |---|---|---|---|
//! | first | `connected`, `start` | the same | `start` |
//! | counters | strings | strings | numbers |
//! | the stream | `streamSid`, `MZ` and 32 hex digits | `stream_id`, a UUID | `streamId`, a UUID |
//! | the call | `callSid`, `CA` and 32 hex digits | `call_control_id`, a UUID | `callId`, a UUID |
//! | speech of the bot | `media` | `media` | `playAudio` |
//! | what waits is thrown away | `clear`: marks come back | the same | `clearAudio`: `clearedAudio` comes back, marks do not |
//! | was it played? | `mark`, echoed | the same | `checkpoint`, answered with `playedStream` |
//! | keys of the bot | – | – | `sendDTMF` |
//!
//! Documented in <https://www.twilio.com/docs/voice/media-streams/websocket-messages>,
//! <https://developers.telnyx.com/api-reference/websockets/stream-call-media-over-websocket> and
//! <https://www.plivo.com/docs/voice/audio-streaming/audio-streaming>.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::config::MediaStreamDialect::{self, Plivo, Telnyx, Twilio};

/// Names of one stream.
#[derive(Debug, Clone)]
pub(super) struct Names {
    pub(super) stream: String,
    pub(super) account: String,
    pub(super) call: String,
}

impl Names {
    /// `call`: how the box itself calls it, so that whoever was told a name can be understood later.
    pub(super) fn new(dialect: MediaStreamDialect, account: Option<&str>, call: Uuid, random: [[u8; 16]; 2]) -> Names {
        let [stream, other] = random.map(Uuid::from_bytes);
        let account = account.map_or_else(|| format!("AC{}", other.simple()), str::to_owned);
        match dialect {
            Twilio => Names { stream: format!("MZ{}", stream.simple()), account, call: format!("CA{}", call.simple()) },
            Telnyx | Plivo => Names { stream: stream.to_string(), account, call: call.to_string() },
        }
    }
}

/// Messages to the bot.
#[derive(Debug)]
pub(super) struct Codec {
    dialect: MediaStreamDialect,
    names: Names,
    sequence: u64,
    chunk: u64,
    /// When the stream began.
    begun: Option<Instant>,
}

/// What the bot says.
#[derive(Debug, PartialEq)]
pub(super) enum Said {
    /// µ-law octets.
    Media(Vec<u8>),
    /// Linear samples, little end first, 8,000 or 16,000 Hz.
    Linear(Vec<u8>, u32),
    Mark(String),
    Clear,
    /// Keys for the caller's side.
    Keys(String),
    /// Of another stream, or nothing that is known.
    Nothing,
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow, default, alias = "streamSid", alias = "stream_id", alias = "streamId")]
    stream: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    media: Option<WireMedia<'a>>,
    #[serde(borrow, default)]
    mark: Option<WireMark<'a>>,
    /// Of a checkpoint.
    #[serde(default)]
    name: Option<Value>,
    /// Keys; of whatever type in messages that nobody reads.
    #[serde(default)]
    dtmf: Option<Value>,
}

#[derive(Deserialize)]
struct WireMedia<'a> {
    #[serde(borrow)]
    payload: Cow<'a, str>,
    #[serde(borrow, default, rename = "contentType")]
    kind: Option<Cow<'a, str>>,
    #[serde(default, rename = "sampleRate")]
    rate: Option<u32>,
}

#[derive(Deserialize)]
struct WireMark<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
}

impl Codec {
    pub(super) fn new(dialect: MediaStreamDialect, names: Names) -> Codec {
        Codec { dialect, names, sequence: 0, chunk: 0, begun: None }
    }

    /// `{"event":…` with counter and stream, and what `more` appends, a `}` at the end.
    fn write(&mut self, event: &str, out: &mut Vec<u8>, more: impl FnOnce(&mut Vec<u8>)) {
        self.sequence += 1;
        let (before, between): (&[u8], &[u8]) = match self.dialect {
            Twilio => (b"\",\"sequenceNumber\":\"", b"\",\"streamSid\":\""),
            Telnyx => (b"\",\"sequence_number\":\"", b"\",\"stream_id\":\""),
            Plivo => (b"\",\"sequenceNumber\":", b",\"streamId\":\""),
        };
        out.extend_from_slice(b"{\"event\":\"");
        out.extend_from_slice(event.as_bytes());
        out.extend_from_slice(before);
        decimal(self.sequence, out);
        out.extend_from_slice(between);
        out.extend_from_slice(self.names.stream.as_bytes());
        out.push(b'"');
        more(out);
        out.push(b'}');
    }

    /// The same with one member more.
    fn write_with(&mut self, event: &str, name: &str, value: &Value, out: &mut Vec<u8>) {
        self.write(event, out, |out| out.extend_from_slice(format!(",\"{name}\":{value}").as_bytes()));
    }

    /// Whether something comes before the start.
    pub(super) fn introduces_itself(&self) -> bool {
        self.dialect != Plivo
    }

    pub(super) fn connected(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(match self.dialect {
            Twilio => br#"{"event":"connected","protocol":"Call","version":"1.0.0"}"#,
            Telnyx | Plivo => br#"{"event":"connected","version":"1.0.0"}"#,
        });
    }

    /// `about`: names and values that the bot is told.
    pub(super) fn start(&mut self, about: &[(String, String)], now: Instant, out: &mut Vec<u8>) {
        self.begun = Some(now);
        let Names { stream, account, call } = &self.names;
        let parameters: Map<String, Value> =
            about.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
        let of = |name: &str| parameters.get(name).cloned().unwrap_or_default();
        let start = match self.dialect {
            Twilio => json!({
                "accountSid": account,
                "streamSid": stream,
                "callSid": call,
                "tracks": ["inbound"],
                "customParameters": parameters,
                "mediaFormat": { "encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1 },
            }),
            Telnyx => json!({
                "user_id": account,
                "call_control_id": call,
                "call_session_id": call,
                "from": of("from_number"),
                "to": of("to_number"),
                "custom_parameters": parameters,
                "media_format": { "encoding": "PCMU", "sample_rate": 8000, "channels": 1 },
            }),
            Plivo => json!({
                "callId": call,
                "streamId": stream,
                "accountId": account,
                "tracks": ["inbound"],
                "mediaFormat": { "encoding": "audio/x-mulaw", "sampleRate": 8000 },
            }),
        };
        if self.dialect != Plivo {
            return self.write_with("start", "start", &start, out);
        }
        let headers: Vec<String> = about.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let headers = Value::from(headers.join(";"));
        self.write("start", out, |out| {
            out.extend_from_slice(format!(",\"start\":{start},\"extra_headers\":{headers}").as_bytes());
        });
    }

    /// Speech of 20 ms as a rule; written without a copy in between.
    pub(super) fn media(&mut self, octets: &[u8], at: Instant, out: &mut Vec<u8>) {
        self.chunk += 1;
        let chunk = self.chunk;
        let since = self.begun.map_or(Duration::ZERO, |begun| at.saturating_duration_since(begun));
        let (before, between): (&[u8], &[u8]) = match self.dialect {
            Twilio | Telnyx => (b",\"media\":{\"track\":\"inbound\",\"chunk\":\"", b"\",\"timestamp\":\""),
            Plivo => (b",\"media\":{\"track\":\"inbound\",\"chunk\":", b",\"timestamp\":\""),
        };
        self.write("media", out, |out| {
            out.extend_from_slice(before);
            decimal(chunk, out);
            out.extend_from_slice(between);
            decimal(since.as_millis() as u64, out);
            out.extend_from_slice(b"\",\"payload\":\"");
            let start = out.len();
            out.resize(start + octets.len().div_ceil(3) * 4, 0);
            // There is room for it.
            let _ = STANDARD.encode_slice(octets, &mut out[start..]);
            out.extend_from_slice(b"\"}");
        });
    }

    pub(super) fn key(&mut self, key: char, out: &mut Vec<u8>) {
        let digit = key.to_string();
        let key = match self.dialect {
            Twilio => json!({ "track": "inbound_track", "digit": digit }),
            Telnyx => json!({ "digit": digit }),
            Plivo => json!({ "track": "inbound", "digit": digit }),
        };
        self.write_with("dtmf", "dtmf", &key, out);
    }

    /// Everything before the mark was played.
    pub(super) fn mark(&mut self, name: &str, out: &mut Vec<u8>) {
        match self.dialect {
            Twilio | Telnyx => self.write_with("mark", "mark", &json!({ "name": name }), out),
            Plivo => self.write_with("playedStream", "name", &name.into(), out),
        }
    }

    /// Whether marks come back when what is before them was thrown away.
    pub(super) fn returns_marks(&self) -> bool {
        self.dialect != Plivo
    }

    /// Everything was thrown away; where marks do not say so.
    pub(super) fn cleared(&mut self, out: &mut Vec<u8>) {
        self.write("clearedAudio", out, |_| {});
    }

    pub(super) fn stop(&mut self, out: &mut Vec<u8>) {
        let Names { account, call, .. } = &self.names;
        let stop = match self.dialect {
            Twilio => json!({ "accountSid": account, "callSid": call }),
            Telnyx => json!({ "user_id": account, "call_control_id": call }),
            Plivo => json!({ "accountId": account, "callId": call }),
        };
        self.write_with("stop", "stop", &stop, out);
    }

    /// Reads a message of the bot; `buffer` is what speech is put into.
    pub(super) fn read(&self, text: &str, buffer: Vec<u8>) -> Result<Said, &'static str> {
        let wire: Wire<'_> = serde_json::from_str(text).map_err(|_| "no JSON object with an event")?;
        if wire.stream.is_some_and(|stream| stream != self.names.stream.as_str()) {
            return Ok(Said::Nothing);
        }
        let Wire { event, media, mark, name, dtmf, .. } = wire;
        if self.dialect == Plivo {
            let text = |value: Option<Value>| value.as_ref().and_then(Value::as_str).map(str::to_owned);
            return match (event.as_ref(), media, text(name), text(dtmf)) {
                ("playAudio", Some(media), ..) => speech(&media, buffer),
                ("playAudio", None, ..) => Err("a playAudio without media"),
                ("checkpoint", _, Some(name), _) => Ok(Said::Mark(name)),
                ("checkpoint", _, None, _) => Err("a checkpoint without a name"),
                ("clearAudio", ..) => Ok(Said::Clear),
                ("sendDTMF", _, _, Some(keys)) => Ok(Said::Keys(keys)),
                ("sendDTMF", _, _, None) => Err("a sendDTMF without keys"),
                _ => Ok(Said::Nothing),
            };
        }
        match (event.as_ref(), media, mark) {
            ("media", Some(media), _) => Ok(Said::Media(decode(&media.payload, buffer)?)),
            ("media", None, _) => Err("a media event without media"),
            ("mark", _, Some(mark)) => Ok(Said::Mark(mark.name.into_owned())),
            ("mark", _, None) => Err("a mark without a name"),
            ("clear", ..) => Ok(Said::Clear),
            _ => Ok(Said::Nothing),
        }
    }
}

/// Speech that says itself what it is.
fn speech(media: &WireMedia<'_>, buffer: Vec<u8>) -> Result<Said, &'static str> {
    let kind = media.kind.as_deref().unwrap_or("audio/x-mulaw");
    match (kind, media.rate.unwrap_or(8_000)) {
        ("audio/x-mulaw", 8_000) => Ok(Said::Media(decode(&media.payload, buffer)?)),
        ("audio/x-l16", rate @ (8_000 | 16_000)) => Ok(Said::Linear(decode(&media.payload, buffer)?, rate)),
        _ => Err("speech that is neither µ-law at 8,000 Hz nor linear at 8,000 or 16,000 Hz"),
    }
}

fn decode(payload: &str, mut buffer: Vec<u8>) -> Result<Vec<u8>, &'static str> {
    buffer.clear();
    STANDARD.decode_vec(payload.as_bytes(), &mut buffer).map_err(|_| "a payload that is no base64")?;
    Ok(buffer)
}

fn decimal(mut number: u64, out: &mut Vec<u8>) {
    let start = out.len();
    loop {
        out.push(b'0' + (number % 10) as u8);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out[start..].reverse();
}
