//! The customer's own bot behind a WebSocket, spoken to as Twilio's Media Streams does, or as Telnyx or Plivo do.
//! No I/O: [`Remote`](super::remote::Remote) carries it; [`codec`] knows the messages.
//!
//! | What comes | What it means |
//! |---|---|
//! | – (the connection stands) | `connected`, `start` |
//! | a frame of the caller | `media` with its µ-law octets |
//! | a key | `dtmf` |
//! | `media` of the bot | speech; everything between two marks is one item |
//! | `mark` of the bot | comes back once everything before it was played, or thrown away |
//! | `clear` of the bot | what waits is thrown away; all marks that wait come back at once |
//! | the bot closes | the person of the number, where that is wanted; the session is over |
//! | end of the call | `stop`, then Close |

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use uuid::Uuid;

use self::codec::{Codec, Names, Said};
use super::engine::{CallerFrame, Command, Event, Person, SessionOptions, Sound, Wants};
use super::remote::{Desk, Dialect, Fate, Line};
use super::socket::{Message, SocketError, Target, Url};
use super::{tools, trust};
use crate::config::{MediaStreamConfig, MediaStreamDialect, OnEnd, Secret};

mod codec;
#[cfg(test)]
mod tests;

/// Marks that may wait; a bot that sets more loses the oldest.
const MARKS: usize = 256;
/// What a person hears of a caller whose bot has closed.
const WHISPER: &str = "A caller is waiting for you.";

/// The configured bot.
#[derive(Clone)]
pub struct Service {
    pub target: Target,
    dialect: MediaStreamDialect,
    account: Option<String>,
    on_end: OnEnd,
}

impl Service {
    /// The error is the operator's sentence.
    pub fn new(config: &MediaStreamConfig) -> Result<Service, String> {
        let url: Url = config.url.parse().map_err(|problem| format!("[engine.media_stream] url {problem}"))?;
        let tls = trust::authorities("engine.media_stream", config.ca.as_deref())?;
        let spoils = |value: &&Secret| value.expose().chars().any(|c| c.is_control() || !c.is_ascii());
        if config.authorization.as_ref().is_some_and(|value| spoils(&value)) {
            return Err("[engine.media_stream] authorization must be one line of ASCII".into());
        }
        let authorization = config.authorization.iter().map(|value| ("Authorization", value.expose().to_owned()));
        let token = config.auth_token.as_ref().filter(|_| config.dialect == MediaStreamDialect::Twilio);
        let signature = token.map(|token| ("X-Twilio-Signature", sign(token, &url)));
        let fields = authorization.chain(signature).map(|(name, value)| (name.to_owned(), value)).collect();
        Ok(Service {
            target: Target { url, fields, tls: Arc::new(tls) },
            dialect: config.dialect,
            account: config.account_sid.clone(),
            on_end: config.on_end,
        })
    }
}

/// What proves to the bot that whoever holds `token` connects: of the URL as the bot sees it
/// (<https://www.twilio.com/docs/usage/security#validating-requests>).
fn sign(token: &Secret, url: &Url) -> String {
    let scheme = if url.secure { "wss" } else { "ws" };
    let text = format!("{scheme}://{}{}", url.authority(), url.path);
    // An HMAC takes keys of any length.
    let mac = Hmac::<Sha1>::new_from_slice(token.expose().as_bytes());
    mac.map(|mac| STANDARD.encode(mac.chain_update(text).finalize().into_bytes())).unwrap_or_default()
}

/// A conversation with a bot, but for the connection.
#[derive(Debug)]
pub struct MediaStream {
    codec: Codec,
    /// Told at the start of the stream.
    about: Vec<(String, String)>,
    /// Who gets the caller when the bot has closed.
    person: Option<Person>,
    open: bool,
    /// The item that speech of the bot belongs to.
    item: u64,
    /// Marks that wait for their item to be played.
    marks: VecDeque<(u64, String)>,
    /// A message of the bot that could not be read was told.
    told: bool,
}

impl MediaStream {
    pub fn new(service: &Service, options: SessionOptions) -> MediaStream {
        let call = options.call.unwrap_or_else(|| Uuid::from_bytes(rand::random()));
        let random = [rand::random(), rand::random()];
        let names = Names::new(service.dialect, service.account.as_deref(), call, random);
        let person = options.person.filter(|_| service.on_end == OnEnd::Transfer);
        MediaStream::with(Codec::new(service.dialect, names), options.about, person)
    }

    /// With a bot that was configured but cannot be connected to.
    pub fn nobody() -> MediaStream {
        let dialect = MediaStreamDialect::default();
        let names = Names::new(dialect, None, Uuid::nil(), [[0; 16]; 2]);
        MediaStream::with(Codec::new(dialect, names), Vec::new(), None)
    }

    fn with(codec: Codec, about: Vec<(String, String)>, person: Option<Person>) -> MediaStream {
        MediaStream { codec, about, person, open: false, item: 1, marks: VecDeque::new(), told: false }
    }

    fn take(&mut self, said: Said, desk: &mut Desk) {
        match said {
            Said::Media(octets) => desk.speech(self.item, Sound::Ulaw(octets)),
            Said::Linear(octets, rate) => {
                let mut pcm = desk.samples();
                pcm.extend(octets.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])));
                desk.keep(Sound::Ulaw(octets));
                desk.speech(self.item, Sound::Linear { pcm, rate });
            }
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
                if self.codec.returns_marks() {
                    self.played(u64::MAX, desk);
                } else {
                    self.marks.clear();
                    desk.send(Line::Live, |out| self.codec.cleared(out));
                }
                self.item += 1;
            }
            Said::Keys(keys) => desk.event(Event::ToolCall {
                id: String::new(),
                name: tools::SEND_DTMF.into(),
                arguments: serde_json::json!({ "keys": keys }),
            }),
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
        if self.codec.introduces_itself() {
            desk.send(line, |out| self.codec.connected(out));
        }
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
            Command::Played { item } => self.played(item, desk),
            // Thrown away: what that means for marks was said with the order to.
            Command::Truncate { item, .. } if self.codec.returns_marks() => self.played(item, desk),
            _ => {}
        }
    }

    fn stop(&mut self, desk: &mut Desk) {
        if self.open {
            desk.send(Line::Live, |out| self.codec.stop(out));
        }
    }

    fn ended(&mut self, error: &SocketError, desk: &mut Desk) -> Fate {
        // A bot that hangs up says so by closing.
        let farewell = matches!(error, SocketError::Closed(1000 | 1001 | 1005, _));
        if farewell && let Some(Person { destination, whisper }) = self.person.take() {
            let whisper = whisper.then(|| WHISPER.to_owned());
            desk.event(Event::TransferRequested { destination, whisper });
        }
        Fate::Over((!farewell).then(|| error.to_string()))
    }
}
