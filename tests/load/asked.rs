//! What may be asked for on the command line.

use std::time::Duration;

use clap::Parser as _;

use super::faults::Network;
use super::flags::*;

fn flags(text: &str) -> Result<Flags, String> {
    let words = ["load", "--bench"].into_iter().chain(text.split_whitespace());
    Flags::try_parse_from(words).map_err(|error| error.to_string()).and_then(Flags::check)
}

#[test]
fn without_flags_it_is_the_short_ladder() {
    let flags = flags("").expect("good");
    assert_eq!((flags.calls.as_slice(), flags.seconds, flags.service), (&[1, 10, 50, 200][..], 10, Kind::Echo));
    assert_eq!(flags.network(), Network { seed: 1, ..Network::default() });
}

#[test]
fn flags_are_read() {
    let flags = flags(
        "--calls 3,4 --seconds 20 --service stall --troubled 2 --loss 3 --jitter 30 --reorder 1 --duplicate 0.5 \
         --drift -200 --starve 500 --seed 7 --tls --json x.json",
    )
    .expect("good");
    let network = flags.network();
    assert_eq!((network.loss, network.jitter, network.seed), (3.0, Duration::from_millis(30), 7));
    assert_eq!((flags.drift, flags.starve, flags.tls), (-200.0, Some(500), true));
    assert_eq!((flags.troubled_of(3), flags.troubled_of(1)), (2, 1));
}

#[test]
fn a_tenth_is_troubled_unless_told_otherwise() {
    let some = flags("--service deaf").expect("good");
    assert_eq!([1, 10, 11, 50].map(|calls| some.troubled_of(calls)), [1, 1, 2, 5]);
    assert_eq!(flags("--service bursts").expect("good").troubled_of(50), 0);
}

#[test]
fn nothing_outside_loopback_is_taken() {
    assert!(flags("--sip 127.0.0.1:5060 --pid 1").is_ok());
    for (bad, named) in [
        ("--sip 192.0.2.1:5060 --pid 1", "--sip 192.0.2.1:5060 is refused"),
        ("--sip 127.0.0.1:5060 --pid 1 --from 0.0.0.0:5070", "--from 0.0.0.0:5070 is refused"),
        ("--sip 127.0.0.1:5060 --pid 1 --listen [::]:80", "--listen [::]:80 is refused"),
    ] {
        let told = flags(bad).expect_err(bad);
        assert!(told.contains(named), "{told}");
    }
}

#[test]
fn nonsense_is_named() {
    for bad in [
        "--calls 0",
        "--calls 901",
        "--seconds 0",
        "--loss 101",
        "--loss -1",
        "--drift 20000",
        "--service nobody",
        "--troubled 1",
        "--rate 0",
        "--rate 2000 --hold 1000",
        "--sip 127.0.0.1:5060",
        "--starve 500 --sip 127.0.0.1:5060 --pid 1",
        "--starve 5000 --seconds 10",
        "--colour red",
    ] {
        assert!(flags(bad).is_err(), "{bad}");
    }
}
