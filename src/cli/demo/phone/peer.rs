//! The ears and the mouth of the phone on its media thread.

use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc;

use super::script::{Script, Step};
use crate::media::{HeardFrame, Peer, Playout};
use crate::speech::{RECOGNISER_HZ, Speech, Spoken, Vad, VadSettings, Voice};

pub(super) struct PhonePeer {
    script: Script,
    ears: Vad,
    speech: Speech,
    mouth: Mouth,
    /// Lines said so far: the mark of the one that plays.
    lines: u64,
    hang_up: mpsc::Sender<()>,
}

enum Mouth {
    Shut,
    /// Synthesis goes on; sentences come in order.
    Speaking(mpsc::Receiver<Spoken>),
}

impl PhonePeer {
    pub(super) fn new(script: Script, speech: Speech, hang_up: mpsc::Sender<()>) -> PhonePeer {
        // Short: the script waits out the pause by itself.
        let settings = VadSettings { hangover: Duration::from_millis(240), ..VadSettings::default() };
        PhonePeer { script, ears: Vad::new(settings), speech, mouth: Mouth::Shut, lines: 0, hang_up }
    }

    fn step(&mut self, step: Step, playout: &mut dyn Playout) {
        match step {
            Step::Say(line) => self.mouth = Mouth::Speaking(self.speech.speak(line.to_owned(), Voice::Kal)),
            Step::Press(key) => {
                playout.send_keys(key.encode_utf8(&mut [0; 4]));
                self.script.said(playout.now());
            }
            // A full channel means that it was told already.
            Step::HangUp => {
                let _ = self.hang_up.try_send(());
            }
        }
    }
}

impl Peer for PhonePeer {
    fn heard(&mut self, frame: HeardFrame<'_>, playout: &mut dyn Playout) {
        let pcm = widen(frame.pcm, frame.rate);
        self.ears.push(&pcm, frame.at);
        if let Some(step) = self.script.hear(frame.at, self.ears.is_speaking()) {
            self.step(step, playout);
        }
    }

    fn key(&mut self, _: char, _: &mut dyn Playout) {}

    fn played(&mut self, mark: u64, playout: &mut dyn Playout) {
        if mark == self.lines {
            self.script.said(playout.now());
        }
    }

    fn poll(&mut self, context: &mut Context<'_>, playout: &mut dyn Playout) -> Poll<()> {
        while let Mouth::Speaking(sentences) = &mut self.mouth {
            match sentences.poll_recv(context) {
                Poll::Ready(Some(spoken)) => playout.push(&spoken.pcm, spoken.rate),
                Poll::Ready(None) => {
                    playout.finish();
                    self.lines += 1;
                    playout.mark(self.lines);
                    self.mouth = Mouth::Shut;
                }
                Poll::Pending => break,
            }
        }
        Poll::Pending
    }
}

/// Up to the rate of the ears by straight lines between samples: good enough to tell speech from silence.
fn widen(pcm: &[i16], rate: u32) -> Vec<i16> {
    if rate >= RECOGNISER_HZ {
        return pcm.to_vec();
    }
    let factor = (RECOGNISER_HZ / rate.max(1)) as i32;
    let next = pcm.iter().skip(1).chain(pcm.last());
    let between = pcm.iter().zip(next).flat_map(|(from, to)| {
        let (from, to) = (i32::from(*from), i32::from(*to));
        // Between two 16-bit samples: fits.
        (0..factor).map(move |step| (from + (to - from) * step / factor) as i16)
    });
    between.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrow_band_is_doubled() {
        assert_eq!(widen(&[0, 100, -100], 8_000), [0, 50, 100, 0, -100, -100]);
        assert_eq!(widen(&[1, 2], 16_000), [1, 2]);
        assert_eq!(widen(&[], 8_000), [0_i16; 0]);
    }
}
