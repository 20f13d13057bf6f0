//! The thread that writes WAV files.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;

use tokio::sync::oneshot;
use uuid::Uuid;

use super::Spare;
use super::tape::{Batch, OCTETS};

/// Longest hole that is filled with silence, seconds: an hour. A jump beyond is no hole but nonsense.
const LONGEST_HOLE: u64 = 3_600;
/// Frames that are less apart are written in one go, seconds.
const NEAR: u64 = 1;
/// Octets before the first sample.
const HEADER: usize = 44;

// Small, because thousands may wait.
pub enum Message {
    Open {
        id: Uuid,
        path: Box<PathBuf>,
        /// Samples a second.
        rate: u32,
    },
    Batch {
        id: Uuid,
        batch: Box<Batch>,
    },
    Close {
        id: Uuid,
        closing: Box<Closing>,
    },
}

pub struct Closing {
    pub batch: Box<Batch>,
    /// Length of the whole recording, samples a side.
    pub end: u64,
    pub reply: oneshot::Sender<Option<PathBuf>>,
}

/// Runs until the last sender is gone.
pub fn write_all(messages: &Receiver<Message>, spare: &Spare) {
    let mut files: HashMap<Uuid, Wav> = HashMap::new();
    let mut desk = Desk::default();
    while let Ok(message) = messages.recv() {
        match message {
            Message::Open { id, path, rate } => match Wav::create(*path, rate) {
                Ok(wav) => drop(files.insert(id, wav)),
                Err(error) => tracing::warn!(%error, "a call is not recorded: cannot create its file"),
            },
            Message::Batch { id, batch } => {
                if let Some(Err(error)) = files.get_mut(&id).map(|wav| wav.write(&batch, &mut desk)) {
                    tracing::warn!(%error, "a recording ends early: cannot write its file");
                    files.remove(&id);
                }
                spare.give(batch);
            }
            Message::Close { id, closing } => {
                let Closing { batch, end, reply } = *closing;
                let path = files.remove(&id).and_then(|wav| wav.close(&batch, end, &mut desk));
                let _ = reply.send(path);
                spare.give(batch);
            }
        }
    }
}

/// Room to work in.
#[derive(Default)]
struct Desk {
    places: Vec<(u64, u64)>,
    octets: Vec<u8>,
}

struct Wav {
    path: PathBuf,
    file: File,
    /// Samples a second; the header is brought up to date as often.
    rate: u32,
    /// Samples a side that the file and its header have.
    length: u64,
    told: u64,
}

impl Wav {
    fn create(path: PathBuf, rate: u32) -> io::Result<Wav> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let file = private_file(&path)?;
        file.write_all_at(&header(rate, 0), 0)?;
        Ok(Wav { path, file, rate, length: 0, told: 0 })
    }

    fn write(&mut self, batch: &Batch, desk: &mut Desk) -> io::Result<()> {
        desk.places.clear();
        desk.places.extend(batch.places().map(|place| (place.start, place.end)));
        desk.places.sort_unstable();
        let mut places = desk.places.iter().copied().peekable();
        while let Some((start, mut end)) = places.next() {
            while let Some((_, next)) = places.next_if(|(next, _)| *next <= end + NEAR * u64::from(self.rate)) {
                end = end.max(next);
            }
            if start <= self.length + LONGEST_HOLE * u64::from(self.rate) {
                self.merge(start..end, batch, &mut desk.octets)?;
            }
        }
        if self.length >= self.told + u64::from(self.rate) {
            self.tell()?;
        }
        Ok(())
    }

    /// What lies there already stays, but for what the batch covers.
    fn merge(&mut self, range: Range<u64>, batch: &Batch, octets: &mut Vec<u8>) -> io::Result<()> {
        octets.clear();
        octets.resize((range.end - range.start) as usize * OCTETS, 0);
        let at = HEADER as u64 + range.start * OCTETS as u64;
        if range.start < self.length {
            let there = (self.length - range.start).min(range.end - range.start) as usize * OCTETS;
            self.file.read_exact_at(&mut octets[..there], at)?;
        }
        batch.write(range.start, octets);
        self.file.write_all_at(octets, at)?;
        self.length = self.length.max(range.end);
        Ok(())
    }

    fn tell(&mut self) -> io::Result<()> {
        self.told = self.length;
        self.file.write_all_at(&header(self.rate, self.length), 0)
    }

    fn close(mut self, batch: &Batch, end: u64, desk: &mut Desk) -> Option<PathBuf> {
        let mut finish = || {
            self.write(batch, desk)?;
            self.length = self.length.max(end.min(self.length + LONGEST_HOLE * u64::from(self.rate)));
            self.file.set_len(HEADER as u64 + self.length * OCTETS as u64)?;
            self.tell()
        };
        finish().inspect_err(|error| tracing::warn!(%error, "a recording is incomplete: cannot write its end")).ok()?;
        Some(self.path)
    }
}

/// The head of a file of `length` samples a side, 16 bit, interleaved (Microsoft, RIFF WAVE, `WAVE_FORMAT_PCM`). Longer
/// ones than its fields can tell, 37 hours of narrow band, are told as such; players read on to the end.
fn header(rate: u32, length: u64) -> [u8; HEADER] {
    let octets = u32::try_from(length * OCTETS as u64).unwrap_or(u32::MAX - HEADER as u32);
    let mut header = [0; HEADER];
    let fields: [&[u8]; 13] = [
        b"RIFF",
        &(octets + HEADER as u32 - 8).to_le_bytes(),
        b"WAVE",
        b"fmt ",
        &16_u32.to_le_bytes(),
        &1_u16.to_le_bytes(),
        &2_u16.to_le_bytes(),
        &rate.to_le_bytes(),
        &(rate * OCTETS as u32).to_le_bytes(),
        &(OCTETS as u16).to_le_bytes(),
        &16_u16.to_le_bytes(),
        b"data",
        &octets.to_le_bytes(),
    ];
    let octets = fields.into_iter().flatten();
    header.iter_mut().zip(octets).for_each(|(place, octet)| *place = *octet);
    header
}

/// A recording is for its owner only.
fn private_file(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use std::sync::mpsc::sync_channel;
    use std::time::{Duration, Instant};

    use super::super::tape::{Layout, Side};
    use super::*;

    /// Two seconds of `value` at position `start` on both sides.
    fn batch(start: u64, value: i16, length: usize) -> Box<Batch> {
        let origin = Instant::now();
        let mut layout = Layout::new(origin, 16_000);
        let at = origin + Duration::from_nanos(start * 62_500);
        layout.lay(Side::Phone, at, &vec![value; length], 16_000, origin);
        layout.lay(Side::Box, at, &vec![-value; length], 16_000, origin);
        layout.rest(origin).0
    }

    fn samples(path: &Path) -> Vec<i16> {
        hound::WavReader::open(path).unwrap().samples::<i16>().map(Result::unwrap).collect()
    }

    fn both(value: i16, length: usize) -> Vec<i16> {
        [value, -value].repeat(length)
    }

    #[test]
    fn holes_are_silence_what_comes_late_is_put_in_and_the_file_is_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/er/call.wav");
        let id = Uuid::from_u128(1);
        let (sender, receiver) = sync_channel(8);
        let (reply, mut done) = oneshot::channel();
        sender.send(Message::Open { id, path: Box::new(path.clone()), rate: 16_000 }).unwrap();
        for (start, value) in [(0, 1), (80_000, 2), (40_000, 3), (80_016, 4)] {
            sender.send(Message::Batch { id, batch: batch(start, value, 32) }).unwrap();
        }
        let closing = Closing { batch: batch(96_000, 5, 16), end: 96_032, reply };
        sender.send(Message::Close { id, closing: Box::new(closing) }).unwrap();
        drop(sender);
        write_all(&receiver, &Spare::default());
        assert_eq!(done.try_recv().unwrap(), Some(path.clone()));
        let expected = [
            both(1, 32),
            both(0, 39_968),
            both(3, 32),
            both(0, 39_968),
            both(2, 16),
            both(4, 32),
            both(0, 15_952),
            both(5, 16),
            both(0, 16),
        ];
        assert!(samples(&path) == expected.concat());
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_a_crash_leaves_is_playable() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("call.wav");
        let mut wav = Wav::create(path.clone(), 8_000).unwrap();
        for n in 0..25 {
            wav.write(&batch(n * 2_400, 7, 2_400), &mut Desk::default()).unwrap();
        }
        // As after a kill: the end was never written.
        drop(wav);
        let left = samples(&path).len();
        assert!(left >= 2 * 24 * 2_400 - 16_000, "{left}");
    }

    #[test]
    fn nonsense_far_away_is_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let mut wav = Wav::create(directory.path().join("call.wav"), 16_000).unwrap();
        let mut desk = Desk::default();
        wav.write(&batch(16_000, 7, 16), &mut desk).unwrap();
        wav.write(&batch(3_602 * 16_000, 7, 16), &mut desk).unwrap();
        assert_eq!(wav.length, 16_016);
    }

    #[test]
    fn a_file_that_cannot_be_made_is_reported() {
        let directory = tempfile::tempdir().unwrap();
        let blocked = directory.path().join("file");
        std::fs::write(&blocked, "").unwrap();
        let id = Uuid::from_u128(1);
        let (sender, receiver) = sync_channel(8);
        let (reply, mut done) = oneshot::channel();
        let path = Box::new(blocked.join("call.wav"));
        sender.send(Message::Open { id, path, rate: 8_000 }).unwrap();
        sender.send(Message::Batch { id, batch: batch(0, 1, 10) }).unwrap();
        let closing = Closing { batch: batch(10, 1, 0), end: 10, reply };
        sender.send(Message::Close { id, closing: Box::new(closing) }).unwrap();
        drop(sender);
        write_all(&receiver, &Spare::default());
        assert_eq!(done.try_recv().unwrap(), None);
    }
}
