//! How the trunks are: for the lines, which skip those that are down, and for operators.

use std::sync::Weak;

use tokio::sync::watch;

use super::room::Room;
use crate::clock::UtcTime;
use crate::sip::endpoint::{Living, Registered, TrunkStatus};

/// A trunk as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrunkReport {
    pub name: String,
    /// `udp`, `tcp` or `tls`; absent while its host is not found.
    pub transport: Option<&'static str>,
    pub registration: TrunkRegistration,
    pub health: TrunkHealth,
    /// Calls of both directions now, and how many there may be.
    pub calls: usize,
    pub max_calls: usize,
    /// The last failure that still matters, in words.
    pub problem: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrunkRegistration {
    /// Not configured.
    None,
    Pending,
    Until(UtcTime),
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrunkHealth {
    /// It is never asked, or has not answered yet.
    Unknown,
    Up,
    Down,
}

/// Tells the lines which trunks are down; ends with the room or the endpoint, and keeps neither alive.
pub(super) async fn follow(room: Weak<Room>, mut statuses: watch::Receiver<Vec<TrunkStatus>>) {
    loop {
        {
            let Some(room) = room.upgrade().filter(|room| !room.is_draining()) else { return };
            for status in statuses.borrow_and_update().iter() {
                room.lines.set_down(&status.name, !status.is_usable());
            }
        }
        if statuses.changed().await.is_err() {
            return;
        }
    }
}

pub(super) fn reports(room: &Room) -> Vec<TrunkReport> {
    let statuses = room.endpoint.trunk_statuses().borrow().clone();
    let report = |trunk: &crate::config::TrunkConfig| {
        let status = statuses.iter().find(|status| status.name == trunk.name);
        TrunkReport {
            name: trunk.name.clone(),
            transport: status.and_then(|status| status.transport).map(|transport| transport.name()),
            registration: status.map_or(TrunkRegistration::None, |status| registration(room, status)),
            health: match status.map(|status| status.health) {
                None | Some(Living::Unknown) => TrunkHealth::Unknown,
                Some(Living::Up) => TrunkHealth::Up,
                Some(Living::Down) => TrunkHealth::Down,
            },
            calls: room.lines.used(&trunk.name),
            max_calls: trunk.max_calls,
            problem: status.and_then(|status| status.problem.clone()),
        }
    };
    room.config.trunks.iter().map(report).collect()
}

fn registration(room: &Room, status: &TrunkStatus) -> TrunkRegistration {
    match status.registration {
        Registered::Unwanted => TrunkRegistration::None,
        Registered::Pending => TrunkRegistration::Pending,
        Registered::No => TrunkRegistration::Failed,
        Registered::Until(until) => {
            TrunkRegistration::Until(room.clock.utc() + until.saturating_duration_since(room.clock.now()))
        }
    }
}
