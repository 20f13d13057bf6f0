//! Voice AI: every service is reduced to one event model.
//!
//! Frames of the caller and [`Command`]s flow in; [`Event`]s flow out. A service's module is a dialect without I/O;
//! `remote/` drives it over `socket/`, `local/` drives the box's own voice. A session lives on the media thread of its call and is polled there; what is
//! heavy (recognition, synthesis, HTTP) runs elsewhere and comes back through bounded channels. This room knows
//! nothing of SIP, RTP, calls or the store.

mod alarm;
pub mod attention;
mod echo;
pub mod engine;
pub mod gemini;
mod local;
pub mod media_stream;
pub mod openai;
pub mod openai_live;
pub mod remote;
pub mod socket;
pub mod tools;

pub use engine::{
    Audio, CallerFrame, Command, Engines, Event, Party, Person, Session, SessionFactory, SessionOptions, Sound, Spoken,
    Usage, Wants,
};

use crate::ops::trust;
