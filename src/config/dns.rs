//! The name servers that are asked.

use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DnsConfig {
    /// Those of the system when empty.
    pub servers: Vec<DnsServer>,
}

/// `192.0.2.53`, or with a port other than 53 `192.0.2.53:5353`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct DnsServer(pub SocketAddr);

impl DnsServer {
    pub fn parse(text: &str) -> Option<DnsServer> {
        let bare = || text.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 53));
        text.parse().ok().or_else(bare).filter(|server| server.port() != 0).map(DnsServer)
    }
}

impl TryFrom<String> for DnsServer {
    type Error = String;

    fn try_from(text: String) -> Result<DnsServer, String> {
        DnsServer::parse(&text).ok_or_else(|| format!("{text:?} is no address of a name server"))
    }
}
