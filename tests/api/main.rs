//! The REST surface: one file a subject.

#[allow(dead_code, clippy::disallowed_methods, clippy::expect_used, clippy::unwrap_used, clippy::panic)]
#[path = "../support/caller.rs"]
mod caller;
#[path = "../support/api.rs"]
mod client;

mod codeb;
mod twilio;
