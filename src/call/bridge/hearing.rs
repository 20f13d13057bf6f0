//! What the box itself notices of the caller: whether something is heard, and since when nobody says anything.

use std::time::{Duration, Instant};

use super::Bridge;
use crate::ai::Command;
use crate::ai::attention::{Attention, Rules, Turn, level};
use crate::call::record::EndReason;
use crate::media::{HeardFrame, Playout};

/// No line is assumed to be quieter than this (RMS): about −63 dBFS.
const QUIET: f32 = 22.0;
/// How much louder than the line's noise a voice is: 10 dB.
const ABOVE_NOISE: f32 = 3.2;
/// The most noise that is assumed at the beginning.
const LOUDEST_START: f32 = 200.0;
/// How quickly the noise is believed to have grown: 1 dB in a second.
const GROWTH: f32 = 1.0023;
/// What comes back of the agent's own sound is no voice of the caller.
const ECHO_LASTS: Duration = Duration::from_millis(300);
/// Voiced frames in a row before the caller counts as heard.
const CERTAIN: u32 = 3;

/// What is done about silence of both sides.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::call) struct Silence {
    /// After so long the agent is asked to speak.
    pub(in crate::call) after: Duration,
    /// So often; then the call ends.
    pub(in crate::call) times: u32,
    /// What it is told.
    pub(in crate::call) text: String,
}

/// How turns of the conversation are taken.
#[derive(Debug, Clone, Default)]
pub(in crate::call) struct TurnRules {
    /// The box's own ears; without, the service says when the caller speaks.
    pub(in crate::call) ears: Option<Rules>,
    pub(in crate::call) silence: Option<Silence>,
}

/// What has to be done about silence.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Quiet {
    Ask(String),
    Leave,
}

pub(super) struct Hearing {
    attention: Option<Box<Attention>>,
    silence: Option<Silence>,
    /// Of these, how often the agent was asked since the caller was heard last.
    asked: u32,
    /// When one of the two was heard last.
    last_sound: Option<Instant>,
    /// Noise of the line, RMS.
    noise: f32,
    voiced: u32,
    /// When the caller was heard last, by the level alone.
    last_voice: Option<Instant>,
}

impl Default for Hearing {
    fn default() -> Hearing {
        Hearing {
            attention: None,
            silence: None,
            asked: 0,
            last_sound: None,
            noise: LOUDEST_START,
            voiced: 0,
            last_voice: None,
        }
    }
}

impl Hearing {
    pub(super) fn new(rules: TurnRules) -> Hearing {
        let attention = rules.ears.map(|rules| Box::new(Attention::new(rules)));
        Hearing { attention, silence: rules.silence, ..Hearing::default() }
    }

    /// Hears a frame of the caller while the agent speaks with `agent` (RMS, 0 = silent).
    pub(super) fn hear(&mut self, frame: &HeardFrame<'_>, agent: f32) -> Option<Turn> {
        if frame.concealed {
            return None;
        }
        let level = level(frame.pcm);
        self.noise = level.min(self.noise * GROWTH).max(QUIET);
        self.voiced = if level > self.noise * ABOVE_NOISE { self.voiced + 1 } else { 0 };
        if self.voiced >= CERTAIN {
            self.last_voice = Some(frame.at + crate::media::FRAME);
        }
        let attention = self.attention.as_mut()?;
        if agent > 0.0 {
            attention.spoken(agent, frame.at);
        }
        attention.hear(frame.pcm, frame.rate, frame.at)
    }

    /// When the caller's last sound ended, if there was one after `since`: for services that do not say when the caller
    /// stopped.
    pub(super) fn last_voice(&self, since: Option<Instant>) -> Option<Instant> {
        self.last_voice.filter(|voice| since.is_none_or(|since| *voice > since))
    }

    /// Takes note of who was heard at `now`; what has to be done when it has been nobody for long.
    pub(super) fn note(&mut self, caller: bool, agent: bool, now: Instant) -> Option<Quiet> {
        let silence = self.silence.as_ref()?;
        let voice = self.last_voice.is_some_and(|voice| self.last_sound.is_none_or(|last| voice > last));
        if caller || voice {
            self.asked = 0;
        }
        if caller || voice || agent {
            self.last_sound = Some(now);
            return None;
        }
        let since = *self.last_sound.get_or_insert(now);
        if now.saturating_duration_since(since) < silence.after {
            return None;
        }
        self.last_sound = Some(now);
        self.asked += 1;
        Some(if self.asked > silence.times { Quiet::Leave } else { Quiet::Ask(silence.text.clone()) })
    }

    /// What came before does not count: the call was on hold, or the caller with somebody else.
    pub(super) fn begin_anew(&mut self) {
        self.last_sound = None;
    }
}

impl Bridge {
    /// What the box makes of a frame that the service has heard.
    pub(super) fn attend(&mut self, frame: &HeardFrame<'_>, playout: &mut dyn Playout) {
        match self.hearing.hear(frame, playout.level()) {
            Some(Turn::Began(at)) => {
                self.session.command(Command::CallerBegan { at });
                self.on_speech_started(at, playout);
            }
            Some(Turn::Stopped(at)) => {
                self.session.command(Command::CallerStopped { at });
                self.on_speech_stopped(at);
            }
            None => {}
        }
        // Who waits for a tool or a person is not asked whether it is there.
        let busy = !playout.queued().is_zero() || self.leaving.is_some() || self.wanted.is_some();
        let busy = busy || self.successor.is_some() || self.calls.any();
        match self.hearing.note(self.caller_speaks, busy, playout.now()) {
            Some(Quiet::Ask(text)) => self.session.command(Command::Text(text)),
            Some(Quiet::Leave) => self.leave(Some(EndReason::EmptyRoom.word().to_owned()), playout),
            None => {}
        }
    }

    /// When the caller stopped speaking, as the service says or else as the box heard it; `last`: when the agent was
    /// heard last.
    pub(super) fn end_of_caller(&self, last: Option<Instant>) -> Option<Instant> {
        let heard = || self.hearing.last_voice(last.map(|last| last + ECHO_LASTS));
        self.caller_stopped.or_else(|| heard().filter(|_| !self.caller_speaks))
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;
    use crate::media::FRAME;

    fn frame(level: i16, at: Instant, hearing: &mut Hearing) -> Option<Turn> {
        let pcm: Vec<i16> = (0..160).map(|n| if n % 8 < 4 { level } else { -level }).collect();
        hearing.hear(&HeardFrame { pcm: &pcm, rate: 8_000, at, concealed: false, encoded: None }, 0.0)
    }

    #[test]
    fn the_end_of_the_callers_sound_is_known_over_the_noise_of_the_line() {
        let (start, mut hearing) = (Instant::now(), Hearing::default());
        for n in 0..200u32 {
            let level = if (100..150).contains(&n) { 1_500 } else { 60 };
            frame(level, start + FRAME * n, &mut hearing);
        }
        assert_eq!(hearing.last_voice(None), Some(start + FRAME * 150));
        assert_eq!(hearing.last_voice(Some(start + FRAME * 160)), None, "the agent has answered since");
        for n in 200..205u32 {
            frame(if n == 202 { 9_000 } else { 60 }, start + FRAME * n, &mut hearing);
        }
        assert_eq!(hearing.last_voice(None), Some(start + FRAME * 150), "a click is no voice");
    }

    #[test]
    fn a_silent_caller_is_asked_so_often_and_then_left() {
        let text = "Are you there?".to_owned();
        let silence = Silence { after: Duration::from_secs(8), times: 2, text: text.clone() };
        let mut hearing = Hearing::new(TurnRules { ears: None, silence: Some(silence) });
        let start = Instant::now();
        let mut told = Vec::new();
        for n in 0..40 * 50u32 {
            // The agent speaks for a second at first and each time that it is asked; the caller once, after 12 s.
            let agent = n < 50 || told.last().is_some_and(|(asked, _)| n - *asked < 50);
            let caller = (600..610).contains(&n);
            told.extend(hearing.note(caller, agent, start + FRAME * n).map(|quiet| (n, quiet)));
            if matches!(told.last(), Some((_, Quiet::Leave))) {
                break;
            }
        }
        let ask = || Quiet::Ask(text.clone());
        assert_eq!(told, [(449, ask()), (1_009, ask()), (1_458, ask()), (1_907, Quiet::Leave)]);
    }
}
