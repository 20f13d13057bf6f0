//! Whether the box really works: named probes that each do a small piece of the real thing.

use std::future::Future;
use std::pin::Pin;

type Outcome = Result<(), String>;
type Notes = Box<dyn Fn() -> Vec<(String, Outcome)> + Send + Sync>;
type Probe = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Outcome> + Send>> + Send + Sync>;

/// The probes of the running box.
#[derive(Default)]
pub struct Health {
    probes: Vec<(&'static str, Probe)>,
    notes: Option<Notes>,
}

/// What the probes said, in the order in which they were added.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    pub parts: Vec<(&'static str, Outcome)>,
    /// What the operator should know although the box works: a trunk that is down.
    pub notes: Vec<(String, Outcome)>,
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

    /// Adds what is worth knowing and takes nothing out of service: the trunks, each by its name.
    pub fn note(&mut self, notes: impl Fn() -> Vec<(String, Outcome)> + Send + Sync + 'static) {
        self.notes = Some(Box::new(notes));
    }

    pub async fn check(&self) -> Report {
        let mut parts = Vec::with_capacity(self.probes.len());
        for (name, probe) in &self.probes {
            parts.push((*name, probe().await));
        }
        Report { parts, notes: self.notes.as_ref().map(|notes| notes()).unwrap_or_default() }
    }
}

impl Report {
    pub fn healthy(&self) -> bool {
        self.parts.iter().all(|(_, outcome)| outcome.is_ok())
    }
}
