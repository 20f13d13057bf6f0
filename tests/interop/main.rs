//! Other people's programs against the box: one test a peer, one line of result a peer. `make interop` runs them.
//!
//! They need more than `make test` installs, so they are not part of it; a missing peer fails, it is not skipped.

#[path = "../support/mod.rs"]
mod support;

mod carrier;
mod guard;
mod kamailio;
mod media_relay;
mod network;
mod phones;
mod pipecat;
mod scanners;
mod tally;
