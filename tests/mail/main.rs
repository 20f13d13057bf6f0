//! Delivery of mail against a real server: one file a subject.

#[path = "../support/mail.rs"]
mod support;

mod delivery;
