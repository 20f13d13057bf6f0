//! Parts of packets into frames of sound: decodes what came, and makes up what did not.
//!
//! | What is there | G.711, G.722 | Opus |
//! |---|---|---|
//! | the frame | decoded | decoded |
//! | nothing, but the packet that follows | the voice goes on, fading | its error correction, else its own concealment |
//! | nothing at all | the same | its own concealment |
//! | nothing, and the sender said that it is silent | comfort noise (RFC 3389) | comfort noise of the decoder |
//!
//! A change of codec begins with a fresh decoder; no frame is lost by it.

use crate::media::codec::comfort::Noise;
use crate::media::codec::g711::Law;
use crate::media::codec::opus::{OpusDecoder, is_rest};
use crate::media::codec::{Codec, OCTET_TICKS, Sound, TICKS_HZ, g722};
use crate::media::conceal::Concealer;
use crate::media::frame::Frame;
use crate::media::jitter::Part;
use crate::media::receive::Heard;
use crate::media::{FRAME_SAMPLES, NARROW_BAND_HZ, WIDE_BAND_HZ};

/// Ticks in a sample of wide-band sound.
const WIDE_TICKS: usize = (TICKS_HZ / WIDE_BAND_HZ) as usize;
/// 120 ms of wide-band sound.
const LONGEST_PACKET: usize = WIDE_BAND_HZ as usize * 120 / 1_000;

/// How a frame came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Received,
    /// Stands in for a lost one.
    Concealed,
    /// The sender sends nothing because there is nothing to hear.
    Comfort,
}

/// One direction's decoders.
pub struct Restorer {
    codec: Codec,
    state: State,
    frame: Frame,
    /// Samples of the frame that are there.
    filled: usize,
    /// The frame as it came, for codecs of an octet a tick.
    octets: [u8; FRAME_SAMPLES],
    origin: Origin,
    concealer: Concealer,
    /// The sender has said that silence follows.
    resting: bool,
    noise: Noise,
}

enum State {
    Law(Law),
    G722(Box<g722::Decoder>),
    Opus(Box<OpusSound>),
}

/// An Opus decoder and the sound of the packet that it decoded last: a frame may be a part of it.
struct OpusSound {
    /// `None`: there is none to be had; silence is heard.
    decoder: Option<OpusDecoder>,
    packet: Option<i64>,
    pcm: Vec<i16>,
}

impl Default for Restorer {
    fn default() -> Restorer {
        Restorer {
            codec: Codec::Pcmu,
            state: State::Law(Law::Micro),
            frame: Frame::silent(NARROW_BAND_HZ),
            filled: 0,
            octets: [0; FRAME_SAMPLES],
            origin: Origin::Received,
            concealer: Concealer::new(NARROW_BAND_HZ),
            resting: false,
            noise: Noise::default(),
        }
    }
}

impl Restorer {
    /// The codec of the last frame that came.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Whether the sender has said that it is silent.
    pub fn is_resting(&self) -> bool {
        self.resting
    }

    /// Whether what stands in for lost frames has faded to silence.
    pub fn is_silent(&self) -> bool {
        self.resting || self.concealer.is_silent()
    }

    /// Takes the next part of the frame.
    pub fn take(&mut self, part: Part<'_>) {
        match part {
            Part::Stretch { sound: Sound::Voice(codec), payload, packet, offset, ticks } => {
                self.turn_to(codec);
                self.resting = codec == Codec::Opus && is_rest(payload);
                self.decode(payload, packet, offset, ticks);
            }
            Part::Stretch { sound: Sound::Noise, payload, .. } => {
                self.resting = true;
                self.noise.describe(payload);
                self.make_noise();
            }
            Part::Missing { next } => self.make_up(next),
        }
    }

    /// The frame is over: fills in `pcm`, `origin`, `encoded` and `unblended`.
    pub fn finish(&mut self, heard: &mut Heard) {
        let filled = std::mem::take(&mut self.filled);
        heard.origin = std::mem::replace(&mut self.origin, Origin::Received);
        std::mem::swap(&mut heard.pcm, &mut self.frame);
        self.frame.tune(self.codec.rate());
        let received = heard.origin == Origin::Received;
        if received && filled < heard.pcm.len() {
            heard.pcm[filled..].fill(0);
        }
        let plain = filled > 0 && received && self.codec != Codec::Opus;
        heard.unblended = (plain && self.concealer.blends()).then(|| Box::new(heard.pcm.clone()));
        if plain {
            self.concealer.good(&mut heard.pcm);
        }
        heard.encoded = plain.then_some((self.codec, self.octets));
    }

    /// Another codec speaks from now on.
    fn turn_to(&mut self, codec: Codec) {
        if codec == self.codec {
            return;
        }
        self.codec = codec;
        self.state = match codec {
            Codec::Pcmu => State::Law(Law::Micro),
            Codec::Pcma => State::Law(Law::A),
            Codec::G722 => State::G722(Box::default()),
            Codec::Opus => State::Opus(Box::new(OpusSound::new())),
        };
        self.frame = Frame::silent(codec.rate());
        if self.concealer.rate() != codec.rate() {
            self.concealer = Concealer::new(codec.rate());
        }
    }

    fn decode(&mut self, payload: &[u8], packet: i64, offset: i64, ticks: i64) {
        if self.filled == 0 {
            self.octets.fill(self.codec.law().map_or(0, Law::silence));
        }
        let room = &mut self.frame[self.filled..];
        self.filled += match &mut self.state {
            State::Opus(sound) => sound.copy(payload, packet, offset, ticks, room),
            State::Law(law) => {
                let octets = stretch(payload, offset, ticks);
                keep(&mut self.octets, self.filled, octets);
                law.decode(octets, room)
            }
            State::G722(decoder) => {
                let octets = stretch(payload, offset, ticks);
                keep(&mut self.octets, self.filled / 2, octets);
                decoder.decode(octets, room)
            }
        };
    }

    fn make_up(&mut self, next: Option<(Sound, &[u8])>) {
        match &mut self.state {
            State::Opus(sound) => {
                self.origin = if self.resting { Origin::Comfort } else { Origin::Concealed };
                let next = next.filter(|(sound, _)| *sound == Sound::Voice(Codec::Opus)).map(|(_, payload)| payload);
                sound.make_up(next, &mut self.frame);
            }
            _ if self.resting => self.make_noise(),
            _ => {
                self.origin = Origin::Concealed;
                self.concealer.lost(&mut self.frame);
            }
        }
    }

    fn make_noise(&mut self) {
        self.origin = Origin::Comfort;
        self.noise.fill(&mut self.frame);
    }
}

/// The octets of a part of a payload.
fn stretch(payload: &[u8], offset: i64, ticks: i64) -> &[u8] {
    let octet = |tick: i64| usize::try_from(tick / OCTET_TICKS).unwrap_or(0).min(payload.len());
    &payload[octet(offset)..octet(offset + ticks)]
}

fn keep(octets: &mut [u8; FRAME_SAMPLES], at: usize, new: &[u8]) {
    if let Some(room) = octets.get_mut(at..at + new.len()) {
        room.copy_from_slice(new);
    }
}

impl OpusSound {
    fn new() -> OpusSound {
        let decoder = OpusDecoder::new(WIDE_BAND_HZ);
        let decoder = decoder.inspect_err(|error| tracing::error!(%error, "a leg hears nothing: no Opus decoder"));
        OpusSound { decoder: decoder.ok(), packet: None, pcm: Vec::with_capacity(LONGEST_PACKET) }
    }

    /// Copies a part of a packet; decodes it when it is a new one. Returns the samples written.
    fn copy(&mut self, payload: &[u8], packet: i64, offset: i64, ticks: i64, out: &mut [i16]) -> usize {
        if self.packet != Some(packet) {
            self.packet = Some(packet);
            self.pcm.resize(LONGEST_PACKET, 0);
            let decoded = self.decoder.as_mut().map(|decoder| decoder.decode(payload, &mut self.pcm));
            // A packet that cannot be decoded is silence: the next one can.
            let length = decoded.and_then(Result::ok).unwrap_or(0);
            self.pcm.truncate(length);
        }
        let sample = |tick: i64| usize::try_from(tick).unwrap_or(0) / WIDE_TICKS;
        let wanted = (sample(offset + ticks) - sample(offset)).min(out.len());
        let there = self.pcm.iter().skip(sample(offset)).chain(std::iter::repeat(&0));
        out.iter_mut().zip(there).take(wanted).for_each(|(out, sample)| *out = *sample);
        wanted
    }

    fn make_up(&mut self, next: Option<&[u8]>, out: &mut [i16]) {
        self.packet = None;
        let Some(decoder) = &mut self.decoder else { return out.fill(0) };
        let repaired = next.is_some_and(|next| decoder.recover(next, out).is_ok());
        if !repaired && decoder.conceal(out).is_err() {
            out.fill(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::codec::opus::OpusTuning;
    use crate::media::codec::{Encoder, MOST_OCTETS};

    fn stretch_of(sound: Sound, payload: &[u8], packet: i64) -> Part<'_> {
        Part::Stretch { sound, payload, packet, offset: 0, ticks: 960 }
    }

    #[allow(clippy::disallowed_methods)]
    fn finish(restorer: &mut Restorer) -> Heard {
        let mut heard = Heard::nothing(std::time::Instant::now());
        restorer.finish(&mut heard);
        heard
    }

    fn level(pcm: &[i16]) -> f64 {
        let power = pcm.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / pcm.len() as f64;
        10.0 * (power.max(1e-3) / 32_768.0f64.powi(2)).log10()
    }

    fn tone(codec: Codec, frame: usize) -> Vec<i16> {
        let length = codec.rate() as usize / 50;
        let step = std::f64::consts::TAU * 440.0 / f64::from(codec.rate());
        (frame * length..(frame + 1) * length).map(|n| (9_000.0 * (step * n as f64).sin()) as i16).collect()
    }

    /// Encodes `frames` frames of a tone.
    fn spoken(codec: Codec, frames: usize) -> Vec<Vec<u8>> {
        let mut encoder = Encoder::new(codec, OpusTuning { inband_fec: true, ..OpusTuning::default() });
        (0..frames)
            .map(|frame| {
                let mut payload = [0; MOST_OCTETS];
                let length = encoder.encode(&tone(codec, frame), &mut payload);
                payload[..length].to_vec()
            })
            .collect()
    }

    #[test]
    fn every_codec_is_heard_at_its_rate_and_a_lost_frame_is_made_up() {
        for codec in [Codec::Pcmu, Codec::Pcma, Codec::G722, Codec::Opus] {
            let mut restorer = Restorer::default();
            let packets = spoken(codec, 20);
            for (n, payload) in packets.iter().enumerate() {
                if n == 15 {
                    restorer.take(Part::Missing { next: Some((Sound::Voice(codec), &packets[16])) });
                    let stand_in = finish(&mut restorer);
                    assert_eq!((stand_in.origin, stand_in.encoded), (Origin::Concealed, None));
                    assert!((level(&stand_in.pcm) - level(&tone(codec, n))).abs() < 3.0, "{codec:?}");
                    continue;
                }
                restorer.take(stretch_of(Sound::Voice(codec), payload, n as i64));
                let heard = finish(&mut restorer);
                assert_eq!((heard.pcm.rate(), heard.origin), (codec.rate(), Origin::Received));
                assert_eq!(heard.encoded.is_some(), codec != Codec::Opus);
                assert!(n < 3 || (level(&heard.pcm) - level(&tone(codec, n))).abs() < 1.5, "{codec:?} {n}");
            }
            assert_eq!(restorer.codec(), codec);
        }
    }

    #[test]
    fn a_packet_of_60_ms_is_three_frames_even_when_the_first_is_over() {
        let mut restorer = Restorer::default();
        let encoder = audiopus::coder::Encoder::new(
            audiopus::SampleRate::Hz16000,
            audiopus::Channels::Mono,
            audiopus::Application::Voip,
        )
        .unwrap();
        let mut packet = [0u8; 600];
        let sound: Vec<i16> = (0..6).flat_map(|frame| tone(Codec::Opus, frame)).collect();
        for (id, pcm) in sound.chunks(960).enumerate() {
            let length = encoder.encode(pcm, &mut packet).unwrap();
            for frame in id..3 {
                let offset = frame as i64 * 960;
                let (sound, payload) = (Sound::Voice(Codec::Opus), &packet[..length]);
                restorer.take(Part::Stretch { sound, payload, packet: id as i64, offset, ticks: 960 });
                let heard = finish(&mut restorer);
                assert!(frame + id < 1 || (level(&heard.pcm) - level(&tone(Codec::Opus, 5))).abs() < 2.0);
            }
        }
    }

    #[test]
    fn announced_silence_is_noise_of_its_level_until_somebody_speaks() {
        let mut restorer = Restorer::default();
        restorer.take(stretch_of(Sound::Voice(Codec::Pcma), &[0x2A; 160], 0));
        finish(&mut restorer);
        restorer.take(stretch_of(Sound::Noise, &[50], 1));
        for _ in 0..20 {
            let noise = finish(&mut restorer);
            assert_eq!(noise.origin, Origin::Comfort);
            assert!((level(&noise.pcm) + 50.0).abs() < 3.0, "{}", level(&noise.pcm));
            assert!(restorer.is_resting() && restorer.is_silent());
            restorer.take(Part::Missing { next: None });
        }
        finish(&mut restorer);
        restorer.take(stretch_of(Sound::Voice(Codec::Pcma), &[0x2A; 160], 30));
        assert_eq!(finish(&mut restorer).origin, Origin::Received);
        assert!(!restorer.is_resting());
    }

    #[test]
    fn silence_of_opus_is_no_loss() {
        let mut restorer = Restorer::default();
        restorer.take(stretch_of(Sound::Voice(Codec::Opus), &[8 << 3], 0));
        finish(&mut restorer);
        restorer.take(Part::Missing { next: None });
        assert_eq!(finish(&mut restorer).origin, Origin::Comfort);
    }

    #[test]
    fn garbage_of_every_codec_is_some_sound_and_no_panic() {
        let mut restorer = Restorer::default();
        for codec in [Codec::Opus, Codec::G722, Codec::Pcmu, Codec::Opus] {
            for octet in 0..=255u8 {
                restorer.take(stretch_of(Sound::Voice(codec), &[octet; 7], i64::from(octet)));
                assert_eq!(finish(&mut restorer).pcm.rate(), codec.rate());
            }
        }
    }
}
