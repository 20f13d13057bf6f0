//! The kept inputs of every fuzz target and seeded changes of them, without libFuzzer.
#![allow(clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use trunkline_fuzz::TARGETS;

/// Changed inputs for each target; a fuzzer does millions, this keeps the targets true.
const CHANGES: usize = 5_000;

#[test]
fn no_kept_input_and_no_change_of_one_breaks_an_invariant() {
    for (name, run) in TARGETS {
        let inputs = corpus(name);
        assert!(!inputs.is_empty(), "{name} has no corpus");
        inputs.iter().for_each(|(_, input)| run(input));
        let mut random = SmallRng::seed_from_u64(1);
        for number in 0..CHANGES {
            let (file, input) = &inputs[number % inputs.len()];
            let changed = change(input, &inputs, &mut random);
            let shown = changed.clone();
            let outcome = std::panic::catch_unwind(move || run(&changed));
            assert!(
                outcome.is_ok(),
                "{name}, change {number} of {}: {:?}",
                file.display(),
                String::from_utf8_lossy(&shown)
            );
        }
        println!("fuzz {name}: {} kept inputs and {CHANGES} changes of them", inputs.len());
    }
}

/// Octets that mean something in one of the formats.
const SPECIAL: &[u8] = b"\r\n \t:;,\"<>@=\\\0\xFF-9";

fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap_or_else(|problem| panic!("{}: {problem}", folder.display()))
        .map(|entry| entry.expect("entry").path())
        .collect();
    files.sort();
    files.into_iter().map(|file| (file.clone(), fs::read(file).expect("readable"))).collect()
}

/// A few of the changes that libFuzzer makes, too: bits, octets, cuts, doublings, and pieces of another input.
fn change(input: &[u8], all: &[(PathBuf, Vec<u8>)], random: &mut SmallRng) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..random.random_range(1..=6) {
        let at = random.random_range(0..=bytes.len().saturating_sub(1));
        let end = (at + random.random_range(1..=16)).min(bytes.len());
        match random.random_range(0..6) {
            _ if bytes.is_empty() => bytes.push(random.random()),
            0 => bytes[at] ^= 1 << random.random_range(0..8),
            1 => bytes[at] = SPECIAL[random.random_range(0..SPECIAL.len())],
            2 => drop(bytes.drain(at..end)),
            3 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            4 => bytes.insert(at, random.random()),
            _ => {
                let (_, other) = &all[random.random_range(0..all.len())];
                let from = random.random_range(0..=other.len());
                let to = (from + random.random_range(0..64)).min(other.len());
                bytes.splice(at..at, other[from..to].iter().copied());
            }
        }
    }
    bytes
}
