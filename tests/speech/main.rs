//! Ears and voice: one file a subject.

mod common;

mod recognise;
mod vad;
