//! Every codec through a network, in virtual time: drift, loss, silence, packet lengths, changes during the call.

#![allow(clippy::disallowed_methods)]

use super::*;
use crate::media::OpusTuning;
use crate::media::codec::{Encoder, MOST_OCTETS};

const ALL: [Codec; 4] = [Codec::Pcmu, Codec::Pcma, Codec::G722, Codec::Opus];
const HERTZ: f64 = 440.0;

/// What a sender has put on the wire: when it left (ms), the packet's header, its payload.
struct Sent {
    at: f64,
    content: Content,
    sequence: u16,
    timestamp: u32,
    payload: Vec<u8>,
}

/// A sender whose sequence numbers go on through every change.
struct Sender {
    encoder: Encoder,
    codec: Codec,
    sequence: u16,
    timestamp: u32,
    frame: usize,
    sent: Vec<Sent>,
}

impl Sender {
    fn new(codec: Codec) -> Sender {
        let tuning = OpusTuning { inband_fec: true, dtx: true, ..OpusTuning::default() };
        let mut encoder = Encoder::new(codec, tuning);
        encoder.hear_of_loss(0.1);
        Sender { encoder, codec, sequence: 65_400, timestamp: u32::MAX - 30_000, frame: 0, sent: Vec::new() }
    }

    /// Another codec, with a timestamp of its own when its clock differs.
    fn change(&mut self, codec: Codec) {
        let tuning = OpusTuning::default();
        if codec.clock() != self.codec.clock() {
            self.timestamp = self.timestamp.wrapping_mul(77);
        }
        (self.encoder, self.codec) = (Encoder::new(codec, tuning), codec);
    }

    /// Sends `frames` frames of a tone (or silence).
    fn speak(&mut self, frames: usize, loud: bool) {
        for _ in 0..frames {
            let length = self.codec.rate() as usize / 50;
            let step = std::f64::consts::TAU * HERTZ / f64::from(self.codec.rate());
            let pcm: Vec<i16> = (self.frame * length..(self.frame + 1) * length)
                .map(|n| if loud { (9_000.0 * (step * n as f64).sin()) as i16 } else { 0 })
                .collect();
            let mut payload = [0; MOST_OCTETS];
            let length = self.encoder.encode(&pcm, &mut payload);
            if length > 0 {
                self.put(Content::Audio(Sound::Voice(self.codec)), payload[..length].to_vec());
            }
            self.rest(1);
        }
    }

    /// Time passes without a packet.
    fn rest(&mut self, frames: usize) {
        self.frame += frames;
        self.timestamp = self.timestamp.wrapping_add(frames as u32 * self.codec.clock() / 50);
    }

    fn put(&mut self, content: Content, payload: Vec<u8>) {
        self.sequence = self.sequence.wrapping_add(1);
        let (at, sequence, timestamp) = (self.frame as f64 * 20.0, self.sequence, self.timestamp);
        self.sent.push(Sent { at, content, sequence, timestamp, payload });
    }
}

struct Listened {
    reception: Reception,
    heard: Vec<Heard>,
    keys: String,
}

impl Listened {
    fn count(&self, origin: Origin) -> usize {
        self.heard.iter().filter(|heard| heard.origin == origin).count()
    }

    fn pcm(&self, frames: std::ops::Range<usize>) -> Vec<i16> {
        self.heard[frames].iter().flat_map(|heard| heard.pcm.to_vec()).collect()
    }
}

/// Plays what was sent into a reception, `stretch` times as slowly, until so many milliseconds have passed.
fn listen(sent: &[Sent], stretch: f64, until: f64, lost: impl Fn(usize) -> bool) -> Listened {
    let start = Instant::now();
    let mut listened =
        Listened { reception: Reception::new(Duration::from_millis(200)), heard: Vec::new(), keys: String::new() };
    let mut packets = sent.iter().enumerate().filter(|(n, _)| !lost(*n)).map(|(_, sent)| sent).peekable();
    let end = start + Duration::from_secs_f64(until / 1e3);
    loop {
        let arrival = packets.peek().map(|sent| start + Duration::from_secs_f64(sent.at * stretch / 1e3));
        let due = listened.reception.next_due();
        let Some(now) = arrival.into_iter().chain(due).min().filter(|now| *now <= end) else { return listened };
        let heard = std::iter::from_fn(|| listened.reception.poll(now).cloned());
        listened.heard.extend(heard.filter(|heard| !heard.left_out));
        if arrival == Some(now)
            && let Some(Sent { content, sequence, timestamp, payload, .. }) = packets.next()
        {
            let (sequence, timestamp) = (*sequence, *timestamp);
            let packet = Packet { marker: false, payload_type: 0, sequence, timestamp, ssrc: 1, payload };
            listened.keys.extend(listened.reception.packet(&packet, *content, now));
        }
    }
}

/// The tone against everything else, dB.
fn purity(pcm: &[i16], rate: u32) -> f64 {
    let step = std::f64::consts::TAU * HERTZ / f64::from(rate);
    let (mut re, mut im) = (0.0, 0.0);
    for (n, sample) in pcm.iter().enumerate() {
        re += f64::from(*sample) * (step * n as f64).cos();
        im += f64::from(*sample) * (step * n as f64).sin();
    }
    let count = pcm.len() as f64;
    let tone = 2.0 * (re * re + im * im) / (count * count);
    let all = pcm.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / count;
    10.0 * (tone / (all - tone).max(1e-6)).log10()
}

#[test]
fn a_clean_network_brings_every_codec_whole_and_at_its_rate() {
    for codec in ALL {
        let mut sender = Sender::new(codec);
        sender.speak(150, true);
        let listened = listen(&sender.sent, 1.0, 3_000.0, |_| false);
        assert!(listened.heard.len() >= 149 && listened.count(Origin::Concealed) == 0, "{codec:?}");
        assert!(listened.heard.iter().all(|heard| heard.pcm.rate() == codec.rate()));
        let clean = purity(&listened.pcm(20..140), codec.rate());
        assert!(clean > 18.0, "{codec:?}: {clean:.1} dB");
        assert_eq!(listened.reception.codec(), codec);
    }
}

#[test]
fn a_wrong_clock_rate_or_byte_order_is_found_by_the_same_measure() {
    let mut sender = Sender::new(Codec::G722);
    sender.speak(150, true);
    let listened = listen(&sender.sent, 1.0, 3_000.0, |_| false);
    let pcm = listened.pcm(20..140);
    assert!(purity(&pcm, 16_000) > 18.0);
    assert!(purity(&pcm, 8_000) < 0.0, "16 kHz taken for 8 kHz passes");
    let swapped: Vec<i16> = pcm.iter().map(|sample| sample.swap_bytes()).collect();
    assert!(purity(&swapped, 16_000) < 0.0, "swapped octets pass");
    // G.722 octets read as G.711.
    sender.sent.iter_mut().for_each(|sent| sent.content = Content::Audio(Sound::Voice(Codec::Pcmu)));
    let mistaken = listen(&sender.sent, 1.0, 3_000.0, |_| false).pcm(20..140);
    assert!(purity(&mistaken, 8_000) < 6.0, "{}", purity(&mistaken, 8_000));
}

#[test]
fn drift_is_taken_up_in_silence_with_every_codec() {
    for codec in ALL {
        for drift in [-1e-3, 1e-3] {
            let mut sender = Sender::new(codec);
            for _ in 0..25 {
                sender.speak(30, true);
                sender.speak(20, false);
            }
            let listened = listen(&sender.sent, 1.0 + drift, 25_000.0, |_| false);
            let counts = listened.reception.jitter.counts();
            assert_eq!((counts.late, counts.discarded), (0, 0), "{codec:?} {drift}: {counts:?}");
            assert!(listened.heard.len().abs_diff(1_250) <= 3, "{codec:?} {drift}: {}", listened.heard.len());
            assert_eq!(listened.reception.arrivals.counts().lost, 0);
            assert!(listened.reception.jitter.delay() < Duration::from_millis(20), "{codec:?} {drift}");
        }
    }
}

#[test]
fn a_lost_packet_is_one_stand_in_with_every_codec() {
    for codec in ALL {
        let mut sender = Sender::new(codec);
        sender.speak(400, true);
        let listened = listen(&sender.sent, 1.0, 8_000.0, |n| n % 20 == 13);
        assert_eq!(listened.reception.arrivals.counts().lost, 20, "{codec:?}");
        assert_eq!(listened.count(Origin::Concealed), 20, "{codec:?}");
        let rest = purity(&listened.pcm(100..390), codec.rate());
        assert!(rest > 10.0, "{codec:?}: {rest:.1} dB");
    }
}

#[test]
fn where_packets_are_lost_opus_waits_for_the_one_that_repairs() {
    let mut sender = Sender::new(Codec::Opus);
    for _ in 0..20 {
        sender.speak(40, true);
        // Silence that is sent: only in silence may the delay change.
        sender.encoder.tune(OpusTuning { inband_fec: true, ..OpusTuning::default() });
        sender.speak(10, false);
    }
    let lossy = listen(&sender.sent, 1.0, 20_000.0, |n| n % 12 == 5);
    let clean = listen(&sender.sent, 1.0, 20_000.0, |_| false);
    let (waits, usual) = (lossy.reception.jitter.delay(), clean.reception.jitter.delay());
    assert!(waits >= usual + Duration::from_millis(15), "{waits:?} against {usual:?}");
    assert!(lossy.reception.jitter.counts().late == 0);
}

#[test]
fn packets_of_10_to_120_ms_make_whole_frames() {
    for codec in [Codec::Pcma, Codec::G722] {
        for milliseconds in [10, 20, 30, 40, 50, 60, 80, 100, 120] {
            let mut sender = Sender::new(codec);
            sender.speak(300, true);
            let (octets, start) = (sender.sent.iter().flat_map(|sent| sent.payload.clone()), sender.sent[0].timestamp);
            let octets: Vec<u8> = octets.collect();
            let packets: Vec<Sent> = octets
                .chunks(8 * milliseconds)
                .enumerate()
                .map(|(n, payload)| Sent {
                    at: (n * milliseconds) as f64,
                    content: Content::Audio(Sound::Voice(codec)),
                    sequence: n as u16,
                    timestamp: start.wrapping_add((n * milliseconds * 8) as u32),
                    payload: payload.to_vec(),
                })
                .collect();
            let listened = listen(&packets, 1.0, 6_000.0, |_| false);
            assert!(listened.count(Origin::Concealed) <= 4, "{codec:?} {milliseconds}");
            let clean = purity(&listened.pcm(60..270), codec.rate());
            assert!(clean > 18.0, "{codec:?} in {milliseconds} ms: {clean:.1} dB");
        }
    }
}

#[test]
fn silence_that_is_not_sent_is_neither_loss_nor_lateness() {
    let mut sender = Sender::new(Codec::Opus);
    sender.speak(50, true);
    sender.speak(150, false);
    let resumed = sender.sent.len();
    sender.speak(50, true);
    assert!(resumed < 95, "{resumed} packets for a second of speech and three of silence");
    let listened = listen(&sender.sent, 1.0, 5_000.0, |_| false);
    let (arrivals, jitter) = (listened.reception.arrivals.counts(), listened.reception.jitter.counts());
    assert_eq!((arrivals.lost, jitter.late, jitter.discarded, jitter.restarts), (0, 0, 0, 0));
    assert!(listened.heard.len().abs_diff(250) <= 2, "{}", listened.heard.len());
    assert!(listened.count(Origin::Comfort) > 100, "{}", listened.count(Origin::Comfort));
    assert!(listened.count(Origin::Concealed) <= 15, "{}", listened.count(Origin::Concealed));
    assert!(purity(&listened.pcm(210..245), 16_000) > 15.0);
}

#[test]
fn comfort_noise_fills_the_silence_and_is_no_loss() {
    let mut sender = Sender::new(Codec::Pcma);
    sender.speak(50, true);
    for _ in 0..3 {
        sender.put(Content::Audio(Sound::Noise), vec![50]);
        sender.rest(25);
    }
    sender.speak(50, true);
    let listened = listen(&sender.sent, 1.0, 3_400.0, |_| false);
    assert_eq!(listened.reception.arrivals.counts().lost, 0);
    assert_eq!((listened.count(Origin::Comfort), listened.count(Origin::Concealed)), (75, 0));
    let quiet = listened.pcm(60..120);
    let power = quiet.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / quiet.len() as f64;
    let level = 10.0 * (power / 32_768f64.powi(2)).log10();
    assert!((level + 50.0).abs() < 1.5, "{level}");
    assert!(purity(&listened.pcm(130..165), 8_000) > 18.0);
}

#[test]
fn a_codec_that_changes_during_the_call_leaves_no_gap() {
    use Codec::{G722, Opus, Pcma, Pcmu};
    for (before, after) in [(Pcmu, Pcma), (Pcmu, G722), (G722, Pcma), (Pcmu, Opus), (Opus, Pcmu), (Opus, G722)] {
        let mut sender = Sender::new(before);
        sender.speak(100, true);
        sender.change(after);
        sender.speak(100, true);
        let listened = listen(&sender.sent, 1.0, 4_000.0, |_| false);
        let what = format!("{before:?} to {after:?}");
        assert!(listened.heard.len() >= 199, "{what}: {}", listened.heard.len());
        let spoken = |heard: &&Heard| heard.origin == Origin::Received;
        assert!(listened.heard.iter().filter(spoken).count() >= 199, "{what}: {}", listened.count(Origin::Received));
        assert_eq!(listened.reception.jitter.counts().late + listened.reception.jitter.counts().discarded, 0);
        let rates: Vec<u32> = listened.heard.iter().map(|heard| heard.pcm.rate()).collect();
        assert!(rates[..100].iter().all(|rate| *rate == before.rate()), "{what}");
        assert!(rates[100..].iter().all(|rate| *rate == after.rate()), "{what}");
        assert!(purity(&listened.pcm(10..100), before.rate()) > 15.0, "{what}");
        assert!(purity(&listened.pcm(110..190), after.rate()) > 15.0, "{what}");
        // No hole in the sound: silence of at most 8 ms at the seam (the new coder swings in).
        let seam: Vec<i16> = listened.pcm(98..103);
        let hole = seam.chunk_by(|a, b| (a.abs() < 300) == (b.abs() < 300)).filter(|run| run[0].abs() < 300);
        let longest = hole.map(<[i16]>::len).max().unwrap_or(0);
        assert!(longest <= after.rate() as usize * 8 / 1_000, "{what}: {longest} samples");
    }
}

#[test]
fn what_waits_when_the_clock_changes_is_played_first() {
    let mut sender = Sender::new(Codec::Pcmu);
    for _ in 0..10 {
        sender.speak(20, true);
        sender.speak(20, false);
    }
    sender.speak(20, true);
    sender.change(Codec::Opus);
    sender.speak(60, true);
    // Up to 70 ms of jitter without reordering: the buffer has learned to hold some frames at the change.
    let mut latest = 0.0f64;
    for (n, sent) in sender.sent.iter_mut().enumerate() {
        latest = latest.max(sent.at + (n * 7_919 % 71) as f64);
        sent.at = latest;
    }
    let listened = listen(&sender.sent, 1.0, 9_600.0, |_| false);
    assert_eq!(listened.reception.jitter.counts().restarts, 1);
    let change = listened.heard.iter().position(|heard| heard.pcm.rate() == 16_000).expect("Opus is heard");
    // The twenty frames of speech before the change have all been heard: none was thrown away by it.
    let before = listened.heard[..change].iter().rev().take(24);
    let loud = before.filter(|heard| heard.origin == Origin::Received && heard.pcm.iter().any(|s| s.abs() > 4_000));
    assert!(loud.count() >= 20);
}

#[test]
fn a_packet_from_before_a_change_of_clock_that_comes_after_it_is_late() {
    let mut sender = Sender::new(Codec::Pcmu);
    sender.speak(50, true);
    sender.change(Codec::Opus);
    sender.speak(50, true);
    sender.sent[49].at = sender.sent[50].at + 5.0;
    sender.sent.swap(49, 50);
    let listened = listen(&sender.sent, 1.0, 2_000.0, |_| false);
    let counts = listened.reception.jitter.counts();
    assert_eq!((counts.late, counts.restarts), (1, 1), "{counts:?}");
    assert!(listened.count(Origin::Received) >= 98);
}

#[test]
fn keys_at_either_clock_are_heard_beside_the_sound() {
    for (codec, clock) in [(Codec::G722, 8_000u32), (Codec::Opus, 48_000), (Codec::Opus, 8_000)] {
        let mut sender = Sender::new(codec);
        sender.speak(20, true);
        for code in [1u8, 1, 11] {
            let timestamp = sender.timestamp;
            for slot in 1..=7u32 {
                let duration = (slot.min(5) * clock / 50) as u16;
                let [high, low] = duration.to_be_bytes();
                let end = if slot >= 5 { 0x80 } else { 0 };
                let now = std::mem::replace(&mut sender.timestamp, timestamp);
                sender.put(Content::Keys(clock), vec![code, end | 10, high, low]);
                sender.timestamp = now;
                sender.rest(1);
            }
            sender.speak(5, true);
        }
        let listened = listen(&sender.sent, 1.0, 1_500.0, |n| n % 9 == 8);
        assert_eq!(listened.keys, "11#", "{codec:?} {clock}");
    }
}
