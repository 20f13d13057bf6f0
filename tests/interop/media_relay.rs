//! rtpengine between the box and a phone: SRTP on one side, plain RTP on the other.

use std::process::Command;
use std::time::Duration;

use serde_json::json;

use super::kamailio::{Behind, Kamailio, PHONE};
use super::tally::Tally;
use crate::support::baresip::Baresip;
use crate::support::process::{Process, wait_for_udp_listener};
use crate::support::{Setup, audio, damage, free_udp_port, free_udp_range};

const SOON: Duration = Duration::from_secs(30);

#[test]
#[ignore = "make interop"]
fn rtpengine_between_srtp_and_plain_rtp() {
    let mut tally = Tally::of("rtpengine");
    tally.scenario("the echo of a phone's sound comes back whole, SRTP on our side and plain RTP on the phone's", echo);
    tally.close();
}

/// Speech-like sound: what the damage meter can place in time.
fn sound() -> Vec<i16> {
    let tone = |index: usize, hertz: f64| (std::f64::consts::TAU * hertz * index as f64 / 8_000.0).sin();
    (0..8_000 * 12)
        .map(|index| {
            let second = index as f64 / 8_000.0;
            let envelope = (second * 3.1).sin().abs() * (second * 0.7).cos().abs();
            let wave = tone(index, 300.0 + 150.0 * (second * 1.3).sin()) + 0.5 * tone(index, 1_100.0);
            (envelope * wave * 7_000.0) as i16
        })
        .collect()
}

fn echo() {
    let folder = tempfile::tempdir().expect("a folder");
    let played = sound();
    let phone = Baresip::start(folder.path(), &played, "PCMU");
    let control = free_udp_port();
    let first = free_udp_range(40);
    let mut command = Command::new("rtpengine");
    command.args(["--table=-1", "--interface=127.0.0.1", "--foreground", "--log-stderr", "--num-threads=2"]);
    command.args([format!("--listen-ng=127.0.0.1:{control}"), format!("--port-min={first}")]);
    command
        .arg(format!("--port-max={}", first + 39))
        .arg(format!("--pidfile={}", folder.path().join("relay.pid").display()));
    let _relay = Process::start("rtpengine", &mut command, &folder.path().join("relay.output"));
    wait_for_udp_listener("rtpengine to listen", control);
    let behind = Behind { phone: phone.port, rtpengine: control, ..Behind::default() };
    let proxy = Kamailio::start(folder.path(), "proxy", behind);
    let trunk = format!("transport = \"tls\"\nca = \"{}\"\nsrtp = \"required\"\n", proxy.authority().display());
    let gateway = Setup::new().engine("echo").trunk("carrier", proxy.tls.port(), &trunk).start();
    let id = gateway.place(PHONE, &json!({}));
    gateway.wait_status(&id, &["in-flight"], SOON);
    phone.wait_until_heard(Duration::from_secs(8), SOON);
    gateway.hang_up(&id);
    gateway.wait_status(&id, &["cancelled"], SOON);
    let heard = phone.heard();
    assert!(audio::level_db(&heard) > -40.0, "the phone heard next to nothing");
    let damage = damage::examine(&played[8_000..8_000 * 5], &heard);
    assert!(damage.none(), "{damage:?}");
}
