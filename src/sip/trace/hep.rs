//! HEP version 3, the protocol of Homer: each SIP message with its addresses and time, in one UDP datagram.
//!
//! ```text
//! "HEP3" length:u16 | vendor:u16 type:u16 length:u16 value … (the lengths with their own headers, big endian)
//! ```
//!
//! | Chunk | Value |
//! |---|---|
//! | 1 | address family: 2 IPv4, 10 IPv6 |
//! | 2 | IP protocol: 17 UDP, 6 TCP |
//! | 3, 4 or 5, 6 | source and destination address |
//! | 7, 8 | source and destination port |
//! | 9, 10 | seconds, microseconds |
//! | 11 | 1: SIP |
//! | 12 | capture id |
//! | 14 | password, where there is one |
//! | 15 | the message |
//! | 17 | correlation id: the Call-ID |
//!
//! Nobody waits for the collector: what its queue cannot hold is dropped and counted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::{Sighting, wire};
use crate::config::{Secret, TraceConfig};
use crate::sip::transport::Transport;

/// Messages that may wait for the socket.
const QUEUE: usize = 1_024;
const SIP: u8 = 1;
/// Largest UDP payload.
const LONGEST: usize = 65_507;

/// The way to the collector; cheap to clone.
#[derive(Clone)]
pub struct Exporter(mpsc::Sender<Sighting>);

impl Exporter {
    /// `None` when no collector is configured. The task ends with the last exporter.
    pub fn start(config: &TraceConfig) -> std::io::Result<Option<Exporter>> {
        let Some(collector) = config.hep else { return Ok(None) };
        let any: IpAddr = if collector.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = std::net::UdpSocket::bind((any, 0))?;
        socket.set_nonblocking(true)?;
        let socket = UdpSocket::from_std(socket)?;
        let (exporter, mut queue) = mpsc::channel::<Sighting>(QUEUE);
        let (id, password) = (config.hep_id, config.hep_password.clone().map(Arc::new));
        tokio::spawn(async move {
            while let Some(sighting) = queue.recv().await {
                let packet = encode(&sighting.without_secrets(), id, password.as_deref());
                // A collector that is down is no trouble of ours.
                let sent = socket.send_to(&packet, collector).await.is_ok();
                let outcome = if sent { "sent" } else { "failed" };
                metrics::counter!("trunkline_trace_exported_total", "outcome" => outcome).increment(1);
            }
        });
        Ok(Some(Exporter(exporter)))
    }

    /// Never waits.
    pub fn offer(&self, sighting: &Sighting) {
        if self.0.try_send(sighting.clone()).is_err() {
            metrics::counter!("trunkline_trace_exported_total", "outcome" => "dropped").increment(1);
        }
    }
}

pub fn encode(sighting: &Sighting, id: u32, password: Option<&Secret>) -> Vec<u8> {
    let mut packet = b"HEP3\0\0".to_vec();
    let [from, to] =
        [sighting.from, sighting.to].map(|address| SocketAddr::new(address.ip().to_canonical(), address.port()));
    addresses(&mut packet, from.ip(), to.ip());
    chunk(&mut packet, 2, &[if sighting.transport == Transport::Udp { 17 } else { 6 }]);
    chunk(&mut packet, 7, &from.port().to_be_bytes());
    chunk(&mut packet, 8, &to.port().to_be_bytes());
    chunk(&mut packet, 9, &u32::try_from(sighting.at / 1_000_000).unwrap_or(u32::MAX).to_be_bytes());
    chunk(&mut packet, 10, &((sighting.at % 1_000_000) as u32).to_be_bytes());
    chunk(&mut packet, 11, &[SIP]);
    chunk(&mut packet, 12, &id.to_be_bytes());
    if let Some(password) = password {
        chunk(&mut packet, 14, password.expose().as_bytes());
    }
    if let Some(call_id) = wire::header(&sighting.bytes, "Call-ID", "i") {
        chunk(&mut packet, 17, call_id.get(..512).unwrap_or(call_id));
    }
    let room = LONGEST.saturating_sub(packet.len() + 6);
    chunk(&mut packet, 15, sighting.bytes.get(..room).unwrap_or(&sighting.bytes));
    let length = (packet.len() as u16).to_be_bytes();
    if let Some(place) = packet.get_mut(4..6) {
        place.copy_from_slice(&length);
    }
    packet
}

fn addresses(packet: &mut Vec<u8>, from: IpAddr, to: IpAddr) {
    if let (IpAddr::V4(from), IpAddr::V4(to)) = (from, to) {
        chunk(packet, 1, &[2]);
        chunk(packet, 3, &from.octets());
        chunk(packet, 4, &to.octets());
        return;
    }
    let [from, to] = [from, to].map(|ip| match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    });
    chunk(packet, 1, &[10]);
    chunk(packet, 5, &from.octets());
    chunk(packet, 6, &to.octets());
}

/// Of the generic vendor, 0.
fn chunk(packet: &mut Vec<u8>, kind: u16, value: &[u8]) {
    packet.extend([0, 0]);
    packet.extend(kind.to_be_bytes());
    packet.extend(((value.len() + 6) as u16).to_be_bytes());
    packet.extend(value);
}
