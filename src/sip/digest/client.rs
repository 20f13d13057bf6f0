//! Answering the challenge of a trunk.

use crate::config::Secret;
use crate::sip::message::Response;
use crate::sip::message::params::quote;

use super::{Algorithm, Inputs, read_digest};

/// Who we are towards one trunk.
#[derive(Debug, Clone)]
pub struct Credentials {
    pub username: String,
    pub password: Secret,
    /// The only realm that is answered; any when absent (the caller sees to it that the peer is the trunk).
    pub realm: Option<String>,
}

/// The state of one request's way through the challenges.
#[derive(Debug, Clone, Default)]
pub struct Authentication {
    credentials: Option<Credentials>,
    /// Header and realm answered so far.
    answered: Vec<(&'static str, String)>,
}

/// Challenges answered for one request before it is given up.
const MAX_TRIES: usize = 2;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Challenge {
    header: &'static str,
    realm: String,
    nonce: String,
    opaque: Option<String>,
    algorithm: Algorithm,
    qop: bool,
    stale: bool,
}

impl Authentication {
    pub fn new(credentials: Option<Credentials>) -> Authentication {
        Authentication { credentials, answered: Vec::new() }
    }

    /// A new request begins its own count.
    pub fn begin(&mut self) {
        self.answered.clear();
    }

    /// Name and value of the header that answers a 401 or 407; `None` when it must not or cannot be answered: no
    /// credentials, a foreign realm, no algorithm in common, or the password was refused.
    pub fn answer(
        &mut self,
        response: &Response,
        method: &str,
        uri: &str,
        cnonce: &str,
    ) -> Option<(&'static str, String)> {
        let credentials = self.credentials.as_ref()?;
        let challenge = challenges(response)
            .into_iter()
            .filter(|challenge| credentials.realm.as_ref().is_none_or(|realm| *realm == challenge.realm))
            // The strongest; of equals the first, which is the one that the server prefers (RFC 8760 §2.4).
            .rev()
            .max_by_key(|challenge| challenge.algorithm)?;
        let before = (challenge.header, challenge.realm.clone());
        let refused = self.answered.contains(&before) && !challenge.stale;
        if refused || self.answered.len() >= MAX_TRIES {
            return None;
        }
        self.answered.push(before);
        let header = challenge.header;
        Some((header, credentials.authorize(&challenge, method, uri, cnonce)))
    }
}

impl Credentials {
    fn authorize(&self, challenge: &Challenge, method: &str, uri: &str, cnonce: &str) -> String {
        // One request a nonce: the count is always one.
        let nc = "00000001";
        let account = challenge.algorithm.account(&self.username, &challenge.realm, self.password.expose());
        let response = Inputs {
            algorithm: challenge.algorithm,
            account: &account,
            method,
            uri,
            nonce: &challenge.nonce,
            qop: challenge.qop.then_some((nc, cnonce)),
        }
        .response();
        let mut value = format!(
            "Digest username={}, realm={}, nonce={}, uri={}, response=\"{response}\", algorithm={}",
            quote(&self.username),
            quote(&challenge.realm),
            quote(&challenge.nonce),
            quote(uri),
            challenge.algorithm.name()
        );
        if challenge.qop {
            value.push_str(&format!(", qop=auth, nc={nc}, cnonce={}", quote(cnonce)));
        }
        if let Some(opaque) = &challenge.opaque {
            value.push_str(&format!(", opaque={}", quote(opaque)));
        }
        value
    }
}

/// The challenges that we can answer, in the order of the response.
fn challenges(response: &Response) -> Vec<Challenge> {
    let (asked, header) = match response.code() {
        401 => ("WWW-Authenticate", "Authorization"),
        407 => ("Proxy-Authenticate", "Proxy-Authorization"),
        _ => return Vec::new(),
    };
    response.fields.all(asked).filter_map(|value| Challenge::parse(value, header)).collect()
}

impl Challenge {
    fn parse(value: &str, header: &'static str) -> Option<Challenge> {
        let mut read = read_digest(value)?;
        let algorithm = Algorithm::parse(read.get("algorithm").map(String::as_str))?;
        let qops = read.get("qop").map(|qop| qop.split(',').any(|one| one.trim().eq_ignore_ascii_case("auth")));
        if qops == Some(false) {
            return None;
        }
        Some(Challenge {
            header,
            realm: read.remove("realm")?,
            nonce: read.remove("nonce")?,
            opaque: read.remove("opaque"),
            algorithm,
            qop: qops.is_some(),
            stale: read.get("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::message::Fields;

    fn credentials(realm: Option<&str>) -> Authentication {
        Authentication::new(Some(Credentials {
            username: "box".into(),
            password: Secret::new("pw"),
            realm: realm.map(str::to_owned),
        }))
    }

    fn challenge(code: u16, values: &[&str]) -> Response {
        let mut response = Response::from_fields(&Fields::default(), code);
        for value in values {
            let name = if code == 401 { "WWW-Authenticate" } else { "Proxy-Authenticate" };
            response.fields.push(name, *value);
        }
        response
    }

    const MD5: &str = r#"Digest realm="pbx", nonce="n1", qop="auth", algorithm=MD5"#;
    const SHA: &str = r#"Digest realm="pbx", nonce="n2", qop="auth,auth-int", algorithm=SHA-256, opaque="o""#;

    fn answer(auth: &mut Authentication, response: &Response) -> Option<(&'static str, String)> {
        auth.answer(response, "INVITE", "sip:x@pbx", "c")
    }

    #[test]
    fn sha_256_is_preferred_in_whatever_order_it_is_offered() {
        for order in [[MD5, SHA], [SHA, MD5]] {
            let (name, value) = answer(&mut credentials(None), &challenge(407, &order)).expect("answered");
            assert_eq!(name, "Proxy-Authorization");
            assert!(value.contains("algorithm=SHA-256") && value.contains(r#"opaque="o""#), "{value}");
            assert!(value.contains("qop=auth, nc=00000001"), "{value}");
        }
    }

    #[test]
    fn a_foreign_realm_and_an_unknown_algorithm_are_not_answered() {
        assert_eq!(answer(&mut credentials(Some("other")), &challenge(401, &[MD5])), None);
        assert!(answer(&mut credentials(Some("pbx")), &challenge(401, &[MD5])).is_some());
        let odd = r#"Digest realm="pbx", nonce="n", algorithm=SHA-512-256"#;
        assert_eq!(answer(&mut credentials(None), &challenge(401, &[odd])), None);
        let integrity = r#"Digest realm="pbx", nonce="n", qop="auth-int""#;
        assert_eq!(answer(&mut credentials(None), &challenge(401, &[integrity])), None);
        assert_eq!(answer(&mut Authentication::default(), &challenge(401, &[MD5])), None);
    }

    #[test]
    fn a_refused_password_is_not_tried_again_but_a_stale_nonce_once() {
        let mut auth = credentials(None);
        assert!(answer(&mut auth, &challenge(401, &[MD5])).is_some());
        assert_eq!(answer(&mut auth, &challenge(401, &[MD5])), None);
        let mut auth = credentials(None);
        let stale = format!("{MD5}, stale=true");
        assert!(answer(&mut auth, &challenge(401, &[MD5])).is_some());
        assert!(answer(&mut auth, &challenge(401, &[&stale])).is_some());
        assert_eq!(answer(&mut auth, &challenge(401, &[&stale])), None);
    }

    #[test]
    fn a_server_without_qop_gets_the_old_form() {
        let (_, value) =
            answer(&mut credentials(None), &challenge(401, &[r#"Digest realm="pbx", nonce="n""#])).expect("answered");
        assert!(!value.contains("cnonce") && !value.contains("qop"), "{value}");
    }
}
