//! Encryption of calls to and from the box's own phones. The phone is a second endpoint that registers with the box.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::disallowed_methods)]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use crate::call_support::{Gateway, PATIENCE, Phone, Plan, within};
use crate::srtp::{NUMBER, answer_of, hears, secured, terms};
use trunkline::call::{Call, CallStatus, PlaceCall, TransferMode, TransferOrder, Tuning};
use trunkline::config::SrtpPolicy;
use trunkline::media::Leg;
use trunkline::sip::endpoint::{CallEvent, Destination, DialPolicy, OutboundInvite};
use trunkline::sip::sdp::{Profile, SessionDescription};
use trunkline::sip::trunk::status::Registered;

/// A box that takes TLS and has the extension `10` with `more` keys.
async fn box_with(state: &Path, more: &str) -> Gateway {
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("valid");
    std::fs::write(state.join("box.pem"), params.self_signed(&key).expect("signed").pem()).expect("written");
    std::fs::write(state.join("box.key"), key.serialize_pem()).expect("written");
    let sip = format!(
        "tls_listen = \"127.0.0.1:0\"\ncertificate = {:?}\nkey = {:?}",
        state.join("box.pem"),
        state.join("box.key")
    );
    let extra = format!("{NUMBER}[[extension]]\nuser = \"10\"\npassword = \"secret\"\n{more}\n");
    let plan = Plan {
        sip,
        trunks: String::new(),
        engine: "echo",
        engine_keys: "",
        extra,
        ports: [0, 0],
        media: "",
        tuning: Tuning { goodbye: std::time::Duration::from_millis(500), ..Tuning::default() },
    };
    Gateway::start(state, plan).await
}

/// A phone that is registered as `10`, over TLS or UDP.
async fn phone(gateway: &Gateway, state: &Path, tls: bool) -> Phone {
    let account = "username = \"10\"\npassword = \"secret\"\nregister = true\nring_seconds = 10";
    let trunk = if tls {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, gateway.endpoint.ports().tls));
        format!("host = \"{address}\"\ntransport = \"tls\"\nca = {:?}\n{account}", state.join("box.pem"))
    } else {
        format!("host = \"{}\"\n{account}", gateway.endpoint.local_address())
    };
    let phone = Phone::of(&format!("[[trunk]]\nname = \"box\"\n{trunk}\n")).await;
    let mut statuses = phone.endpoint.trunk_statuses();
    let registered = statuses.wait_for(|all| all.iter().any(|one| matches!(one.registration, Registered::Until(_))));
    within("the registration", registered).await.expect("the phone is on");
    phone
}

async fn ordered(gateway: &Gateway) -> Call {
    gateway.place(PlaceCall { phone: "10".into(), whitelist: false, ..gateway.order() }).await
}

fn at(leg: &Leg) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, leg.local_rtp_port))
}

/// The phone rings, takes what it is offered under `policy`, hears the box and hangs up; whether it was encrypted.
async fn taken(gateway: &Gateway, phone: &mut Phone, policy: SrtpPolicy) -> (SessionDescription, Call) {
    let call = ordered(gateway).await;
    let ringing = phone.rings().await;
    let offer = ringing.offer.clone().expect("an offer");
    let mut leg = phone.open().await;
    let (answer, agreed) = offer.answer_under(7, at(&leg), &terms(policy), None).expect("a codec in common");
    ringing.control.answer(answer);
    let remote = if agreed.srtp.is_some() { secured(&agreed) } else { crate::call_support::remote(&agreed) };
    leg.control.connect(remote);
    gateway.status(call.id, CallStatus::InProgress).await;
    hears(&mut leg, 20).await;
    ringing.control.hang_up();
    (offer, gateway.finished(call.id).await)
}

fn encrypted(call: &Call) -> bool {
    call.quality.as_ref().expect("numbers").encrypted
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_over_tls_is_offered_keys_and_one_over_udp_is_not() {
    let state = tempfile::tempdir().expect("state");
    let gateway = box_with(state.path(), "").await;
    let mut safe = phone(&gateway, state.path(), true).await;
    let (offer, call) = taken(&gateway, &mut safe, SrtpPolicy::Offered).await;
    assert!(offer.profile == Profile::Avp && !offer.crypto.is_empty(), "offered, as RFC 8643 has it: {offer:?}");
    assert!(encrypted(&call));
    let (_, call) = taken(&gateway, &mut safe, SrtpPolicy::Off).await;
    assert!(!encrypted(&call), "a phone that cannot is heard all the same");
    let (answer, _leg) = calls(&safe, SrtpPolicy::Offered).await.expect("a call");
    assert_eq!(answer.crypto.len(), 1, "{answer:?}");
    drop(safe);
    let state = tempfile::tempdir().expect("state");
    let gateway = box_with(state.path(), "").await;
    let mut plain = phone(&gateway, state.path(), false).await;
    let (offer, call) = taken(&gateway, &mut plain, SrtpPolicy::Off).await;
    assert!(offer.crypto.is_empty() && !encrypted(&call), "no key where everybody can read it: {offer:?}");
    let (answer, _leg) = calls(&plain, SrtpPolicy::Offered).await.expect("a call");
    assert!(answer.crypto.is_empty(), "nor is one of the phone's taken: {answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_must_be_are_for_phones_over_tls_only() {
    let state = tempfile::tempdir().expect("state");
    let gateway = box_with(state.path(), "srtp = \"required\"").await;
    let plain = phone(&gateway, state.path(), false).await;
    let refused = gateway.finished(ordered(&gateway).await.id).await;
    assert_eq!((refused.status, refused.sip_code), (CallStatus::Failed, Some(488)), "{refused:?}");
    assert_eq!(calls(&plain, SrtpPolicy::Off).await.err(), Some(488));
    assert_eq!(calls(&plain, SrtpPolicy::Required).await.err(), Some(488), "its keys were there for everybody to read");
    let mut safe = phone(&gateway, state.path(), true).await;
    let (offer, call) = taken(&gateway, &mut safe, SrtpPolicy::Required).await;
    assert!(offer.profile.is_secure() && encrypted(&call), "{offer:?}");
    assert_eq!(calls(&safe, SrtpPolicy::Off).await.err(), Some(488));
    let (answer, _leg) = calls(&safe, SrtpPolicy::Required).await.expect("a call");
    assert!(answer.profile.is_secure() && answer.crypto.len() == 1, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_whom_a_caller_is_given_to_is_offered_keys_over_tls_too() {
    let state = tempfile::tempdir().expect("state");
    let gateway = box_with(state.path(), "").await;
    let mut safe = phone(&gateway, state.path(), true).await;
    let call = ordered(&gateway).await;
    let mut talks = Vec::new();
    for who in ["caller", "person"] {
        let ringing = safe.rings().await;
        let offer = ringing.offer.clone().expect("an offer");
        assert!(!offer.crypto.is_empty(), "{who}: {offer:?}");
        let mut leg = safe.open().await;
        let offered = terms(SrtpPolicy::Offered);
        let (answer, agreed) = offer.answer_under(7, at(&leg), &offered, None).expect("a codec in common");
        ringing.control.answer(answer);
        leg.control.connect(secured(&agreed));
        gateway.status(call.id, CallStatus::InProgress).await;
        hears(&mut leg, 20).await;
        if who == "caller" {
            let order = TransferOrder { destination: "10".into(), whisper: None, mode: TransferMode::Bridge };
            gateway.calls.transfer(gateway.organization, call.id, order).await.expect("begun");
        }
        talks.push((ringing, leg));
    }
    talks[0].0.control.hang_up();
    assert!(encrypted(&gateway.finished(call.id).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn off_means_no_keys_over_tls_either() {
    let state = tempfile::tempdir().expect("state");
    let gateway = box_with(state.path(), "srtp = \"off\"").await;
    let mut safe = phone(&gateway, state.path(), true).await;
    let (offer, call) = taken(&gateway, &mut safe, SrtpPolicy::Offered).await;
    assert!(offer.crypto.is_empty() && !encrypted(&call), "{offer:?}");
    assert_eq!(calls(&safe, SrtpPolicy::Required).await.err(), Some(488));
    assert!(calls(&safe, SrtpPolicy::Offered).await.expect("a call").0.crypto.is_empty());
}

/// The phone calls the box with what `policy` makes it offer: the answer, or the box's refusal.
async fn calls(phone: &Phone, policy: SrtpPolicy) -> Result<(SessionDescription, Leg), u16> {
    let leg = phone.open().await;
    let invite = OutboundInvite {
        trunk: "box".into(),
        destination: Destination::Number("100".into()),
        caller_number: None,
        caller_name: None,
        offer: SessionDescription::propose(9, at(&leg), &terms(policy)),
        ring_timeout: PATIENCE,
        policy: DialPolicy::default(),
    };
    let (control, mut events) = phone.endpoint.invite(invite).expect("an INVITE");
    let answer = answer_of(&mut events).await?;
    control.hang_up();
    loop {
        if let CallEvent::Ended { .. } = within("the end", events.recv()).await.expect("an event") {
            return Ok((answer, leg));
        }
    }
}
