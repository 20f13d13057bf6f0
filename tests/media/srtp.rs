//! Encrypted legs on real sockets: every suite, a change of keys, and what strangers send.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::media_stage;
use std::time::{Duration, Instant};

use media_stage::*;
use trunkline::media::rtp::Packet;
use trunkline::media::srtp::{Channel, TRAILER};
use trunkline::media::{Codec, Leg, LegEvent, Remote, SrtpKey, SrtpKeys, Suite};

const SUITES: [Suite; 5] = [
    Suite::AesCm128HmacSha1_80,
    Suite::AesCm128HmacSha1_32,
    Suite::AesCm256HmacSha1_80,
    Suite::AeadAes128Gcm,
    Suite::AeadAes256Gcm,
];
const VOICE: [u8; 160] = [0x55; 160];

fn key(suite: Suite, seed: u8) -> SrtpKey {
    let length = suite.key_length() + suite.salt_length();
    SrtpKey::new(suite, &(0..length).map(|at| (at as u8).wrapping_mul(37) ^ seed).collect::<Vec<u8>>(), &[])
}

fn keys(suite: Suite, send: u8, receive: u8) -> SrtpKeys {
    SrtpKeys { send: key(suite, send), receive: key(suite, receive) }
}

fn secured(port: u16, keys: SrtpKeys) -> Remote {
    Remote { srtp: Some(Box::new(keys)), ..remote(port, Codec::Pcmu) }
}

fn sealed(channel: &mut Channel, datagram: &[u8]) -> Vec<u8> {
    let mut buffer = [datagram, &[0; TRAILER]].concat();
    let length = channel.protect(&mut buffer, datagram.len()).expect("room");
    buffer.truncate(length);
    buffer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_legs_hear_each_other_in_every_suite() {
    let _alone = alone().await;
    for suite in SUITES {
        let plane = plane();
        let (mut first, mut second) = (open(&plane).await, open(&plane).await);
        let (alto, alto_strings) = actor(Some((440.0, 8_000)), None);
        let (bass, bass_strings) = actor(Some((1_000.0, 8_000)), None);
        first.control.attach(alto);
        second.control.attach(bass);
        first.control.connect(secured(second.local_rtp_port, keys(suite, 1, 2)));
        second.control.connect(secured(first.local_rtp_port, keys(suite, 2, 1)));
        for (strings, hz) in [(&alto_strings, 1_000.0), (&bass_strings, 440.0)] {
            strings.until(|ear| ear.pcm.len() >= 9_600).await;
            let ear = strings.ear.lock().unwrap();
            let heard = &ear.pcm[1_600..9_600];
            assert!(purity(heard, hz) > 20.0 && longest_hole(heard) < 160, "{suite:?}: {}", purity(heard, hz));
            assert!(ear.concealed <= 8, "{suite:?}: {} frames were made up", ear.concealed);
        }
        for leg in [&mut first, &mut second] {
            let quality = close(leg).await.quality;
            assert!(quality.encrypted && quality.refused == 0, "{suite:?}: {quality:?}");
        }
        plane.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leg_learns_nothing_of_who_has_not_the_key() {
    let plane = plane();
    for suite in [Suite::AesCm128HmacSha1_80, Suite::AeadAes256Gcm] {
        let mut leg = open(&plane).await;
        let (peer, _strings) = actor(Some((440.0, 8_000)), None);
        leg.control.attach(peer);
        let (mut stranger, mut phone) = (Phone::new(&leg).await, Phone::new(&leg).await);
        let elsewhere = Phone::new(&leg).await;
        leg.control.connect(secured(stranger.port, keys(suite, 1, 2)));
        // Its first packet shows that the leg is connected and speaks to the signalled address.
        let mut buffer = [0; 2_048];
        let (length, _) = stranger.rtp.recv_from(&mut buffer).await.expect("a packet");
        assert!(length > 172, "{length} octets");
        let (mut wrong, mut right) = (Channel::new(&keys(suite, 9, 9)), Channel::new(&keys(suite, 2, 1)));
        for _ in 0..5 {
            let plain = stranger.next(0, &VOICE);
            stranger.send(&plain).await;
            let forged = sealed(&mut wrong, &plain);
            stranger.send(&forged).await;
            stranger.send(&forged[..forged.len() - 1]).await;
        }
        // The phone speaks from another port; were the stranger latched onto, it would be foreign.
        let wire = sealed(&mut right, &phone.next(0, &VOICE));
        phone.send(&wire).await;
        await_event(&mut leg, |event| matches!(event, LegEvent::Connected).then_some(())).await;
        for _ in 0..3 {
            phone.send(&wire).await;
        }
        let (length, _) = phone.rtp.recv_from(&mut buffer).await.expect("a packet");
        let mut heard = buffer[..length].to_vec();
        assert_ne!(heard[12..40], VOICE[..28]);
        let length = right.open(&mut heard, Instant::now()).expect("made with the leg's key");
        assert_eq!(Packet::read(&heard[..length]).unwrap().payload.len(), 160);
        // The signalled address may take over, with the key; a third one may not.
        stranger.send(&wire).await;
        elsewhere.send(&wire).await;
        let last = sealed(&mut right, &phone.next(0, &VOICE));
        phone.send(&last).await;
        received(&mut leg, 2).await;
        let quality = close(&mut leg).await.quality;
        assert_eq!((quality.packets_received, quality.refused, quality.foreign), (2, 15 + 3 + 1, 1), "{suite:?}");
    }
    plane.stop().await;
}

/// Two legs that hear each other, the first speaking.
async fn speaking(first: &Leg, second: &Leg, suite: Suite) -> Strings {
    let (speaker, _) = actor(Some((440.0, 8_000)), None);
    let (listener, strings) = actor(None, None);
    first.control.attach(speaker);
    second.control.attach(listener);
    first.control.connect(secured(second.local_rtp_port, keys(suite, 1, 2)));
    second.control.connect(secured(first.local_rtp_port, keys(suite, 2, 1)));
    strings.until(|ear| ear.pcm.len() >= 4_800).await;
    strings
}

/// Whether `ear` heard the tone from sample `from` on and nothing else. A machine that is held up makes a stand-in, which
/// moves the phase of all that follows: then each tenth of a second is judged by itself, and one may be off.
fn is_pure(ear: &Ear, from: usize) -> bool {
    let pcm = &ear.pcm[from..];
    match ear.concealed {
        0 => purity(pcm, 440.0) > 20.0,
        1 | 2 => pcm.chunks_exact(800).filter(|piece| purity(piece, 440.0) <= 20.0).count() <= 1,
        _ => false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_keys_is_not_heard() {
    let _alone = alone().await;
    for suite in [Suite::AesCm128HmacSha1_80, Suite::AeadAes128Gcm] {
        let plane = plane();
        let (first, mut second) = (open(&plane).await, open(&plane).await);
        let strings = speaking(&first, &second, suite).await;
        // The answerer knows the new key first; what the offerer still sends is under the old one.
        second.control.connect(secured(first.local_rtp_port, keys(suite, 2, 5)));
        strings.until(|ear| ear.pcm.len() >= 7_200).await;
        first.control.connect(secured(second.local_rtp_port, keys(suite, 5, 2)));
        strings.until(|ear| ear.pcm.len() >= 12_000).await;
        {
            let ear = strings.ear.lock().unwrap();
            let made_up = ear.concealed;
            assert!(longest_hole(&ear.pcm[1_600..]) < 160 && is_pure(&ear, 1_600), "{suite:?}: {made_up} made up");
        }
        let quality = close(&mut second).await.quality;
        assert_eq!((quality.refused, quality.lost), (0, 0), "{suite:?}");
        plane.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leg_may_become_encrypted_and_plain_again() {
    let _alone = alone().await;
    let plane = plane();
    let (mut first, mut second) = (open(&plane).await, open(&plane).await);
    let strings = speaking(&first, &second, Suite::AeadAes256Gcm).await;
    first.control.connect(remote(second.local_rtp_port, Codec::Pcmu));
    second.control.connect(remote(first.local_rtp_port, Codec::Pcmu));
    let before = strings.ear.lock().unwrap().pcm.len();
    strings.until(|ear| ear.pcm.len() >= before + 4_800).await;
    assert!(is_pure(&strings.ear.lock().unwrap(), before + 1_600));
    for leg in [&mut first, &mut second] {
        assert!(!close(leg).await.quality.encrypted, "a part of it was plain");
    }
    plane.stop().await;
}

/// A receiver report of source 77 about `ssrc`.
fn receiver_report(ssrc: u32, fraction_lost: u8) -> Vec<u8> {
    let mut report = vec![0x81, 201, 0, 7, 0, 0, 0, 77];
    report.extend(ssrc.to_be_bytes());
    report.extend([fraction_lost, 0, 0, 1]);
    report.extend([0; 16]);
    report
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_are_encrypted_both_ways_and_plain_ones_do_not_count() {
    let plane = plane();
    let suite = Suite::AesCm128HmacSha1_32;
    let mut leg = open(&plane).await;
    let (peer, _strings) = actor(Some((440.0, 8_000)), None);
    leg.control.attach(peer);
    let mut phone = Phone::new(&leg).await;
    leg.control.connect(secured(phone.port, keys(suite, 1, 2)));
    let mut channel = Channel::new(&keys(suite, 2, 1));
    let mut buffer = [0; 2_048];
    let (length, _) = phone.rtp.recv_from(&mut buffer).await.expect("a packet");
    let length = channel.open(&mut buffer[..length], Instant::now()).expect("authentic");
    let ssrc = Packet::read(&buffer[..length]).unwrap().ssrc;
    let wire = sealed(&mut channel, &phone.next(0, &VOICE));
    phone.send(&wire).await;

    let control = std::net::SocketAddr::new(LOCAL, leg.local_rtp_port + 1);
    phone.rtcp.send_to(&receiver_report(ssrc, 255), control).await.unwrap();
    let report = receiver_report(ssrc, 64);
    let mut sealed_report = [report.as_slice(), &[0; TRAILER]].concat();
    let length = channel.protect_control(&mut sealed_report, report.len()).expect("room");
    phone.rtcp.send_to(&sealed_report[..length], control).await.unwrap();
    let loss = |event| if let LegEvent::Quality(quality) = event { quality.remote_loss } else { None };
    assert!((await_event(&mut leg, loss).await - 0.25).abs() < 1e-6);

    let read = phone.rtcp.recv_from(&mut buffer);
    let (length, _) = tokio::time::timeout(Duration::from_secs(10), read).await.expect("a report").unwrap();
    let mut wire = buffer[..length].to_vec();
    assert!(channel.open_control(&mut wire, Instant::now()).is_ok());
    assert_eq!((wire[1], &wire[4..8]), (200, &ssrc.to_be_bytes()[..]));
    assert_eq!(close(&mut leg).await.quality.refused, 1);
    plane.stop().await;
}
