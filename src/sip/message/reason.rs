//! The Reason field (RFC 3326): why a request ends a call, or why a call was refused (RFC 6432).

use super::Fields;
use super::params::{Params, quote, unquote};

/// One value of Reason. Protocols other than these two are not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    pub protocol: Protocol,
    /// SIP: a status code. Q.850: a cause value of 1 to 127.
    pub cause: u16,
    /// In the peer's words, without control characters.
    pub text: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Sip,
    Q850,
}

/// The longest text that is kept.
const MAX_TEXT: usize = 128;

impl Reason {
    pub fn sip(cause: u16, text: &str) -> Reason {
        Reason { protocol: Protocol::Sip, cause, text: Some(text.to_owned()) }
    }

    pub fn q850(cause: u16, text: &str) -> Reason {
        Reason { protocol: Protocol::Q850, cause, text: Some(text.to_owned()) }
    }

    /// Another phone took the call (RFC 3326 §3.1, RFC 7639).
    pub fn answered_elsewhere() -> Reason {
        Reason::sip(200, "Call completed elsewhere")
    }

    /// What the fields say: at most one value a protocol (RFC 3326 §2), unreadable ones left out.
    pub fn read(fields: &Fields) -> Vec<Reason> {
        let mut found: Vec<Reason> = Vec::new();
        for reason in fields.list("Reason").iter().filter_map(|value| Reason::parse(value)) {
            if found.iter().all(|other| other.protocol != reason.protocol) {
                found.push(reason);
            }
        }
        found
    }

    fn parse(value: &str) -> Option<Reason> {
        let (protocol, params) = value.split_once(';')?;
        let protocol = match protocol.trim().to_ascii_lowercase().as_str() {
            "sip" => Protocol::Sip,
            "q.850" => Protocol::Q850,
            _ => return None,
        };
        let params = Params::parse(params)?;
        let cause: u16 = params.value("cause")?.parse().ok()?;
        let known = match protocol {
            Protocol::Sip => (200..700).contains(&cause),
            Protocol::Q850 => (1..128).contains(&cause),
        };
        let text = params
            .value("text")
            .map(|text| unquote(text).chars().filter(|letter| !letter.is_control()).take(MAX_TEXT).collect::<String>());
        known.then_some(Reason { protocol, cause, text: text.filter(|text| !text.is_empty()) })
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let protocol = match self.protocol {
            Protocol::Sip => "SIP",
            Protocol::Q850 => "Q.850",
        };
        write!(f, "{protocol};cause={}", self.cause)?;
        match &self.text {
            Some(text) => write!(f, ";text={}", quote(text)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str]) -> Vec<Reason> {
        let mut fields = Fields::default();
        for value in values {
            fields.push("Reason", *value);
        }
        Reason::read(&fields)
    }

    #[test]
    fn both_protocols_are_read_and_written_back() {
        let values =
            ["Q.850;cause=16;text=\"Terminated, normally\"", "SIP;cause=200;text=\"Call completed elsewhere\""];
        let reasons = read(&[&values.join(", ")]);
        assert_eq!(reasons.iter().map(Reason::to_string).collect::<Vec<_>>(), values);
        assert_eq!(reasons[1], Reason::answered_elsewhere());
        assert_eq!(read(&["q.850 ; cause = 17"]), [Reason { protocol: Protocol::Q850, cause: 17, text: None }]);
    }

    #[test]
    fn only_the_first_of_a_protocol_counts_and_nonsense_is_left_out() {
        let reasons =
            read(&["SIP;cause=486", "SIP;cause=600", "Q.850", "Q.850;cause=0", "X;cause=1", "Q.850;cause=19"]);
        assert_eq!(reasons.iter().map(|reason| reason.cause).collect::<Vec<_>>(), [486, 19]);
        assert!(read(&["SIP;cause=99999", "SIP;cause=-1", "SIP;text=\"open"]).is_empty());
    }

    #[test]
    fn a_text_cannot_grow_or_break_a_line() {
        let long = format!("SIP;cause=480;text=\"a\tb{}\"", "x".repeat(1_000));
        let text = read(&[&long]).remove(0).text.expect("a text");
        assert!(text.starts_with("abx") && text.len() == MAX_TEXT, "{text}");
    }
}
