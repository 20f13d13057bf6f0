//! Encryption from the session description to the packets: what a trunk wants, what the peer offers, what is recorded.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::disallowed_methods)]

use std::net::{Ipv4Addr, SocketAddr};

use crate::call_support::{Gateway, PATIENCE, Phone, Plan, remote, trunk, within};
use crate::sip_support::{Peer, header};
use tokio::sync::mpsc;
use trunkline::call::CallStatus;
use trunkline::clock::Clock;
use trunkline::config::{CodecOrder, MediaConfig, SrtpPolicy};
use trunkline::media::{Leg, LegEvent, LegOptions, MediaPlane, Remote, SrtpKey, SrtpKeys, Suite};
use trunkline::sip::endpoint::DialPolicy;
use trunkline::sip::endpoint::{CallEvent, Destination, OfferOutcome, OutboundInvite};
use trunkline::sip::sdp::{Agreed, AudioCodec, CryptoKey, CryptoSuite, SessionDescription, Terms};

pub const NUMBER: &str =
    "[[number]]\nname = \"desk\"\nnumber = \"100\"\nvisibility = \"public\"\nsystem_prompt = \"Hi\"\n";

pub fn terms(srtp: SrtpPolicy) -> Terms<'static> {
    Terms { codecs: &[AudioCodec::Pcmu], order: CodecOrder::Offer, srtp, random: |bytes| rand::fill(bytes) }
}

fn plan(phone: &Phone, more: &str) -> Plan {
    Plan { trunks: trunk("office", phone.address(), more), extra: NUMBER.into(), ..Plan::towards(phone) }
}

/// The suite by the lengths and names of the standards, written for the test alone.
pub fn secured(agreed: &Agreed) -> Remote {
    let srtp = agreed.srtp.as_ref().expect("keys");
    let suite = match srtp.suite {
        CryptoSuite::AesCm128HmacSha1_80 => Suite::AesCm128HmacSha1_80,
        CryptoSuite::AesCm128HmacSha1_32 => Suite::AesCm128HmacSha1_32,
        CryptoSuite::AesCm256HmacSha1_80 => Suite::AesCm256HmacSha1_80,
        CryptoSuite::AeadAes128Gcm => Suite::AeadAes128Gcm,
        CryptoSuite::AeadAes256Gcm => Suite::AeadAes256Gcm,
    };
    let key = |key: &CryptoKey| SrtpKey::new(suite, key.expose(), key.mki());
    let keys = SrtpKeys { send: key(&srtp.send), receive: key(&srtp.receive) };
    Remote { srtp: Some(Box::new(keys)), ..remote(agreed) }
}

/// Waits until the phone has got `more` packets of the box.
pub async fn hears(leg: &mut Leg, more: u64) {
    within("the box's packets", async {
        let mut first = None;
        loop {
            if let Some(LegEvent::Quality(quality)) = leg.events.recv().await {
                assert_eq!(quality.refused, 0, "{quality:?}");
                if quality.packets_received >= *first.get_or_insert(quality.packets_received) + more {
                    return;
                }
            }
        }
    })
    .await;
}

/// The answer, or the code of the refusal.
pub async fn answer_of(events: &mut mpsc::Receiver<CallEvent>) -> Result<SessionDescription, u16> {
    loop {
        match within("an answer", events.recv()).await.expect("an event") {
            CallEvent::Answered { session } => return Ok(*session.expect("a session")),
            CallEvent::Rejected { code, .. } => return Err(code),
            CallEvent::Ringing { .. } | CallEvent::Because(_) => {}
            other => panic!("unexpected: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_encrypted_with_every_suite_through_new_keys_and_its_record_says_so() {
    for suite in CryptoSuite::ALL {
        let state = tempfile::tempdir().expect("state");
        let line = Phone::start().await;
        let gateway = Gateway::start(state.path(), plan(&line, "srtp = \"required\"\nsrtp_over_plain = true")).await;
        let phone = Phone::calling(gateway.endpoint.local_address()).await;
        let config = MediaConfig { ports: [0, 0], threads: 1, ..MediaConfig::default() };
        let plane = MediaPlane::start(&config, Clock::system()).expect("media threads");
        let options = LegOptions { bind: Ipv4Addr::LOCALHOST.into(), recording: None };
        let mut leg = plane.open(options).await.expect("a leg");
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, leg.local_rtp_port));
        let mut offer = SessionDescription::propose(9, at, &terms(SrtpPolicy::Required));
        offer.crypto.retain(|crypto| crypto.suite == suite);
        let invite = OutboundInvite {
            trunk: "box".into(),
            destination: Destination::Number("100".into()),
            caller_number: None,
            caller_name: None,
            offer: offer.clone(),
            ring_timeout: PATIENCE,
            policy: DialPolicy::default(),
        };
        let (control, mut events) = phone.endpoint.invite(invite).expect("an INVITE");
        let answer = answer_of(&mut events).await.expect("an answer");
        assert!(answer.profile.is_secure());
        leg.control.connect(secured(&offer.agree(&answer).expect("common")));
        let id = gateway.inbound_call().await.id;
        gateway.status(id, CallStatus::InProgress).await;
        hears(&mut leg, 40).await;

        let mut next = SessionDescription::propose(9, at, &terms(SrtpPolicy::Required));
        next.crypto.retain(|crypto| crypto.suite == suite);
        next.version = 2;
        assert_ne!(next.crypto[0].key, offer.crypto[0].key);
        let again = match within("an answer", control.offer(next.clone())).await {
            OfferOutcome::Accepted(answer) => answer,
            refused @ OfferOutcome::Refused(_) => panic!("{refused:?}"),
        };
        assert_eq!(again.crypto[0].key, answer.crypto[0].key, "our key stands");
        leg.control.connect(secured(&next.agree(&again).expect("common")));
        hears(&mut leg, 40).await;
        control.hang_up();
        let quality = gateway.finished(id).await.quality.expect("numbers");
        assert!(quality.encrypted && quality.packets_received > 50, "{suite:?}: {quality:?}");
        assert_eq!((quality.refused, quality.lost), (0, 0), "{suite:?}: {quality:?}");
        plane.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_description_that_a_trunk_does_not_want_is_refused_with_the_reason() {
    const KEY: &str = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";
    for (srtp, section, expected) in [
        ("off", format!("m=audio 6000 RTP/SAVP 0\r\n{KEY}\r\n"), Err("302")),
        ("off", format!("m=audio 6000 RTP/AVP 0\r\n{KEY}\r\n"), Ok("RTP/AVP")),
        ("off", "m=audio 6000 RTP/AVP 18\r\n".into(), Err("305")),
        ("off", "m=audio 6000 UDP/TLS/RTP/SAVPF 0\r\n".into(), Err("302")),
        ("off", "m=video 6000 RTP/AVP 31\r\n".into(), Err("304")),
        ("offered", format!("m=audio 6000 RTP/SAVP 0\r\n{KEY} UNENCRYPTED_SRTP\r\n"), Err("306")),
        ("offered", format!("m=audio 6000 RTP/SAVP 0\r\n{KEY}\r\nm=audio 6002 RTP/AVP 0\r\n"), Ok("RTP/SAVP")),
        ("required", "m=audio 6000 RTP/AVP 0\r\n".into(), Err("302")),
        ("required", format!("m=audio 6002 RTP/AVP 0\r\nm=audio 6000 RTP/SAVP 0\r\n{KEY}\r\n"), Ok("RTP/SAVP")),
    ] {
        let state = tempfile::tempdir().expect("state");
        let line = Phone::start().await;
        let more = format!("srtp = \"{srtp}\"\nsrtp_over_plain = true");
        let gateway = Gateway::start(state.path(), plan(&line, &more)).await;
        let peer = Peer::new(gateway.endpoint.local_address()).await;
        let body = format!("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n{section}");
        let answer = peer.ask(&peer.request("INVITE", "a", "", "Content-Type: application/sdp\r\n", &body)).await;
        match expected {
            Ok(profile) => {
                assert!(answer.starts_with("SIP/2.0 200"), "{srtp}: {section}\n{answer}");
                let taken = answer.lines().find(|line| line.starts_with("m=audio") && !line.starts_with("m=audio 0 "));
                assert!(taken.is_some_and(|line| line.contains(profile)), "{answer}");
            }
            Err(code) => {
                assert!(answer.starts_with("SIP/2.0 488"), "{srtp}: {section}\n{answer}");
                assert!(header(&answer, "Warning").starts_with(code), "{srtp}: {section}\n{answer}");
            }
        }
    }
}
