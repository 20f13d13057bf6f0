//! Load on the built gateway, from outside: phones that speak SIP and RTP on one side, a voice service behind a
//! WebSocket on the other, and one clock for both. `docs/performance.md` says how to run and read it.
//!
//! `make bench` and `make bench-full` run it; `cargo bench --bench load -- --help` lists what can be asked for. The
//! gateway is a child process, so that the kernel's accounts of it are its own. Loopback only.

#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::unwrap_used, clippy::panic)]

#[path = "../tests/support/mod.rs"]
mod support;

#[path = "load/dialer.rs"]
mod dialer;
#[path = "load/ears.rs"]
mod ears;
#[path = "load/faults.rs"]
mod faults;
#[path = "load/flags.rs"]
mod flags;
#[path = "load/line.rs"]
mod line;
#[path = "load/loopback.rs"]
mod loopback;
#[path = "load/message.rs"]
mod message;
#[path = "load/phones.rs"]
mod phones;
#[path = "load/pulse.rs"]
mod pulse;
#[path = "load/rate.rs"]
mod rate;
#[path = "shared/report.rs"]
mod report;
#[path = "shared/rtp.rs"]
mod rtp;
#[path = "load/service.rs"]
mod service;
#[path = "load/step.rs"]
mod step;
#[path = "load/tally.rs"]
mod tally;
#[path = "load/target.rs"]
mod target;
#[path = "load/tls.rs"]
mod tls;
#[path = "load/usage.rs"]
mod usage;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::Serialize;

use flags::Flags;
use phones::Phones;
use report::Machine;
use target::Target;
use usage::Usage;

/// Everything that one run found.
#[derive(Serialize)]
struct Results {
    machine: Machine,
    at: String,
    flags: Flags,
    idle: Usage,
    steps: Vec<step::Step>,
    rate: Option<rate::Rate>,
    setup: Option<rate::Setups>,
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    match flags.check().and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("load: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(flags: Flags) -> Result<(), String> {
    // Each call holds a socket here and one at the service.
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
    let machine = Machine::this();
    machine.print();
    let mut target = Target::start(&flags)?;
    let idle = Usage::of(target.id())?;
    println!("idle: {:.1} MiB resident, {} threads", idle.resident_mib, idle.threads);
    let mut results = Results {
        machine,
        at: jiff::Timestamp::now().to_string(),
        flags,
        idle,
        steps: Vec::new(),
        rate: None,
        setup: None,
    };
    let outcome = measure(&mut results, &mut target);
    if outcome.is_err() || results.steps.iter().any(|step| step.ended_by_gateway > 0) {
        println!("the gateway's log ends:\n{}", target.log());
    }
    if let Some(file) = &results.flags.json {
        write(file, &results)?;
    }
    outcome
}

fn measure(results: &mut Results, target: &mut Target) -> Result<(), String> {
    let flags = &results.flags;
    if flags.setup {
        let setups = rate::setups(flags, target)?;
        setups.print();
        results.setup = Some(setups);
        return Ok(());
    }
    let phones = Phones::start(flags.network(), flags.drift);
    if let Some(pace) = flags.rate {
        let rate = rate::run(flags, target, &phones, pace)?;
        rate.print();
        results.rate = Some(rate);
        return Ok(());
    }
    for count in &flags.calls {
        let step = step::run(flags, target, &phones, *count, &results.idle)?;
        step.print();
        results.steps.push(step);
    }
    Ok(())
}

fn write(file: &Path, results: &Results) -> Result<(), String> {
    let told = |error: std::io::Error| format!("{}: {error}", file.display());
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).map_err(told)?;
    }
    let text = serde_json::to_string_pretty(results).map_err(|error| error.to_string())?;
    std::fs::write(file, text + "\n").map_err(told)
}
