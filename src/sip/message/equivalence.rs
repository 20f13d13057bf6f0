//! When two SIP URIs are the same (RFC 3261 §19.1.4).

use super::uri::{SipUri, unescape};

/// Parameters that must be there in both or in neither.
const TELLING: [&str; 5] = ["transport", "user", "ttl", "method", "maddr"];

impl SipUri {
    /// The user part counts with its case and without its escapes; the host and the parameters without case. A port,
    /// or one of the telling parameters, that only one of both names makes them different.
    pub fn is_equivalent(&self, other: &SipUri) -> bool {
        let user = |uri: &SipUri| uri.user.as_deref().map(unescape);
        let host = |uri: &SipUri| uri.host.to_string().to_ascii_lowercase();
        self.secure == other.secure
            && user(self) == user(other)
            && host(self) == host(other)
            && self.port == other.port
            && self.params_agree(other)
            && self.headers == other.headers
    }

    fn params_agree(&self, other: &SipUri) -> bool {
        let same = |name: &str| {
            let value = |uri: &SipUri| uri.params.value(name).map(|value| unescape(value).to_ascii_lowercase());
            value(self) == value(other)
        };
        TELLING.iter().all(|name| self.params.has(name) == other.params.has(name) && same(name))
            && self.params.names().filter(|name| other.params.has(name)).all(same)
    }
}

#[cfg(test)]
mod tests {
    use crate::sip::message::Uri;

    fn same(one: &str, other: &str) -> bool {
        let parse = |text: &str| Uri::parse(text).ok().and_then(|uri| uri.sip().cloned()).expect("a SIP URI");
        let (one, other) = (parse(one), parse(other));
        assert_eq!(one.is_equivalent(&other), other.is_equivalent(&one), "either way");
        one.is_equivalent(&other)
    }

    /// The examples of RFC 3261 §19.1.4.
    #[test]
    fn the_published_examples_hold() {
        assert!(same("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"));
        assert!(same("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"));
        assert!(same("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;newparam=5"));
        for (one, other) in [
            ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
            ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
            ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
        ] {
            assert!(!same(one, other), "{one} {other}");
        }
    }
}
