//! A real softphone answers a call, says something and keeps what it hears.
//!
//! The words that the box spoke must be found in what the phone recorded, and the sound must be whole: compared with
//! what the box's voice makes of the same text, by ears that know no words. The same ears must then refuse the same
//! recording once it is damaged on purpose.

use crate::support;
use std::time::Duration;

use serde_json::{Value, json};
use trunkline::config::SpeechConfig;
use trunkline::speech::{RECOGNISER_HZ, Speech, Voice};

use support::baresip::{Baresip, NUMBER};
use support::damage::{self, Law, breakage};
use support::{Setup, audio, model_directory};

const PROMPT: &str = "Good morning, this is the city library. The book that you ordered is ready. Please come and collect it \
                      before Friday evening.";
const LIVE: Duration = Duration::from_secs(60);

/// The box's own voice and recogniser, used as judge.
struct Judge(Speech);

impl Judge {
    fn new() -> Judge {
        let config = SpeechConfig { model_directory: model_directory(), threads: 2 };
        Judge(Speech::start(&config).expect("the speech threads start"))
    }

    /// What the voice makes of `text`, sentence by sentence, at the phone's rate.
    fn sentences(&self, text: &str, voice: Voice) -> Vec<(String, Vec<i16>)> {
        let mut spoken = self.0.speak(text.to_string(), voice);
        let mut all = Vec::new();
        while let Some(piece) = spoken.blocking_recv() {
            all.push((piece.text, audio::resample(&piece.pcm, f64::from(piece.rate), 8_000.0)));
        }
        all
    }

    fn words(&self, heard: &[i16]) -> String {
        let pcm = audio::resample(heard, 8_000.0, f64::from(RECOGNISER_HZ));
        self.0.recognise(pcm).blocking_recv().expect("the recogniser lives").expect("words")
    }
}

fn plain_words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
}

/// Words of `spoken` that come in `heard` in the same order (longest common subsequence), 0 to 1.
fn found(spoken: &str, heard: &str) -> f64 {
    let (spoken, heard) = (plain_words(spoken), plain_words(heard));
    let mut row = vec![0_usize; heard.len() + 1];
    for word in &spoken {
        let mut diagonal = 0;
        for (index, other) in heard.iter().enumerate() {
            let above = row[index + 1];
            row[index + 1] = if word == other { diagonal + 1 } else { above.max(row[index]) };
            diagonal = above;
        }
    }
    row[heard.len()] as f64 / spoken.len().max(1) as f64
}

struct Heard {
    recording: Vec<i16>,
    call: Value,
    transcript: Value,
    boxes_recording: Vec<i16>,
}

/// Has the box call a phone that says `reply` two seconds after it answered, and hangs up when the first turn is over.
fn call_a_softphone(codec: &str, reply: &[i16]) -> Heard {
    let folder = tempfile::tempdir().expect("a folder");
    let phone = Baresip::start(folder.path(), reply, codec);
    let gateway = Setup::new().with_model().trunk("pbx", phone.port, "").start();
    let id = gateway.place(NUMBER, &json!({ "systemPrompt": PROMPT, "voice": "Aoede" }));
    let live = gateway.wait_status(&id, &["in-flight"], LIVE);
    assert!(live["answeredAtUtc"].is_string(), "{live}");
    phone.wait_until_heard(Duration::from_secs(14), LIVE);
    gateway.hang_up(&id);
    let call = gateway.wait_status(&id, &["cancelled", "ended-success"], LIVE);
    let transcript = gateway.transcript(&id);
    let recordings = gateway.recordings();
    assert_eq!(recordings.len(), 1, "one recording: {recordings:?}");
    let (boxes_recording, _) = audio::read_channel(&recordings[0], 1);
    Heard { recording: phone.heard(), call, transcript, boxes_recording }
}

fn spoken_by_the_box(transcript: &Value) -> String {
    let turns = transcript["turns"].as_array().expect("turns");
    let texts: Vec<&str> =
        turns.iter().filter(|turn| turn["speaker"] == "AI").filter_map(|turn| turn["text"].as_str()).collect();
    texts.join(" ")
}

fn quiet() -> Vec<i16> {
    vec![0; 8_000 * 30]
}

/// Every sentence that the phone heard whole, with its reference, is examined.
fn examine_all(judge: &Judge, heard: &Heard, recording: &[i16]) -> Vec<(String, Vec<i16>, damage::Damage)> {
    judge
        .sentences(PROMPT, Voice::named("Aoede"))
        .into_iter()
        .map(|(text, reference)| {
            let damage = damage::examine(&reference, recording);
            eprintln!("“{text}”: {damage:?} (call {})", heard.call["callId"]);
            (text, reference, damage)
        })
        .collect()
}

#[test]
fn a_phone_hears_the_words_that_the_box_spoke_without_damage_and_the_ears_would_notice_damage() {
    let _turn = support::take_turn();
    let heard = call_a_softphone("PCMU", &quiet());
    let judge = Judge::new();

    let spoken = spoken_by_the_box(&heard.transcript);
    let words = judge.words(&heard.recording);
    assert!(found(PROMPT, &spoken) > 0.95, "the transcript is not what was to be said: {spoken}");
    assert!(found(PROMPT, &words) >= 0.8, "spoken: {PROMPT}\nheard:  {words}");

    let sentences = examine_all(&judge, &heard, &heard.recording);
    assert!(!sentences.is_empty());
    for (text, _, damage) in &sentences {
        assert!(damage.none(), "damaged: “{text}”: {damage:?}");
    }

    let (text, reference, whole) = &sentences[sentences.len() / 2];
    let (from, to) = (whole.offset, (whole.offset + reference.len()).min(heard.recording.len()));
    let hole = damage::examine(reference, &breakage::hole(&heard.recording, from, to));
    assert!(!hole.none() && !hole.holes.is_empty(), "a hole of 20 ms in “{text}” passes: {hole:?}");
    let slow = damage::examine(reference, &breakage::wrong_rate(&heard.recording));
    assert!(!slow.none() && (slow.speed - 0.5).abs() < 0.01, "half the speed passes: {slow:?}");
    let swapped = damage::examine(reference, &breakage::swapped_law(&heard.recording));
    assert!(!swapped.none() && swapped.law == Law::UlawReadAsAlaw, "a swapped law passes: {swapped:?}");
}

#[test]
fn a_phone_that_speaks_a_law_hears_the_box_without_damage() {
    let _turn = support::take_turn();
    let heard = call_a_softphone("PCMA", &quiet());
    let judge = Judge::new();
    for (text, _, damage) in examine_all(&judge, &heard, &heard.recording) {
        assert!(damage.none(), "damaged: “{text}”: {damage:?}");
    }
    assert!(audio::level_db(&heard.boxes_recording) > -60.0, "the right channel of the box's recording is silent");
}

#[test]
fn a_spoken_yes_is_understood_confirmed_and_ends_the_call() {
    let _turn = support::take_turn();
    let judge = Judge::new();
    // While the box asks, so that it is interrupted as well.
    let mut reply = vec![0; 8_000 * 12];
    for (_, pcm) in judge.sentences("Yes, that is fine.", Voice::Kal) {
        reply.extend(pcm);
    }
    reply.extend(quiet());
    let folder = tempfile::tempdir().expect("a folder");
    let phone = Baresip::start(folder.path(), &reply, "PCMU");
    let gateway = Setup::new().with_model().trunk("pbx", phone.port, "").start();
    let id = gateway.place(NUMBER, &json!({ "systemPrompt": PROMPT }));
    let call = gateway.wait_status(&id, &["ended-success"], LIVE);
    assert_eq!(call["endedReason"], "finished", "{call}");
    let transcript = gateway.transcript(&id);
    let turns = transcript["turns"].as_array().expect("turns");
    let said = turns.iter().find(|turn| turn["speaker"] == "Caller").and_then(|turn| turn["text"].as_str());
    let said = said.unwrap_or_else(|| panic!("no turn of the caller: {transcript}"));
    assert!(found("yes that is fine", said) >= 0.75, "understood: {said}");
    assert!(spoken_by_the_box(&transcript).contains("Goodbye"), "{transcript}");
    // The goodbye reached the phone before the BYE did.
    let words = judge.words(&tail(&phone.heard(), 4));
    assert!(found("thank you goodbye", &words) > 0.3, "the phone heard at the end: {words}");
}

fn tail(heard: &[i16], seconds: usize) -> Vec<i16> {
    heard[heard.len().saturating_sub(8_000 * seconds)..].to_vec()
}
