//! The box's own ears beside a service: who does not say when the caller speaks, or says it late, is told.
//!
//! | State | What is heard | Then |
//! |---|---|---|
//! | silent | speech for [`Rules::least`], the agent silent | speaking: began |
//! | silent | the same while the agent speaks, loud enough to be no echo of it | speaking: began |
//! | silent | the same, no louder than an echo may be | doubtful |
//! | doubtful | three frames that are louder, in one speech | speaking: began |
//! | doubtful | the end of the speech | silent |
//! | speaking | a pause of [`Rules::pause`] | silent: stopped |
//!
//! No I/O, no clock: frames with their instants in, turns out.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::speech::{Activity, To16k, Vad, VadSettings};

/// Frames above the echo that end a doubt: 60 ms.
const CERTAIN: u32 = 3;
/// What a telephone line does with the agent's own sound may come back so much later.
const ECHO_LASTS: Duration = Duration::from_millis(250);

/// When the caller counts as speaking.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// Speech before it counts.
    pub least: Duration,
    /// Silence before it has ended.
    pub pause: Duration,
    /// The agent's sound comes back from the phone weakened by at least so many dB.
    pub echo_loss: f32,
}

/// A change of the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// The first sound was heard then.
    Began(Instant),
    /// The last sound was heard then.
    Stopped(Instant),
}

/// One call's.
pub struct Attention {
    rules: Rules,
    to_16k: To16k,
    vad: Vad,
    samples: Vec<i16>,
    /// Levels of the latest frames, as many as speech needs to count.
    levels: VecDeque<f32>,
    /// RMS of the loudest of the agent's sound lately, and when it last went out.
    agent: Option<(f32, Instant)>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Silent,
    Doubtful { certain: u32 },
    Speaking,
}

impl Attention {
    pub fn new(rules: Rules) -> Attention {
        let settings = VadSettings { least: rules.least, hangover: rules.pause, ..VadSettings::default() };
        Attention {
            rules,
            to_16k: To16k::default(),
            vad: Vad::new(settings),
            samples: Vec::new(),
            levels: VecDeque::new(),
            agent: None,
            state: State::Silent,
        }
    }

    pub fn is_caller_speaking(&self) -> bool {
        self.state == State::Speaking
    }

    /// The agent's sound of `level` (RMS) goes out.
    pub fn spoken(&mut self, level: f32, at: Instant) {
        let lately = self.agent.filter(|(_, last)| at.saturating_duration_since(*last) < ECHO_LASTS);
        let before = lately.map_or(0.0, |(level, _)| level);
        // The loudest counts, and fades by 3 dB in 200 ms.
        self.agent = Some((level.max(before * 0.966), at));
    }

    /// Hears 20 ms of the caller, `rate` samples a second, that came in at `at`.
    pub fn hear(&mut self, pcm: &[i16], rate: u32, at: Instant) -> Option<Turn> {
        let level = level(pcm);
        let kept = (self.rules.least.as_millis() as usize / 20).max(1) + 2;
        self.levels.push_back(level);
        if self.levels.len() > kept {
            self.levels.pop_front();
        }
        self.samples.clear();
        self.to_16k.push(pcm, rate, &mut self.samples);
        let mut turn = None;
        for change in self.vad.push(&self.samples, at) {
            turn = match change {
                Activity::Started { at: begun, .. } => {
                    let loudest = self.levels.iter().copied().fold(0.0, f32::max);
                    let is_echo = loudest < self.echo(at);
                    self.state = if is_echo { State::Doubtful { certain: 0 } } else { State::Speaking };
                    (!is_echo).then_some(Turn::Began(begun))
                }
                Activity::Stopped { at: ended, .. } => {
                    let spoke = std::mem::replace(&mut self.state, State::Silent) == State::Speaking;
                    spoke.then_some(Turn::Stopped(ended))
                }
            };
        }
        if let (State::Doubtful { certain }, None) = (self.state, turn) {
            let certain = if level >= self.echo(at) { certain + 1 } else { 0 };
            self.state = if certain == CERTAIN { State::Speaking } else { State::Doubtful { certain } };
            return (certain == CERTAIN).then(|| Turn::Began(at.checked_sub(Duration::from_millis(40)).unwrap_or(at)));
        }
        turn
    }

    /// What no echo is louder than just now.
    fn echo(&self, now: Instant) -> f32 {
        match self.agent {
            Some((level, last)) if now.saturating_duration_since(last) < ECHO_LASTS => {
                level * 10f32.powf(-self.rules.echo_loss / 20.0)
            }
            _ => 0.0,
        }
    }
}

/// RMS.
pub fn level(pcm: &[i16]) -> f32 {
    let sum: f32 = pcm.iter().map(|sample| f32::from(*sample).powi(2)).sum();
    (sum / pcm.len().max(1) as f32).sqrt()
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;
    use crate::config::SpeechConfig;
    use crate::speech::{Speech, Voice};

    const FRAME: Duration = Duration::from_millis(20);
    const RULES: Rules =
        Rules { least: Duration::from_millis(200), pause: Duration::from_millis(600), echo_loss: 20.0 };

    /// A sentence of 16 kHz, with half a second of silence before it and a second behind.
    async fn sentence() -> Vec<i16> {
        let speech = Speech::start(&SpeechConfig::default()).expect("it starts");
        let mut said = speech.speak("I would like to move my appointment to Friday.".into(), Voice::named(""));
        let mut pcm = vec![0; 8_000];
        while let Some(piece) = said.recv().await {
            pcm.extend_from_slice(&piece.pcm);
        }
        pcm.resize(pcm.len() + 16_000, 0);
        pcm
    }

    /// What is made of `pcm`, weakened by `loss` dB, while the agent speaks with `agent` (RMS; 0 = silent).
    fn heard(attention: &mut Attention, pcm: &[i16], loss: f32, agent: f32, start: Instant) -> Vec<Turn> {
        let factor = 10f32.powf(-loss / 20.0);
        let frames = pcm.chunks_exact(320).enumerate();
        let hear = frames.filter_map(|(n, frame)| {
            let at = start + FRAME * n as u32;
            if agent > 0.0 {
                attention.spoken(agent, at);
            }
            let frame: Vec<i16> = frame.iter().map(|sample| (f32::from(*sample) * factor) as i16).collect();
            attention.hear(&frame, 16_000, at)
        });
        hear.collect()
    }

    #[tokio::test]
    async fn a_sentence_is_one_turn_from_its_first_sound_to_its_last() {
        let (pcm, start) = (sentence().await, Instant::now());
        let mut attention = Attention::new(RULES);
        let turns = heard(&mut attention, &pcm, 6.0, 0.0, start);
        let [Turn::Began(began), Turn::Stopped(stopped)] = turns[..] else { panic!("{turns:?}") };
        let loud = |sample: &i16| sample.unsigned_abs() > 1_000;
        let (first, last) = (pcm.iter().position(loud).expect("sound"), pcm.iter().rposition(loud).expect("sound"));
        let off = |sample: usize, at: Instant| (at - start).as_secs_f64() * 1e3 - sample as f64 / 16.0;
        assert!(off(first, began).abs() < 150.0, "{} ms", off(first, began));
        assert!(off(last, stopped).abs() < 300.0, "{} ms", off(last, stopped));
        assert!(!attention.is_caller_speaking());
    }

    #[tokio::test]
    async fn the_agents_own_sound_that_comes_back_is_no_caller_and_one_who_speaks_over_it_is() {
        let (pcm, start) = (sentence().await, Instant::now());
        let spoken = level(&pcm[8_000..pcm.len() - 16_000]);
        let mut attention = Attention::new(RULES);
        assert_eq!(heard(&mut attention, &pcm, 32.0, spoken, start), [], "an echo");
        let mut attention = Attention::new(RULES);
        assert!(!heard(&mut attention, &pcm, 32.0, 0.0, start).is_empty(), "as soft, but nobody else speaks");
        let mut attention = Attention::new(RULES);
        let speech = pcm.len() - 16_000;
        assert_eq!(heard(&mut attention, &pcm[..speech], 32.0, spoken, start), []);
        let later = start + FRAME * (speech / 320) as u32;
        let turns = heard(&mut attention, &pcm[8_000..], 6.0, spoken, later);
        let Some(Turn::Began(began)) = turns.first() else { panic!("{turns:?}") };
        assert!((*began - later).as_millis() < 400, "{:?}", *began - later);
    }
}
