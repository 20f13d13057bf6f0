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
    /// From the rate that the phone had last.
    narrow: Option<Resampler>,
    pcm: Vec<i16>,
    octets: Vec<u8>,
}

impl Ears {
    pub(super) fn hear<'a>(&'a mut self, frame: &'a HeardFrame<'_>, wants: Wants) -> CallerFrame<'a> {
        match (wants, frame.encoded) {
            (Wants::Linear, _) => CallerFrame::Linear { pcm: frame.pcm, rate: frame.rate },
            (Wants::Ulaw, Some((Codec::Pcmu, octets))) => CallerFrame::Ulaw(octets),
            (Wants::Ulaw, _) => self.ulaw(frame),
        }
    }

    fn ulaw(&mut self, frame: &HeardFrame<'_>) -> CallerFrame<'_> {
        let pcm = if frame.rate == NARROW_BAND_HZ {
            frame.pcm
        } else {
            if self.narrow.as_ref().is_none_or(|narrow| narrow.from() != frame.rate) {
                self.narrow = Resampler::new(frame.rate, NARROW_BAND_HZ);
            }
            self.pcm.clear();
            if let Some(narrow) = &mut self.narrow {
                narrow.process(frame.pcm, |sample| self.pcm.push(sample));
            }
            &self.pcm
        };
        self.octets.resize(pcm.len(), 0);
        Law::Micro.encode(pcm, &mut self.octets);
        CallerFrame::Ulaw(&self.octets)
    }
}

/// Samples of `sound` in `span`, as many as there are at most.
pub(super) fn samples(sound: &Sound, span: Duration) -> usize {
    let (all, rate) = match sound {
        Sound::Linear { pcm, rate } => (pcm.len(), *rate),
        Sound::Ulaw(octets) => (octets.len(), NARROW_BAND_HZ),
    };
    all.min((span.as_millis() as usize * rate as usize) / 1_000)
}

/// Queues the samples of `sound` in `range`, which lies within it.
pub(super) fn push(sound: &Sound, range: impl RangeBounds<usize>, playout: &mut dyn Playout) {
    let range = (range.start_bound().cloned(), range.end_bound().cloned());
    match sound {
        Sound::Linear { pcm, rate } => playout.push(&pcm[range], *rate),
        Sound::Ulaw(octets) => {
            let mut pcm = [0; FRAME_SAMPLES];
            for octets in octets[range].chunks(FRAME_SAMPLES) {
                let length = Law::Micro.decode(octets, &mut pcm);
                playout.push(&pcm[..length], NARROW_BAND_HZ);
            }
        }
    }
}
