//! Calls, from order to record: one file a subject.

mod call_support;
#[path = "../sip/support.rs"]
mod sip_support;
#[path = "../speech/common.rs"]
mod speech_common;

mod bot;
mod early;
mod extensions;
mod fault;
mod inside;
mod keys;
mod life;
mod packet_times;
mod ports;
mod second_leg;
mod srtp;
mod toll;
mod tools;
mod transfer;
mod trunk_down;
mod wire;
