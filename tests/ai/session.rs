//! Whole conversations with the local engine: a caller with a synthetic voice on a telephone line, in virtual time.
#![allow(clippy::expect_used, clippy::panic)] // functions that tests share are not inside `#[test]`

use crate::common;
use crate::voice;
use std::time::Duration;

use trunkline::ai::{Command, Event};
use trunkline::config::SpeechConfig;
use trunkline::speech::{Speech, Voice};

use common::{Phone, is_hang_up, options};
use voice::{noise, say, telephone, with_model};

const MESSAGE: &str = "Good morning. This is the dentist. Your appointment is tomorrow at ten.";
const MINUTE: Duration = Duration::from_secs(60);

fn without_model() -> Speech {
    Speech::start(&SpeechConfig::default()).expect("starts")
}

fn outcome(event: &Event) -> &str {
    match event {
        Event::HangUp { outcome } => outcome,
        other => panic!("{other:?}"),
    }
}

fn greeted(speech: &Speech) -> Phone {
    let mut phone = Phone::new(speech.clone(), None, options(MESSAGE));
    phone.until(MINUTE, |event| *event == Event::Ready);
    phone.command(Command::Greet);
    phone
}

fn asked(speech: &Speech) -> Phone {
    let mut phone = greeted(speech);
    phone.until_played(MINUTE);
    phone
}

#[test]
fn a_spoken_yes_confirms() {
    let speech = with_model();
    let mut phone = asked(&speech);
    assert_eq!(phone.said()[..3], ["Good morning.", "This is the dentist.", "Your appointment is tomorrow at ten."]);
    phone.speak(&telephone(&say(&speech, "Yes, that is correct.", Voice::Kal)));
    let end = phone.until(MINUTE, is_hang_up);
    assert_eq!(outcome(&end), "confirmed");
    assert!(phone.understood().contains("yes"), "{:?}", phone.words());
    assert_eq!(phone.said().last().map(String::as_str), Some("Goodbye."));
    let order: Vec<usize> = [
        phone.events.iter().position(|(_, event)| matches!(event, Event::SpeechStarted { .. })),
        phone.events.iter().position(|(_, event)| matches!(event, Event::SpeechStopped { .. })),
        phone.events.iter().position(|(_, event)| matches!(event, Event::CallerText { last: true, .. })),
        phone.events.iter().rposition(|(_, event)| matches!(event, Event::TurnEnd)),
        phone.events.iter().position(|(_, event)| is_hang_up(event)),
    ]
    .into_iter()
    .flatten()
    .collect();
    assert!(order.len() == 5 && order.is_sorted(), "{:#?}", phone.words());
    phone.command(Command::Stop);
    phone.until(MINUTE, |event| *event == Event::Ended);
}

#[test]
fn a_spoken_no_declines_and_a_question_is_answered_by_the_message() {
    let speech = with_model();
    let mut phone = asked(&speech);
    phone.speak(&telephone(&say(&speech, "What is this about?", Voice::Slt)));
    phone.until_played(MINUTE);
    assert_eq!(phone.said().iter().filter(|text| *text == "This is the dentist.").count(), 2, "{:#?}", phone.words());
    phone.speak(&telephone(&say(&speech, "No, I can not come.", Voice::Kal)));
    let end = phone.until(MINUTE, is_hang_up);
    assert_eq!(outcome(&end), "declined", "{:#?}", phone.words());
}

#[test]
fn the_caller_interrupts_and_nothing_stale_is_said() {
    let speech = with_model();
    let mut phone = greeted(&speech);
    phone.until(MINUTE, |event| matches!(event, Event::AudioEnd { .. }));
    phone.run(Duration::from_millis(500));
    let begun = phone.now();
    let words = telephone(&say(&speech, "Yes, I will be there.", Voice::Kal));
    let first = words.iter().position(|sample| sample.abs() > 500).expect("words");
    phone.speak(&words);
    phone.until(MINUTE, |event| matches!(event, Event::SpeechStarted { .. }));
    let delay = phone.now().saturating_sub(begun + Duration::from_micros(first as u64 * 125));
    println!("speech detected {delay:?} after its first sample");
    assert!(delay < Duration::from_millis(200), "{delay:?}");
    assert_eq!(phone.flushes, 1);
    let flushed = phone.events.len();
    let end = phone.until(MINUTE, is_hang_up);
    assert_eq!(outcome(&end), "confirmed", "{:#?}", phone.words());
    let texts: Vec<_> = phone.events[flushed..]
        .iter()
        .filter_map(|(_, event)| match event {
            Event::AgentText { text, .. } => Some(text.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(texts, ["Thank you.", "Goodbye."], "nothing of the interrupted message comes after it");
}

#[test]
fn a_hello_over_the_message_brings_the_message_again() {
    let speech = with_model();
    let mut phone = greeted(&speech);
    phone.until(MINUTE, |event| matches!(event, Event::AudioEnd { .. }));
    phone.speak(&telephone(&say(&speech, "Hello? Hello?", Voice::Kal)));
    phone.until(MINUTE, |event| matches!(event, Event::SpeechStarted { .. }));
    let before = phone.said().len();
    phone.until_played(MINUTE);
    assert_eq!(phone.said()[before], "Good morning.", "{:#?}", phone.words());
}

#[test]
fn keys_decide_with_and_without_a_recogniser() {
    for speech in [with_model(), without_model()] {
        for (key, expected) in [('1', "confirmed"), ('2', "declined")] {
            let mut phone = greeted(&speech);
            phone.until(MINUTE, |event| matches!(event, Event::AudioEnd { .. }));
            phone.command(Command::Key(key));
            phone.until(MINUTE, |event| matches!(event, Event::SpeechStarted { .. }));
            let end = phone.until(MINUTE, is_hang_up);
            assert_eq!(outcome(&end), expected);
        }
    }
}

#[test]
fn without_a_recogniser_only_keys_are_named_and_speech_interrupts_nothing() {
    let speech = without_model();
    let mut phone = greeted(&speech);
    phone.speak(&telephone(&say(&speech, "Hello? Who is there? Hello?", Voice::Kal)));
    phone.until_played(MINUTE);
    assert_eq!(phone.flushes, 0);
    let said = phone.said().join(" ");
    assert!(said.contains("Please press one to confirm.") && !said.contains("say yes"), "{said}");
}

#[test]
fn silence_is_asked_about_and_then_ends_the_call() {
    let speech = with_model();
    let mut phone = asked(&speech);
    let asked = phone.now();
    let question = phone.said().last().cloned().expect("a question");
    phone.until(Duration::from_secs(10), |event| matches!(event, Event::AgentText { .. }));
    let waited = phone.now() - asked;
    assert!((7_900..8_500).contains(&waited.as_millis()), "{waited:?}");
    let end = phone.until(2 * MINUTE, is_hang_up);
    assert_eq!(outcome(&end), "empty-room");
    assert_eq!(phone.said().iter().filter(|text| **text == question).count(), 3);
}

#[test]
fn takes_a_message_and_reads_what_was_said_before_the_hash_key() {
    let speech = with_model();
    let mut phone = asked(&speech);
    phone.command(Command::Key('3'));
    phone.until_played(MINUTE);
    phone.speak(&telephone(&say(&speech, "Please call me back tomorrow morning.", Voice::Kal)));
    phone.until(MINUTE, |event| matches!(event, Event::SpeechStarted { .. }));
    phone.run(Duration::from_millis(2_600));
    phone.command(Command::Key('#'));
    let end = phone.until(MINUTE, is_hang_up);
    assert_eq!(outcome(&end), "message", "{:#?}", phone.words());
    assert!(phone.understood().contains("tomorrow morning"), "{:#?}", phone.words());
    assert!(phone.said().join(" ").contains("Your message is saved."));
    let balance = |wanted: fn(&Event) -> bool| phone.events.iter().filter(|(_, event)| wanted(event)).count();
    assert_eq!(
        balance(|event| matches!(event, Event::SpeechStarted { .. })),
        balance(|event| matches!(event, Event::SpeechStopped { .. })),
    );
}

#[test]
fn a_message_ends_when_the_caller_stops_speaking() {
    let speech = with_model();
    let mut phone = asked(&speech);
    phone.speak(&telephone(&say(&speech, "I want to leave a message.", Voice::Kal)));
    phone.until_played(MINUTE);
    let mut words = telephone(&say(&speech, "My number is five five five one two three.", Voice::Slt));
    words.extend([0; 8_000]);
    words.extend(telephone(&say(&speech, "The key is under the mat.", Voice::Slt)));
    phone.speak(&words);
    let end = phone.until(MINUTE, is_hang_up);
    assert_eq!(outcome(&end), "message", "{:#?}", phone.words());
    let understood = phone.understood();
    // Words that the recogniser gets right at every level of the line and with every arithmetic of a processor.
    let first = understood.contains("number") && understood.contains("555");
    let second = understood.contains("mat");
    assert!(first && second, "both sentences: {understood}");
}

#[test]
fn a_number_that_only_speaks_does_so_and_hangs_up() {
    let speech = with_model();
    let mut announced = options("We are closed today. Please call tomorrow.");
    announced.speak_only = true;
    let mut phone = Phone::new(speech.clone(), None, announced);
    phone.command(Command::Greet);
    phone.speak(&telephone(&say(&speech, "Hello? Hello?", Voice::Kal)));
    let end = phone.until(MINUTE, is_hang_up);
    assert_eq!(outcome(&end), "finished");
    assert_eq!(phone.said(), ["We are closed today.", "Please call tomorrow."]);
    assert_eq!(phone.flushes, 0);
}

#[test]
fn a_short_bang_is_not_an_interruption() {
    let speech = with_model();
    let mut phone = greeted(&speech);
    phone.until(MINUTE, |event| matches!(event, Event::AudioEnd { .. }));
    phone.speak(&noise(240, 12_000));
    phone.until_played(MINUTE);
    assert_eq!(phone.flushes, 0, "{:#?}", phone.words());
}

#[test]
fn a_long_text_is_not_handed_on_long_before_it_is_heard() {
    let speech = without_model();
    let text: String = (0..60).map(|n| format!("This is sentence number {n} of the long text. ")).collect();
    let mut phone = Phone::new(speech, None, options(&text));
    phone.command(Command::Greet);
    phone.run(Duration::from_secs(10));
    let spans = phone.events.iter().filter_map(|(_, event)| match event {
        Event::Audio(audio) => Some(audio.sound.span().as_secs_f64()),
        _ => None,
    });
    let ahead = spans.sum::<f64>() - 10.0;
    assert!((5.0..20.0).contains(&ahead), "{ahead} s ahead");
    phone.command(Command::Stop);
    phone.until(MINUTE, |event| *event == Event::Ended);
}

#[test]
fn a_call_on_hold_is_not_asked_whether_somebody_is_there() {
    let speech = without_model();
    let mut phone = greeted(&speech);
    phone.until_played(MINUTE);
    phone.command(Command::Hold(true));
    let before = phone.said().len();
    phone.run(MINUTE);
    assert_eq!(phone.said().len(), before, "{:#?}", phone.words());
    phone.command(Command::Hold(false));
    let resumed = phone.now();
    phone.until(MINUTE, |event| matches!(event, Event::AgentText { .. }));
    assert!(phone.now() - resumed > Duration::from_secs(5), "the silence begins anew");
}
