//! Why a connection is refused or lost, in the words of the metrics and of the operator.

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::{AlertDescription, CertificateError, InvalidMessage};

use super::{Transport, TrunkId};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trouble {
    Full,
    SourceFull,
    NotTls,
    TlsOnTcp,
    NotSip,
    Malformed,
    Slow,
    Idle,
    Stuck,
    Dead,
    Handshake,
    NoCertificate,
    Expired,
    Foreign,
    WrongName,
    BadCertificate,
    Distrusted,
    Unreachable,
    Broken,
    Closed,
}

impl Trouble {
    /// The label of the metric.
    pub fn label(self) -> &'static str {
        match self {
            Trouble::Full => "full",
            Trouble::SourceFull => "source-full",
            Trouble::NotTls => "not-tls",
            Trouble::TlsOnTcp => "tls-on-tcp",
            Trouble::NotSip => "not-sip",
            Trouble::Malformed => "malformed",
            Trouble::Slow => "slow",
            Trouble::Idle => "idle",
            Trouble::Stuck => "stuck",
            Trouble::Dead => "dead",
            Trouble::Handshake => "handshake",
            Trouble::NoCertificate => "no-certificate",
            Trouble::Expired => "certificate-expired",
            Trouble::Foreign => "certificate-foreign",
            Trouble::WrongName => "certificate-name",
            Trouble::BadCertificate => "certificate-bad",
            Trouble::Distrusted => "distrusted",
            Trouble::Unreachable => "unreachable",
            Trouble::Broken => "broken",
            Trouble::Closed => "closed",
        }
    }

    /// The operator's sentence; it names no address.
    pub fn sentence(self) -> &'static str {
        match self {
            Trouble::Full => "there are too many connections",
            Trouble::SourceFull => "one source holds too many connections",
            Trouble::NotTls => "the peer speaks no TLS on the TLS port",
            Trouble::TlsOnTcp => "the peer speaks TLS on the port for plain TCP",
            Trouble::NotSip => "the peer speaks no SIP",
            Trouble::Malformed => "the peer's message cannot be told from what follows it",
            Trouble::Slow => "a message of the peer did not end in time",
            Trouble::Idle => "nothing happened on the connection",
            Trouble::Stuck => "the peer does not read what is sent to it",
            Trouble::Dead => "the peer no longer answers keep-alives",
            Trouble::Handshake => "the TLS handshake came to nothing",
            Trouble::NoCertificate => "the peer showed no certificate",
            Trouble::Expired => "the peer's certificate is expired or not valid yet",
            Trouble::Foreign => "the peer's certificate is of an authority that is not trusted here",
            Trouble::WrongName => "the peer's certificate is of another name",
            Trouble::BadCertificate => "the peer's certificate cannot be used",
            Trouble::Distrusted => "the peer refused our certificate, or wants one",
            Trouble::Unreachable => "no connection can be opened",
            Trouble::Broken => "the connection broke",
            Trouble::Closed => "the peer closed the connection",
        }
    }

    /// Something that an operator can put right, or has to know.
    pub fn is_worth_a_warning(self) -> bool {
        match self {
            Trouble::Malformed
            | Trouble::Slow
            | Trouble::Idle
            | Trouble::NotSip
            | Trouble::Handshake
            | Trouble::Unreachable
            | Trouble::Broken
            | Trouble::Closed => false,
            Trouble::Full
            | Trouble::SourceFull
            | Trouble::NotTls
            | Trouble::TlsOnTcp
            | Trouble::Stuck
            | Trouble::Dead
            | Trouble::NoCertificate
            | Trouble::Expired
            | Trouble::Foreign
            | Trouble::WrongName
            | Trouble::BadCertificate
            | Trouble::Distrusted => true,
        }
    }

    /// What rustls or the socket said during a handshake or after it.
    pub fn of(error: &io::Error) -> Trouble {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => Trouble::NotTls,
            Some(rustls::Error::NoCertificatesPresented) => Trouble::NoCertificate,
            Some(rustls::Error::InvalidCertificate(problem)) => match problem {
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. } => Trouble::Expired,
                CertificateError::UnknownIssuer | CertificateError::BadSignature => Trouble::Foreign,
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                    Trouble::WrongName
                }
                _ => Trouble::BadCertificate,
            },
            Some(rustls::Error::AlertReceived(
                AlertDescription::UnknownCA
                | AlertDescription::BadCertificate
                | AlertDescription::CertificateUnknown
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateRequired
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::AccessDenied,
            )) => Trouble::Distrusted,
            Some(_) => Trouble::Handshake,
            // A TLS peer that is killed says no farewell.
            None => match error.kind() {
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe => Trouble::Closed,
                _ => Trouble::Broken,
            },
        }
    }
}

/// Says each trouble at most once a minute, with how often it came.
#[derive(Default)]
pub struct Complaints(Mutex<HashMap<(Trouble, Option<TrunkId>), Said>>);

struct Said {
    at: Instant,
    /// Of the same kind since then.
    silent: u64,
}

const PAUSE: Duration = Duration::from_secs(60);

impl Complaints {
    /// Counts it, and warns of it when it is time; both keys are bounded by the program and the configuration.
    pub fn note(&self, trouble: Trouble, transport: Transport, trunk: Option<(TrunkId, &str)>, now: Instant) {
        let (reason, transport) = (trouble.label(), transport.name());
        metrics::counter!("trunkline_sip_connections_refused_total", "reason" => reason, "transport" => transport)
            .increment(1);
        if !trouble.is_worth_a_warning() {
            return;
        }
        let Some(before) = self.due((trouble, trunk.map(|(id, _)| id)), now) else { return };
        let (sentence, trunk) = (trouble.sentence(), trunk.map_or("none", |(_, name)| name));
        tracing::warn!(transport, trunk, before, "SIP connection: {sentence}");
    }

    /// How many were not said since the last time, when one may be said now.
    fn due(&self, key: (Trouble, Option<TrunkId>), now: Instant) -> Option<u64> {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match said.get_mut(&key) {
            Some(last) if now < last.at + PAUSE => {
                last.silent += 1;
                None
            }
            Some(last) => {
                last.at = now;
                Some(std::mem::take(&mut last.silent))
            }
            None => {
                said.insert(key, Said { at: now, silent: 0 });
                Some(0)
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_once_a_minute_with_its_count() {
        let (complaints, now) = (Complaints::default(), Instant::now());
        let due = |trouble: Trouble, trunk: Option<u32>, seconds: u64| {
            complaints.due((trouble, trunk.map(TrunkId)), now + Duration::from_secs(seconds))
        };
        assert_eq!(due(Trouble::NotTls, None, 0), Some(0));
        assert_eq!([due(Trouble::NotTls, None, 1), due(Trouble::NotTls, None, 59)], [None, None]);
        assert_eq!(due(Trouble::Expired, Some(1), 1), Some(0));
        assert_eq!(due(Trouble::Expired, Some(2), 1), Some(0));
        assert_eq!(due(Trouble::NotTls, None, 61), Some(2));
    }
}
