//! A certification authority of one certificate, for a service that is reached over wss.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::CertifiedKey;
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;

pub struct Authority {
    folder: TempDir,
    made: CertifiedKey<rcgen::KeyPair>,
}

impl Authority {
    pub fn new() -> Authority {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let authority = Authority { folder, made };
        std::fs::write(authority.file(), authority.made.cert.pem()).expect("written");
        authority
    }

    /// What the gateway has to trust.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("service.pem")
    }

    pub fn acceptor(&self) -> TlsAcceptor {
        let key = self.made.signing_key.serialize_der().try_into().expect("a key");
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![self.made.cert.der().clone()], key)
            .expect("a certificate with its key");
        TlsAcceptor::from(Arc::new(config))
    }
}
