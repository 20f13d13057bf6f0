//! SIP, SIPS and tel URIs (RFC 3261 §19.1, RFC 3966); every other scheme is kept as text.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::params::Params;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uri {
    Sip(SipUri),
    /// `tel:` number with its parameters, as written.
    Tel(String),
    /// `scheme:rest`, as written.
    Other(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SipUri {
    /// `sips:`
    pub secure: bool,
    /// User part (with password) as written, escapes kept.
    pub user: Option<String>,
    pub host: Host,
    pub port: Option<u16>,
    pub params: Params,
    /// What follows `?`.
    pub headers: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    Name(String),
    Ip(IpAddr),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a URI")]
pub struct BadUri;

impl Uri {
    pub fn parse(text: &str) -> Result<Uri, BadUri> {
        if text.bytes().any(|byte| byte <= b' ' || byte == 0x7f || matches!(byte, b'<' | b'>' | b'"')) {
            return Err(BadUri);
        }
        let (scheme, rest) = text.split_once(':').ok_or(BadUri)?;
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        if !scheme.starts_with(|first: char| first.is_ascii_alphabetic()) || !scheme.bytes().all(valid) {
            return Err(BadUri);
        }
        match scheme.to_ascii_lowercase().as_str() {
            "sip" => SipUri::parse(rest, false).map(Uri::Sip),
            "sips" => SipUri::parse(rest, true).map(Uri::Sip),
            "tel" if rest.is_empty() => Err(BadUri),
            "tel" => Ok(Uri::Tel(rest.to_owned())),
            _ => Ok(Uri::Other(text.to_owned())),
        }
    }

    pub fn sip(&self) -> Option<&SipUri> {
        match self {
            Uri::Sip(uri) => Some(uri),
            Uri::Tel(_) | Uri::Other(_) => None,
        }
    }

    /// The subscriber: the user part without password and parameters, escapes resolved; of `tel:` the number.
    pub fn number(&self) -> String {
        let user = match self {
            Uri::Sip(uri) => uri.user.as_deref().unwrap_or_default().split([':', ';']).next().unwrap_or_default(),
            Uri::Tel(number) => number.split(';').next().unwrap_or_default(),
            Uri::Other(_) => "",
        };
        unescape(user)
    }
}

impl SipUri {
    /// A plain `sip:user@host:port`; `user` is escaped.
    pub fn new(user: Option<&str>, host: Host, port: Option<u16>) -> SipUri {
        let user = user.map(escape_user);
        SipUri { secure: false, user, host, port, params: Params::default(), headers: None }
    }

    fn parse(rest: &str, secure: bool) -> Result<SipUri, BadUri> {
        // A user part may hold `;` and `?`, so it is cut first.
        let (user, rest) = match rest.rsplit_once('@') {
            Some(("", _)) => return Err(BadUri),
            Some((user, rest)) => (Some(user.to_owned()), rest),
            None => (None, rest),
        };
        if user.as_deref().is_some_and(|user| !user.bytes().all(in_user)) {
            return Err(BadUri);
        }
        let (rest, headers) = match rest.split_once('?') {
            Some((rest, headers)) => (rest, Some(headers.to_owned())),
            None => (rest, None),
        };
        let (hostport, params) = rest.split_once(';').unwrap_or((rest, ""));
        let (host, port) = Host::parse_with_port(hostport)?;
        let params = Params::parse(params).ok_or(BadUri)?;
        Ok(SipUri { secure, user, host, port, params, headers })
    }

    /// Where requests to it go, when the host is an address. Default port 5060.
    pub fn address(&self) -> Option<SocketAddr> {
        self.host.ip().map(|ip| SocketAddr::new(ip, self.port.unwrap_or(5060)))
    }
}

impl Host {
    pub fn parse(text: &str) -> Result<Host, BadUri> {
        match Host::parse_with_port(text)? {
            (host, None) => Ok(host),
            _ => Err(BadUri),
        }
    }

    /// `host`, `host:port`, `[v6]`, `[v6]:port`; white space around the colon is tolerated (RFC 3261 §25.1 COLON).
    pub fn parse_with_port(text: &str) -> Result<(Host, Option<u16>), BadUri> {
        let text = text.trim();
        if let Some(rest) = text.strip_prefix('[') {
            let (inside, after) = rest.split_once(']').ok_or(BadUri)?;
            let port = match after.trim() {
                "" => None,
                after => Some(parse_port(after.strip_prefix(':').ok_or(BadUri)?)?),
            };
            return Ok((Host::Ip(parse_v6(inside)?.into()), port));
        }
        let (name, port) = match text.split_once(':') {
            Some((name, port)) => (name.trim_end(), Some(parse_port(port)?)),
            None => (text, None),
        };
        if let Ok(ip) = name.parse::<std::net::Ipv4Addr>() {
            return Ok((Host::Ip(ip.into()), port));
        }
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if name.is_empty() || name.len() > 253 || !name.bytes().all(valid) {
            return Err(BadUri);
        }
        Ok((Host::Name(name.to_owned()), port))
    }

    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Host::Ip(ip) => Some(*ip),
            Host::Name(_) => None,
        }
    }
}

fn parse_port(text: &str) -> Result<u16, BadUri> {
    let text = text.trim();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BadUri);
    }
    text.parse().map_err(|_| BadUri)
}

/// The three colons that the grammar of RFC 3261 allowed before an embedded IPv4 address are read as two
/// (RFC 5118 §4.10).
fn parse_v6(text: &str) -> Result<Ipv6Addr, BadUri> {
    text.parse().or_else(|_| text.replacen(":::", "::", 1).parse()).map_err(|_| BadUri)
}

/// `user`, `password` and their separator (RFC 3261 §25.1), and `%` of escapes.
fn in_user(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/%:".contains(&byte) || byte >= 0x80
}

/// Escapes what a user part may not hold as it is.
pub fn escape_user(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,/".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

/// Resolves `%41`; a `%` that begins no escape stays. Escaped bytes that are no UTF-8 become U+FFFD.
pub fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let value = match (first, after) {
            (b'%', [high, low, ..]) => hex_value(*high).zip(hex_value(*low)).map(|(high, low)| high * 16 + low),
            _ => None,
        };
        bytes.push(value.unwrap_or(first));
        rest = if value.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex_value(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::Ip(IpAddr::V4(ip)) => ip.fmt(f),
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
        }
    }
}

impl std::fmt::Display for SipUri {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.secure { "sips:" } else { "sip:" })?;
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        write!(f, "{}", self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        write!(f, "{}", self.params)?;
        match &self.headers {
            Some(headers) => write!(f, "?{headers}"),
            None => Ok(()),
        }
    }
}

impl std::fmt::Display for Uri {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Uri::Sip(uri) => uri.fmt(f),
            Uri::Tel(number) => write!(f, "tel:{number}"),
            Uri::Other(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for text in [
            "sip:user@example.com",
            "sip:user;par=u%40example.net@example.com",
            "sip:+49301234;phone-context=x@[2001:db8::1]:5070;transport=udp;lr",
            "sips:example.com",
            "tel:+49-30-1234;ext=7",
            "soap.beep://192.0.2.103:3002",
            "sip:user@example.com?Route=%3Csip:example.com%3E",
        ] {
            assert_eq!(Uri::parse(text).expect(text).to_string(), text);
        }
    }

    #[test]
    fn refuses_what_is_no_uri() {
        for text in [
            "",
            "sip:",
            "user",
            "sip:2001:db8::10",
            "<sip:a@b>",
            "sip:a b@c",
            "sip:a@b:port",
            "sip:@b",
            "sip:a@b:99999",
        ] {
            assert_eq!(Uri::parse(text), Err(BadUri), "{text}");
        }
    }

    #[test]
    fn three_colons_of_the_old_grammar_are_read_as_two() {
        let uri = Uri::parse("sip:user@[2001:db8:::192.0.2.1]").expect("lenient");
        assert_eq!(uri.to_string(), "sip:user@[2001:db8::c000:201]");
    }

    #[test]
    fn the_number_has_no_escapes_and_no_parameters() {
        assert_eq!(Uri::parse("sip:%2B49;npdi:pw@h").expect("valid").number(), "+49");
        assert_eq!(Uri::parse("tel:+49-30;ext=7").expect("valid").number(), "+49-30");
        assert_eq!(unescape("100%"), "100%");
        assert_eq!(escape_user("a#b c"), "a%23b%20c");
    }
}
