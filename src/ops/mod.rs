//! Operations: logs without personal data, metrics, health, readiness notification, signals, limits of the process, and
//! the one way to call a system that a customer names.
//!
//! Configuration flows in; log lines, the metrics page, messages to systemd and stop requests flow out. This room
//! knows nothing of calls, SIP or the store: what it measures or probes is handed to it.

pub mod certificate;
pub mod disk;
pub mod health;
pub mod limits;
pub mod log;
pub mod metrics;
pub mod notify;
pub mod outbound;
pub mod signals;
pub mod trust;
