//! The ports that the endpoint listens on.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::StartError;
use crate::clock::Clock;
use crate::config::SipConfig;
use crate::sip::transport::connection::Arrival;
use crate::sip::transport::streams::{self, Streams};
use crate::sip::transport::tls::Tls;
use crate::sip::transport::udp::Udp;
use crate::sip::transport::{Ports, Transport};

/// Bound, but nothing is taken yet.
pub struct Sockets {
    pub udp: Udp,
    tcp: TcpListener,
    tls: Option<TcpListener>,
    pub ports: Ports,
}

/// UDP and TCP share their number; where the system chooses it, it may be free for one of them only.
const TRIES: usize = 32;

impl Sockets {
    pub fn bind(config: &SipConfig) -> Result<Sockets, StartError> {
        let (udp, tcp) = pair(config)?;
        let tls = match config.tls_listen {
            None => None,
            Some(address) => Some(streams::bind(address).map_err(|source| failed("TLS", address, source))?),
        };
        let port = |listener: &TcpListener| listener.local_addr().map(|address| address.port()).ok();
        let ports = Ports::all(udp.local().port());
        let ports = Ports {
            tcp: port(&tcp).unwrap_or(ports.tcp),
            tls: tls.as_ref().and_then(port).unwrap_or(Transport::Tls.default_port()),
            ..ports
        };
        Ok(Sockets { udp, tcp, tls, ports })
    }

    /// Takes connections from now on.
    pub fn open(self, config: &SipConfig, tls: Tls, clock: Clock) -> (Udp, (Streams, mpsc::Receiver<Arrival>)) {
        let (mut streams, arrivals) = Streams::new(config, tls, clock);
        streams.listen(self.tcp, Transport::Tcp);
        if let Some(listener) = self.tls {
            streams.listen(listener, Transport::Tls);
        }
        (self.udp, (streams, arrivals))
    }
}

fn pair(config: &SipConfig) -> Result<(Udp, TcpListener), StartError> {
    for left in (0..TRIES).rev() {
        let udp = Udp::bind(config.listen).map_err(|source| failed("UDP", config.listen, source))?;
        let address = config.tcp_listen.unwrap_or(SocketAddr::new(config.listen.ip(), udp.local().port()));
        match streams::bind(address) {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(source) => {
                let chosen = config.listen.port() == 0 && config.tcp_listen.is_none();
                if left == 0 || !chosen || source.kind() != ErrorKind::AddrInUse {
                    return Err(failed("TCP", address, source));
                }
            }
        }
    }
    Err(failed("TCP", config.listen, io::Error::from(ErrorKind::AddrInUse)))
}

fn failed(transport: &'static str, address: SocketAddr, source: io::Error) -> StartError {
    StartError::Bind { transport, address, source }
}
