//! Legs against a bare phone: pace, flush, strangers, damage on the network, RTCP, silence.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::media_stage;
use std::time::{Duration, Instant};

use media_stage::*;
use tokio::net::UdpSocket;
use trunkline::clock::Clock;
use trunkline::config::MediaConfig;
use trunkline::media::codec::g711::Law;
use trunkline::media::rtcp::{self, Block, Report};
use trunkline::media::{Codec, LegEvent, MediaPlane, Quality};

fn quality(event: &LegEvent) -> Option<Quality> {
    if let LegEvent::Quality(quality) = event { Some(**quality) } else { None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packets_leave_every_20_ms_without_drift_and_with_truthful_timestamps() {
    let _alone = alone().await;
    let plane = plane();
    let leg = open(&plane).await;
    let phone = Phone::new(&leg).await;
    let (peer, strings) = actor(None, None);
    leg.control.attach(peer);
    leg.control.connect(remote(phone.port, Codec::Pcma));
    let first = phone.receive().await;
    assert!(first.marker && !first.is_speech() && first.payload_type == 8 && first.payload == [0xD5; 160]);
    strings.cue(Cue::Push(tone(440.0, 8_000, 0, 16_000), 8_000)).await;
    let asked = Instant::now();
    let got = phone.receive_until(Instant::now() + Duration::from_millis(2_500)).await;
    let speech: Vec<&Got> = got.iter().filter(|got| got.is_speech()).collect();
    assert_eq!(speech.len(), 100);
    assert!(speech[0].marker && speech[1..].iter().all(|got| !got.marker));
    assert!(speech[0].at - asked < Duration::from_millis(10), "{:?}", speech[0].at - asked);
    for pair in got.windows(2) {
        assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1));
    }
    for pair in speech.windows(2) {
        assert_eq!(pair[1].timestamp, pair[0].timestamp.wrapping_add(160));
    }
    let late = |got: &Got| {
        let told = f64::from(got.timestamp.wrapping_sub(first.timestamp)) / 8_000.0;
        ((got.at - first.at).as_secs_f64() - told).abs()
    };
    let mut off: Vec<f64> = got.iter().map(late).collect();
    off.sort_by(f64::total_cmp);
    assert!(off[off.len() / 2] < 0.003, "median {} s off", off[off.len() / 2]);
    assert!(late(got.last().unwrap()) < 0.02, "drifted by {} s", late(got.last().unwrap()));
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_flush_no_speech_is_on_the_wire() {
    let _alone = alone().await;
    let plane = plane();
    let leg = open(&plane).await;
    let phone = Phone::new(&leg).await;
    let (peer, strings) = actor(None, None);
    leg.control.attach(peer);
    leg.control.connect(remote(phone.port, Codec::Pcmu));
    strings.cue(Cue::Push(tone(440.0, 24_000, 0, 240_000), 24_000)).await;
    for _ in 0..20 {
        while !phone.receive().await.is_speech() {}
    }
    let (done, flushed) = tokio::sync::oneshot::channel();
    strings.cue(Cue::Flush(done)).await;
    let (at, dropped) = flushed.await.unwrap();
    assert!(dropped > Duration::from_secs(9), "{dropped:?}");
    let after = phone.receive_until(at + Duration::from_millis(300)).await;
    let speech = after.iter().filter(|got| got.is_speech() && got.at > at + Duration::from_millis(20)).count();
    assert_eq!(speech, 0);
    let silence = after.iter().filter(|got| !got.is_speech()).count();
    assert!((12..=17).contains(&silence), "silence goes on: {silence}");
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_unknown_payloads_and_garbage_are_dropped_and_counted() {
    let plane = plane();
    let mut leg = open(&plane).await;
    let mut phone = Phone::new(&leg).await;
    let (peer, strings) = actor(None, None);
    leg.control.attach(peer);
    leg.control.connect(remote(phone.port, Codec::Pcmu));
    phone.receive().await;
    let elsewhere = UdpSocket::bind("127.0.0.2:0").await.unwrap();
    let neighbour = UdpSocket::bind((LOCAL, 0)).await.unwrap();
    // Not latched yet: another address is foreign even now.
    let datagram = phone.datagram(0, &[0x80; 160]);
    for _ in 0..3 {
        elsewhere.send_to(&datagram, phone.leg).await.unwrap();
    }
    // Neither an unknown payload type nor garbage latches.
    neighbour.send_to(&phone.datagram(96, &[1; 10]), phone.leg).await.unwrap();
    neighbour.send_to(b"OPTIONS sip:x SIP/2.0", phone.leg).await.unwrap();
    phone.speak(300.0, 5).await;
    await_event(&mut leg, |event| matches!(event, LegEvent::Connected).then_some(())).await;
    // Latched: another port of the same host is foreign too.
    for _ in 0..4 {
        neighbour.send_to(&datagram, phone.leg).await.unwrap();
    }
    let unknown = phone.next(13, &[0x40]);
    phone.send(&unknown).await;
    phone.speak(300.0, 10).await;
    strings.until(|ear| ear.frames.len() >= 15).await;
    received(&mut leg, 16).await;
    let report = close(&mut leg).await.quality;
    assert_eq!((report.foreign, report.packets_received, report.lost), (10, 16, 0), "{report:?}");
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packets_go_to_where_the_phone_really_is() {
    let plane = plane();
    let leg = open(&plane).await;
    let mut phone = Phone::new(&leg).await;
    let mut told = remote(phone.port, Codec::Pcmu);
    // The description names a port that a NAT has changed.
    let signalled = UdpSocket::bind((LOCAL, 0)).await.unwrap();
    told.rtp = signalled.local_addr().unwrap();
    leg.control.connect(told);
    phone.speak(300.0, 3).await;
    assert_eq!(phone.receive().await.payload.len(), 160);
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_on_the_network_is_counted_exactly_and_heard_as_little_as_can_be() {
    let _alone = alone().await;
    let plane = plane();
    let mut leg = open(&plane).await;
    let mut phone = Phone::new(&leg).await;
    let (peer, strings) = actor(None, None);
    leg.control.attach(peer);
    leg.control.connect(remote(phone.port, Codec::Pcmu));
    let (mut lost, mut doubled, mut swapped) = (0u64, 0u64, 0u64);
    let mut held: Option<Vec<u8>> = None;
    let mut clock = tokio::time::interval(Duration::from_millis(20));
    for n in 0..300usize {
        clock.tick().await;
        let mut payload = [0; 160];
        Law::Micro.encode(&tone(440.0, 8_000, n * 160, 160), &mut payload);
        let datagram = phone.next(0, &payload);
        if n % 33 == 5 {
            lost += 1;
            continue;
        }
        if n % 50 == 20 {
            // Goes out after its successor.
            held = Some(datagram);
            swapped += 1;
            continue;
        }
        tokio::time::sleep(Duration::from_millis((n * 7 % 9) as u64)).await;
        phone.send(&datagram).await;
        if let Some(late) = held.take() {
            phone.send(&late).await;
        }
        if n % 20 == 7 {
            doubled += 1;
            phone.send(&datagram).await;
        }
    }
    strings.until(|ear| ear.frames.len() >= 298).await;
    received(&mut leg, 300 - lost + doubled).await;
    let report = close(&mut leg).await.quality;
    assert_eq!((report.lost, report.duplicate, report.reordered), (lost, doubled, swapped), "{report:?}");
    assert_eq!(report.packets_received, 300 - lost + doubled);
    assert!(report.late <= swapped && report.jitter_ms > 0.5 && report.jitter_ms < 20.0, "{report:?}");
    assert!(report.mos > 3.0 && report.mos < 4.3, "{report:?}");
    let heard = strings.ear.lock().unwrap().pcm.clone();
    // Two losses in a row do not happen here: a hole would be a fault of the concealment.
    assert!(longest_hole(&heard[1_600..46_000]) < 160, "{}", longest_hole(&heard[1_600..46_000]));
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_packets_at_once_neither_stop_nor_delay_the_leg() {
    let plane = plane();
    let mut leg = open(&plane).await;
    let mut phone = Phone::new(&leg).await;
    let (peer, strings) = actor(None, None);
    leg.control.attach(peer);
    leg.control.connect(remote(phone.port, Codec::Pcmu));
    for _ in 0..1_000 {
        let datagram = phone.next(0, &[0x90; 160]);
        phone.send(&datagram).await;
    }
    phone.speak(440.0, 60).await;
    // Half a second of it, whole: what was thrown at the leg before is over by then.
    strings.until(|ear| ear.pcm.len() > 4_000 && purity(&ear.pcm[ear.pcm.len() - 4_000..], 440.0) > 15.0).await;
    accounted(&mut leg, 1_060).await;
    let report = close(&mut leg).await.quality;
    // What the socket's own buffer did not hold is lost, and counted so.
    assert_eq!(report.packets_received + report.lost, 1_060, "{report:?}");
    assert!(report.buffer_ms < 260.0, "{report:?}");
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_that_falls_silent_is_told_once() {
    let config = MediaConfig { rtp_timeout_seconds: 1, ..config() };
    let plane = MediaPlane::start(&config, Clock::system()).unwrap();
    let mut leg = open(&plane).await;
    let mut phone = Phone::new(&leg).await;
    leg.control.connect(remote(phone.port, Codec::Pcmu));
    phone.speak(300.0, 10).await;
    let spoken = Instant::now();
    await_event(&mut leg, |event| matches!(event, LegEvent::Silent).then_some(())).await;
    let waited = spoken.elapsed();
    assert!(waited > Duration::from_millis(900) && waited < Duration::from_secs(4), "{waited:?}");
    let again = async {
        loop {
            if matches!(leg.events.recv().await, Some(LegEvent::Silent)) {
                return;
            }
        }
    };
    assert!(tokio::time::timeout(Duration::from_millis(2_500), again).await.is_err(), "told twice");
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_go_both_ways_and_tell_round_trip_and_loss() {
    let plane = plane();
    let mut leg = open(&plane).await;
    let mut phone = Phone::new(&leg).await;
    leg.control.connect(remote(phone.port, Codec::Pcmu));
    phone.speak(300.0, 3).await;
    let mut buffer = [0; 256];
    let (length, source) = tokio::time::timeout(PATIENCE, phone.rtcp.recv_from(&mut buffer)).await.unwrap().unwrap();
    assert_eq!(source.port(), phone.leg.port() + 1);
    let came = Instant::now();
    let about_phone = rtcp::read(&buffer[..length], 77).unwrap();
    let (ssrc, ntp) = about_phone.sender.expect("a sender report");
    assert_eq!(about_phone.about_us.expect("a block about the phone").lost, 0);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let held = came.elapsed().as_micros() as u64;
    let block = Block {
        ssrc,
        fraction_lost: 64,
        last_report: rtcp::middle(ntp),
        delay: ((held << 16) / 1_000_000) as u32,
        ..Block::default()
    };
    let report = Report { ssrc: 77, sender: None, block: Some(block), cname: "phone", goodbye: false };
    let mut out = [0; rtcp::MAX_PACKET];
    let length = report.write(&mut out);
    phone.rtcp.send_to(&out[..length], source).await.unwrap();
    phone.speak(300.0, 60).await;
    let told = await_event(&mut leg, |event| quality(&event).filter(|quality| quality.remote_loss.is_some())).await;
    assert_eq!(told.remote_loss, Some(0.25));
    assert!(told.round_trip_ms.is_some_and(|ms| ms < 30.0), "{told:?}");
    assert!(told.level_in_db > -35.0 && told.buffer_ms < 25.0 && told.level_out_db == -96.0, "{told:?}");
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_hold_nothing_is_sent_and_speech_waits() {
    let plane = plane();
    let leg = open(&plane).await;
    let phone = Phone::new(&leg).await;
    let (peer, strings) = actor(None, None);
    leg.control.attach(peer);
    let mut held = remote(phone.port, Codec::Pcmu);
    held.send = false;
    leg.control.connect(held);
    strings.cue(Cue::Push(tone(440.0, 8_000, 0, 1_600), 8_000)).await;
    strings.cue(Cue::Mark(1)).await;
    assert_eq!(phone.receive_until(Instant::now() + Duration::from_millis(200)).await.len(), 0);
    leg.control.connect(remote(phone.port, Codec::Pcma));
    let first = phone.receive().await;
    assert!(first.is_speech() && first.marker && first.payload_type == 8);
    strings.until(|ear| ear.marks == [1]).await;
    plane.stop().await;
}
