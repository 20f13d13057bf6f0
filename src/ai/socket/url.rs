//! Where a service is.

use std::str::FromStr;

/// `ws://` or `wss://`, a host, perhaps a port, path and query (RFC 6455 §3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    pub secure: bool,
    /// A name or an address, IPv6 without brackets.
    pub host: String,
    pub port: u16,
    /// Path and query, at least `/`.
    pub path: String,
}

impl Url {
    /// As in the `Host` field.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == default_port(self.secure) { host } else { format!("{host}:{}", self.port) }
    }
}

fn default_port(secure: bool) -> u16 {
    if secure { 443 } else { 80 }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a URL such as wss://bot.example/calls, without a name, password or #")]
pub struct NoUrl;

impl FromStr for Url {
    type Err = NoUrl;

    fn from_str(text: &str) -> Result<Url, NoUrl> {
        let uri = text.parse::<hyper::Uri>().map_err(|_| NoUrl)?;
        let secure = match uri.scheme_str() {
            Some("ws") => false,
            Some("wss") => true,
            _ => return Err(NoUrl),
        };
        let authority = uri.authority().ok_or(NoUrl)?;
        let bad_port = authority.as_str().len() > authority.host().len() && authority.port_u16().is_none();
        if authority.as_str().contains('@') || text.contains('#') || authority.host().is_empty() || bad_port {
            return Err(NoUrl);
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().unwrap_or(default_port(secure));
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        // A query right behind the host has no path before it.
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Url { secure, host, port, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_written_back_as_a_host_field() {
        for (text, secure, host, port, path, authority) in [
            ("ws://bot.example", false, "bot.example", 80, "/", "bot.example"),
            ("wss://bot.example/a?b=c", true, "bot.example", 443, "/a?b=c", "bot.example"),
            ("wss://bot.example?b=c", true, "bot.example", 443, "/?b=c", "bot.example"),
            ("ws://127.0.0.1:8080/x", false, "127.0.0.1", 8080, "/x", "127.0.0.1:8080"),
            ("wss://[2001:db8::1]:444/", true, "2001:db8::1", 444, "/", "[2001:db8::1]:444"),
        ] {
            let url: Url = text.parse().expect(text);
            assert_eq!((url.secure, url.host.as_str(), url.port, url.path.as_str()), (secure, host, port, path));
            assert_eq!(url.authority(), authority);
        }
        for text in ["", "bot", "http://bot", "wss://", "wss://user:secret@bot/", "ws://bot/#x", "ws://bot:99999/"] {
            assert_eq!(text.parse::<Url>(), Err(NoUrl), "{text}");
        }
    }
}
