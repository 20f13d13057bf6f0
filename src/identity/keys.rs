//! The RSA signing key: made at first start, sealed in the store, rotated with overlap (RFC 7517, RFC 7638).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{DecodingKey, EncodingKey};
use rsa::pkcs1::{DecodeRsaPrivateKey, EncodeRsaPrivateKey};
use rsa::traits::PublicKeyParts;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::clock::{Clock, UtcTime};
use crate::store::{Sealed, Store, Table};

use super::IdentityError;

const BITS: usize = 2048;
const CURRENT: &str = "current";
const PREVIOUS: &str = "previous";

/// Keys: `current` and `previous`.
const SIGNING_KEYS: Table<String, KeyRecord> = Table::new("signing_keys");

#[derive(Clone, Serialize, Deserialize)]
struct KeyRecord {
    kid: String,
    /// Modulus and exponent, base64url (RFC 7518 §6.3.1).
    n: String,
    e: String,
    created_at: UtcTime,
    /// PKCS#1 DER; `None` in `previous`, which only verifies.
    private: Option<Sealed>,
}

/// The keys in use.
pub(super) struct KeyRing {
    signing: EncodingKey,
    current: PublicKey,
    previous: Option<PublicKey>,
    created_at: UtcTime,
}

struct PublicKey {
    kid: String,
    n: String,
    e: String,
    decoding: DecodingKey,
}

impl KeyRing {
    pub(super) fn kid(&self) -> &str {
        &self.current.kid
    }

    pub(super) fn signing(&self) -> &EncodingKey {
        &self.signing
    }

    pub(super) fn created_at(&self) -> UtcTime {
        self.created_at
    }

    pub(super) fn verifying(&self, kid: &str) -> Option<&DecodingKey> {
        self.public().find(|key| key.kid == kid).map(|key| &key.decoding)
    }

    pub(super) fn jwks(&self) -> serde_json::Value {
        let keys: Vec<_> = self
            .public()
            .map(|key| json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": key.kid, "n": key.n, "e": key.e}))
            .collect();
        json!({ "keys": keys })
    }

    fn public(&self) -> impl Iterator<Item = &PublicKey> {
        std::iter::once(&self.current).chain(self.previous.as_ref())
    }
}

/// A fresh pair, not yet stored.
struct Pair {
    der: Zeroizing<Vec<u8>>,
    n: String,
    e: String,
    kid: String,
}

pub(super) async fn load_or_make(store: &Store, clock: &Clock) -> Result<KeyRing, IdentityError> {
    let snapshot = store.read()?;
    let current = snapshot.get(&SIGNING_KEYS, &CURRENT.to_owned())?;
    let previous = snapshot.get(&SIGNING_KEYS, &PREVIOUS.to_owned())?;
    match current {
        Some(current) => open(store, &current, previous.as_ref()),
        None => rotate(store, clock).await,
    }
}

/// Makes a pair, stores it as current and keeps the public half of the one before.
pub(super) async fn rotate(store: &Store, clock: &Clock) -> Result<KeyRing, IdentityError> {
    let pair = tokio::task::spawn_blocking(make).await.map_err(|error| IdentityError::Key(error.to_string()))??;
    let record = KeyRecord {
        private: Some(store.seal(&context(&pair.kid), &pair.der)),
        kid: pair.kid,
        n: pair.n,
        e: pair.e,
        created_at: clock.utc(),
    };
    let new = record.clone();
    let previous = store
        .write(move |change| -> Result<_, IdentityError> {
            let previous =
                change.get(&SIGNING_KEYS, &CURRENT.to_owned())?.map(|old| KeyRecord { private: None, ..old });
            if let Some(previous) = &previous {
                change.put(&SIGNING_KEYS, &PREVIOUS.to_owned(), previous)?;
            }
            change.put(&SIGNING_KEYS, &CURRENT.to_owned(), &new)?;
            Ok(previous)
        })
        .await?;
    open(store, &record, previous.as_ref())
}

fn make() -> Result<Pair, IdentityError> {
    let failed = |error: &dyn std::fmt::Display| IdentityError::Key(error.to_string());
    let key = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, BITS).map_err(|error| failed(&error))?;
    let der = Zeroizing::new(key.to_pkcs1_der().map_err(|error| failed(&error))?.as_bytes().to_vec());
    let n = URL_SAFE_NO_PAD.encode(key.n().to_bytes_be());
    let e = URL_SAFE_NO_PAD.encode(key.e().to_bytes_be());
    let kid = thumbprint(&n, &e);
    Ok(Pair { der, n, e, kid })
}

/// RFC 7638 §3: SHA-256 over the required members in lexical order.
fn thumbprint(n: &str, e: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#)))
}

fn open(store: &Store, current: &KeyRecord, previous: Option<&KeyRecord>) -> Result<KeyRing, IdentityError> {
    let der = current.private.as_ref().and_then(|sealed| store.unseal(&context(&current.kid), sealed));
    let Some(der) = der else {
        return Err(IdentityError::Key("cannot be decrypted; was the master key replaced?".into()));
    };
    if rsa::RsaPrivateKey::from_pkcs1_der(&der).is_err() {
        return Err(IdentityError::Key("the stored key is damaged".into()));
    }
    Ok(KeyRing {
        signing: EncodingKey::from_rsa_der(&der),
        current: public(current)?,
        previous: previous.map(public).transpose()?,
        created_at: current.created_at,
    })
}

fn public(record: &KeyRecord) -> Result<PublicKey, IdentityError> {
    let decoding = DecodingKey::from_rsa_components(&record.n, &record.e)
        .map_err(|error| IdentityError::Key(error.to_string()))?;
    Ok(PublicKey { kid: record.kid.clone(), n: record.n.clone(), e: record.e.clone(), decoding })
}

fn context(kid: &str) -> String {
    format!("signing_keys/{kid}")
}

#[cfg(test)]
impl KeyRing {
    /// A ring without a store.
    pub(super) fn for_tests(previous: Option<KeyRing>) -> KeyRing {
        let pair = make().expect("a key");
        let record = KeyRecord { kid: pair.kid, n: pair.n, e: pair.e, created_at: UtcTime::default(), private: None };
        KeyRing {
            signing: EncodingKey::from_rsa_der(&pair.der),
            current: public(&record).expect("public half"),
            previous: previous.map(|ring| ring.current),
            created_at: record.created_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_id_is_the_thumbprint_of_rfc_7638() {
        // The example of RFC 7638 §3.1.
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        assert_eq!(thumbprint(n, "AQAB"), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }

    #[test]
    fn the_key_set_shows_public_halves_of_current_and_previous() {
        let ring = KeyRing::for_tests(Some(KeyRing::for_tests(None)));
        let jwks = ring.jwks();
        let keys = jwks["keys"].as_array().expect("keys");
        assert_eq!(keys.len(), 2);
        for key in keys {
            let members: Vec<&String> = key.as_object().expect("object").keys().collect();
            assert_eq!(members, ["alg", "e", "kid", "kty", "n", "use"]);
            assert!(ring.verifying(key["kid"].as_str().expect("kid")).is_some());
        }
        assert!(ring.verifying("another").is_none());
    }
}
