//! The ways that a scenario goes: UDP, TCP, or TLS. SIPp as Debian builds it speaks no TLS, so a relay stands before it
//! that speaks TLS towards the box and TCP towards SIPp; SIPp's messages name the relay and TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::authority::Authority;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Udp,
    Tcp,
    Tls,
}

/// Makes a test for each way out of each `async fn name(way: Way)`.
macro_rules! each_way {
    ($($name:ident),* $(,)?) => {
        $(mod $name {
            use crate::way::Way;

            #[tokio::test]
            async fn over_udp() {
                super::$name(Way::Udp).await;
            }

            #[tokio::test]
            async fn over_tcp() {
                super::$name(Way::Tcp).await;
            }

            #[tokio::test]
            async fn over_tls() {
                super::$name(Way::Tls).await;
            }
        })*
    };
}
pub(crate) use each_way;

/// The name that certificates of these tests are for.
pub const NAME: &str = "sip.example.com";

/// Takes connections of one kind and makes ones of the other; gone with its owner.
pub struct Relay {
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Relay {
    /// TLS in, TCP out.
    pub async fn to_plain(authority: &Authority, to: SocketAddr) -> Relay {
        let (certificate, key) = authority.sign(NAME, 2090);
        let chain = vec![CertificateDer::from_pem_file(certificate).expect("a certificate")];
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, PrivateKeyDer::from_pem_file(key).expect("a key"))
            .expect("a pair");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Relay::start(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                // Whoever does not believe us goes away again.
                if let Ok(stream) = acceptor.accept(stream).await {
                    join(stream, TcpStream::connect(to).await.expect("sipp listens")).await;
                }
            }
        })
        .await
    }

    /// TCP in, TLS out.
    pub async fn to_tls(authority: &Authority, to: SocketAddr) -> Relay {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authority.ca()).expect("readable")).expect("a certificate");
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(config));
        Relay::start(move |stream| {
            let connector = connector.clone();
            async move {
                let name = ServerName::try_from(NAME).expect("a name");
                let out = TcpStream::connect(to).await.expect("the endpoint listens");
                join(stream, connector.connect(name, out).await.expect("a handshake")).await;
            }
        })
        .await
    }

    async fn start<F: Future<Output = ()> + Send + 'static>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream));
            }
        });
        Relay { address, task }
    }
}

/// Until either side ends, however it does.
async fn join(mut one: impl AsyncRead + AsyncWrite + Unpin, mut other: impl AsyncRead + AsyncWrite + Unpin) {
    let _ = copy_bidirectional(&mut one, &mut other).await;
}
