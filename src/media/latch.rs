//! Symmetric RTP: whose packets are ours.
//!
//! | State | A packet comes from | Answer |
//! |---|---|---|
//! | open | the signalled IP address, any port | latch onto it |
//! | open | elsewhere, and the signalled address is private (RFC 1918, 6598, 3927, 4193, `fe80::/10`) while the source is public: the phone sits behind a NAT and could only tell its inner address | latch onto it |
//! | open | elsewhere | foreign |
//! | latched | the latched address and port | ours |
//! | latched onto another port of the signalled host | exactly the signalled address and port | latch onto it |
//! | latched | anything else | foreign |
//!
//! A latch moves to where the phone said that it is, on the same host, and nowhere else: what an announcement's source
//! still sends after the answer has named another port must not keep the call, and nobody but that host gains by it. Only
//! new signalling (a changed address in a session description) makes a new latch. Two different private addresses do not
//! latch: on a LAN everyone can reach us directly, and so could a stranger.
//! The unspecified address (`c=0.0.0.0`, the old way to say "hold") latches onto nobody.

use std::net::{IpAddr, SocketAddr};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latch {
    signalled: SocketAddr,
    latched: Option<SocketAddr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Ours,
    Foreign,
}

impl Latch {
    pub fn new(signalled: SocketAddr) -> Latch {
        Latch { signalled: canonical(signalled), latched: None }
    }

    /// Follows new signalling; the latch holds when the address has not changed.
    pub fn signal(&mut self, signalled: SocketAddr) {
        if self.signalled != canonical(signalled) {
            *self = Latch::new(signalled);
        }
    }

    /// Judges the source of a packet that is valid RTP of an agreed payload type; the first good one latches.
    pub fn admit(&mut self, source: SocketAddr) -> Origin {
        let source = canonical(source);
        if self.would_admit(source) {
            self.latched = Some(source);
            Origin::Ours
        } else {
            Origin::Foreign
        }
    }

    /// Whether a good packet from `source` would be ours; learns nothing.
    pub fn may_admit(&self, source: SocketAddr) -> bool {
        self.would_admit(canonical(source))
    }

    fn would_admit(&self, source: SocketAddr) -> bool {
        match self.latched {
            Some(latched) => latched == source || (self.signalled == source && latched.ip() == source.ip()),
            None if self.signalled.ip().is_unspecified() => false,
            None => source.ip() == self.signalled.ip() || (is_private(self.signalled.ip()) && is_public(source.ip())),
        }
    }

    /// Whether RTCP from `source` belongs to this stream: same host as the latched or, before that, signalled one.
    pub fn admits_control(&self, source: SocketAddr) -> bool {
        canonical(source).ip() == self.destination().ip()
    }

    /// Where our packets go: the latched address, else the signalled one.
    pub fn destination(&self) -> SocketAddr {
        self.latched.unwrap_or(self.signalled)
    }

    pub fn is_latched(&self) -> bool {
        self.latched.is_some()
    }
}

/// An IPv4 address that came through an IPv6 socket is that IPv4 address.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_private() || v4.is_link_local() || is_shared(v4.octets()),
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// RFC 6598: 100.64.0.0/10, between a carrier and its customers.
fn is_shared(octets: [u8; 4]) -> bool {
    octets[0] == 100 && octets[1] & 0xC0 == 64
}

fn is_public(ip: IpAddr) -> bool {
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    !(is_private(ip) || ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || broadcast)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn walks_the_table() {
        for (signalled, source, ours) in [
            ("192.0.2.1:4000", "192.0.2.1:4000", true),
            ("192.0.2.1:4000", "192.0.2.1:61000", true),
            ("192.0.2.1:4000", "192.0.2.2:4000", false),
            ("10.0.0.5:4000", "203.0.113.9:1024", true),
            ("100.64.3.1:4000", "203.0.113.9:1024", true),
            ("[fd00::1]:4000", "[2001:db8::1]:9", true),
            ("10.0.0.5:4000", "192.168.1.1:4000", false),
            ("10.0.0.5:4000", "127.0.0.1:4000", false),
            ("127.0.0.1:4000", "203.0.113.9:1024", false),
            ("0.0.0.0:4000", "203.0.113.9:1024", false),
            ("192.0.2.1:4000", "[::ffff:192.0.2.1]:4000", true),
        ] {
            let origin = Latch::new(at(signalled)).admit(at(source));
            assert_eq!(origin == Origin::Ours, ours, "{signalled} from {source}");
        }
    }

    #[test]
    fn latches_once_and_moves_to_the_signalled_address_only() {
        let mut latch = Latch::new(at("192.0.2.1:4000"));
        assert_eq!(latch.destination(), at("192.0.2.1:4000"));
        assert_eq!(latch.admit(at("192.0.2.1:61000")), Origin::Ours);
        assert_eq!(latch.admit(at("192.0.2.1:61002")), Origin::Foreign);
        assert_eq!(latch.admit(at("192.0.2.1:61000")), Origin::Ours);
        assert_eq!(latch.destination(), at("192.0.2.1:61000"));
        assert!(latch.admits_control(at("192.0.2.1:61001")) && !latch.admits_control(at("192.0.2.9:61001")));
        assert_eq!(latch.admit(at("192.0.2.1:4000")), Origin::Ours);
        assert_eq!(latch.admit(at("192.0.2.1:61000")), Origin::Foreign);
        assert_eq!(latch.destination(), at("192.0.2.1:4000"));
    }

    #[test]
    fn a_latch_beyond_a_nat_does_not_move_to_the_inner_address_and_takes_reports_of_the_outer_one() {
        let mut latch = Latch::new(at("10.0.0.5:4000"));
        assert_eq!(latch.admit(at("203.0.113.9:1024")), Origin::Ours);
        assert_eq!(latch.admit(at("10.0.0.5:4000")), Origin::Foreign);
        assert_eq!(latch.destination(), at("203.0.113.9:1024"));
        assert!(latch.admits_control(at("203.0.113.9:1025")) && !latch.admits_control(at("10.0.0.5:4001")));
    }

    #[test]
    fn only_changed_signalling_opens_it_again() {
        let mut latch = Latch::new(at("192.0.2.1:4000"));
        latch.admit(at("192.0.2.1:61000"));
        latch.signal(at("192.0.2.1:4000"));
        assert!(latch.is_latched());
        latch.signal(at("192.0.2.7:4000"));
        assert_eq!(latch.admit(at("192.0.2.1:61000")), Origin::Foreign);
        assert_eq!(latch.admit(at("192.0.2.7:4000")), Origin::Ours);
    }
}
