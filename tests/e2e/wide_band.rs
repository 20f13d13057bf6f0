//! A real softphone in wide band: G.722 and Opus, both ways.
//!
//! What the phone keeps is held against what the box's voice makes of the same text, by ears that know no words; what
//! the box recorded of the phone against what the phone said. The sound above 4 kHz has to be there: narrow band that
//! was blown up would pass every other test.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use trunkline::config::SpeechConfig;
use trunkline::speech::{Speech, Voice};

use crate::support::baresip::{Baresip, NUMBER};
use crate::support::{self, Setup, audio, damage};

const PROMPT: &str = "Six sisters sat in the sunshine. This sentence is full of sharp sounds. She sells sea shells.";
const REPLY: &str = "Yes, this is the essence of speech. Fresh fish, please.";
const LIVE: Duration = Duration::from_secs(60);
const RATE: u32 = 16_000;

/// What the box's voice makes of `text`, sentence by sentence, at 16 kHz.
pub fn sentences(text: &str, voice: Voice) -> Vec<Vec<i16>> {
    let speech = Speech::start(&SpeechConfig::default()).expect("the speech threads start");
    let mut spoken = speech.speak(text.to_owned(), voice);
    std::iter::from_fn(|| spoken.blocking_recv()).inspect(|piece| assert_eq!(piece.rate, RATE)).map(|p| p.pcm).collect()
}

pub fn narrow(pcm: &[i16]) -> Vec<i16> {
    audio::resample(pcm, f64::from(RATE), 8_000.0)
}

/// Power above 4 kHz against all of it, dB.
pub fn sharpness(pcm: &[i16]) -> f64 {
    let low = audio::resample(&narrow(pcm), 8_000.0, f64::from(RATE));
    let power = |pcm: &mut dyn Iterator<Item = f64>| pcm.map(|s| s * s).sum::<f64>();
    let all = power(&mut pcm.iter().map(|s| f64::from(*s)));
    let high = power(&mut pcm.iter().zip(&low).map(|(a, b)| f64::from(*a) - f64::from(*b)));
    10.0 * (high.max(1.0) / all.max(1.0)).log10()
}

struct Heard {
    phone: Vec<i16>,
    recording: Vec<i16>,
    recording_rate: u32,
}

/// The box calls a phone that speaks `codec` and says `reply` at once.
fn call(folder: &Path, codec: &str, name: &str, reply: &[i16]) -> Heard {
    let phone = Baresip::start_at(folder, reply, codec, RATE);
    let codecs = format!("codecs = [\"{name}\", \"pcma\"]");
    let gateway = Setup::new().trunk("pbx", phone.port, &codecs).start();
    let id = gateway.place(NUMBER, &json!({ "systemPrompt": PROMPT, "voice": "Aoede" }));
    gateway.wait_status(&id, &["in-flight"], LIVE);
    phone.wait_until_heard(Duration::from_secs(14), LIVE);
    gateway.hang_up(&id);
    let call = gateway.wait_status(&id, &["cancelled", "ended-success"], LIVE);
    eprintln!("{codec}: {}", call["quality"]);
    let recordings = gateway.recordings();
    assert_eq!(recordings.len(), 1, "one recording: {recordings:?}");
    let (recording, recording_rate) = audio::read_channel(&recordings[0], 0);
    Heard { phone: phone.heard(), recording, recording_rate }
}

fn both_hear_each_other(codec: &str, name: &str) {
    let _turn = support::take_turn();
    let said: Vec<i16> = sentences(REPLY, Voice::Kal).concat();
    let mut reply = vec![0; RATE as usize / 2];
    reply.extend(&said);
    reply.extend(vec![0; RATE as usize * 20]);
    let folder = tempfile::tempdir().expect("a folder");
    let heard = call(folder.path(), codec, name, &reply);

    let phone = narrow(&heard.phone);
    let references = sentences(PROMPT, Voice::named("Aoede"));
    for reference in &references {
        let damage = damage::examine_lossy(&narrow(reference), &phone);
        eprintln!("{codec}, at the phone: {damage:?}");
        assert!(damage.none(), "{codec}: {damage:?}");
    }
    let (spoken, arrived) = (sharpness(&references.concat()), sharpness(&heard.phone));
    eprintln!("{codec}: {spoken:.1} dB above 4 kHz spoken, {arrived:.1} dB heard");
    assert!(arrived > spoken - 6.0, "{codec}: the phone hears narrow band");

    assert_eq!(heard.recording_rate, RATE, "{codec}");
    for sentence in sentences(REPLY, Voice::Kal) {
        let damage = damage::examine_lossy(&narrow(&sentence), &narrow(&heard.recording));
        eprintln!("{codec}, at the box: {damage:?}");
        assert!(damage.none(), "{codec}: {damage:?}");
    }
    assert!(sharpness(&heard.recording) > sharpness(&said) - 6.0, "{codec}: the box hears narrow band");
}

#[test]
fn g722_is_whole_in_both_directions() {
    both_hear_each_other("G722", "g722");
}

#[test]
fn opus_is_whole_in_both_directions() {
    both_hear_each_other("opus", "opus");
}
