//! The internal model: what every service is reduced to.

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use uuid::Uuid;

use super::echo::EchoSession;
use super::gemini::{self, Gemini};
use super::local::{ChatClient, LocalSession, Parts};
use super::media_stream::{self, MediaStream};
use super::openai::{self, OpenAi};
use super::openai_live::{self, OpenAiLive};
use super::remote::Remote;
use super::tools::Tool;
use crate::clock::Clock;
use crate::config::{EngineConfig, EngineKind, Secret};
use crate::speech::Speech;

/// One conversation with a service. Lives on a media thread.
pub trait Session {
    /// The form in which it wants to hear the caller.
    fn wants(&self) -> Wants {
        Wants::Linear
    }

    /// Whether it takes frames as they come off the network: a service elsewhere, that has an idea of its own of pauses and
    /// sends answers faster than they are played. Otherwise they come at the pace of the sound.
    fn is_prompt(&self) -> bool {
        false
    }

    /// A frame of the caller in that form, 20 ms as a rule. Never blocks.
    fn hear(&mut self, heard: CallerFrame<'_>, at: Instant);

    fn command(&mut self, command: Command);

    /// The next thing that the service says. After [`Event::Ended`] it is not polled again.
    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Event>;

    /// Says a sentence in its own voice, and nothing else; `false` when it cannot, or not now.
    fn say(&mut self, _text: &str) -> bool {
        false
    }

    /// Takes back sound of [`Event::Audio`] that has been used, so that the next needs no memory.
    fn recycle(&mut self, _sound: Sound) {}
}

/// How a service wants to hear the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// Linear samples at the rate that the phone has, 8,000 or 16,000 Hz.
    Linear,
    /// Linear samples at this rate: 8,000, 16,000, 24,000 or 48,000 Hz.
    LinearAt(u32),
    /// G.711 µ-law at 8,000 Hz; what the phone sends so goes through as it is.
    Ulaw,
    /// The same in A-law.
    Alaw,
}

/// What was heard of the caller.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CallerFrame<'a> {
    Linear {
        pcm: &'a [i16],
        rate: u32,
    },
    /// An octet a sample, 8,000 Hz.
    Ulaw(&'a [u8]),
    Alaw(&'a [u8]),
}

impl CallerFrame<'_> {
    /// Whether it has the form that a service wants.
    pub fn is(&self, wants: Wants) -> bool {
        match (self, wants) {
            (CallerFrame::Linear { .. }, Wants::Linear)
            | (CallerFrame::Ulaw(_), Wants::Ulaw)
            | (CallerFrame::Alaw(_), Wants::Alaw) => true,
            (CallerFrame::Linear { rate, .. }, Wants::LinearAt(wanted)) => *rate == wanted,
            _ => false,
        }
    }
}

/// What the call tells the service.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// The phone was answered: speak first.
    Greet,
    /// A key of the phone.
    Key(char),
    /// Text put into the conversation as if the caller had said it.
    Text(String),
    ToolResult {
        id: String,
        output: serde_json::Value,
    },
    UpdateInstructions(String),
    /// The box's own ears noticed that the caller began to speak, with the first sound at `at`, or stopped, with the last one.
    CallerBegan {
        at: Instant,
    },
    CallerStopped {
        at: Instant,
    },
    /// The caller interrupted: of `item`, only `played` was heard.
    Truncate {
        item: u64,
        played: Duration,
    },
    /// Everything of `item` has gone out on the wire.
    Played {
        item: u64,
    },
    /// The far end put the call on hold (true) or took it back: on hold nobody listens, nobody will answer, and no
    /// frames are heard; a silence is then no sign of an empty room.
    Hold(bool),
    /// The caller is being connected to a person: be silent; nobody listens until [`Command::TransferFailed`].
    TransferBegun,
    /// Nobody came, and the caller is back. `outcome` in a word: `busy`, `no-answer`, …
    TransferFailed {
        outcome: String,
    },
    /// Say goodbye if the service can, and end ([`Event::Ended`]).
    Stop,
}

/// What the service tells the call.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The session is set up; audio and commands are understood from now on (earlier ones are kept or dropped).
    Ready,
    /// Speech for the phone; comes faster than real time.
    Audio(Audio),
    /// No more audio for `item`.
    AudioEnd {
        item: u64,
    },
    /// The caller began to speak (`at`: when the first such frame was heard): whatever plays must stop now.
    SpeechStarted {
        at: Instant,
    },
    /// The caller stopped speaking (`at`: end of the last frame with speech).
    SpeechStopped {
        at: Instant,
    },
    /// What the caller said; `last` closes the turn.
    CallerText {
        text: String,
        last: bool,
    },
    /// What the agent says in `item`, in step with or ahead of its audio; `last` closes the item's text.
    AgentText {
        item: u64,
        text: String,
        last: bool,
    },
    /// The service asks for a tool.
    ToolCall {
        id: String,
        name: String,
        arguments: serde_json::Value,
    },
    ToolCancel {
        id: String,
    },
    /// The agent has finished its turn.
    TurnEnd,
    Usage(Usage),
    /// The service will close in so long.
    GoingAway {
        left: Duration,
    },
    /// Once what is queued has been played, the caller is to be connected to a person, who first hears `whisper`.
    TransferRequested {
        destination: String,
        whisper: Option<String>,
    },
    /// The service wants the call to end once what is queued has been played; `outcome` goes into the record.
    HangUp {
        outcome: String,
    },
    /// Something went wrong; the session goes on unless `fatal`.
    Error {
        message: String,
        fatal: bool,
    },
    /// Last event.
    Ended,
}

/// Speech of the agent.
#[derive(Debug, Clone, PartialEq)]
pub struct Audio {
    pub item: u64,
    pub sound: Sound,
}

/// Mono.
#[derive(Debug, Clone, PartialEq)]
pub enum Sound {
    Linear {
        pcm: Vec<i16>,
        rate: u32,
    },
    /// G.711 µ-law, an octet a sample, 8,000 Hz.
    Ulaw(Vec<u8>),
    /// The same in A-law.
    Alaw(Vec<u8>),
}

impl Sound {
    pub fn span(&self) -> Duration {
        match self {
            Sound::Linear { rate: 0, .. } => Duration::ZERO,
            Sound::Linear { pcm, rate } => Duration::from_secs_f64(pcm.len() as f64 / f64::from(*rate)),
            Sound::Ulaw(octets) | Sound::Alaw(octets) => Duration::from_micros(125 * octets.len() as u64),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    pub prompt_tokens: u64,
    pub total_tokens: u64,
}

/// How a conversation is opened.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    pub instructions: String,
    pub voice: String,
    pub language: String,
    pub model: Option<String>,
    /// The caller's own key, when it is not the box's configured one.
    pub key: Option<Secret>,
    /// Speak `instructions` as they are and hang up (numbers of mode `tts`).
    pub speak_only: bool,
    /// The person that a caller may ask for.
    pub person: Option<Person>,
    /// What the agent may ask the call to do beyond what every agent may ([`Event::ToolCall`]).
    pub tools: Vec<Tool>,
    /// What a bot of the customer's may know of the call: names and values.
    pub about: Vec<(String, String)>,
    /// Under which such a bot may ask for something to be done with it.
    pub call: Option<Uuid>,
    /// The agent's first sentence, where it has one.
    pub greeting: Option<String>,
    /// What was said before this session, by the caller and another agent; then [`Command::Greet`] takes the call over.
    pub history: Vec<Spoken>,
}

/// A turn of a conversation that another agent had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spoken {
    pub by: Party,
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Party {
    Caller,
    Agent,
}

impl SessionOptions {
    /// Instructions, and nothing else.
    pub fn new(instructions: String) -> SessionOptions {
        SessionOptions {
            instructions,
            voice: String::new(),
            language: String::new(),
            model: None,
            key: None,
            speak_only: false,
            person: None,
            tools: Vec::new(),
            about: Vec::new(),
            call: None,
            greeting: None,
            history: Vec::new(),
        }
    }

    /// The instructions, and what the agent says first.
    pub fn briefing(&self) -> String {
        match &self.greeting {
            Some(greeting) => {
                format!("{}\n\nThe first thing that you say, word for word: {greeting}", self.instructions)
            }
            None => self.instructions.clone(),
        }
    }

    /// The briefing, and the conversation so far in words: for a brain whose turns are only its own.
    pub fn briefing_with_history(&self) -> String {
        let mut text = self.briefing();
        for (n, spoken) in self.history.iter().enumerate() {
            if n == 0 {
                text.push_str(
                    "\n\nYou take this call over from a colleague. Tell the caller in one short sentence who you are, and go \
                     on. The conversation so far:",
                );
            }
            let who = if spoken.by == Party::Agent { "Colleague" } else { "Caller" };
            text.push_str(&format!("\n{who}: {}", spoken.text));
        }
        text
    }
}

/// Somebody to whom a call can be transferred.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    pub destination: String,
    /// Announce the call before the caller is heard.
    pub whisper: bool,
}

/// Opens sessions; made on the control plane, used once on the media thread.
pub type SessionFactory = Box<dyn FnOnce() -> Box<dyn Session> + Send>;

/// The configured services, with the threads and clients that they share.
#[derive(Clone)]
pub struct Engines {
    kind: EngineKind,
    model: String,
    speech: Speech,
    clock: Clock,
    chat: Option<ChatClient>,
    bot: Option<media_stream::Service>,
    openai: Option<openai::Service>,
    openai_live: Option<openai_live::Service>,
    gemini: Option<gemini::Service>,
}

impl Engines {
    /// Sets up the configured services; `speech` is the local voice. Called on the runtime that HTTP requests shall
    /// run on; outside any runtime, or with a broken URL, there is no chat brain, and the log says so.
    pub fn start(engine: &EngineConfig, speech: Speech, clock: Clock) -> Engines {
        let chat = engine.chat.as_ref().and_then(|chat| {
            let runtime = Handle::try_current().map_err(|error| error.to_string());
            let client = runtime.and_then(|runtime| ChatClient::new(chat, runtime));
            client
                .map_err(|problem| tracing::error!("the chat brain is off, the script speaks instead: {problem}"))
                .ok()
        });
        let bot = engine.media_stream.as_ref().and_then(|bot| {
            media_stream::Service::new(bot)
                .map_err(|problem| tracing::error!("the bot cannot be connected to: {problem}"))
                .ok()
        });
        let openai = engine.openai.as_ref().and_then(|config| {
            openai::Service::new(config)
                .map_err(|problem| tracing::error!("the realtime service cannot be connected to: {problem}"))
                .ok()
        });
        let openai_live = engine.openai_live.as_ref().and_then(|config| {
            openai_live::Service::new(config)
                .map_err(|problem| tracing::error!("OpenAI Live cannot be connected to: {problem}"))
                .ok()
        });
        let gemini = engine.gemini.as_ref().and_then(|gemini| {
            gemini::Service::new(gemini)
                .map_err(|problem| tracing::error!("Gemini cannot be connected to: {problem}"))
                .ok()
        });
        let configured = match engine.kind {
            EngineKind::OpenAi => openai.as_ref().and_then(|service| service.model().map(str::to_owned)),
            EngineKind::OpenAiLive => openai_live.as_ref().map(|service| service.model().to_owned()),
            EngineKind::Gemini => gemini.as_ref().map(|service| service.model(None)),
            EngineKind::Local | EngineKind::Echo | EngineKind::MediaStream => None,
        };
        let model = configured.unwrap_or_else(|| engine.model.clone());
        let engines = Engines { kind: engine.kind, model, speech, clock, chat, bot, openai, openai_live, gemini };
        engines.warn();
        engines
    }

    /// Tells of settings that are known to break the configured service.
    fn warn(&self) {
        if let Some(gemini) = self.gemini.as_ref().filter(|_| self.kind == EngineKind::Gemini) {
            for warning in Gemini::warnings(gemini, &SessionOptions::new(String::new())) {
                tracing::warn!("{warning}");
            }
        }
    }

    /// The configured default model's name for records.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// A factory for one session. Cheap; the session does no work before it is polled.
    pub fn session(&self, options: SessionOptions) -> SessionFactory {
        let engines = self.clone();
        let kind = match engines.kind {
            // A text that is only to be read out needs no conversation.
            EngineKind::Gemini | EngineKind::OpenAi | EngineKind::OpenAiLive if options.speak_only => EngineKind::Local,
            kind => kind,
        };
        Box::new(move || match kind {
            EngineKind::Echo => Box::new(EchoSession::new()),
            EngineKind::MediaStream => engines.bot_session(options),
            EngineKind::OpenAi => engines.openai_session(&options),
            EngineKind::OpenAiLive => engines.live_session(&options),
            EngineKind::Gemini => engines.gemini_session(options),
            EngineKind::Local => {
                let Engines { speech, clock, chat, .. } = engines;
                Box::new(LocalSession::new(Parts { speech, clock, chat }, &options))
            }
        })
    }

    fn bot_session(self, options: SessionOptions) -> Box<dyn Session> {
        let Some(service) = self.bot else { return nobody(self.clock) };
        let target = service.target.clone();
        Box::new(Remote::new(MediaStream::new(&service, options), Some(target), self.clock))
    }

    fn openai_session(self, options: &SessionOptions) -> Box<dyn Session> {
        let Some(service) = self.openai else { return nobody(self.clock) };
        let own = options.model.as_deref().filter(|model| service.model().is_some() && *model != self.model);
        let target = service.target(options.key.as_ref(), own);
        let target = target.map_err(|problem| tracing::error!("the realtime service: {problem}")).ok();
        Box::new(Remote::new(OpenAi::new(service.call(options)), target, self.clock))
    }

    fn live_session(self, options: &SessionOptions) -> Box<dyn Session> {
        let Some(service) = self.openai_live else { return nobody(self.clock) };
        let own = options.model.as_deref().filter(|model| *model != self.model);
        let target = service.target(options.key.as_ref());
        let target = target.map_err(|problem| tracing::error!("OpenAI Live: {problem}")).ok();
        let now = (self.clock.now(), self.clock.utc());
        Box::new(Remote::new(OpenAiLive::new(service.call(options, own), now), target, self.clock))
    }

    fn gemini_session(self, options: SessionOptions) -> Box<dyn Session> {
        let Some(service) = self.gemini else { return nobody(self.clock) };
        let target = service.target(options.key.as_ref()).map_err(|problem| tracing::error!("Gemini: {problem}")).ok();
        Box::new(Remote::new(Gemini::new(service, options), target, self.clock))
    }

    /// A session of the box's own voice, whatever the configured service is, that speaks `text` and ends.
    pub fn announcement(&self, text: String, voice: String, language: String) -> SessionFactory {
        let Engines { speech, clock, .. } = self.clone();
        let options = SessionOptions { voice, language, speak_only: true, ..SessionOptions::new(text) };
        Box::new(move || Box::new(LocalSession::new(Parts { speech, clock, chat: None }, &options)))
    }

    /// Whether the recogniser has a model (the demo says so when not).
    pub fn recognises_speech(&self) -> bool {
        self.speech.has_model()
    }
}

/// A session with a service that was configured but cannot be connected to: it says so, and ends.
fn nobody(clock: Clock) -> Box<dyn Session> {
    Box::new(Remote::new(MediaStream::nobody(), None, clock))
}
