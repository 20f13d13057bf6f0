//! Ways to a peer, and the sockets that make them.

pub mod connection;
pub mod framing;
pub mod lines;
pub mod streams;
pub mod stun;
pub mod tls;
pub mod trouble;
pub mod udp;

use std::net::{IpAddr, SocketAddr};

/// What carries a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
}

/// The far end of a message's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hop {
    pub transport: Transport,
    pub address: SocketAddr,
    pub link: Link,
}

/// Which connection to `address` is meant. UDP knows none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Link {
    /// Whichever leads there.
    #[default]
    Any,
    /// The one that the peer opened and the message came in on. When it is gone, a new one to the address.
    Connection(u64),
    /// One of ours, opened with that trunk's TLS settings.
    Trunk(TrunkId),
}

/// A trunk's place in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrunkId(pub u32);

/// Our port on each transport, as Via and Contact name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    pub udp: u16,
    pub tcp: u16,
    pub tls: u16,
}

impl Transport {
    /// As Via names it (RFC 3261 §20.42).
    pub fn protocol(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
        }
    }

    /// As a URI parameter and a label name it.
    pub fn name(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
        }
    }

    /// From either spelling; `None` when it is not spoken here.
    pub fn parse(text: &str) -> Option<Transport> {
        [Transport::Udp, Transport::Tcp, Transport::Tls]
            .into_iter()
            .find(|transport| transport.name().eq_ignore_ascii_case(text))
    }

    /// Nothing sent is lost while the connection stands: no retransmissions (RFC 3261 §17).
    pub fn is_reliable(self) -> bool {
        self != Transport::Udp
    }

    /// Where a URI or Via without a port is reached (RFC 3261 §19.1.2).
    pub fn default_port(self) -> u16 {
        match self {
            Transport::Udp | Transport::Tcp => 5060,
            Transport::Tls => 5061,
        }
    }
}

impl Hop {
    pub fn new(transport: Transport, address: SocketAddr, link: Link) -> Hop {
        Hop { transport, address, link }
    }

    pub fn udp(address: SocketAddr) -> Hop {
        Hop::new(Transport::Udp, address, Link::Any)
    }

    pub fn ip(&self) -> IpAddr {
        self.address.ip()
    }
}

impl std::fmt::Display for Hop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.transport.name(), self.address)
    }
}

impl Ports {
    /// The same on every transport but TLS, which has the next.
    pub fn all(port: u16) -> Ports {
        Ports { udp: port, tcp: port, tls: port.saturating_add(1) }
    }

    pub fn of(&self, transport: Transport) -> u16 {
        match transport {
            Transport::Udp => self.udp,
            Transport::Tcp => self.tcp,
            Transport::Tls => self.tls,
        }
    }
}
