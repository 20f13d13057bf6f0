//! A phone whose stream changes while it speaks: another source, another codec, a jump of its clock.

use std::time::Duration;

use crate::media_stage::*;
use trunkline::media::codec::g711::Law;
use trunkline::media::rtp::Packet;
use trunkline::media::{Codec, Leg};

const HZ: f64 = 440.0;

/// How the second half of the sound is sent.
struct Change {
    ssrc: u32,
    law: Law,
    sequence: u16,
    timestamp: u32,
}

/// Speaks two seconds with a change in the middle; nothing of the second half may be missing.
async fn speaks(phone: &mut Phone, change: &Change) {
    let mut clock = tokio::time::interval(Duration::from_millis(20));
    for n in 0..100usize {
        clock.tick().await;
        let changed = n >= 50;
        if n == 50 {
            phone.sequence = phone.sequence.wrapping_add(change.sequence);
            phone.timestamp = phone.timestamp.wrapping_add(change.timestamp);
        }
        phone.skip();
        let (ssrc, law) = if changed { (change.ssrc, change.law) } else { (77, Law::Micro) };
        let mut payload = [0; 160];
        law.encode(&tone(HZ, 8_000, n * 160, 160), &mut payload);
        let payload_type = if law == Law::A { 8 } else { 0 };
        let (sequence, timestamp) = (phone.sequence, phone.timestamp);
        let mut datagram = [0; 172];
        let packet = Packet { marker: false, payload_type, sequence, timestamp, ssrc, payload: &payload };
        packet.write(&mut datagram).expect("room");
        phone.send(&datagram).await;
    }
}

async fn is_followed(name: &str, change: Change) {
    let plane = plane();
    let mut leg: Leg = open(&plane).await;
    let mut phone = Phone::new(&leg).await;
    let (peer, strings) = actor(None, None);
    leg.control.attach(peer);
    leg.control.connect(remote(phone.port, Codec::Pcmu));
    speaks(&mut phone, &change).await;
    strings.until(|ear| ear.frames.len() >= 97).await;
    received(&mut leg, 100).await;
    let report = close(&mut leg).await.quality;
    assert_eq!((report.packets_received, report.lost, report.foreign), (100, 0, 0), "{name}: {report:?}");
    let heard = strings.ear.lock().expect("unharmed").pcm.clone();
    // The change may cost a phase of the tone, and no sound.
    let end = &heard[heard.len() - 5_600..];
    assert!(purity(end, HZ) > 15.0, "{name}: {}", purity(end, HZ));
    assert!(longest_hole(&heard[1_600..]) < 330, "{name}: a hole of {} samples", longest_hole(&heard[1_600..]));
    assert!(report.buffer_ms < 60.0, "{name}: {report:?}");
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_source_is_followed_at_once() {
    let _alone = alone().await;
    is_followed("source", Change { ssrc: 78, law: Law::Micro, sequence: 30_000, timestamp: 1 << 30 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_payload_type_of_those_agreed_is_heard_without_a_loss() {
    let _alone = alone().await;
    is_followed("law", Change { ssrc: 77, law: Law::A, sequence: 0, timestamp: 0 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_by_hours_or_back_delays_nothing() {
    let _alone = alone().await;
    for jump in [3 * 3_600 * 8_000, 0u32.wrapping_sub(3_600 * 8_000)] {
        is_followed("clock", Change { ssrc: 77, law: Law::Micro, sequence: 0, timestamp: jump }).await;
    }
}
