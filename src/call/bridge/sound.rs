//! The caller's sound in the form that a service wants, and the service's in that of the playout.

use std::ops::RangeBounds;
use std::time::Duration;

use crate::ai::{CallerFrame, Sound, Wants};
use crate::media::Codec;
use crate::media::codec::g711::Law;
use crate::media::resample::Resampler;
use crate::media::{FRAME_SAMPLES, HeardFrame, NARROW_BAND_HZ, Playout};

/// Between a phone and a service of another form. What needs no change is not touched.
#[derive(Default)]
pub(super) struct Ears {
    /// From the rate that the phone had last to the one that is wanted.
    resampler: Option<Resampler>,
    pcm: Vec<i16>,
    octets: Vec<u8>,
}

impl Ears {
    pub(super) fn hear<'a>(&'a mut self, frame: &'a HeardFrame<'_>, wants: Wants) -> CallerFrame<'a> {
        match (wants, frame.encoded) {
            (Wants::Linear, _) => CallerFrame::Linear { pcm: frame.pcm, rate: frame.rate },
            (Wants::LinearAt(rate), _) => CallerFrame::Linear { pcm: self.at(frame, rate), rate },
            (Wants::Ulaw, Some((Codec::Pcmu, octets))) => CallerFrame::Ulaw(octets),
            (Wants::Alaw, Some((Codec::Pcma, octets))) => CallerFrame::Alaw(octets),
            (Wants::Ulaw, _) => CallerFrame::Ulaw(self.g711(frame, Law::Micro)),
            (Wants::Alaw, _) => CallerFrame::Alaw(self.g711(frame, Law::A)),
        }
    }

    fn g711(&mut self, frame: &HeardFrame<'_>, law: Law) -> &[u8] {
        let mut octets = std::mem::take(&mut self.octets);
        let pcm = self.at(frame, NARROW_BAND_HZ);
        octets.resize(pcm.len(), 0);
        law.encode(pcm, &mut octets);
        self.octets = octets;
        &self.octets
    }

    /// The samples of `frame` at `rate`; none at a rate that is not known.
    fn at<'a>(&'a mut self, frame: &'a HeardFrame<'_>, rate: u32) -> &'a [i16] {
        if frame.rate == rate {
            return frame.pcm;
        }
        if self.resampler.as_ref().is_none_or(|resampler| (resampler.from(), resampler.to()) != (frame.rate, rate)) {
            self.resampler = Resampler::new(frame.rate, rate);
        }
        self.pcm.clear();
        if let Some(resampler) = &mut self.resampler {
            resampler.process(frame.pcm, |sample| self.pcm.push(sample));
        }
        &self.pcm
    }
}

/// Samples of `sound` in `span`, as many as there are at most.
pub(super) fn samples(sound: &Sound, span: Duration) -> usize {
    let (all, rate) = match sound {
        Sound::Linear { pcm, rate } => (pcm.len(), *rate),
        Sound::Ulaw(octets) | Sound::Alaw(octets) => (octets.len(), NARROW_BAND_HZ),
    };
    all.min((span.as_millis() as usize * rate as usize) / 1_000)
}

/// Queues the samples of `sound` in `range`, which lies within it.
pub(super) fn push(sound: &Sound, range: impl RangeBounds<usize>, playout: &mut dyn Playout) {
    let range = (range.start_bound().cloned(), range.end_bound().cloned());
    match sound {
        Sound::Linear { pcm, rate } => playout.push(&pcm[range], *rate),
        Sound::Ulaw(octets) => decoded(Law::Micro, &octets[range], playout),
        Sound::Alaw(octets) => decoded(Law::A, &octets[range], playout),
    }
}

fn decoded(law: Law, octets: &[u8], playout: &mut dyn Playout) {
    let mut pcm = [0; FRAME_SAMPLES];
    for octets in octets.chunks(FRAME_SAMPLES) {
        let length = law.decode(octets, &mut pcm);
        playout.push(&pcm[..length], NARROW_BAND_HZ);
    }
}
