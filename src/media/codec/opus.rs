//! Opus (RFC 6716) through libopus, mono, for wide-band legs. Not negotiated yet.

use audiopus::coder::{Decoder, Encoder};
use audiopus::packet::Packet;
use audiopus::{Application, Bitrate, Channels, MutSignals, SampleRate};

/// Largest packet that an encoder of ours makes (RFC 6716 §3.4: a frame is at most 1,275 octets).
pub const MAX_PACKET: usize = 1_275;

#[derive(Debug, thiserror::Error)]
pub enum OpusError {
    /// Opus runs at 8, 12, 16, 24 or 48 kHz.
    #[error("Opus cannot run at {0} Hz")]
    Rate(u32),
    #[error("Opus: {0}")]
    Codec(#[from] audiopus::Error),
}

/// Linear samples to packets; one per leg, keeps the state between frames.
pub struct OpusEncoder(Encoder);

impl OpusEncoder {
    /// An encoder for speech at `rate` Hz and about `bits_per_second`, with in-band error correction for `loss` percent.
    pub fn new(rate: u32, bits_per_second: i32, loss: u8) -> Result<OpusEncoder, OpusError> {
        let mut encoder = Encoder::new(sample_rate(rate)?, Channels::Mono, Application::Voip)?;
        encoder.set_bitrate(Bitrate::BitsPerSecond(bits_per_second))?;
        encoder.set_inband_fec(loss > 0)?;
        encoder.set_packet_loss_perc(loss.min(100))?;
        Ok(OpusEncoder(encoder))
    }

    /// Encodes one frame of 2.5, 5, 10, 20, 40 or 60 ms; returns the octets written to `packet`.
    pub fn encode(&mut self, pcm: &[i16], packet: &mut [u8]) -> Result<usize, OpusError> {
        Ok(self.0.encode(pcm, packet)?)
    }
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
    use super::*;

    const RATE: u32 = 16_000;
    const FRAME: usize = 320;

    fn tone(frame: usize) -> Vec<i16> {
        let sample = |i: usize| (8_000.0 * (std::f64::consts::TAU * 440.0 * i as f64 / f64::from(RATE)).sin()) as i16;
        (frame * FRAME..(frame + 1) * FRAME).map(sample).collect()
    }

    fn power(pcm: &[i16]) -> f64 {
        pcm.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / pcm.len() as f64
    }

    #[test]
    fn a_tone_survives_with_its_level() {
        let mut encoder = OpusEncoder::new(RATE, 24_000, 5).unwrap();
        let mut decoder = OpusDecoder::new(RATE).unwrap();
        let (mut packet, mut pcm) = ([0u8; MAX_PACKET], [0i16; 1_920]);
        for frame in 0..25 {
            let length = encoder.encode(&tone(frame), &mut packet).unwrap();
            assert!(length < 160, "{length} octets");
            assert_eq!(decoder.decode(&packet[..length], &mut pcm).unwrap(), FRAME);
        }
        let ratio = power(&pcm[..FRAME]) / power(&tone(24));
        assert!((0.7..1.4).contains(&ratio), "{ratio}");
    }

    #[test]
    fn a_lost_packet_is_filled_in() {
        let mut encoder = OpusEncoder::new(RATE, 32_000, 20).unwrap();
        let mut decoder = OpusDecoder::new(RATE).unwrap();
        let (mut packet, mut pcm) = ([0u8; MAX_PACKET], [0i16; FRAME]);
        for frame in 0..10 {
            let length = encoder.encode(&tone(frame), &mut packet).unwrap();
            decoder.decode(&packet[..length], &mut pcm).unwrap();
        }
        assert_eq!(decoder.conceal(&mut pcm).unwrap(), FRAME);
        assert!(power(&pcm) > 1_000_000.0);
        let length = encoder.encode(&tone(11), &mut packet).unwrap();
        assert_eq!(decoder.recover(&packet[..length], &mut pcm).unwrap(), FRAME);
    }

    #[test]
    fn refuses_rates_and_packets_that_opus_does_not_know() {
        assert!(matches!(OpusDecoder::new(44_100), Err(OpusError::Rate(44_100))));
        let mut decoder = OpusDecoder::new(RATE).unwrap();
        assert!(decoder.decode(&[], &mut [0; FRAME]).is_err());
        assert!(decoder.decode(&[0xFF, 0xFF, 0xFF], &mut [0; FRAME]).is_err());
    }
}
