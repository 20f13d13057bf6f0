//! The bound on what one source may hold at once.

use std::collections::HashMap;
use std::net::IpAddr;

pub struct Guard {
    limit: usize,
    dialogs: HashMap<IpAddr, usize>,
}

impl Guard {
    pub fn new(limit: usize) -> Guard {
        Guard { limit, dialogs: HashMap::new() }
    }

    /// Takes a place for one dialog; `false` when the source has none left.
    pub fn enter(&mut self, source: IpAddr) -> bool {
        let held = self.dialogs.entry(source).or_default();
        let free = *held < self.limit;
        if free {
            *held += 1;
        } else if *held == 0 {
            self.dialogs.remove(&source);
        }
        free
    }

    pub fn leave(&mut self, source: IpAddr) {
        if let Some(held) = self.dialogs.get_mut(&source) {
            *held = held.saturating_sub(1);
            if *held == 0 {
                self.dialogs.remove(&source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_gets_its_places_back_and_no_more() {
        let (a, b) = ("192.0.2.1".parse().expect("address"), "192.0.2.2".parse().expect("address"));
        let mut guard = Guard::new(2);
        assert!(guard.enter(a) && guard.enter(a) && !guard.enter(a));
        assert!(guard.enter(b));
        guard.leave(a);
        assert!(guard.enter(a) && !guard.enter(a));
        guard.leave(a);
        guard.leave(a);
        guard.leave(b);
        guard.leave(b);
        assert!(guard.dialogs.is_empty());
    }
}
