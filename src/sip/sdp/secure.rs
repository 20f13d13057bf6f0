//! Whether a stream is encrypted: what a trunk wants against what the peer offers or answers.
//!
//! | We want | The offer is | Our answer |
//! |---|---|---|
//! | off | RTP/AVP, with or without `a=crypto` | plain |
//! | off | RTP/SAVP | none: 488 |
//! | offered | RTP/AVP without a usable `a=crypto` | plain |
//! | offered or required | RTP/AVP with a usable `a=crypto` | RTP/AVP with `a=crypto` (RFC 8643) |
//! | offered or required | RTP/SAVP with a usable `a=crypto` | RTP/SAVP with `a=crypto` |
//! | offered or required | RTP/SAVP without | none: 488 |
//! | required | RTP/AVP without | none: 488 |
//!
//! | We want | Our offer | The answer | What follows |
//! |---|---|---|---|
//! | off | RTP/AVP | RTP/AVP | plain |
//! | offered | RTP/AVP with `a=crypto` (RFC 8643) | with one of our tags, RTP/AVP or RTP/SAVP | encrypted |
//! | offered | the same | RTP/AVP without `a=crypto` | plain |
//! | required | RTP/SAVP with `a=crypto` | with one of our tags | encrypted |
//! | any | any | anything else | unusable |
//!
//! RTP/AVP with `a=crypto` is what pjsip, Asterisk ("optimistic"), rtpengine and most phones mean by optional SRTP, and
//! RFC 8643 made it a rule: a peer without SRTP passes over the attribute and answers plainly. RTP/SAVP would leave
//! such a peer no legal answer. The other way, two `m=audio` lines, is understood in offers but never written: peers
//! took both for streams.
//!
//! A key of ours stands as long as its suite does: peers that compare keys see that nothing changed, and no packet has
//! to be heard under two keys.

use crate::config::SrtpPolicy;

use super::crypto::{Crypto, CryptoKey, CryptoSuite, Randomness, Srtp};
use super::{Profile, SdpError, SessionDescription};

impl SessionDescription {
    /// The same for a peer whose signalling anybody can read: without keys. `None` when it means nothing without them.
    pub fn over_plain(&self) -> Option<SessionDescription> {
        (!self.profile.is_secure()).then(|| SessionDescription { crypto: Vec::new(), ..self.clone() })
    }
}

/// The profile and the lines of our offer. `before` is our last description in the same session.
pub(super) fn offered(
    policy: SrtpPolicy,
    random: Randomness,
    before: Option<&SessionDescription>,
) -> (Profile, Vec<Crypto>) {
    let profile = match (policy, before) {
        (SrtpPolicy::Off, _) => return (Profile::Avp, Vec::new()),
        (SrtpPolicy::Required, _) => Profile::Savp,
        // A peer that knew SAVP may know nothing else.
        (SrtpPolicy::Offered, Some(before)) => before.profile,
        (SrtpPolicy::Offered, None) => Profile::Avp,
    };
    let known = before.map_or(&[][..], |before| &before.crypto);
    let mut suites: Vec<CryptoSuite> = known.iter().map(|line| line.suite).collect();
    suites.extend(CryptoSuite::ALL.into_iter().filter(|suite| !known.iter().any(|line| line.suite == *suite)));
    let lines = suites.into_iter().zip(1..);
    (profile, lines.map(|(suite, tag)| Crypto { tag, suite, key: our_key(suite, random, before) }).collect())
}

/// Our line in the answer to `offer`, and what it agrees on.
pub(super) fn answered(
    offer: &SessionDescription,
    policy: SrtpPolicy,
    random: Randomness,
    before: Option<&SessionDescription>,
) -> Result<Option<(Crypto, Srtp)>, SdpError> {
    let secure = offer.profile.is_secure();
    match (policy, offer.crypto.first()) {
        (SrtpPolicy::Off, _) if secure => Err(SdpError::Profile),
        (SrtpPolicy::Off, _) => Ok(None),
        (_, Some(theirs)) => {
            let key = our_key(theirs.suite, random, before);
            let srtp = Srtp { suite: theirs.suite, send: key.clone(), receive: theirs.key.clone() };
            Ok(Some((Crypto { tag: theirs.tag, suite: theirs.suite, key }, srtp)))
        }
        (_, None) if secure => Err(SdpError::NoCrypto),
        (SrtpPolicy::Required, None) => Err(SdpError::Profile),
        (SrtpPolicy::Offered, None) => Ok(None),
    }
}

/// What the answer makes of our lines.
pub(super) fn agreed(ours: &SessionDescription, answer: &SessionDescription) -> Result<Option<Srtp>, SdpError> {
    if ours.crypto.is_empty() {
        return if answer.profile.is_secure() { Err(SdpError::Profile) } else { Ok(None) };
    }
    let fits = |ours: &Crypto, theirs: &Crypto| ours.tag == theirs.tag && ours.suite == theirs.suite;
    let pairs = answer.crypto.iter().filter_map(|theirs| {
        let ours = ours.crypto.iter().find(|ours| fits(ours, theirs))?;
        Some(Srtp { suite: ours.suite, send: ours.key.clone(), receive: theirs.key.clone() })
    });
    let plain = !ours.profile.is_secure() && !answer.profile.is_secure();
    match pairs.into_iter().next() {
        Some(srtp) => Ok(Some(srtp)),
        // A peer that takes no line of ours but writes one of its own will send what we cannot read.
        None if plain && answer.crypto.is_empty() && !answer.unusable_crypto => Ok(None),
        None => Err(SdpError::NoCrypto),
    }
}

fn our_key(suite: CryptoSuite, random: Randomness, before: Option<&SessionDescription>) -> CryptoKey {
    let known = before.and_then(|before| before.crypto.iter().find(|line| line.suite == suite));
    known.map_or_else(|| CryptoKey::fresh(suite, random), |line| line.key.clone())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::super::{Agreed, AudioCodec, CodecOrder, Terms};
    use super::*;

    /// Another key every time.
    fn random(bytes: &mut [u8]) {
        static NEXT: AtomicU8 = AtomicU8::new(0);
        bytes.fill(NEXT.fetch_add(1, Ordering::Relaxed));
    }

    fn terms(srtp: SrtpPolicy) -> Terms<'static> {
        Terms { codecs: &[AudioCodec::Pcmu], order: CodecOrder::Offer, srtp, random }
    }

    fn parse(profile: &str, crypto: &str) -> SessionDescription {
        let text = format!(
            "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 {profile} 0\r\n{crypto}"
        );
        SessionDescription::parse(&text).expect("valid")
    }

    const GOOD: &str =
        "a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj|2^31|1:1\r\n";
    const BAD: &str = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj KDR=2\r\n";

    fn answer(offer: &SessionDescription, srtp: SrtpPolicy) -> Result<(SessionDescription, Agreed), SdpError> {
        offer.answer_under(9, "192.0.2.9:6000".parse().expect("address"), &terms(srtp), None)
    }

    #[test]
    fn walks_the_table_of_answers() {
        use SrtpPolicy::{Off, Offered, Required};
        let (plain, sealed) = (Ok(false), Ok(true));
        for (policy, profile, crypto, expected) in [
            (Off, "RTP/AVP", "", plain),
            (Off, "RTP/AVP", GOOD, plain),
            (Off, "RTP/AVPF", "", plain),
            (Off, "RTP/SAVP", GOOD, Err(SdpError::Profile)),
            (Offered, "RTP/AVP", "", plain),
            (Offered, "RTP/AVP", BAD, plain),
            (Offered, "RTP/AVP", GOOD, sealed),
            (Offered, "RTP/SAVPF", GOOD, sealed),
            (Offered, "RTP/SAVP", BAD, Err(SdpError::NoCrypto)),
            (Offered, "RTP/SAVP", "", Err(SdpError::NoCrypto)),
            (Required, "RTP/AVP", "", Err(SdpError::Profile)),
            (Required, "RTP/AVP", BAD, Err(SdpError::Profile)),
            (Required, "RTP/AVP", GOOD, sealed),
            (Required, "RTP/SAVP", &format!("{BAD}{GOOD}"), sealed),
        ] {
            let outcome = answer(&parse(profile, crypto), policy);
            if let Ok((answer, agreed)) = &outcome {
                assert!(answer.write().contains(&format!(" {profile} 0\r\n")), "{}", answer.write());
                assert_eq!(answer.crypto.len(), usize::from(agreed.srtp.is_some()));
            }
            let outcome = outcome.map(|(_, agreed)| agreed.srtp.is_some());
            assert_eq!(outcome, expected, "{policy:?} {profile} {crypto}");
        }
    }

    #[test]
    fn both_sides_hold_the_same_keys_the_other_way_round() {
        for policy in [SrtpPolicy::Offered, SrtpPolicy::Required] {
            let at = "192.0.2.1:4000".parse().expect("address");
            let ours = SessionDescription::propose(1, at, &terms(policy));
            assert_eq!(ours.crypto.len(), 5);
            let read = SessionDescription::parse(&ours.write()).expect("our own");
            assert_eq!(read.profile.is_secure(), policy == SrtpPolicy::Required);
            for suite in CryptoSuite::ALL {
                let mut offer = read.clone();
                offer.crypto.retain(|line| line.suite == suite);
                let (answer, theirs) = answer(&offer, SrtpPolicy::Offered).expect("common");
                let answer = SessionDescription::parse(&answer.write()).expect("ours");
                let (theirs, mine) =
                    (theirs.srtp.expect("keys"), ours.agree(&answer).expect("common").srtp.expect("keys"));
                assert_eq!((mine.suite, theirs.suite), (suite, suite));
                assert_eq!((&mine.send, &mine.receive), (&theirs.receive, &theirs.send));
                assert_ne!(mine.send, mine.receive);
            }
        }
    }

    #[test]
    fn walks_the_table_of_our_offers() {
        let at = "192.0.2.1:4000".parse().expect("address");
        let read = |policy, profile: &str, crypto: &str| {
            let ours = SessionDescription::propose(1, at, &terms(policy));
            let ours = SessionDescription { crypto: ours.crypto.into_iter().take(4).collect(), ..ours };
            ours.agree(&parse(profile, crypto)).map(|agreed| agreed.srtp.is_some())
        };
        use SrtpPolicy::{Off, Offered, Required};
        let line = GOOD.replace(":3 ", ":4 ");
        assert_eq!(read(Off, "RTP/AVP", ""), Ok(false));
        assert_eq!(read(Off, "RTP/SAVP", &line), Err(SdpError::Profile));
        assert_eq!(read(Offered, "RTP/AVP", ""), Ok(false));
        assert_eq!(read(Offered, "RTP/AVP", &line), Ok(true));
        assert_eq!(read(Offered, "RTP/SAVP", &line), Ok(true));
        assert_eq!(read(Offered, "RTP/SAVP", ""), Err(SdpError::NoCrypto));
        assert_eq!(read(Offered, "RTP/AVP", BAD), Err(SdpError::NoCrypto));
        // The tag of another suite, and one that we never gave.
        assert_eq!(read(Offered, "RTP/AVP", GOOD), Err(SdpError::NoCrypto));
        assert_eq!(read(Required, "RTP/SAVP", &GOOD.replace(":3 ", ":9 ")), Err(SdpError::NoCrypto));
        assert_eq!(read(Required, "RTP/SAVP", &line), Ok(true));
        assert_eq!(read(Required, "RTP/AVP", ""), Err(SdpError::NoCrypto));
    }

    #[test]
    fn our_key_stands_as_long_as_its_suite() {
        let offer = parse("RTP/SAVP", GOOD);
        let (first, _) = answer(&offer, SrtpPolicy::Required).expect("common");
        let again = |offer: &SessionDescription| {
            let (answer, agreed) =
                offer.answer_under(9, first.address, &terms(SrtpPolicy::Required), Some(&first)).expect("common");
            (answer.crypto[0].key.clone(), agreed.srtp.expect("keys").receive)
        };
        let rekeyed = parse("RTP/SAVP", &GOOD.replace("inline:d0", "inline:e0"));
        assert_eq!(again(&rekeyed).0, first.crypto[0].key);
        assert_ne!(again(&rekeyed).1, again(&offer).1);
        let other = parse("RTP/SAVP", &GOOD.replace("SHA1_80", "SHA1_32"));
        assert_ne!(again(&other).0, first.crypto[0].key);
        // Our own next offer begins with what is in use, under the same key and profile.
        let next = first.propose_again(&terms(SrtpPolicy::Offered));
        assert_eq!((next.profile, next.crypto.len()), (Profile::Savp, 5));
        assert_eq!((next.crypto[0].suite, &next.crypto[0].key), (first.crypto[0].suite, &first.crypto[0].key));
    }
}
