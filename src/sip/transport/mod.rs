//! Sockets. UDP is the only transport of this layer so far.

pub mod udp;
