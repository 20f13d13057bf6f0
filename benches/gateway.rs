//! Numbers of this machine for parts of the gateway, in this process: codecs, encryption, guard, media plane.
//!
//! `make bench` runs all of it; `cargo bench --bench gateway -- codecs media srtp guard` a part. `benches/load.rs` drives
//! the built gateway from outside, `benches/store.rs` counts commits. Loopback only.

#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::unwrap_used, clippy::panic)]

#[path = "../tests/support/mod.rs"]
mod support;

#[path = "gateway/codecs.rs"]
mod codecs;
#[path = "gateway/guard.rs"]
mod guard;
#[path = "gateway/media.rs"]
mod media;
#[path = "shared/report.rs"]
mod report;
#[path = "shared/rtp.rs"]
mod rtp;
#[path = "gateway/srtp.rs"]
mod srtp;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let runs = |name: &str| wanted.is_empty() || wanted.iter().any(|word| word == name);
    report::Machine::this().print();
    if runs("codecs") {
        codecs::costs();
    }
    if runs("media") {
        media::delays();
    }
    if runs("srtp") {
        srtp::packets();
    }
    if runs("guard") {
        guard::times();
    }
}
