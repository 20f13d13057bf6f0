//! What the kernel says about a process.

use serde::Serialize;

#[derive(Debug, Clone, Copy, Serialize)]
pub struct Usage {
    pub cpu_seconds: f64,
    pub resident_mib: f64,
    /// Of that, what belongs to no file: code that has run once stays mapped, and is no call's.
    pub own_mib: f64,
    pub threads: u64,
    pub descriptors: usize,
}

impl Usage {
    pub fn of(id: u32) -> Result<Usage, String> {
        let read = |what: &str| {
            let path = format!("/proc/{id}/{what}");
            std::fs::read_to_string(&path).map_err(|error| format!("the gateway is gone: {path}: {error}"))
        };
        let stat = read("stat")?;
        // Fields 14 and 15 (utime, stime), counted behind the name in parentheses, in ticks of 10 ms.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = [11, 12].iter().filter_map(|at| fields.get(*at)?.parse::<f64>().ok()).sum::<f64>();
        let status = read("status")?;
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.split_whitespace().next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0)
        };
        let descriptors = std::fs::read_dir(format!("/proc/{id}/fd")).map_or(0, Iterator::count);
        Ok(Usage {
            cpu_seconds: ticks / 100.0,
            resident_mib: number("VmRSS:") as f64 / 1024.0,
            own_mib: number("RssAnon:") as f64 / 1024.0,
            threads: number("Threads:"),
            descriptors,
        })
    }
}
