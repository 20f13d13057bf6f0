//! The whole program against real counterparts: one file a subject.

#[path = "../support/mod.rs"]
mod support;

mod agents;
mod bad_input;
mod baresip;
mod damage_meter;
mod drain;
mod faults;
mod flood;
mod live;
mod messages;
mod phones;
mod privacy;
mod restart;
mod services;
mod sipp;
mod speech_quality;
mod srtp;
mod trace;
mod transfer;
mod trunks;
mod wide_band;
