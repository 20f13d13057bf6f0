//! The parts of the load tool that need no gateway: what it does to packets, whom it calls, how it reads its pulses.

// Only what the tests reach is used here; the tool uses the rest.
#![allow(dead_code)]
#![allow(clippy::disallowed_methods)]

#[path = "../../benches/load/faults.rs"]
mod faults;
#[path = "../../benches/load/flags.rs"]
mod flags;
#[path = "../../benches/load/line.rs"]
mod line;
#[path = "../../benches/load/loopback.rs"]
mod loopback;
#[path = "../../benches/load/message.rs"]
mod message;
#[path = "../../benches/load/pulse.rs"]
mod pulse;
#[path = "../../benches/shared/report.rs"]
mod report;
#[path = "../../benches/shared/rtp.rs"]
mod rtp;
#[path = "../../benches/load/tally.rs"]
mod tally;

mod addresses;
mod asked;
mod figures;
mod messages;
mod network;
mod pulses;
mod spread;
