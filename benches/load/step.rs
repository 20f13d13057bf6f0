//! One step of the ladder: so many live calls for so long, and what they cost and heard.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::flags::Flags;
use super::line::{Line, Notes, locked};
use super::phones::Phones;
use super::pulse::microseconds;
use super::report::{Spread, Summary, title};
use super::tally::{Figures, LATE, Record};
use super::target::Target;
use super::usage::Usage;

/// Jitter buffers and recordings settle before the measurement.
const SETTLE: Duration = Duration::from_secs(2);
/// Pulses that are spoken so shortly before the end are not counted: they may still be under way.
const UNDER_WAY: Duration = Duration::from_secs(1);
/// So long after it was starved, the gateway has no backlog any more.
const RECOVERY: Duration = Duration::from_secs(1);
/// INVITEs without an answer while the calls of a step are placed.
const AT_ONCE: usize = 16;

#[derive(Debug, Serialize)]
pub struct Step {
    pub calls: usize,
    pub cpu_percent: f64,
    pub cpu_percent_per_call: f64,
    pub cpu_seconds_per_call_minute: f64,
    pub memory_begin_mib: f64,
    pub memory_end_mib: f64,
    /// Of memory that belongs to no file.
    pub memory_kib_per_call: f64,
    /// Of files, mostly the program's own code, that was read in since the gateway was idle.
    pub code_read_mib: f64,
    pub gateway: Usage,
    pub setup: Summary,
    pub packets_sent: u64,
    pub packets_received: u64,
    /// Of untroubled calls since they began, with the time that they settle in.
    pub frames_spoken: u64,
    /// More than were spoken is sound that the box invented; a service that answers in time never catches up with it.
    pub frames_at_service: Option<u64>,
    pub strays: u64,
    pub ended_by_gateway: usize,
    /// Refused while the step was set up, by code; placed again.
    pub refused: BTreeMap<u16, u64>,
    pub untroubled: Option<Figures>,
    pub troubled: Option<Figures>,
    pub starved: Option<Starved>,
    pub tool_lateness: Summary,
    pub tool_cpu_percent: f64,
    /// Whether the troubled ones get their sound back.
    #[serde(skip)]
    answers: bool,
}

/// The whole path before the gateway was stopped, and from a second after it went on.
#[derive(Debug, Serialize)]
pub struct Starved {
    pub milliseconds: u64,
    pub before: Summary,
    pub after: Summary,
}

/// Microseconds of the tool's clock at which things happened.
struct Times {
    begin: u64,
    end: u64,
    stopped: Option<(u64, u64)>,
}

pub fn run(flags: &Flags, target: &mut Target, phones: &Phones, count: usize, idle: &Usage) -> Result<Step, String> {
    title(&format!("{count} live calls, {:?}{}", flags.service, if flags.tls { " over TLS" } else { "" }));
    let (first, troubled) = (target.dialer.next(), flags.troubled_of(count));
    if let Some(service) = &target.service {
        service.desk.trouble(first, troubled);
    }
    target.dialer.refused.clear();
    begin_count(&phones.notes, target);
    phones.notes.frames_from.store(first + troubled as u32, Ordering::Relaxed);
    let answered = target.dialer.call(count, AT_ONCE)?;
    let setup: Spread = answered.iter().map(|call| call.took).collect();
    let calls: Vec<u32> = answered.iter().map(|call| call.call).collect();
    for call in answered {
        phones.add(Line { call: call.call, socket: call.rtp, remote: call.remote });
    }
    let mut ended = target.dialer.serve(Instant::now() + SETTLE)?;

    forget(&phones.notes, target);
    let (before, own_before) = (Usage::of(target.id())?, Usage::of(std::process::id())?);
    let (begun, begin) = (Instant::now(), microseconds());
    let stopped = live(flags, target, &mut ended)?;
    let (elapsed, end) = (begun.elapsed().as_secs_f64(), microseconds());
    let (after, own_after) = (Usage::of(target.id())?, Usage::of(std::process::id())?);

    let notes = &phones.notes;
    let (frames_spoken, frames_at_service) = begin_count(notes, target);
    let record = Record {
        spoken: std::mem::take(&mut *locked(&notes.spoken)),
        at_service: target.service.as_ref().map(|service| service.desk.take()).unwrap_or_default(),
        at_phone: std::mem::take(&mut *locked(&notes.heard)),
    };
    let is_troubled = |call: u32| call < first + troubled as u32;
    let times = Times { begin, end, stopped };
    let of = |wanted: bool| {
        let those = calls.iter().filter(|call| is_troubled(**call) == wanted).count();
        let window = times.begin..times.end - UNDER_WAY.as_micros() as u64;
        let late = LATE + flags.network().jitter;
        (those > 0).then(|| record.figures(window, those, |call| is_troubled(call) == wanted, late))
    };
    let cpu_seconds = after.cpu_seconds - before.cpu_seconds;
    let cpu_percent = cpu_seconds / elapsed * 100.0;
    let step = Step {
        calls: count,
        cpu_percent,
        cpu_percent_per_call: cpu_percent / count as f64,
        cpu_seconds_per_call_minute: cpu_seconds / elapsed * 60.0 / count as f64,
        memory_begin_mib: before.resident_mib,
        memory_end_mib: after.resident_mib,
        memory_kib_per_call: (after.own_mib - idle.own_mib) * 1024.0 / count as f64,
        code_read_mib: (after.resident_mib - after.own_mib) - (idle.resident_mib - idle.own_mib),
        gateway: after,
        setup: setup.summary(),
        packets_sent: notes.sent.load(Ordering::Relaxed),
        packets_received: notes.received.load(Ordering::Relaxed),
        frames_spoken,
        frames_at_service,
        strays: notes.strays.load(Ordering::Relaxed),
        ended_by_gateway: ended.len(),
        refused: target.dialer.refused.clone(),
        untroubled: of(false),
        troubled: of(true),
        starved: flags.starve.and_then(|milliseconds| starved(&record, &times, milliseconds)),
        tool_lateness: locked(&notes.lateness).summary(),
        tool_cpu_percent: (own_after.cpu_seconds - own_before.cpu_seconds) / elapsed * 100.0,
        answers: flags.service.answers(),
    };
    calls.iter().for_each(|call| phones.remove(*call));
    // Those that hold a connection open without reading it let it go.
    if let Some(service) = &target.service {
        service.desk.trouble(target.dialer.next(), 0);
    }
    target.dialer.leave()?;
    Ok(step)
}

/// Frames that the phones spoke and the service got since this was last asked.
fn begin_count(notes: &Notes, target: &Target) -> (u64, Option<u64>) {
    let spoken = notes.frames.swap(0, Ordering::Relaxed);
    (spoken, target.service.as_ref().map(|service| service.desk.frames()))
}

fn forget(notes: &Notes, target: &Target) {
    locked(&notes.spoken).clear();
    locked(&notes.heard).clear();
    *locked(&notes.lateness) = Spread::default();
    for count in [&notes.sent, &notes.received, &notes.strays] {
        count.store(0, Ordering::Relaxed);
    }
    if let Some(service) = &target.service {
        service.desk.take();
    }
}

/// The calls live; when the gateway was stopped, and when it went on.
fn live(flags: &Flags, target: &mut Target, ended: &mut Vec<u32>) -> Result<Option<(u64, u64)>, String> {
    let (begin, time) = (Instant::now(), Duration::from_secs(flags.seconds));
    let mut stopped = None;
    if let Some(milliseconds) = flags.starve {
        ended.extend(target.dialer.serve(begin + time / 2)?);
        let from = microseconds();
        target.starve(Duration::from_millis(milliseconds));
        stopped = Some((from, microseconds()));
    }
    ended.extend(target.dialer.serve(begin + time)?);
    Ok(stopped)
}

fn starved(record: &Record, times: &Times, milliseconds: u64) -> Option<Starved> {
    let (from, to) = times.stopped?;
    let under_way = UNDER_WAY.as_micros() as u64;
    let whole = |from: u64, to: u64| record.figures(from..to, 0, |_| true, LATE).whole;
    // What was spoken just before the stop comes after it.
    let before = whole(times.begin, from.saturating_sub(under_way / 4).max(times.begin));
    let after = whole(to + RECOVERY.as_micros() as u64, times.end - under_way);
    Some(Starved { milliseconds, before, after })
}

impl Step {
    pub fn print(&self) {
        println!(
            "{:>4} live: CPU {:>6.2} % of a core, {:>6.3} % a call, {:.3} CPU-s a call-minute; memory {:>7.1} MiB, \
             {:>7.1} KiB a call, {:.1} MiB of code read in",
            self.calls,
            self.cpu_percent,
            self.cpu_percent_per_call,
            self.cpu_seconds_per_call_minute,
            self.memory_end_mib,
            self.memory_kib_per_call,
            self.code_read_mib
        );
        let (sent, received) = (self.packets_sent, self.packets_received);
        println!("      packets: {sent} sent, {received} received; pulses of another call: {}", self.strays);
        if let Some(frames) = self.frames_at_service.filter(|_| self.untroubled.is_some()) {
            println!(
                "      sound since the calls began: {} frames spoken, {frames} at the service ({:+.2} a call)",
                self.frames_spoken,
                (frames as f64 - self.frames_spoken as f64)
                    / self.untroubled.as_ref().map_or(1, |some| some.calls) as f64
            );
        }
        self.setup.print("      set-up, INVITE → 200");
        if self.ended_by_gateway > 0 || !self.refused.is_empty() {
            let (ended, refused) = (self.ended_by_gateway, &self.refused);
            println!("      calls that the gateway ended: {ended}; refused and placed again: {refused:?}");
        }
        if let Some(figures) = &self.untroubled {
            figures.print(if self.troubled.is_some() { "untroubled calls" } else { "calls" }, true);
        }
        if let Some(figures) = &self.troubled {
            figures.print("troubled calls", self.answers);
        }
        if let Some(Starved { milliseconds, before, after }) = &self.starved {
            before.print(&format!("      whole path before {milliseconds} ms without the box"));
            after.print("      whole path from a second after it");
        }
        self.tool_lateness.print("      (the tool's own packets were late by)");
        println!("      (the tool itself: CPU {:.1} % of a core)", self.tool_cpu_percent);
    }
}
