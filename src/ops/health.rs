//! Whether the box really works: named probes that each do a small piece of the real thing.

use std::future::Future;
use std::pin::Pin;

type Outcome = Result<(), String>;
type Probe = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Outcome> + Send>> + Send + Sync>;

/// The probes of the running box.
#[derive(Default)]
pub struct Health {
    probes: Vec<(&'static str, Probe)>,
}

/// What the probes said, in the order in which they were added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub parts: Vec<(&'static str, Outcome)>,
}

impl Health {
    /// Adds a probe; `Err` holds a sentence for the operator. A probe must bound its own time.
    pub fn add<F, P>(&mut self, name: &'static str, probe: P)
    where
        F: Future<Output = Outcome> + Send + 'static,
        P: Fn() -> F + Send + Sync + 'static,
    {
        self.probes.push((name, Box::new(move || Box::pin(probe()))));
    }

    pub async fn check(&self) -> Report {
        let mut parts = Vec::with_capacity(self.probes.len());
        for (name, probe) in &self.probes {
            parts.push((*name, probe().await));
        }
        Report { parts }
    }
}

impl Report {
    pub fn healthy(&self) -> bool {
        self.parts.iter().all(|(_, outcome)| outcome.is_ok())
    }
}
