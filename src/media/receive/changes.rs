//! A stream whose source or timestamps change during the call, in virtual time: what waits is heard first, what was sent
//! before the change and comes after it is not heard at all.

#![allow(clippy::disallowed_methods)]

use super::*;

const LIMIT: Duration = Duration::from_millis(200);

/// A packet of 20 ms: which stream it is of (`old` or new), its number there, when it comes (ms).
#[derive(Debug, Clone, Copy)]
struct Sent {
    old: bool,
    number: u16,
    at: f64,
}

/// What tells a new stream from the old one.
#[derive(Debug, Clone, Copy)]
struct Change {
    ssrc: bool,
    /// Ticks of the codec's clock between where the old timestamps end and the new ones begin.
    jump: i32,
    codec: Codec,
}

const ANOTHER_SSRC: Change = Change { ssrc: true, jump: 0x1234_5678, codec: Codec::Pcmu };

/// Old packets 0 to 49, then new ones 50 to 99, each when it is due.
fn on_time() -> Vec<Sent> {
    (0..100).map(|number| Sent { old: number < 50, number, at: f64::from(number) * 20.0 }).collect()
}

struct Listened {
    reception: Reception,
    /// When, and the number of the packet; `None` = a stand-in.
    heard: Vec<(f64, Option<u16>)>,
}

impl Listened {
    fn numbers(&self) -> Vec<u16> {
        self.heard.iter().filter_map(|(_, number)| *number).collect()
    }

    fn restarts(&self) -> u64 {
        self.reception.jitter.counts().restarts
    }
}

fn listen(mut sent: Vec<Sent>, change: Change) -> Listened {
    let start = Instant::now();
    let mut listened = Listened { reception: Reception::new(LIMIT), heard: Vec::new() };
    sent.sort_by(|a, b| a.at.total_cmp(&b.at));
    let mut coming = sent.into_iter().peekable();
    loop {
        let arrival = coming.peek().map(|sent| start + Duration::from_secs_f64(sent.at / 1e3));
        let due = listened.reception.next_due();
        let Some(now) = arrival.into_iter().chain(due).min() else { return listened };
        let passed = (now - start).as_secs_f64() * 1e3;
        if passed > 2_500.0 {
            return listened;
        }
        while let Some(heard) = listened.reception.poll(now).cloned() {
            let number = (!heard.stands_in).then(|| number_of(&heard));
            listened.heard.push((passed, number));
        }
        if let Some(Sent { old, number, .. }) = coming.next_if(|_| arrival == Some(now)) {
            take(&mut listened.reception, old, number, change, now);
        }
    }
}

fn take(reception: &mut Reception, old: bool, number: u16, change: Change, now: Instant) {
    let codec = if old { Codec::Pcmu } else { change.codec };
    let ticks = codec.clock() / 50;
    let mut timestamp = 4_000_000_000u32.wrapping_add(u32::from(number) * ticks);
    if !old {
        timestamp = timestamp.wrapping_add_signed(change.jump);
    }
    // Loud all the time: the delay stays what it is.
    let mut payload = vec![0x8F; 160];
    payload[..2].copy_from_slice(&number.to_be_bytes());
    if codec == Codec::Opus {
        // SILK wide band of 20 ms (RFC 6716 §3.1): whatever follows is decoded to something.
        payload = vec![9 << 3, 1, 2, 3];
    }
    let ssrc = if !old && change.ssrc { 2 } else { 1 };
    let packet = Packet { marker: false, payload_type: 0, sequence: number, timestamp, ssrc, payload: &payload };
    reception.packet(&packet, Content::Audio(Sound::Voice(codec)), now);
}

/// Frames of Opus do not tell their number: they count as the first new one.
fn number_of(heard: &Heard) -> u16 {
    heard.encoded.map_or(50, |(_, octets)| u16::from_be_bytes([octets[0], octets[1]]))
}

/// Every way in which the clock can change.
fn changes() -> Vec<Change> {
    let jumps = [1_000_000, -1_000_000, 20_000, -20_000, 4_000, -4_000, 0x4000_0000, -0x4000_0000];
    let jumped = jumps.map(|jump| Change { ssrc: false, jump, codec: Codec::Pcmu });
    let others = [
        ANOTHER_SSRC,
        Change { jump: 0, ..ANOTHER_SSRC },
        Change { codec: Codec::Opus, ..ANOTHER_SSRC },
        Change { ssrc: false, codec: Codec::Opus, ..ANOTHER_SSRC },
    ];
    jumped.into_iter().chain(others).collect()
}

#[test]
fn a_packet_from_before_a_change_that_comes_after_it_is_not_heard() {
    for change in changes() {
        for late in [48, 49] {
            for by in [7.0, 25.0, 45.0, 130.0] {
                let mut sent = on_time();
                sent[late].at = 50.0 * 20.0 + by;
                let listened = listen(sent, change);
                let numbers = listened.numbers();
                let what = format!("{change:?}, {late} late by {by}: {numbers:?}");
                assert!(!numbers.contains(&(late as u16)), "{what}");
                assert!(numbers.windows(2).all(|pair| pair[0] <= pair[1]), "{what}");
                // All of the old stream but the late one, and the new one but for a packet that told of the change.
                let (old, new) = numbers.iter().partition::<Vec<u16>, _>(|number| **number < 50);
                assert_eq!(old.len(), 49, "{what}");
                assert!(new.len() >= 48, "{what}");
                assert!(listened.restarts() <= 1, "{what}: {:?}", listened.reception.jitter.counts());
                assert!(listened.reception.jitter.counts().late >= 1, "{what}");
            }
        }
    }
}

#[test]
fn what_waits_at_a_change_is_heard_before_what_comes_after_it() {
    for change in [ANOTHER_SSRC, Change { ssrc: false, jump: 1_000_000, codec: Codec::Pcmu }] {
        // Four packets arrive late together, right before the change: some wait when it comes.
        let mut sent = on_time();
        for (after, sent) in sent[46..50].iter_mut().enumerate() {
            sent.at = 49.0 * 20.0 + after as f64;
        }
        let listened = listen(sent, change);
        assert_eq!(listened.numbers(), (0..100).collect::<Vec<u16>>(), "{change:?}");
        assert_eq!(listened.restarts(), 1);
    }
}

#[test]
fn a_source_that_follows_soon_keeps_the_pace_and_one_after_a_pause_sets_its_own() {
    let begins = |pause: f64| {
        let mut sent = on_time();
        sent.iter_mut().filter(|sent| !sent.old).for_each(|sent| sent.at += pause);
        let listened = listen(sent, ANOTHER_SSRC);
        let place = listened.heard.iter().position(|(_, number)| *number == Some(50)).expect("it is heard");
        let (before, first) = (listened.heard[place - 1].0, listened.heard[place].0);
        (first - before, first - (50.0 * 20.0 + pause))
    };
    // 227 ms after the last packet of the old source, and 277 ms.
    let (step, _) = begins(207.0);
    assert!((step - 20.0).abs() < 0.01, "{step}");
    let (step, waited) = begins(257.0);
    assert!((step - 20.0).abs() > 1.0 && (waited - 5.0).abs() < 0.01, "{step} {waited}");
}

#[test]
fn a_source_that_is_really_back_is_heard_again() {
    let mut sent = on_time();
    // The first stream speaks again from the seventieth packet on, as after an announcement.
    sent.iter_mut().filter(|sent| sent.number >= 70).for_each(|sent| sent.old = true);
    let numbers = listen(sent, ANOTHER_SSRC).numbers();
    let missed: Vec<u16> = (0..100).filter(|number| !numbers.contains(number)).collect();
    assert_eq!(missed, [70]);
    assert!(numbers.is_sorted());
}
