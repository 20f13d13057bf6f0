//! What goes wrong around the media, against the built program: ports that run out, a voice AI that does not read, a
//! machine that stands still.

#![allow(clippy::disallowed_methods)] // real time on real sockets

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use trunkline::media::Codec;

use crate::support::beats::{EVERY, beats, delays, summary};
use crate::support::bot::EchoBot;
use crate::support::caller::Caller;
use crate::support::rtp_phone::{Conversation, converse};
use crate::support::{Setup, take_turn, wait_for};

const NUMBER: &str = "1234";
const LIVE: Duration = Duration::from_secs(60);

fn setup(engine: &'static str, more: &str) -> Setup {
    let number = format!(
        "\n[[number]]\nname = \"desk\"\nnumber = \"{NUMBER}\"\nvisibility = \"public\"\nsystem_prompt = \"Hi\"\n"
    );
    Setup::new().engine(engine).more(more).trunk("pbx", 5_060, "sources = [\"127.0.0.0/8\"]").more(&number)
}

fn call(target: SocketAddr, seconds: usize) -> Conversation {
    converse(target, NUMBER, Codec::Pcmu, &beats(seconds * 50))
}

#[test]
fn a_call_beyond_the_last_port_gets_503_and_the_operator_an_alert() {
    let _turn = take_turn();
    let mut setup = setup("echo", "");
    setup.media[0] += setup.media[0] % 2;
    setup.media[1] = setup.media[0] + 1;
    let gateway = setup.start();
    let target = gateway.setup.sip;
    std::thread::scope(|scope| {
        let first = scope.spawn(move || call(target, 4));
        wait_for("the first call", LIVE, || (gateway.counter("trunkline_media_legs ") > 0.0).then_some(()));
        assert_eq!([Caller::new().refused(target, NUMBER), Caller::new().refused(target, NUMBER)], [503, 503]);
        assert_eq!(gateway.counter("trunkline_media_ports_exhausted_total"), 2.0);
        assert_eq!(gateway.log().matches("every media port").count(), 1, "told once");
        assert!(delays(&first.join().expect("a call")).len() > 25, "the call that had a port goes on");
    });
}

#[test]
fn a_bot_that_does_not_read_costs_its_own_caller_only() {
    let _turn = take_turn();
    let bot = EchoBot::deaf_at_first(1);
    let gateway = setup("media-stream", &format!("\n[engine.media_stream]\nurl = \"{}\"\n", bot.url())).start();
    let target = gateway.setup.sip;
    let dropped = || gateway.counter("trunkline_ai_speech_dropped_total");
    std::thread::scope(|scope| {
        let deaf = scope.spawn(move || call(target, 40));
        wait_for("the deaf bot's call", LIVE, || {
            (gateway.counter("trunkline_media_packets_received_total") > 50.0).then_some(())
        });
        let (before, _) = summary(delays(&call(target, 4)).into_iter().map(|(_, delay)| delay));
        // A second of it: what the system holds for the bot is full for good.
        wait_for("speech that is dropped", LIVE, || (dropped() > 50.0).then_some(()));
        bot.stuffed.store(true, Ordering::Relaxed);
        let begin = dropped();
        let beside = delays(&call(target, 6));
        let (median, longest) = summary(beside.iter().map(|(_, delay)| *delay));
        eprintln!("echo of another call: {before:?} before, {median:?} beside, at most {longest:?}");
        assert!(dropped() > begin, "the deaf bot still does not read");
        assert!(beside.len() > 45, "{} of 60 beats", beside.len());
        assert!(median < before + Duration::from_millis(20), "{median:?}, {before:?} before");
        assert!(longest < Duration::from_millis(150), "{longest:?}");
        assert!(!deaf.is_finished(), "the call of the deaf bot stands");
        assert!(deaf.join().expect("a call").got.len() > 1_900, "its caller hears silence");
    });
}

#[test]
fn half_a_second_without_a_processor_is_made_up_for_within_a_second() {
    let _turn = take_turn();
    // What a bot says in one go is played to its end: here each beat is a sentence of its own.
    let bot = EchoBot::deaf_at_first(0);
    let gateway = setup("media-stream", &format!("\n[engine.media_stream]\nurl = \"{}\"\n", bot.url())).start();
    let target = gateway.setup.sip;
    let (conversation, woken) = std::thread::scope(|scope| {
        let talking = scope.spawn(move || call(target, 7));
        wait_for("two seconds of sound", LIVE, || {
            (gateway.counter("trunkline_media_packets_received_total") > 100.0).then_some(())
        });
        gateway.process.signal(Signal::SIGSTOP);
        // The time without a processor is what is tested.
        std::thread::sleep(Duration::from_millis(500));
        gateway.process.signal(Signal::SIGCONT);
        let woken = Instant::now();
        (talking.join().expect("a call"), woken)
    });
    let delays = delays(&conversation);
    let stopped = woken - Duration::from_millis(500);
    let (usual, _) = summary(
        delays.iter().filter(|(said, _)| *said < stopped - Duration::from_millis(200)).map(|(_, delay)| *delay),
    );
    let after: Vec<Duration> =
        delays.iter().filter(|(said, _)| *said > woken + Duration::from_secs(1)).map(|(_, delay)| *delay).collect();
    let (median, longest) = summary(after.iter().copied());
    eprintln!("echo: {usual:?} before, {median:?} a second after, at most {longest:?}");
    assert!(after.len() > 15, "{} beats", after.len());
    // What was said while nobody listened has come, too; the last beats may be under way when the call ends.
    assert!(delays.len() >= conversation.said.len() / EVERY - 3, "{} beats in all", delays.len());
    assert!(longest < usual + Duration::from_millis(60), "{longest:?} a second after, {usual:?} before");
}
