#![allow(clippy::disallowed_methods)]

use std::task::Waker;
use std::time::Instant;

use super::*;
use crate::media::playout::PlayoutQueue;
use crate::media::{FRAME, Flushed};

/// A playout in virtual time whose sent frames are kept.
struct Phone {
    queue: PlayoutQueue,
    now: Instant,
    last_sent: Option<Instant>,
    keys: String,
    heard: Vec<Option<i16>>,
}

impl Phone {
    fn new(now: Instant) -> Phone {
        let mut queue = PlayoutQueue::new(0);
        queue.run(true);
        Phone { queue, now, last_sent: None, keys: String::new(), heard: Vec::new() }
    }

    /// Sends every slot that is due.
    fn speak(&mut self, now: Instant) {
        self.now = now;
        while let Some(slot) = self.queue.poll(now, false) {
            self.heard.push(slot.speech.as_ref().map(|pcm| pcm[80]));
            if slot.speech.is_some() {
                self.last_sent = Some(now);
            }
        }
    }
}

impl Playout for Phone {
    fn push(&mut self, pcm: &[i16], rate: u32) {
        self.queue.push(pcm, rate);
    }

    fn finish(&mut self) {
        self.queue.finish();
    }

    fn flush(&mut self) -> Flushed {
        self.queue.flush()
    }

    fn mark(&mut self, mark: u64) {
        self.queue.mark(mark);
    }

    fn send_keys(&mut self, keys: &str) {
        self.keys.push_str(keys);
    }

    fn queued(&self) -> Duration {
        self.queue.queued()
    }

    fn sent(&self) -> Duration {
        self.queue.sent()
    }

    fn level(&self) -> f32 {
        0.0
    }

    fn last_sent(&self) -> Option<Instant> {
        self.last_sent
    }

    fn now(&self) -> Instant {
        self.now
    }
}

fn frame(peer: &mut dyn Peer, phone: &mut Phone, value: i16) {
    let pcm = [value; 160];
    let at = phone.now;
    peer.heard(HeardFrame { pcm: &pcm, rate: 8_000, at, concealed: false, encoded: None }, phone);
}

/// Passes `count` frames from one leg to the other, the first leg's frames `period` apart and up to `late` µs late;
/// returns what the second phone heard.
fn pass(count: u32, period: Duration, late: u32) -> Vec<Option<i16>> {
    let start = Instant::now();
    let (first, second) = pair();
    let (mut first, mut second) = (first(), second());
    let (mut one, mut other) = (Phone::new(start), Phone::new(start));
    let mut context = Context::from_waker(Waker::noop());
    let mut next = 0;
    for step in 0..(count + 3) * 40 {
        // The second leg wakes every half a millisecond.
        let now = start + Duration::from_micros(500) * step;
        let delay = Duration::from_micros(u64::from(next * 7_919 % (late + 1)));
        while next < count && now >= start + period * next + delay {
            one.now = now;
            frame(first.as_mut(), &mut one, i16::try_from(next % 1_000).unwrap() + 1_000);
            next += 1;
        }
        assert!(second.poll(&mut context, &mut other).is_pending());
        other.speak(now);
    }
    other.heard
}

#[test]
fn every_frame_comes_through_once_in_order_in_spite_of_late_wake_ups() {
    for late in [0, 1_500, 15_000] {
        let heard: Vec<i16> = pass(500, FRAME, late).into_iter().flatten().collect();
        let expected: Vec<i16> = (0..500).map(|n| n + 1_000).collect();
        assert_eq!(heard, expected, "late by up to {late} µs");
    }
}

#[test]
fn there_is_no_gap_in_a_running_stream() {
    let heard = pass(500, FRAME, 1_500);
    let begin = heard.iter().position(Option::is_some).unwrap();
    assert!(heard[begin..begin + 499].iter().all(Option::is_some), "{heard:?}");
}

#[test]
fn a_faster_clock_never_piles_up_delay() {
    // Far more than any clock: three percent.
    let heard = pass(2_000, Duration::from_micros(19_400), 1_000);
    let numbers: Vec<i16> = heard.into_iter().flatten().collect();
    let behind = 2_000 - numbers.len();
    assert!((30..90).contains(&behind), "{behind} frames were left out");
    assert!(numbers.windows(2).all(|pair| (pair[1] - pair[0]).rem_euclid(1_000) <= 2), "never two in a row");
}

#[test]
fn a_slower_clock_starts_again_with_two_frames() {
    let heard = pass(1_000, Duration::from_micros(20_600), 1_000);
    let numbers: Vec<i16> = heard.into_iter().flatten().collect();
    assert!(numbers.len() >= 950, "{}", numbers.len());
    assert!(numbers.windows(2).all(|pair| (pair[1] - pair[0]).rem_euclid(1_000) == 1), "none is lost or repeated");
}

#[test]
fn keys_pass_and_what_was_queued_before_is_thrown_away() {
    let now = Instant::now();
    let (first, second) = pair();
    let (mut first, mut second) = (first(), second());
    let (mut one, mut other) = (Phone::new(now), Phone::new(now));
    other.push(&[9_000; 1_600], 8_000);
    first.key('5', &mut one);
    first.key('#', &mut one);
    assert!(second.poll(&mut Context::from_waker(Waker::noop()), &mut other).is_pending());
    assert_eq!(other.keys, "5#");
    assert!(other.queued().is_zero());
}

#[test]
fn a_phone_on_hold_holds_nothing_up() {
    let now = Instant::now();
    let (first, second) = pair();
    let (mut first, mut second) = (first(), second());
    let (mut one, mut other) = (Phone::new(now), Phone::new(now));
    other.queue.run(false);
    for _ in 0..1_000 {
        frame(first.as_mut(), &mut one, 5_000);
        assert!(second.poll(&mut Context::from_waker(Waker::noop()), &mut other).is_pending());
    }
    assert!(other.queued() <= TOO_MUCH + FRAME);
}

#[test]
fn early_sound_takes_the_ear_once_it_comes_and_gives_it_back_when_the_phone_is_gone() {
    let start = Instant::now();
    let (phone, mut early) = early();
    let mut phone = phone();
    let (mut theirs, mut caller) = (Phone::new(start), Phone::new(start));
    let mut context = Context::from_waker(Waker::noop());
    caller.push(&[77; 480], 8_000);
    phone.key('5', &mut theirs);
    assert_eq!(early.feed(&mut context, &mut caller), Sounding::NotYet, "a key is no sound");
    assert!(!caller.queued().is_zero(), "ringback goes on");
    for n in 0..10u32 {
        frame(phone.as_mut(), &mut theirs, 1_000 + i16::try_from(n).unwrap());
        assert_eq!(early.feed(&mut context, &mut caller), Sounding::Now);
        caller.speak(start + FRAME * n);
    }
    caller.speak(start + FRAME * 12);
    let heard: Vec<i16> = caller.heard.iter().flatten().copied().collect();
    assert_eq!(heard, (0..10).map(|n| 1_000 + n).collect::<Vec<i16>>(), "the rest of the ringback is gone");
    assert_eq!(caller.keys, "");
    drop(phone);
    assert_eq!(early.feed(&mut context, &mut caller), Sounding::Over);
}
