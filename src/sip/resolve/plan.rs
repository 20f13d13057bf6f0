//! RFC 3263 §4: from a host to the servers behind it. Pure: what DNS said so far comes in, the next questions or the
//! servers come out.
//!
//! | The host | Transport | Looked up | Port |
//! |---|---|---|---|
//! | is an address | as asked, else UDP (sips: TLS) | nothing | as given, else 5060 (TLS: 5061) |
//! | is a name with a port | as asked, else UDP (sips: TLS) | A, AAAA | as given |
//! | is a name, transport asked | that | SRV; without one A, AAAA | of the SRV; else 5060 (TLS: 5061) |
//! | is a name | NAPTR, those that we speak, by order and preference | their SRV | of the SRV |
//! | is a name without a usable NAPTR | that of each SRV found, UDP, TCP, TLS | SRV of each transport | of the SRV |
//! | is a name without NAPTR and SRV | UDP (sips: TLS) | A, AAAA | 5060 (TLS: 5061) |
//!
//! `sips` is satisfied with TLS only. An SRV target `.` says that the service is not offered: nothing else is tried for
//! that transport. DNS that does not answer NAPTR or SRV counts as having none: small routers do so.

use std::net::{IpAddr, SocketAddr};

use super::record::{Answer, Kind, Naptr, Question, Srv};
use crate::sip::message::Host;
use crate::sip::transport::Transport;

/// What is to be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub host: Host,
    pub port: Option<u16>,
    /// `transport=`, or what is configured.
    pub transport: Option<Transport>,
    /// `sips:`
    pub secure: bool,
    pub families: Families,
}

/// The families of addresses that our sockets reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Families {
    pub v4: bool,
    pub v6: bool,
}

/// Servers of one rank: one SRV record with the addresses of its target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    pub transport: Transport,
    /// The lowest first.
    pub rank: u32,
    pub weight: u16,
    pub addresses: Vec<SocketAddr>,
}

/// What DNS said to one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Said(Answer),
    /// It did not answer, or failed.
    Silent,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// All of these are needed to go on.
    Ask(Vec<Question>),
    Found(Vec<Site>),
    Lost(Lost),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    #[error("its name does not resolve to an address")]
    NoSuchName,
    #[error("the DNS server does not answer")]
    Silent,
    #[error("it has no address of the family that [sip] listen is bound to")]
    WrongFamily,
    #[error("its name offers no transport that is asked for")]
    NoTransport,
}

/// Records of one answer that count.
const MAX_RECORDS: usize = 32;
/// Addresses of one name that count.
const MAX_ADDRESSES: usize = 8;
const TRANSPORTS: [Transport; 3] = [Transport::Udp, Transport::Tcp, Transport::Tls];

/// One step, made again from the start whenever more is known: nothing is kept between steps.
pub fn step(wanted: &Wanted, known: &dyn Fn(&Question) -> Option<Reply>) -> Step {
    let mut search = Search { wanted, known, missing: Vec::new(), silent: false };
    let found = search.run();
    match found {
        _ if !search.missing.is_empty() => Step::Ask(search.missing),
        Ok(sites) if sites.iter().all(|site| site.addresses.is_empty()) => {
            Step::Lost(if search.silent { Lost::Silent } else { Lost::NoSuchName })
        }
        Ok(mut sites) => {
            sites.retain(|site| !site.addresses.is_empty());
            Step::Found(sites)
        }
        Err(lost) => Step::Lost(lost),
    }
}

struct Search<'a> {
    wanted: &'a Wanted,
    known: &'a dyn Fn(&Question) -> Option<Reply>,
    missing: Vec<Question>,
    silent: bool,
}

/// One transport that the host may be reached by, and the SRV name that says where.
struct Service {
    transport: Transport,
    name: String,
}

impl Search<'_> {
    fn run(&mut self) -> Result<Vec<Site>, Lost> {
        let wanted = self.wanted;
        if wanted.secure && wanted.transport == Some(Transport::Udp) {
            return Err(Lost::NoTransport);
        }
        let usual = self.usual_transport();
        let name = match &wanted.host {
            Host::Ip(ip) if !wanted.families.take(*ip) => return Err(Lost::WrongFamily),
            Host::Ip(ip) => {
                let port = wanted.port.unwrap_or(usual.default_port());
                return Ok(vec![Site::of(usual, vec![SocketAddr::new(*ip, port)])]);
            }
            Host::Name(name) => name,
        };
        if let Some(port) = wanted.port {
            return Ok(vec![Site::of(usual, self.addresses(name, port))]);
        }
        let services = self.services(name);
        if !self.missing.is_empty() {
            return Ok(Vec::new());
        }
        let mut sites = Vec::new();
        let mut offered = false;
        for (index, service) in services.iter().enumerate() {
            let records = self.srv(&service.name);
            offered |= !records.is_empty();
            self.sites_of(service.transport, index, &records, &mut sites);
        }
        if offered || !self.missing.is_empty() {
            return if self.missing.is_empty() && sites.is_empty() { Err(Lost::NoTransport) } else { Ok(sites) };
        }
        Ok(vec![Site::of(usual, self.addresses(name, usual.default_port()))])
    }

    fn usual_transport(&self) -> Transport {
        let usual = self.wanted.transport.unwrap_or(Transport::Udp);
        if self.wanted.secure { Transport::Tls } else { usual }
    }

    /// The SRV names to ask for, best first.
    fn services(&mut self, host: &str) -> Vec<Service> {
        let srv = |transport: Transport| Service { transport, name: format!("{}.{host}", label(transport)) };
        if self.wanted.transport.is_some() || self.wanted.secure {
            return vec![srv(self.usual_transport())];
        }
        let mut rules: Vec<(Naptr, Transport)> =
            self.naptr(host).into_iter().filter_map(|rule| Some((rule.clone(), transport_of(&rule)?))).collect();
        rules.sort_by_key(|(rule, _)| (rule.order, rule.preference));
        if rules.is_empty() {
            return TRANSPORTS.into_iter().map(srv).collect();
        }
        rules.into_iter().map(|(rule, transport)| Service { transport, name: rule.replacement }).collect()
    }

    fn sites_of(&mut self, transport: Transport, index: usize, records: &[Srv], sites: &mut Vec<Site>) {
        for record in records.iter().filter(|record| !record.target.is_empty()) {
            let rank = u32::try_from(index).unwrap_or_default() << 16 | u32::from(record.priority);
            let addresses = self.addresses(&record.target, record.port);
            sites.push(Site { transport, rank, weight: record.weight, addresses });
        }
    }

    fn addresses(&mut self, name: &str, port: u16) -> Vec<SocketAddr> {
        let families = self.wanted.families;
        let mut found = Vec::new();
        for kind in
            [(families.v4, Kind::A), (families.v6, Kind::Aaaa)].into_iter().filter_map(|(on, kind)| on.then_some(kind))
        {
            if let Some(Answer::Addresses(ips)) = self.ask(name, kind) {
                let fitting = ips.into_iter().filter(|ip| families.take(*ip));
                found.extend(fitting.take(MAX_ADDRESSES).map(|ip| SocketAddr::new(ip, port)));
            }
        }
        found
    }

    fn naptr(&mut self, name: &str) -> Vec<Naptr> {
        match self.ask(name, Kind::Naptr) {
            Some(Answer::Naptr(rules)) => rules.into_iter().take(MAX_RECORDS).collect(),
            _ => Vec::new(),
        }
    }

    fn srv(&mut self, name: &str) -> Vec<Srv> {
        match self.ask(name, Kind::Srv) {
            Some(Answer::Srv(records)) => records.into_iter().take(MAX_RECORDS).collect(),
            _ => Vec::new(),
        }
    }

    fn ask(&mut self, name: &str, kind: Kind) -> Option<Answer> {
        let question = Question::new(name, kind);
        match (self.known)(&question) {
            Some(Reply::Said(answer)) => Some(answer),
            Some(Reply::Silent) => {
                self.silent = true;
                None
            }
            None => {
                if !self.missing.contains(&question) {
                    self.missing.push(question);
                }
                None
            }
        }
    }
}

impl Site {
    /// One rank for all.
    pub fn of(transport: Transport, addresses: Vec<SocketAddr>) -> Site {
        Site { transport, rank: 0, weight: 0, addresses }
    }
}

impl Families {
    pub fn take(self, ip: IpAddr) -> bool {
        if ip.is_ipv4() { self.v4 } else { self.v6 }
    }

    /// What a socket bound to `listen` reaches; an IPv6 wildcard takes IPv4 as well.
    pub fn of(listen: SocketAddr) -> Families {
        Families { v4: listen.is_ipv4() || listen.ip().is_unspecified(), v6: listen.is_ipv6() }
    }
}

fn label(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "_sip._udp",
        Transport::Tcp => "_sip._tcp",
        Transport::Tls => "_sips._tcp",
    }
}

/// The transport of a rule that we can follow (RFC 3263 §4.1).
fn transport_of(rule: &Naptr) -> Option<Transport> {
    if !rule.flags.eq_ignore_ascii_case("s") || rule.replacement.is_empty() {
        return None;
    }
    match rule.service.to_ascii_uppercase().as_str() {
        "SIP+D2U" => Some(Transport::Udp),
        "SIP+D2T" => Some(Transport::Tcp),
        "SIPS+D2T" => Some(Transport::Tls),
        _ => None,
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
