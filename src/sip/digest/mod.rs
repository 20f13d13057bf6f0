//! Digest authentication (RFC 8760, RFC 7616) on both sides.
//!
//! Header values go in and out as text; nonces take their time as a parameter.

pub mod client;
pub mod server;

use std::collections::HashMap;

use md5::Md5;
use sha2::{Digest as _, Sha256};

use super::message::params::{split_list, unquote};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    Md5,
    Sha256,
}

impl Algorithm {
    /// Session variants and SHA-512/256 are not spoken.
    fn parse(text: Option<&str>) -> Option<Algorithm> {
        match text {
            None => Some(Algorithm::Md5),
            Some(name) if name.eq_ignore_ascii_case("MD5") => Some(Algorithm::Md5),
            Some(name) if name.eq_ignore_ascii_case("SHA-256") => Some(Algorithm::Sha256),
            Some(_) => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Algorithm::Md5 => "MD5",
            Algorithm::Sha256 => "SHA-256",
        }
    }

    /// H(A1): the one thing that a response takes of user, realm and password.
    fn account(self, username: &str, realm: &str, password: &str) -> String {
        self.hash(&format!("{username}:{realm}:{password}"))
    }

    fn hash(self, text: &str) -> String {
        match self {
            Algorithm::Md5 => hex(&Md5::digest(text.as_bytes())),
            Algorithm::Sha256 => hex(&Sha256::digest(text.as_bytes())),
        }
    }
}

/// What a response is computed from (RFC 7616 §3.4.1).
struct Inputs<'a> {
    algorithm: Algorithm,
    /// [`Algorithm::account`].
    account: &'a str,
    method: &'a str,
    uri: &'a str,
    nonce: &'a str,
    /// `nc` (eight hex digits) and `cnonce`; absent towards servers without qop (RFC 2069).
    qop: Option<(&'a str, &'a str)>,
}

impl Inputs<'_> {
    fn response(&self) -> String {
        let a1 = self.account;
        let a2 = self.algorithm.hash(&format!("{}:{}", self.method, self.uri));
        match self.qop {
            Some((nc, cnonce)) => self.algorithm.hash(&format!("{a1}:{}:{nc}:{cnonce}:auth:{a2}", self.nonce)),
            None => self.algorithm.hash(&format!("{a1}:{}:{a2}", self.nonce)),
        }
    }
}

/// The parameters of a `Digest …` header value; names in lower case, values without quotes.
fn read_digest(value: &str) -> Option<HashMap<String, String>> {
    let (scheme, rest) = value.trim().split_once(|letter: char| letter.is_ascii_whitespace())?;
    if !scheme.eq_ignore_ascii_case("Digest") {
        return None;
    }
    let pairs = split_list(rest).into_iter().filter_map(|part| {
        let (name, value) = part.split_once('=')?;
        Some((name.trim().to_ascii_lowercase(), unquote(value.trim())))
    });
    Some(pairs.collect())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7616 §3.9.1.
    #[test]
    fn computes_the_published_examples() {
        let response = |algorithm: Algorithm| {
            let account = algorithm.account("Mufasa", "http-auth@example.org", "Circle of Life");
            let inputs = Inputs {
                algorithm,
                account: &account,
                method: "GET",
                uri: "/dir/index.html",
                nonce: "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
                qop: Some(("00000001", "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ")),
            };
            inputs.response()
        };
        assert_eq!(response(Algorithm::Md5), "8ca523f5e9506fed4657c9700eebdbec");
        assert_eq!(response(Algorithm::Sha256), "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1");
    }

    #[test]
    fn reads_parameters_with_commas_in_quotes() {
        let read = read_digest(r#"Digest realm="a, b" ,qop="auth,auth-int",stale=TRUE"#).expect("digest");
        assert_eq!(read.get("realm").map(String::as_str), Some("a, b"));
        assert_eq!(read.get("stale").map(String::as_str), Some("TRUE"));
        assert!(read_digest("Basic abc").is_none());
    }
}
