//! Opus (RFC 6716, RFC 7587) through libopus: one voice in wide band, 10, 20, 40 or 60 ms at a time.
//!
//! **What the network loses.** The peer's reports tell the encoder how much of it is lost; [`Plan`] turns that into
//! redundancy and bit rate:
//!
//! | Loss, smoothed | In-band error correction | Bit rate |
//! |---|---|---|
//! | below 1 % | ready, at 1 % expected loss (costs next to nothing) | full |
//! | 1 to 10 % | for the loss that is seen | full |
//! | above 10 % | for the loss that is seen, at most 30 % | two thirds: loss on this scale is congestion |

use audiopus::coder::{Decoder, Encoder};
use audiopus::packet::Packet;
use audiopus::{Application, Bandwidth, Bitrate, Channels, MutSignals, SampleRate};

use crate::media::WIDE_BAND_HZ;

/// Largest packet that an encoder of ours makes (RFC 6716 §3.4: a frame is at most 1,275 octets).
pub const MAX_PACKET: usize = 1_275;

/// Wide-band speech without audible loss (RFC 7587 §3.1.1 names 16 to 20 kbit/s, and error correction needs its part).
const FULL_RATE: u32 = 28_000;
const LEAST_RATE: u32 = 6_000;
/// Longest sound in one packet (RFC 6716 §3.4): 120 ms.
const LONGEST: i64 = 5_760;

#[derive(Debug, thiserror::Error)]
pub enum OpusError {
    /// Opus runs at 8, 12, 16, 24 or 48 kHz.
    #[error("Opus cannot run at {0} Hz")]
    Rate(u32),
    #[error("Opus: {0}")]
    Codec(#[from] audiopus::Error),
}

/// What the peer wants to receive (`a=fmtp`, RFC 7587 §6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpusTuning {
    /// Highest rate worth sending, Hz.
    pub max_playback_rate: u32,
    /// Bits per second.
    pub max_average_bitrate: Option<u32>,
    /// Error correction inside the packets is of use.
    pub inband_fec: bool,
    /// Packets may stop in silence.
    pub dtx: bool,
    pub cbr: bool,
}

impl Default for OpusTuning {
    /// What an absent `a=fmtp` means.
    fn default() -> OpusTuning {
        OpusTuning { max_playback_rate: 48_000, max_average_bitrate: None, inband_fec: false, dtx: false, cbr: false }
    }
}

/// Sound in a packet, ticks of 48 kHz (RFC 6716 §3.1, table 2, §3.2.5); `None` when it cannot be one.
pub fn ticks(packet: &[u8]) -> Option<i64> {
    let (&toc, rest) = packet.split_first()?;
    let configuration = toc >> 3;
    let frame: i64 = match configuration {
        0..=11 => [480, 960, 1_920, 2_880][usize::from(configuration & 3)],
        12..=15 => [480, 960][usize::from(configuration & 1)],
        _ => [120, 240, 480, 960][usize::from(configuration & 3)],
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => i64::from(rest.first()? & 0x3F),
    };
    Some(frame * frames).filter(|length| (1..=LONGEST).contains(length))
}

/// Whether a packet only says that there is silence: a sender that stops in silence refreshes it so.
pub fn is_rest(packet: &[u8]) -> bool {
    packet.len() <= 2
}

/// What an encoder aims at.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Plan {
    bitrate: u32,
    /// Loss that the redundancy is made for, percent.
    loss: u8,
}

impl Plan {
    fn new(tuning: OpusTuning, loss: f32) -> Plan {
        let full = tuning.max_average_bitrate.unwrap_or(FULL_RATE).clamp(LEAST_RATE, FULL_RATE);
        let bitrate = if loss > 0.10 { (full * 2 / 3).max(LEAST_RATE) } else { full };
        let percent = (loss * 100.0).round().clamp(1.0, 30.0) as u8;
        Plan { bitrate, loss: if tuning.inband_fec { percent } else { 0 } }
    }
}

/// The sending side.
pub struct OpusVoice {
    encoder: Encoder,
    tuning: OpusTuning,
    plan: Plan,
    /// Smoothed, 0 to 1.
    loss: f32,
    /// The last packet only said that there is silence.
    rests: bool,
}

impl OpusVoice {
    pub fn new(tuning: OpusTuning) -> Result<OpusVoice, OpusError> {
        let encoder = Encoder::new(sample_rate(WIDE_BAND_HZ)?, Channels::Mono, Application::Voip)?;
        let mut voice = OpusVoice { encoder, tuning, plan: Plan::new(tuning, 0.0), loss: 0.0, rests: false };
        voice.apply()?;
        Ok(voice)
    }

    /// Encodes 10, 20, 40 or 60 ms; returns the octets written, 0 when this silence needs no packet.
    pub fn encode(&mut self, pcm: &[i16], packet: &mut [u8]) -> usize {
        let length = self.encoder.encode(pcm, packet).unwrap_or(0);
        // Every 400 ms of silence libopus makes a whole packet; the others, of one or two octets, need not be sent
        // (`opus_encode`). The first of them is: it tells the peer that what follows is no loss.
        let rested = std::mem::replace(&mut self.rests, self.tuning.dtx && length <= 2);
        if self.rests && rested { 0 } else { length }
    }

    /// A report of the peer: so much was lost of late, 0 to 1. Rises at once, falls slowly.
    pub fn hear_of_loss(&mut self, loss: f32) {
        self.loss = if loss > self.loss { loss } else { self.loss * 0.75 + loss * 0.25 };
        self.replan();
    }

    /// The peer's wishes changed.
    pub fn tune(&mut self, tuning: OpusTuning) {
        self.tuning = tuning;
        let _ = self.apply().inspect_err(refused);
        self.replan();
    }

    fn replan(&mut self) {
        let plan = Plan::new(self.tuning, self.loss);
        if plan != self.plan {
            self.plan = plan;
            let _ = self.apply().inspect_err(refused);
        }
    }

    fn apply(&mut self) -> Result<(), OpusError> {
        let OpusVoice { encoder, tuning, plan, .. } = self;
        // Within 16,000 to 28,000 and 0 to 30: fits.
        encoder.set_bitrate(Bitrate::BitsPerSecond(plan.bitrate as i32))?;
        encoder.set_inband_fec(tuning.inband_fec)?;
        encoder.set_packet_loss_perc(plan.loss)?;
        encoder.set_dtx(tuning.dtx)?;
        encoder.set_vbr(!tuning.cbr)?;
        encoder.set_max_bandwidth(match tuning.max_playback_rate {
            ..12_000 => Bandwidth::Narrowband,
            12_000..16_000 => Bandwidth::Mediumband,
            _ => Bandwidth::Wideband,
        })?;
        Ok(())
    }
}

fn refused(error: &OpusError) {
    tracing::warn!(%error, "the Opus encoder refuses a setting");
}

/// Packets to linear samples.
pub struct OpusDecoder(Decoder);

impl OpusDecoder {
    pub fn new(rate: u32) -> Result<OpusDecoder, OpusError> {
        Ok(OpusDecoder(Decoder::new(sample_rate(rate)?, Channels::Mono)?))
    }

    /// Decodes a packet; returns the samples written to `pcm` (room for 120 ms is always enough).
    pub fn decode(&mut self, packet: &[u8], pcm: &mut [i16]) -> Result<usize, OpusError> {
        Ok(self.0.decode(Some(Packet::try_from(packet)?), MutSignals::try_from(pcm)?, false)?)
    }

    /// Fills `pcm`, exactly as long as what is missing, from the error correction in the packet that follows the loss.
    pub fn recover(&mut self, next: &[u8], pcm: &mut [i16]) -> Result<usize, OpusError> {
        Ok(self.0.decode(Some(Packet::try_from(next)?), MutSignals::try_from(pcm)?, true)?)
    }

    /// Fills `pcm`, exactly as long as what is missing, from the past alone.
    pub fn conceal(&mut self, pcm: &mut [i16]) -> Result<usize, OpusError> {
        Ok(self.0.decode(None, MutSignals::try_from(pcm)?, false)?)
    }
}

fn sample_rate(rate: u32) -> Result<SampleRate, OpusError> {
    i32::try_from(rate).ok().and_then(|rate| SampleRate::try_from(rate).ok()).ok_or(OpusError::Rate(rate))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FRAME: usize = 320;
    const EAGER: OpusTuning =
        OpusTuning { max_playback_rate: 48_000, max_average_bitrate: None, inband_fec: true, dtx: true, cbr: false };

    /// A voice-like buzz whose pitch and colour move, so that a frame is not like the one before.
    fn buzz(frame: usize) -> Vec<i16> {
        let sample = |i: usize| {
            let t = i as f64 / 16_000.0;
            let pitch = 120.0 * t + 3.0 * (t * 9.0).sin();
            let sum: f64 = (1..12).map(|h| (std::f64::consts::TAU * pitch * f64::from(h)).sin() / f64::from(h)).sum();
            (6_000.0 * sum * (0.6 + 0.4 * (t * 25.0).sin())) as i16
        };
        (frame * FRAME..(frame + 1) * FRAME).map(sample).collect()
    }

    fn power(pcm: &[i16]) -> f64 {
        pcm.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / pcm.len() as f64
    }

    fn error(a: &[i16], b: &[i16]) -> f64 {
        a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>() / a.len() as f64
    }

    #[test]
    fn sound_survives_with_its_level() {
        let mut voice = OpusVoice::new(EAGER).unwrap();
        let mut decoder = OpusDecoder::new(WIDE_BAND_HZ).unwrap();
        let (mut packet, mut pcm) = ([0u8; MAX_PACKET], [0i16; 1_920]);
        let (mut said, mut heard) = (0.0, 0.0);
        for frame in 0..50 {
            let length = voice.encode(&buzz(frame), &mut packet);
            assert!((3..200).contains(&length), "{length} octets");
            assert_eq!(ticks(&packet[..length]), Some(960));
            assert_eq!(decoder.decode(&packet[..length], &mut pcm).unwrap(), FRAME);
            said += power(&buzz(frame));
            heard += power(&pcm[..FRAME]);
        }
        let ratio = heard / said;
        assert!((0.6..1.5).contains(&ratio), "{ratio}");
    }

    /// Decodes 60 frames of which number 50 is lost, in three ways; tells how far each is from the whole.
    fn repaired(loss: f32) -> (f64, f64) {
        let mut voice = OpusVoice::new(EAGER).unwrap();
        voice.hear_of_loss(loss);
        let packets: Vec<Vec<u8>> = (0..52)
            .map(|frame| {
                let mut packet = [0u8; MAX_PACKET];
                let length = voice.encode(&buzz(frame), &mut packet);
                packet[..length].to_vec()
            })
            .collect();
        let decoder = |upto: usize| {
            let mut decoder = OpusDecoder::new(WIDE_BAND_HZ).unwrap();
            let mut pcm = [0i16; FRAME];
            for packet in &packets[..upto] {
                decoder.decode(packet, &mut pcm).unwrap();
            }
            (decoder, pcm)
        };
        let whole = decoder(51).1;
        let (mut by_past, mut by_next) = ([0i16; FRAME], [0i16; FRAME]);
        assert_eq!(decoder(50).0.conceal(&mut by_past).unwrap(), FRAME);
        assert_eq!(decoder(50).0.recover(&packets[51], &mut by_next).unwrap(), FRAME);
        (error(&by_past, &whole) / power(&whole), error(&by_next, &whole) / power(&whole))
    }

    #[test]
    fn the_next_packet_repairs_a_loss_better_than_the_past() {
        let (by_past, by_next) = repaired(0.2);
        assert!(by_next < 0.5 * by_past, "{by_next} against {by_past}");
    }

    #[test]
    fn silence_needs_a_packet_every_400_ms_only_when_the_peer_agrees() {
        for (tuning, most) in [(EAGER, 14), (OpusTuning { dtx: false, ..EAGER }, 100)] {
            let mut voice = OpusVoice::new(tuning).unwrap();
            let mut packet = [0u8; MAX_PACKET];
            for frame in 0..100 {
                voice.encode(&if frame < 50 { buzz(frame) } else { vec![0; FRAME] }, &mut packet);
            }
            let sent = (0..100).filter(|_| voice.encode(&[0; FRAME], &mut packet) > 0).count();
            assert!(sent <= most && (sent == 100) != tuning.dtx && sent >= 3, "{sent} of 100, {tuning:?}");
            assert!(voice.encode(&buzz(7), &mut packet) > 2, "speech is sent at once");
        }
    }

    #[test]
    fn the_plan_follows_the_table() {
        let plan = |loss| Plan::new(EAGER, loss);
        assert_eq!(plan(0.0), Plan { bitrate: FULL_RATE, loss: 1 });
        assert_eq!(plan(0.05), Plan { bitrate: FULL_RATE, loss: 5 });
        assert_eq!(plan(0.2), Plan { bitrate: FULL_RATE * 2 / 3, loss: 20 });
        assert_eq!(plan(0.9).loss, 30);
        let modest = OpusTuning { max_average_bitrate: Some(8_000), inband_fec: false, ..EAGER };
        assert_eq!(Plan::new(modest, 0.2), Plan { bitrate: LEAST_RATE, loss: 0 });
        let mut voice = OpusVoice::new(EAGER).unwrap();
        voice.hear_of_loss(0.2);
        assert_eq!(voice.plan.loss, 20);
        voice.hear_of_loss(0.0);
        assert_eq!(voice.plan.loss, 15);
        assert_eq!(voice.encoder.packet_loss_perc().unwrap(), 15);
        (0..20).for_each(|_| voice.hear_of_loss(0.0));
        assert_eq!(voice.plan, plan(0.0));
    }

    #[test]
    fn a_narrow_band_peer_is_sent_narrow_band() {
        let mut voice = OpusVoice::new(EAGER).unwrap();
        voice.tune(OpusTuning { max_playback_rate: 8_000, ..EAGER });
        let mut packet = [0u8; MAX_PACKET];
        for frame in 0..10 {
            voice.encode(&buzz(frame), &mut packet);
        }
        // Configurations 0 to 3 are SILK narrow band (RFC 6716 table 2).
        assert!(packet[0] >> 3 <= 3, "{}", packet[0] >> 3);
    }

    #[test]
    fn refuses_rates_and_packets_that_opus_does_not_know() {
        assert!(matches!(OpusDecoder::new(44_100), Err(OpusError::Rate(44_100))));
        let mut decoder = OpusDecoder::new(WIDE_BAND_HZ).unwrap();
        assert!(decoder.decode(&[], &mut [0; FRAME]).is_err());
        assert!(decoder.decode(&[0xFF, 0xFF, 0xFF], &mut [0; FRAME]).is_err());
    }

    proptest! {
        #[test]
        fn the_length_is_the_one_that_libopus_finds(packet in proptest::collection::vec(any::<u8>(), 1..40)) {
            let ours = ticks(&packet);
            let theirs = audiopus::packet::nb_samples(Packet::try_from(&packet[..]).unwrap(), SampleRate::Hz48000);
            prop_assert_eq!(ours, theirs.ok().map(|n| n as i64).filter(|n| *n > 0));
        }
    }
}
