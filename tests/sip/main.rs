//! The SIP endpoint: one file a subject.

mod support;

mod agent;
mod dialogs;
mod endpoints;
mod failover;
mod guard;
mod phones;
mod simulation;
mod sipp;
mod torture;
mod trace;
mod wire;
mod world;
