//! Packets of every length that can be agreed, on real sockets.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::media_stage::*;
use trunkline::media::codec::Sound;
use trunkline::media::{Codec, KeyFormat, Remote};

/// Milliseconds, for each codec.
const LENGTHS: [(Codec, &[u32]); 4] = [
    (Codec::Pcmu, &[10, 20, 30, 40, 60]),
    (Codec::Pcma, &[10, 50]),
    (Codec::G722, &[10, 30, 40, 60]),
    (Codec::Opus, &[10, 20, 40, 60]),
];

fn remote(port: u16, codec: Codec, milliseconds: u32) -> Remote {
    let events = KeyFormat { payload_type: 101, clock: codec.clock() };
    Remote {
        ptime: Duration::from_millis(milliseconds.into()),
        telephone_event: Some(events),
        accepted_events: vec![events],
        ..Remote::new(SocketAddr::new(LOCAL, port), codec)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packets_are_as_long_as_was_agreed_and_come_at_their_pace() {
    let _alone = alone().await;
    for (codec, lengths) in LENGTHS {
        for milliseconds in lengths {
            let plane = plane();
            let leg = open(&plane).await;
            let phone = Phone::new(&leg).await;
            let (singer, _strings) = actor(Some((440.0, codec.rate())), None);
            leg.control.attach(singer);
            leg.control.connect(remote(phone.port, codec, *milliseconds));
            let mut packets = Vec::new();
            while packets.len() < 900 / *milliseconds as usize {
                packets.push(phone.receive().await);
            }
            let what = format!("{codec:?} in {milliseconds} ms");
            // The first may be cut short where the song begins.
            let steady = &packets[packets.len() / 3..];
            let ticks = milliseconds * codec.clock() / 1_000;
            let scale = i64::from(48_000 / codec.clock());
            for pair in steady.windows(2) {
                assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1), "{what}");
                assert_eq!(pair[1].timestamp, pair[0].timestamp.wrapping_add(ticks), "{what}");
                let length = Sound::Voice(codec).ticks(&pair[0].payload);
                assert_eq!(length, Some(i64::from(ticks) * scale), "{what}");
            }
            let passed = (steady[steady.len() - 1].at - steady[0].at).as_millis() as f64;
            let told = (steady.len() - 1) as f64 * f64::from(*milliseconds);
            assert!((passed - told).abs() < 60.0, "{what}: {passed} ms against {told}");
            plane.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sound_is_whole_in_packets_of_every_length() {
    let _alone = alone().await;
    for (codec, lengths) in LENGTHS {
        for milliseconds in lengths {
            let plane = plane();
            let (first, second) = (open(&plane).await, open(&plane).await);
            let (singer, _strings) = actor(Some((440.0, codec.rate())), None);
            let (listener, ears) = actor(None, None);
            first.control.attach(singer);
            second.control.attach(listener);
            first.control.connect(remote(second.local_rtp_port, codec, *milliseconds));
            second.control.connect(remote(first.local_rtp_port, codec, 20));
            let second_of_sound = codec.rate() as usize;
            ears.until(|ear| ear.pcm.len() >= 3 * second_of_sound / 2).await;
            let (pcm, rate) = {
                let ear = ears.ear.lock().unwrap();
                (ear.pcm[second_of_sound / 2..3 * second_of_sound / 2].to_vec(), ear.rate)
            };
            let mut clean: Vec<f64> =
                pcm.chunks_exact(second_of_sound / 5).map(|piece| purity_at(piece, 440.0, rate)).collect();
            clean.sort_by(f64::total_cmp);
            assert!(clean[clean.len() / 2] > 12.0, "{codec:?} in {milliseconds} ms: {clean:.1?} dB");
            assert!(longest_hole(&pcm) < rate as usize / 50, "{codec:?} in {milliseconds} ms");
            plane.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_between_long_packets_sends_what_waits_before_it() {
    let _alone = alone().await;
    let plane = plane();
    let leg = open(&plane).await;
    let phone = Phone::new(&leg).await;
    let (singer, strings) = actor(Some((440.0, 8_000)), None);
    leg.control.attach(singer);
    leg.control.connect(remote(phone.port, Codec::Pcmu, 60));
    let first = loop {
        let packet = phone.receive().await;
        if packet.is_speech() {
            break packet;
        }
    };
    // A slot waits by now, and a packet is not whole yet.
    tokio::time::sleep(Duration::from_millis(30)).await;
    strings.cue(Cue::Keys("5")).await;
    let mut packets = vec![first];
    while packets.iter().filter(|got| got.payload_type == 101).count() < 5 {
        packets.push(phone.receive().await);
    }
    let key = packets.iter().position(|got| got.payload_type == 101).unwrap();
    // All sound up to the key has been sent, and none of it twice.
    for pair in packets[..=key].windows(2) {
        let length = pair[0].payload.len() as u32;
        assert!(pair[1].timestamp.wrapping_sub(pair[0].timestamp) >= length, "{pair:?}");
        assert!(length <= 480 && length.is_multiple_of(160));
    }
    let gap = packets[key].timestamp.wrapping_sub(packets[key - 1].timestamp) - packets[key - 1].payload.len() as u32;
    assert!(gap < 160, "{gap} ticks were never sent");
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_whole_packet_at_a_hold_is_not_sent_after_it() {
    let _alone = alone().await;
    let plane = plane();
    let leg = open(&plane).await;
    let phone = Phone::new(&leg).await;
    let (singer, _strings) = actor(Some((440.0, 8_000)), None);
    leg.control.attach(singer);
    let agreed = || remote(phone.port, Codec::Pcmu, 60);
    for _ in 0..4 {
        leg.control.connect(agreed());
        let before = phone.receive_until(Instant::now() + Duration::from_millis(400)).await;
        leg.control.connect(Remote { send: false, ..agreed() });
        let rest = phone.receive_until(Instant::now() + Duration::from_millis(300)).await;
        let last = before.iter().chain(&rest).next_back().expect("a packet").timestamp;
        leg.control.connect(agreed());
        let next = phone.receive().await;
        let gap = next.timestamp.wrapping_sub(last);
        assert!(gap > 8 * 250, "{gap} ticks after the last before the hold: {next:?}");
    }
    plane.stop().await;
}
