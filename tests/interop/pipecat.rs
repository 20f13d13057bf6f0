//! A bot made of pipecat, called by the box over each of its three spellings: greeting, the caller's speech, an
//! interruption, a key, the end.

#![allow(clippy::disallowed_methods)] // real time on real sockets

use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use trunkline::media::codec::g711::{ULAW_TO_LINEAR, ulaw};
use trunkline::media::rtp::Packet;

use super::tally::Tally;
use crate::support::caller::{Caller, Standing};
use crate::support::process::Process;
use crate::support::{Gateway, Setup, free_tcp_port, wait_for};

const SOON: Duration = Duration::from_secs(30);
const FRAME: Duration = Duration::from_millis(20);
const NUMBER: &str = "1234";
const SID: &str = "AC00000000000000000000000000000001";
const TOKEN: &str = "a token of the bot";
/// The bot's tones.
const GREETING_HZ: f64 = 1_000.0;
const ANSWER_HZ: f64 = 700.0;
const CALLER_HZ: f64 = 450.0;
/// Of telephone-events.
const EVENTS: u8 = 101;

#[test]
#[ignore = "make interop"]
fn a_bot_of_pipecat() {
    let mut tally = Tally::of("pipecat");
    tally
        .scenario("Twilio's messages: greets, listens, is interrupted, gets keys, hangs up by REST", || talk("twilio"));
    tally.scenario("Telnyx's messages: the same, and closes", || talk("telnyx"));
    tally.scenario("Plivo's messages: the same, and closes", || talk("plivo"));
    tally.close();
}

fn talk(dialect: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_tcp_port();
    let account = match dialect {
        "twilio" => format!("account_sid = \"{SID}\"\nauth_token = \"{TOKEN}\""),
        _ => String::new(),
    };
    let gateway = Setup::new()
        .engine("media-stream")
        .more(&format!(
            "\n[engine.media_stream]\nurl = \"ws://127.0.0.1:{port}/calls\"\ndialect = \"{dialect}\"\n{account}\n\
             [[number]]\nname = \"desk\"\nnumber = \"{NUMBER}\"\nvisibility = \"public\"\nsystem_prompt = \"Hi\"\n"
        ))
        .trunk("pbx", 5_060, "sources = [\"127.0.0.0/8\"]")
        .start();
    let bot = Bot::start(folder.path(), port, &format!("http://{}", gateway.setup.http));
    let phone = RtpPhone::call(gateway.setup.sip);
    let told = bot.tells("kind");
    assert_eq!(told["kind"], dialect, "{told}");
    if dialect == "twilio" {
        assert_eq!(bot.tells("signed")["signed"], true, "by Twilio's own judge");
        assert_eq!((&told["caller"], &told["called"]), (&"+4915112345".into(), &NUMBER.into()));
    }
    phone.hears(GREETING_HZ);
    // A sentence, a pause: the bot answers at length.
    phone.says(Some(CALLER_HZ));
    bot.tells("began");
    phone.says(None);
    bot.tells("stopped");
    phone.hears(ANSWER_HZ);
    // In the middle of which the caller speaks.
    let before = bot.count("interrupted");
    phone.says(Some(CALLER_HZ));
    let interrupted = bot.tells_more("interrupted", before);
    let silence = phone.falls_silent();
    let began = bot.count("began");
    println!(
        "interop pipecat: {dialect}: the last packet of the bot left the box {} ms after the caller's first sound; {began} interruptions heard",
        silence.as_millis()
    );
    assert!(silence < Duration::from_millis(1_500), "{silence:?}, {interrupted}");
    phone.says(None);
    phone.presses(5);
    assert_eq!(bot.tells("key")["key"], "5");
    // `#` of telephone-events: the bot hangs up.
    phone.presses(11);
    bot.tells("over");
    wait_for("the end of the call", SOON, || (gateway.counter("trunkline_calls_live") == 0.0).then_some(()));
    assert_eq!(bot.errors(), "", "the bot's own complaints");
    judge_record(&gateway, dialect);
    assert!(phone.was_hung_up(), "a BYE of the box");
}

/// How the call ended.
fn judge_record(gateway: &Gateway, dialect: &str) {
    let log = gateway.log();
    assert_eq!(log.contains("call ended through the API"), dialect == "twilio", "{log}");
    assert_eq!(gateway.counter("trunkline_calls_total{status=\"completed\"}"), 1.0);
}

/// The bot's process and what it told.
struct Bot {
    process: Process,
}

impl Bot {
    fn start(folder: &Path, port: u16, base_url: &str) -> Bot {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let mut command = Command::new(root.join(".cache/venv-pipecat/bin/python3"));
        command.arg(root.join("tests/interop/pipecat/bot.py")).arg(port.to_string()).args([base_url, SID, TOKEN]);
        let process = Process::start("a bot of pipecat", &mut command, &folder.join("bot"));
        let bot = Bot { process };
        wait_for("the bot to listen", SOON, || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        bot
    }

    fn all(&self, what: &str) -> Vec<Value> {
        let output = self.process.output();
        let told = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        told.filter(|told| told.get(what).is_some()).collect()
    }

    fn count(&self, what: &str) -> usize {
        self.all(what).len()
    }

    #[track_caller]
    fn tells(&self, what: &str) -> Value {
        self.tells_more(what, 0)
    }

    #[track_caller]
    fn tells_more(&self, what: &str, than: usize) -> Value {
        wait_for(&format!("the bot's {what}: {}", self.process.output()), SOON, || self.all(what).into_iter().nth(than))
    }

    /// Of its serializer, which hangs up. Its web server complains when the box has closed first.
    fn errors(&self) -> String {
        self.process.output().lines().filter(|line| line.contains("| ERROR") && line.contains("serializers")).collect()
    }
}

/// What the phone does now.
#[derive(Default)]
struct Order {
    hertz: Option<f64>,
    since: Option<Instant>,
    key: Option<u8>,
}

#[derive(Clone)]
struct Heard {
    at: Instant,
    pcm: Vec<i16>,
}

/// A phone that hums, presses keys as RFC 4733 wants them, and keeps what it hears.
struct RtpPhone {
    standing: Option<Standing>,
    order: Arc<Mutex<Order>>,
    heard: Arc<Mutex<Vec<Heard>>>,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl RtpPhone {
    fn call(target: SocketAddr) -> RtpPhone {
        let rtp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let offer = format!(
            "v=0\r\no=c 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {} RTP/AVP 0 {EVENTS}\r\n\
             a=rtpmap:0 PCMU/8000\r\na=rtpmap:{EVENTS} telephone-event/8000\r\na=fmtp:{EVENTS} 0-15\r\na=ptime:20\r\n",
            rtp.local_addr().expect("bound").port()
        );
        let standing = Caller::new().stand(target, NUMBER, &offer);
        let port =
            standing.session.lines().find_map(|line| line.strip_prefix("m=audio ")?.split(' ').next()?.parse().ok());
        let media = SocketAddr::new(target.ip(), port.expect("a port in the answer"));
        let (order, heard, over) =
            (Arc::<Mutex<Order>>::default(), Arc::<Mutex<Vec<Heard>>>::default(), Arc::default());
        let ear = rtp.try_clone().expect("a second handle");
        let threads = vec![speaking(rtp, media, &order, &over), listening(ear, &heard, &over)];
        RtpPhone { standing: Some(standing), order, heard, over, threads }
    }

    fn says(&self, hertz: Option<f64>) {
        *self.order.lock().expect("unharmed") = Order { hertz, ..Order::default() };
    }

    /// Waits until the last 200 ms are a tone.
    #[track_caller]
    fn hears(&self, hertz: f64) {
        wait_for(&format!("a tone of {hertz} Hz"), SOON, || {
            let heard = self.heard.lock().expect("unharmed");
            let last: Vec<i16> = heard.iter().rev().take(10).rev().flat_map(|heard| heard.pcm.clone()).collect();
            (last.len() >= 1_600 && purity(&last, hertz) > 0.9).then_some(())
        });
    }

    /// Waits for half a second without the bot; from the caller's first sound to the last loud packet.
    #[track_caller]
    fn falls_silent(&self) -> Duration {
        let since = wait_for("our own sound", SOON, || self.order.lock().expect("unharmed").since);
        wait_for("silence", SOON, || {
            let heard = self.heard.lock().expect("unharmed");
            let loud = |heard: &&Heard| heard.pcm.iter().any(|sample| sample.unsigned_abs() > 500);
            let last = heard.iter().rev().find(loud)?.at;
            let newest = heard.last()?.at;
            (newest.saturating_duration_since(last) > Duration::from_millis(500))
                .then(|| last.saturating_duration_since(since))
        })
    }

    fn presses(&self, key: u8) {
        self.order.lock().expect("unharmed").key = Some(key);
        wait_for("the key to be over", SOON, || self.order.lock().expect("unharmed").key.is_none().then_some(()));
    }

    /// The box has ended the dialog: it knows nothing of it any more.
    fn was_hung_up(mut self) -> bool {
        self.over.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| thread.join().expect("the thread ends"));
        let standing = self.standing.take();
        standing.is_some_and(|standing| standing.is_over())
    }
}

impl Drop for RtpPhone {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn speaking(rtp: UdpSocket, media: SocketAddr, order: &Arc<Mutex<Order>>, over: &Arc<AtomicBool>) -> JoinHandle<()> {
    let (order, over) = (order.clone(), over.clone());
    std::thread::spawn(move || {
        let begin = Instant::now();
        let mut key: Option<(u8, u16, u32)> = None;
        for n in 0u32.. {
            if over.load(Ordering::Relaxed) {
                return;
            }
            std::thread::sleep((begin + n * FRAME).saturating_duration_since(Instant::now()));
            let mut now = order.lock().expect("unharmed");
            if key.is_none() {
                key = now.key.map(|key| (key, 0, n * 160));
            }
            let (payload_type, timestamp, payload) = match &mut key {
                Some((code, step, timestamp)) => {
                    *step += 1;
                    // 100 ms, its end said three times (RFC 4733 §2.5.1.4).
                    let end = if *step > 5 { 0x80 } else { 0 };
                    let [high, low] = ((*step).min(5) * 160).to_be_bytes();
                    (EVENTS, *timestamp, vec![*code, end | 10, high, low])
                }
                None => {
                    now.since = now.since.or(now.hertz.map(|_| Instant::now()));
                    let tone = |at: u32| match now.hertz {
                        Some(hertz) => (f64::from(at) * hertz * std::f64::consts::TAU / 8_000.0).sin() * 8_000.0,
                        None => 0.0,
                    };
                    (0, n * 160, (0..160).map(|at| ulaw(tone(n * 160 + at) as i16)).collect())
                }
            };
            if key.is_some_and(|(_, step, _)| step == 8) {
                (key, now.key) = (None, None);
            }
            drop(now);
            let sequence = 1_000u16.wrapping_add(n as u16);
            let packet = Packet { marker: n == 0, payload_type, sequence, timestamp, ssrc: 4_711, payload: &payload };
            let mut datagram = vec![0; 12 + payload.len()];
            packet.write(&mut datagram).expect("room");
            // The port is closed once the call is over.
            let _ = rtp.send_to(&datagram, media);
        }
    })
}

fn listening(rtp: UdpSocket, heard: &Arc<Mutex<Vec<Heard>>>, over: &Arc<AtomicBool>) -> JoinHandle<()> {
    rtp.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout can be set");
    let (heard, over) = (heard.clone(), over.clone());
    std::thread::spawn(move || {
        let mut buffer = [0; 2_048];
        while !over.load(Ordering::Relaxed) {
            let Ok((length, _)) = rtp.recv_from(&mut buffer) else { continue };
            let at = Instant::now();
            let Ok(packet) = Packet::read(&buffer[..length]) else { continue };
            if packet.payload_type == 0 {
                let pcm = packet.payload.iter().map(|octet| ULAW_TO_LINEAR[usize::from(*octet)]).collect();
                heard.lock().expect("unharmed").push(Heard { at, pcm });
            }
        }
    })
}

/// How much of the energy is a tone of `hertz`, 0 to 1.
fn purity(pcm: &[i16], hertz: f64) -> f64 {
    let step = hertz * std::f64::consts::TAU / 8_000.0;
    let (mut sine, mut cosine, mut energy) = (0.0, 0.0, 0.0);
    for (n, sample) in pcm.iter().enumerate() {
        let (value, angle) = (f64::from(*sample), step * n as f64);
        sine += value * angle.sin();
        cosine += value * angle.cos();
        energy += value * value;
    }
    if energy == 0.0 { 0.0 } else { 2.0 * (sine * sine + cosine * cosine) / (energy * pcm.len() as f64) }
}
