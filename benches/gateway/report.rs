//! How numbers are printed.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Durations in microseconds, up to a minute, three digits.
pub struct Spread(Histogram<u64>);

impl Spread {
    pub fn new() -> Spread {
        Spread(Histogram::new_with_bounds(1, 60_000_000, 3).expect("valid bounds"))
    }

    pub fn record(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1));
    }

    pub fn print(&self, name: &str) {
        if self.0.is_empty() {
            println!("{name:<46} nothing was measured");
            return;
        }
        let at = |quantile: f64| self.0.value_at_quantile(quantile) as f64 / 1000.0;
        println!(
            "{name:<46} median {:>9.3} ms   p99 {:>9.3} ms   max {:>9.3} ms   ({} samples)",
            at(0.5),
            at(0.99),
            self.0.max() as f64 / 1000.0,
            self.0.len()
        );
    }
}

pub fn title(text: &str) {
    println!("\n── {text}");
}

/// What the numbers were taken on.
pub fn machine() {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let load = read("/proc/loadavg");
    println!("machine: {cores} × {}; load before: {}", model.trim_start_matches([' ', '\t', ':']), load.trim());
    println!("build: {}", if cfg!(debug_assertions) { "development profile: not to be quoted" } else { "optimized" });
}
