//! The SIP endpoint: one file a subject.

mod support;

mod agent;
mod dialogs;
mod endpoints;
mod failover;
mod guard;
mod simulation;
mod sipp;
mod torture;
mod wire;
mod world;
