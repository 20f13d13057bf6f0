//! The Prometheus page: what the rooms count by the `metrics` macros, and what the kernel says of this process.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use metrics::{describe_gauge, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};

use crate::clock::Clock;

/// Buckets of everything measured in seconds: from half a frame to a long call set-up.
const SECONDS: &[f64] = &[0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0];

// There is one recorder in a process; several boxes in one process (tests, the demo) share it.
static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

/// Renders the page; cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
    clock: Clock,
    started: Instant,
}

impl Metrics {
    /// Installs the recorder of the process, once.
    pub fn install(clock: Clock) -> Metrics {
        let handle = RECORDER.get_or_init(install).clone();
        describe();
        let started = clock.now();
        Metrics { handle, clock, started }
    }

    /// The text page, with the gauges of the process as of now.
    pub fn render(&self) -> String {
        gauge!("trunkline_uptime_seconds").set(self.uptime().as_secs_f64());
        process();
        self.handle.render()
    }

    pub fn uptime(&self) -> Duration {
        self.clock.now() - self.started
    }

    /// Moves recorded values into their histograms; call every few seconds, or they pile up unread.
    pub fn tidy(&self) {
        self.handle.run_upkeep();
    }
}

fn install() -> PrometheusHandle {
    let builder = PrometheusBuilder::new();
    let builder = match builder.set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS) {
        Ok(builder) => builder,
        // Only an empty list of buckets is refused.
        Err(_) => PrometheusBuilder::new(),
    };
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    if metrics::set_global_recorder(recorder).is_err() {
        tracing::warn!("another metrics recorder is installed; /metrics stays empty");
    }
    handle
}

fn describe() {
    describe_gauge!("trunkline_uptime_seconds", "Seconds since the start of the box");
    describe_gauge!("process_resident_memory_bytes", "Resident memory");
    describe_gauge!("process_cpu_seconds", "User and system time used");
    describe_gauge!("process_open_fds", "Open file descriptors");
    describe_gauge!("process_max_fds", "Most file descriptors that may be open");
    describe_gauge!("process_threads", "Threads");
}

fn process() {
    if let Some(status) = Status::read() {
        gauge!("process_resident_memory_bytes").set(status.resident_bytes);
        gauge!("process_threads").set(status.threads);
    }
    if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
        let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
        gauge!("process_cpu_seconds").set(seconds(usage.user_time()) + seconds(usage.system_time()));
    }
    if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
        // The open directory itself is one of them.
        gauge!("process_open_fds").set((entries.count() as f64 - 1.0).max(0.0));
    }
    if let Ok((soft, _)) = getrlimit(Resource::RLIMIT_NOFILE) {
        gauge!("process_max_fds").set(soft as f64);
    }
}

/// proc(5), `/proc/self/status`.
struct Status {
    resident_bytes: f64,
    threads: f64,
}

impl Status {
    fn read() -> Option<Status> {
        Status::parse(&std::fs::read_to_string("/proc/self/status").ok()?)
    }

    fn parse(text: &str) -> Option<Status> {
        let number = |name: &str| -> Option<f64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim_start_matches(':').split_whitespace().next()?.parse().ok()
        };
        Some(Status { resident_bytes: number("VmRSS")? * 1024.0, threads: number("Threads")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_holds_the_process_and_what_rooms_count() {
        let metrics = Metrics::install(Clock::system());
        metrics::counter!("trunkline_test_things_total").increment(3);
        metrics::histogram!("trunkline_test_delay_seconds").record(0.05);
        let page = metrics.render();
        assert!(page.contains("trunkline_test_things_total 3"), "{page}");
        assert!(page.contains("trunkline_test_delay_seconds_bucket{le=\"0.08\"} 1"), "{page}");
        let value = |name: &str| -> f64 {
            let line = page.lines().find_map(|line| line.strip_prefix(&format!("{name} "))).expect("a gauge");
            line.parse().expect("a number")
        };
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_max_fds") >= value("process_open_fds"));
        assert!(value("process_cpu_seconds") >= 0.0);
    }

    #[test]
    fn uptime_follows_the_clock() {
        let clock = Clock::manual(crate::clock::UtcTime(0));
        let metrics = Metrics::install(clock.clone());
        clock.advance(Duration::from_secs(90));
        assert_eq!(metrics.uptime(), Duration::from_secs(90));
    }
}
