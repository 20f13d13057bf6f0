//! The thread that writes WAV files.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;

use hound::{SampleFormat, WavSpec, WavWriter};
use tokio::sync::oneshot;
use uuid::Uuid;

/// Longest hole that is filled with silence, seconds: an hour. A jump beyond is no hole but nonsense.
const LONGEST_HOLE: u64 = 3_600;

pub enum Message {
    Open {
        id: Uuid,
        path: PathBuf,
        /// Samples a second.
        rate: u32,
    },
    /// Interleaved samples from position `start` on.
    Stretch {
        id: Uuid,
        start: u64,
        stereo: Vec<i16>,
    },
    Close {
        id: Uuid,
        start: u64,
        stereo: Vec<i16>,
        reply: oneshot::Sender<Option<PathBuf>>,
    },
}

/// Runs until the last sender is gone.
pub fn write_all(messages: &Receiver<Message>) {
    let mut files: HashMap<Uuid, Wav> = HashMap::new();
    while let Ok(message) = messages.recv() {
        match message {
            Message::Open { id, path, rate } => match Wav::create(path, rate) {
                Ok(wav) => drop(files.insert(id, wav)),
                Err(error) => tracing::warn!(%error, "a call is not recorded: cannot create its file"),
            },
            Message::Stretch { id, start, stereo } => {
                if let Some(Err(error)) = files.get_mut(&id).map(|wav| wav.write(start, &stereo)) {
                    tracing::warn!(%error, "a recording ends early: cannot write its file");
                    files.remove(&id);
                }
            }
            Message::Close { id, start, stereo, reply } => {
                let path = files.remove(&id).and_then(|wav| wav.close(start, &stereo));
                let _ = reply.send(path);
            }
        }
    }
}

struct Wav {
    path: PathBuf,
    writer: WavWriter<BufWriter<File>>,
    /// Samples a second; the header is brought up to date as often.
    rate: u64,
    written: u64,
    updated: u64,
}

impl Wav {
    fn create(path: PathBuf, rate: u32) -> Result<Wav, hound::Error> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let spec = WavSpec { channels: 2, sample_rate: rate, bits_per_sample: 16, sample_format: SampleFormat::Int };
        let mut writer = WavWriter::new(BufWriter::new(private_file(&path)?), spec)?;
        writer.flush()?;
        Ok(Wav { path, writer, rate: rate.into(), written: 0, updated: 0 })
    }

    fn write(&mut self, start: u64, stereo: &[i16]) -> Result<(), hound::Error> {
        let hole = start.saturating_sub(self.written).min(LONGEST_HOLE * self.rate);
        for _ in 0..2 * hole {
            self.writer.write_sample(0i16)?;
        }
        for sample in stereo {
            self.writer.write_sample(*sample)?;
        }
        self.written += hole + stereo.len() as u64 / 2;
        if self.written >= self.updated + self.rate {
            self.writer.flush()?;
            self.updated = self.written;
        }
        Ok(())
    }

    fn close(mut self, start: u64, stereo: &[i16]) -> Option<PathBuf> {
        let written = self.write(start, stereo).and_then(|()| self.writer.finalize());
        written.inspect_err(|error| tracing::warn!(%error, "a recording is incomplete: cannot write its end")).ok()?;
        Some(self.path)
    }
}

/// A recording is for its owner only.
fn private_file(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options().write(true).create(true).truncate(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    fn stretch(id: Uuid, start: u64, value: i16, length: usize) -> Message {
        Message::Stretch { id, start, stereo: vec![value; 2 * length] }
    }

    fn samples(path: &Path) -> Vec<i16> {
        hound::WavReader::open(path).unwrap().samples::<i16>().map(Result::unwrap).collect()
    }

    #[test]
    fn holes_become_silence_and_the_file_is_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/er/call.wav");
        let id = Uuid::from_u128(1);
        let (sender, receiver) = sync_channel(8);
        let (reply, mut done) = oneshot::channel();
        sender.send(Message::Open { id, path: path.clone(), rate: 16_000 }).unwrap();
        sender.send(stretch(id, 0, 1, 10)).unwrap();
        sender.send(stretch(id, 15, 2, 5)).unwrap();
        sender.send(Message::Close { id, start: 20, stereo: vec![3, 4], reply }).unwrap();
        drop(sender);
        write_all(&receiver);
        assert_eq!(done.try_recv().unwrap(), Some(path.clone()));
        let expected: Vec<i16> = [vec![1; 20], vec![0; 10], vec![2; 10], vec![3, 4]].concat();
        assert_eq!(samples(&path), expected);
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_a_crash_leaves_is_playable() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("call.wav");
        let mut wav = Wav::create(path.clone(), 8_000).unwrap();
        for n in 0..25 {
            wav.write(n * 2_400, &vec![7; 4_800]).unwrap();
        }
        // As after a kill: neither finalize nor drop has run.
        std::mem::forget(wav);
        let left = samples(&path).len();
        assert!(left >= 2 * 24 * 2_400 - 16_000, "{left}");
    }

    #[test]
    fn a_file_that_cannot_be_made_is_reported() {
        let directory = tempfile::tempdir().unwrap();
        let blocked = directory.path().join("file");
        std::fs::write(&blocked, "").unwrap();
        let id = Uuid::from_u128(1);
        let (sender, receiver) = sync_channel(8);
        let (reply, mut done) = oneshot::channel();
        sender.send(Message::Open { id, path: blocked.join("call.wav"), rate: 8_000 }).unwrap();
        sender.send(stretch(id, 0, 1, 10)).unwrap();
        sender.send(Message::Close { id, start: 10, stereo: vec![], reply }).unwrap();
        drop(sender);
        write_all(&receiver);
        assert_eq!(done.try_recv().unwrap(), None);
    }
}
