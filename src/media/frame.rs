//! 20 ms of linear samples at the rate of a leg.

use std::ops::{Deref, DerefMut};

use crate::media::WIDE_BAND_HZ;

/// Samples in the longest frame.
pub const MOST_SAMPLES: usize = samples(WIDE_BAND_HZ);

/// Samples in 20 ms at `rate` Hz.
pub const fn samples(rate: u32) -> usize {
    (rate / 50) as usize
}

/// A frame that needs no memory of its own: every leg makes fifty of them a second, both ways.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    samples: [i16; MOST_SAMPLES],
    length: usize,
}

impl Frame {
    /// Silence at `rate` Hz; nothing above [`WIDE_BAND_HZ`] fits.
    pub fn silent(rate: u32) -> Frame {
        Frame { samples: [0; MOST_SAMPLES], length: samples(rate).min(MOST_SAMPLES) }
    }

    /// A frame of `rate` Hz from now on; what is in it does not count.
    pub fn tune(&mut self, rate: u32) {
        self.length = samples(rate).min(MOST_SAMPLES);
    }

    /// Samples a second.
    pub fn rate(&self) -> u32 {
        self.length as u32 * 50
    }
}

impl Deref for Frame {
    type Target = [i16];

    fn deref(&self) -> &[i16] {
        &self.samples[..self.length]
    }
}

impl DerefMut for Frame {
    fn deref_mut(&mut self) -> &mut [i16] {
        &mut self.samples[..self.length]
    }
}
