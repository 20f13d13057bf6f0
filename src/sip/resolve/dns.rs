//! Questions to the name servers and their answers, over hickory. Nothing is kept here.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use hickory_resolver::{ResolverBuilder, TokioResolver};

use super::record::{Answer, Kind, Naptr, Question, Srv, plain};

#[derive(Clone)]
pub struct Dns {
    /// Absent on a host without `/etc/resolv.conf` and without configured servers.
    resolver: Option<TokioResolver>,
}

/// DNS gave no answer that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silent;

/// One try of one server.
const TRY: Duration = Duration::from_secs(2);
const TRIES: usize = 2;
/// Longest wait for one answer, whatever the servers do.
const PATIENCE: Duration = Duration::from_secs(5);
/// For a "no" whose SOA is missing.
const NEGATIVE: Duration = Duration::from_secs(60);

impl Dns {
    /// With these servers, or with those of the system when there are none.
    pub fn new(servers: &[SocketAddr]) -> Dns {
        let builder = if servers.is_empty() {
            TokioResolver::builder_tokio()
        } else {
            let servers = servers.iter().copied().map(name_server).collect();
            let config = ResolverConfig::from_parts(None, Vec::new(), servers);
            Ok(TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()))
        };
        let resolver = builder.map(prepared).and_then(ResolverBuilder::build);
        if let Err(problem) = &resolver {
            tracing::warn!(%problem, "no DNS server is configured; only trunks given by address can be reached");
        }
        Dns { resolver: resolver.ok() }
    }

    #[cfg(test)]
    pub fn none() -> Dns {
        Dns { resolver: None }
    }

    pub fn is_there(&self) -> bool {
        self.resolver.is_some()
    }

    /// The answer and how long it is good for.
    pub async fn ask(&self, question: &Question, now: Instant) -> Result<(Answer, Duration), Silent> {
        let Some(resolver) = &self.resolver else { return Err(Silent) };
        let kind = match question.kind {
            Kind::Naptr => RecordType::NAPTR,
            Kind::Srv => RecordType::SRV,
            Kind::A => RecordType::A,
            Kind::Aaaa => RecordType::AAAA,
        };
        // With its last dot a name is complete: no search domain is tried. A single label is one of the local network.
        let dot = if question.name.contains('.') { "." } else { "" };
        let name = format!("{}{dot}", question.name);
        match tokio::time::timeout(PATIENCE, resolver.lookup(name.as_str(), kind)).await {
            Ok(Ok(found)) => {
                let ttl = found.valid_until().saturating_duration_since(now);
                Ok((answer(question.kind, found.answers()), ttl))
            }
            Ok(Err(NetError::Dns(DnsError::NoRecordsFound(no))))
                if matches!(no.response_code, ResponseCode::NoError | ResponseCode::NXDomain) =>
            {
                let ttl = no.negative_ttl.map_or(NEGATIVE, |seconds| Duration::from_secs(seconds.into()));
                Ok((Answer::Nothing, ttl))
            }
            Ok(Err(problem)) => {
                tracing::debug!(%problem, "DNS gave no answer");
                Err(Silent)
            }
            Err(_) => Err(Silent),
        }
    }
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let at_port = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    let connections = vec![at_port(ConnectionConfig::udp()), at_port(ConnectionConfig::tcp())];
    NameServerConfig::new(address.ip(), true, connections)
}

fn prepared(mut builder: ResolverBuilder<TokioRuntimeProvider>) -> ResolverBuilder<TokioRuntimeProvider> {
    let options = builder.options_mut();
    // Ours keeps what DNS said beyond its failure; two caches would not know of each other.
    options.cache_size = 0;
    options.timeout = TRY;
    options.attempts = TRIES;
    builder
}

fn answer(kind: Kind, records: &[Record]) -> Answer {
    let data = records.iter().map(|record| &record.data);
    let found = match kind {
        Kind::Naptr => Answer::Naptr(data.filter_map(naptr).collect()),
        Kind::Srv => Answer::Srv(data.filter_map(srv).collect()),
        Kind::A | Kind::Aaaa => Answer::Addresses(data.filter_map(RData::ip_addr).collect()),
    };
    match &found {
        Answer::Naptr(rules) if rules.is_empty() => Answer::Nothing,
        Answer::Srv(records) if records.is_empty() => Answer::Nothing,
        Answer::Addresses(ips) if ips.is_empty() => Answer::Nothing,
        _ => found,
    }
}

fn naptr(data: &RData) -> Option<Naptr> {
    let RData::NAPTR(rule) = data else { return None };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some(Naptr {
        order: rule.order,
        preference: rule.preference,
        flags: text(&rule.flags),
        service: text(&rule.services),
        replacement: plain(&rule.replacement.to_ascii()),
    })
}

fn srv(data: &RData) -> Option<Srv> {
    let RData::SRV(record) = data else { return None };
    let (priority, weight, port) = (record.priority, record.weight, record.port);
    Some(Srv { priority, weight, port, target: plain(&record.target.to_ascii()) })
}
