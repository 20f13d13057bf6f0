//! Speech through the whole box and back, scored after ITU-T P.862 (PESQ) beside what the codec alone makes of it.
//!
//! A phone says what the box's voice made; the box hands it to a bot over a WebSocket, or to its echo engine where the
//! codec is wide-band; it comes back, and the box speaks it to the phone. The short form runs with the other tests;
//! `make quality` takes more voices and sentences.

use std::path::{Path, PathBuf};
use std::process::Command;

use trunkline::media::codec::opus::OpusDecoder;
use trunkline::media::codec::{Encoder, MOST_OCTETS, g722};
use trunkline::media::{Codec, OpusTuning};
use trunkline::speech::Voice;

use crate::support::bot::EchoBot;
use crate::support::rtp_phone::{Conversation, converse};
use crate::support::{Gateway, Setup, audio, take_turn};
use crate::wide_band::{narrow, sentences, sharpness};

const NUMBER: &str = "1234";
/// Silent frames before the speech, while the bot connects, and behind it, until it has come back.
const BEFORE: usize = 50;
const AFTER: usize = 40;
/// Milliseconds that the bot's speech comes before its time.
const LEAD: usize = 120;
/// Loss of the bad network.
const LOSS: f64 = 0.03;
/// Bad networks that each sample goes through; they lose different packets, and the mean counts.
const NETWORKS: u64 = 8;
/// How often a call over the clean network is made again.
const AGAIN: usize = 2;
/// How far the score may fall below that of the codec alone: on a clean network, and with that loss.
const CLEAN: f64 = 0.1;
const LOSSY: f64 = 0.5;
/// The same for the short form, whose calls all run at once: a machine that is held up costs some of it. It finds what
/// breaks; the promise is held by the long form.
const LOSSY_AT_ONCE: f64 = 0.65;
/// Silence between two sentences, seconds.
const PAUSE: f64 = 0.4;
/// Of the speech, dBFS (ITU-T P.800 asks for 26 dB below the overload point).
const LEVEL: f64 = -26.0;

const SHORT: [(Voice, &str); 2] = [
    (
        Voice::Slt,
        "The birch canoe slid on the smooth planks. Glue the sheet to the dark blue background. It is easy to tell the depth of a well.",
    ),
    (
        Voice::Kal,
        "Rice is often served in round bowls. The juice of lemons makes fine punch. The box was thrown beside the parked truck.",
    ),
];
const MORE: [(Voice, &str); 4] = [
    (
        Voice::Slt,
        "The hogs were fed chopped corn and garbage. Four hours of steady work faced us. A large size in stockings is hard to sell.",
    ),
    (
        Voice::Kal,
        "The boy was there when the sun rose. A rod is used to catch pink salmon. The source of the huge river is the clear spring.",
    ),
    (
        Voice::Slt,
        "Kick the ball straight and follow through. Help the woman get back to her feet. A pot of tea helps to pass the evening.",
    ),
    (
        Voice::Kal,
        "Smoky fires lack flame and heat. The soft cushion broke the man's fall. The salt breeze came across from the sea.",
    ),
];

fn is_long() -> bool {
    std::env::var_os("QUALITY_LONG").is_some()
}

/// What is said, each at 16 kHz.
fn samples() -> Vec<Vec<i16>> {
    let more: &[(Voice, &str)] = if is_long() { &MORE } else { &[] };
    let pause = vec![0; (PAUSE * 16_000.0) as usize];
    let said = |(voice, text): &(Voice, &str)| {
        let mut pcm: Vec<i16> =
            sentences(text, *voice).into_iter().flat_map(|pcm| [pcm, pause.clone()].concat()).collect();
        pcm.resize(pcm.len().next_multiple_of(320), 0);
        levelled(&pcm)
    };
    SHORT.iter().chain(more).map(said).collect()
}

/// The same at the usual level.
fn levelled(pcm: &[i16]) -> Vec<i16> {
    let gain = 10f64.powf((LEVEL - audio::level_db(pcm)) / 20.0);
    pcm.iter().map(|sample| (f64::from(*sample) * gain) as i16).collect()
}

/// As a telephone of narrow band sends it: without what is below 300 Hz (a Butterworth filter of second order), and at
/// the usual level. Else a deep voice leaves so little above 1 kHz that µ-law itself drowns it.
fn telephone(wide: &[i16]) -> Vec<i16> {
    let tangent = (std::f64::consts::PI * 300.0 / 8_000.0).tan();
    let damped = std::f64::consts::SQRT_2 * tangent;
    let norm = 1.0 + damped + tangent * tangent;
    let (one, two) = (2.0 * (tangent * tangent - 1.0) / norm, (1.0 - damped + tangent * tangent) / norm);
    let (mut before, mut after) = ([0.0; 2], [0.0; 2]);
    let mut filter = |sample: &i16| {
        let x = f64::from(*sample);
        let y = (x - 2.0 * before[0] + before[1]) / norm - one * after[0] - two * after[1];
        (before, after) = ([x, before[0]], [y, after[0]]);
        y as i16
    };
    levelled(&narrow(wide).iter().map(&mut filter).collect::<Vec<i16>>())
}

fn frames(codec: Codec, pcm: &[i16]) -> Vec<Vec<u8>> {
    if codec == Codec::Pcmu {
        return audio::to_ulaw(pcm).chunks(160).map(<[u8]>::to_vec).collect();
    }
    let mut encoder = Encoder::new(codec, OpusTuning::default());
    let mut payload = [0; MOST_OCTETS];
    let mut encode = |frame: &[i16]| {
        let length = encoder.encode(frame, &mut payload);
        payload[..length].to_vec()
    };
    pcm.chunks(codec.rate() as usize / 50).map(&mut encode).collect()
}

/// The sound of payloads in a row.
struct Ears {
    codec: Codec,
    g722: g722::Decoder,
    opus: OpusDecoder,
}

impl Ears {
    fn new(codec: Codec) -> Ears {
        Ears { codec, g722: g722::Decoder::default(), opus: OpusDecoder::new(16_000).expect("a decoder") }
    }

    fn hear(&mut self, payload: &[u8]) -> Vec<i16> {
        let mut pcm = vec![0; 1_920];
        let length = match self.codec {
            Codec::G722 => self.g722.decode(payload, &mut pcm),
            Codec::Opus => self.opus.decode(payload, &mut pcm).expect("a packet of Opus"),
            _ => return audio::from_ulaw(payload),
        };
        pcm.truncate(length);
        pcm
    }
}

/// The codec alone, without a network.
fn ideal(codec: Codec, pcm: &[i16]) -> Vec<i16> {
    let mut ears = Ears::new(codec);
    let padded = [pcm, &vec![0; codec.rate() as usize]].concat();
    let heard: Vec<i16> = frames(codec, &padded).iter().flat_map(|payload| ears.hear(payload)).collect();
    aligned(pcm, &heard).0
}

/// What came, each packet at its timestamp: what comes later overlays the end of a silence.
fn heard(codec: Codec, conversation: &Conversation) -> Vec<i16> {
    let (mut ears, mut pcm) = (Ears::new(codec), Vec::new());
    let first = conversation.got.first().expect("the box speaks").timestamp;
    for got in &conversation.got {
        let sound = ears.hear(&got.payload);
        let ticks = got.timestamp.wrapping_sub(first) as usize;
        let at = (ticks as u64 * u64::from(codec.rate()) / u64::from(codec.clock())) as usize;
        assert!(at < codec.rate() as usize * 600, "a timestamp that jumped");
        if pcm.len() < at + sound.len() {
            pcm.resize(at + sound.len(), 0);
        }
        pcm[at..at + sound.len()].copy_from_slice(&sound);
    }
    pcm
}

/// The part of `heard` that fits `reference` best, and where it begins.
fn aligned(reference: &[i16], heard: &[i16]) -> (Vec<i16>, usize) {
    let last = heard.len().checked_sub(reference.len()).expect("as much was heard as was said");
    // A second of speech in the middle decides; four samples at a time, then one.
    let middle = reference.len() / 2;
    let piece: Vec<f32> = reference[middle..middle + 8_000].iter().map(|s| f32::from(*s)).collect();
    let score = |at: usize| piece.iter().zip(&heard[at + middle..]).map(|(a, b)| a * f32::from(*b)).sum::<f32>();
    let best = |range: std::ops::RangeInclusive<usize>, step| {
        range.step_by(step).max_by(|a, b| score(*a).total_cmp(&score(*b))).unwrap_or(0)
    };
    let coarse = best(0..=last, 4);
    let at = best(coarse.saturating_sub(4)..=(coarse + 4).min(last), 1);
    (heard[at..at + reference.len()].to_vec(), at)
}

/// Which of `count` packets are lost: so many of them as the bad network loses, by lot.
fn losses(seed: u64, count: usize) -> Vec<bool> {
    let mut state = seed;
    // SplitMix64: the same lot everywhere.
    let mut draw = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    };
    let mut lots: Vec<(u64, usize)> = (0..count).map(|packet| (draw(), packet)).collect();
    lots.sort_unstable();
    let mut lost = vec![false; count];
    lots.iter().take((count as f64 * LOSS).round() as usize).for_each(|(_, packet)| lost[*packet] = true);
    lost
}

/// One call: what came back of `pcm`.
fn through_the_box(gateway: &Gateway, codec: Codec, pcm: &[i16], seed: Option<u64>) -> Vec<i16> {
    let silence = |frames: usize| vec![0; frames * codec.rate() as usize / 50];
    let all = [silence(BEFORE), pcm.to_vec(), silence(AFTER)].concat();
    let mut packets: Vec<Option<Vec<u8>>> = frames(codec, &all).into_iter().map(Some).collect();
    if let Some(seed) = seed {
        let speech = BEFORE..packets.len() - AFTER;
        for (packet, lost) in packets[speech.clone()].iter_mut().zip(losses(seed, speech.len())) {
            packet.take_if(|_| lost);
        }
    }
    let conversation = converse(gateway.setup.sip, NUMBER, codec, &packets);
    let heard = heard(codec, &conversation);
    let (part, at) = aligned(pcm, &heard);
    eprintln!("{codec:?}: came back at {:.3} s", at as f64 / f64::from(codec.rate()));
    part
}

/// PESQ of pairs of reference and what came of it.
fn scores(codec: Codec, pairs: &[(&[i16], &[i16])]) -> Vec<f64> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(root.join(".cache/venv/bin/python3"));
    command.arg(root.join("scripts/pesq-score.py")).arg(if codec.rate() == 8_000 { "nb" } else { "wb" });
    for (n, (reference, heard)) in pairs.iter().enumerate() {
        for (name, pcm) in [("said", reference), ("heard", heard)] {
            let path: PathBuf = folder.path().join(format!("{n}-{name}.wav"));
            audio::write_wav(&path, pcm, codec.rate());
            command.arg(path);
        }
    }
    let output = command.output().expect("the Python of `make setup`");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("a list of scores")
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// A call to be made: the codec, what is said, and the seed of what is lost, if anything.
type Order<'a> = (Codec, &'a [i16], Option<u64>);

/// Calls side by side. What came back of each.
fn calls(gateway: &Gateway, orders: &[Order<'_>]) -> Vec<Vec<i16>> {
    std::thread::scope(|scope| {
        let place = |(codec, pcm, seed): Order<'_>| through_the_box(gateway, codec, pcm, seed);
        let running: Vec<_> = orders.iter().map(|order| scope.spawn(move || place(*order))).collect();
        running.into_iter().map(|call| call.join().expect("a call")).collect()
    })
}

fn gateway(engine: &'static str, more: &str) -> Gateway {
    let number = format!(
        "\n[[number]]\nname = \"desk\"\nnumber = \"{NUMBER}\"\nvisibility = \"public\"\nsystem_prompt = \"Hi\"\n"
    );
    let trunk = "sources = [\"127.0.0.0/8\"]\ncodecs = [\"pcmu\", \"g722\", \"opus\"]";
    Setup::new().engine(engine).more(more).trunk("pbx", 5_060, trunk).more(&number).start()
}

#[test]
fn a_bot_that_says_back_what_it_hears_is_heard_as_well_as_the_codec_allows() {
    let _turn = take_turn();
    let bot = EchoBot::start(LEAD);
    let gateway = gateway("media-stream", &format!("\n[engine.media_stream]\nurl = \"{}\"\n", bot.url()));
    let (mut clean, mut lossy, mut best) = (Vec::new(), Vec::new(), Vec::new());
    let samples: Vec<Vec<i16>> = samples().iter().map(|wide| telephone(wide)).collect();
    // The long form has the machine do less at once.
    for two in samples.chunks(if is_long() { 1 } else { 2 }) {
        let seeds = |n: u64| std::iter::once(None).chain((1..=NETWORKS).map(move |at| Some(NETWORKS * n + at)));
        let orders: Vec<Order<'_>> =
            (0u64..).zip(two).flat_map(|(n, said)| seeds(n).map(|seed| (Codec::Pcmu, said.as_slice(), seed))).collect();
        let came = calls(&gateway, &orders);
        for (said, came) in two.iter().zip(came.chunks(1 + NETWORKS as usize)) {
            let codec = ideal(Codec::Pcmu, said);
            let pairs: Vec<(&[i16], &[i16])> =
                came.iter().chain([&codec]).map(|pcm| (said.as_slice(), pcm.as_slice())).collect();
            let mut scores = scores(Codec::Pcmu, &pairs);
            let alone = scores.pop().expect("a score for each pair");
            // A shared machine may hold up either end for a moment; a fault of the box comes back every time.
            for _ in 0..AGAIN {
                if scores[0] < alone - CLEAN {
                    eprintln!("clean: {:.3}, once more", scores[0]);
                    let came = through_the_box(&gateway, Codec::Pcmu, said, None);
                    scores[0] = self::scores(Codec::Pcmu, &[(said, &came)])[0];
                }
            }
            eprintln!("µ-law alone {:.3}, clean {:.3}, 3 % lost {:.3?}", alone, scores[0], &scores[1..]);
            assert!(scores[0] >= alone - CLEAN, "clean: {} where µ-law alone has {}", scores[0], alone);
            clean.push(scores[0]);
            lossy.push(mean(&scores[1..]));
            best.push(alone);
        }
    }
    let (clean, lossy, best) = (mean(&clean), mean(&lossy), mean(&best));
    println!("PESQ of µ-law alone {best:.2}, through the box {clean:.2}, with 3 % lost {lossy:.2}");
    let most = if is_long() { LOSSY } else { LOSSY_AT_ONCE };
    assert!(lossy >= best - most, "with loss: {lossy} where µ-law alone has {best}");
}

#[test]
fn wide_band_stays_wide_through_the_box_and_back() {
    let _turn = take_turn();
    let gateway = gateway("echo", "");
    for said in samples().iter().take(if is_long() { usize::MAX } else { 1 }) {
        let codecs = [Codec::G722, Codec::Opus];
        let came = calls(&gateway, &codecs.map(|codec| (codec, said.as_slice(), None)));
        for (codec, came) in codecs.into_iter().zip(&came) {
            let alone = ideal(codec, said);
            // The box decodes and encodes again.
            let twice = ideal(codec, &alone);
            let scores = scores(codec, &[(said, came), (said, &alone), (said, &twice)]);
            println!(
                "PESQ of {codec:?} alone {:.2}, twice {:.2}, through the box {:.2}",
                scores[1], scores[2], scores[0]
            );
            let [spoken, possible, arrived] = [said, &twice, came].map(|pcm| sharpness(pcm));
            println!("above 4 kHz: {spoken:.1} dB spoken, {possible:.1} dB possible, {arrived:.1} dB heard");
            assert!(scores[0] >= scores[2] - CLEAN, "{codec:?}: {} where the codec has {}", scores[0], scores[2]);
            assert!(arrived > possible - 1.0 && arrived > spoken - 6.0, "{codec:?}: {arrived} dB of {spoken}");
        }
    }
}
