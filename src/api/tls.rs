//! What HTTPS shows: the configured certificate, or the one that the box made for itself.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::clock::Clock;
use crate::config::Config;
use crate::ops::certificate;

use super::StartError;

/// What the listener needs, and the certificate for those who pin it.
pub(super) struct Tls {
    pub(super) config: Arc<ServerConfig>,
    pub(super) certificate_pem: String,
}

pub(super) fn load(config: &Config, clock: &Clock) -> Result<Tls, StartError> {
    let (certificate, key) = match (&config.http.certificate, &config.http.key) {
        (Some(certificate), Some(key)) => (certificate.clone(), key.clone()),
        (None, None) => {
            certificate::self_signed(config, clock).map_err(|bad| failed(Path::new(&bad.path), &bad.problem))?
        }
        (Some(path), None) | (None, Some(path)) => {
            return Err(failed(path, "[http] certificate and key belong together: give both or none"));
        }
    };
    let certificate_pem = std::fs::read_to_string(&certificate).map_err(|error| failed(&certificate, &error))?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(certificate_pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| failed(&certificate, &error))?;
    if chain.is_empty() {
        return Err(failed(&certificate, "there is no certificate in it; PEM is expected"));
    }
    let private = PrivateKeyDer::from_pem_file(&key).map_err(|error| failed(&key, &error))?;
    let mut server = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&certificate, &error))?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| failed(&certificate, &error))?;
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Tls { config: Arc::new(server), certificate_pem })
}

fn failed(path: &Path, problem: &(impl ToString + ?Sized)) -> StartError {
    StartError::Certificate { path: path.display().to_string(), problem: problem.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_configured_certificate_is_named_with_its_path() {
        let folder = tempfile::tempdir().expect("folder");
        let clock = Clock::system();
        // With a path configured, nothing is made or written.
        let mut config = Config::default();
        config.http.certificate = Some(folder.path().join("mine.pem"));
        let text = |config: &Config| load(config, &clock).err().expect("refused").to_string();
        assert!(text(&config).contains("belong together"));
        config.http.key = Some(folder.path().join("mine.key"));
        assert!(text(&config).contains("mine.pem"));
        std::fs::write(folder.path().join("mine.pem"), "nothing").expect("written");
        assert!(text(&config).contains("no certificate"));
    }
}
