//! Certificates for tests.

use std::path::PathBuf;

use trunkline::config::SipConfig;

use crate::support::sip_config;

/// An authority and what it signed.
pub struct Authority {
    folder: tempfile::TempDir,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    pub fn new() -> Authority {
        let folder = tempfile::tempdir().expect("a folder");
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::new(Vec::new()).expect("valid");
        params.distinguished_name.push(rcgen::DnType::CommonName, "Test Authority");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("signed");
        std::fs::write(folder.path().join("ca.pem"), certificate.pem()).expect("written");
        Authority { folder, issuer: rcgen::Issuer::new(params, key) }
    }

    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Paths of a certificate for `name` that ends with the year `until`, and of its key.
    pub fn sign(&self, name: &str, until: i32) -> (PathBuf, PathBuf) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).expect("valid");
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 12, 31);
        let signed = params.signed_by(&key, &self.issuer).expect("signed");
        let path = |ending: &str| self.folder.path().join(format!("{name}-{until}.{ending}"));
        std::fs::write(path("pem"), signed.pem()).expect("written");
        std::fs::write(path("key"), key.serialize_pem()).expect("written");
        (path("pem"), path("key"))
    }
}

/// A configuration that takes TLS in under `name`.
pub fn server(authority: &Authority, name: &str, until: i32, t1_ms: u64) -> SipConfig {
    let (certificate, key) = authority.sign(name, until);
    SipConfig {
        tls_listen: Some("127.0.0.1:0".parse().expect("address")),
        certificate: Some(certificate),
        key: Some(key),
        ..sip_config(t1_ms)
    }
}
