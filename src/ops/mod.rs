//! Operations: logs without personal data, metrics, health, readiness notification, drain.

pub mod health;
