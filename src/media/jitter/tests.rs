//! A sender, a network and a listener in virtual time.

#![allow(clippy::disallowed_methods)]

use proptest::prelude::*;

use super::*;
use crate::media::FRAME_SAMPLES;
use crate::media::codec::Codec;
use crate::media::receive::{Content, Heard, Reception};
use crate::media::rtp::Packet;

/// 20 ms packets: (milliseconds after the start when it arrives, number of the packet).
type Schedule = Vec<(f64, u32)>;

const LIMIT: Duration = Duration::from_millis(200);

/// The packet's number in its first eight samples, a nibble each and all of them quiet, so that order can be read off.
/// The rest is loud or silent.
fn payload(number: u32, quiet: bool) -> [u8; FRAME_SAMPLES] {
    let mut octets = [if quiet { 0xFF } else { 0x8F }; FRAME_SAMPLES];
    (0..8).for_each(|nibble| octets[nibble] = 0xF0 | (number >> (4 * nibble) & 0x0F) as u8);
    octets
}

fn number(octets: &[u8; FRAME_SAMPLES]) -> u32 {
    (0..8).map(|nibble| u32::from(octets[nibble] & 0x0F) << (4 * nibble)).sum()
}

struct Run {
    reception: Reception,
    heard: Vec<(Duration, Heard)>,
}

impl Run {
    fn numbers(&self) -> Vec<Option<u32>> {
        self.heard.iter().map(|(_, heard)| heard.encoded.as_ref().map(|(_, octets)| number(octets))).collect()
    }

    fn real(&self) -> Vec<u32> {
        self.numbers().into_iter().flatten().collect()
    }
}

fn simulate(schedule: &Schedule, quiet: impl Fn(u32) -> bool, timestamp: impl Fn(u32) -> u32, seconds: f64) -> Run {
    let start = Instant::now();
    let mut run = Run { reception: Reception::new(LIMIT), heard: Vec::new() };
    let mut schedule = schedule.clone();
    schedule.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut next = schedule.into_iter().peekable();
    let end = start + Duration::from_secs_f64(seconds);
    loop {
        let arrival = next.peek().map(|(ms, _)| start + Duration::from_secs_f64(ms / 1e3));
        let due = run.reception.next_due();
        let now = match (arrival, due) {
            (Some(arrival), Some(due)) => arrival.min(due),
            (Some(only), None) | (None, Some(only)) => only,
            (None, None) => return run,
        };
        if now > end {
            return run;
        }
        while let Some(heard) = run.reception.poll(now).cloned() {
            if !heard.left_out {
                run.heard.push((now - start, heard));
            }
        }
        if arrival == Some(now) {
            let (_, number) = next.next().unwrap();
            let octets = payload(number, quiet(number));
            let sequence = (number as u16).wrapping_add(65_500);
            let packet = Packet {
                marker: false,
                payload_type: 0,
                sequence,
                timestamp: timestamp(number),
                ssrc: 1,
                payload: &octets,
            };
            run.reception.packet(&packet, Content::Audio(Sound::Voice(Codec::Pcmu)), now);
        }
    }
}

fn even(number: u32) -> u32 {
    (u32::MAX - 3_000).wrapping_add(number * 160)
}

fn clean(count: u32) -> Schedule {
    (0..count).map(|n| (f64::from(n) * 20.0, n)).collect()
}

#[test]
fn a_clean_network_adds_less_than_20_ms_and_loses_nothing() {
    let run = simulate(&clean(500), |n| n % 50 > 25, even, 10.0);
    assert_eq!(run.real(), (0..500).collect::<Vec<_>>()[..run.real().len()]);
    assert!(run.real().len() >= 499);
    let worst = run.heard.iter().map(|(at, heard)| *at - (heard.at - run.heard[0].1.at));
    assert!(worst.max().unwrap() <= Duration::from_millis(10));
    assert!(run.reception.jitter.delay() <= Duration::from_millis(8), "{:?}", run.reception.jitter.delay());
    assert_eq!(run.reception.jitter.counts().late, 0);
}

#[test]
fn frames_come_every_20_ms_to_the_microsecond_while_someone_speaks() {
    let run = simulate(&clean(300), |_| false, even, 6.0);
    for pair in run.heard.windows(2) {
        assert_eq!(pair[1].0 - pair[0].0, FRAME);
    }
}

#[test]
fn a_lost_packet_is_one_stand_in_and_no_more_delay() {
    let schedule: Schedule = clean(400).into_iter().filter(|(_, n)| n % 10 != 3).collect();
    let run = simulate(&schedule, |_| false, even, 8.0);
    let numbers = run.numbers();
    for (index, number) in numbers.iter().enumerate() {
        assert_eq!(*number, (index % 10 != 3).then_some(index as u32));
    }
    assert!(run.reception.jitter.delay() <= Duration::from_millis(10));
    assert_eq!(run.reception.arrivals.counts().lost, 40);
}

#[test]
fn clock_drift_is_taken_up_in_silence_without_loss() {
    for drift in [-200e-6, 200e-6] {
        let count = 15_000;
        let schedule: Schedule = (0..count).map(|n| (f64::from(n) * 20.0 * (1.0 + drift), n)).collect();
        let quiet = |n| n % 100 >= 60;
        let run = simulate(&schedule, quiet, even, 300.0);
        let lost: Vec<u32> = (0..count - 20).filter(|n| run.real().binary_search(n).is_err()).collect();
        assert!(lost.iter().all(|n| quiet(*n)), "speech was dropped: {lost:?}");
        // 300 s · 200 ppm = 60 ms: three frames.
        let counts = run.reception.jitter.counts();
        let moved = counts.shortened as i64 - counts.lengthened as i64;
        assert!((moved - if drift < 0.0 { 3 } else { -3 }).abs() <= 1, "{drift} {counts:?}");
        assert!(run.heard.len().abs_diff(15_000) <= 2, "{} frames in 300 s", run.heard.len());
        assert!(run.reception.jitter.delay() < Duration::from_millis(15));
        assert_eq!((counts.late, counts.discarded), (0, 0), "{drift}");
    }
}

/// The recording lays frames where they lie on the wire's own timeline.
#[test]
fn the_wires_timeline_follows_a_drifting_clock_in_silence_and_in_sound_within_bounds() {
    for drift in [-2e-3, 2e-3] {
        for (pauses, most) in [(true, 20), (false, 230)] {
            let schedule: Schedule = (0..7_500).map(|n| (f64::from(n) * 20.0 * (1.0 + drift), n)).collect();
            let run = simulate(&schedule, |n| pauses && n % 100 >= 60, even, 150.0);
            let received = run.heard.iter().filter(|(_, heard)| !heard.stands_in);
            let off = received.filter_map(|(_, heard)| Some(micros_since(heard.wire?, heard.at).abs() / 1_000)).max();
            assert!(off.is_some_and(|off| off <= most), "{drift}, {pauses}: off by {off:?} ms");
        }
    }
}

#[test]
fn a_spike_of_200_ms_loses_no_word_and_the_delay_comes_down_again() {
    let spike = |n: u32| if (200..210).contains(&n) { 4_200.0 } else { f64::from(n) * 20.0 };
    let schedule: Schedule = (0..1_000).map(|n| (spike(n), n)).collect();
    let run = simulate(&schedule, |n| n % 100 >= 50, even, 20.0);
    let real = run.real();
    let missing: Vec<u32> = (0..990).filter(|n| real.binary_search(n).is_err() && n % 100 < 50).collect();
    assert!(missing.len() <= 1, "{missing:?}");
    assert!(real.windows(2).all(|pair| pair[0] < pair[1]));
    assert!(run.reception.jitter.delay() < Duration::from_millis(15), "{:?}", run.reception.jitter.delay());
}

#[test]
fn jitter_within_the_learned_delay_loses_nothing() {
    let wobble = |n: u32| f64::from(n * 7_919 % 41);
    let schedule: Schedule = (0..2_000).map(|n| (f64::from(n) * 20.0 + wobble(n), n)).collect();
    let run = simulate(&schedule, |n| n % 60 >= 40, even, 40.0);
    let counts = run.reception.jitter.counts();
    let made_up = run.numbers().iter().skip(100).filter(|n| n.is_none()).count();
    assert!(counts.late + counts.discarded <= 2, "{counts:?}");
    // Silent frames that were doubled look made up as well.
    assert!(made_up <= 12, "{made_up} {counts:?}");
    let delay = run.reception.jitter.delay();
    assert!((35..=60).contains(&delay.as_millis()), "{delay:?}");
}

#[test]
fn a_timestamp_jump_or_a_new_sequence_starts_anew() {
    for (jump, restart) in [(1_000_000u32, 0u32), (0u32.wrapping_sub(1_000_000), 0), (0, 1)] {
        let timestamp = move |n: u32| even(n).wrapping_add(if n >= 100 { jump } else { 0 });
        let schedule = clean(200);
        let run = if restart == 0 {
            simulate(&schedule, |_| false, timestamp, 4.0)
        } else {
            simulate(
                &schedule.iter().map(|(at, n)| (*at, if *n >= 100 { n + 20_000 } else { *n })).collect(),
                |_| false,
                even,
                4.0,
            )
        };
        let after = run.real().iter().filter(|n| **n >= 100).count();
        assert!(after >= 94, "{jump}: {after}");
        assert!(run.reception.jitter.counts().restarts == 1, "{jump} {:?}", run.reception.jitter.counts());
        assert!(run.reception.jitter.delay() < Duration::from_millis(20));
    }
}

#[test]
fn a_sender_that_is_silent_by_sending_nothing_keeps_its_place() {
    let schedule: Schedule = clean(400).into_iter().filter(|(_, n)| n % 100 < 60).collect();
    // Sequence numbers go on without a gap in such a stream; the timestamp jumps.
    let run = simulate(&schedule, |_| false, even, 8.0);
    assert_eq!(run.real(), (0..400).filter(|n| n % 100 < 60).collect::<Vec<_>>());
    assert!(run.heard.len().abs_diff(400) <= 2);
    assert!(run.reception.jitter.delay() < Duration::from_millis(20));
}

#[test]
fn a_sender_whose_clock_stands_still_while_it_is_silent_is_not_delayed() {
    let schedule: Schedule = (0..200).map(|n| (f64::from(n) * 20.0 + if n < 50 { 0.0 } else { 3_000.0 }, n)).collect();
    let run = simulate(&schedule, |n| n % 20 > 10, even, 7.0);
    assert_eq!(run.real(), (0..200).collect::<Vec<_>>());
    assert!(run.reception.jitter.delay() < Duration::from_millis(20), "{:?}", run.reception.jitter.delay());
}

#[test]
fn after_a_hold_the_missed_slots_do_not_come_all_at_once() {
    let start = Instant::now();
    let mut reception = Reception::new(LIMIT);
    let send = |reception: &mut Reception, n: u32| {
        let octets = payload(n, false);
        let packet = Packet {
            marker: false,
            payload_type: 0,
            sequence: n as u16,
            timestamp: n * 160,
            ssrc: 1,
            payload: &octets,
        };
        reception.packet(&packet, Content::Audio(Sound::Voice(Codec::Pcmu)), start + FRAME * n);
    };
    send(&mut reception, 0);
    assert!(reception.poll(start + FRAME).is_some());
    // A minute passes unasked; the stream comes back where the clock is.
    send(&mut reception, 3_000);
    let heard: Vec<Heard> = std::iter::from_fn(|| reception.poll(start + FRAME * 3_001).cloned()).collect();
    assert!(heard.len() <= 2, "{}", heard.len());
    assert!(heard.iter().any(|heard| heard.encoded.is_some()));
}

#[test]
fn a_thousand_packets_at_once_leave_the_newest_and_a_bounded_delay() {
    let schedule: Schedule = (0..1_000).map(|n| (0.0, n)).collect();
    let run = simulate(&schedule, |_| false, even, 1.0);
    let real = run.real();
    assert!(real.windows(2).all(|pair| pair[0] < pair[1]));
    assert_eq!(real.last(), Some(&999));
    assert!(real.len() <= 12, "{}", real.len());
}

#[test]
fn packets_of_10_to_120_ms_make_whole_frames() {
    for (ptime, length) in [(10.0, 80u32), (30.0, 240), (60.0, 480), (100.0, 800), (120.0, 960)] {
        let start = Instant::now();
        let mut reception = Reception::new(LIMIT);
        let mut frames = Vec::new();
        for millisecond in 0..3_000u32 {
            let now = start + Duration::from_millis(millisecond.into());
            frames.extend(std::iter::from_fn(|| reception.poll(now).cloned()));
            if f64::from(millisecond) % ptime == 0.0 {
                let n = (f64::from(millisecond) / ptime) as u32;
                let octets: Vec<u8> =
                    (0..length).map(|i| if (n * length + i).is_multiple_of(2) { 0x8F } else { 0x0F }).collect();
                let packet = Packet {
                    marker: false,
                    payload_type: 0,
                    sequence: n as u16,
                    timestamp: n * length,
                    ssrc: 1,
                    payload: &octets,
                };
                reception.packet(&packet, Content::Audio(Sound::Voice(Codec::Pcmu)), now);
            }
        }
        let whole =
            |heard: &Heard| heard.encoded.is_some_and(|(_, octets)| octets.windows(2).all(|w| w[0] == w[1] ^ 0x80));
        let broken = frames.iter().filter(|heard| !whole(heard)).count();
        assert!(broken <= 4, "ptime {ptime}: {broken} of {} broken", frames.len());
        assert!(frames.len().abs_diff(148) <= 4, "{}", frames.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_the_network_does_frames_are_in_order_regular_and_bounded(
        delays in proptest::collection::vec(0.0f64..150.0, 250),
        fates in proptest::collection::vec(0u8..20, 250),
        talk in 10u32..90,
    ) {
        let mut schedule = Schedule::new();
        for n in 0..250u32 {
            let (delay, fate) = (delays[n as usize], fates[n as usize]);
            let at = f64::from(n) * 20.0 + if talk % 2 == 0 { delay } else { delay / 10.0 };
            match fate {
                0 => {}
                1 => schedule.extend([(at, n), (at + delay, n)]),
                _ => schedule.push((at, n)),
            }
        }
        let run = simulate(&schedule, |n| n % 100 > talk, even, 6.0);
        let real = run.real();
        prop_assert!(real.windows(2).all(|pair| pair[0] < pair[1]), "out of order: {:?}", real);
        for pair in run.heard.windows(2) {
            prop_assert!(pair[1].0 - pair[0].0 <= Duration::from_millis(45));
        }
        prop_assert!(run.reception.jitter.delay() <= LIMIT + FRAME * 3);
        let expected = (6.0 / 0.02) as usize;
        prop_assert!(run.heard.len().abs_diff(expected) <= 12, "{} frames", run.heard.len());
        let counts = run.reception.arrivals.counts();
        let sent: std::collections::BTreeSet<u32> = schedule.iter().map(|(_, n)| *n).collect();
        let span = u64::from(sent.last().unwrap() - sent.first().unwrap()) + 1;
        prop_assert_eq!(counts.lost, span - sent.len() as u64);
        prop_assert_eq!(counts.duplicate, (schedule.len() - sent.len()) as u64);
    }
}

fn deliver(reception: &mut Reception, number: u32, now: Instant) {
    let octets = payload(number, false);
    let (sequence, timestamp) = ((number as u16).wrapping_add(65_500), even(number));
    let packet = Packet { marker: false, payload_type: 0, sequence, timestamp, ssrc: 1, payload: &octets };
    reception.packet(&packet, Content::Audio(Sound::Voice(Codec::Pcmu)), now);
}

/// A listener that takes frames as they come: when, and which.
fn prompt(schedule: &Schedule, seconds: f64) -> Vec<(f64, Option<u32>)> {
    let start = Instant::now();
    let (mut reception, mut heard) = (Reception::new(LIMIT), Vec::new());
    reception.prompt(true);
    let mut schedule = schedule.clone();
    schedule.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut next = schedule.into_iter().peekable();
    let end = start + Duration::from_secs_f64(seconds);
    loop {
        let arrival = next.peek().map(|(ms, _)| start + Duration::from_secs_f64(ms / 1e3));
        let due = reception.next_due().filter(|due| arrival.is_none_or(|arrival| *due < arrival));
        let Some(now) = due.or(arrival).filter(|now| *now <= end) else { return heard };
        if due.is_none()
            && let Some((_, number)) = next.next()
        {
            deliver(&mut reception, number, now);
        }
        while let Some(frame) = reception.poll(now).cloned() {
            let milliseconds = (now - start).as_secs_f64() * 1e3;
            heard.push((milliseconds, frame.encoded.as_ref().map(|(_, octets)| number(octets))));
        }
    }
}

#[test]
fn a_prompt_listener_gets_every_frame_when_it_comes_however_unevenly() {
    // The whole spread of a bad network, in order: nothing waits.
    let mut last = 0.0_f64;
    let schedule: Schedule = (0..500)
        .map(|n| {
            let at = (f64::from(n) * 20.0 + f64::from(n * 7_919 % 23)).max(last);
            last = at;
            (at, n)
        })
        .collect();
    let heard = prompt(&schedule, 10.1);
    let real: Vec<(f64, u32)> = heard.iter().filter_map(|(at, number)| Some((*at, (*number)?))).collect();
    assert_eq!(real.iter().map(|(_, number)| *number).collect::<Vec<_>>(), (0..500).collect::<Vec<_>>());
    let waited = |(at, number): &(f64, u32)| at - schedule[*number as usize].0;
    // The first packet tells of no pace yet.
    assert!(real.iter().skip(1).all(|frame| waited(frame) < 0.01), "{:?}", real.iter().map(waited).fold(0.0, f64::max));
    assert_eq!(heard.len(), real.len(), "nothing is made up for what is only late");
}

#[test]
fn for_a_prompt_listener_a_lost_frame_has_one_stand_in_and_one_out_of_order_waits_for_the_one_before_it() {
    let lost = [50, 51, 120];
    let mut schedule: Schedule = clean(200).into_iter().filter(|(_, n)| !lost.contains(n)).collect();
    // 80 comes 4 ms after 81.
    schedule.iter_mut().filter(|(_, n)| *n == 80).for_each(|(at, _)| *at += 24.0);
    let heard = prompt(&schedule, 3.99);
    let numbers: Vec<Option<u32>> = heard.iter().map(|(_, number)| *number).collect();
    assert_eq!(numbers.iter().flatten().copied().collect::<Vec<_>>(), {
        (0..200).filter(|n| !lost.contains(n) && *n != 80).collect::<Vec<_>>()
    });
    let stand_ins: Vec<usize> = (0..numbers.len()).filter(|at| numbers[*at].is_none()).collect();
    assert_eq!(stand_ins, [50, 51, 80, 120]);
    // A spread that is known lets it wait.
    let mut schedule: Schedule = (0..400).map(|n| (f64::from(n) * 20.0 + f64::from(n % 3) * 9.0, n)).collect();
    schedule.iter_mut().filter(|(_, n)| *n == 300).for_each(|(at, _)| *at += 12.0);
    let heard = prompt(&schedule, 7.9);
    let after: Vec<Option<u32>> = heard.iter().map(|(_, number)| *number).skip_while(|n| *n != Some(290)).collect();
    assert_eq!(after[..30], (290..320).map(Some).collect::<Vec<_>>()[..]);
}

#[test]
fn a_prompt_listener_hears_on_while_the_network_pauses_and_what_comes_then_is_all_there() {
    // Half a second of nothing, then everything at once.
    let schedule: Schedule =
        (0..300).map(|n| (if (100..125).contains(&n) { 2_500.0 } else { f64::from(n) * 20.0 }, n)).collect();
    let heard = prompt(&schedule, 5.9);
    let real: Vec<u32> = heard.iter().filter_map(|(_, number)| *number).collect();
    assert_eq!(real, (0..real.len() as u32).collect::<Vec<_>>(), "nothing is lost");
    let pause: Vec<f64> = heard.iter().filter(|(_, number)| number.is_none()).map(|(at, _)| *at).collect();
    // It was waited for 200 ms before anything was made up.
    assert!((14..=16).contains(&pause.len()) && pause[0] > 2_200.0, "{pause:?}");
    assert!(pause.windows(2).all(|pair| (pair[1] - pair[0] - 20.0).abs() < 6.0), "at the pace of the sound: {pause:?}");
    // Ever after frames come out when they come in.
    let late = heard
        .iter()
        .filter(|(at, _)| *at > 3_000.0)
        .filter(|(at, number)| number.is_none_or(|number| (at - f64::from(number) * 20.0).abs() > 0.01));
    assert_eq!(late.count(), 0);
}

/// What a prompt listener gets of a machine that stands still for `milliseconds` in the third second: the packets of that
/// time are read at once when it wakes, and each is asked for before the next is read.
fn stopped(milliseconds: f64) -> Vec<Option<u32>> {
    let woken = 2_007.0 + milliseconds;
    let schedule: Schedule = (0..400)
        .map(|n| {
            let at = f64::from(n) * 20.0;
            (if (2_007.0..woken).contains(&at) { woken } else { at }, n)
        })
        .collect();
    let start = Instant::now();
    let (mut reception, mut heard) = (Reception::new(LIMIT), Vec::new());
    reception.prompt(true);
    let mut next = schedule.into_iter().peekable();
    let instant = |ms: f64| start + Duration::from_secs_f64(ms / 1e3);
    while let Some((arrival, _)) = next.peek().copied() {
        let due = reception.next_due().filter(|due| *due < instant(arrival));
        // A timer that fell into the stop is heard of behind it, and the packets before it.
        let due = due.filter(|due| *due < instant(2_007.0) || *due >= instant(woken));
        let now = due.unwrap_or(instant(arrival));
        if due.is_none()
            && let Some((_, number)) = next.next()
        {
            deliver(&mut reception, number, now);
        }
        while let Some(frame) = reception.poll(now) {
            heard.push(frame.encoded.as_ref().map(|(_, octets)| number(octets)));
        }
    }
    heard
}

#[test]
fn a_prompt_listener_gets_everything_that_was_said_while_the_machine_stood_still() {
    for milliseconds in [30.0, 90.0, 150.0, 210.0, 300.0, 450.0, 700.0, 1_500.0, 2_500.0] {
        let heard = stopped(milliseconds);
        let all: Vec<Option<u32>> = (0..400).map(Some).collect();
        let off = heard.iter().zip(&all).position(|(heard, said)| heard != said).unwrap_or(0);
        assert_eq!(heard, all, "after {milliseconds} ms: {:?}", &heard[off..heard.len().min(off + 40)]);
    }
}
