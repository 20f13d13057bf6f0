//! Softphones that are not baresip: linphone answers calls, with and without encryption, in each codec.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use super::tally::Tally;
use crate::support::process::{Process, wait_for_udp_listener};
use crate::support::{Gateway, Setup, audio, free_udp_port, free_udp_range, wait_for};

const SOON: Duration = Duration::from_secs(30);
const NUMBER: &str = "+4930123456";

#[test]
#[ignore = "make interop"]
fn linphone_as_the_phone() {
    let mut tally = Tally::of("linphone");
    tally.scenario("answers, speaks PCMU and is hung up", || talk("none", "codecs = [\"pcmu\"]\n"));
    tally.scenario("speaks Opus", || talk("none", "codecs = [\"opus\"]\n"));
    tally.scenario("speaks G.722", || talk("none", "codecs = [\"g722\"]\n"));
    tally.scenario("speaks SRTP and nothing else", || {
        talk("srtp", "codecs = [\"pcma\"]\nsrtp = \"required\"\nsrtp_over_plain = true\n");
    });
    tally.close();
}

/// linphone on a port of its own, answering by itself, a sound file for a microphone.
fn linphone(folder: &Path, encryption: &str) -> (Process, u16) {
    let (port, media) = (free_udp_port(), free_udp_range(8));
    std::fs::create_dir_all(folder.join(".local/share/linphone")).expect("phone folder");
    let config = format!(
        "[sip]\nsip_port={port}\nsip_tcp_port=0\nsip_tls_port=0\nguess_hostname=0\nipv6=0\nuse_info=0\n\
         contact=\"phone\" <sip:phone@127.0.0.1>\nmedia_encryption={encryption}\nmedia_encryption_mandatory={}\n\
         [rtp]\naudio_rtp_port={media}\n{}[video]\nenabled=0\ncapture=0\ndisplay=0\n",
        u8::from(encryption != "none"),
        codecs()
    );
    std::fs::write(folder.join("linphonerc"), config).expect("phone configuration");
    let tone: Vec<i16> = (0..8_000 * 20)
        .map(|index| ((std::f64::consts::TAU * 440.0 * f64::from(index) / 8_000.0).sin() * 8_000.0) as i16)
        .collect();
    audio::write_wav(&folder.join("speech.wav"), &tone, 8_000);
    let said = format!("soundcard use files\nplay {}\n", folder.join("speech.wav").display());
    std::fs::write(folder.join("commands"), said).expect("commands");
    // Its console ends with its input, so the input stays open.
    let script = "exec linphonec -c linphonerc -a -d 6 -l log < <(cat commands; exec sleep 60)";
    let mut command = Command::new("bash");
    command.current_dir(folder).env("HOME", folder).args(["-c", script]);
    let process = Process::start("linphonec", &mut command, &folder.join("output"));
    wait_for_udp_listener("linphone to listen", port);
    (process, port)
}

/// G.722 is off unless it is asked for.
fn codecs() -> String {
    let all = [("opus", 48_000, 2), ("G722", 8_000, 1), ("PCMU", 8_000, 1), ("PCMA", 8_000, 1)];
    let sections = all.iter().enumerate().map(|(at, (name, rate, channels))| {
        format!("[audio_codec_{at}]\nmime={name}\nrate={rate}\nchannels={channels}\nenabled=1\n")
    });
    sections.collect()
}

fn talk(encryption: &str, trunk: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let (phone, port) = linphone(folder.path(), encryption);
    let gateway = Setup::new().engine("echo").trunk("pbx", port, trunk).start();
    let id = gateway.place(NUMBER, &json!({}));
    gateway.wait_status(&id, &["in-flight"], SOON);
    wait_for("linphone's media", SOON, || phone.output().contains("Media streams established").then_some(()));
    heard_from(&gateway, Duration::from_secs(3));
    gateway.hang_up(&id);
    gateway.wait_status(&id, &["cancelled"], SOON);
    let recording = wait_for("the recording", SOON, || gateway.recordings().into_iter().next());
    let (caller, _) = audio::read_channel(&recording, 0);
    assert!(audio::level_db(&caller) > -45.0, "nothing was heard of the phone");
}

/// Waits until the box has received so much sound.
fn heard_from(gateway: &Gateway, time: Duration) {
    let wanted = time.as_millis() / 20;
    wait_for("RTP from the phone", SOON, || {
        let page = gateway.get("/metrics").text();
        let line = page.lines().find(|line| line.starts_with("trunkline_media_packets_received_total"))?;
        let count: f64 = line.rsplit(' ').next()?.parse().ok()?;
        (count >= wanted as f64).then_some(())
    });
}
