//! Calls set up and ended: at a pace that does not wait for the gateway, and as fast as it goes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashSet};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::dialer::News;
use super::flags::Flags;
use super::line::{Line, locked};
use super::phones::Phones;
use super::report::{Spread, Summary, title};
use super::target::Target;
use super::usage::Usage;

/// Longer than any call waits for an answer.
const ENDING: Duration = Duration::from_secs(40);
const ONE_BY_ONE: usize = 200;
const AT_ONCE: usize = 16;

#[derive(Debug, Serialize)]
pub struct Rate {
    pub wanted_per_second: f64,
    pub placed: u64,
    pub answered: u64,
    /// By code.
    pub refused: BTreeMap<u16, u64>,
    /// No final answer, or no answer to BYE.
    pub failed: u64,
    /// Before we did.
    pub ended_by_gateway: u64,
    pub answered_per_second: f64,
    pub setup: Summary,
    /// Answered calls whose sound came back from the service before they ended.
    pub heard_their_sound: usize,
    /// Streams that began at the service; `None` with the gateway's own echo.
    pub streams: Option<u64>,
    pub cpu_percent: f64,
    pub cpu_seconds_per_call: f64,
    pub memory_end_mib: f64,
    /// How late INVITEs left: a large value says that this machine was at its limit.
    pub tool_lateness: Summary,
}

pub fn run(flags: &Flags, target: &mut Target, phones: &Phones, rate: f64) -> Result<Rate, String> {
    title(&format!(
        "{rate} calls a second for {} s, each live for {} ms, {:?}",
        flags.seconds, flags.hold, flags.service
    ));
    let hold = Duration::from_millis(flags.hold);
    let (mut setup, mut lateness) = (Spread::default(), Spread::default());
    let (mut answered, mut failed, mut ended) = (0, 0, 0);
    let mut open: HashSet<u32> = HashSet::new();
    let mut leaving: BinaryHeap<Reverse<(Instant, u32)>> = BinaryHeap::new();
    let before = Usage::of(target.id())?;
    let (begin, wanted) = (Instant::now(), (rate * flags.seconds as f64).round().max(1.0) as u64);
    let (mut placed, mut last) = (0, begin);
    let limit = begin + Duration::from_secs(flags.seconds) + ENDING;
    while (placed < wanted || !open.is_empty()) && Instant::now() < limit {
        let due = (placed < wanted).then(|| begin + Duration::from_secs_f64(placed as f64 / rate));
        let bye = leaving.peek().map(|entry| entry.0.0);
        let now = Instant::now();
        if due.is_some_and(|due| due <= now) {
            lateness.record(due.map_or(Duration::ZERO, |due| now - due));
            open.insert(target.dialer.invite());
            placed += 1;
            continue;
        }
        if bye.is_some_and(|bye| bye <= now) {
            if let Some(Reverse((_, call))) = leaving.pop() {
                phones.remove(call);
                target.dialer.bye(call);
            }
            continue;
        }
        let next = [due, bye].into_iter().flatten().min().unwrap_or(limit);
        match target.dialer.poll(next)? {
            Some(News::Answered(call)) => {
                answered += 1;
                last = Instant::now();
                setup.record(call.took);
                leaving.push(Reverse((Instant::now() + hold, call.call)));
                phones.add(Line { call: call.call, socket: call.rtp, remote: call.remote });
            }
            Some(News::Refused(call) | News::Left(call)) => drop(open.remove(&call)),
            Some(News::GaveUp(call)) => {
                failed += 1;
                open.remove(&call);
            }
            Some(News::Ended(call)) => {
                ended += 1;
                phones.remove(call);
                open.remove(&call);
            }
            None => {}
        }
    }
    let elapsed = begin.elapsed().as_secs_f64();
    let after = Usage::of(target.id())?;
    let heard: HashSet<u32> = locked(&phones.notes.heard).iter().map(|pulse| pulse.call).collect();
    let cpu = after.cpu_seconds - before.cpu_seconds;
    Ok(Rate {
        wanted_per_second: rate,
        placed,
        answered,
        refused: target.dialer.refused.clone(),
        failed: failed + open.len() as u64,
        ended_by_gateway: ended,
        answered_per_second: answered as f64 / (last - begin).as_secs_f64().max(1.0),
        setup: setup.summary(),
        heard_their_sound: heard.len(),
        streams: target.service.as_ref().map(|service| service.desk.streams.load(Ordering::Relaxed)),
        cpu_percent: cpu / elapsed * 100.0,
        cpu_seconds_per_call: cpu / answered.max(1) as f64,
        memory_end_mib: after.resident_mib,
        tool_lateness: lateness.summary(),
    })
}

impl Rate {
    pub fn print(&self) {
        let Rate { placed, answered, refused, failed, ended_by_gateway, .. } = self;
        println!(
            "placed {placed}, answered {answered} ({:.1} a second), refused by code {refused:?}, failed {failed}, \
             ended by the gateway {ended_by_gateway}",
            self.answered_per_second
        );
        let streams = self.streams.map(|streams| format!("; streams at the service {streams}")).unwrap_or_default();
        println!("calls that heard their own sound: {}{streams}", self.heard_their_sound);
        println!(
            "CPU {:.1} % of a core, {:.2} CPU-ms a call; memory {:.1} MiB",
            self.cpu_percent,
            self.cpu_seconds_per_call * 1000.0,
            self.memory_end_mib
        );
        self.setup.print("set-up, INVITE → 200");
        self.tool_lateness.print("(the tool's own INVITEs were late by)");
    }
}

/// How long a set-up takes when the gateway has nothing else to do, and when sixteen callers never wait.
#[derive(Debug, Serialize)]
pub struct Setups {
    pub one_at_a_time: Summary,
    pub sixteen_at_once: Summary,
    pub calls_per_second: f64,
    pub refused: BTreeMap<u16, u64>,
}

pub fn setups(flags: &Flags, target: &mut Target) -> Result<Setups, String> {
    title(&format!("call set-up: inbound, {:?}, record and store as in production", flags.service));
    let mut alone = Spread::default();
    for _ in 0..ONE_BY_ONE {
        target.dialer.call(1, 1)?.iter().for_each(|call| alone.record(call.took));
        target.dialer.leave()?;
    }
    let (begin, mut together, mut count) = (Instant::now(), Spread::default(), 0);
    while begin.elapsed() < Duration::from_secs(flags.seconds) {
        let calls = target.dialer.call(4 * AT_ONCE, AT_ONCE)?;
        calls.iter().for_each(|call| together.record(call.took));
        target.dialer.leave()?;
        count += calls.len();
    }
    Ok(Setups {
        one_at_a_time: alone.summary(),
        sixteen_at_once: together.summary(),
        calls_per_second: count as f64 / begin.elapsed().as_secs_f64(),
        refused: target.dialer.refused.clone(),
    })
}

impl Setups {
    pub fn print(&self) {
        self.one_at_a_time.print("INVITE in → 200 out, one at a time");
        println!(
            "{:<46} {:>9.1} calls/s, set up and ended, 16 at once",
            "calls set up per second", self.calls_per_second
        );
        self.sixteen_at_once.print("INVITE in → 200 out, sixteen at once");
        if !self.refused.is_empty() {
            println!("refused and placed again, by code: {:?}", self.refused);
        }
    }
}
