//! In steady state a media thread asks for no memory: not for a packet that comes, not for one that goes. Reports once a
//! second and batches of a recording may; the bound is far below the hundred packets a second of a call.

#[path = "../call/call_support/mod.rs"]
mod call_support;
mod counting;
#[path = "../media/media_stage.rs"]
mod media_stage;

mod bot;
mod legs;
