//! A sender that stalls and then catches up, a listener that stalls, and what the recording and the listener get of it.
//! Nothing is lost on the way: the recording must hold every sample once, where its timestamp puts it.

#![allow(clippy::disallowed_methods)]

use std::time::{Duration, Instant};

use super::tape::File;
use crate::media::codec::opus::OpusTuning;
use crate::media::codec::{Codec, Encoder, MOST_OCTETS, Sound};
use crate::media::jitter::Counts;
use crate::media::receive::{Content, Heard, Reception};
use crate::media::rtp::Packet;

const LIMIT: Duration = Duration::from_millis(200);
const MS: Duration = Duration::from_millis(1);
/// Frames of a passage: six seconds.
const FRAMES: u32 = 300;

/// Frames that were held up: the first, and how many.
type Stall = (u32, u32);

struct Outcome {
    /// The phone's channel, from the first sample with sound in it.
    recorded: Vec<i16>,
    heard: Vec<Heard>,
    counts: Counts,
}

/// Speech in the eyes of all that judge loudness: no two frames alike, none of them quiet.
fn frame(codec: Codec, n: u32) -> Vec<i16> {
    let length = codec.rate() / 50;
    // It begins loud, so that its beginning is found.
    (n * length..(n + 1) * length)
        .map(|i| {
            let t = f64::from(i) / f64::from(codec.rate());
            let phase = std::f64::consts::TAU * (110.0 * t + 8.0 * (t * 2.3).sin());
            let voice = phase.cos() + 0.6 * (7.3 * phase).cos();
            (voice * (7_000.0 + 2_000.0 * (t * 11.0).sin())) as i16
        })
        .collect()
}

fn packets(codec: Codec) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new(codec, OpusTuning::default());
    let mut octets = [0; MOST_OCTETS];
    let encoded = (0..FRAMES).map(|n| {
        let length = encoder.encode(&frame(codec, n), &mut octets);
        octets[..length].to_vec()
    });
    encoded.collect()
}

/// When the packets leave a sender that sleeps through `stalls` and then sends all that is due at once.
fn departures(stalls: &[Stall]) -> Vec<Duration> {
    let mut at: Vec<Duration> = (0..FRAMES).map(|n| 20 * MS * n).collect();
    for (first, frames) in stalls {
        let awake = 20 * MS * (first + frames);
        for n in *first..first + frames {
            // A burst takes its time, too.
            at[n as usize] = awake + Duration::from_micros(100) * (n - first);
        }
    }
    at
}

fn run(codec: Codec, arrivals: &[Duration], asleep: &[std::ops::Range<u32>]) -> Outcome {
    run_without(codec, arrivals, asleep, None)
}

/// The listener looks when a packet comes and when a frame is due, but for the `asleep` milliseconds.
/// Packet `lost` never comes.
fn run_without(codec: Codec, arrivals: &[Duration], asleep: &[std::ops::Range<u32>], lost: Option<usize>) -> Outcome {
    let start = Instant::now();
    let mut reception = Reception::new(LIMIT);
    let mut file = File::new(start, codec.rate());
    let mut heard = Vec::<Heard>::new();
    let payloads = packets(codec);
    let mut next = 0;
    // A tenth of a millisecond at a time.
    for tick in 0..80_000u32 {
        let now = start + Duration::from_micros(100) * tick;
        if asleep.iter().any(|span| span.contains(&(tick / 10))) {
            continue;
        }
        while next < payloads.len() && start + arrivals[next] <= now {
            let (sequence, timestamp) = (next as u16, (next as u32).wrapping_mul(codec.clock() / 50));
            let packet =
                Packet { marker: false, payload_type: 0, sequence, timestamp, ssrc: 1, payload: &payloads[next] };
            if lost != Some(next) {
                reception.packet(&packet, Content::Audio(Sound::Voice(codec)), now);
            }
            next += 1;
        }
        file.roll(now);
        while let Some(frame) = reception.poll(now).cloned() {
            file.layout.lay_heard(&frame, now);
            heard.push(frame);
        }
    }
    let (left, _) = file.finish(start + 8_000 * MS);
    let recorded = left.into_iter().skip_while(|sample| sample.unsigned_abs() < 4).collect();
    heard.retain(|frame| !frame.left_out);
    Outcome { recorded, heard, counts: reception.jitter.counts() }
}

/// The passage as it is recorded when nothing stalls; all of it is there.
fn undisturbed(codec: Codec) -> Vec<i16> {
    let clean = run(codec, &departures(&[]), &[]);
    let length = (FRAMES * codec.rate() / 50) as usize;
    let spoken: Vec<i16> = clean.recorded[..length - 400].to_vec();
    assert!(clean.heard.iter().take(FRAMES as usize).all(|frame| !frame.stands_in));
    assert!(spoken.chunks(80).all(|piece| piece.iter().any(|sample| sample.unsigned_abs() > 1_000)));
    spoken
}

/// Where two recordings differ first, in milliseconds, and by how many samples in all.
fn difference(codec: Codec, a: &[i16], b: &[i16]) -> Option<(usize, usize)> {
    let differing = || a.iter().zip(b).enumerate().filter(|(_, (a, b))| a != b).map(|(index, _)| index);
    differing().next().map(|first| (first * 1_000 / codec.rate() as usize, differing().count()))
}

#[test]
fn a_recording_holds_every_sample_once_whatever_the_sender_slept_through() {
    for codec in [Codec::Pcmu, Codec::Pcma, Codec::G722] {
        let whole = undisturbed(codec);
        for frames in 1..=10 {
            let stalls: Vec<Stall> = (1..=4).map(|n| (n * 60, frames)).collect();
            let stalled = run(codec, &departures(&stalls), &[]);
            let what = format!("{codec:?}, bursts of {frames}");
            assert_eq!(difference(codec, &whole, &stalled.recorded), None, "{what}: {:?}", stalled.counts);
            assert_eq!((stalled.counts.late, stalled.counts.discarded), (0, 0), "{what}");
        }
    }
}

#[test]
fn a_stall_beyond_the_limit_of_the_delay_loses_nothing_either() {
    for codec in [Codec::Pcmu, Codec::G722] {
        let whole = undisturbed(codec);
        for frames in [12, 15, 20, 24] {
            let stalled = run(codec, &departures(&[(100, frames)]), &[]);
            let what = format!("{codec:?}, {frames} frames: {:?}", stalled.counts);
            assert_eq!(difference(codec, &whole, &stalled.recorded), None, "{what}");
            assert_eq!((stalled.counts.late, stalled.counts.discarded), (0, 0), "{what}");
            // The listener gets all of it as well, and no more time than the limit in addition.
            let real = stalled.heard.iter().filter(|frame| !frame.stands_in).count();
            assert_eq!(real, FRAMES as usize, "{what}");
        }
    }
}

#[test]
fn a_sender_that_is_late_from_the_beginning_and_catches_up_in_the_middle_of_a_word_is_not_torn_apart() {
    let whole = undisturbed(Codec::Pcmu);
    for late in [30, 60, 100, 140] {
        let mut arrivals = departures(&[]);
        arrivals.iter_mut().take(100).for_each(|at| *at += late * MS);
        // What was due meanwhile comes with the hundredth.
        let caught_up = arrivals[99];
        arrivals.iter_mut().skip(100).for_each(|at| *at = (*at).max(caught_up));
        let recorded = run(Codec::Pcmu, &arrivals, &[]).recorded;
        assert_eq!(difference(Codec::Pcmu, &whole, &recorded), None, "{late} ms");
    }
}

#[test]
fn a_listener_that_slept_makes_up_for_it() {
    let whole = undisturbed(Codec::Pcmu);
    for length in [30, 70, 150, 290, 450] {
        let slept = run(Codec::Pcmu, &departures(&[]), &[1_000..1_000 + length, 3_333..3_333 + length]);
        assert_eq!(difference(Codec::Pcmu, &whole, &slept.recorded), None, "{length} ms: {:?}", slept.counts);
        let stand_ins = slept.heard.iter().take(FRAMES as usize).filter(|frame| frame.stands_in).count();
        assert_eq!(stand_ins, 0, "{length} ms");
    }
}

#[test]
fn the_listener_gets_every_frame_once_in_order_and_no_more_time_than_the_longest_stall() {
    let sent: Vec<[u8; 160]> = packets(Codec::Pcmu).iter().map(|octets| octets[..].try_into().unwrap()).collect();
    let stalls = [(30, 3), (70, 1), (110, 6), (150, 2), (190, 10), (230, 4), (260, 8)];
    let stalled = run(Codec::Pcmu, &departures(&stalls), &[]);
    let real: Vec<[u8; 160]> =
        stalled.heard.iter().filter_map(|frame| frame.encoded.map(|(_, octets)| octets)).collect();
    assert!(real == sent, "{} of {} frames", real.len(), sent.len());
    let last = stalled.heard.iter().rposition(|frame| !frame.stands_in).unwrap();
    let stand_ins = stalled.heard[..last].iter().filter(|frame| frame.stands_in).count();
    assert!((9..=10).contains(&stand_ins), "{stand_ins}");
}

#[test]
fn what_is_really_lost_is_a_stand_in_in_the_recording_and_moves_nothing() {
    let whole = undisturbed(Codec::Pcmu);
    // Before the stall, and inside its burst.
    for lost in [40, 63] {
        let recorded = run_without(Codec::Pcmu, &departures(&[(60, 5)]), &[], Some(lost)).recorded;
        let (place, after) = (lost * 160, lost * 160 + 160);
        assert_eq!(difference(Codec::Pcmu, &whole[..place], &recorded[..place]), None);
        assert_eq!(difference(Codec::Pcmu, &whole[after..], &recorded[after..]), None);
        let stand_in = &recorded[place..after];
        assert!(stand_in.iter().any(|sample| sample.unsigned_abs() > 500) && stand_in != &whole[place..after]);
    }
}
