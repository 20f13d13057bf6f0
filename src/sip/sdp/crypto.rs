//! `a=crypto` lines: keys for SRTP in the session description (RFC 4568; suites also of RFC 6188 and RFC 7714).
//!
//! ```text
//! a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:<key and salt, base64>|2^31|1:4 WSH=128
//!          tag        suite                                     lifetime  MKI:length
//! ```
//! A line that cannot be met to the letter is not usable: another suite, a key of the wrong length, several keys, a
//! lifetime that is none, and every session parameter that changes how packets look (`KDR`, `UNENCRYPTED_SRTP`,
//! `UNENCRYPTED_SRTCP`, `UNAUTHENTICATED_SRTP`, `FEC_*`). A window size hint (`WSH`) and parameters that begin with `-`
//! may be passed over (§6.3.7).

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

/// Some phones leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// SRTP packets that one key may protect (RFC 3711 §9.2).
const LONGEST_LIFETIME: u64 = 1 << 48;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CryptoSuite {
    AesCm128HmacSha1_80,
    AesCm128HmacSha1_32,
    AesCm256HmacSha1_80,
    AeadAes128Gcm,
    AeadAes256Gcm,
}

/// A line that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crypto {
    /// Joins the line of an answer to that of the offer.
    pub tag: u32,
    pub suite: CryptoSuite,
    /// What the writer of the line sends with.
    pub key: CryptoKey,
}

/// Master key and salt, and how packets name them. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct CryptoKey {
    /// Key, then salt.
    secret: Zeroizing<Vec<u8>>,
    /// Packets that the key is good for, when it is said.
    lifetime: Option<u64>,
    /// Master key identifier as packets carry it; empty = none.
    mki: Vec<u8>,
}

/// What protects the stream in each direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Srtp {
    pub suite: CryptoSuite,
    /// Ours.
    pub send: CryptoKey,
    /// The peer's.
    pub receive: CryptoKey,
}

/// Fills a buffer with randomness fit for keys.
pub type Randomness = fn(&mut [u8]);

impl CryptoSuite {
    /// As we offer them, the strongest first (the order of pjsip and FreeSWITCH).
    pub const ALL: [CryptoSuite; 5] = [
        CryptoSuite::AeadAes256Gcm,
        CryptoSuite::AeadAes128Gcm,
        CryptoSuite::AesCm256HmacSha1_80,
        CryptoSuite::AesCm128HmacSha1_80,
        CryptoSuite::AesCm128HmacSha1_32,
    ];

    pub fn name(self) -> &'static str {
        match self {
            CryptoSuite::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            CryptoSuite::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
            CryptoSuite::AesCm256HmacSha1_80 => "AES_256_CM_HMAC_SHA1_80",
            CryptoSuite::AeadAes128Gcm => "AEAD_AES_128_GCM",
            CryptoSuite::AeadAes256Gcm => "AEAD_AES_256_GCM",
        }
    }

    /// Octets of key and salt together.
    fn secret_length(self) -> usize {
        match self {
            CryptoSuite::AesCm128HmacSha1_80 | CryptoSuite::AesCm128HmacSha1_32 => 16 + 14,
            CryptoSuite::AesCm256HmacSha1_80 => 32 + 14,
            CryptoSuite::AeadAes128Gcm => 16 + 12,
            CryptoSuite::AeadAes256Gcm => 32 + 12,
        }
    }

    fn named(name: &str) -> Option<CryptoSuite> {
        // `AES_CM_256_…` is how some write what RFC 6188 calls `AES_256_CM_…`.
        let name = if name.eq_ignore_ascii_case("AES_CM_256_HMAC_SHA1_80") { "AES_256_CM_HMAC_SHA1_80" } else { name };
        CryptoSuite::ALL.into_iter().find(|suite| suite.name().eq_ignore_ascii_case(name))
    }
}

impl CryptoKey {
    /// A new key of ours.
    pub fn fresh(suite: CryptoSuite, random: Randomness) -> CryptoKey {
        let mut secret = Zeroizing::new(vec![0; suite.secret_length()]);
        random(&mut secret);
        CryptoKey { secret, lifetime: None, mki: Vec::new() }
    }

    /// Key, then salt.
    pub fn expose(&self) -> &[u8] {
        &self.secret
    }

    /// Master key identifier; empty = none.
    pub fn mki(&self) -> &[u8] {
        &self.mki
    }

    /// `inline:…|2^31|1:4`
    fn read(parameters: &str, suite: CryptoSuite) -> Option<CryptoKey> {
        // Several keys, joined by `;`, would need a MKI for each and a change on the way.
        let inline = Some(parameters).filter(|text| !text.contains(';'))?;
        let (method, info) = inline.split_once(':')?;
        let mut parts = info.split('|');
        let secret = Zeroizing::new(BASE64.decode(parts.next()?).ok()?);
        let mut key = CryptoKey { secret, lifetime: None, mki: Vec::new() };
        let fits = method.eq_ignore_ascii_case("inline") && key.secret.len() == suite.secret_length();
        let mut next = parts.next();
        if let Some(lifetime) = next.filter(|text| !text.contains(':')) {
            key.lifetime = Some(read_lifetime(lifetime)?);
            next = parts.next();
        }
        if let Some(mki) = next {
            key.mki = read_mki(mki)?;
        }
        (fits && parts.next().is_none()).then_some(key)
    }
}

impl fmt::Debug for CryptoKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CryptoKey(…)")
    }
}

impl Crypto {
    /// The value of an `a=crypto` line; `None` when we cannot use it.
    pub(super) fn read(value: &str) -> Option<Crypto> {
        let mut words = value.split_ascii_whitespace();
        let tag = words.next().filter(|tag| tag.len() <= 9 && tag.bytes().all(|digit| digit.is_ascii_digit()))?;
        let suite = CryptoSuite::named(words.next()?)?;
        let key = CryptoKey::read(words.next()?, suite)?;
        words.all(is_harmless).then_some(Crypto { tag: tag.parse().ok()?, suite, key })
    }
}

/// The value of the line.
impl fmt::Display for Crypto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secret = Zeroizing::new(BASE64.encode(self.key.expose()));
        write!(f, "{} {} inline:{}", self.tag, self.suite.name(), secret.as_str())?;
        if let Some(lifetime) = self.key.lifetime {
            write!(f, "|{lifetime}")?;
        }
        if !self.key.mki.is_empty() {
            // More than eight octets are read only with zeros in front.
            let value = self.key.mki.iter().fold(0_u64, |value, octet| value << 8 | u64::from(*octet));
            write!(f, "|{value}:{}", self.key.mki.len())?;
        }
        Ok(())
    }
}

/// `2^31` or a number of packets.
fn read_lifetime(text: &str) -> Option<u64> {
    let packets = match text.strip_prefix("2^") {
        Some(power) => 1_u64.checked_shl(power.parse().ok()?)?,
        None => text.parse().ok()?,
    };
    (1..=LONGEST_LIFETIME).contains(&packets).then_some(packets)
}

/// `1:4`: a value and the octets that it takes in a packet (RFC 4568 §6.1: 1 to 128).
fn read_mki(text: &str) -> Option<Vec<u8>> {
    let (value, length) = text.split_once(':')?;
    let (value, length): (u64, usize) = (value.parse().ok()?, length.parse().ok()?);
    let octets = value.to_be_bytes();
    let used = 8 - (value.leading_zeros() / 8) as usize;
    if !(1..=128).contains(&length) || used > length {
        return None;
    }
    let mut mki = vec![0; length.saturating_sub(8)];
    mki.extend_from_slice(octets.get(8_usize.saturating_sub(length)..)?);
    Some(mki)
}

/// A session parameter that changes nothing of what goes over the wire.
fn is_harmless(parameter: &str) -> bool {
    let hint = parameter.strip_prefix("WSH=").and_then(|size| size.parse::<u32>().ok());
    hint.is_some_and(|size| size >= 64) || parameter.starts_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 30 octets.
    const KEY: &str = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";

    fn usable(rest: &str) -> bool {
        Crypto::read(rest).is_some()
    }

    #[test]
    fn the_examples_of_the_standard_are_read() {
        let line = format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20|1:32");
        let crypto = Crypto::read(&line).expect("RFC 4568 §1");
        assert_eq!((crypto.tag, crypto.suite), (1, CryptoSuite::AesCm128HmacSha1_80));
        assert_eq!((crypto.key.lifetime, crypto.key.mki.len(), crypto.key.mki[31]), (Some(1 << 20), 32, 1));
        assert_eq!(crypto.key.expose().len(), 30);
        assert!(crypto.key.expose().starts_with(b"wDfvg&T+)xG7@fb5jU,RaA}"));
        assert_eq!(Crypto::read(&crypto.to_string()), Some(crypto));
    }

    #[test]
    fn what_cannot_be_met_to_the_letter_is_not_usable() {
        let table = [
            ("{suite} inline:{key}", true),
            ("{suite} inline:{key}|2^48", true),
            ("{suite} inline:{key}|1048576|258:2", true),
            ("{suite} inline:{key}|1:1", true),
            ("{suite} INLINE:{key} WSH=64 -anything=1", true),
            ("{suite} inline:{key}|2^49", false),
            ("{suite} inline:{key}|2^64", false),
            ("{suite} inline:{key}|0", false),
            ("{suite} inline:{key}|258:1", false),
            ("{suite} inline:{key}|1:0", false),
            ("{suite} inline:{key}|1:129", false),
            ("{suite} inline:{key}|2^20|1:4|x", false),
            ("{suite} inline:{key}|1:4;inline:{key}|2:4", false),
            ("{suite} inline:{key} KDR=1", false),
            ("{suite} inline:{key} UNENCRYPTED_SRTP", false),
            ("{suite} inline:{key} UNENCRYPTED_SRTCP", false),
            ("{suite} inline:{key} UNAUTHENTICATED_SRTP", false),
            ("{suite} inline:{key} FEC_ORDER=FEC_SRTP", false),
            ("{suite} inline:{key} WSH=63", false),
            ("{suite} inline:{key} NEW", false),
            ("{suite} uri:{key}", false),
            ("{suite} {key}", false),
            ("{suite} inline:!!!!", false),
            ("{suite} inline:", false),
            ("{suite}", false),
            ("F8_128_HMAC_SHA1_80 inline:{key}", false),
            ("AEAD_AES_128_GCM inline:{key}", false),
            ("AES_256_CM_HMAC_SHA1_80 inline:{key}", false),
        ];
        for (line, expected) in table {
            let line = line.replace("{suite}", "AES_CM_128_HMAC_SHA1_32").replace("{key}", KEY);
            assert_eq!(usable(&format!("1 {line}")), expected, "{line}");
        }
        let line = format!("AES_CM_128_HMAC_SHA1_80 inline:{KEY}");
        for (tag, expected) in [("1", true), ("999999999", true), ("1000000000", false), ("-1", false), ("x", false)] {
            assert_eq!(usable(&format!("{tag} {line}")), expected, "{tag}");
        }
    }

    #[test]
    fn every_suite_is_written_and_read_with_or_without_padding() {
        for suite in CryptoSuite::ALL {
            let key = CryptoKey::fresh(suite, |bytes| bytes.iter_mut().zip(1..).for_each(|(octet, n)| *octet = n));
            let crypto = Crypto { tag: 7, suite, key };
            let line = crypto.to_string();
            assert_eq!(Crypto::read(&line).as_ref(), Some(&crypto));
            assert_eq!(Crypto::read(line.trim_end_matches('=')), Some(crypto));
        }
        assert_eq!(CryptoSuite::named("aes_cm_256_hmac_sha1_80"), Some(CryptoSuite::AesCm256HmacSha1_80));
    }

    #[test]
    fn a_key_is_never_shown() {
        let crypto = Crypto::read(&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}")).expect("usable");
        assert!(!format!("{crypto:?}").contains("100"), "{crypto:?}");
        assert!(format!("{crypto:?}").ends_with("key: CryptoKey(…) }"));
    }
}
