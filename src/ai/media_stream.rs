//! The customer's own bot behind a WebSocket, spoken to as Twilio's Media Streams does
//! (<https://www.twilio.com/docs/voice/media-streams/websocket-messages>). No I/O: [`Remote`](super::remote::Remote) carries it.
//!
//! | What comes | What it means |
//! |---|---|
//! | – (the connection stands) | `connected`, `start` |
//! | a frame of the caller | `media` with its µ-law octets |
//! | a key | `dtmf` |
//! | `media` of the bot | speech; everything between two marks is one item |
//! | `mark` of the bot | comes back once everything before it was played, or thrown away |
//! | `clear` of the bot | what waits is thrown away; all marks that wait come back at once |
//! | the bot closes | the session is over |
//! | end of the call | `stop`, then Close |

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::engine::{CallerFrame, Command, Event, Sound, Wants};
use super::remote::{Desk, Dialect, Fate, Line};
use super::socket::{Message, SocketError, Target};
use super::trust;
use crate::config::{MediaStreamConfig, Secret};

/// Marks that may wait; a bot that sets more loses the oldest.
const MARKS: usize = 256;

/// Where the configured bot is.
pub fn target(config: &MediaStreamConfig) -> Result<Target, String> {
    let url = config.url.parse().map_err(|problem| format!("[engine.media_stream] url {problem}"))?;
    let tls = trust::authorities("engine.media_stream", config.ca.as_deref())?;
    let spoils = |value: &&Secret| value.expose().chars().any(|c| c.is_control() || !c.is_ascii());
    if config.authorization.as_ref().is_some_and(|value| spoils(&value)) {
        return Err("[engine.media_stream] authorization must be one line of ASCII".into());
    }
    let authorization = config.authorization.iter().map(|value| ("Authorization".into(), value.expose().to_owned()));
    Ok(Target { url, fields: authorization.collect(), tls: Arc::new(tls) })
}

/// Messages to the bot.
#[derive(Debug)]
struct Codec {
    stream: String,
    account: String,
    call: String,
    sequence: u64,
    chunk: u64,
    /// When the stream began.
    begun: Option<Instant>,
}

/// What the bot says.
#[derive(Debug, PartialEq)]
enum Said {
    /// µ-law octets.
    Media(Vec<u8>),
    Mark(String),
    Clear,
    /// Of another stream, or nothing that is known.
    Nothing,
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow, default, rename = "streamSid")]
    stream: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    media: Option<WireMedia<'a>>,
    #[serde(borrow, default)]
    mark: Option<WireMark<'a>>,
}

#[derive(Deserialize)]
struct WireMedia<'a> {
    #[serde(borrow)]
    payload: Cow<'a, str>,
}

#[derive(Deserialize)]
struct WireMark<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
}

impl Codec {
    fn new(random: [[u8; 16]; 3]) -> Codec {
        let [stream, account, call] = random.map(|bytes| uuid::Uuid::from_bytes(bytes).simple().to_string());
        Codec {
            stream: format!("MZ{stream}"),
            account: format!("AC{account}"),
            call: format!("CA{call}"),
            sequence: 0,
            chunk: 0,
            begun: None,
        }
    }

    /// `{"event":…,"sequenceNumber":…,"streamSid":…` and what `more` appends, a `}` at the end.
    fn write(&mut self, event: &str, out: &mut Vec<u8>, more: impl FnOnce(&mut Vec<u8>)) {
        self.sequence += 1;
        out.extend_from_slice(b"{\"event\":\"");
        out.extend_from_slice(event.as_bytes());
        out.extend_from_slice(b"\",\"sequenceNumber\":\"");
        decimal(self.sequence, out);
        out.extend_from_slice(b"\",\"streamSid\":\"");
        out.extend_from_slice(self.stream.as_bytes());
        out.extend_from_slice(b"\",");
        more(out);
        out.push(b'}');
    }

    /// `about`: names and values of `customParameters`.
    fn start(&mut self, about: &[(String, String)], now: Instant, out: &mut Vec<u8>) {
        self.begun = Some(now);
        let parameters: serde_json::Map<String, serde_json::Value> =
            about.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
        let start = serde_json::json!({
            "accountSid": self.account,
            "streamSid": self.stream,
            "callSid": self.call,
            "tracks": ["inbound"],
            "customParameters": parameters,
            "mediaFormat": { "encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1 },
        });
        self.write("start", out, |out| out.extend_from_slice(format!("\"start\":{start}").as_bytes()));
    }

    /// `media` of 20 ms as a rule; written without a copy in between.
    fn media(&mut self, octets: &[u8], at: Instant, out: &mut Vec<u8>) {
        self.chunk += 1;
        let chunk = self.chunk;
        let since = self.begun.map_or(Duration::ZERO, |begun| at.saturating_duration_since(begun));
        self.write("media", out, |out| {
            out.extend_from_slice(b"\"media\":{\"track\":\"inbound\",\"chunk\":\"");
            decimal(chunk, out);
            out.extend_from_slice(b"\",\"timestamp\":\"");
            decimal(since.as_millis() as u64, out);
            out.extend_from_slice(b"\",\"payload\":\"");
            let start = out.len();
            out.resize(start + octets.len().div_ceil(3) * 4, 0);
            // There is room for it.
            let _ = STANDARD.encode_slice(octets, &mut out[start..]);
            out.extend_from_slice(b"\"}");
        });
    }

    fn key(&mut self, key: char, out: &mut Vec<u8>) {
        self.write("dtmf", out, |out| {
            out.extend_from_slice(format!("\"dtmf\":{{\"track\":\"inbound_track\",\"digit\":\"{key}\"}}").as_bytes());
        });
    }

    fn mark(&mut self, name: &str, out: &mut Vec<u8>) {
        let mark = serde_json::json!({ "name": name });
        self.write("mark", out, |out| out.extend_from_slice(format!("\"mark\":{mark}").as_bytes()));
    }

    fn stop(&mut self, out: &mut Vec<u8>) {
        let stop = serde_json::json!({ "accountSid": self.account, "callSid": self.call });
        self.write("stop", out, |out| out.extend_from_slice(format!("\"stop\":{stop}").as_bytes()));
    }

    /// Reads a message of the bot; `buffer` is what speech is put into.
    fn read(&self, text: &str, mut buffer: Vec<u8>) -> Result<Said, &'static str> {
        let wire: Wire<'_> = serde_json::from_str(text).map_err(|_| "no JSON object with an event")?;
        if wire.stream.is_some_and(|stream| stream != self.stream.as_str()) {
            return Ok(Said::Nothing);
        }
        Ok(match (wire.event.as_ref(), wire.media, wire.mark) {
            ("media", Some(media), _) => {
                buffer.clear();
                STANDARD
                    .decode_vec(media.payload.as_bytes(), &mut buffer)
                    .map_err(|_| "a payload that is no base64")?;
                Said::Media(buffer)
            }
            ("media", None, _) => return Err("a media event without media"),
            ("mark", _, Some(mark)) => Said::Mark(mark.name.into_owned()),
            ("mark", _, None) => return Err("a mark without a name"),
            ("clear", ..) => Said::Clear,
            _ => Said::Nothing,
        })
    }
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

/// A conversation with a bot, but for the connection.
#[derive(Debug)]
pub struct MediaStream {
    codec: Codec,
    /// Told at the start of the stream.
    about: Vec<(String, String)>,
    open: bool,
    /// The item that speech of the bot belongs to.
    item: u64,
    /// Marks that wait for their item to be played.
    marks: VecDeque<(u64, String)>,
    /// A message of the bot that could not be read was told.
    told: bool,
}

impl MediaStream {
    pub fn new(about: Vec<(String, String)>) -> MediaStream {
        MediaStream::with(Codec::new([rand::random(), rand::random(), rand::random()]), about)
    }

    fn with(codec: Codec, about: Vec<(String, String)>) -> MediaStream {
        MediaStream { codec, about, open: false, item: 1, marks: VecDeque::new(), told: false }
    }

    fn take(&mut self, said: Said, desk: &mut Desk) {
        match said {
            Said::Media(octets) => desk.speech(self.item, Sound::Ulaw(octets)),
            Said::Mark(name) => {
                if self.marks.len() >= MARKS {
                    self.marks.pop_front();
                }
                self.marks.push_back((self.item, name));
                desk.event(Event::AudioEnd { item: self.item });
                self.item += 1;
            }
            Said::Clear => {
                desk.event(Event::SpeechStarted { at: desk.now });
                self.played(u64::MAX, desk);
                self.item += 1;
            }
            Said::Nothing => {}
        }
    }

    /// Everything up to `item` was played or thrown away: its marks go back to the bot.
    fn played(&mut self, item: u64, desk: &mut Desk) {
        while let Some((_, name)) = self.marks.pop_front_if(|(of, _)| *of <= item) {
            desk.send(Line::Live, |out| self.codec.mark(&name, out));
        }
    }
}

impl Dialect for MediaStream {
    fn wants(&self) -> Wants {
        Wants::Ulaw
    }

    fn opened(&mut self, line: Line, desk: &mut Desk) {
        self.open = true;
        desk.send(line, |out| {
            out.extend_from_slice(br#"{"event":"connected","protocol":"Call","version":"1.0.0"}"#);
        });
        let (about, now) = (std::mem::take(&mut self.about), desk.now);
        desk.send(line, |out| self.codec.start(&about, now, out));
        desk.event(Event::Ready);
    }

    fn read(&mut self, _line: Line, message: Message<'_>, desk: &mut Desk) {
        let Message::Text(text) = message else { return };
        match self.codec.read(text, desk.octets()) {
            Ok(said) => self.take(said, desk),
            Err(problem) if !std::mem::replace(&mut self.told, true) => tracing::warn!("the bot sent {problem}"),
            Err(_) => {}
        }
    }

    fn is_ready(&self) -> bool {
        self.open
    }

    fn speech(&mut self, heard: CallerFrame<'_>, at: Instant, out: &mut Vec<u8>) {
        if let CallerFrame::Ulaw(octets) = heard {
            self.codec.media(octets, at, out);
        }
    }

    fn command(&mut self, command: Command, desk: &mut Desk) {
        match command {
            Command::Key(key) => desk.send(Line::Live, |out| self.codec.key(key, out)),
            Command::Played { item } | Command::Truncate { item, .. } => self.played(item, desk),
            _ => {}
        }
    }

    fn stop(&mut self, desk: &mut Desk) {
        if self.open {
            desk.send(Line::Live, |out| self.codec.stop(out));
        }
    }

    fn ended(&mut self, error: &SocketError, _desk: &mut Desk) -> Fate {
        // A bot that hangs up says so by closing.
        let farewell = matches!(error, SocketError::Closed(1000 | 1001 | 1005, _));
        Fate::Over((!farewell).then(|| error.to_string()))
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;
    use crate::ai::engine::Audio;
    use crate::ai::remote::Order;

    fn codec() -> Codec {
        Codec::new([[1; 16], [2; 16], [3; 16]])
    }

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> serde_json::Value {
        let mut out = b"before".to_vec();
        write(&mut out);
        serde_json::from_slice(&out[6..]).expect("JSON")
    }

    #[test]
    fn the_stream_begins_and_goes_on_as_the_service_describes_it() {
        let (mut codec, now) = (codec(), Instant::now());
        let stream = format!("MZ{}", "01".repeat(16));
        let about = [("phone".to_owned(), "+49 \"30\"".to_owned())];
        assert_eq!(
            written(|out| codec.start(&about, now, out)),
            serde_json::json!({"event": "start", "sequenceNumber": "1", "streamSid": stream, "start": {
                "accountSid": format!("AC{}", "02".repeat(16)), "streamSid": stream,
                "callSid": format!("CA{}", "03".repeat(16)), "tracks": ["inbound"],
                "customParameters": {"phone": "+49 \"30\""},
                "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}}})
        );
        let octets: Vec<u8> = (0..160).collect();
        assert_eq!(
            written(|out| codec.media(&octets, now + Duration::from_millis(1_234), out)),
            serde_json::json!({"event": "media", "sequenceNumber": "2", "streamSid": stream, "media": {
                "track": "inbound", "chunk": "1", "timestamp": "1234", "payload": STANDARD.encode(&octets)}})
        );
        let media = written(|out| codec.media(&[0xFF; 7], now, out));
        assert_eq!((&media["media"]["chunk"], &media["media"]["payload"]), (&"2".into(), &"/////////w==".into()));
        assert_eq!(
            written(|out| codec.key('#', out))["dtmf"],
            serde_json::json!({"track": "inbound_track", "digit": "#"})
        );
        assert_eq!(written(|out| codec.mark("a\"b", out))["mark"], serde_json::json!({"name": "a\"b"}));
        let stop = written(|out| codec.stop(out));
        assert_eq!((&stop["event"], &stop["sequenceNumber"]), (&"stop".into(), &"6".into()));
        assert_eq!(stop["stop"]["callSid"], format!("CA{}", "03".repeat(16)));
    }

    #[test]
    fn what_the_bot_says_is_read_and_what_is_broken_is_named() {
        let codec = codec();
        let read = |text: &str| codec.read(text, vec![9; 3]);
        assert_eq!(read(r#"{"event":"media","media":{"payload":"AAEC/w=="}}"#), Ok(Said::Media(vec![0, 1, 2, 255])));
        assert_eq!(read(r#"{"media":{"payload":"AA\u003d=","x":[1,{}]},"event":"media"}"#), Ok(Said::Media(vec![0])));
        assert_eq!(read(r#"{"event":"mark","mark":{"name":"a\"b"}}"#), Ok(Said::Mark("a\"b".into())));
        let here = format!(r#"{{"event":"clear","streamSid":"MZ{}"}}"#, "01".repeat(16));
        assert_eq!(read(&here), Ok(Said::Clear));
        for nothing in [r#"{"event":"clear","streamSid":"MZ1"}"#, r#"{"event":"new"}"#] {
            assert_eq!(read(nothing), Ok(Said::Nothing), "{nothing}");
        }
        for broken in [
            "",
            "[]",
            "{}",
            r#"{"event":1}"#,
            r#"{"event":"media"}"#,
            r#"{"event":"mark"}"#,
            r#"{"event":"media","media":{"payload":"A"}}"#,
        ] {
            assert!(read(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn a_mark_comes_back_when_what_was_before_it_is_over_and_a_clear_brings_all_back() {
        let (mut stream, mut desk) = (MediaStream::with(codec(), Vec::new()), Desk::new(Instant::now()));
        let media = r#"{"event":"media","media":{"payload":"/////w=="}}"#;
        let mark = |name: &str| format!(r#"{{"event":"mark","mark":{{"name":"{name}"}}}}"#);
        for text in [media, &mark("one"), media, media, &mark("two"), &mark("three"), media] {
            stream.read(Line::Live, Message::Text(text), &mut desk);
        }
        let items: Vec<u64> = std::iter::from_fn(|| desk.take_event())
            .filter_map(|event| match event {
                Event::Audio(audio) => Some(audio.item),
                Event::AudioEnd { item } => Some(100 + item),
                _ => None,
            })
            .collect();
        assert_eq!(items, [1, 101, 2, 2, 102, 103, 4]);
        let returned = |desk: &mut Desk| {
            let mut names = Vec::new();
            desk.orders(|order| match order {
                Order::Send(Line::Live, text) => {
                    let text: serde_json::Value = serde_json::from_slice(text).expect("JSON");
                    names.push(text["mark"]["name"].as_str().expect("a name").to_owned());
                }
                other => panic!("{other:?}"),
            });
            names
        };
        stream.command(Command::Played { item: 1 }, &mut desk);
        assert_eq!(returned(&mut desk), ["one"]);
        stream.read(Line::Live, Message::Text(r#"{"event":"clear"}"#), &mut desk);
        assert_eq!(returned(&mut desk), ["two", "three"]);
        assert!(matches!(desk.take_event(), Some(Event::SpeechStarted { .. })));
        stream.read(Line::Live, Message::Text(media), &mut desk);
        assert!(matches!(desk.take_event(), Some(Event::Audio(Audio { item: 5, .. }))), "a new item");
    }
}
