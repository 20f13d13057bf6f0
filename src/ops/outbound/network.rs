//! Which addresses a customer's URL may lead to.
//!
//! | Address | Over TLS | Plain |
//! |---|---|---|
//! | in a network that the operator allowed | yes | yes |
//! | public | yes | no |
//! | of this machine, private, link-local, of clouds' metadata, shared, reserved, multicast | no | no |
//!
//! An IPv6 address that stands for one of IPv4 (mapped, NAT64, 6to4) is judged by what it stands for. One bad address
//! among those of a name is enough: whoever mixes them hopes that the other one will be used.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::OutboundError;

/// Whether a request may go to any of `found`.
pub fn judge(found: &[IpAddr], networks: &[IpNet], tls: bool) -> Result<(), OutboundError> {
    for address in found {
        let address = plain(*address);
        if networks.iter().any(|network| network.contains(&address)) {
            continue;
        }
        if !is_public(address) {
            return Err(OutboundError::Forbidden);
        }
        if !tls {
            return Err(OutboundError::Plain);
        }
    }
    Ok(())
}

/// The address that is really meant.
fn plain(address: IpAddr) -> IpAddr {
    let IpAddr::V6(six) = address else { return address };
    let words = six.segments();
    let four = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match words {
        // ::ffff:0:0/96, and ::/96 but for :: and ::1 (RFC 4291 §2.5.5).
        [0, 0, 0, 0, 0, 0xFFFF, high, low] => four(high, low),
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 || low > 1 => four(high, low),
        // NAT64 (RFC 6052 §2.1) and 6to4 (RFC 3056 §2).
        [0x64, 0xFF9B, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => four(high, low),
        _ => address,
    }
}

/// Whether it is one of the public internet (RFC 6890).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => is_public_v4(four),
        IpAddr::V6(six) => is_public_v6(six),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !matches!(
        (a, b, c),
        (0 | 10 | 127, ..)
            // Shared by carriers (RFC 6598); some clouds' metadata is there.
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 168, _)
            // Protocol assignments, documentation, the relays of 6to4.
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            // Measurements, documentation.
            | (198, 18 | 19, _)
            | (198, 51, 100)
            | (203, 0, 113)
            // Multicast, reserved, broadcast.
            | (224..=255, ..)
    )
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let words = address.segments();
    // Only 2000::/3 is assigned to unicast; Teredo and its neighbours, and documentation, are not the internet.
    let unicast = words[0] & 0xE000 == 0x2000;
    let special = words[0] == 0x2001 && (words[1] < 0x0200 || words[1] == 0x0DB8);
    unicast && !special && words[0] != 0x3FFF
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(address: &str, networks: &[&str], tls: bool) -> &'static str {
        let networks: Vec<IpNet> = networks.iter().map(|network| network.parse().expect("a network")).collect();
        match judge(&[address.parse().expect("an address")], &networks, tls) {
            Ok(()) => "yes",
            Err(OutboundError::Plain) => "plain",
            Err(OutboundError::Forbidden) => "no",
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn only_the_public_internet_is_open() {
        for public in ["1.1.1.1", "93.184.216.34", "172.15.0.1", "172.32.0.1", "100.63.0.1", "2a00:1450::1"] {
            assert_eq!(verdict(public, &[], true), "yes", "{public}");
            assert_eq!(verdict(public, &[], false), "plain", "{public}");
        }
        for closed in [
            "0.0.0.0",
            "10.0.0.1",
            "127.0.0.1",
            "127.9.9.9",
            "100.64.0.1",
            "100.100.100.200",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "192.0.0.192",
            "192.0.2.1",
            "198.18.0.1",
            "203.0.113.9",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "fec0::1",
            "100::1",
        ] {
            assert_eq!(verdict(closed, &[], true), "no", "{closed}");
        }
    }

    #[test]
    fn an_address_of_the_one_kind_that_stands_for_one_of_the_other_is_judged_by_that() {
        for closed in ["::ffff:127.0.0.1", "::ffff:a9fe:a9fe", "64:ff9b::10.0.0.1", "2002:7f00:1::", "::127.0.0.1"] {
            assert_eq!(verdict(closed, &[], true), "no", "{closed}");
        }
        assert_eq!(verdict("::ffff:1.1.1.1", &[], true), "yes");
        assert_eq!(verdict("::ffff:10.0.0.1", &["10.0.0.0/8"], true), "yes");
    }

    #[test]
    fn an_operator_opens_a_network_and_no_more() {
        let own = ["192.168.7.0/24", "::1/128"];
        assert_eq!(verdict("192.168.7.9", &own, false), "yes");
        assert_eq!(verdict("192.168.8.9", &own, false), "no");
        assert_eq!(verdict("::1", &own, true), "yes");
        assert_eq!(verdict("169.254.169.254", &own, true), "no");
    }

    #[test]
    fn one_bad_address_of_a_name_is_enough() {
        let found = ["1.1.1.1", "127.0.0.1"].map(|address| address.parse().expect("an address"));
        assert!(matches!(judge(&found, &[], true), Err(OutboundError::Forbidden)));
    }
}
