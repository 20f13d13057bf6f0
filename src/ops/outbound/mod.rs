//! Requests to systems that a customer names: tools of agents, and whatever else calls out by a configured URL.
//!
//! A URL is not trusted to lead where it seems to. Its name is looked up once, every address found is judged
//! ([`network`]), and the connection goes to one of just those addresses. No redirect is followed, nothing is sent
//! twice, and an answer is read up to a bound within a time that counts from the look-up.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::{ResolverBuilder, TokioResolver};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::trust;

pub mod network;

/// One address that does not answer must leave time for the next.
const CONNECT: Duration = Duration::from_secs(3);
/// Addresses that are tried.
const MOST_ADDRESSES: usize = 4;
/// Longest head of an answer.
const HEAD: usize = 32 << 10;

/// Sends requests; cheap to clone.
#[derive(Clone)]
pub struct Outbound {
    /// Absent on a host without name servers: addresses can be reached all the same.
    resolver: Option<TokioResolver>,
    tls: Arc<ClientConfig>,
}

/// A request, and where it may go.
#[derive(Debug)]
pub struct Errand {
    /// With a complete `http` or `https` URI.
    pub request: Request<Full<Bytes>>,
    /// Networks, beside the public ones, in which its destination may be; over plain HTTP it must be in one of them.
    pub networks: Vec<IpNet>,
    /// Whom to trust in place of the public authorities.
    pub tls: Option<Arc<ClientConfig>>,
    /// From the look-up to the last octet.
    pub limit: Duration,
    /// Octets of the answer's body that are read.
    pub longest: usize,
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    /// `Content-Type` in lower case.
    pub kind: String,
    pub body: Bytes,
    /// There was more of it.
    pub cut: bool,
}

/// Why there is no answer. The words name no address.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    #[error("the address is no complete http or https URL")]
    Url,
    #[error("the name of the system cannot be looked up")]
    Name,
    #[error("the system is in a network that is not allowed")]
    Forbidden,
    #[error("the system may not be reached without TLS")]
    Plain,
    #[error("the system cannot be reached")]
    Connect(#[source] std::io::Error),
    #[error("the system's TLS is not in order")]
    Tls(#[source] std::io::Error),
    #[error("the system broke off or does not speak HTTP")]
    Broken(#[source] hyper::Error),
    #[error("the system's answer is in an encoding that was not asked for")]
    Encoding,
    #[error("the system did not answer within {} s", .0.as_secs())]
    Late(Duration),
}

impl Outbound {
    /// Asks these name servers, or those of the system when there are none. The error is the operator's sentence.
    pub fn new(servers: &[SocketAddr]) -> Result<Outbound, String> {
        let builder = if servers.is_empty() {
            TokioResolver::builder_tokio()
        } else {
            let servers = servers.iter().copied().map(name_server).collect();
            let config = ResolverConfig::from_parts(None, Vec::new(), servers);
            Ok(TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()))
        };
        let resolver = builder.and_then(ResolverBuilder::build);
        if let Err(problem) = &resolver {
            tracing::warn!(%problem, "no DNS server is configured; tools are reached by address only");
        }
        Ok(Outbound { resolver: resolver.ok(), tls: Arc::new(trust::authorities("tools", None)?) })
    }

    /// Carries `errand` out once. Dropping the future drops the request.
    pub async fn send(&self, errand: Errand) -> Result<Answer, OutboundError> {
        let limit = errand.limit;
        // Boxed: a call that waits for no tool need not hold room for one.
        let sent = tokio::time::timeout(limit, Box::pin(self.carry_out(errand))).await;
        sent.unwrap_or(Err(OutboundError::Late(limit)))
    }

    async fn carry_out(&self, errand: Errand) -> Result<Answer, OutboundError> {
        let place = Place::of(errand.request.uri())?;
        let found = self.addresses(&place.host).await?;
        network::judge(&found, &errand.networks, place.tls)?;
        let tcp = connect(&found, place.port).await.map_err(OutboundError::Connect)?;
        // Without it the last piece may wait for an acknowledgement; all else is as it was.
        let _ = tcp.set_nodelay(true);
        let request = relative(errand.request, &place)?;
        if !place.tls {
            return exchange(tcp, request, errand.longest).await;
        }
        let name = ServerName::try_from(place.host).map_err(|_| OutboundError::Url)?;
        let tls = TlsConnector::from(errand.tls.unwrap_or_else(|| self.tls.clone()));
        let stream = tls.connect(name, tcp).await.map_err(OutboundError::Tls)?;
        exchange(stream, request, errand.longest).await
    }

    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, OutboundError> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        if host.eq_ignore_ascii_case("localhost") {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let resolver = self.resolver.as_ref().ok_or(OutboundError::Name)?;
        // With its last dot a name is complete: no search domain is tried. A single label is one of the local network.
        let dot = if host.contains('.') { "." } else { "" };
        let found = resolver.lookup_ip(format!("{host}{dot}")).await.map_err(|problem| {
            tracing::debug!(%problem, "a name cannot be looked up");
            OutboundError::Name
        })?;
        let found: Vec<IpAddr> = found.iter().collect();
        if found.is_empty() { Err(OutboundError::Name) } else { Ok(found) }
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

/// Where a URL leads.
struct Place {
    tls: bool,
    /// Without the brackets of IPv6 and the last dot.
    host: String,
    port: u16,
    /// As the request names it.
    authority: String,
}

impl Place {
    fn of(uri: &Uri) -> Result<Place, OutboundError> {
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(OutboundError::Url),
        };
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
        let authority = authority.ok_or(OutboundError::Url)?;
        let host = authority.host().trim_matches(['[', ']']).trim_end_matches('.');
        if host.is_empty() {
            return Err(OutboundError::Url);
        }
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(Place { tls, host: host.to_owned(), port, authority: authority.as_str().to_owned() })
    }
}

/// The same request as it stands on a connection of its own.
fn relative(mut request: Request<Full<Bytes>>, place: &Place) -> Result<Request<Full<Bytes>>, OutboundError> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    *request.uri_mut() = path.parse().map_err(|_| OutboundError::Url)?;
    let host = HeaderValue::from_str(&place.authority).map_err(|_| OutboundError::Url)?;
    let fields = request.headers_mut();
    fields.insert(HOST, host);
    fields.insert(CONNECTION, HeaderValue::from_static("close"));
    fields.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    fields.entry(USER_AGENT).or_insert(HeaderValue::from_static("trunkline"));
    Ok(request)
}

async fn connect(found: &[IpAddr], port: u16) -> std::io::Result<TcpStream> {
    let mut problem = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
    for address in found.iter().take(MOST_ADDRESSES) {
        match tokio::time::timeout(CONNECT, TcpStream::connect((*address, port))).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => problem = error,
            Err(_) => problem = std::io::ErrorKind::TimedOut.into(),
        }
    }
    Err(problem)
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
    longest: usize,
) -> Result<Answer, OutboundError> {
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(OutboundError::Broken)?;
    let answer = async move {
        let response = sender.send_request(request).await.map_err(OutboundError::Broken)?;
        read(response, longest).await
    };
    tokio::pin!(answer, connection);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        // What came before the end may not have been read yet.
        _ = &mut connection => answer.await,
    }
}

async fn read(response: hyper::Response<hyper::body::Incoming>, longest: usize) -> Result<Answer, OutboundError> {
    let (head, mut body) = response.into_parts();
    if head.headers.get(CONTENT_ENCODING).is_some_and(|coding| coding.as_bytes() != b"identity") {
        return Err(OutboundError::Encoding);
    }
    let kind = head.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let (mut octets, mut cut) = (Vec::new(), false);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(OutboundError::Broken)?.into_data() else { continue };
        let room = longest - octets.len();
        octets.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            cut = true;
            break;
        }
    }
    Ok(Answer { status: head.status, kind: kind.to_ascii_lowercase(), body: octets.into(), cut })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_it_leads() {
        let place = |url: &str| Place::of(&url.parse().expect("a URI")).ok();
        let parts = |url: &str| place(url).map(|place| (place.tls, place.host, place.port, place.authority));
        let known = |tls, host: &str, port, authority: &str| Some((tls, host.to_owned(), port, authority.to_owned()));
        assert_eq!(parts("https://crm.example/a?b"), known(true, "crm.example", 443, "crm.example"));
        assert_eq!(parts("http://localhost.:8080"), known(false, "localhost", 8080, "localhost.:8080"));
        assert_eq!(parts("https://[::1]:8443/x"), known(true, "::1", 8443, "[::1]:8443"));
        for url in ["ftp://a/", "/a", "https://user:secret@a/", "a:80"] {
            assert!(place(url).is_none(), "{url}");
        }
    }
}
