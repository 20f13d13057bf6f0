//! `Replaces` (RFC 3891) and the header fields that a Refer-To URI carries (RFC 3261 §19.1.5, RFC 3515 §2.1).
//!
//! Of the fields in a URI only `Replaces` is taken: whoever names a target must not write the rest of our request.

use crate::sip::message::params::Params;
use crate::sip::message::uri::{escape_user, unescape};
use crate::sip::message::{NameAddr, SipUri, Uri};

/// Which dialog a new INVITE takes the place of. `to_tag` is the tag of whoever receives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaces {
    pub call_id: String,
    pub to_tag: String,
    pub from_tag: String,
    /// Only while the dialog is not confirmed (RFC 3891 §7.1).
    pub early_only: bool,
}

/// Longest Refer-To that is looked at, bytes.
const LONGEST: usize = 1_024;

impl Replaces {
    /// `call-id;to-tag=…;from-tag=…`, each tag exactly once.
    pub fn parse(value: &str) -> Option<Replaces> {
        let (call_id, params) = value.split_once(';')?;
        let call_id = call_id.trim();
        let names = params.split(';').map(|param| param.split('=').next().unwrap_or_default().trim());
        let count = |wanted: &str| names.clone().filter(|name| name.eq_ignore_ascii_case(wanted)).count();
        let plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte > b' ' && byte != 0x7f);
        if !plain(call_id) || count("to-tag") != 1 || count("from-tag") != 1 {
            return None;
        }
        let params = Params::parse(params)?;
        let tag = |name: &str| params.value(name).filter(|tag| plain(tag)).map(str::to_owned);
        Some(Replaces {
            call_id: call_id.to_owned(),
            to_tag: tag("to-tag")?,
            from_tag: tag("from-tag")?,
            early_only: params.has("early-only"),
        })
    }
}

impl std::fmt::Display for Replaces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{};to-tag={};from-tag={}", self.call_id, self.to_tag, self.from_tag)?;
        if self.early_only { f.write_str(";early-only") } else { Ok(()) }
    }
}

/// The target in the value of Refer-To, which of its header fields are known, and where it leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub uri: Uri,
    pub replaces: Option<Replaces>,
}

impl Target {
    /// `None` when it is no URI that an INVITE could be sent to: another scheme or method, a broken `Replaces`, too long.
    pub fn parse(value: &str) -> Option<Target> {
        if value.len() > LONGEST {
            return None;
        }
        match NameAddr::parse(value).ok()?.uri {
            Uri::Sip(mut uri) => {
                let invite = uri.params.value("method").is_none_or(|method| method.eq_ignore_ascii_case("INVITE"));
                let mut replaces = None;
                for (name, value) in fields(&uri.headers.take().unwrap_or_default())? {
                    if name.eq_ignore_ascii_case("Replaces") && replaces.replace(Replaces::parse(&value)?).is_some() {
                        return None;
                    }
                }
                invite.then_some(Target { uri: Uri::Sip(uri), replaces })
            }
            Uri::Tel(number) => Some(Target { uri: Uri::Tel(number), replaces: None }),
            Uri::Other(_) => None,
        }
    }
}

/// Puts the fields of an INVITE that follows a REFER into its target, where [`carried`] finds them.
pub fn carry(uri: &mut SipUri, replaces: Option<&Replaces>, referred_by: Option<&str>) {
    let mut fields = Vec::new();
    if let Some(replaces) = replaces {
        fields.push(format!("Replaces={}", escape_field(&replaces.to_string())));
    }
    if let Some(referred_by) = referred_by {
        fields.push(format!("Referred-By={}", escape_field(referred_by)));
    }
    uri.headers = (!fields.is_empty()).then(|| fields.join("&"));
}

/// Takes the fields that [`carry`] left in a target; a target of anybody else has none (`dialable` sees to it).
pub fn carried(uri: &mut SipUri) -> Vec<(String, String)> {
    let mut taken = fields(&uri.headers.take().unwrap_or_default()).unwrap_or_default();
    if taken.iter().any(|(name, _)| name == "Replaces") {
        // A peer that does not know it would ring somebody else's phone (RFC 5589 §7).
        taken.push(("Require".to_owned(), "replaces".to_owned()));
    }
    taken
}

/// `name=value&…`, escapes resolved; `None` when one could break out of its line.
fn fields(text: &str) -> Option<Vec<(String, String)>> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=')?;
            let (name, value) = (unescape(name), unescape(value));
            let broken = name.chars().chain(value.chars()).any(char::is_control);
            (!broken && !name.is_empty()).then_some((name, value))
        })
        .collect()
}

/// Escapes more than needed rather than less.
fn escape_field(text: &str) -> String {
    escape_user(text).replace('&', "%26").replace('=', "%3D").replace('+', "%2B").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_rfc_3891_shows() {
        let replaces = Replaces::parse("425928@bobster.example.org;to-tag=7743;from-tag=6472").expect("valid");
        assert_eq!(
            (replaces.to_tag.as_str(), replaces.from_tag.as_str(), replaces.early_only),
            ("7743", "6472", false)
        );
        assert_eq!(Replaces::parse(&replaces.to_string()), Some(replaces));
        assert!(Replaces::parse("a;from-tag=1;to-tag=2;early-only").expect("valid").early_only);
        for broken in
            ["a", "a;to-tag=1", "a;to-tag=1;to-tag=2;from-tag=3", ";to-tag=1;from-tag=2", "a;to-tag=;from-tag=2"]
        {
            assert_eq!(Replaces::parse(broken), None, "{broken}");
        }
    }

    #[test]
    fn a_target_gives_up_its_replaces_and_nothing_else() {
        let text = "<sip:dave@denver.example.org?Replaces=12345%40192.168.118.3%3Bto-tag%3D12345%3Bfrom-tag%3D5FFE-3994&Route=%3Csip:evil%3E>";
        let target = Target::parse(text).expect("valid");
        assert_eq!(target.replaces.as_ref().map(|replaces| replaces.call_id.as_str()), Some("12345@192.168.118.3"));
        assert_eq!(target.uri.to_string(), "sip:dave@denver.example.org");
        assert!(Target::parse("tel:+4930123").expect("valid").replaces.is_none());
        for broken in [
            "<sip:a@b?Replaces=x>",
            "<sip:a@b?Replaces=x%3Bto-tag%3D1%3Bfrom-tag%3D2%0D%0AX:y>",
            "<sip:a@b;method=SUBSCRIBE>",
            "http://example.com/",
            "<sip:a@b>, <sip:c@d>",
            "",
        ] {
            assert_eq!(Target::parse(broken), None, "{broken}");
        }
    }

    #[test]
    fn what_is_carried_comes_out_again() {
        let Ok(Uri::Sip(mut uri)) = Uri::parse("sip:100@192.0.2.1") else { panic!("a URI") };
        let replaces = Replaces::parse("x=y&z+1,2@h;to-tag=a;from-tag=b").expect("valid");
        carry(&mut uri, Some(&replaces), Some("\"A, B\" <sip:a@b;x=1>"));
        let fields = carried(&mut uri);
        assert_eq!(
            fields.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
            ["Replaces", "Referred-By", "Require"]
        );
        assert_eq!(Replaces::parse(&fields[0].1), Some(replaces));
        assert_eq!(fields[1].1, "\"A, B\" <sip:a@b;x=1>");
        assert_eq!(uri.to_string(), "sip:100@192.0.2.1");
    }
}
