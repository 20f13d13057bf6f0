//! Slots of 20 ms into packets of the length that the peer likes.
//!
//! | What comes | What is done |
//! |---|---|
//! | sound that follows what waits | it waits behind it; every whole packet goes out: two of 10 ms at once, one of 40 ms every other slot |
//! | sound with another timestamp, a key, or a slot that is not sent | what waits goes out first, as a shorter packet |
//!
//! With packets of 20 ms nothing ever waits.

use std::time::Duration;

use crate::media::Codec;

/// Longest packet, milliseconds.
const LONGEST: u64 = 60;

#[derive(Debug)]
pub struct Packer {
    codec: Codec,
    /// Sound of a packet, samples.
    whole: usize,
    pcm: Vec<i16>,
    /// Timestamp of the first sample that waits.
    timestamp: u32,
    marker: bool,
}

/// The sound of a packet.
#[derive(Debug, PartialEq)]
pub struct Packed<'a> {
    pub timestamp: u32,
    pub marker: bool,
    pub pcm: &'a [i16],
}

impl Packer {
    pub fn new(codec: Codec) -> Packer {
        let whole = codec.rate() as usize / 50;
        Packer { codec, whole, pcm: Vec::with_capacity(whole), timestamp: 0, marker: false }
    }

    /// Packs for `codec`, `ptime` a packet, from now on. What waits of another codec is left out.
    pub fn tune(&mut self, codec: Codec, ptime: Duration) {
        if codec != self.codec {
            *self = Packer::new(codec);
        }
        let milliseconds = u64::try_from(ptime.as_millis()).unwrap_or(LONGEST).clamp(10, LONGEST) / 10 * 10;
        self.whole = (u64::from(codec.rate()) * milliseconds / 1_000) as usize;
    }

    /// What waits will not go out any more.
    pub fn clear(&mut self) {
        self.pcm.clear();
    }

    /// Whether sound with this timestamp follows what waits.
    pub fn goes_on_at(&self, timestamp: u32) -> bool {
        self.pcm.is_empty() || timestamp == self.timestamp.wrapping_add(self.ticks(self.pcm.len()))
    }

    /// Takes the sound of a slot. What it does not follow must have been taken out with [`Packer::rest`].
    pub fn push(&mut self, timestamp: u32, marker: bool, pcm: &[i16]) {
        if self.pcm.is_empty() {
            self.timestamp = timestamp;
        }
        self.marker |= marker;
        self.pcm.extend_from_slice(pcm);
    }

    /// Hands out every whole packet.
    pub fn packets(&mut self, mut out: impl FnMut(Packed<'_>)) {
        let mut taken = 0;
        while let Some(pcm) = self.pcm.get(taken..taken + self.whole) {
            let marker = std::mem::take(&mut self.marker);
            out(Packed { timestamp: self.timestamp.wrapping_add(self.ticks(taken)), marker, pcm });
            taken += self.whole;
        }
        self.timestamp = self.timestamp.wrapping_add(self.ticks(taken));
        self.pcm.drain(..taken);
    }

    /// Hands out what waits, if anything.
    pub fn rest(&mut self, out: impl FnOnce(Packed<'_>)) {
        if !self.pcm.is_empty() {
            let marker = std::mem::take(&mut self.marker);
            out(Packed { timestamp: self.timestamp, marker, pcm: &self.pcm });
            self.pcm.clear();
        }
    }

    /// Ticks of the codec's clock in so many samples.
    fn ticks(&self, samples: usize) -> u32 {
        (samples as u64 * u64::from(self.codec.clock()) / u64::from(self.codec.rate())) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Timestamp, length in milliseconds and marker of every packet of so many slots.
    fn packed(codec: Codec, ptime: u32, slots: u32) -> Vec<(u32, usize, bool)> {
        let mut packer = Packer::new(codec);
        packer.tune(codec, ptime * MS);
        let (frame, ticks) = (codec.rate() as usize / 50, codec.clock() / 50);
        let mut packets = Vec::new();
        for n in 0..slots {
            let timestamp = (u32::MAX - 100).wrapping_add(n * ticks);
            assert!(packer.goes_on_at(timestamp));
            packer.push(timestamp, n == 0, &vec![n as i16; frame]);
            packer.packets(|packet| packets.push((packet.timestamp, packet.pcm.len() * 20 / frame, packet.marker)));
        }
        packets
    }

    #[test]
    fn packets_are_as_long_as_is_liked_and_follow_each_other() {
        for codec in [Codec::Pcmu, Codec::G722, Codec::Opus] {
            for ptime in [10, 20, 30, 40, 50, 60] {
                let packets = packed(codec, ptime, 30);
                assert_eq!(packets.len(), 600 / ptime as usize, "{codec:?} {ptime}");
                for (n, (timestamp, length, marker)) in packets.into_iter().enumerate() {
                    let expected = (u32::MAX - 100).wrapping_add(n as u32 * ptime * codec.clock() / 1_000);
                    assert_eq!((timestamp, length, marker), (expected, ptime as usize, n == 0), "{codec:?} {ptime}");
                }
            }
        }
    }

    #[test]
    fn what_waits_goes_out_short_before_what_does_not_follow_it() {
        let mut packer = Packer::new(Codec::Pcma);
        packer.tune(Codec::Pcma, 60 * MS);
        packer.push(1_000, true, &[1; 160]);
        packer.push(1_160, false, &[2; 160]);
        packer.packets(|packet| panic!("{packet:?}"));
        assert!(packer.goes_on_at(1_320) && !packer.goes_on_at(1_300));
        let mut rest = None;
        packer.rest(|packet| rest = Some((packet.timestamp, packet.marker, packet.pcm.len())));
        assert_eq!(rest, Some((1_000, true, 320)));
        packer.rest(|packet| panic!("{packet:?}"));
        assert!(packer.goes_on_at(1_300));
    }

    #[test]
    fn twenty_milliseconds_never_wait_and_nothing_of_another_codec_is_sent() {
        let mut packer = Packer::new(Codec::Pcmu);
        packer.push(0, false, &[1; 160]);
        packer.packets(|_| {});
        packer.rest(|packet| panic!("{packet:?}"));
        packer.tune(Codec::Pcmu, 40 * MS);
        packer.push(160, false, &[1; 160]);
        packer.tune(Codec::G722, 40 * MS);
        packer.rest(|packet| panic!("{packet:?}"));
    }
}
