//! The SIP endpoint: one file a subject.

mod support;

mod agent;
mod dialogs;
mod endpoints;
mod errands;
mod failover;
mod guard;
mod line;
mod locating;
mod name_server;
mod phones;
mod refer;
mod registering;
mod simulation;
mod sipp;
mod sipp_tcp;
mod streams;
mod tls;
mod torture;
mod trace;
mod trunks;
mod wire;
mod world;
