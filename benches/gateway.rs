//! Numbers of this machine, counted from outside: at the SIP socket and at the RTP socket.
//!
//! `make bench` runs all of it; `cargo bench --bench gateway -- setup codecs media srtp guard load bot` a part. The gateway of `setup`,
//! `load` and `bot` is the built program as a child process, so that the kernel's accounts of it are its own; `media`
//! drives the media plane in this process. `benches/store.rs` counts commits. Loopback only.

#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::unwrap_used, clippy::panic)]

#[path = "../tests/support/mod.rs"]
mod support;

#[path = "gateway/bot.rs"]
mod bot;
#[path = "gateway/codecs.rs"]
mod codecs;
#[path = "gateway/dialer.rs"]
mod dialer;
#[path = "gateway/guard.rs"]
mod guard;
#[path = "gateway/load.rs"]
mod load;
#[path = "gateway/media.rs"]
mod media;
#[path = "gateway/pulse.rs"]
mod pulse;
#[path = "gateway/pump.rs"]
mod pump;
#[path = "gateway/report.rs"]
mod report;
#[path = "gateway/srtp.rs"]
mod srtp;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let runs = |name: &str| wanted.is_empty() || wanted.iter().any(|word| word == name);
    report::machine();
    if runs("setup") {
        load::call_setup();
    }
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
    if runs("load") {
        load::live_calls();
    }
    if runs("bot") {
        load::calls_of_a_bot();
    }
}
