//! The parts of a trunk's section: where it is, in which form numbers travel, who is said to call.

use serde::Deserialize;

/// One of several places where a trunk can be reached.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrunkHost {
    /// `host`, `host:port`, `[v6]:port`.
    pub host: String,
    /// The lowest is tried first.
    #[serde(default)]
    pub priority: u16,
    /// Share of the calls among hosts of one priority.
    #[serde(default = "one")]
    pub weight: u16,
}

fn one() -> u16 {
    1
}

/// How numbers are written towards a trunk and are made complete when they come from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NumberFormat {
    #[default]
    AsIs,
    /// `+4930123456`
    E164,
    /// `4930123456`
    Plain,
    /// `030123456` inside the trunk's country, `0043…` elsewhere.
    National,
}

/// How keys travel on a trunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DtmfMode {
    /// RFC 4733 when the session has it, else tones.
    #[default]
    Auto,
    Rfc4733,
    Info,
    /// As tones in the sound.
    Inband,
}

/// A header that tells a trunk who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IdentityHeader {
    From,
    PAssertedIdentity,
    RemotePartyId,
}

/// `"+49 -> 0"`: a number that begins with the left side gets the right side in its place.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct NumberRule {
    pub from: String,
    pub to: String,
}

impl NumberRule {
    pub fn parse(text: &str) -> Option<NumberRule> {
        let (from, to) = text.split_once("->")?;
        let (from, to) = (from.trim(), to.trim());
        let part = |text: &str| {
            text.len() <= 32 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+*#-._".contains(&byte))
        };
        let good = part(from) && part(to) && !(from.is_empty() && to.is_empty());
        good.then(|| NumberRule { from: from.to_owned(), to: to.to_owned() })
    }
}

impl TryFrom<String> for NumberRule {
    type Error = String;

    fn try_from(text: String) -> Result<NumberRule, String> {
        NumberRule::parse(&text).ok_or_else(|| format!("{text:?} is no rule for numbers"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_has_two_sides_of_number_signs() {
        let rule = NumberRule::parse("+49 -> 0").expect("a rule");
        assert_eq!((rule.from.as_str(), rule.to.as_str()), ("+49", "0"));
        assert!(NumberRule::parse(" -> 9").is_some() && NumberRule::parse("0->").is_some());
        for text in ["", "->", "+49", "0 -> a b", "0 -> <sip:x>", "0\r\n1 -> 1"] {
            assert_eq!(NumberRule::parse(text), None, "{text:?}");
        }
    }
}
