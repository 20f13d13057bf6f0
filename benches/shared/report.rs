//! How numbers are gathered and printed, and what they were taken on.

use std::process::Command;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Durations in microseconds, up to a minute, three digits.
pub struct Spread(Histogram<u64>);

/// What is told of a spread, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    pub count: u64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub worst_ms: f64,
}

impl Default for Spread {
    fn default() -> Spread {
        Spread(Histogram::new_with_bounds(1, 60_000_000, 3).expect("valid bounds"))
    }
}

impl Spread {
    pub fn record(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1));
    }

    pub fn summary(&self) -> Summary {
        let at = |quantile: f64| self.0.value_at_quantile(quantile) as f64 / 1000.0;
        let worst_ms = self.0.max() as f64 / 1000.0;
        Summary { count: self.0.len(), p50_ms: at(0.5), p99_ms: at(0.99), worst_ms }
    }
}

impl FromIterator<Duration> for Spread {
    fn from_iter<T: IntoIterator<Item = Duration>>(times: T) -> Spread {
        let mut spread = Spread::default();
        times.into_iter().for_each(|time| spread.record(time));
        spread
    }
}

impl Summary {
    pub fn print(&self, name: &str) {
        if self.count == 0 {
            println!("{name:<46} nothing was measured");
            return;
        }
        println!(
            "{name:<46} median {:>9.3} ms   p99 {:>9.3} ms   max {:>9.3} ms   ({} samples)",
            self.p50_ms, self.p99_ms, self.worst_ms, self.count
        );
    }
}

pub fn title(text: &str) {
    println!("\n── {text}");
}

/// What the numbers were taken on.
#[derive(Debug, Serialize)]
pub struct Machine {
    pub cores: usize,
    pub model: String,
    /// Load averages and tasks, as `/proc/loadavg` has them.
    pub load_before: String,
    /// With `+` where files differ from it.
    pub commit: String,
    pub build: &'static str,
}

impl Machine {
    pub fn this() -> Machine {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
        Machine {
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            model: model.trim_start_matches([' ', '\t', ':']).to_owned(),
            load_before: read("/proc/loadavg").trim().to_owned(),
            commit: commit(),
            build: if cfg!(debug_assertions) { "development profile: not to be quoted" } else { "optimized" },
        }
    }

    pub fn print(&self) {
        println!("machine: {} × {}; load before: {}", self.cores, self.model, self.load_before);
        println!("commit: {}", self.commit);
        println!("build: {}", self.build);
    }
}

fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").current_dir(env!("CARGO_MANIFEST_DIR")).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=10", "HEAD"]) else { return "unknown".into() };
    let differs = git(&["status", "--porcelain", "--untracked-files=no"]).is_none_or(|files| !files.is_empty());
    if differs { commit + "+" } else { commit }
}
