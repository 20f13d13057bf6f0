//! Legs on real sockets: what the peers hear, what the phone gets, how a leg begins and ends.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::media_stage;
use std::time::{Duration, Instant};

use media_stage::*;
use trunkline::clock::Clock;
use trunkline::config::MediaConfig;
use trunkline::media::codec::g711::Law;
use trunkline::media::{Codec, KeyWay, LegEvent, LegOptions, MediaPlane, OpenError, Remote};

/// Joins two legs; each speaks a tone. Returns what both heard of the first two seconds after the start.
async fn duet(first_sends: Codec, second_reads: &[(u8, Codec)]) -> (Vec<i16>, Vec<i16>, usize) {
    let plane = plane();
    let (first, second) = (open(&plane).await, open(&plane).await);
    let (alto, alto_strings) = actor(Some((440.0, 24_000)), None);
    let (bass, bass_strings) = actor(Some((1_000.0, 8_000)), None);
    first.control.attach(alto);
    second.control.attach(bass);
    first.control.connect(remote(second.local_rtp_port, first_sends));
    let mut back = remote(first.local_rtp_port, Codec::Pcma);
    back.accepted = second_reads.to_vec();
    second.control.connect(back);
    for strings in [&alto_strings, &bass_strings] {
        strings.until(|ear| ear.pcm.len() >= 17_600).await;
    }
    let take = |strings: &Strings| strings.ear.lock().unwrap().pcm[1_600..17_600].to_vec();
    let concealed = alto_strings.ear.lock().unwrap().concealed + bass_strings.ear.lock().unwrap().concealed;
    let heard = (take(&alto_strings), take(&bass_strings), concealed);
    plane.stop().await;
    heard
}

const BOTH_LAWS: [(u8, Codec); 2] = [(0, Codec::Pcmu), (8, Codec::Pcma)];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_legs_hear_each_others_tone_without_a_hole() {
    let _alone = alone().await;
    let (alto, bass, concealed) = duet(Codec::Pcmu, &BOTH_LAWS).await;
    assert!(purity(&alto, 1_000.0) > 20.0, "{}", purity(&alto, 1_000.0));
    assert!(purity(&bass, 440.0) > 20.0, "{}", purity(&bass, 440.0));
    assert!(longest_hole(&alto) < 160 && longest_hole(&bass) < 160);
    assert!(concealed <= 8, "{concealed} frames were made up on a clean network");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swapped_law_is_found_by_the_same_measure() {
    let _alone = alone().await;
    let (alto, bass, _) = duet(Codec::Pcmu, &[(0, Codec::Pcma)]).await;
    assert!(purity(&bass, 440.0) < 10.0, "{}", purity(&bass, 440.0));
    assert!(purity(&alto, 1_000.0) > 20.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_go_from_leg_to_leg_once_each_and_in_order() {
    let plane = plane();
    let (first, mut second) = (open(&plane).await, open(&plane).await);
    let (sender, strings) = actor(None, None);
    let (receiver, ear) = actor(None, None);
    first.control.attach(sender);
    second.control.attach(receiver);
    first.control.connect(remote(second.local_rtp_port, Codec::Pcmu));
    second.control.connect(remote(first.local_rtp_port, Codec::Pcmu));
    strings.cue(Cue::Keys("159#*A55")).await;
    let mut keys = String::new();
    while keys.len() < 8 {
        keys.push(
            await_event(&mut second, |event| if let LegEvent::Key(key) = event { Some(key) } else { None }).await,
        );
    }
    assert_eq!(keys, "159#*A55");
    assert_eq!(ear.ear.lock().unwrap().keys, "159#*A55");
    assert_eq!(close(&mut second).await.quality.lost, 0, "keys must not look like loss");
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_taken_as_a_whole_or_not_at_all() {
    let plane = plane();
    let leg = open(&plane).await;
    let phone = Phone::new(&leg).await;
    let agreed = remote(phone.port, Codec::Pcmu);
    let takes = async |keys: usize| leg.control.press("5".repeat(keys)).await.unwrap();
    for way in [KeyWay::Events, KeyWay::Tones] {
        // On hold nothing leaves the queue.
        leg.control.connect(Remote { keys: way, telephone_event: None, send: false, ..agreed.clone() });
        assert_eq!(takes(1).await, way != KeyWay::Events, "{way:?}: the phone knows no events");
        leg.control.connect(Remote { keys: way, send: false, ..agreed.clone() });
        assert!(takes(40).await, "{way:?}");
        assert!(!takes(40).await, "{way:?}: more than fit behind those that wait");
        assert!(takes(20).await, "{way:?}");
    }
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_are_reflected_while_we_send_ours_are_ignored() {
    let plane = plane();
    let mut leg = open(&plane).await;
    let mut phone = Phone::new(&leg).await;
    let (peer, strings) = actor(None, None);
    leg.control.attach(peer);
    leg.control.connect(remote(phone.port, Codec::Pcmu));
    strings.cue(Cue::Keys("7")).await;
    let mut reflected = 0;
    while reflected < 7 {
        let got = phone.receive().await;
        if got.payload_type == 101 {
            let datagram = phone.next(101, &got.payload);
            phone.send(&datagram).await;
            reflected += 1;
        }
    }
    // The echo time passes; then the phone's own key counts.
    phone.receive_until(Instant::now() + Duration::from_millis(300)).await;
    (0..10).for_each(|_| phone.skip());
    let datagram = phone.next(101, &[3, 0x8A, 3, 0x20]);
    phone.send(&datagram).await;
    assert_eq!(await_event(&mut leg, |event| if let LegEvent::Key(key) = event { Some(key) } else { None }).await, '3');
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn marks_come_back_when_their_audio_is_out() {
    let plane = plane();
    let leg = open(&plane).await;
    let phone = Phone::new(&leg).await;
    let (peer, strings) = actor(None, None);
    leg.control.attach(peer);
    leg.control.connect(remote(phone.port, Codec::Pcmu));
    strings.cue(Cue::Push(tone(500.0, 16_000, 0, 3_250), 16_000)).await;
    strings.cue(Cue::Mark(1)).await;
    strings.cue(Cue::Push(tone(500.0, 16_000, 0, 1_600), 16_000)).await;
    strings.cue(Cue::Finish).await;
    strings.cue(Cue::Mark(2)).await;
    strings.until(|ear| ear.marks == [1, 2]).await;
    let speech = phone.receive_until(Instant::now()).await.iter().filter(|got| got.is_speech()).count();
    assert!((15..=17).contains(&speech), "{speech} packets for 303 ms");
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recording_has_both_sides_where_they_were_on_the_wire() {
    let _alone = alone().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new/call.wav");
    let plane = plane();
    let mut leg = plane.open(LegOptions { bind: LOCAL, recording: Some(path.clone()) }).await.unwrap();
    let mut phone = Phone::new(&leg).await;
    let (peer, _strings) = actor(None, Some(tone(700.0, 8_000, 0, 3_200)));
    leg.control.attach(peer);
    leg.control.connect(remote(phone.port, Codec::Pcmu));
    // Half a second of silence, then a tone; the box answers its first frame with a tone of its own.
    let start = Instant::now();
    for n in 1..=25 {
        let datagram = phone.next(0, &[0xFF; 160]);
        phone.send(&datagram).await;
        phone.receive_until(start + n * Duration::from_millis(20)).await;
    }
    let began = Instant::now();
    let mut octets = [0; 160];
    Law::Micro.encode(&tone(300.0, 8_000, 0, 160), &mut octets);
    let datagram = phone.next(0, &octets);
    phone.send(&datagram).await;
    let answer = loop {
        let got = phone.receive().await;
        if got.is_speech() {
            break got.at;
        }
    };
    phone.receive_until(Instant::now() + Duration::from_millis(500)).await;
    let report = close(&mut leg).await;
    assert_eq!(report.recording.as_deref(), Some(path.as_path()));
    let wire = (answer - began).as_secs_f64();
    let mut wav = hound::WavReader::open(&path).unwrap();
    assert_eq!((wav.spec().channels, wav.spec().sample_rate, wav.spec().bits_per_sample), (2, 8_000, 16));
    let samples: Vec<i16> = wav.samples::<i16>().map(Result::unwrap).collect();
    let onset = |channel: usize| samples.iter().skip(channel).step_by(2).position(|s| s.abs() > 2_000).unwrap() as f64;
    let recorded = (onset(1) - onset(0)) / 8_000.0;
    assert!((recorded - wire).abs() < 0.012, "{recorded} s on the tape, {wire} s on the wire");
    let left: Vec<i16> = samples.iter().step_by(2).copied().collect();
    let right: Vec<i16> = samples.iter().skip(1).step_by(2).copied().collect();
    let at = onset(1) as usize;
    assert!(purity(&right[at + 8..at + 2_808], 700.0) > 20.0);
    assert!(level(&left[..onset(0) as usize - 200]) < -60.0 && level(&right[..at - 8]) < -60.0);
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_recording_of_a_leg_that_was_never_connected_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let plane = plane();
    let path = directory.path().join("call.wav");
    let mut leg = plane.open(LegOptions { bind: LOCAL, recording: Some(path.clone()) }).await.unwrap();
    assert_eq!(close(&mut leg).await.recording, None);
    assert!(!path.exists());
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ports_run_out_plainly_and_are_not_used_again_at_once() {
    let first = {
        let probe = std::net::UdpSocket::bind((LOCAL, 0)).unwrap().local_addr().unwrap().port();
        probe.clamp(2_000, 60_000) & !1
    };
    let config = MediaConfig { ports: [first, first + 1], threads: 2, ..MediaConfig::default() };
    let plane = MediaPlane::start(&config, Clock::system()).unwrap();
    let mut leg = open(&plane).await;
    assert_eq!(leg.local_rtp_port, first);
    let options = LegOptions { bind: LOCAL, recording: None };
    assert!(matches!(plane.open(options.clone()).await, Err(OpenError::PortsExhausted)));
    assert_eq!(plane.live_legs(), 1);
    close(&mut leg).await;
    assert_eq!(plane.live_legs(), 0);
    assert!(matches!(plane.open(options.clone()).await, Err(OpenError::PortsExhausted)));
    let start = Instant::now();
    while plane.open(options.clone()).await.is_err() {
        assert!(start.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(start.elapsed() > Duration::from_secs(1));
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn legs_are_spread_over_the_threads() {
    let plane = MediaPlane::start(&MediaConfig { threads: 3, ..config() }, Clock::system()).unwrap();
    let mut legs = Vec::new();
    for _ in 0..9 {
        legs.push(open(&plane).await);
    }
    assert_eq!(plane.live_legs(), 9);
    assert!(plane.alive(Duration::from_secs(5)).await);
    plane.stop().await;
    assert_eq!(plane.live_legs(), 0);
    for mut leg in legs {
        await_event(&mut leg, |event| matches!(event, LegEvent::Closed(_)).then_some(())).await;
        assert!(leg.events.recv().await.is_none(), "Closed is the last event");
    }
    assert!(matches!(plane.open(LegOptions { bind: LOCAL, recording: None }).await, Err(OpenError::Stopping)));
    assert!(!plane.alive(Duration::from_secs(1)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_the_leg_closes_it_and_the_phone_gets_a_goodbye() {
    let plane = plane();
    let leg = open(&plane).await;
    let phone = Phone::new(&leg).await;
    leg.control.connect(remote(phone.port, Codec::Pcmu));
    phone.receive().await;
    let control = leg.control.clone();
    drop(leg);
    let mut buffer = [0; 256];
    let (length, _) = tokio::time::timeout(PATIENCE, phone.rtcp.recv_from(&mut buffer)).await.unwrap().unwrap();
    assert!(trunkline::media::rtcp::read(&buffer[..length], 0).unwrap().goodbye);
    let start = Instant::now();
    while plane.live_legs() > 0 {
        assert!(start.elapsed() < PATIENCE);
        tokio::task::yield_now().await;
    }
    // Commands to a closed leg are ignored.
    control.connect(remote(phone.port, Codec::Pcmu));
    control.close();
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_panics_takes_only_its_own_leg_along() {
    let plane = plane();
    let (mut doomed, other) = (open(&plane).await, open(&plane).await);
    let phone = Phone::new(&other).await;
    let (peer, strings) = actor(None, None);
    doomed.control.attach(peer);
    other.control.connect(remote(phone.port, Codec::Pcmu));
    strings.cue(Cue::Panic).await;
    await_event(&mut doomed, |event| matches!(event, LegEvent::Closed(_)).then_some(())).await;
    phone.receive().await;
    assert!(plane.alive(PATIENCE).await);
    assert_eq!(plane.live_legs(), 1);
    plane.stop().await;
}
