//! The built-in script: brings a message, asks for an answer, takes a message. Pure: inputs in, acts out.
//!
//! | Stage | Input | Acts | Then |
//! |---|---|---|---|
//! | Fresh | greet | say message, question | Asking |
//! | Asking | yes, key 1 | say goodbye, hang up `confirmed` | Done |
//! | Asking | no, key 2 | say goodbye, hang up `declined` | Done |
//! | Asking | "message", key 3 | say how, tone | Recording |
//! | Asking | "repeat", a question, key 9 | say message, question | Asking |
//! | Asking | not understood, while the message was still being spoken | say message, question | Asking |
//! | Asking | not understood, first and second time; any other key | say so, question | Asking |
//! | Asking | not understood, third time | say so, how, tone | Recording |
//! | Asking | silence, first and second time | say question | Asking |
//! | Asking | silence, third time | say goodbye, hang up `empty-room` | Done |
//! | Asking | "operator", "a person", key 0, and there is somebody | say so, transfer | Waiting |
//! | Asking, Recording | the call is transferred otherwise | – | Waiting |
//! | Waiting | the transfer failed | say so, question | Asking |
//! | Waiting | anything else | – | Waiting |
//! | Recording | words, speech | – (kept) | Recording |
//! | Recording | key #, silence after speech, 2 minutes gone | say thanks, hang up `message` | Done |
//! | Recording | key # or silence without any speech | say so, hang up `empty-room` | Done |
//! | Recording | other keys | – | Recording |
//! | Done | anything | – | Done |
//!
//! A question of the caller is answered by the message at most [`REPEATS`] times; then it counts as not understood.
//! Without a recogniser nothing is understood but keys, and the question names only those.

use std::time::{Duration, Instant};

use super::words::{Answer, understand};

const QUESTION: &str = "Please say yes or press one to confirm. Say no or press two to decline. \
                        Or say message, or press three, to leave a message.";
const KEYS_QUESTION: &str = "Please press one to confirm. Press two to decline. Or press three to leave a message.";
const PERSON_QUESTION: &str = "To speak to a person, press zero.";
const CONNECTING: &str = "One moment, please. I am connecting you.";
const NOBODY_THERE: &str = "I am sorry, nobody is available at the moment.";
const UNCLEAR: &str = "Sorry, I did not understand.";
const UNCLEAR_AT_LAST: &str = "Sorry, I still did not understand. You can leave a message.";
const HOW_TO_RECORD: &str = "Please speak after the tone. When you are finished, press hash or stop speaking.";
const SAVED: &str = "Thank you. Your message is saved. Goodbye.";
const NOTHING_RECORDED: &str = "I did not hear a message. Goodbye.";
const GOODBYE: &str = "Thank you. Goodbye.";

/// How often the question is put in vain, for silence and for answers that are not understood.
const TRIES: u32 = 3;
/// How often the message is said again on request.
const REPEATS: u32 = 5;
/// Silence after a question.
const PATIENCE: Duration = Duration::from_secs(8);
/// Silence that ends a spoken message.
const PAUSE: Duration = Duration::from_millis(2_500);
const LONGEST_MESSAGE: Duration = Duration::from_secs(120);

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Input {
    Greet,
    Key(char),
    /// What the caller said in one turn; empty when nothing was recognised.
    Words(String),
    /// The caller began to speak (whatever it may mean).
    Speech,
    /// Everything that the script said was played.
    Played,
    /// Nobody said anything for [`Script::patience`].
    Silence,
    /// The caller is being connected to a person.
    TransferBegun,
    /// Nobody came.
    TransferFailed,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Act {
    Say(String),
    Tone,
    /// Once everything was said.
    HangUp(&'static str),
    /// Once everything was said: to the person.
    Transfer,
}

#[derive(Debug)]
pub(super) struct Script {
    message: String,
    recognises: bool,
    /// There is a person whom the caller may ask for.
    has_person: bool,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Stage {
    Fresh,
    Asking(Asking),
    Recording { since: Instant, spoke: bool },
    Waiting,
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Asking {
    unclear: u32,
    silences: u32,
    repeats: u32,
    /// The message was heard to its end.
    heard: bool,
}

impl Script {
    /// `message` is what the call brings; `recognises`: whether words will come.
    pub(super) fn new(message: &str, recognises: bool, has_person: bool) -> Script {
        Script { message: message.trim().to_owned(), recognises, has_person, stage: Stage::Fresh }
    }

    pub(super) fn set_message(&mut self, message: &str) {
        message.trim().clone_into(&mut self.message);
    }

    /// How long to wait for the caller before [`Input::Silence`]; `None`: for ever.
    pub(super) fn patience(&self) -> Option<Duration> {
        match self.stage {
            Stage::Asking(_) | Stage::Recording { spoke: false, .. } => Some(PATIENCE),
            Stage::Recording { spoke: true, .. } => Some(PAUSE),
            Stage::Fresh | Stage::Waiting | Stage::Done => None,
        }
    }

    /// Whether the rest of what the caller is saying belongs to a message being taken.
    pub(super) fn is_recording(&self) -> bool {
        matches!(self.stage, Stage::Recording { .. })
    }

    pub(super) fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    pub(super) fn input(&mut self, input: Input, now: Instant) -> Vec<Act> {
        match (self.stage, input) {
            (Stage::Fresh, Input::Greet) => self.ask(Asking::default(), &[&self.message.clone()]),
            (Stage::Asking(_) | Stage::Recording { .. }, Input::TransferBegun) => {
                self.stage = Stage::Waiting;
                Vec::new()
            }
            (Stage::Waiting, Input::TransferFailed) => {
                self.ask(Asking { heard: true, ..Asking::default() }, &[NOBODY_THERE])
            }
            (Stage::Asking(asking), input) => self.answered(asking, input, now),
            (Stage::Recording { since, spoke }, input) => self.recorded(since, spoke, &input, now),
            (Stage::Fresh | Stage::Waiting | Stage::Done, _) => Vec::new(),
        }
    }

    fn answered(&mut self, asking: Asking, input: Input, now: Instant) -> Vec<Act> {
        match input {
            Input::Key('1') => self.end(GOODBYE, "confirmed"),
            Input::Key('2') => self.end(GOODBYE, "declined"),
            Input::Key('3') => self.record(HOW_TO_RECORD, now),
            Input::Key('0') if self.has_person => self.connect(),
            Input::Key('9') => self.repeat(asking, now),
            Input::Key(_) => self.unclear(asking, now),
            Input::Words(text) => match understand(&text) {
                Answer::Yes => self.end(GOODBYE, "confirmed"),
                Answer::No => self.end(GOODBYE, "declined"),
                Answer::Message => self.record(HOW_TO_RECORD, now),
                Answer::Person if self.has_person => self.connect(),
                Answer::Person => self.unclear(asking, now),
                Answer::Repeat => self.repeat(asking, now),
                Answer::Unclear => self.unclear(asking, now),
            },
            Input::Silence if asking.silences + 1 >= TRIES => self.end(GOODBYE, "empty-room"),
            Input::Silence => self.ask(Asking { silences: asking.silences + 1, ..asking }, &[]),
            Input::Played => {
                self.stage = Stage::Asking(Asking { heard: true, ..asking });
                Vec::new()
            }
            Input::Greet | Input::Speech | Input::TransferBegun | Input::TransferFailed => Vec::new(),
        }
    }

    fn connect(&mut self) -> Vec<Act> {
        self.stage = Stage::Waiting;
        vec![Act::Say(CONNECTING.to_owned()), Act::Transfer]
    }

    fn repeat(&mut self, asking: Asking, now: Instant) -> Vec<Act> {
        if asking.repeats >= REPEATS {
            return self.unclear(asking, now);
        }
        self.ask(Asking { repeats: asking.repeats + 1, heard: false, ..asking }, &[&self.message.clone()])
    }

    fn unclear(&mut self, asking: Asking, now: Instant) -> Vec<Act> {
        let next = Asking { unclear: asking.unclear + 1, ..asking };
        if next.unclear >= TRIES {
            let how = format!("{UNCLEAR_AT_LAST} {HOW_TO_RECORD}");
            self.record(&how, now)
        } else if asking.heard {
            self.ask(next, &[UNCLEAR])
        } else {
            self.ask(next, &[&self.message.clone()])
        }
    }

    fn recorded(&mut self, since: Instant, spoke: bool, input: &Input, now: Instant) -> Vec<Act> {
        match input {
            Input::Words(_) | Input::Speech => {
                self.stage = Stage::Recording { since, spoke: true };
                if now.saturating_duration_since(since) >= LONGEST_MESSAGE {
                    self.end(SAVED, "message")
                } else {
                    Vec::new()
                }
            }
            Input::Key('#') | Input::Silence if spoke => self.end(SAVED, "message"),
            Input::Key('#') | Input::Silence => self.end(NOTHING_RECORDED, "empty-room"),
            Input::Played if !spoke => {
                // The time for the message runs from the tone.
                self.stage = Stage::Recording { since: now, spoke };
                Vec::new()
            }
            Input::Key(_) | Input::Greet | Input::Played | Input::TransferBegun | Input::TransferFailed => Vec::new(),
        }
    }

    fn ask(&mut self, asking: Asking, first: &[&str]) -> Vec<Act> {
        self.stage = Stage::Asking(asking);
        let question = if self.recognises { QUESTION } else { KEYS_QUESTION };
        let said = first.iter().filter(|text| !text.is_empty()).chain([&question]);
        let said = said.chain(self.has_person.then_some(&PERSON_QUESTION));
        said.map(|text| Act::Say((*text).to_owned())).collect()
    }

    fn record(&mut self, how: &str, now: Instant) -> Vec<Act> {
        self.stage = Stage::Recording { since: now, spoke: false };
        vec![Act::Say(how.to_owned()), Act::Tone]
    }

    fn end(&mut self, last_words: &str, outcome: &'static str) -> Vec<Act> {
        self.stage = Stage::Done;
        vec![Act::Say(last_words.to_owned()), Act::HangUp(outcome)]
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    fn say(text: &str) -> Act {
        Act::Say(text.to_owned())
    }

    fn words(text: &str) -> Input {
        Input::Words(text.to_owned())
    }

    /// The acts of the last of `inputs`, given one after the other, and the script after it.
    fn after(inputs: &[Input]) -> (Vec<Act>, Script) {
        let mut script = Script::new("Your parcel is here.", true, false);
        let now = Instant::now();
        let acts = inputs.iter().map(|input| script.input(input.clone(), now)).last();
        (acts.expect("an input"), script)
    }

    fn asked(inputs: &[Input]) -> Vec<Act> {
        let mut all = vec![Input::Greet, Input::Played];
        all.extend_from_slice(inputs);
        after(&all).0
    }

    #[test]
    fn brings_the_message_and_asks() {
        assert_eq!(after(&[Input::Greet]).0, [say("Your parcel is here."), say(QUESTION)]);
        assert_eq!(after(&[words("Hello")]).0, [], "nobody speaks before the greeting");
        let mut silent = Script::new("", false, false);
        assert_eq!(silent.input(Input::Greet, Instant::now()), [say(KEYS_QUESTION)], "only keys without a recogniser");
    }

    #[test]
    fn walks_the_answers() {
        for (input, outcome) in [
            (words("Yes."), "confirmed"),
            (Input::Key('1'), "confirmed"),
            (words("No."), "declined"),
            (Input::Key('2'), "declined"),
        ] {
            assert_eq!(asked(&[input]), [say(GOODBYE), Act::HangUp(outcome)]);
        }
        for input in [words("Leave a message"), Input::Key('3')] {
            assert_eq!(asked(&[input]), [say(HOW_TO_RECORD), Act::Tone]);
        }
        for input in [words("Who is this?"), words("Repeat"), Input::Key('9')] {
            assert_eq!(asked(&[input]), [say("Your parcel is here."), say(QUESTION)]);
        }
    }

    #[test]
    fn asks_again_when_not_understood_and_then_offers_a_message() {
        let unclear = words("Banana.");
        assert_eq!(asked(std::slice::from_ref(&unclear)), [say(UNCLEAR), say(QUESTION)]);
        assert_eq!(asked(&[unclear.clone(), Input::Key('7')]), [say(UNCLEAR), say(QUESTION)]);
        let third = asked(&[unclear.clone(), unclear.clone(), unclear.clone()]);
        assert_eq!(third, [Act::Say(format!("{UNCLEAR_AT_LAST} {HOW_TO_RECORD}")), Act::Tone]);
        let early = after(&[Input::Greet, unclear]).0;
        assert_eq!(early, [say("Your parcel is here."), say(QUESTION)], "interrupted before the message was heard");
    }

    #[test]
    fn gives_up_after_the_third_silence() {
        assert_eq!(asked(&[Input::Silence]), [say(QUESTION)]);
        assert_eq!(asked(&[Input::Silence, Input::Silence]), [say(QUESTION)]);
        let third = asked(&[Input::Silence, Input::Silence, Input::Silence]);
        assert_eq!(third, [say(GOODBYE), Act::HangUp("empty-room")]);
    }

    #[test]
    fn a_caller_who_only_asks_is_answered_a_few_times() {
        let questions = vec![words("Who is this?"); REPEATS as usize + 1];
        assert_eq!(asked(&questions)[0], say("Your parcel is here."), "unclear before it was heard");
        let mut heard: Vec<Input> = questions.iter().flat_map(|q| [q.clone(), Input::Played]).collect();
        heard.pop();
        assert_eq!(asked(&heard), [say(UNCLEAR), say(QUESTION)]);
    }

    #[test]
    fn takes_a_message_until_hash_or_a_pause() {
        let saved = [say(SAVED), Act::HangUp("message")];
        for end in [Input::Key('#'), Input::Silence] {
            assert_eq!(asked(&[Input::Key('3'), Input::Speech, words("Call me."), end.clone()]), saved);
            let empty = asked(&[Input::Key('3'), Input::Played, end]);
            assert_eq!(empty, [say(NOTHING_RECORDED), Act::HangUp("empty-room")]);
        }
        assert_eq!(asked(&[Input::Key('3'), Input::Key('1')]), [], "other keys are part of nothing");
        assert_eq!(
            asked(&[Input::Key('3'), Input::Speech, words("Yes"), words("No")]),
            [],
            "words are kept, not obeyed"
        );
    }

    #[test]
    fn a_message_ends_after_two_minutes() {
        let (_, mut script) = after(&[Input::Greet, Input::Played, Input::Key('3')]);
        let tone = Instant::now() + Duration::from_secs(5);
        assert_eq!(script.input(Input::Played, tone), []);
        assert_eq!(script.input(words("long"), tone + Duration::from_secs(119)), []);
        let acts = script.input(words("longer"), tone + Duration::from_secs(120));
        assert_eq!(acts, [say(SAVED), Act::HangUp("message")]);
    }

    #[test]
    fn connects_a_caller_who_asks_for_a_person_and_takes_him_back() {
        let now = Instant::now();
        for wish in [Input::Key('0'), words("Can I speak to a person?")] {
            let mut script = Script::new("Your parcel is here.", true, true);
            let greeting = script.input(Input::Greet, now);
            assert_eq!(greeting.last(), Some(&say(PERSON_QUESTION)));
            assert_eq!(script.input(wish, now), [say(CONNECTING), Act::Transfer]);
            assert_eq!(script.patience(), None);
            for input in [Input::Played, Input::TransferBegun, words("Yes"), Input::Key('1'), Input::Silence] {
                assert_eq!(script.input(input, now), [], "the caller is not ours");
            }
            let back = script.input(Input::TransferFailed, now);
            assert_eq!(back, [say(NOBODY_THERE), say(QUESTION), say(PERSON_QUESTION)]);
            assert_eq!(script.input(Input::Key('1'), now), [say(GOODBYE), Act::HangUp("confirmed")]);
        }
        assert_eq!(asked(&[Input::Key('0')]), [say(UNCLEAR), say(QUESTION)], "nobody is there to be asked for");
    }

    #[test]
    fn waits_as_long_as_the_stage_asks_for() {
        let patience = |inputs: &[Input]| after(inputs).1.patience();
        assert_eq!(patience(&[Input::Speech]), None);
        assert_eq!(patience(&[Input::Greet]), Some(PATIENCE));
        assert_eq!(patience(&[Input::Greet, Input::Key('3')]), Some(PATIENCE));
        assert_eq!(patience(&[Input::Greet, Input::Key('3'), Input::Speech]), Some(PAUSE));
        assert_eq!(patience(&[Input::Greet, Input::Key('1')]), None);
    }

    #[test]
    fn nothing_moves_it_when_it_is_done() {
        for input in [Input::Greet, Input::Key('2'), words("No"), Input::Speech, Input::Played, Input::Silence] {
            let (acts, script) = after(&[Input::Greet, Input::Key('1'), input]);
            assert_eq!(acts, []);
            assert!(script.is_done());
        }
    }
}
