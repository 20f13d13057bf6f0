//! Trunks as the signalling sees them: where they are, who we are to them, which packets are theirs.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ipnet::IpNet;

use crate::config::{TransportName, TrunkConfig};

use super::digest::client::Credentials;
use super::message::Host;
use super::transport::{Hop, Link, Transport, TrunkId};

pub struct Trunk {
    /// Its place in the configuration.
    pub id: TrunkId,
    pub name: String,
    pub transport: Transport,
    pub host: Host,
    pub port: u16,
    /// The port was configured, so URIs carry it.
    pub explicit_port: bool,
    pub credentials: Option<Credentials>,
    /// User part of From when a call names none.
    pub caller: Option<String>,
    sources: Vec<IpNet>,
    /// What `host` resolves to.
    addresses: Vec<IpAddr>,
    /// Those of them that gave no answer, and until when they come last.
    silent: Vec<(IpAddr, Instant)>,
}

/// How long an address that gave no answer comes last.
const SILENCE_KEPT: Duration = Duration::from_secs(60);

pub struct Trunks(Vec<Trunk>);

impl Trunk {
    fn new(id: TrunkId, config: &TrunkConfig) -> Trunk {
        // Configuration was checked; a host that is none will simply not resolve.
        let (host, port) =
            Host::parse_with_port(&config.host).unwrap_or_else(|_| (Host::Name(config.host.clone()), None));
        let credentials = config
            .username
            .clone()
            .zip(config.password.clone())
            .map(|(username, password)| Credentials { username, password, realm: config.realm.clone() });
        let transport = match config.transport {
            TransportName::Udp => Transport::Udp,
            TransportName::Tcp => Transport::Tcp,
            TransportName::Tls => Transport::Tls,
        };
        Trunk {
            id,
            name: config.name.clone(),
            transport,
            addresses: host.ip().into_iter().collect(),
            host,
            port: port.unwrap_or(transport.default_port()),
            explicit_port: port.is_some(),
            credentials,
            caller: config.caller_id.clone().or_else(|| config.username.clone()),
            sources: config.sources.clone(),
            silent: Vec::new(),
        }
    }

    /// The way to one of its addresses.
    pub fn hop(&self, transport: Transport, address: SocketAddr) -> Hop {
        let link = if transport.is_reliable() { Link::Trunk(self.id) } else { Link::Any };
        Hop::new(transport, address, link)
    }

    /// Whether packets of `ip` are this trunk's.
    pub fn owns(&self, ip: IpAddr) -> bool {
        if self.sources.is_empty() {
            self.addresses.contains(&ip)
        } else {
            self.sources.iter().any(|net| net.contains(&ip))
        }
    }

    /// In the order of DNS; empty before the name is resolved.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// Puts those that gave no answer lately behind the others.
    pub fn answering_first(&self, ips: &mut [IpAddr], now: Instant) {
        ips.sort_by_key(|ip| self.silent.iter().any(|(silent, until)| silent == ip && *until > now));
    }

    /// Whether our credentials may be shown to `peer`.
    pub fn trusts(&self, peer: SocketAddr) -> bool {
        self.addresses.contains(&peer.ip()) || self.owns(peer.ip())
    }
}

impl Trunks {
    pub fn new(configs: &[TrunkConfig]) -> Trunks {
        Trunks((0..).map(TrunkId).zip(configs).map(|(id, config)| Trunk::new(id, config)).collect())
    }

    pub fn find(&self, name: &str) -> Option<&Trunk> {
        self.0.iter().find(|trunk| trunk.name == name)
    }

    /// The trunk that a packet came from: the one at exactly that port before others at the address.
    pub fn of_source(&self, source: SocketAddr) -> Option<&Trunk> {
        let owners = || self.0.iter().filter(|trunk| trunk.owns(source.ip()));
        owners()
            .find(|trunk| trunk.port == source.port() && trunk.addresses.contains(&source.ip()))
            .or_else(|| owners().next())
    }

    pub fn with_id(&self, id: TrunkId) -> Option<&Trunk> {
        self.0.iter().find(|trunk| trunk.id == id)
    }

    /// As [`Trunks::of_source`], but a trunk of TLS is known over TLS only: an address alone is easily forged.
    pub fn of_source_over(&self, transport: Transport, source: SocketAddr) -> Option<&Trunk> {
        let takes = |trunk: &&Trunk| trunk.transport != Transport::Tls || transport == Transport::Tls;
        let owners = || self.0.iter().filter(|trunk| trunk.owns(source.ip())).filter(takes);
        owners()
            .find(|trunk| trunk.port == source.port() && trunk.addresses.contains(&source.ip()))
            .or_else(|| owners().find(|trunk| trunk.transport == transport))
            .or_else(|| owners().next())
    }

    /// Host names that have to be resolved, by trunk.
    pub fn names(&self) -> Vec<(String, String)> {
        let named = self.0.iter().filter_map(|trunk| match &trunk.host {
            Host::Name(host) => Some((trunk.name.clone(), host.clone())),
            Host::Ip(_) => None,
        });
        named.collect()
    }

    pub fn resolved(&mut self, name: &str, addresses: Vec<IpAddr>) {
        if let Some(trunk) = self.0.iter_mut().find(|trunk| trunk.name == name) {
            trunk.silent.retain(|(ip, _)| addresses.contains(ip));
            trunk.addresses = addresses;
        }
    }

    /// `ip` gave no answer.
    pub fn silent(&mut self, ip: IpAddr, now: Instant) {
        for trunk in self.0.iter_mut().filter(|trunk| trunk.addresses.contains(&ip)) {
            trunk.silent.retain(|(other, until)| *other != ip && *until > now);
            trunk.silent.push((ip, now + SILENCE_KEPT));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trunk(name: &str, host: &str, sources: &[&str]) -> TrunkConfig {
        let sources = sources.iter().map(|net| format!("\"{net}\"")).collect::<Vec<_>>().join(",");
        toml::from_str(&format!("name = \"{name}\"\nhost = \"{host}\"\nsources = [{sources}]")).expect("valid")
    }

    fn owner(trunks: &Trunks, source: &str) -> Option<String> {
        trunks.of_source(source.parse().expect("address")).map(|trunk| trunk.name.clone())
    }

    #[test]
    fn a_packet_belongs_to_the_trunk_of_its_source() {
        let trunks = Trunks::new(&[
            trunk("a", "192.0.2.1", &[]),
            trunk("b", "192.0.2.1:5070", &[]),
            trunk("c", "pbx.example.com", &["198.51.100.0/24", "2001:db8::/32"]),
        ]);
        assert_eq!(owner(&trunks, "192.0.2.1:5060").as_deref(), Some("a"));
        assert_eq!(owner(&trunks, "192.0.2.1:5070").as_deref(), Some("b"));
        assert_eq!(owner(&trunks, "192.0.2.1:40000").as_deref(), Some("a"));
        assert_eq!(owner(&trunks, "198.51.100.77:5060").as_deref(), Some("c"));
        assert_eq!(owner(&trunks, "[2001:db8::5]:5060").as_deref(), Some("c"));
        assert_eq!(owner(&trunks, "203.0.113.1:5060"), None);
    }

    #[test]
    #[allow(clippy::disallowed_methods)]
    fn an_address_that_gave_no_answer_comes_last_for_a_minute() {
        let mut trunks = Trunks::new(&[trunk("a", "pbx.example.com", &[])]);
        let ips: Vec<IpAddr> = ["192.0.2.1", "192.0.2.2"].map(|ip| ip.parse().expect("address")).into();
        trunks.resolved("a", ips.clone());
        let now = Instant::now();
        trunks.silent(ips[0], now);
        let order = |trunks: &Trunks, at: Instant| {
            let mut order = ips.clone();
            trunks.find("a").expect("known").answering_first(&mut order, at);
            order
        };
        assert_eq!(order(&trunks, now), [ips[1], ips[0]]);
        assert_eq!(order(&trunks, now + SILENCE_KEPT), ips);
        trunks.resolved("a", vec![ips[1]]);
        assert!(trunks.find("a").expect("known").silent.is_empty());
    }

    #[test]
    fn a_named_trunk_owns_nothing_before_it_is_resolved() {
        let mut trunks = Trunks::new(&[trunk("a", "pbx.example.com", &[])]);
        assert_eq!(trunks.names(), [("a".to_owned(), "pbx.example.com".to_owned())]);
        assert_eq!(owner(&trunks, "192.0.2.1:5060"), None);
        trunks.resolved("a", vec!["192.0.2.1".parse().expect("address")]);
        assert_eq!(owner(&trunks, "192.0.2.1:5060").as_deref(), Some("a"));
    }
}
