//! The SIP endpoint: one file a subject.

mod support;

mod agent;
mod endpoints;
mod failover;
mod guard;
mod locating;
mod name_server;
mod phones;
mod registering;
mod simulation;
mod sipp;
mod torture;
mod trunks;
mod wire;
mod world;
