//! The ears of the end-to-end tests, tested themselves: on a clean passage they say nothing, on each deliberate
//! breakage they say which.

use crate::srtp::sentences;
use crate::support;
use support::audio;
use support::damage::{Law, breakage, examine, like};
use trunkline::speech::Voice;

/// Four seconds with the make of speech: voiced syllables of moving pitch and colour, pauses between.
fn speech(seed: f64) -> Vec<i16> {
    let mut phase = 0.0_f64;
    (0..32_000)
        .map(|index| {
            let t = f64::from(index) / 8_000.0;
            let pitch = 120.0 + 35.0 * (t * 1.7 + seed).sin() + 15.0 * (t * 5.3 + seed * 2.0).sin();
            phase += pitch / 8_000.0;
            let syllable = (t * 3.1 + seed).sin().max(0.0).powf(0.5) * (0.6 + 0.4 * (t * 0.9 + seed).cos());
            let voice: f64 = (1..20)
                .map(|harmonic| {
                    let hertz = pitch * f64::from(harmonic);
                    let first = 500.0 + 250.0 * (t * 2.3 + seed).sin();
                    let second = 1_700.0 + 500.0 * (t * 1.9 - seed).cos();
                    let colour =
                        (-((hertz - first) / 200.0).powi(2)).exp() + 0.5 * (-((hertz - second) / 250.0).powi(2)).exp();
                    colour * (std::f64::consts::TAU * phase * f64::from(harmonic)).sin()
                })
                .sum();
            (voice * syllable * 4_000.0).clamp(-32_000.0, 32_000.0) as i16
        })
        .collect()
}

/// As a phone hears it: through G.711, after a second of silence, and quieter.
fn heard(reference: &[i16]) -> Vec<i16> {
    let mut out = vec![0; 8_123];
    out.extend(audio::from_ulaw(&audio::to_ulaw(&reference.iter().map(|sample| sample / 2).collect::<Vec<_>>())));
    out.extend(std::iter::repeat_n(0, 4_000));
    out
}

#[test]
fn a_clean_passage_passes_and_is_found_where_it_is() {
    let reference = speech(0.3);
    let damage = examine(&reference, &heard(&reference));
    assert!(damage.none(), "{damage:?}");
    assert_eq!(damage.offset, 8_123);
}

#[test]
fn other_words_do_not_pass() {
    let damage = examine(&speech(0.3), &heard(&speech(2.1)));
    assert!(!damage.none(), "{damage:?}");
}

#[test]
fn a_hole_of_20_ms_does_not_pass() {
    let reference = speech(0.3);
    let whole = heard(&reference);
    let damage = examine(&reference, &breakage::hole(&whole, 8_123, 40_000));
    assert!(!damage.none() && damage.holes.len() == 1, "{damage:?}");
    assert!((15..=25).contains(&damage.holes[0].1), "{damage:?}");
}

#[test]
fn a_skipped_packet_does_not_pass() {
    let reference = speech(0.3);
    let damage = examine(&reference, &breakage::skip(&heard(&reference), 8_123 + 12_000));
    assert!(!damage.none(), "{damage:?}");
}

/// Voices and where in them, samples from the beginning, a breakage is put: where they are loud.
fn places() -> Vec<(String, Vec<i16>, Vec<usize>)> {
    let made = [0.3, 2.1, 5.2].map(|seed| (format!("made of {seed}"), speech(seed)));
    let spoken = [Voice::Kal, Voice::Slt]
        .map(|voice| (format!("{voice:?}"), sentences("The quick brown fox jumps over the lazy dog.", voice).concat()));
    let voices = made.into_iter().chain(spoken);
    voices
        .map(|(name, reference)| {
            let level =
                |at: usize| reference[at..at + 320].iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>();
            // Two frames that are one like the other can change places without harm.
            let differ = |at: &usize| like(&reference[*at..at + 160], &reference[at + 160..at + 320]) < 0.8;
            let mut loud: Vec<usize> = (1_600..reference.len() - 3_200).step_by(560).filter(differ).collect();
            loud.sort_by(|a, b| level(*b).total_cmp(&level(*a)));
            loud.truncate(4);
            (name, reference, loud)
        })
        .collect()
}

#[test]
fn every_kind_of_damage_is_found_in_every_voice_and_none_where_there_is_none() {
    type Break = fn(&[i16], usize) -> Vec<i16>;
    let kinds: [(&str, Break); 5] = [
        ("a hole of 20 ms", |heard, at| breakage::hole(heard, at, at + 320)),
        ("a hole of 40 ms", |heard, at| [&heard[..at], &[0; 320], &heard[at + 320..]].concat()),
        ("a frame left out", breakage::skip),
        ("a frame twice", breakage::repeat),
        ("two frames swapped", breakage::swap),
    ];
    let mut missed = Vec::new();
    for (name, reference, places) in places() {
        let whole = heard(&reference);
        let clean = examine(&reference, &whole);
        assert!(clean.none(), "{name}: {clean:?}");
        for at in places {
            for (kind, broken) in kinds {
                let damage = examine(&reference, &broken(&whole, 8_123 + at));
                if damage.none() {
                    missed.push(format!("{kind} at {at} of {name}"));
                }
            }
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
fn a_wrong_rate_is_named() {
    let reference = speech(0.3);
    let damage = examine(&reference, &breakage::wrong_rate(&heard(&reference)));
    assert!(!damage.none() && (damage.speed - 0.5).abs() < 0.01, "{damage:?}");
}

#[test]
fn a_swapped_law_is_named() {
    let reference = speech(0.3);
    let damage = examine(&reference, &breakage::swapped_law(&heard(&reference)));
    assert!(!damage.none() && damage.law == Law::UlawReadAsAlaw, "{damage:?}");
}

#[test]
fn the_tables_of_both_laws_are_those_of_g711() {
    // Corners of ITU-T G.711: the loudest, the quietest and the sign.
    assert_eq!(audio::from_ulaw(&[0x80, 0x00, 0xff, 0x7f]), [32_124, -32_124, 0, 0]);
    assert_eq!(audio::from_alaw(&[0xaa, 0x2a, 0xd5, 0x55]), [32_256, -32_256, 8, -8]);
}
