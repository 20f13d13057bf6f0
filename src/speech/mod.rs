//! The local voice: voice activity (earshot), recogniser (Whisper through candle), speaker (flite, linked in).
//!
//! Samples flow in and words flow out, or the other way round. Recognition and synthesis run on their own threads,
//! fed by bounded queues. This room knows nothing of calls, prompts or the wire.

mod recognise;
mod resample;
mod speak;
mod vad;

use tokio::sync::{mpsc, oneshot};

use crate::config::SpeechConfig;

use self::recognise::Recogniser;
use self::speak::Speaker;

pub use self::resample::To16k;
pub use self::speak::{Splitter, sentences};
pub use self::vad::{Activity, Vad, VadSettings};

/// Rate at which [`Speech::recognise`] takes samples.
pub const RECOGNISER_HZ: u32 = 16_000;

/// The threads of recognition and synthesis; cheap to clone. They end with the last clone.
#[derive(Clone)]
pub struct Speech {
    speaker: Speaker,
    recogniser: Option<Recogniser>,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
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
    /// Empty when the voice can make nothing of `text`.
    pub pcm: Vec<i16>,
    pub rate: u32,
}

impl Speech {
    /// Loads the model, if one is configured, and starts the threads. Takes a second or so with a model.
    pub fn start(config: &SpeechConfig) -> Result<Speech, StartError> {
        let recogniser = match &config.model_directory {
            Some(directory) => Some(Recogniser::start(directory, config.threads)?),
            None => None,
        };
        Ok(Speech { speaker: Speaker::start()?, recogniser })
    }

    /// Speaks `text` sentence by sentence; the channel closes at the end. Dropping the receiver stops the work.
    /// A channel that closes before the first sentence of a text with words means that the speaker is overloaded.
    pub fn speak(&self, text: String, voice: Voice) -> mpsc::Receiver<Spoken> {
        self.speaker.speak(text, voice)
    }

    /// Words in `pcm` (mono, [`RECOGNISER_HZ`], at most 30 s; longer is cut at the front); empty when nothing was said.
    pub fn recognise(&self, pcm: Vec<i16>) -> oneshot::Receiver<Result<String, RecogniseError>> {
        match &self.recogniser {
            Some(recogniser) => recogniser.recognise(pcm),
            None => {
                let (to, from) = oneshot::channel();
                let _ = to.send(Err(RecogniseError::NoModel));
                from
            }
        }
    }

    pub fn has_model(&self) -> bool {
        self.recogniser.is_some()
    }
}

impl Voice {
    /// Maps a service's voice name (`Aoede`, `Charon`, …) onto a local one by its sex.
    pub fn named(name: &str) -> Voice {
        const MALE: [&str; 26] = [
            "kal",
            "kal16",
            "male",
            "achird",
            "algenib",
            "algieba",
            "alnilam",
            "charon",
            "enceladus",
            "fenrir",
            "iapetus",
            "orus",
            "puck",
            "rasalgethi",
            "sadachbia",
            "sadaltager",
            "schedar",
            "umbriel",
            "zubenelgenubi",
            "ash",
            "ballad",
            "cedar",
            "echo",
            "verse",
            "onyx",
            "fable",
        ];
        if MALE.contains(&name.trim().to_ascii_lowercase().as_str()) { Voice::Kal } else { Voice::Slt }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn voice_names_map_by_sex() {
        for name in ["Aoede", "Kore", "Zephyr", "Leda", "marin", "", "someone new"] {
            assert_eq!(Voice::named(name), Voice::Slt, "{name}");
        }
        for name in ["Charon", "puck", "Fenrir", "Orus", " kal16 "] {
            assert_eq!(Voice::named(name), Voice::Kal, "{name}");
        }
    }

    #[test]
    fn without_a_model_the_recogniser_says_so() {
        let speech = Speech::start(&SpeechConfig::default()).expect("starts");
        assert!(!speech.has_model());
        assert!(matches!(speech.recognise(vec![0; 16_000]).blocking_recv(), Ok(Err(RecogniseError::NoModel))));
    }
}
