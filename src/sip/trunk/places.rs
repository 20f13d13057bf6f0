//! Where a trunk can be reached, and which of its servers failed lately. Pure.
//!
//! | A server | Comes |
//! |---|---|
//! | that works, or was never tried | as priorities and weights say |
//! | that gave no answer within the last minute, or 503 without Retry-After | after all others |
//! | that asked for a pause (503 with Retry-After, at most [`LONGEST_PAUSE`]) | not at all until then |

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::sip::message::Host;
use crate::sip::resolve::weigh::shuffled;
use crate::sip::resolve::{Families, Server, Site, Wanted, in_order};
use crate::sip::transport::Transport;

pub struct Places {
    hosts: Vec<Place>,
    failed: Vec<Failed>,
}

/// One host of the trunk.
#[derive(Debug, Clone)]
pub struct Place {
    pub host: Host,
    pub port: Option<u16>,
    pub transport: Option<Transport>,
    pub priority: u16,
    pub weight: u16,
    /// Empty before it was found.
    pub sites: Vec<Site>,
}

/// Where a request may go now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// Best first; never empty.
    Servers(Vec<Server>),
    /// Each of them asked to be left alone for so long.
    Resting(Duration),
    /// No address is known.
    Unknown,
}

struct Failed {
    address: SocketAddr,
    until: Instant,
    /// It asked for the pause itself.
    resting: bool,
}

/// How long a server that gave no answer comes last.
const SILENCE_KEPT: Duration = Duration::from_secs(60);
/// A longer Retry-After is not believed: the call it is about is long over.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(120);

impl Places {
    pub fn new(mut hosts: Vec<Place>) -> Places {
        for place in &mut hosts {
            if let Some(ip) = place.host.ip() {
                let transport = place.transport.unwrap_or(Transport::Udp);
                let port = place.port.unwrap_or(transport.default_port());
                place.sites = vec![Site::of(transport, vec![SocketAddr::new(ip, port)])];
            }
        }
        Places { hosts, failed: Vec::new() }
    }

    /// What has to be looked up: those that are names, by their place.
    pub fn wanted(&self, families: Families) -> Vec<(usize, Wanted)> {
        let named = self.hosts.iter().enumerate().filter(|(_, place)| place.host.ip().is_none());
        named.map(|(at, place)| (at, place.wanted(families))).collect()
    }

    pub fn located(&mut self, at: usize, sites: Vec<Site>) {
        if let Some(place) = self.hosts.get_mut(at) {
            place.sites = sites;
        }
        let known: Vec<SocketAddr> = self.sockets().collect();
        self.failed.retain(|failed| known.contains(&failed.address));
    }

    pub fn sockets(&self) -> impl Iterator<Item = SocketAddr> {
        self.hosts.iter().flat_map(|place| &place.sites).flat_map(|site| &site.addresses).copied()
    }

    pub fn has(&self, ip: IpAddr) -> bool {
        self.sockets().any(|socket| socket.ip() == ip)
    }

    pub fn choice(&self, now: Instant, random: &mut dyn FnMut() -> u64) -> Choice {
        let mut servers: Vec<Server> = Vec::new();
        for place in shuffled(&self.hosts, |place| (place.priority, place.weight), random) {
            for server in in_order(&place.sites, random) {
                if !servers.contains(&server) {
                    servers.push(server);
                }
            }
        }
        if servers.is_empty() {
            return Choice::Unknown;
        }
        let failed = |server: &Server| self.failed.iter().find(|one| one.address == server.address && one.until > now);
        let pauses = servers.iter().filter_map(failed).filter(|failed| failed.resting).map(|failed| failed.until);
        let soonest = pauses.min();
        servers.retain(|server| failed(server).is_none_or(|failed| !failed.resting));
        if servers.is_empty() {
            return Choice::Resting(soonest.map_or(Duration::ZERO, |until| until.saturating_duration_since(now)));
        }
        servers.sort_by_key(|server| failed(server).is_some());
        Choice::Servers(servers)
    }

    /// That server gave no answer.
    pub fn silent(&mut self, address: SocketAddr, now: Instant) {
        self.note(Failed { address, until: now + SILENCE_KEPT, resting: false }, now);
    }

    /// That server asked to be left alone.
    pub fn rests(&mut self, address: SocketAddr, pause: Duration, now: Instant) {
        self.note(Failed { address, until: now + pause.min(LONGEST_PAUSE), resting: true }, now);
    }

    /// That server answered.
    pub fn works(&mut self, address: SocketAddr) {
        self.failed.retain(|failed| failed.address != address);
    }

    // As many entries as the trunk has servers at most.
    fn note(&mut self, failed: Failed, now: Instant) {
        if !self.sockets().any(|socket| socket == failed.address) {
            return;
        }
        let rests = |other: &Failed| other.resting && other.until > now;
        if !failed.resting && self.failed.iter().any(|other| other.address == failed.address && rests(other)) {
            return;
        }
        self.failed.retain(|other| other.address != failed.address && other.until > now);
        self.failed.push(failed);
    }
}

impl Place {
    pub fn wanted(&self, families: Families) -> Wanted {
        Wanted { host: self.host.clone(), port: self.port, transport: self.transport, secure: false, families }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    fn socket(text: &str) -> SocketAddr {
        text.parse().expect("address")
    }

    fn place(host: &str, priority: u16, weight: u16) -> Place {
        let (host, port) = Host::parse_with_port(host).expect("a host");
        Place { host, port, transport: None, priority, weight, sites: Vec::new() }
    }

    fn order(places: &Places, now: Instant) -> Vec<String> {
        match places.choice(now, &mut || 0) {
            Choice::Servers(servers) => servers.iter().map(|server| server.address.to_string()).collect(),
            other => vec![format!("{other:?}")],
        }
    }

    #[test]
    fn hosts_come_by_priority_and_share_by_weight() {
        let places = Places::new(vec![place("192.0.2.3", 2, 1), place("192.0.2.1", 1, 1), place("192.0.2.2:99", 1, 9)]);
        let now = Instant::now();
        let mut number = 0_u64;
        let mut first = std::collections::HashMap::new();
        for _ in 0..1_000 {
            let Choice::Servers(servers) = places.choice(now, &mut || {
                number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                number >> 33
            }) else {
                panic!("servers")
            };
            assert_eq!(servers.last().map(|server| server.address), Some(socket("192.0.2.3:5060")));
            *first.entry(servers[0].address).or_insert(0) += 1;
        }
        let light = first[&socket("192.0.2.1:5060")];
        assert!((50..300).contains(&light), "{first:?}");
        assert!(first[&socket("192.0.2.2:99")] + light == 1_000);
    }

    #[test]
    fn the_rows_of_the_table() {
        let mut places = Places::new(vec![place("192.0.2.1", 1, 1), place("192.0.2.2", 2, 1)]);
        let (one, two) = ("192.0.2.1:5060", "192.0.2.2:5060");
        let now = Instant::now();
        assert_eq!(order(&places, now), [one, two]);
        places.silent(socket(one), now);
        assert_eq!(order(&places, now), [two, one]);
        assert_eq!(order(&places, now + SILENCE_KEPT), [one, two]);
        places.rests(socket(one), Duration::from_secs(7), now);
        places.silent(socket(one), now);
        assert_eq!(order(&places, now), [two], "whoever asked for a pause gets it");
        assert_eq!(order(&places, now + Duration::from_secs(7)), [one, two]);
        places.rests(socket(two), Duration::from_secs(9_999), now);
        assert_eq!(places.choice(now, &mut || 0), Choice::Resting(Duration::from_secs(7)));
        assert_eq!(order(&places, now + LONGEST_PAUSE), [one, two], "no pause is endless");
        places.works(socket(two));
        assert_eq!(order(&places, now), [two]);
    }

    #[test]
    fn what_is_no_server_of_the_trunk_is_not_noted() {
        let mut places = Places::new(vec![place("pbx.test", 1, 1)]);
        let now = Instant::now();
        assert_eq!(places.choice(now, &mut || 0), Choice::Unknown);
        for port in 1..1_000 {
            places.silent(SocketAddr::new(socket("192.0.2.1:1").ip(), port), now);
        }
        assert!(places.failed.is_empty());
        places.located(0, vec![Site::of(Transport::Udp, vec![socket("192.0.2.1:1")])]);
        places.silent(socket("192.0.2.1:1"), now);
        assert_eq!(places.failed.len(), 1);
        places.located(0, vec![Site::of(Transport::Udp, vec![socket("192.0.2.2:1")])]);
        assert!(places.failed.is_empty(), "an address that is gone is forgotten");
    }
}
