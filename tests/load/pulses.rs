//! Pulses: written, found anywhere, and not seen where there is none.

use super::pulse::*;
use super::rtp::QUIET;

const PULSE: Pulse = Pulse { call: 70_123, number: 40_000, stamp: 987_654_321_012, path: 200_000_000 };

fn frame(at: usize) -> Vec<u8> {
    let mut frame = vec![QUIET; 160];
    PULSE.write(&mut frame[at..]);
    frame
}

#[test]
fn a_pulse_is_read_as_it_was_written_at_every_place() {
    for at in [0, 1, 77, 160 - LENGTH] {
        let mut sound = frame(at);
        assert_eq!(Finder::default().hear(&mut sound), Some(PULSE), "{at}");
        assert_eq!(sound, [QUIET; 160], "and leaves silence");
    }
    assert_eq!(Finder::default().hear(&mut [QUIET; 160]), None);
}

#[test]
fn a_pulse_over_the_edge_of_two_frames_is_found_once() {
    for cut in [1, 15, 16, 40, LENGTH - 1] {
        let whole = [vec![QUIET; 160 - cut], frame(0), vec![QUIET; cut]].concat();
        let mut finder = Finder::default();
        let found: Vec<Option<Pulse>> = whole.chunks(160).map(|frame| finder.hear(&mut frame.to_vec())).collect();
        assert_eq!(found, [None, Some(PULSE)], "{cut}");
        assert_eq!(finder.hear(&mut [QUIET; 160]), None);
    }
}

#[test]
fn a_damaged_pulse_is_no_pulse_and_does_not_hide_the_next() {
    let mut finder = Finder::default();
    for octet in BEGINNING..LENGTH {
        let mut sound = frame(0);
        sound[octet] ^= 1;
        assert_eq!(finder.hear(&mut sound), None, "{octet}");
    }
    assert_eq!(finder.hear(&mut [LOUD; 160]), None);
    assert_eq!(finder.hear(&mut frame(3)), Some(PULSE));
}

#[test]
fn the_clock_goes_on() {
    let before = microseconds();
    std::thread::sleep(std::time::Duration::from_millis(1));
    assert!(microseconds() >= before + 1_000);
}
