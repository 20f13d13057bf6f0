#![allow(clippy::disallowed_methods)]

use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);

fn running() -> (PlayoutQueue, Instant) {
    let mut queue = PlayoutQueue::new(u32::MAX - 400);
    queue.run(true);
    (queue, Instant::now())
}

fn all(queue: &mut PlayoutQueue, now: Instant) -> Vec<Slot> {
    std::iter::from_fn(|| queue.poll(now, false)).collect()
}

fn speech(slots: &[Slot]) -> usize {
    slots.iter().filter(|slot| slot.speech.is_some()).count()
}

#[test]
fn nothing_goes_out_before_it_runs_and_what_was_queued_waits() {
    let mut queue = PlayoutQueue::new(0);
    queue.push(&[1; 320], 8_000);
    assert_eq!((queue.poll(Instant::now(), false), queue.next_due()), (None, None));
    queue.run(true);
    assert_eq!(speech(&all(&mut queue, Instant::now())), 1);
}

#[test]
fn a_frame_into_an_empty_queue_goes_out_at_once_with_marker_and_truthful_timestamp() {
    let (mut queue, start) = running();
    let first = all(&mut queue, start);
    assert_eq!((first.len(), first[0].marker, first[0].timestamp), (1, true, u32::MAX - 400));
    assert_eq!(all(&mut queue, start + 7 * MS), []);
    queue.push(&[5; 480], 8_000);
    let slot = all(&mut queue, start + 7 * MS).remove(0);
    assert!(slot.marker && slot.speech.is_some());
    assert_eq!(slot.timestamp, (u32::MAX - 400).wrapping_add(56));
    // From here every 20 ms, without markers.
    for n in 1..3 {
        assert_eq!(all(&mut queue, start + 7 * MS + n * FRAME - MS), []);
        let next = all(&mut queue, start + 7 * MS + n * FRAME).remove(0);
        assert_eq!(next.timestamp, slot.timestamp.wrapping_add(160 * n));
        assert!(!next.marker && next.speech.is_some());
    }
    let silence = all(&mut queue, start + 67 * MS).remove(0);
    assert!(silence.speech.is_none() && !silence.marker);
}

#[test]
fn missed_slots_are_made_up_for_and_a_stall_is_not() {
    let (mut queue, start) = running();
    queue.push(&[5; 16_000], 8_000);
    all(&mut queue, start);
    let slots = all(&mut queue, start + 65 * MS);
    assert_eq!(slots.iter().map(|slot| slot.due - start).collect::<Vec<_>>(), [20 * MS, 40 * MS, 60 * MS]);
    assert_eq!(queue.late_slots(), 2);
    let slots = all(&mut queue, start + 900 * MS);
    assert_eq!(slots.len(), 1);
    assert!(slots[0].marker);
    assert_eq!(slots[0].timestamp, (u32::MAX - 400).wrapping_add(7_200));
}

#[test]
fn after_a_flush_nothing_old_goes_out() {
    let (mut queue, start) = running();
    queue.push(&[5; 1_000], 8_000);
    queue.mark(1);
    all(&mut queue, start);
    assert_eq!(queue.flush(), Flushed { dropped: span(2 * 840) });
    queue.push(&[9; 160], 8_000);
    queue.mark(2);
    let slots: Vec<Slot> = (0..100).flat_map(|n| all(&mut queue, start + n * 10 * MS)).collect();
    assert!(slots.iter().filter_map(|slot| slot.speech.as_ref()).all(|pcm| pcm.iter().all(|sample| *sample == 9)));
    assert_eq!((queue.reached(), queue.reached()), (Some(2), None));
    assert_eq!(queue.sent(), 2 * FRAME);
}

#[test]
fn a_mark_comes_when_all_before_it_has_gone_out() {
    let (mut queue, start) = running();
    queue.mark(7);
    assert_eq!(queue.reached(), Some(7));
    queue.push(&[5; 320], 8_000);
    queue.mark(8);
    all(&mut queue, start);
    assert_eq!(queue.reached(), None);
    all(&mut queue, start + FRAME);
    assert_eq!(queue.reached(), Some(8));
    // A mark that was reached before a flush is still told.
    queue.mark(9);
    queue.flush();
    assert_eq!(queue.reached(), Some(9));
}

#[test]
fn a_remainder_waits_for_more_and_finish_pads_it() {
    let (mut queue, start) = running();
    queue.push(&[5; 100], 8_000);
    assert_eq!(speech(&all(&mut queue, start)), 0);
    queue.push(&[5; 60], 8_000);
    assert_eq!(speech(&all(&mut queue, start + MS)), 1);
    queue.push(&[6; 10], 8_000);
    queue.finish();
    let slot = all(&mut queue, start + 21 * MS).remove(0).speech.unwrap();
    assert_eq!((slot[9], slot[10], slot[159]), (6, 0, 0));
    // Without a finish it is sent when nothing more comes, so that its mark is not lost.
    queue.push(&[7; 10], 8_000);
    queue.mark(1);
    let slots: Vec<Slot> = (2..8).flat_map(|n| all(&mut queue, start + n * FRAME + MS)).collect();
    assert_eq!((speech(&slots), queue.reached()), (1, Some(1)));
}

#[test]
fn other_rates_keep_their_length_and_unknown_ones_are_refused() {
    for rate in [16_000, 24_000, 48_000u32] {
        let (mut queue, _) = running();
        (0..100).for_each(|_| assert_eq!(queue.push(&vec![1_000; rate as usize / 100], rate), 0));
        queue.finish();
        let length = queue.queued();
        assert!(length >= Duration::from_secs(1) && length <= Duration::from_millis(1_020), "{rate}: {length:?}");
    }
    assert_eq!(running().0.push(&[0; 5], 44_100), 5);
}

#[test]
fn the_queue_is_bounded_in_bytes() {
    let (mut queue, _) = running();
    let minute = vec![0i16; 60 * 8_000];
    let refused: usize = (0..10).map(|_| queue.push(&minute, 8_000)).sum();
    assert_eq!(refused, 10 * 60 * 8_000 - MOST_SAMPLES);
}

#[test]
fn speech_waits_while_a_key_sounds() {
    let (mut queue, start) = running();
    queue.push(&[5; 320], 8_000);
    assert!(queue.poll(start, true).unwrap().speech.is_none());
    assert_eq!(queue.poll(start + MS, true), None);
    assert!(queue.poll(start + FRAME, false).unwrap().speech.is_some());
}

#[test]
fn a_change_of_codec_keeps_length_marks_pace_and_tone() {
    let tone = |rate: u32, n: usize| -> Vec<i16> {
        let step = std::f64::consts::TAU * 500.0 / f64::from(rate);
        (0..n).map(|n| (9_000.0 * (step * n as f64).sin()) as i16).collect()
    };
    let (mut queue, start) = running();
    queue.push(&tone(8_000, 8_000), 8_000);
    queue.mark(1);
    let mut slots: Vec<Slot> = (0..10).flat_map(|n| all(&mut queue, start + n * FRAME)).collect();
    queue.tune(Codec::G722, 7);
    assert_eq!((queue.rate(), queue.queued()), (16_000, Duration::from_millis(800)));
    slots.extend((10..20).flat_map(|n| all(&mut queue, start + n * FRAME)));
    // G.722 shares the clock of G.711: timestamps go on.
    let stamps: Vec<u32> = slots.iter().map(|slot| slot.timestamp.wrapping_sub(slots[0].timestamp)).collect();
    assert_eq!(stamps, (0..20).map(|n| n * 160).collect::<Vec<_>>());
    queue.tune(Codec::Opus, 1_000);
    let more: Vec<Slot> = (20..50).flat_map(|n| all(&mut queue, start + n * FRAME)).collect();
    let stamps: Vec<u32> = more.iter().map(|slot| slot.timestamp).collect();
    assert_eq!(stamps, (0..30).map(|n| 1_000 + n * 960).collect::<Vec<_>>());
    assert!(more[0].marker && more[0].due == start + 20 * FRAME);
    assert_eq!((queue.reached(), queue.sent()), (Some(1), Duration::from_secs(1)));
    let wide: Vec<i16> =
        slots[10..].iter().chain(&more).flat_map(|slot| slot.speech.clone().unwrap().to_vec()).collect();
    // The tone goes on in phase: against the same second at the wide rate.
    let expected = &tone(16_000, 16_000)[3_200..];
    let error = wide[..12_000].iter().zip(expected).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
    assert!(error < 600, "{error}");
    queue.push(&tone(24_000, 2_400), 24_000);
    queue.tune(Codec::Pcma, 0);
    assert!(queue.queued() >= Duration::from_millis(100), "{:?}", queue.queued());
    assert_eq!(queue.poll(start + 50 * FRAME, false).unwrap().speech.unwrap().len(), 160);
}

proptest! {
    #[test]
    fn every_sample_goes_out_once_in_order_on_time(
        steps in proptest::collection::vec((0u64..45_000, 0usize..900), 1..120)
    ) {
        let (mut queue, start) = running();
        all(&mut queue, start);
        let (mut now, mut next_sample, mut heard) = (start, 1i32, Vec::new());
        let mut last: Option<(u32, Instant)> = None;
        for (wait, count) in steps {
            now += Duration::from_micros(wait);
            let pcm: Vec<i16> = (0..count).map(|n| ((next_sample + n as i32) % 30_000 + 1) as i16).collect();
            next_sample += count as i32;
            queue.push(&pcm, 8_000);
            for slot in all(&mut queue, now) {
                prop_assert!(slot.due <= now && now - slot.due <= Duration::from_millis(45));
                let truth = ((slot.due - start).as_nanos() / 125_000) as u32;
                let told = slot.timestamp.wrapping_sub(u32::MAX - 400);
                prop_assert!(truth.abs_diff(told) <= 1, "timestamp {told} at {truth}");
                if let Some((timestamp, due)) = last {
                    prop_assert!(slot.timestamp.wrapping_sub(timestamp) as i32 > 0);
                    prop_assert!(slot.due - due <= FRAME);
                }
                last = Some((slot.timestamp, slot.due));
                heard.extend(slot.speech.iter().flat_map(|pcm| pcm.iter().copied()).filter(|sample| *sample != 0));
            }
        }
        let expected: Vec<i16> = (1..).take(heard.len()).map(|n| (n % 30_000 + 1) as i16).collect();
        prop_assert_eq!(heard, expected);
    }
}
