//! Whisper's network (candle) on the weights of a CTranslate2 file, and the search for words.
//!
//! The encoder hears 10 s when the utterance is short (a third of the work of 30 s, nearly the same words), else as
//! much as is needed up to 30 s. Decoding is greedy; the result is dropped when the model itself says that nothing was
//! spoken, and cut where it begins to repeat itself.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, IndexOp, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::whisper::{Config, model};

use super::ct2::Weights;
use super::mel::{HOP, Mel};
use super::vocabulary::Vocabulary;
use super::words::{Scores, cut_repetition};

/// Mel frames of one position of the encoder.
const FRAMES_PER_POSITION: usize = 2;
const FRAMES_PER_SECOND: usize = 100;
/// Shortest and longest context, and the grain between them, seconds.
const SHORT: usize = 10;
const LONG: usize = 30;
const GRAIN: usize = 5;
/// Probability of "no speech" above which an unsure transcript is dropped.
const NO_SPEECH: f32 = 0.6;
/// Mean log-probability of a token below which a transcript counts as unsure.
const UNSURE: f32 = -1.0;
/// Nobody speaks more tokens a second than this.
const TOKENS_PER_SECOND: usize = 8;
const MOST_TOKENS: usize = 220;
const QUIET_RMS: i64 = 32;
const HEAD_WIDTH: usize = 64;

pub(super) struct Whisper {
    network: model::Whisper,
    mel: Mel,
    vocabulary: Vocabulary,
    bands: usize,
}

impl Whisper {
    /// Loads `model.bin` and `vocabulary.txt` of `directory`; the error is a phrase for the operator.
    pub(super) fn load(directory: &Path) -> Result<Whisper, String> {
        let weights = Weights::read(&directory.join("model.bin"))?;
        let config = configuration(&weights)?;
        let vocabulary = Vocabulary::read(&directory.join("vocabulary.txt"), config.vocab_size)?;
        let bands = config.num_mel_bins;
        let tensors = Naming { weights: &weights, width: config.d_model, named: HashMap::new() }.all(&config)?;
        drop(weights);
        let tensors = VarBuilder::from_tensors(tensors, candle_core::DType::F32, &Device::Cpu);
        let network =
            model::Whisper::load(&tensors, config).map_err(|error| format!("model.bin does not fit: {error}"))?;
        Ok(Whisper { network, mel: Mel::new(bands), vocabulary, bands })
    }

    /// The words in `pcm` (16 kHz, at most 30 s; what is beyond is not heard). Empty when nothing was said.
    pub(super) fn transcribe(&mut self, pcm: &[i16]) -> Result<String, String> {
        if is_silent(pcm) {
            return Ok(String::new());
        }
        let seconds = context(pcm.len());
        let heard = self.encode(pcm, seconds)?;
        let limit = (pcm.len() * TOKENS_PER_SECOND / 16_000 + 12).min(MOST_TOKENS);
        let tokens = self.decode(&heard, limit).map_err(|error| error.to_string())?;
        self.network.reset_kv_cache();
        let text = self.vocabulary.text(cut_repetition(&tokens));
        // A lone dash or row of dots is the model's way of writing down a noise.
        Ok(if text.contains(char::is_alphanumeric) { text } else { String::new() })
    }

    fn encode(&mut self, pcm: &[i16], seconds: usize) -> Result<Tensor, String> {
        let frames = seconds * FRAMES_PER_SECOND;
        let spectrum = self.mel.spectrum(&pcm[..pcm.len().min(frames * HOP)], frames)?;
        Tensor::from_vec(spectrum, (1, self.bands, frames), &Device::Cpu)
            .and_then(|spectrum| self.network.encoder.forward(&spectrum, true))
            .map_err(|error| error.to_string())
    }

    fn decode(&mut self, heard: &Tensor, limit: usize) -> candle_core::Result<Vec<u32>> {
        let control = self.vocabulary.control;
        let mut prompt = vec![control.start];
        prompt.extend(control.english.iter().flat_map(|(language, task)| [*language, *task]));
        prompt.push(control.no_timestamps);
        let told = prompt.len();
        let mut confidence = 0.0;
        let mut no_speech = 0.0;
        loop {
            let first = prompt.len() == told;
            let input = Tensor::new(prompt.as_slice(), &Device::Cpu)?.unsqueeze(0)?;
            let states = self.network.decoder.forward(&input, heard, first)?;
            if first {
                no_speech = self.scores(&states, 0)?.probability(control.no_speech);
            }
            let mut scores = self.scores(&states, prompt.len() - 1)?;
            scores.forbid(&self.vocabulary.suppressed);
            if first {
                scores.forbid(&self.vocabulary.blank);
            }
            let (token, likelihood) = scores.best();
            confidence += likelihood;
            if token == control.end || prompt.len() - told >= limit {
                break;
            }
            prompt.push(token);
        }
        let tokens = prompt.split_off(told);
        let unsure = confidence / ((tokens.len() + 1) as f32) < UNSURE;
        Ok(if no_speech > NO_SPEECH && unsure { Vec::new() } else { tokens })
    }

    /// Scores of the token that follows position `at`.
    fn scores(&self, states: &Tensor, at: usize) -> candle_core::Result<Scores> {
        let state = states.i((..1, at..=at))?;
        Ok(Scores::new(self.network.decoder.final_linear(&state)?.i((0, 0))?.to_vec1()?))
    }
}

/// Whether no 20 ms of `pcm` is louder than -60 dBFS: the model would hear a word in it all the same.
fn is_silent(pcm: &[i16]) -> bool {
    let loud = |frame: &[i16]| {
        let energy: i64 = frame.iter().map(|sample| i64::from(*sample).pow(2)).sum();
        energy > QUIET_RMS.pow(2) * frame.len() as i64
    };
    !pcm.chunks(320).any(loud)
}

/// Seconds that the encoder must hear for `samples`.
fn context(samples: usize) -> usize {
    // Half a second of silence after the last word, so that the model sees that it has ended.
    let needed = (samples + 8_000).div_ceil(16_000);
    if needed <= SHORT { SHORT } else { needed.next_multiple_of(GRAIN).min(LONG) }
}

/// The dimensions, which the shapes tell.
fn configuration(weights: &Weights) -> Result<Config, String> {
    let dimensions = |name: &str, rank: usize| {
        let shape = weights.tensor(name)?.dims();
        if shape.len() == rank { Ok(shape.to_vec()) } else { Err(format!("model.bin is damaged (shape of `{name}`)")) }
    };
    let conv = dimensions("encoder/conv1/weight", 3)?;
    let (d_model, num_mel_bins) = (conv[0], conv[1]);
    let heads = d_model / HEAD_WIDTH;
    if heads == 0 || d_model % HEAD_WIDTH != 0 {
        return Err(String::from("model.bin is damaged (width of the network)"));
    }
    let max_source_positions = dimensions("encoder/position_encodings/encodings", 2)?[0];
    if max_source_positions * FRAMES_PER_POSITION < LONG * FRAMES_PER_SECOND {
        return Err(String::from("model.bin is a model with a context of less than 30 s"));
    }
    Ok(Config {
        num_mel_bins,
        max_source_positions,
        d_model,
        encoder_attention_heads: heads,
        encoder_layers: weights.layers("encoder"),
        vocab_size: dimensions("decoder/embeddings/weight", 2)?[0],
        max_target_positions: dimensions("decoder/position_encodings/encodings", 2)?[0],
        decoder_attention_heads: heads,
        decoder_layers: weights.layers("decoder"),
        suppress_tokens: Vec::new(),
    })
}

/// Gives CTranslate2's variables the names that candle looks for; fused projections are cut apart.
struct Naming<'a> {
    weights: &'a Weights,
    width: usize,
    named: HashMap<String, Tensor>,
}

impl Naming<'_> {
    fn all(mut self, config: &Config) -> Result<HashMap<String, Tensor>, String> {
        for conv in ["conv1", "conv2"] {
            for part in ["weight", "bias"] {
                self.put(format!("model.encoder.{conv}.{part}"), &format!("encoder/{conv}/{part}"))?;
            }
        }
        self.put(String::from("model.decoder.embed_positions.weight"), "decoder/position_encodings/encodings")?;
        self.put(String::from("model.decoder.embed_tokens.weight"), "decoder/embeddings/weight")?;
        for (side, layers) in [("encoder", config.encoder_layers), ("decoder", config.decoder_layers)] {
            for layer in 0..layers {
                self.layer(side, layer)?;
            }
            self.norm(&format!("model.{side}.layer_norm"), &format!("{side}/layer_norm"))?;
        }
        Ok(self.named)
    }

    fn layer(&mut self, side: &str, layer: usize) -> Result<(), String> {
        let (to, from) = (format!("model.{side}.layers.{layer}"), format!("{side}/layer_{layer}"));
        let own = format!("{from}/self_attention");
        self.norm(&format!("{to}.self_attn_layer_norm"), &format!("{own}/layer_norm"))?;
        self.slices(&format!("{to}.self_attn"), &format!("{own}/linear_0"), &["q_proj", "k_proj", "v_proj"])?;
        self.linear(&format!("{to}.self_attn.out_proj"), &format!("{own}/linear_1"))?;
        if side == "decoder" {
            let cross = format!("{from}/attention");
            self.norm(&format!("{to}.encoder_attn_layer_norm"), &format!("{cross}/layer_norm"))?;
            self.linear(&format!("{to}.encoder_attn.q_proj"), &format!("{cross}/linear_0"))?;
            self.slices(&format!("{to}.encoder_attn"), &format!("{cross}/linear_1"), &["k_proj", "v_proj"])?;
            self.linear(&format!("{to}.encoder_attn.out_proj"), &format!("{cross}/linear_2"))?;
        }
        self.norm(&format!("{to}.final_layer_norm"), &format!("{from}/ffn/layer_norm"))?;
        self.linear(&format!("{to}.fc1"), &format!("{from}/ffn/linear_0"))?;
        self.linear(&format!("{to}.fc2"), &format!("{from}/ffn/linear_1"))
    }

    fn put(&mut self, to: String, from: &str) -> Result<(), String> {
        self.named.insert(to, self.weights.tensor(from)?.clone());
        Ok(())
    }

    fn norm(&mut self, to: &str, from: &str) -> Result<(), String> {
        self.put(format!("{to}.weight"), &format!("{from}/gamma"))?;
        self.put(format!("{to}.bias"), &format!("{from}/beta"))
    }

    fn linear(&mut self, to: &str, from: &str) -> Result<(), String> {
        self.put(format!("{to}.weight"), &format!("{from}/weight"))?;
        self.put(format!("{to}.bias"), &format!("{from}/bias"))
    }

    /// Cuts one wide projection into those of `names`. Keys have no bias in Whisper.
    fn slices(&mut self, to: &str, from: &str, names: &[&str]) -> Result<(), String> {
        for part in ["weight", "bias"] {
            let whole = self.weights.tensor(&format!("{from}/{part}"))?;
            for (index, name) in names.iter().enumerate().filter(|(_, name)| part == "weight" || **name != "k_proj") {
                let slice = whole.narrow(0, index * self.width, self.width);
                let slice = slice.map_err(|_| format!("model.bin is damaged (shape of `{from}`)"))?;
                self.named.insert(format!("{to}.{name}.{part}"), slice);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_context_grows_with_the_utterance() {
        assert_eq!([0, 16_000 * 3, 152_000].map(context), [10, 10, 10]);
        assert_eq!([152_001, 16_000 * 16, 16_000 * 29, 16_000 * 30, 16_000 * 90].map(context), [15, 20, 30, 30, 30]);
    }
}
