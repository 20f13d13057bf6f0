//! Whom the demo calls.

use std::net::SocketAddr;

/// The callee and the host that is the box's trunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// User part of the callee.
    pub(super) user: String,
    /// `host:port` of the trunk.
    pub(super) host: String,
    /// The complete URI, when the operator named one.
    uri: Option<String>,
}

impl Target {
    /// The demo phone at `address`, called under `number`.
    pub(super) fn local(number: &str, address: SocketAddr) -> Target {
        Target { user: number.to_owned(), host: address.to_string(), uri: None }
    }

    /// `sip:user@host[:port]`.
    pub(super) fn parse(uri: &str) -> Result<Target, String> {
        let wrong = || format!("{uri:?} is not a phone; write sip:user@host or sip:user@host:port");
        let rest = uri.strip_prefix("sip:").ok_or_else(wrong)?;
        let (user, host) = rest.split_once('@').ok_or_else(wrong)?;
        let plain = |text: &str, more: &str| {
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.as_bytes().contains(&byte))
        };
        if plain(user, "+-_.*") && plain(host, ".-:[]") {
            Ok(Target { user: user.to_owned(), host: host.to_owned(), uri: Some(uri.to_owned()) })
        } else {
            Err(wrong())
        }
    }

    /// Whether the demo's own phone is called.
    pub(super) fn is_local(&self) -> bool {
        self.uri.is_none()
    }

    /// The number when `POST /calls` can carry it (E.164).
    pub(super) fn number(&self) -> Option<&str> {
        is_e164(&self.user).then_some(self.user.as_str())
    }

    /// What is dialled when it cannot.
    pub(super) fn uri(&self) -> String {
        self.uri.clone().unwrap_or_else(|| format!("sip:{}@{}", self.user, self.host))
    }
}

pub(super) fn is_e164(text: &str) -> bool {
    text.strip_prefix('+').is_some_and(|digits| {
        (7..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phone_is_named_by_its_uri() {
        let phone = Target::parse("sip:1001@192.0.2.7:5062").expect("a phone");
        assert_eq!((phone.user.as_str(), phone.host.as_str(), phone.number()), ("1001", "192.0.2.7:5062", None));
        assert_eq!(phone.uri(), "sip:1001@192.0.2.7:5062");
        let carrier = Target::parse("sip:+4930123456@carrier.example").expect("a phone");
        assert_eq!(carrier.number(), Some("+4930123456"));
        for wrong in ["1001@host", "sip:host", "sip:@host", "sip:a@", "sip:a b@host", "sip:a@host>;x", "tel:+49"] {
            assert!(Target::parse(wrong).is_err(), "{wrong}");
        }
    }
}
