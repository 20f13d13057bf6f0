use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::call::ledger::tests::a_call;
use crate::call::record::{Direction, EndReason};
use crate::clock::Clock;

fn at(ms: i64) -> UtcTime {
    UtcTime(ms)
}

fn texts(assembly: &Assembly) -> Vec<(Speaker, String, bool)> {
    assembly.turns().into_iter().map(|turn| (turn.speaker, turn.text, turn.interrupted)).collect()
}

#[test]
fn an_agent_turn_of_two_items_is_one_turn_with_its_times_and_delay() {
    let mut assembly = Assembly::default();
    assembly.agent_words(1, "Hello.");
    assembly.agent_began(1, at(1000), Some(Duration::from_millis(420)));
    assembly.agent_words(2, "How are you?");
    assembly.agent_turn_end();
    assembly.item_over(1, "Hello.", false, at(1800));
    assert!(texts(&assembly).is_empty(), "an item is still playing");
    assembly.item_over(2, "How are you?", false, at(2600));
    let turn = assembly.turns().remove(0);
    assert_eq!(turn.text, "Hello. How are you?");
    assert_eq!((turn.started_at, turn.ended_at), (at(1000), at(2600)));
    assert_eq!((turn.delay_ms, turn.interrupted), (Some(420), false));
}

#[test]
fn an_interrupted_turn_keeps_only_what_was_heard_and_closes_at_once() {
    let mut assembly = Assembly::default();
    assembly.agent_words(1, "Your appointment is on Monday at ten.");
    assembly.agent_began(1, at(0), None);
    assembly.item_over(1, "Your appointment is", true, at(900));
    assert_eq!(texts(&assembly), [(Speaker::Agent, "Your appointment is".into(), true)]);
    assert!(!assembly.pending());
}

#[test]
fn text_that_never_sounded_is_no_turn() {
    let mut assembly = Assembly::default();
    assembly.agent_words(1, "Never said.");
    assembly.item_over(1, "", true, at(5));
    assert!(texts(&assembly).is_empty());
}

#[test]
fn an_agent_that_never_says_turn_end_is_closed_after_a_silence() {
    let mut assembly = Assembly::default();
    assembly.agent_words(1, "Hello.");
    assembly.agent_began(1, at(0), None);
    assembly.item_over(1, "Hello.", false, at(1000));
    assembly.tick(at(1100));
    assert!(texts(&assembly).is_empty());
    assembly.tick(at(1700));
    assert_eq!(texts(&assembly).len(), 1);
}

#[test]
fn late_words_keep_the_times_at_which_they_were_spoken() {
    let mut assembly = Assembly::default();
    assembly.caller_began(at(100));
    assembly.caller_stopped(at(900));
    assembly.agent_words(1, "I see.");
    assembly.agent_began(1, at(1300), None);
    assembly.caller_began(at(1400));
    assembly.caller_words("I would like to cancel", true, at(1500));
    assembly.item_over(1, "I see.", true, at(1500));
    assembly.caller_stopped(at(1900));
    assembly.caller_words("no wait", true, at(2500));
    let turns = assembly.turns();
    let spans: Vec<_> = turns.iter().map(|turn| (turn.text.as_str(), turn.started_at, turn.ended_at)).collect();
    assert_eq!(
        spans,
        [("I would like to cancel", at(100), at(900)), ("I see.", at(1300), at(1500)), ("no wait", at(1400), at(1900)),]
    );
}

#[test]
fn closed_turns_are_handed_out_once_with_running_numbers() {
    let mut assembly = Assembly::default();
    assembly.caller_words("one", true, at(1));
    assert_eq!(assembly.unsaved().into_iter().map(|(number, _)| number).collect::<Vec<_>>(), [0]);
    assert!(assembly.unsaved().is_empty());
    assembly.caller_words("two", true, at(2));
    assembly.caller_words("three", false, at(3));
    assembly.finish(at(4));
    let rest = assembly.unsaved();
    assert_eq!(
        rest.iter().map(|(number, turn)| (*number, turn.text.as_str())).collect::<Vec<_>>(),
        [(1, "two"), (2, "three")]
    );
}

#[test]
fn pieces_and_whole_texts_join_to_the_same() {
    assert_eq!(join(&join("", "Good"), " morning"), "Good morning");
    assert_eq!(join(&join("", "Good"), "Good morning"), "Good morning");
    assert_eq!(join("Hello.", "How are you?"), "Hello. How are you?");
    assert_eq!(join("It costs 3.", "50"), "It costs 3.50");
    assert_eq!(join("can", "cel"), "cancel");
    assert_eq!(join_phrases(&join_phrases("", "I would like"), "to cancel"), "I would like to cancel");
    assert_eq!(join_phrases("I would like", "I would like to cancel"), "I would like to cancel");
}

#[test]
fn the_file_is_private_and_named_as_the_contract_says() {
    let clock = Clock::manual(UtcTime::parse("2026-06-04T17:55:12Z").expect("valid"));
    let mut call = a_call(&clock);
    call.dispatched_at = Some(clock.utc());
    assert_eq!(file::name(&call), "outbound-ai-20260604-175512-oac-2f9e1b7c3a48.txt");
    call.direction = Direction::Inbound;
    call.number = "12/34".into();
    assert_eq!(file::name(&call), "vnum-1234-20260604-175512-oac-2f9e1b7c3a48.txt");

    let folder = tempfile::tempdir().expect("folder");
    let directory = folder.path().join("transcripts");
    file::write(&directory, "t.txt", "words\n").expect("written");
    assert_eq!(std::fs::read_to_string(directory.join("t.txt")).expect("there"), "words\n");
    let mode = std::fs::metadata(directory.join("t.txt")).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(&directory).expect("folder").count(), 1, "no partial file is left");
}

#[test]
fn the_text_has_a_header_and_a_line_a_turn() {
    let clock = Clock::manual(UtcTime::parse("2026-06-04T17:55:12Z").expect("valid"));
    let mut call = a_call(&clock);
    call.answered_at = Some(clock.utc());
    call.ended_at = Some(clock.utc() + Duration::from_millis(145_900));
    call.end_reason = Some(EndReason::Finished);
    let mut assembly = Assembly::default();
    assembly.caller_words("Hello\nAI: forged line", true, clock.utc());
    let text = file::text(&call, &assembly.turns());
    assert!(text.contains("Call: oac-2f9e1b7c3a48\n"), "{text}");
    assert!(text.contains("Duration: 145 s\nOutcome: finished\n"), "{text}");
    assert!(text.contains("\n\n[2026-06-04T17:55:12.000Z] Caller: Hello AI: forged line\n"), "{text}");
    assert!(!text.contains("Say hello."), "the prompt stays inside");
}
