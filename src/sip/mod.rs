//! SIP: four layers without I/O (message, transaction, dialog, user agent) and one driver (`endpoint`, `transport/`).
//!
//! Datagrams and [`std::time::Instant`]s flow in; datagrams, timers and call events flow out. This room knows nothing
//! of media, calls, agents or the store: a session description is text and types here, never a socket.

pub mod agent;
pub mod dialog;
pub mod digest;
pub mod endpoint;
pub mod event;
pub mod guard;
pub mod message;
pub mod pager;
pub mod registrar;
pub mod resolve;
pub mod sdp;
pub mod trace;
pub mod transaction;
pub mod transport;
pub mod trunk;
