//! A capture file of sightings: pcap in its classic form (draft-ietf-opsawg-pcap), link type RAW, every message in one
//! UDP datagram with the addresses and ports that it really had. What came over TCP or TLS is written so, too: the
//! bytes are those of the message, the segments are gone.

use std::net::{IpAddr, SocketAddr};

use super::Sighting;

const MAGIC_MICROSECONDS: u32 = 0xa1b2_c3d4;
/// LINKTYPE_RAW: begins with the IP header.
const LINK_RAW: u32 = 101;
const UDP: u8 = 17;
const UDP_HEADER: usize = 8;
/// What fits in one IPv4 packet besides its headers; a longer message is cut there.
const LONGEST: usize = 65_535 - 20 - UDP_HEADER;

pub fn pcap(sightings: &[Sighting]) -> Vec<u8> {
    let mut file = Vec::with_capacity(24 + sightings.iter().map(|one| one.bytes.len() + 64).sum::<usize>());
    file.extend(MAGIC_MICROSECONDS.to_le_bytes());
    file.extend([2_u8, 0, 4, 0]);
    file.extend([0; 8]);
    file.extend(262_144_u32.to_le_bytes());
    file.extend(LINK_RAW.to_le_bytes());
    for sighting in sightings {
        let packet = packet(sighting);
        let length = u32::try_from(packet.len()).unwrap_or(u32::MAX);
        let seconds = u32::try_from(sighting.at / 1_000_000).unwrap_or(u32::MAX);
        file.extend(seconds.to_le_bytes());
        file.extend(((sighting.at % 1_000_000) as u32).to_le_bytes());
        file.extend(length.to_le_bytes());
        file.extend(length.to_le_bytes());
        file.extend(packet);
    }
    file
}

fn packet(sighting: &Sighting) -> Vec<u8> {
    let payload = sighting.bytes.get(..LONGEST).unwrap_or(&sighting.bytes);
    let (from, to) = (canonical(sighting.from), canonical(sighting.to));
    let datagram_length = (UDP_HEADER + payload.len()) as u16;
    let mut datagram = Vec::with_capacity(UDP_HEADER + payload.len());
    datagram.extend(from.port().to_be_bytes());
    datagram.extend(to.port().to_be_bytes());
    datagram.extend(datagram_length.to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    let (mut packet, pseudo) = headers(from.ip(), to.ip(), datagram_length);
    // A checksum of zero would mean that there is none (RFC 768).
    let checksum = match sum(&[&pseudo, &datagram]) {
        0 => 0xffff,
        sum => sum,
    };
    if let Some(place) = datagram.get_mut(6..8) {
        place.copy_from_slice(&checksum.to_be_bytes());
    }
    packet.extend(datagram);
    packet
}

/// The IP header, and the pseudo header that the UDP checksum covers (RFC 768, RFC 8200 §8.1).
fn headers(from: IpAddr, to: IpAddr, length: u16) -> (Vec<u8>, Vec<u8>) {
    if let (IpAddr::V4(from), IpAddr::V4(to)) = (from, to) {
        let mut header = vec![0x45, 0];
        header.extend((20 + length).to_be_bytes());
        header.extend([0, 0, 0x40, 0, 64, UDP, 0, 0]);
        header.extend(from.octets());
        header.extend(to.octets());
        let checksum = sum(&[&header]);
        if let Some(place) = header.get_mut(10..12) {
            place.copy_from_slice(&checksum.to_be_bytes());
        }
        let mut pseudo = [from.octets(), to.octets()].concat();
        pseudo.extend([0, UDP]);
        pseudo.extend(length.to_be_bytes());
        return (header, pseudo);
    }
    let [from, to] = [from, to].map(|ip| match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    });
    let mut header = vec![0x60, 0, 0, 0];
    header.extend(length.to_be_bytes());
    header.extend([UDP, 64]);
    header.extend(from.octets());
    header.extend(to.octets());
    let mut pseudo = [from.octets(), to.octets()].concat();
    pseudo.extend(u32::from(length).to_be_bytes());
    pseudo.extend([0, 0, 0, UDP]);
    (header, pseudo)
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The Internet checksum (RFC 1071) of parts whose lengths are even but for the last.
fn sum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u32;
    for part in parts {
        for pair in part.chunks(2) {
            let word = [pair.first().copied().unwrap_or_default(), pair.get(1).copied().unwrap_or_default()];
            sum += u32::from(u16::from_be_bytes(word));
            sum = (sum & 0xffff) + (sum >> 16);
        }
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::sip::transport::Transport;

    fn sighting(from: &str, to: &str, bytes: Vec<u8>) -> Sighting {
        let address = |text: &str| text.parse().expect("address");
        let (from, to, bytes) = (address(from), address(to), Bytes::from(bytes));
        Sighting { at: 1_700_000_000_000_123, from, to, transport: Transport::Udp, bytes }
    }

    #[test]
    fn the_checksum_of_the_rfcs_example() {
        // RFC 1071 §3: the sum is ddf2.
        assert_eq!(sum(&[&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]]), !0xddf2);
    }

    #[test]
    fn headers_carry_sums_that_come_out_at_zero() {
        for (from, to, header) in [
            ("192.0.2.1:5060", "198.51.100.7:5070", 20),
            ("[2001:db8::1]:5060", "[2001:db8::2]:5061", 40),
            ("[::ffff:192.0.2.1]:5060", "198.51.100.7:5070", 20),
            ("192.0.2.1:5060", "[2001:db8::2]:5061", 40),
        ] {
            for length in [0_usize, 1, 2, 301] {
                let packet = packet(&sighting(from, to, vec![0x5a; length]));
                assert_eq!(packet.len(), header + 8 + length, "{from} {length}");
                let udp = &packet[header..];
                let pseudo = if header == 20 {
                    assert_eq!(sum(&[&packet[..20]]), 0, "the header itself");
                    [&packet[12..20], &[0, 17], &udp[4..6]].concat()
                } else {
                    [&packet[8..40], &[0, 0], &udp[4..6], &[0, 0, 0, 17]].concat()
                };
                assert_eq!(sum(&[&pseudo, udp]), 0, "{from} {length}");
            }
        }
    }

    #[test]
    fn a_message_too_long_for_a_packet_is_cut() {
        let packet = packet(&sighting("192.0.2.1:5060", "198.51.100.7:5070", vec![1; 70_000]));
        assert_eq!(packet.len(), 65_535);
        assert_eq!(packet[2..4], [0xff, 0xff]);
    }

    #[test]
    fn the_file_header_and_times_are_as_readers_want_them() {
        let file = pcap(&[sighting("192.0.2.1:5060", "198.51.100.7:5070", vec![1, 2, 3])]);
        assert_eq!(file[..4], [0xd4, 0xc3, 0xb2, 0xa1]);
        assert_eq!(file[20..24], [101, 0, 0, 0]);
        assert_eq!(u32::from_le_bytes([file[24], file[25], file[26], file[27]]), 1_700_000_000);
        assert_eq!(u32::from_le_bytes([file[28], file[29], file[30], file[31]]), 123);
        assert_eq!(file.len(), 24 + 16 + 20 + 8 + 3);
    }
}
