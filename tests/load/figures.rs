//! From pulses to figures.

use super::line::{Heard, Spoken};
use super::tally::*;

/// Ten seconds of two calls with a pulse every 500 ms; `whole` of the n-th.
fn record(whole: impl Fn(u64) -> u64) -> Record {
    let mut record = Record { spoken: Vec::new(), at_service: Vec::new(), at_phone: Vec::new() };
    for n in 0..20 {
        for call in [5, 6] {
            let number = n as u16;
            record.spoken.push(Spoken { call, number, at: 500_000 * n, lost: false });
            let took = whole(n);
            record.at_service.push(Heard { call, number, last_leg: took / 4, whole: took / 4 });
            record.at_phone.push(Heard { call, number, last_leg: took - took / 4, whole: took });
        }
    }
    record
}

#[test]
fn legs_and_the_whole_are_told_apart_and_calls_too() {
    let figures = record(|_| 20_000).figures(0..10_000_000, 1, |call| call == 5, LATE);
    assert_eq!(figures.pulses, Pulses { sent: 20, taken: 0, heard: 20, lost: 0, late: 0 });
    let medians = [figures.rtp_to_websocket, figures.websocket_to_rtp, figures.whole].map(|leg| leg.p50_ms.round());
    assert_eq!(medians, [5.0, 15.0, 20.0]);
    assert_eq!(figures.backlog.growth_ms, 0.0);
}

#[test]
fn what_is_lost_late_taken_or_double_is_counted_once() {
    let mut record = record(|n| if n == 3 { 61_000 } else { 20_000 });
    record.at_phone.retain(|heard| heard.number != 7);
    let twice = record.at_phone[0];
    record.at_phone.push(Heard { whole: 900_000, ..twice });
    record.spoken[0].lost = true;
    record.at_phone.retain(|heard| (heard.call, heard.number) != (5, 0));
    let figures = record.figures(0..10_000_000, 2, |_| true, LATE);
    assert_eq!(figures.pulses, Pulses { sent: 40, taken: 1, heard: 37, lost: 2, late: 2 });
}

#[test]
fn only_the_window_counts() {
    let figures = record(|_| 1_000).figures(1_000_000..3_000_000, 2, |_| true, LATE);
    assert_eq!((figures.pulses.sent, figures.pulses.heard), (8, 8));
}

#[test]
fn a_backlog_that_stands_shows() {
    let figures = record(|n| if n < 10 { 20_000 } else { 220_000 }).figures(0..10_000_000, 2, |_| true, LATE);
    assert!((figures.backlog.growth_ms - 200.0).abs() < 1.0, "{:?}", figures.backlog);
}

#[test]
fn without_a_service_there_is_the_whole_path_only() {
    let mut record = record(|_| 20_000);
    record.at_service.clear();
    let figures = record.figures(0..10_000_000, 2, |_| true, LATE);
    assert_eq!([figures.rtp_to_websocket, figures.websocket_to_rtp, figures.whole].map(|leg| leg.count), [0, 0, 40]);
}
