//! The REST surface: one file a subject.

#[path = "../support/api.rs"]
mod client;

mod codeb;
