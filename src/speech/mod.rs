//! The local voice: voice activity (earshot), recogniser (Whisper through candle), speaker (flite, linked in).
//!
//! Samples flow in and words flow out, or the other way round. Recognition and synthesis run on their own threads,
//! fed by bounded queues. This room knows nothing of calls, prompts or the wire.

use tokio::sync::{mpsc, oneshot};

use crate::config::SpeechConfig;

/// Rate at which [`Speech::recognise`] takes samples.
pub const RECOGNISER_HZ: u32 = 16_000;

/// The threads of recognition and synthesis; cheap to clone.
#[derive(Clone)]
pub struct Speech {
    pub(crate) _todo: (),
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The recogniser's model is named in the configuration but cannot be used.
    #[error(
        "speech model in {directory}: {problem}; run `make model`, or remove [speech] model_directory to use the keypad script"
    )]
    Model { directory: String, problem: String },
    #[error("cannot start the speech threads: {0}")]
    Threads(#[from] std::io::Error),
}

#[derive(Debug, thiserror::Error)]
pub enum RecogniseError {
    #[error("no speech model is installed")]
    NoModel,
    #[error("the recogniser is overloaded")]
    Busy,
    #[error("the recogniser failed: {0}")]
    Failed(String),
}

/// A voice of the speaker. Names that it does not know fall back to [`Voice::Slt`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Voice {
    /// Female, 16 kHz.
    #[default]
    Slt,
    /// Male, 16 kHz.
    Kal,
}

/// A piece of speech: one sentence or less.
#[derive(Debug, Clone, PartialEq)]
pub struct Spoken {
    /// The words in `pcm`.
    pub text: String,
    pub pcm: Vec<i16>,
    pub rate: u32,
}

impl Speech {
    /// Loads the model, if one is configured, and starts the threads.
    pub fn start(config: &SpeechConfig) -> Result<Speech, StartError> {
        todo!("speech: {config:?}")
    }

    /// Speaks `text` sentence by sentence; the channel closes at the end. Dropping the receiver stops the work.
    pub fn speak(&self, text: String, voice: Voice) -> mpsc::Receiver<Spoken> {
        todo!("speech: {text} {voice:?}")
    }

    /// Words in `pcm` (mono, [`RECOGNISER_HZ`], at most 30 s; longer is cut at the front).
    pub fn recognise(&self, pcm: Vec<i16>) -> oneshot::Receiver<Result<String, RecogniseError>> {
        todo!("speech: {}", pcm.len())
    }

    pub fn has_model(&self) -> bool {
        todo!("speech")
    }
}

impl Voice {
    /// Maps a service's voice name (`Aoede`, `Charon`, …) onto a local one by its sex.
    pub fn named(name: &str) -> Voice {
        todo!("speech: {name}")
    }
}
