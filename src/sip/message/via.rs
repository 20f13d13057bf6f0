//! Via values (RFC 3261 §20.42) and symmetric response routing (RFC 3581).

use std::net::SocketAddr;

use super::params::Params;
use super::uri::{BadUri, Host};
use crate::sip::transport::{Hop, Link, Transport};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Via {
    /// `UDP`, `TCP`, …, in upper case.
    pub transport: String,
    pub host: Host,
    pub port: Option<u16>,
    pub branch: Option<String>,
    pub params: Params,
    /// `SIP/2.0` as written; another version is kept for the answer that it is owed.
    pub version: String,
}

/// Every branch of RFC 3261 begins with it; what follows must not be empty.
pub const MAGIC_COOKIE: &str = "z9hG4bK";

impl Via {
    pub fn parse(text: &str) -> Result<Via, BadUri> {
        let mut parts = text.trim().splitn(3, '/');
        let name = parts.next().ok_or(BadUri)?.trim();
        let version = parts.next().ok_or(BadUri)?.trim();
        let rest = parts.next().ok_or(BadUri)?.trim_start();
        let (transport, rest) = rest.split_once(|letter: char| letter.is_ascii_whitespace()).ok_or(BadUri)?;
        if !name.eq_ignore_ascii_case("SIP") || transport.is_empty() {
            return Err(BadUri);
        }
        let (sent_by, params) = match rest.find(';') {
            Some(at) => rest.split_at_checked(at).ok_or(BadUri)?,
            None => (rest, ""),
        };
        let (host, port) = Host::parse_with_port(sent_by)?;
        let params = Params::parse(params).ok_or(BadUri)?;
        Ok(Via {
            transport: transport.to_ascii_uppercase(),
            host,
            port,
            branch: params.value("branch").map(str::to_owned),
            params,
            version: format!("SIP/{version}"),
        })
    }

    /// Whether the branch names the transaction (RFC 3261 §17.2.3).
    pub fn has_unique_branch(&self) -> bool {
        self.branch.as_deref().is_some_and(|branch| {
            branch.len() > MAGIC_COOKIE.len()
                && branch.get(..MAGIC_COOKIE.len()).is_some_and(|start| start.eq_ignore_ascii_case(MAGIC_COOKIE))
        })
    }

    /// Notes where the request came from: `received` always, `rport` when asked for.
    pub fn stamp(&mut self, source: SocketAddr) {
        self.params.set("received", source.ip().to_string());
        if self.params.has("rport") {
            self.params.set("rport", source.port().to_string());
        }
    }

    /// Where the response goes (RFC 3261 §18.2.2, RFC 3581 §4): over UDP to the source; else back on the connection that
    /// the request came in on and, when that is gone, on a new one to the port of sent-by. `maddr` is not followed: it would
    /// let a stranger aim our answers at anyone.
    pub fn reply_to(&self, source: Hop) -> Hop {
        let port = match (source.transport, source.link) {
            (Transport::Udp, _) if !self.params.has("rport") => self.port_or_default(),
            (Transport::Tcp | Transport::Tls, Link::Connection(_)) => self.port_or_default(),
            // A connection of ours leads there already.
            (Transport::Udp | Transport::Tcp | Transport::Tls, _) => source.address.port(),
        };
        Hop { address: SocketAddr::new(source.ip(), port), ..source }
    }

    fn port_or_default(&self) -> u16 {
        let spoken = Transport::parse(&self.transport).unwrap_or(Transport::Udp);
        self.port.unwrap_or(spoken.default_port())
    }

    /// `host:port` for transaction matching; the default port spelt out.
    pub fn sent_by(&self) -> String {
        format!("{}:{}", self.host, self.port_or_default()).to_ascii_lowercase()
    }
}

impl std::fmt::Display for Via {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{} {}", self.version, self.transport, self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        write!(f, "{}", self.params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_white_space_and_ipv6() {
        let via = Via::parse("SIP  / 2.0\t / UDP  192.0.2.2 : 5070 ; branch=z9hG4bKx ;rport").expect("valid");
        assert_eq!((via.port, via.branch.as_deref()), (Some(5070), Some("z9hG4bKx")));
        let via = Via::parse("SIP/2.0/UDP [2001:db8::9:1];received=[2001:db8::9:255];branch=z9hG4bK").expect("valid");
        assert!(!via.has_unique_branch());
        assert_eq!(via.host.to_string(), "[2001:db8::9:1]");
    }

    #[test]
    fn the_answer_goes_to_the_source() {
        let source: SocketAddr = "192.0.2.9:4444".parse().expect("address");
        let mut via = Via::parse("SIP/2.0/UDP 10.0.0.1:5070;rport;branch=z9hG4bKa").expect("valid");
        assert_eq!(via.reply_to(Hop::udp(source)), Hop::udp(source));
        via.stamp(source);
        assert_eq!(via.to_string(), "SIP/2.0/UDP 10.0.0.1:5070;rport=4444;branch=z9hG4bKa;received=192.0.2.9");
        let plain = Via::parse("SIP/2.0/UDP 10.0.0.1:5070;branch=z9hG4bKa;maddr=203.0.113.1").expect("valid");
        assert_eq!(plain.reply_to(Hop::udp(source)), Hop::udp("192.0.2.9:5070".parse().expect("address")));
    }

    #[test]
    fn over_a_connection_the_answer_goes_back_on_it_or_to_sent_by() {
        let source: SocketAddr = "192.0.2.9:4444".parse().expect("address");
        let reply = |via: &str, hop: Hop| Via::parse(via).expect("valid").reply_to(hop);
        let theirs = |transport| Hop::new(transport, source, Link::Connection(7));
        let back = reply("SIP/2.0/TCP 10.0.0.1:5070;rport;branch=z9hG4bKa", theirs(Transport::Tcp));
        assert_eq!((back.address.to_string().as_str(), back.link), ("192.0.2.9:5070", Link::Connection(7)));
        let back = reply("SIP/2.0/TLS 10.0.0.1;branch=z9hG4bKa", theirs(Transport::Tls));
        assert_eq!(back.address.to_string(), "192.0.2.9:5061");
        let ours = Hop::new(Transport::Tcp, source, Link::Any);
        assert_eq!(reply("SIP/2.0/TCP 10.0.0.1:5070;branch=z9hG4bKa", ours), ours);
    }
}
