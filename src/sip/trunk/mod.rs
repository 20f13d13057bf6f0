//! Trunks as the signalling sees them: where they are, who we are to them, which packets are theirs, how they fare.
//!
//! All of it is pure: the user agent brings answers and time, and sends what a trunk wants sent.

pub mod caller_id;
pub mod health;
pub mod numbers;
pub mod pace;
pub mod places;
pub mod registration;
pub mod status;

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ipnet::IpNet;

use crate::config::{IdentityHeader, TransportName, TrunkConfig};

use super::digest::client::Credentials;
use super::message::{Host, SipUri, Uri};
use super::resolve::{Families, Site, Wanted};
use super::transport::{Hop, Link, Transport, TrunkId};
use health::Health;
use numbers::Numbers;
use pace::Pace;
use places::{Choice, Place, Places};
use registration::{Registration, Terms};
use status::{Living, Registered, TrunkStatus};

pub struct Trunk {
    pub id: TrunkId,
    pub name: String,
    /// Where DNS names none.
    pub transport: Transport,
    /// The domain of its URIs.
    pub host: Host,
    pub port: u16,
    /// The port was configured, so URIs carry it.
    pub explicit_port: bool,
    pub credentials: Option<Credentials>,
    /// User part of From when a call names none.
    pub caller: Option<String>,
    pub numbers: Numbers,
    pub identity: Vec<IdentityHeader>,
    pub anonymous: bool,
    /// The URI of its outbound proxy, as a Route names it.
    pub proxy: Option<SipUri>,
    pub registration: Option<Registration>,
    pub health: Option<Health>,
    /// New calls that it may bring.
    pub pace: Pace,
    /// The contact of the last REGISTER, and how many were sent.
    pub contact: SipUri,
    pub registers: u32,
    /// Why its host could not be found, or OPTIONS were not answered.
    pub trouble: Option<String>,
    places: Places,
    sources: Vec<IpNet>,
}

pub struct Trunks(Vec<Trunk>);

/// Servers of one trunk that one call or question tries.
pub const MAX_SERVERS: usize = 8;

impl Trunk {
    fn new(id: TrunkId, config: &TrunkConfig) -> Trunk {
        let (host, port) = host_of(&config.host);
        let credentials = config
            .username
            .clone()
            .zip(config.password.clone())
            .map(|(username, password)| Credentials { username, password, realm: config.realm.clone() });
        let usual = transport(config).unwrap_or(Transport::Udp);
        let terms = Terms { seconds: config.register_seconds, alone: config.sole_contact };
        let every = Duration::from_secs(config.options_seconds);
        Trunk {
            id,
            name: config.name.clone(),
            transport: usual,
            places: Places::new(places(config)),
            contact: SipUri::new(config.username.as_deref(), host.clone(), None),
            host,
            port: port.unwrap_or(usual.default_port()),
            explicit_port: port.is_some(),
            caller: config.caller_id.clone().or_else(|| config.username.clone()),
            numbers: Numbers::new(config),
            identity: config.identity.clone(),
            anonymous: config.anonymous,
            proxy: config.outbound_proxy.as_deref().and_then(proxy),
            registration: config.register.then(|| Registration::new(terms, credentials.clone())),
            health: (config.options_seconds > 0).then(|| Health::new(every)),
            pace: Pace::new(config.calls_per_second),
            credentials,
            registers: 0,
            trouble: None,
            sources: config.sources.clone(),
        }
    }

    /// Whether packets of `ip` are this trunk's.
    pub fn owns(&self, ip: IpAddr) -> bool {
        if self.sources.is_empty() { self.places.has(ip) } else { self.sources.iter().any(|net| net.contains(&ip)) }
    }

    /// Whether our credentials may be shown to `peer`.
    pub fn trusts(&self, peer: SocketAddr) -> bool {
        self.places.has(peer.ip()) || self.owns(peer.ip())
    }

    /// Whether a URI is one of the trunk's own domain, to be reached as the trunk is.
    pub fn is_home_of(&self, uri: &SipUri) -> bool {
        let asked = uri.params.value("transport").and_then(Transport::parse);
        self.host == uri.host
            && uri.port == self.explicit_port.then_some(self.port)
            && asked.is_none_or(|asked| asked == self.transport)
            && (!uri.secure || self.transport == Transport::Tls)
    }

    /// Where a request to the trunk goes, best first.
    pub fn choice(&self, now: Instant, random: &mut dyn FnMut() -> u64) -> Choice {
        match self.places.choice(now, random) {
            Choice::Servers(mut servers) => {
                servers.truncate(MAX_SERVERS);
                Choice::Servers(servers)
            }
            other => other,
        }
    }

    /// The way to one of its servers.
    pub fn hop(&self, transport: Transport, address: SocketAddr) -> Hop {
        let link = if transport.is_reliable() { Link::Trunk(self.id) } else { Link::Any };
        Hop::new(transport, address, link)
    }

    /// What its first host is looked up as, when a call cannot wait for it.
    pub fn wanted(&self, families: Families) -> Option<Wanted> {
        self.places.wanted(families).into_iter().next().map(|(_, wanted)| wanted)
    }

    /// An address of it that needs no look-up, or is known already.
    pub fn first_ip(&self) -> Option<IpAddr> {
        self.places.sockets().next().map(|socket| socket.ip())
    }

    /// User part of our contact with a registrar: that is how calls for us are known.
    pub fn account(&self) -> &str {
        self.credentials.as_ref().map_or("", |credentials| credentials.username.as_str())
    }

    /// User part of From and Contact where nothing better is known.
    pub fn default_caller(&self) -> &str {
        self.caller.as_deref().unwrap_or_default()
    }

    /// Values of Route of a request outside dialogs: the proxy, then what the registrar named (RFC 3608 §6.1).
    pub fn routes(&self) -> Vec<String> {
        let mut routes: Vec<String> = self.proxy.iter().map(|proxy| format!("<{proxy}>")).collect();
        if let Some(registration) = &self.registration {
            routes.extend(registration.routes().iter().cloned());
        }
        routes
    }

    /// When registering or asking is due; never while nobody knows where the trunk is.
    pub fn wake_at(&self) -> Option<Instant> {
        self.places.sockets().next()?;
        let register = self.registration.as_ref().and_then(Registration::wake_at);
        let options = self.health.as_ref().and_then(Health::wake_at);
        register.into_iter().chain(options).min()
    }

    pub fn status(&self, now: Instant) -> TrunkStatus {
        let registration = match &self.registration {
            None => Registered::Unwanted,
            Some(registration) => match (registration.standing(now), registration.problem()) {
                (Some(until), _) => Registered::Until(until),
                (None, None) if self.trouble.is_none() => Registered::Pending,
                (None, _) => Registered::No,
            },
        };
        let health = match self.health.as_ref().map(Health::state) {
            None | Some(health::State::Unproven { .. }) => Living::Unknown,
            Some(health::State::Up { .. }) => Living::Up,
            Some(health::State::Down { .. }) => Living::Down,
        };
        let problem = self.registration.as_ref().and_then(Registration::problem).map(str::to_owned);
        TrunkStatus {
            name: self.name.clone(),
            transport: match self.places.choice(now, &mut || 0) {
                Choice::Servers(servers) => servers.first().map(|server| server.transport),
                Choice::Resting(_) | Choice::Unknown => None,
            },
            registration,
            health,
            problem: problem.or_else(|| self.trouble.clone()),
        }
    }
}

impl Trunks {
    pub fn new(configs: &[TrunkConfig]) -> Trunks {
        let ids = (0..).map(TrunkId);
        Trunks(ids.zip(configs).map(|(id, config)| Trunk::new(id, config)).collect())
    }

    pub fn find(&self, name: &str) -> Option<&Trunk> {
        self.0.iter().find(|trunk| trunk.name == name)
    }

    pub fn find_mut(&mut self, name: &str) -> Option<&mut Trunk> {
        self.0.iter_mut().find(|trunk| trunk.name == name)
    }

    pub fn by_id(&self, id: TrunkId) -> Option<&Trunk> {
        self.0.iter().find(|trunk| trunk.id == id)
    }

    pub fn by_id_mut(&mut self, id: TrunkId) -> Option<&mut Trunk> {
        self.0.iter_mut().find(|trunk| trunk.id == id)
    }

    /// From now on trunks register and are asked whether they live.
    pub fn begin(&mut self, now: Instant) {
        for trunk in &mut self.0 {
            trunk.registration.iter_mut().for_each(|registration| registration.begin(now));
            trunk.health.iter_mut().for_each(|health| health.begin(now));
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Trunk> {
        self.0.iter()
    }

    /// The trunk that a packet came from: the one at exactly that port before others at the address.
    pub fn of_source(&self, source: SocketAddr) -> Option<&Trunk> {
        let owners = || self.0.iter().filter(|trunk| trunk.owns(source.ip()));
        owners().find(|trunk| trunk.places.sockets().any(|socket| socket == source)).or_else(|| owners().next())
    }

    /// The trunk that brings a request to `user`. Of several accounts with one carrier it is told by the contact that we
    /// registered. A trunk of TLS is known over TLS only: an address alone is easily forged.
    pub fn of_call(&self, transport: Transport, source: SocketAddr, user: &str) -> Option<&Trunk> {
        let takes = |trunk: &&Trunk| trunk.transport != Transport::Tls || transport == Transport::Tls;
        let owners = || self.0.iter().filter(|trunk| trunk.owns(source.ip())).filter(takes);
        owners()
            .find(|trunk| trunk.registration.is_some() && !user.is_empty() && trunk.account() == user)
            .or_else(|| owners().find(|trunk| trunk.places.sockets().any(|socket| socket == source)))
            .or_else(|| owners().find(|trunk| trunk.transport == transport))
            .or_else(|| owners().next())
    }

    /// Hosts that have to be looked up: trunk, its place in it, and what to look for.
    pub fn wanted(&self, families: Families) -> Vec<(TrunkId, usize, Wanted)> {
        let places = |trunk: &Trunk| {
            let id = trunk.id;
            trunk.places.wanted(families).into_iter().map(move |(at, wanted)| (id, at, wanted))
        };
        self.0.iter().flat_map(places).collect()
    }

    pub fn located(&mut self, id: TrunkId, at: usize, sites: Vec<Site>) {
        if let Some(trunk) = self.by_id_mut(id) {
            trunk.places.located(at, sites);
            trunk.trouble = None;
        }
    }

    /// A server gave no answer.
    pub fn silent(&mut self, address: SocketAddr, now: Instant) {
        for trunk in &mut self.0 {
            trunk.places.silent(address, now);
        }
    }

    /// A server answered 503 and named the time.
    pub fn rests(&mut self, address: SocketAddr, pause: Duration, now: Instant) {
        for trunk in &mut self.0 {
            trunk.places.rests(address, pause, now);
        }
    }

    /// A server answered.
    pub fn works(&mut self, address: SocketAddr) {
        for trunk in &mut self.0 {
            trunk.places.works(address);
        }
    }
}

fn places(config: &TrunkConfig) -> Vec<Place> {
    let place = |host: &str, priority: u16, weight: u16| {
        let (host, port) = host_of(host);
        Place { host, port, transport: transport(config), priority, weight, sites: Vec::new() }
    };
    match (&config.outbound_proxy, config.hosts.is_empty()) {
        (_, false) => config.hosts.iter().map(|one| place(&one.host, one.priority, one.weight)).collect(),
        (Some(proxy), true) => vec![place(proxy, 0, 0)],
        (None, true) => vec![place(&config.host, 0, 0)],
    }
}

/// `None` leaves it to DNS.
fn transport(config: &TrunkConfig) -> Option<Transport> {
    match config.transport {
        TransportName::Udp => Some(Transport::Udp),
        TransportName::Tcp => Some(Transport::Tcp),
        TransportName::Tls => Some(Transport::Tls),
        TransportName::Auto => None,
    }
}

/// Configuration was checked; a host that is none will simply not resolve.
fn host_of(text: &str) -> (Host, Option<u16>) {
    Host::parse_with_port(text).unwrap_or_else(|_| (Host::Name(text.to_owned()), None))
}

/// Loose routing (RFC 3261 §16.12.1.1): the proxy leaves the Request-URI alone.
fn proxy(text: &str) -> Option<SipUri> {
    match Uri::parse(&format!("sip:{text};lr")) {
        Ok(Uri::Sip(uri)) => Some(uri),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
