//! Whether the demo's call was what it should be. Each failure is a plain sentence.

use std::path::Path;

use serde_json::Value;

use super::view::Facts;

/// What must be true of a finished call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected {
    /// Closed turns of each side, at least.
    pub(super) agent_turns: usize,
    pub(super) caller_turns: usize,
    /// Keys of the phone, at least.
    pub(super) keys: usize,
    /// A barge-in was heard.
    pub(super) barge_in: bool,
}

/// What was seen while the call ran.
pub(super) fn live(facts: &Facts, expected: Expected) -> Result<(), String> {
    if expected.barge_in && facts.barge_ins.is_empty() {
        return Err("the phone talked into the message, and the box took no notice".into());
    }
    if facts.keys.len() < expected.keys {
        return Err("the phone pressed a key, and the box did not hear it".into());
    }
    Ok(())
}

/// The transcript as `GET /transcripts/{id}` answers it.
pub(super) fn transcript(body: &Value, expected: Expected) -> Result<(), String> {
    let turns = body["turns"].as_array().ok_or("the transcript has no turns")?;
    let of = |speaker: &str| {
        let said = |turn: &&Value| turn["speaker"] == speaker && !turn["text"].as_str().unwrap_or("").trim().is_empty();
        turns.iter().filter(said).count()
    };
    for (speaker, least, who) in [("AI", expected.agent_turns, "box"), ("Caller", expected.caller_turns, "phone")] {
        let found = of(speaker);
        if found < least {
            return Err(format!("a turn is missing: the transcript has {found} of the {who}, {least} were expected"));
        }
    }
    Ok(())
}

/// A stereo WAV in which the box is heard, and the phone too when it talked (`words`) rather than pressed keys.
pub(super) fn recording(file: &Path, words: bool) -> Result<(), String> {
    let wrong = |problem: String| format!("the recording {} {problem}", file.display());
    let mut reader = hound::WavReader::open(file).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    let channels = reader.spec().channels;
    if channels != 2 {
        return Err(wrong(format!("has {channels} channels, not one for each side")));
    }
    let mut energy = [0.0_f64; 2];
    let mut count = 0_u64;
    for (at, sample) in reader.samples::<i16>().enumerate() {
        let sample = f64::from(sample.map_err(|error| wrong(format!("is damaged: {error}")))?);
        energy[at % 2] += sample * sample;
        count += u64::from(at % 2 == 1);
    }
    if count == 0 {
        return Err(wrong("is empty".into()));
    }
    for (side, energy) in ["phone", "box"].into_iter().zip(energy) {
        // Mean square over the whole call; speech of a few seconds lies far above, an idle line far below.
        if energy / (count as f64) < 25.0 && (words || side == "box") {
            return Err(wrong(format!("is silent on the side of the {side}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPECTED: Expected = Expected { agent_turns: 1, caller_turns: 1, keys: 1, barge_in: true };

    #[test]
    fn a_missing_turn_is_said() {
        let both =
            serde_json::json!({"turns": [{"speaker": "AI", "text": "Hello."}, {"speaker": "Caller", "text": "Yes"}]});
        assert_eq!(transcript(&both, EXPECTED), Ok(()));
        let one =
            serde_json::json!({"turns": [{"speaker": "AI", "text": "Hello."}, {"speaker": "Caller", "text": " "}]});
        assert!(transcript(&one, EXPECTED).expect_err("one side").contains("0 of the phone"));
        assert!(transcript(&Value::Null, EXPECTED).is_err());
    }

    #[test]
    fn a_deaf_box_is_said() {
        let mut facts = Facts::default();
        assert!(live(&facts, EXPECTED).expect_err("no barge-in").contains("took no notice"));
        facts.barge_ins.push(super::super::view::BargeIn::default());
        assert!(live(&facts, EXPECTED).expect_err("no key").contains("pressed a key"));
        facts.keys.push((crate::clock::UtcTime(0), '1'));
        assert_eq!(live(&facts, EXPECTED), Ok(()));
    }

    fn wav(name: &str, frames: &[[i16; 2]]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("folder");
        let spec = hound::WavSpec {
            channels: 2,
            sample_rate: 8000,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut writer = hound::WavWriter::create(folder.path().join(name), spec).expect("create");
        frames.iter().flatten().for_each(|sample| writer.write_sample(*sample).expect("write"));
        writer.finalize().expect("finish");
        folder
    }

    #[test]
    fn a_recording_needs_sound_on_both_sides() {
        let heard = wav("a.wav", &[[500, -500]; 8000]);
        assert_eq!(recording(&heard.path().join("a.wav"), true), Ok(()));
        let deaf = wav("a.wav", &[[0, 500]; 8000]);
        assert!(recording(&deaf.path().join("a.wav"), true).expect_err("silent").contains("side of the phone"));
        let empty = wav("a.wav", &[]);
        assert!(recording(&empty.path().join("a.wav"), true).expect_err("empty").contains("is empty"));
        assert!(recording(Path::new("/no/such.wav"), true).is_err());
    }
}
