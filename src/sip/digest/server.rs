//! Challenging extensions.
//!
//! A nonce carries its time and the caller's address under an HMAC, so that no state is kept for strangers; state (the
//! last nonce count) begins only with a correct password.
//!
//! Nobody shall learn which users there are. Each has its H(A1) from the start, and whoever is unknown or has no password
//! is judged by that of a decoy: the same steps over texts of the same lengths, whatever the name and the password.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::config::{DigestName, Secret};

use super::{Algorithm, Inputs, hex, read_digest};

/// How long a nonce may be used.
const NONCE_LIFE: Duration = Duration::from_secs(300);
/// Nonces whose count is remembered; beyond it the oldest is forgotten, and with it every nonce of its time is stale.
const MAX_NONCES: usize = 10_000;

pub struct Authority {
    key: [u8; 32],
    realm: String,
    /// Offered and taken, preferred first.
    algorithms: Vec<Algorithm>,
    start: Instant,
    /// H(A1) of those who have a password.
    users: HashMap<String, Accounts>,
    /// Whom everybody else is judged as; nobody knows its password.
    decoy: Accounts,
    /// Highest count seen of each nonce that a correct response used.
    counts: HashMap<String, u32>,
    /// The same nonces by the end of their life.
    ends: VecDeque<Used>,
    /// Nonces issued until then may have been forgotten: unless known, they are stale. Milliseconds since `start`.
    forgotten_until: Option<u64>,
}

/// H(A1) by algorithm.
struct Accounts {
    md5: String,
    sha256: String,
}

impl Accounts {
    fn new(user: &str, realm: &str, password: &str) -> Accounts {
        let account = |algorithm: Algorithm| algorithm.account(user, realm, password);
        Accounts { md5: account(Algorithm::Md5), sha256: account(Algorithm::Sha256) }
    }

    fn of(&self, algorithm: Algorithm) -> &str {
        match algorithm {
            Algorithm::Md5 => &self.md5,
            Algorithm::Sha256 => &self.sha256,
        }
    }
}

struct Used {
    nonce: String,
    issued_ms: u64,
    end: Instant,
}

/// A nonce that is ours and was sent to that address.
struct Genuine {
    issued_ms: u64,
    age: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The extension's user.
    Accepted(String),
    /// To be challenged; `stale` when only the nonce was too old.
    Challenge { stale: bool },
    /// A nonce of ours was answered with a wrong password, or by nobody whom we know; to be challenged as well.
    Wrong,
}

impl Authority {
    /// `key` is random and of this process: nonces do not outlive it.
    pub fn new(
        key: [u8; 32],
        realm: &str,
        users: impl IntoIterator<Item = (String, Secret)>,
        start: Instant,
    ) -> Authority {
        let users = users.into_iter().filter(|(_, password)| !password.is_empty()).map(|(user, password)| {
            let accounts = Accounts::new(&user, realm, password.expose());
            (user, accounts)
        });
        Authority {
            decoy: Accounts::new("", realm, &hex(&key)),
            users: users.collect(),
            key,
            realm: realm.to_owned(),
            algorithms: vec![Algorithm::Sha256, Algorithm::Md5],
            start,
            counts: HashMap::new(),
            ends: VecDeque::new(),
            forgotten_until: None,
        }
    }

    /// Offers only these, preferred first: some phones give up at the sight of one that they do not know.
    pub fn offering(mut self, names: &[DigestName]) -> Authority {
        let algorithm = |name: &DigestName| match name {
            DigestName::Sha256 => Algorithm::Sha256,
            DigestName::Md5 => Algorithm::Md5,
        };
        self.algorithms = names.iter().map(algorithm).collect();
        self
    }

    /// Without extensions nobody can pass, so nobody is challenged.
    pub fn has_users(&self) -> bool {
        !self.users.is_empty()
    }

    /// The values of WWW-Authenticate, preferred first.
    pub fn challenges(&self, source: IpAddr, stale: bool, now: Instant) -> Vec<String> {
        let nonce = self.nonce(source, now.saturating_duration_since(self.start).as_millis());
        let challenge = |algorithm: &Algorithm| {
            format!(
                "Digest realm=\"{}\", nonce=\"{nonce}\", algorithm={}, qop=\"auth\"{}",
                self.realm,
                algorithm.name(),
                if stale { ", stale=true" } else { "" }
            )
        };
        self.algorithms.iter().map(challenge).collect()
    }

    /// Judges the values of Authorization. Unknown users and wrong passwords take the same time and get the same.
    pub fn judge<'a>(
        &mut self,
        authorizations: impl Iterator<Item = &'a str>,
        method: &str,
        uri: &str,
        source: IpAddr,
        now: Instant,
    ) -> Verdict {
        for value in authorizations.take(4) {
            if let Some(verdict) = self.judge_one(value, method, uri, source, now) {
                return verdict;
            }
        }
        Verdict::Challenge { stale: false }
    }

    fn judge_one(&mut self, value: &str, method: &str, uri: &str, source: IpAddr, now: Instant) -> Option<Verdict> {
        let read = read_digest(value)?;
        let get = |name: &str| read.get(name).map(String::as_str);
        let algorithm = Algorithm::parse(get("algorithm")).filter(|algorithm| self.algorithms.contains(algorithm))?;
        let (username, nonce, nc, cnonce) = (get("username")?, get("nonce")?, get("nc")?, get("cnonce")?);
        if get("realm")? != self.realm || get("uri")? != uri || !get("qop")?.eq_ignore_ascii_case("auth") {
            return None;
        }
        // First, so that made-up nonces cost no password hash.
        let genuine = self.genuine(nonce, source, now)?;
        let known = self.users.get(username);
        let account = known.unwrap_or(&self.decoy).of(algorithm);
        let qop = Some((nc, cnonce));
        let expected = Inputs { algorithm, account, method, uri, nonce, qop }.response();
        let same: bool = expected.as_bytes().ct_eq(get("response")?.to_ascii_lowercase().as_bytes()).into();
        if !same || known.is_none() {
            return Some(Verdict::Wrong);
        }
        let count = u32::from_str_radix(nc, 16).ok()?;
        if genuine.age > NONCE_LIFE || !self.count_is_new(nonce, genuine.issued_ms, count, now) {
            return Some(Verdict::Challenge { stale: true });
        }
        Some(Verdict::Accepted(username.to_owned()))
    }

    fn count_is_new(&mut self, nonce: &str, issued_ms: u64, count: u32, now: Instant) -> bool {
        while let Some(dead) = self.ends.pop_front_if(|used| used.end <= now) {
            self.counts.remove(&dead.nonce);
        }
        if let Some(last) = self.counts.get_mut(nonce) {
            let new = count > *last;
            *last = count.max(*last);
            return new;
        }
        if self.forgotten_until.is_some_and(|until| issued_ms <= until) {
            return false;
        }
        if self.counts.len() >= MAX_NONCES
            && let Some(oldest) = self.ends.pop_front()
        {
            self.forgotten_until = self.forgotten_until.max(Some(oldest.issued_ms));
            self.counts.remove(&oldest.nonce);
        }
        self.counts.insert(nonce.to_owned(), count);
        self.ends.push_back(Used { nonce: nonce.to_owned(), issued_ms, end: now + NONCE_LIFE });
        true
    }

    /// `<milliseconds since start, hex>.<random, hex>.<hmac, hex>`
    fn nonce(&self, source: IpAddr, at_ms: u128) -> String {
        let random: [u8; 8] = rand::random();
        let body = format!("{at_ms:x}.{}", hex(&random));
        let seal = self.seal(&body, source);
        format!("{body}.{seal}")
    }

    /// `None` when it is not one of ours for that address.
    fn genuine(&self, nonce: &str, source: IpAddr, now: Instant) -> Option<Genuine> {
        let (body, seal) = nonce.rsplit_once('.')?;
        let genuine: bool = self.seal(body, source).as_bytes().ct_eq(seal.as_bytes()).into();
        let issued_ms = u64::from_str_radix(body.split('.').next()?, 16).ok()?;
        let age = now.saturating_duration_since(self.start).saturating_sub(Duration::from_millis(issued_ms));
        genuine.then_some(Genuine { issued_ms, age })
    }

    fn seal(&self, body: &str, source: IpAddr) -> String {
        // HMAC takes a key of any length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else { return String::new() };
        mac.update(body.as_bytes());
        mac.update(source.to_string().as_bytes());
        hex(mac.finalize().into_bytes().get(..16).unwrap_or_default())
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::super::client::{Authentication, Credentials};
    use super::*;
    use crate::sip::message::{Fields, Response};

    const URI: &str = "sip:100@box";

    fn source() -> IpAddr {
        "192.0.2.1".parse().expect("address")
    }

    struct Bench {
        authority: Authority,
        now: Instant,
    }

    impl Bench {
        fn new() -> Bench {
            let now = Instant::now();
            let users = [("200".to_owned(), Secret::new("pw")), ("off".to_owned(), Secret::default())];
            Bench { authority: Authority::new([7; 32], "trunkline", users, now), now }
        }

        /// What a phone sends after being challenged.
        fn phone(&self, user: &str, password: &str) -> String {
            let mut response = Response::from_fields(&Fields::default(), 401);
            for value in self.authority.challenges(source(), false, self.now) {
                response.fields.push("WWW-Authenticate", value);
            }
            let credentials = Credentials { username: user.into(), password: Secret::new(password), realm: None };
            Authentication::new(Some(credentials)).answer(&response, "INVITE", URI, "c").expect("answered").1
        }

        fn judge(&mut self, value: &str) -> Verdict {
            self.authority.judge([value].into_iter(), "INVITE", URI, source(), self.now)
        }
    }

    #[test]
    fn the_right_password_passes_and_only_once_a_count() {
        let mut bench = Bench::new();
        let value = bench.phone("200", "pw");
        assert!(value.contains("SHA-256"));
        assert_eq!(bench.judge(&value), Verdict::Accepted("200".into()));
        assert_eq!(bench.judge(&value), Verdict::Challenge { stale: true });
    }

    #[test]
    fn a_wrong_password_and_an_unknown_user_look_the_same() {
        let mut bench = Bench::new();
        // Not even who guesses the decoy's password gets in.
        let decoys = hex(&[7; 32]);
        for (user, password) in
            [("200", "wrong"), ("nobody", "pw"), ("nobody", ""), ("off", ""), ("", ""), ("", decoys.as_str())]
        {
            let value = bench.phone(user, password);
            assert_eq!(bench.judge(&value), Verdict::Wrong, "{user}");
        }
    }

    #[test]
    fn an_old_nonce_is_stale_and_a_foreign_one_worthless() {
        let mut bench = Bench::new();
        let value = bench.phone("200", "pw");
        let elsewhere = "192.0.2.2".parse().expect("address");
        let foreign = bench.authority.judge([value.as_str()].into_iter(), "INVITE", URI, elsewhere, bench.now);
        assert_eq!(foreign, Verdict::Challenge { stale: false });
        bench.now += NONCE_LIFE + Duration::from_secs(1);
        assert_eq!(bench.judge(&value), Verdict::Challenge { stale: true });
    }

    #[test]
    fn a_response_for_another_method_or_uri_does_not_pass() {
        let mut bench = Bench::new();
        let value = bench.phone("200", "pw");
        let challenged = Verdict::Challenge { stale: false };
        for (method, uri, expected) in [("BYE", URI, Verdict::Wrong), ("INVITE", "sip:other@box", challenged)] {
            let verdict = bench.authority.judge([value.as_str()].into_iter(), method, uri, source(), bench.now);
            assert_eq!(verdict, expected);
        }
    }

    #[test]
    fn ever_so_many_nonces_cost_bounded_memory_and_none_can_be_used_twice() {
        let mut bench = Bench::new();
        let first = bench.phone("200", "pw");
        assert_eq!(bench.judge(&first), Verdict::Accepted("200".into()));
        for _ in 0..MAX_NONCES + 10 {
            bench.now += Duration::from_millis(1);
            let value = bench.phone("200", "pw");
            assert_eq!(bench.judge(&value), Verdict::Accepted("200".into()), "a fresh nonce always works");
            assert!(bench.authority.counts.len() <= MAX_NONCES && bench.authority.ends.len() <= MAX_NONCES);
        }
        assert_eq!(bench.judge(&first), Verdict::Challenge { stale: true }, "forgotten, yet not accepted again");
        bench.now += NONCE_LIFE * 2;
        let value = bench.phone("200", "pw");
        assert_eq!(bench.judge(&value), Verdict::Accepted("200".into()));
        assert_eq!(bench.authority.counts.len(), 1, "the dead are gone");
    }
}
