//! The UDP socket: batches in, datagrams out, addresses always in their own family.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

pub struct Udp {
    socket: UdpSocket,
    local: SocketAddr,
}

/// Room for bursts while the driver is busy, bytes. The system may grant less.
const RECEIVE_BUFFER: usize = 4 << 20;

impl Udp {
    /// Binds; an IPv6 wildcard takes IPv4 as well.
    pub fn bind(address: SocketAddr) -> io::Result<Udp> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(!address.ip().is_unspecified())?;
        }
        // A smaller buffer works too, only less well.
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        let socket = UdpSocket::from_std(socket.into())?;
        let local = socket.local_addr()?;
        Ok(Udp { socket, local })
    }

    pub fn local(&self) -> SocketAddr {
        self.local
    }

    pub async fn readable(&self) {
        // An error shows again at the read.
        let _ = self.socket.readable().await;
    }

    /// The next waiting datagram: its length and source.
    pub fn try_receive(&self, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
        // An ICMP error of an earlier datagram surfaces here and is not the end of the stream.
        for _ in 0..8 {
            match self.socket.try_recv_from(buffer) {
                Ok((length, source)) => {
                    return Some((length, SocketAddr::new(source.ip().to_canonical(), source.port())));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(_) => {}
            }
        }
        None
    }

    pub async fn send(&self, datagram: &[u8], to: SocketAddr) -> io::Result<()> {
        let to = match (self.local.ip(), to.ip()) {
            (IpAddr::V6(_), IpAddr::V4(ip)) => SocketAddr::new(ip.to_ipv6_mapped().into(), to.port()),
            _ => to,
        };
        self.socket.send_to(datagram, to).await.map(|_| ())
    }
}

/// Our address on the route to `peer`; nothing is sent. The unspecified address when there is no route.
pub fn local_address_towards(peer: IpAddr) -> IpAddr {
    let any: IpAddr = if peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let probe = || -> io::Result<IpAddr> {
        let socket = std::net::UdpSocket::bind((any, 0))?;
        socket.connect((peer, 9))?;
        Ok(socket.local_addr()?.ip())
    };
    probe().unwrap_or(any)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_route_to_loopback_begins_on_loopback() {
        let loopback: IpAddr = Ipv4Addr::LOCALHOST.into();
        assert_eq!(local_address_towards(loopback), loopback);
    }

    #[tokio::test]
    async fn a_wildcard_of_ipv6_speaks_ipv4_under_its_own_name() {
        let Ok(wide) = Udp::bind("[::]:0".parse().expect("address")) else {
            // A host without IPv6 has nothing to show here.
            return;
        };
        let narrow = Udp::bind("127.0.0.1:0".parse().expect("address")).expect("bound");
        wide.send(b"x", narrow.local()).await.expect("sent");
        narrow.readable().await;
        let (_, source) = narrow.try_receive(&mut [0; 16]).expect("received");
        narrow.send(b"y", source).await.expect("sent");
        wide.readable().await;
        assert_eq!(wide.try_receive(&mut [0; 16]), Some((1, narrow.local())));
    }
}
