//! What our TLS shows and whom it believes: one setting for those who come, one for each trunk that is gone to.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::TrunkId;
use crate::config::{SipConfig, TransportName, TrunkConfig};
use crate::sip::message::Host;

/// A file that cannot be used, and why.
#[derive(Debug, thiserror::Error)]
#[error("TLS for SIP cannot use {path}: {problem}")]
pub struct BadFile {
    pub path: String,
    pub problem: String,
}

pub struct Tls {
    server: Option<Arc<ServerConfig>>,
    /// By place in the configuration.
    trunks: Vec<Trunk>,
    /// For peers that belong to no trunk.
    others: Arc<ClientConfig>,
}

struct Trunk {
    name: String,
    /// Of trunks that speak TLS.
    config: Option<Arc<ClientConfig>>,
    /// The name that its certificate must carry.
    expected: Option<ServerName<'static>>,
    /// `expected` was configured: whoever shows a certificate of that name is the trunk.
    claimable: bool,
}

impl Tls {
    pub fn load(config: &SipConfig, trunks: &[TrunkConfig]) -> Result<Tls, BadFile> {
        let server = config.tls_listen.map(|_| server(config)).transpose()?;
        let trunks = trunks.iter().map(Trunk::load).collect::<Result<_, _>>()?;
        let others = client(public_authorities(), None)?;
        Ok(Tls { server, trunks, others })
    }

    pub fn server(&self) -> Option<Arc<ServerConfig>> {
        self.server.clone()
    }

    /// Settings and expected name for a connection to a trunk, or to whoever is at `ip`.
    pub fn client(&self, trunk: Option<TrunkId>, ip: std::net::IpAddr) -> (Arc<ClientConfig>, ServerName<'static>) {
        let own = trunk.and_then(|id| self.trunk(id));
        let config = own.and_then(|trunk| trunk.config.clone()).unwrap_or_else(|| self.others.clone());
        let name = own.and_then(|trunk| trunk.expected.clone());
        (config, name.unwrap_or_else(|| ServerName::IpAddress(ip.into())))
    }

    /// The name that the operator gave it.
    pub fn name(&self, trunk: TrunkId) -> Option<&str> {
        self.trunk(trunk).map(|trunk| trunk.name.as_str())
    }

    /// The trunks whose configured name stands in a client's certificate, which was verified before.
    pub fn claimed(&self, certificate: &CertificateDer<'_>) -> Vec<TrunkId> {
        let Ok(certificate) = ParsedCertificate::try_from(certificate) else { return Vec::new() };
        let carries = |trunk: &Trunk| {
            let name = trunk.expected.as_ref().filter(|_| trunk.claimable);
            name.is_some_and(|name| verify_server_name(&certificate, name).is_ok())
        };
        (0..).map(TrunkId).zip(&self.trunks).filter(|(_, trunk)| carries(trunk)).map(|(id, _)| id).collect()
    }

    fn trunk(&self, id: TrunkId) -> Option<&Trunk> {
        self.trunks.get(usize::try_from(id.0).ok()?)
    }
}

impl Trunk {
    fn load(config: &TrunkConfig) -> Result<Trunk, BadFile> {
        let host = Host::parse_with_port(&config.host).map(|(host, _)| host).ok();
        let host = match host {
            Some(Host::Ip(ip)) => ip.to_string(),
            Some(Host::Name(name)) => name,
            None => config.host.clone(),
        };
        let expected = ServerName::try_from(config.tls_name.clone().unwrap_or(host)).ok();
        let tls = if matches!(config.transport, TransportName::Tls | TransportName::Auto) {
            let authorities = match &config.ca {
                Some(path) => authorities(path)?,
                None => public_authorities(),
            };
            let own = config.certificate.as_deref().zip(config.key.as_deref());
            Some(client(authorities, own)?)
        } else {
            None
        };
        let claimable = config.tls_name.is_some();
        Ok(Trunk { name: config.name.clone(), config: tls, expected, claimable })
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn server(config: &SipConfig) -> Result<Arc<ServerConfig>, BadFile> {
    let (Some(certificate), Some(key)) = (&config.certificate, &config.key) else {
        return Err(failed(Path::new("[sip] certificate"), "there is none to show"));
    };
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(certificate, &error))?;
    let builder = match &config.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let roots = Arc::new(authorities(path)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| failed(path, &error))?)
        }
    };
    let (chain, private) = pair(certificate, key)?;
    let config = builder.with_single_cert(chain, private).map_err(|error| failed(certificate, &error))?;
    Ok(Arc::new(config))
}

fn client(authorities: RootCertStore, own: Option<(&Path, &Path)>) -> Result<Arc<ClientConfig>, BadFile> {
    let path = own.map_or(Path::new("[sip]"), |(certificate, _)| certificate);
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(path, &error))?
        .with_root_certificates(authorities);
    let config = match own {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let (chain, private) = pair(certificate, key)?;
            builder.with_client_auth_cert(chain, private).map_err(|error| failed(certificate, &error))?
        }
    };
    Ok(Arc::new(config))
}

fn public_authorities() -> RootCertStore {
    RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }
}

fn authorities(path: &Path) -> Result<RootCertStore, BadFile> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| failed(path, &error))?;
    }
    Ok(roots)
}

fn pair(certificate: &Path, key: &Path) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), BadFile> {
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| failed(key, &error))?;
    Ok((certificates(certificate)?, private))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, BadFile> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(found) if found.is_empty() => Err(failed(path, "there is no certificate in it; PEM is expected")),
        Ok(found) => Ok(found),
        Err(error) => Err(failed(path, &error)),
    }
}

fn failed(path: &Path, problem: &(impl ToString + ?Sized)) -> BadFile {
    BadFile { path: PathBuf::from(path).display().to_string(), problem: problem.to_string() }
}
