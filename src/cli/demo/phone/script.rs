//! What the called person does, as a machine without I/O.
//!
//! | Stage | What is heard | Then |
//! |---|---|---|
//! | greeted | the box has spoken for [`PATIENCE`] | interrupts with a question (words only); asked |
//! | greeted | the box pauses before that | asks all the same, or presses 1; asked or agreed |
//! | asked | the box speaks, then pauses | agrees; agreed |
//! | agreed | the box speaks, then pauses for [`LONG_PAUSE`] | agrees again, at most [`REPEATS`] times |
//! | any | [`DEAD_AIR`] of silence on both sides | hangs up |
//!
//! A pause is [`PAUSE`] of silence after the box has spoken since our last word.

use std::time::{Duration, Instant};

pub(super) const QUESTION: &str = "Sorry, who is calling please?";
pub(super) const AGREEMENT: &str = "Yes, that is fine.";

/// The box's speech before it is interrupted.
const PATIENCE: Duration = Duration::from_millis(2_600);
/// Silence after which the other side has finished its sentence.
const PAUSE: Duration = Duration::from_millis(700);
/// The box may be about to hang up: no talking into its goodbye.
const LONG_PAUSE: Duration = Duration::from_millis(3_000);
const REPEATS: u32 = 3;
const DEAD_AIR: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Say(&'static str),
    Press(char),
    HangUp,
}

pub(super) struct Script {
    words: bool,
    stage: Stage,
    floor: Floor,
    /// Last sound of either side.
    last_sound: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Greeted,
    Asked,
    Agreed(u32),
    Done,
}

/// Who spoke last, as heard on our side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Floor {
    /// Nothing of the box since our last word.
    Quiet,
    /// The box speaks since then, with no more than breaths in between.
    Theirs { began: Instant },
    /// The box, which began then, has been silent since.
    Paused { began: Instant, since: Instant },
    /// We speak.
    Ours,
}

impl Script {
    /// `words`: talks; presses keys otherwise.
    pub(super) fn new(words: bool) -> Script {
        Script { words, stage: Stage::Greeted, floor: Floor::Quiet, last_sound: None }
    }

    /// Told every 20 ms whether the box is heard speaking.
    pub(super) fn hear(&mut self, now: Instant, speaking: bool) -> Option<Step> {
        let last_sound = *self.last_sound.get_or_insert(now);
        if speaking || self.floor == Floor::Ours {
            self.last_sound = Some(now);
        } else if now.duration_since(last_sound) >= DEAD_AIR && self.stage != Stage::Done {
            self.stage = Stage::Done;
            return Some(Step::HangUp);
        }
        self.floor = match (self.floor, speaking) {
            (Floor::Paused { began, since }, true) if now.duration_since(since) < PAUSE => Floor::Theirs { began },
            (Floor::Quiet | Floor::Paused { .. }, true) => Floor::Theirs { began: now },
            (Floor::Theirs { began }, false) => Floor::Paused { began, since: now },
            (floor, _) => floor,
        };
        self.turn(now)
    }

    /// Our words have gone out, or our key was pressed.
    pub(super) fn said(&mut self, now: Instant) {
        if self.floor == Floor::Ours {
            self.floor = Floor::Quiet;
            self.last_sound = Some(now);
        }
    }

    fn turn(&mut self, now: Instant) -> Option<Step> {
        let interrupts = self.words
            && self.stage == Stage::Greeted
            && matches!(self.floor, Floor::Theirs { began } if now.duration_since(began) >= PATIENCE);
        let paused = matches!(self.floor, Floor::Paused { since, .. } if now.duration_since(since) >= self.pause());
        if !interrupts && !paused {
            return None;
        }
        let (stage, step) = match self.stage {
            Stage::Greeted if self.words => (Stage::Asked, Step::Say(QUESTION)),
            Stage::Greeted | Stage::Asked => (Stage::Agreed(1), self.agreement()),
            Stage::Agreed(times) if times < REPEATS => (Stage::Agreed(times + 1), self.agreement()),
            Stage::Agreed(_) | Stage::Done => return None,
        };
        self.stage = stage;
        self.floor = Floor::Ours;
        Some(step)
    }

    fn pause(&self) -> Duration {
        if matches!(self.stage, Stage::Agreed(_)) { LONG_PAUSE } else { PAUSE }
    }

    fn agreement(&self) -> Step {
        if self.words { Step::Say(AGREEMENT) } else { Step::Press('1') }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Talk {
        script: Script,
        now: Instant,
    }

    impl Talk {
        #[allow(clippy::disallowed_methods)]
        fn new(words: bool) -> Talk {
            Talk { script: Script::new(words), now: Instant::now() }
        }

        /// Speech or silence of the box for `ms`; what the person does, and after how many milliseconds.
        fn hear(&mut self, speaking: bool, ms: u64) -> Option<(Step, u64)> {
            (1..=ms / 20).find_map(|frame| {
                self.now += Duration::from_millis(20);
                self.script.hear(self.now, speaking).map(|step| (step, frame * 20))
            })
        }

        fn said(&mut self) {
            self.now += Duration::from_millis(1500);
            self.script.said(self.now);
        }
    }

    #[test]
    fn interrupts_the_message_then_agrees_when_asked() {
        let mut talk = Talk::new(true);
        assert_eq!(talk.hear(false, 500), None);
        assert_eq!(talk.hear(true, 6000), Some((Step::Say(QUESTION), 2620)));
        assert_eq!(talk.hear(true, 200), None, "not while we speak ourselves");
        talk.said();
        assert_eq!(talk.hear(false, 5000), None, "waits for the answer");
        assert_eq!(talk.hear(true, 4000), None, "interrupts only once");
        assert_eq!(talk.hear(false, 2000), Some((Step::Say(AGREEMENT), 720)));
        talk.said();
        assert_eq!(talk.hear(true, 3000), None);
        assert_eq!(talk.hear(false, 2900), None, "the box says goodbye and hangs up");
    }

    #[test]
    fn a_breath_between_sentences_does_not_begin_the_message_anew() {
        let mut talk = Talk::new(true);
        talk.hear(true, 1500);
        talk.hear(false, 400);
        assert_eq!(talk.hear(true, 5000), Some((Step::Say(QUESTION), 720)));
    }

    #[test]
    fn a_short_message_is_answered_in_its_pause() {
        let mut talk = Talk::new(true);
        assert_eq!(talk.hear(true, 1500), None);
        assert_eq!(talk.hear(false, 600), None, "between two sentences");
        assert_eq!(talk.hear(true, 300), None);
        assert_eq!(talk.hear(false, 2000), Some((Step::Say(QUESTION), 720)));
    }

    #[test]
    fn presses_keys_without_words_and_never_interrupts() {
        let mut talk = Talk::new(false);
        assert_eq!(talk.hear(true, 20_000), None);
        assert_eq!(talk.hear(false, 1000), Some((Step::Press('1'), 720)));
        talk.said();
        assert_eq!(talk.hear(true, 1000), None);
        assert_eq!(talk.hear(false, 4000), Some((Step::Press('1'), 3020)), "asked again");
    }

    #[test]
    fn agrees_a_few_times_then_hangs_up_on_dead_air() {
        let mut talk = Talk::new(false);
        for _ in 0..REPEATS {
            talk.hear(true, 1000);
            assert!(talk.hear(false, 4000).is_some());
            talk.said();
        }
        talk.hear(true, 1000);
        assert_eq!(talk.hear(false, 25_000), Some((Step::HangUp, 20_000)));
        assert_eq!(talk.hear(false, 60_000), None, "once");
    }
}
