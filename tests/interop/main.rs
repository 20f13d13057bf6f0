//! The box against peers of other makers: one file a subject; `make interop` runs them.

#[path = "../support/mod.rs"]
mod support;

mod guard;
