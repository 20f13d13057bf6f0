//! How a trunk is, for operators and for whoever chooses one.

use std::time::Instant;

use tokio::sync::watch;

use crate::sip::transport::Transport;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrunkStatus {
    pub name: String,
    /// Of the server that would be tried first; absent while none is known.
    pub transport: Option<Transport>,
    pub registration: Registered,
    pub health: Living,
    /// The last failure that still matters, in the operator's words.
    pub problem: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registered {
    /// Registering is not configured.
    Unwanted,
    /// Under way for the first time.
    Pending,
    Until(Instant),
    /// It failed; it is tried again.
    No,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Living {
    /// Never asked, or not answered yet.
    Unknown,
    Up,
    Down,
}

impl TrunkStatus {
    /// Calls through it may get through.
    pub fn is_usable(&self) -> bool {
        self.health != Living::Down && self.registration != Registered::No
    }
}

/// Shows how each trunk is; cheap to clone.
#[derive(Debug, Clone)]
pub struct Board(watch::Sender<Vec<TrunkStatus>>);

impl Board {
    pub fn new() -> Board {
        Board(watch::Sender::new(Vec::new()))
    }

    pub fn write(&self, status: TrunkStatus) {
        let name = status.name.clone();
        let usable = if status.is_usable() { 1.0 } else { 0.0 };
        metrics::gauge!("trunkline_trunk_usable", "trunk" => name.clone()).set(usable);
        if status.registration != Registered::Unwanted {
            let registered = if matches!(status.registration, Registered::Until(_)) { 1.0 } else { 0.0 };
            metrics::gauge!("trunkline_trunk_registered", "trunk" => name.clone()).set(registered);
        }
        self.0.send_modify(|all| match all.iter_mut().find(|other| other.name == name) {
            Some(place) => *place = status,
            None => all.push(status),
        });
    }

    /// In the order of the configuration; changes wake the receiver.
    pub fn read(&self) -> watch::Receiver<Vec<TrunkStatus>> {
        self.0.subscribe()
    }
}

impl Default for Board {
    fn default() -> Board {
        Board::new()
    }
}
