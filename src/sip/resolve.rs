//! Host names to addresses. Literals never reach the network.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;

use super::message::Host;

#[derive(Clone)]
pub struct Resolver {
    /// Absent on a host without `/etc/resolv.conf`.
    dns: Option<TokioResolver>,
}

/// Longest wait for a name.
const PATIENCE: Duration = Duration::from_secs(5);

impl Resolver {
    /// With the servers and hosts of the system.
    pub fn system() -> Resolver {
        let dns = TokioResolver::builder_tokio().and_then(hickory_resolver::ResolverBuilder::build);
        if let Err(problem) = &dns {
            tracing::warn!(%problem, "no DNS server is configured; only trunks given by address can be reached");
        }
        Resolver { dns: dns.ok() }
    }

    /// The addresses of `host` that a socket bound to `listen` can reach, or a sentence for the operator.
    pub async fn addresses(&self, host: &str, listen: SocketAddr) -> Result<Vec<IpAddr>, String> {
        if let Ok(Host::Ip(ip)) = Host::parse(host) {
            return reachable(std::iter::once(ip), listen);
        }
        let dns = self.dns.as_ref().ok_or("no DNS server is configured")?;
        match tokio::time::timeout(PATIENCE, dns.lookup_ip(host)).await {
            Ok(Ok(found)) => reachable(found.iter(), listen),
            Ok(Err(_)) => Err("its name does not resolve to an address".into()),
            Err(_) => Err("the DNS server does not answer".into()),
        }
    }
}

fn reachable(found: impl Iterator<Item = IpAddr>, listen: SocketAddr) -> Result<Vec<IpAddr>, String> {
    let all_families = listen.is_ipv6() && listen.ip().is_unspecified();
    let usable: Vec<IpAddr> = found.filter(|ip| all_families || ip.is_ipv4() == listen.is_ipv4()).collect();
    if usable.is_empty() {
        Err("it has no address of the family that [sip] listen is bound to".into())
    } else {
        Ok(usable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn literals_need_no_dns_and_must_fit_the_socket() {
        let resolver = Resolver { dns: None };
        let v4: SocketAddr = "0.0.0.0:5060".parse().expect("address");
        let both: SocketAddr = "[::]:5060".parse().expect("address");
        assert_eq!(resolver.addresses("192.0.2.1", v4).await, Ok(vec!["192.0.2.1".parse().expect("address")]));
        assert!(resolver.addresses("[2001:db8::1]", v4).await.is_err());
        assert!(resolver.addresses("[2001:db8::1]", both).await.is_ok());
        assert!(resolver.addresses("pbx.example.com", v4).await.is_err());
    }
}
