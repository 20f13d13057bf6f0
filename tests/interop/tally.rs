//! What a peer's scenarios came to.

use std::panic::{AssertUnwindSafe, catch_unwind};

pub struct Tally {
    peer: &'static str,
    passed: usize,
    failed: Vec<&'static str>,
    skipped: Vec<(&'static str, &'static str)>,
}

impl Tally {
    pub fn of(peer: &'static str) -> Tally {
        Tally { peer, passed: 0, failed: Vec::new(), skipped: Vec::new() }
    }

    /// Runs a scenario; one that fails does not keep the others from running.
    pub fn scenario(&mut self, name: &'static str, run: impl FnOnce()) {
        // Nothing is shared between scenarios but the machine.
        if catch_unwind(AssertUnwindSafe(run)).is_ok() {
            self.passed += 1;
            println!("interop {}: {name}: passed", self.peer);
        } else {
            self.failed.push(name);
            println!("interop {}: {name}: FAILED", self.peer);
        }
    }

    /// A scenario that this machine cannot run, and why.
    #[allow(dead_code)]
    pub fn skip(&mut self, name: &'static str, why: &'static str) {
        self.skipped.push((name, why));
        println!("interop {}: {name}: skipped, {why}", self.peer);
    }

    #[track_caller]
    pub fn close(self) {
        println!(
            "interop {}: {} passed, {} failed, {} skipped",
            self.peer,
            self.passed,
            self.failed.len(),
            self.skipped.len()
        );
        assert!(self.failed.is_empty(), "{}: {:?}", self.peer, self.failed);
    }
}
