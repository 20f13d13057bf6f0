//! The built gateway under calls: how fast they are set up, and what each costs while it lives.

use std::time::{Duration, Instant};

use super::bot::{Bot, Manner};
use super::dialer::{Answered, Dialer};
use super::pump;
use super::report::{Spread, title};
use super::support::process::tail;
use super::support::{Gateway, Setup, free_udp_port};

const NUMBER: &str = "\n[[number]]\nname = \"Echo\"\nnumber = \"1000\"\nvisibility = \"public\"\n\
                      system_prompt = \"echo\"\n";
const LIVE: [usize; 4] = [1, 10, 50, 200];
const MEASURED: Duration = Duration::from_secs(10);

fn gateway(engine: &'static str, more: &str) -> (Gateway, Dialer) {
    let port = free_udp_port();
    let mut setup = Setup::new().engine(engine).trunk("load", port, "max_calls = 10000").more(NUMBER).more(more);
    // The range of a fresh installation: a pair of ports rests two seconds before it is used again.
    setup.media = [20_000, 29_999];
    setup.log_level = "warn";
    let gateway = setup.start();
    let dialer = Dialer::new(gateway.setup.sip, "1000", port);
    (gateway, dialer)
}

/// INVITE in → 200 out one after the other, and calls a second with sixteen at once.
pub fn call_setup() {
    title("call set-up: inbound, answered by the echo engine, record and store as in production");
    let (gateway, mut dialer) = gateway("echo", "");
    let mut spread = Spread::new();
    for _ in 0..200 {
        let calls = dialer.call(1, 1);
        spread.record(calls[0].took);
        dialer.leave(&calls);
    }
    spread.print("INVITE in → 200 out, one at a time");

    let begin = Instant::now();
    let mut spread = Spread::new();
    let mut count = 0;
    while begin.elapsed() < MEASURED {
        let calls = dialer.call(64, 16);
        calls.iter().for_each(|call| spread.record(call.took));
        dialer.leave(&calls);
        count += calls.len();
    }
    let rate = count as f64 / begin.elapsed().as_secs_f64();
    println!("{:<46} {rate:>9.1} calls/s, set up and ended ({count} calls, 16 at once)", "calls set up per second");
    spread.print("INVITE in → 200 out, sixteen at once");
    refusals(&gateway, &dialer);
}

/// CPU, memory, echo delay and loss at 1, 10, 50 and 200 live calls.
pub fn live_calls() {
    title("live calls: G.711 both ways at 50 packets/s, echo engine, recording on");
    let (gateway, mut dialer) = gateway("echo", "");
    let id = gateway.process.id();
    let idle = Usage::of(id);
    println!("idle: {:.1} MiB resident", idle.resident_mib);
    for count in LIVE {
        let calls = dialer.call(count, 16);
        let lines = calls.iter().map(|call| (call.rtp.try_clone().expect("a handle"), call.remote)).collect();
        // Jitter buffers and recordings settle before the measurement.
        pump::run(lines, Duration::from_secs(2));
        measure(id, &calls, &idle, "phone → engine → phone");
        dialer.leave(&calls);
    }
    refusals(&gateway, &dialer);
}

/// The same through a bot behind a WebSocket, that echoes frame by frame or answers in bursts.
pub fn calls_of_a_bot() {
    for manner in [Manner::Echo, Manner::Bursts] {
        title(&format!("live calls: G.711 to a bot over a WebSocket (JSON, base64), {manner:?}"));
        let bot = Bot::start(manner);
        let more = format!("\n[engine.media_stream]\nurl = \"ws://{}/\"\n", bot.address);
        let (gateway, mut dialer) = gateway("media-stream", &more);
        let id = gateway.process.id();
        let idle = Usage::of(id);
        println!("idle: {:.1} MiB resident", idle.resident_mib);
        for count in LIVE {
            let calls = dialer.call(count, 16);
            let lines = calls.iter().map(|call| (call.rtp.try_clone().expect("a handle"), call.remote)).collect();
            pump::run(lines, Duration::from_secs(2));
            bot.forget();
            measure(id, &calls, &idle, "bot → phone");
            bot.heard.lock().expect("unharmed").print("      phone → bot");
            dialer.leave(&calls);
        }
        refusals(&gateway, &dialer);
    }
}

/// A number without its refusals would be a lie.
fn refusals(gateway: &Gateway, dialer: &Dialer) {
    if !dialer.refused.is_empty() {
        println!("refused and placed again, by code: {:?}; the gateway's log ends:", dialer.refused);
        println!("{}", tail(&gateway.log(), 5));
    }
}

fn measure(id: u32, calls: &[Answered], idle: &Usage, way: &str) {
    let lines = calls.iter().map(|call| (call.rtp.try_clone().expect("a handle"), call.remote)).collect();
    let before = Usage::of(id);
    let begin = Instant::now();
    let outcome = pump::run(lines, MEASURED);
    let elapsed = begin.elapsed().as_secs_f64();
    let after = Usage::of(id);
    let count = calls.len() as f64;
    let cpu = (after.cpu_seconds - before.cpu_seconds) / elapsed * 100.0;
    println!(
        "{:>4} live: CPU {cpu:>6.2} % of a core, {:>6.3} % a call; memory {:>7.1} MiB, {:>7.1} KiB a call; \
         packets in {} out {} ({:.2} % missing)",
        calls.len(),
        cpu / count,
        after.resident_mib,
        (after.resident_mib - idle.resident_mib) * 1024.0 / count,
        outcome.counts.sent,
        outcome.counts.received,
        100.0 * (1.0 - outcome.counts.received as f64 / outcome.counts.sent.max(1) as f64),
    );
    let (sent, came) = outcome.pulses;
    println!("      pulses: {sent} sent, {came} heard");
    outcome.echo.print(&format!("      {way}"));
    outcome.own_lateness.print("      (the load's own sender was late by)");
}

/// What the kernel says about a process.
struct Usage {
    cpu_seconds: f64,
    resident_mib: f64,
}

impl Usage {
    fn of(id: u32) -> Usage {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).expect("the gateway lives");
        // Fields 14 and 15 (utime, stime), counted behind the name in parentheses, in ticks of 10 ms.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks: f64 = [11, 12].iter().map(|at| fields[*at].parse::<f64>().expect("a number")).sum();
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("the gateway lives");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("resident memory");
        let kib: f64 = resident.trim().trim_end_matches(" kB").parse().expect("a number");
        Usage { cpu_seconds: ticks / 100.0, resident_mib: kib / 1024.0 }
    }
}
