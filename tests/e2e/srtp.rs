//! A real softphone with SRTP: the words arrive whole in both directions, and nothing went in the clear.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use trunkline::config::SpeechConfig;
use trunkline::speech::{Speech, Voice};

use crate::support::baresip::{Baresip, NUMBER};
use crate::support::{self, Setup, audio, damage};

const PROMPT: &str = "Good morning, this is the city library. The book that you ordered is ready.";
const REPLY: &str = "Thank you very much. I will come and collect it on Friday.";
const LIVE: Duration = Duration::from_secs(60);

/// What the box's voice makes of `text`, sentence by sentence, at the phone's rate.
pub fn sentences(text: &str, voice: Voice) -> Vec<Vec<i16>> {
    let speech = Speech::start(&SpeechConfig::default()).expect("the speech threads start");
    let mut spoken = speech.speak(text.to_owned(), voice);
    let pieces = std::iter::from_fn(|| spoken.blocking_recv());
    pieces.map(|piece| audio::resample(&piece.pcm, f64::from(piece.rate), 8_000.0)).collect()
}

/// The box calls a phone with baresip's media encryption `mode` over a trunk with `srtp`.
fn both_hear_each_other(mode: &str, srtp: &str) {
    let _turn = support::take_turn();
    let mut reply = vec![0; 4_000];
    reply.extend(sentences(REPLY, Voice::Kal).concat());
    reply.extend(vec![0; 8_000 * 20]);
    let folder = tempfile::tempdir().expect("a folder");
    let phone = Baresip::start(folder.path(), &reply, &format!("PCMU;mediaenc={mode}"));
    let trunk = format!("srtp = \"{srtp}\"\nsrtp_over_plain = true");
    let gateway = Setup::new().trunk("pbx", phone.port, &trunk).start();
    let id = gateway.place(NUMBER, &json!({ "systemPrompt": PROMPT, "voice": "Aoede" }));
    gateway.wait_status(&id, &["in-flight"], LIVE);
    phone.wait_until_heard(Duration::from_secs(10), LIVE);
    gateway.hang_up(&id);
    gateway.wait_status(&id, &["cancelled", "ended-success"], LIVE);

    let heard = phone.heard();
    for reference in sentences(PROMPT, Voice::named("Aoede")) {
        let damage = damage::examine(&reference, &heard);
        eprintln!("{mode}, at the phone: {damage:?}");
        assert!(damage.none(), "{mode}: {damage:?}");
    }
    let recordings = gateway.recordings();
    let (recording, _) = audio::read_channel(recordings.first().map(AsRef::<Path>::as_ref).expect("a recording"), 0);
    for reference in sentences(REPLY, Voice::Kal) {
        let damage = damage::examine(&reference, &recording);
        eprintln!("{mode}, at the box: {damage:?}");
        assert!(damage.none(), "{mode}, at the box: {damage:?}");
    }
    let said = phone.process.output();
    assert!(said.contains("SRTP is Enabled"), "{mode}: the phone says\n{said}");
    let log = gateway.log();
    assert!(!log.contains("inline:"), "a key stands in the log");
}

#[test]
fn a_phone_that_takes_nothing_but_srtp_is_heard_and_hears() {
    both_hear_each_other("srtp-mand", "required");
}

#[test]
fn a_phone_that_may_encrypt_does_when_the_box_offers_it() {
    both_hear_each_other("srtp", "offered");
}
