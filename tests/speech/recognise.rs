//! The recogniser understands what the voice says, over a telephone line too; broken models are refused in words.
#![allow(clippy::expect_used, clippy::panic, clippy::disallowed_methods)] // functions that tests share are not inside `#[test]`

use crate::common;
use std::path::PathBuf;
use std::time::Instant;

use trunkline::config::SpeechConfig;
use trunkline::speech::{Speech, StartError, To16k, Voice};

use common::{model_directory, say, telephone, with_model, word_errors};

const SENTENCES: [&str; 6] = [
    "Please call me back tomorrow morning after nine.",
    "The delivery arrives on Tuesday at the main entrance.",
    "I would like to move my appointment to next week.",
    "Yes, that is correct, thank you very much.",
    "The meeting room is on the second floor.",
    "We need three more chairs and a larger table.",
];

fn recognise(speech: &Speech, pcm: Vec<i16>) -> String {
    speech.recognise(pcm).blocking_recv().expect("answered").expect("recognised")
}

fn error_rate(speech: &Speech, voice: Voice, line: impl Fn(Vec<i16>) -> Vec<i16>) -> f64 {
    let (mut errors, mut words) = (0, 0);
    for sentence in SENTENCES {
        let pcm = line(say(speech, sentence, voice));
        let start = Instant::now();
        let heard = recognise(speech, pcm.clone());
        println!("{voice:?} {:.1} s in {:?}: {heard}", pcm.len() as f64 / 16_000.0, start.elapsed());
        errors += word_errors(sentence, &heard);
        words += sentence.split_whitespace().count();
    }
    errors as f64 / words as f64
}

#[test]
fn understands_the_voice_in_full_quality() {
    let speech = with_model();
    for voice in [Voice::Slt, Voice::Kal] {
        let rate = error_rate(&speech, voice, |pcm| pcm);
        println!("{voice:?}: {:.1} % of the words wrong", rate * 100.0);
        assert!(rate < 0.2, "{voice:?}: {rate}");
    }
}

#[test]
fn understands_the_voice_over_a_telephone_line() {
    let speech = with_model();
    let line = |pcm: Vec<i16>| {
        let mut out = Vec::new();
        To16k::default().push(&telephone(&pcm), 8_000, &mut out);
        out
    };
    for voice in [Voice::Slt, Voice::Kal] {
        let rate = error_rate(&speech, voice, line);
        println!("{voice:?} at 8 kHz: {:.1} % of the words wrong", rate * 100.0);
        assert!(rate < 0.2, "{voice:?}: {rate}");
    }
}

/// Not a promise: prints what a sentence and an utterance cost on this machine.
#[test]
fn prints_what_speaking_and_recognising_cost() {
    let speech = with_model();
    for voice in [Voice::Slt, Voice::Kal] {
        for sentence in SENTENCES {
            let start = Instant::now();
            let spoken = speech.speak(sentence.to_owned(), voice).blocking_recv().expect("spoken");
            let seconds = spoken.pcm.len() as f64 / 16_000.0;
            println!("{voice:?} says {seconds:.1} s in {:?}", start.elapsed());
        }
    }
    let pcm = say(&speech, SENTENCES[0], Voice::Kal);
    for _ in 0..5 {
        let start = Instant::now();
        recognise(&speech, pcm.clone());
        println!("{:.1} s recognised in {:?}", pcm.len() as f64 / 16_000.0, start.elapsed());
    }
}

#[test]
fn hears_no_words_in_silence_or_noise() {
    let speech = with_model();
    assert_eq!(recognise(&speech, vec![0; 32_000]), "");
    assert_eq!(recognise(&speech, Vec::new()), "");
    let noise = common::noise(32_000, 300);
    let heard = recognise(&speech, noise);
    assert!(heard.split_whitespace().count() <= 2, "heard {heard:?} in noise");
}

#[test]
fn hears_the_end_of_a_long_utterance() {
    let speech = with_model();
    let mut pcm = say(&speech, &SENTENCES.join(" "), Voice::Slt);
    pcm.splice(0..0, vec![0; 16_000 * 12]);
    let heard = recognise(&speech, pcm).to_lowercase();
    assert!(heard.contains("table"), "heard: {heard}");
}

#[test]
fn a_full_queue_is_answered_busy_and_every_asker_gets_an_answer() {
    let speech = with_model();
    let pcm = say(&speech, "Hello there.", Voice::Slt);
    let waiting: Vec<_> = (0..60).map(|_| speech.recognise(pcm.clone())).collect();
    let mut busy = 0;
    let mut rest = Vec::new();
    for (index, answer) in waiting.into_iter().enumerate() {
        if index < 40 {
            drop(answer);
        } else {
            rest.push(answer);
        }
    }
    for answer in rest {
        if let Err(error) = answer.blocking_recv().expect("answered") {
            assert_eq!(error.to_string(), "the recogniser is overloaded");
            busy += 1;
        }
    }
    assert!(busy >= 15, "{busy} were refused");
}

#[test]
fn a_broken_model_is_refused_with_a_sentence_for_the_operator() {
    let whole = model_directory();
    let problem = |change: &dyn Fn(&PathBuf)| {
        let folder = tempfile::tempdir().expect("folder");
        for name in ["model.bin", "vocabulary.txt"] {
            std::os::unix::fs::symlink(whole.canonicalize().expect("path").join(name), folder.path().join(name))
                .expect("link");
        }
        change(&folder.path().to_path_buf());
        let config = SpeechConfig { model_directory: Some(folder.path().to_path_buf()), threads: 1 };
        match Speech::start(&config) {
            Err(error @ StartError::Model { .. }) => error.to_string(),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("started with a broken model"),
        }
    };
    let replace = |folder: &PathBuf, name: &str, bytes: &[u8]| {
        std::fs::remove_file(folder.join(name)).expect("removed");
        std::fs::write(folder.join(name), bytes).expect("written");
    };
    let bytes = std::fs::read(whole.join("model.bin")).expect("model");
    let missing = problem(&|folder| std::fs::remove_file(folder.join("model.bin")).expect("removed"));
    assert!(missing.contains("model.bin cannot be opened") && missing.contains("run `make model`"), "{missing}");
    let cut = problem(&|folder| replace(folder, "model.bin", &bytes[..bytes.len() / 2]));
    assert!(cut.contains("cut off"), "{cut}");
    let zip = problem(&|folder| replace(folder, "model.bin", b"PK\x03\x04 not a model"));
    assert!(zip.contains("not a CTranslate2 model"), "{zip}");
    let words = problem(&|folder| replace(folder, "vocabulary.txt", b"hello\nworld\n"));
    assert!(words.contains("2 tokens, but model.bin knows 51864"), "{words}");
    let mut wrong = bytes.clone();
    let at = wrong.windows(5).position(|window| window == b"conv1").expect("name");
    wrong[at] = b'k';
    let renamed = problem(&|folder| replace(folder, "model.bin", &wrong));
    assert!(renamed.contains("it has no `encoder/conv1"), "{renamed}");
    let none = Speech::start(&SpeechConfig { model_directory: Some("/nowhere/at/all".into()), threads: 1 });
    assert!(none.err().expect("refused").to_string().contains("there is no such folder"));
}
