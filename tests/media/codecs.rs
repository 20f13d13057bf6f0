//! Legs on real sockets with every codec: sound, rates, keys, silence, changes during the call, recordings.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::media_stage::*;
use trunkline::config::SpeechConfig;
use trunkline::media::codec::g711::Law;
use trunkline::media::dtmf::ToneListener;
use trunkline::media::resample::Resampler;
use trunkline::media::{Codec, ComfortNoise, KeyFormat, KeyWay, LegControl, LegEvent, LegOptions, OpusTuning, Remote};
use trunkline::speech::{Speech, Voice};

const EVERY: [(u8, Codec); 4] = [(0, Codec::Pcmu), (8, Codec::Pcma), (9, Codec::G722), (111, Codec::Opus)];

fn wide(port: u16, codec: Codec) -> Remote {
    let events = KeyFormat { payload_type: if codec == Codec::Opus { 110 } else { 101 }, clock: codec.clock() };
    Remote {
        accepted: EVERY.to_vec(),
        telephone_event: Some(events),
        accepted_events: vec![
            KeyFormat { payload_type: 101, clock: 8_000 },
            KeyFormat { payload_type: 110, clock: 48_000 },
        ],
        opus: OpusTuning { inband_fec: true, dtx: true, ..OpusTuning::default() },
        ..Remote::new(SocketAddr::new(LOCAL, port), codec)
    }
}

fn connect(control: &LegControl, port: u16, codec: Codec) {
    control.connect(wide(port, codec));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_legs_hear_each_other_with_every_codec_at_its_own_rate() {
    let _alone = alone().await;
    for (_, codec) in EVERY {
        let plane = plane();
        let (first, second) = (open(&plane).await, open(&plane).await);
        let (alto, alto_strings) = actor(Some((440.0, 24_000)), None);
        let (bass, bass_strings) = actor(Some((1_000.0, 16_000)), None);
        first.control.attach(alto);
        second.control.attach(bass);
        connect(&first.control, second.local_rtp_port, codec);
        connect(&second.control, first.local_rtp_port, codec);
        let second_of_sound = codec.rate() as usize;
        for (strings, hz) in [(&alto_strings, 1_000.0), (&bass_strings, 440.0)] {
            strings.until(|ear| ear.pcm.len() >= 2 * second_of_sound).await;
            let ear = strings.ear.lock().unwrap();
            let pcm = &ear.pcm[second_of_sound / 2..2 * second_of_sound];
            assert_eq!(ear.rate, codec.rate(), "{codec:?}");
            // In pieces: a silent frame that the buffer took out or put in on a loaded machine moves the phase once.
            let mut clean: Vec<f64> =
                pcm.chunks_exact(second_of_sound / 5).map(|piece| purity_at(piece, hz, ear.rate)).collect();
            clean.sort_by(f64::total_cmp);
            assert!(clean[clean.len() / 2] > 12.0, "{codec:?} {hz}: {clean:.1?} dB");
            assert!(longest_hole(pcm) < ear.rate as usize / 50, "{codec:?} {hz}");
        }
        plane.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_codec_change_during_the_call_is_heard_as_one_sound() {
    let _alone = alone().await;
    let plane = plane();
    let (first, second) = (open(&plane).await, open(&plane).await);
    let (alto, _strings) = actor(Some((440.0, 16_000)), None);
    let (bass, ears) = actor(None, None);
    first.control.attach(alto);
    second.control.attach(bass);
    connect(&first.control, second.local_rtp_port, Codec::Pcmu);
    connect(&second.control, first.local_rtp_port, Codec::Pcmu);
    for codec in [Codec::G722, Codec::Opus, Codec::Pcma] {
        ears.until(|ear| ear.pcm.len() >= 12_000).await;
        ears.ear.lock().unwrap().pcm.clear();
        connect(&first.control, second.local_rtp_port, codec);
        ears.until(|ear| ear.pcm.len() >= 16_000 && ear.rate == codec.rate()).await;
        let ear = ears.ear.lock().unwrap();
        // Around the change frames of both rates lie side by side: no hole in either.
        assert!(longest_hole(&ear.pcm) < ear.rate as usize / 50, "{codec:?}: {}", longest_hole(&ear.pcm));
        assert!(ear.concealed <= 8, "{codec:?}: {}", ear.concealed);
    }
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_clock_is_another_source_and_the_same_clock_is_not() {
    let plane = plane();
    let leg = open(&plane).await;
    let phone = Phone::new(&leg).await;
    connect(&leg.control, phone.port, Codec::Pcmu);
    let pcmu = phone.receive().await;
    connect(&leg.control, phone.port, Codec::G722);
    let g722 = until_type(&phone, 9).await;
    assert_eq!(g722.ssrc, pcmu.ssrc);
    assert!(g722.timestamp.wrapping_sub(pcmu.timestamp) < 80_000);
    let mut deaf = wide(phone.port, Codec::Opus);
    deaf.opus.dtx = false;
    leg.control.connect(deaf);
    let opus = until_type(&phone, 111).await;
    assert_ne!(opus.ssrc, g722.ssrc);
    let next = phone.receive().await;
    assert_eq!(next.timestamp, opus.timestamp.wrapping_add(960));
    assert_eq!(next.sequence, opus.sequence.wrapping_add(1));
    plane.stop().await;
}

async fn until_type(phone: &Phone, payload_type: u8) -> Got {
    loop {
        let got = phone.receive().await;
        if got.payload_type == payload_type {
            return got;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_go_at_the_clock_of_the_sound() {
    let plane = plane();
    let (first, mut second) = (open(&plane).await, open(&plane).await);
    let (sender, strings) = actor(None, None);
    let (receiver, _ear) = actor(None, None);
    first.control.attach(sender);
    second.control.attach(receiver);
    connect(&first.control, second.local_rtp_port, Codec::Opus);
    connect(&second.control, first.local_rtp_port, Codec::Opus);
    strings.cue(Cue::Keys("15#5")).await;
    let mut keys = String::new();
    while keys.len() < 4 {
        keys.push(
            await_event(&mut second, |event| if let LegEvent::Key(key) = event { Some(key) } else { None }).await,
        );
    }
    assert_eq!(keys, "15#5");
    assert_eq!(close(&mut second).await.quality.lost, 0);
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_go_as_tones_where_no_events_are_known() {
    let _alone = alone().await;
    for codec in [Codec::Pcma, Codec::G722, Codec::Opus] {
        let plane = plane();
        let (first, mut second) = (open(&plane).await, open(&plane).await);
        let (sender, strings) = actor(None, None);
        let (receiver, _ear) = actor(None, None);
        first.control.attach(sender);
        second.control.attach(receiver);
        let tones = |port: u16| Remote {
            telephone_event: None,
            accepted_events: Vec::new(),
            keys: KeyWay::Tones,
            ..wide(port, codec)
        };
        first.control.connect(tones(second.local_rtp_port));
        second.control.connect(tones(first.local_rtp_port));
        await_event(&mut second, |event| matches!(event, LegEvent::Connected).then_some(())).await;
        strings.cue(Cue::Keys("70#7")).await;
        let mut keys = String::new();
        while keys.len() < 4 {
            let key = |event| if let LegEvent::Key(key) = event { Some(key) } else { None };
            keys.push(await_event(&mut second, key).await);
        }
        assert_eq!(keys, "70#7", "{codec:?}");
        plane.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_is_sent_as_agreed_and_speech_after_it_has_the_marker() {
    let _alone = alone().await;
    let comfort =
        |port| Remote { comfort_noise: Some(ComfortNoise { send: 13, accept: 13 }), ..wide(port, Codec::Pcmu) };
    let plain = |port| wide(port, Codec::Pcmu);
    for (remote, noise) in [(&comfort as &dyn Fn(u16) -> Remote, true), (&plain, false)] {
        let plane = plane();
        let leg = open(&plane).await;
        let phone = Phone::new(&leg).await;
        let (peer, strings) = actor(None, None);
        leg.control.attach(peer);
        leg.control.connect(remote(phone.port));
        let got = phone.receive_until(Instant::now() + Duration::from_millis(1_000)).await;
        let noises = got.iter().filter(|got| got.payload_type == 13).count();
        if noise {
            assert!((3..=5).contains(&noises) && got.len() < 18, "{noises} of {}", got.len());
        } else {
            assert!(noises == 0 && got.len() >= 45, "{noises} of {}", got.len());
        }
        strings.cue(Cue::Push(tone(440.0, 8_000, 0, 1_600), 8_000)).await;
        let speech = loop {
            let got = phone.receive().await;
            if got.payload_type == 0 && got.is_speech() {
                break got;
            }
        };
        assert!(speech.marker);
        plane.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_that_has_said_it_is_silent_is_not_missed() {
    let _alone = alone().await;
    let quiet = trunkline::config::MediaConfig { rtp_timeout_seconds: 1, ..config() };
    for rests in [true, false] {
        let plane = trunkline::media::MediaPlane::start(&quiet, trunkline::clock::Clock::system()).unwrap();
        let mut leg = open(&plane).await;
        let mut phone = Phone::new(&leg).await;
        let noise = Some(ComfortNoise { send: 13, accept: 13 });
        leg.control.connect(Remote { comfort_noise: noise, ..wide(phone.port, Codec::Pcmu) });
        phone.speak(300.0, 10).await;
        if rests {
            let datagram = phone.next(13, &[60]);
            phone.send(&datagram).await;
        }
        let spoke = Instant::now();
        await_event(&mut leg, |event| matches!(event, LegEvent::Silent).then_some(())).await;
        let after = spoke.elapsed();
        let expected = if rests { 4 } else { 1 };
        assert!(after.as_secs_f64() > f64::from(expected) - 0.3, "{rests}: {after:?}");
        assert!(after.as_secs_f64() < f64::from(expected) + 2.0, "{rests}: {after:?}");
        plane.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wide_band_call_is_recorded_in_wide_band() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("call.wav");
    let plane = plane();
    let mut first = plane.open(LegOptions { bind: LOCAL, recording: Some(path.clone()) }).await.unwrap();
    let second = open(&plane).await;
    // 5 kHz do not exist in narrow band.
    let (alto, _a) = actor(Some((5_000.0, 16_000)), None);
    let (bass, _b) = actor(Some((6_000.0, 16_000)), None);
    first.control.attach(alto);
    second.control.attach(bass);
    connect(&first.control, second.local_rtp_port, Codec::G722);
    connect(&second.control, first.local_rtp_port, Codec::G722);
    received(&mut first, 100).await;
    close(&mut first).await;
    let mut wav = hound::WavReader::open(&path).unwrap();
    assert_eq!((wav.spec().channels, wav.spec().sample_rate), (2, 16_000));
    let samples: Vec<i16> = wav.samples::<i16>().map(Result::unwrap).collect();
    for (channel, hz) in [(0, 6_000.0), (1, 5_000.0)] {
        let pcm: Vec<i16> = samples.iter().skip(channel).step_by(2).copied().collect();
        let clean = purity_at(&pcm[8_000..24_000], hz, 16_000);
        assert!(clean > 6.0, "channel {channel}: {clean:.1} dB");
    }
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_peers_reports_tell_the_opus_encoder_of_loss() {
    use trunkline::media::rtcp::{Block, MAX_PACKET, Report};
    let plane = plane();
    let mut leg = open(&plane).await;
    let phone = Phone::new(&leg).await;
    connect(&leg.control, phone.port, Codec::Opus);
    let (peer, _strings) = actor(Some((440.0, 16_000)), None);
    leg.control.attach(peer);
    let mean = async |phone: &Phone| {
        let got = phone.receive_until(Instant::now() + Duration::from_millis(1_000)).await;
        got.iter().map(|got| got.payload.len()).sum::<usize>() as f64 / got.len().max(1) as f64
    };
    let before = mean(&phone).await;
    let ssrc = phone.receive().await.ssrc;
    for _ in 0..3 {
        let block = Block { ssrc, fraction_lost: 80, ..Block::default() };
        let report = Report { ssrc: 77, sender: None, block: Some(block), cname: "phone", goodbye: false };
        let mut out = [0; MAX_PACKET];
        let length = report.write(&mut out);
        phone.rtcp.send_to(&out[..length], SocketAddr::new(LOCAL, phone.leg.port() + 1)).await.unwrap();
    }
    phone.receive().await;
    let after = mean(&phone).await;
    assert!(after < before * 0.85, "{before:.0} octets before the reports, {after:.0} after");
    close(&mut leg).await;
    plane.stop().await;
}

const TALK: &str = "Good morning. I would like to know whether the parcel with number seven seven nine has arrived. My \
                    daughter waits for it since Wednesday, and she is rather eager. Could you please look it up? Oh, how \
                    awful, the line is going. Hello? Are you there? We owe you one. Aha, you are. Many more miles away.";

/// Talk-off: no speech presses a key.
#[test]
fn speech_presses_no_key() {
    let speech = Speech::start(&SpeechConfig::default()).expect("the speech threads start");
    let (mut seconds, mut keys) = (0.0, String::new());
    for voice in [Voice::Slt, Voice::Kal] {
        let mut pcm = Vec::new();
        let mut spoken = speech.speak(TALK.to_owned(), voice);
        while let Some(piece) = spoken.blocking_recv() {
            assert_eq!(piece.rate, 16_000);
            pcm.extend(piece.pcm);
        }
        // Faster and slower: other pitches and colours of the same words.
        for speed in [8_000u32, 16_000, 24_000] {
            let mut narrow = Vec::new();
            Resampler::new(speed, 8_000).unwrap().process(&pcm, |sample| narrow.push(sample));
            let mut octets = vec![0; narrow.len()];
            Law::Micro.encode(&narrow, &mut octets);
            Law::Micro.decode(&octets, &mut narrow);
            let mut listener = ToneListener::new(8_000);
            keys.extend(narrow.chunks(160).filter_map(|frame| listener.hear(frame, 8_000)));
            seconds += narrow.len() as f64 / 8_000.0;
        }
        let mut listener = ToneListener::new(16_000);
        keys.extend(pcm.chunks(320).filter_map(|frame| listener.hear(frame, 16_000)));
        seconds += pcm.len() as f64 / 16_000.0;
    }
    eprintln!("{seconds:.0} s of speech, keys: “{keys}”");
    assert!(seconds > 120.0, "{seconds}");
    assert_eq!(keys, "");
}
