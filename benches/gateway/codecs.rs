//! What 20 ms of sound cost with each codec, encoded and decoded, on one core.

use std::time::{Duration, Instant};

use trunkline::media::OpusTuning;
use trunkline::media::codec::g711::Law;
use trunkline::media::codec::opus::OpusDecoder;
use trunkline::media::codec::{Codec, Encoder, MOST_OCTETS, g722};

use super::report::title;

const FRAMES: usize = 1_000;
const ROUNDS: usize = 7;

/// A voice-like buzz with pauses; long enough that no coder learns it by heart.
fn sound(rate: u32) -> Vec<i16> {
    let length = rate as usize / 50 * FRAMES;
    (0..length)
        .map(|n| {
            let t = n as f64 / f64::from(rate);
            let phase = 120.0 * t + 4.0 * (t * 3.0).sin();
            let voice: f64 = (1..20).map(|h| (std::f64::consts::TAU * phase * f64::from(h)).sin() / f64::from(h)).sum();
            (4_000.0 * voice * (t * 2.5).sin().max(0.0)) as i16
        })
        .collect()
}

/// Median of the time that one frame takes.
fn median(mut run: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed() / FRAMES as u32
        })
        .collect();
    times.sort_unstable();
    times[ROUNDS / 2]
}

fn packets(codec: Codec, pcm: &[i16]) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new(codec, OpusTuning { inband_fec: true, ..OpusTuning::default() });
    let mut payload = [0; MOST_OCTETS];
    pcm.chunks(codec.rate() as usize / 50)
        .map(|frame| {
            let length = encoder.encode(frame, &mut payload);
            payload[..length].to_vec()
        })
        .collect()
}

fn decode(codec: Codec, packets: &[Vec<u8>]) {
    let mut pcm = [0i16; 1_920];
    match codec {
        Codec::Pcmu | Codec::Pcma => {
            let law = if codec == Codec::Pcmu { Law::Micro } else { Law::A };
            packets.iter().for_each(|packet| assert_eq!(law.decode(packet, &mut pcm), 160));
        }
        Codec::G722 => {
            let mut decoder = g722::Decoder::default();
            packets.iter().for_each(|packet| assert_eq!(decoder.decode(packet, &mut pcm), 320));
        }
        Codec::Opus => {
            let mut decoder = OpusDecoder::new(codec.rate()).expect("a decoder");
            packets.iter().for_each(|packet| assert_eq!(decoder.decode(packet, &mut pcm).expect("decoded"), 320));
        }
    }
}

pub fn costs() {
    title("codecs: µs for a frame of 20 ms on one core");
    for codec in [Codec::Pcmu, Codec::Pcma, Codec::G722, Codec::Opus] {
        let pcm = sound(codec.rate());
        let encoded = packets(codec, &pcm);
        let encoding = median(|| drop(packets(codec, &pcm)));
        let decoding = median(|| decode(codec, &encoded));
        let octets = encoded.iter().map(Vec::len).sum::<usize>() / FRAMES;
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        println!(
            "  {:<5} encode {:>6.1}   decode {:>6.1}   octets {octets}",
            codec.name(),
            micros(encoding),
            micros(decoding)
        );
    }
}
