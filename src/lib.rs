//! Trunkline: the box between a company's phone system and realtime voice AI.
//!
//! The rooms, a line each. `ARCHITECTURE.md` draws who may use whom, and `tests/architecture.rs` holds the
//! `use crate::` lines against that table.

// No input may end the process. Tests, which fail by panicking, are not bound by this.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::needless_pass_by_value)]

pub mod ai; // voice-AI services reduced to one event model
pub mod api; // HTTPS: routes, dialects, tokens, pages
pub mod app; // composition root: builds, starts, drains and stops
pub mod call; // the life of a call: machine, actor, dialer, inbound, read model
pub mod cli; // serve, check, demo, admin
pub mod clock; // the one place that reads time
pub mod config; // file to validated types
pub mod directory; // organizations, users, numbers, prompts and their rules
pub mod events; // outbox, mail
pub mod identity; // passwords, tokens, lockout, scopes
pub mod media; // RTP, jitter, codecs, playout, recording
pub mod ops; // logs, metrics, health, readiness, drain
pub mod sip; // message, transaction, dialog, endpoint
pub mod speech; // voice activity, recogniser, voice
pub mod store; // redb behind typed tables and one group-committing writer
