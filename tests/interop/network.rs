//! The kernel's own traffic control as a network that takes nothing for a while, in a network namespace of its own.

#![allow(clippy::disallowed_methods)] // real time on real sockets

use std::process::Command;
use std::time::{Duration, Instant};

use trunkline::media::Codec;

use super::tally::Tally;
use crate::support::beats::{EVERY, beats, delays};
use crate::support::rtp_phone::converse;
use crate::support::{Setup, wait_for};

const NUMBER: &str = "1234";
const SOON: Duration = Duration::from_secs(30);
/// Set in the namespace.
const INSIDE: &str = "TRUNKLINE_TEST_NAMESPACE";
/// Frames of each call: a socket takes five seconds of packets before it is full.
const FRAMES: usize = 50 * 24;
const BEATS: usize = FRAMES / EVERY;

#[test]
#[ignore = "make interop"]
fn network() {
    if std::env::var_os(INSIDE).is_none() {
        // Linux gives a namespace to anybody who calls himself root in it.
        let status = Command::new("unshare")
            .args(["--map-root-user", "--net", "--"])
            .arg(std::env::current_exe().expect("this program"))
            .args(["--ignored", "--exact", "network::network", "--nocapture"])
            .env(INSIDE, "yes")
            .status()
            .expect("unshare of util-linux runs");
        assert!(status.success(), "see above");
        return;
    }
    run("ip", "link set lo up");
    let mut tally = Tally::of("network");
    tally.scenario(
        "a way to one phone that takes nothing costs that call only, and leaves nothing behind",
        one_way_full,
    );
    tally.close();
}

#[track_caller]
fn run(program: &str, arguments: &str) {
    let status = Command::new(program).args(arguments.split(' ')).status();
    assert!(status.is_ok_and(|status| status.success()), "{program} {arguments}; install Debian's iproute2");
}

fn one_way_full() {
    let number = format!(
        "\n[[number]]\nname = \"desk\"\nnumber = \"{NUMBER}\"\nvisibility = \"public\"\nsystem_prompt = \"Hi\"\n"
    );
    let mut setup = Setup::new().engine("echo").trunk("pbx", 5_060, "sources = [\"127.0.0.0/8\"]").more(&number);
    setup.media[0] += setup.media[0] % 2;
    setup.media[1] = setup.media[0] + 3;
    let port = setup.media[0];
    let gateway = setup.start();
    let target = gateway.setup.sip;
    let (calls, open) = std::thread::scope(|scope| {
        let calls = [(); 2].map(|()| scope.spawn(move || converse(target, NUMBER, Codec::Pcmu, &beats(FRAMES))));
        wait_for("two live calls", SOON, || {
            (gateway.counter("trunkline_media_packets_sent_total") > 200.0).then_some(())
        });
        run("tc", "qdisc add dev lo root handle 1: htb default 10");
        run("tc", "class add dev lo parent 1: classid 1:10 htb rate 10gbit quantum 60000");
        run("tc", "class add dev lo parent 1: classid 1:20 htb rate 8kbit quantum 1500");
        run("tc", &format!("filter add dev lo protocol ip parent 1: u32 match ip sport {port} 0xffff flowid 1:20"));
        wait_for("packets that nobody takes", SOON, || {
            (gateway.counter("trunkline_media_packets_unsent_total") > 50.0).then_some(())
        });
        run("tc", "qdisc del dev lo root");
        let open = Instant::now();
        (calls.map(|call| call.join().expect("a call")), open)
    });
    let settled = open + Duration::from_secs(1);
    let [mut one, mut other] = calls.map(|call| delays(&call));
    if one.len() > other.len() {
        std::mem::swap(&mut one, &mut other);
    }
    println!("beats that came back: {} and {} of {BEATS}", one.len(), other.len());
    assert!(other.len() > BEATS - BEATS / 50, "the other call loses nothing: {}", other.len());
    assert!(one.len() < BEATS - 20, "the way was closed: {}", one.len());
    let longest = |delays: &[(Instant, Duration)], from: Instant| {
        delays.iter().filter(|(said, _)| *said > from).map(|(_, delay)| *delay).max().expect("beats")
    };
    let (beside, after) = (longest(&other, settled - Duration::from_secs(60)), longest(&one, settled));
    println!("longest way of the other call {beside:?}, of the first one a second after {after:?}");
    assert!(beside < Duration::from_millis(150), "{beside:?}");
    assert!(after < Duration::from_millis(150), "{after:?}");
    assert!(one.iter().filter(|(said, _)| *said > settled).count() > 30, "the call goes on");
}
