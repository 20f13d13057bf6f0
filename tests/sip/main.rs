//! The SIP endpoint: one file a subject.

mod support;

mod agent;
mod authority;
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
mod streams;
mod tls;
mod torture;
mod trace;
mod trunks;
mod way;
mod wire;
mod world;
