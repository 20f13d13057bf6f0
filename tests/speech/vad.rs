//! Voice activity on synthetic speech over a telephone line with noise: when it begins and when it ends.
#![allow(clippy::expect_used, clippy::panic, clippy::disallowed_methods)] // functions that tests share are not inside `#[test]`

use crate::common;
use std::time::{Duration, Instant};

use trunkline::config::SpeechConfig;
use trunkline::speech::{Activity, Speech, To16k, Vad, VadSettings, Voice};

use common::{noise, say, telephone};

const SENTENCES: [&str; 4] =
    ["Yes.", "Who is this please?", "I would like to move my appointment.", "The delivery arrives on Tuesday."];

/// First and last moment, seconds, at which `pcm` (16 kHz) is within 30 dB of its loudest 10 ms.
fn bounds(pcm: &[i16]) -> (f64, f64) {
    let energy: Vec<f64> =
        pcm.chunks(160).map(|chunk| chunk.iter().map(|sample| f64::from(*sample).powi(2)).sum()).collect();
    let loud = energy.iter().copied().fold(0.0, f64::max) / 1_000.0;
    let first = energy.iter().position(|energy| *energy > loud).unwrap_or(0);
    let last = energy.iter().rposition(|energy| *energy > loud).unwrap_or(0);
    (first as f64 / 100.0, (last + 1) as f64 / 100.0)
}

/// Feeds 8 kHz `line` in frames of `frame` samples; the changes, with the time at which each was reported.
fn listen(line: &[i16], frame: usize) -> Vec<(Activity, f64, f64)> {
    let (mut to, mut vad) = (To16k::default(), Vad::new(VadSettings::default()));
    let start = Instant::now();
    let mut found = Vec::new();
    for (index, chunk) in line.chunks(frame).enumerate() {
        let at = (index * frame) as f64 / 8_000.0;
        let mut pcm = Vec::new();
        to.push(chunk, 8_000, &mut pcm);
        for change in vad.push(&pcm, start + Duration::from_secs_f64(at)) {
            let (Activity::Started { at: when, .. } | Activity::Stopped { at: when, .. }) = change;
            found.push((change, when.duration_since(start).as_secs_f64(), at + chunk.len() as f64 / 8_000.0));
        }
    }
    found
}

fn line(speech: &Speech, text: &str, voice: Voice, hiss: i32) -> (Vec<i16>, (f64, f64)) {
    let mut pcm = vec![0; 16_000];
    pcm.extend(say(speech, text, voice));
    pcm.extend(vec![0; 24_000]);
    let bounds = bounds(&pcm);
    let noisy: Vec<i16> =
        pcm.iter().zip(noise(pcm.len(), hiss)).map(|(sample, hiss)| sample.saturating_add(hiss)).collect();
    (telephone(&noisy), bounds)
}

#[test]
fn tells_when_speech_begins_and_ends_through_noise() {
    let speech = Speech::start(&SpeechConfig::default()).expect("starts");
    let (mut early, mut late) = (Vec::new(), Vec::new());
    for voice in [Voice::Slt, Voice::Kal] {
        for hiss in [0, 100, 400] {
            for text in SENTENCES {
                let (line, (begins, ends)) = line(&speech, text, voice, hiss);
                let found = listen(&line, 160);
                let [(Activity::Started { .. }, started, _), .., (Activity::Stopped { .. }, stopped, told)] = found[..]
                else {
                    panic!("{voice:?} {hiss} {text}: {found:?}");
                };
                let (begin, end) = (started - begins, stopped - ends);
                println!("{voice:?}, hiss {hiss}, {text}: begins {:+.0} ms, ends {:+.0} ms", begin * 1e3, end * 1e3);
                assert!(begin.abs() < 0.2 && end.abs() < 0.2, "{voice:?} {hiss} {text}: {begin} {end}");
                assert!((0.5..0.56).contains(&(told - stopped)), "the hang-over: {}", told - stopped);
                assert_eq!(found.len(), 2, "{voice:?} {hiss} {text}: one utterance");
                early.push(begin.abs());
                late.push(end.abs());
            }
        }
    }
    let median = |mut errors: Vec<f64>| {
        errors.sort_by(f64::total_cmp);
        errors[errors.len() / 2]
    };
    let (begin, end) = (median(early), median(late));
    println!("median error: begin {:.0} ms, end {:.0} ms", begin * 1e3, end * 1e3);
    assert!(begin < 0.03 && end < 0.06, "{begin} {end}");
}

#[test]
fn the_length_of_frames_does_not_matter() {
    let speech = Speech::start(&SpeechConfig::default()).expect("starts");
    let (line, _) = line(&speech, SENTENCES[2], Voice::Slt, 50);
    let positions = |frame: usize| -> Vec<u64> {
        let sample = |change: &Activity| match change {
            Activity::Started { sample, .. } | Activity::Stopped { sample, .. } => *sample,
        };
        listen(&line, frame).iter().map(|(change, ..)| sample(change)).collect()
    };
    let usual = positions(160);
    assert_eq!(usual.len(), 2);
    for frame in [1, 37, 80, 240, 1_000, line.len()] {
        assert_eq!(positions(frame), usual, "frames of {frame}");
    }
}
