//! Bad and unusual messages on a real socket.

use crate::support;
use std::time::Duration;

use sha2::{Digest, Sha256};
use support::*;
use trunkline::clock::Clock;
use trunkline::config::SipConfig;
use trunkline::sip::endpoint::{CallEvent, EndedBy, Endpoint};

const T1: u64 = 30;

#[tokio::test]
async fn malformed_requests_are_told_what_is_wrong() {
    let (endpoint, _calls) = open_endpoint(T1).await;
    let peer = Peer::new(endpoint.local_address()).await;
    let bad = peer.request("OPTIONS", "a", "", "", "").replace("CSeq: 2 OPTIONS\r\n", "");
    let answer = peer.ask(&bad).await;
    assert!(answer.starts_with("SIP/2.0 400 Missing or Malformed CSeq\r\n"), "{answer}");
    let bad = peer.request("OPTIONS", "b", "", "", "").replace("Content-Length: 0", "Content-Length: 9");
    assert!(peer.ask(&bad).await.starts_with("SIP/2.0 400 Body Shorter Than Content-Length\r\n"));
    let bad = peer.request("OPTIONS", "c", "", "", "").replacen("SIP/2.0", "SIP/3.0", 1);
    assert_eq!(status(&peer.ask(&bad).await), 505);
    let long = format!("X-Long: {}\r\n", "x".repeat(9_000));
    assert_eq!(status(&peer.ask(&peer.request("OPTIONS", "d", "", &long, "")).await), 400);
    peer.send(b"\xff\xfe\x00garbage").await;
    peer.send(b"\r\n\r\n").await;
    peer.send(b"OPTIONS sip:a@b SIP/2.0\r\nVia: nonsense\r\n\r\n").await;
    assert_eq!(status(&peer.ask(&peer.request("OPTIONS", "e", "", "", "")).await), 200, "it still serves");
}

#[tokio::test]
async fn what_is_not_supported_is_said_in_its_own_words() {
    let (endpoint, _calls) = open_endpoint(T1).await;
    let peer = Peer::new(endpoint.local_address()).await;
    let unknown = peer.ask(&peer.request("FROBNICATE", "a", "", "", "")).await;
    assert_eq!(status(&unknown), 501);
    let register = peer.ask(&peer.request("REGISTER", "b", "", "", "")).await;
    assert_eq!(status(&register), 405);
    assert!(header(&register, "Allow").contains("INVITE"), "{register}");
    let required = peer.ask(&peer.invite("c", "Require: 100rel, foo\r\n")).await;
    assert_eq!((status(&required), header(&required, "Unsupported").as_str()), (420, "foo"));
    for (method, branch) in [("BYE", "d"), ("CANCEL", "e"), ("UPDATE", "f"), ("INFO", "g"), ("PRACK", "h")] {
        assert_eq!(status(&peer.ask(&peer.request(method, branch, "nobody", "", "")).await), 481, "{method}");
    }
    let text = peer.request("INVITE", "i", "", "Content-Type: text/plain\r\n", "hello");
    assert_eq!(status(&peer.ask(&text).await), 415);
    let broken = peer.request("INVITE", "j", "", "Content-Type: application/sdp\r\n", "v=0\r\nm=audio\r\n");
    assert!(peer.ask(&broken).await.starts_with("SIP/2.0 400 Malformed Session Description"));
    let silent = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n";
    let silent = peer.request("INVITE", "k", "", "Content-Type: application/sdp\r\n", silent);
    assert_eq!(status(&peer.ask(&silent).await), 488);
    let uri = peer.request("OPTIONS", "l", "", "", "").replacen("sip:", "gopher:", 1);
    assert_eq!(status(&peer.ask(&uri).await), 416);
}

#[tokio::test]
async fn too_large_is_refused_with_513() {
    let config = SipConfig { max_message_bytes: 1_000, ..sip_config(T1) };
    let nowhere = "127.0.0.1:9".parse().expect("address");
    let lab = trunk("lab", nowhere, "sources = [\"127.0.0.0/8\"]");
    let (endpoint, _calls) = Endpoint::start(&config, &[lab], &[], Clock::system()).await.expect("started");
    let peer = Peer::new(endpoint.local_address()).await;
    let big = peer.request("OPTIONS", "a", "", "", &"x".repeat(2_000));
    assert_eq!(status(&peer.ask(&big).await), 513);
}

#[tokio::test]
async fn answers_name_where_the_request_came_from() {
    let (endpoint, _calls) = open_endpoint(T1).await;
    let peer = Peer::new(endpoint.local_address()).await;
    let nat =
        peer.request("OPTIONS", "a", "", "", "").replacen(&format!("UDP {}", peer.address()), "UDP 10.9.8.7:5099", 1);
    let via = header(&peer.ask(&nat).await, "Via");
    assert!(via.contains(&format!("rport={}", peer.address().port())) && via.contains("received=127.0.0.1"), "{via}");
}

#[tokio::test]
async fn a_repeated_invite_is_one_call_and_a_merged_one_is_refused() {
    let (endpoint, mut calls) = open_endpoint(T1).await;
    let peer = Peer::new(endpoint.local_address()).await;
    let invite = peer.invite("a", "");
    peer.send(invite.as_bytes()).await;
    assert_eq!(status(&peer.receive().await), 100);
    let call = incoming(&mut calls).await;
    peer.send(invite.as_bytes()).await;
    assert_eq!(status(&peer.receive().await), 100);
    assert_eq!(status(&peer.ask(&peer.invite("b", "")).await), 482);
    assert!(calls.try_recv().is_err(), "still one call");
    call.control.reject(486);
    assert_eq!(status(&peer.final_response().await), 486);
}

#[tokio::test]
async fn cancel_gets_200_and_the_invite_487() {
    let (endpoint, mut calls) = open_endpoint(T1).await;
    let peer = Peer::new(endpoint.local_address()).await;
    peer.send(peer.invite("a", "").as_bytes()).await;
    let mut call = incoming(&mut calls).await;
    peer.send(peer.request("CANCEL", "a", "", "", "").as_bytes()).await;
    let mut finals = [peer.final_response().await, peer.final_response().await].map(|answer| status(&answer));
    finals.sort_unstable();
    assert_eq!(finals, [200, 487]);
    assert_eq!(next(&mut call.events).await, CallEvent::Ended { by: EndedBy::Peer });
}

#[tokio::test]
async fn a_200_is_repeated_until_the_ack_and_a_missing_ack_ends_the_call() {
    let (endpoint, mut calls) = open_endpoint(10).await;
    let peer = Peer::new(endpoint.local_address()).await;
    peer.send(peer.invite("a", "").as_bytes()).await;
    let mut call = incoming(&mut calls).await;
    call.control.answer(answer_to(&call.offer.clone().expect("an offer"), 5000));
    let mut oks = 0;
    let bye = loop {
        let message = peer.receive().await;
        if status(&message) == 200 {
            oks += 1;
        } else if message.starts_with("BYE ") {
            break message;
        }
    };
    assert!(oks >= 5, "{oks} repetitions");
    assert!(header(&bye, "To").contains("tag=peer1"), "{bye}");
    assert_eq!(next(&mut call.events).await, CallEvent::Ended { by: EndedBy::Lost });
}

#[tokio::test]
async fn an_invite_without_offer_gets_ours_and_the_ack_brings_the_answer() {
    let (endpoint, mut calls) = open_endpoint(T1).await;
    let peer = Peer::new(endpoint.local_address()).await;
    peer.send(peer.request("INVITE", "a", "", "", "").as_bytes()).await;
    let mut call = incoming(&mut calls).await;
    assert_eq!(call.offer, None);
    call.control.answer(session(5000));
    let ok = peer.final_response().await;
    let answer = answer_to(&session(5000), 6000);
    let more = "Content-Type: application/sdp\r\n";
    peer.send(peer.request("ACK", "b", &tag_of(&ok), more, &answer.write()).as_bytes()).await;
    assert_eq!(next(&mut call.events).await, CallEvent::Answered { session: Some(answer.into()) });
}

#[tokio::test]
async fn requests_inside_a_call_get_their_answers() {
    let (endpoint, mut calls) = open_endpoint(T1).await;
    let peer = Peer::new(endpoint.local_address()).await;
    peer.send(peer.invite("a", "").as_bytes()).await;
    let mut call = incoming(&mut calls).await;
    call.control.answer(answer_to(&call.offer.clone().expect("an offer"), 5000));
    let tag = tag_of(&peer.final_response().await);
    peer.send(peer.request("ACK", "b", &tag, "", "").as_bytes()).await;
    assert_eq!(next(&mut call.events).await, CallEvent::Answered { session: None });
    let numbered = |method: &str, number: u32, more: &str, body: &str| {
        let branch = format!("n{number}");
        let request = peer.request(method, &branch, &tag, more, body);
        let cseq = header(&request, "CSeq");
        request.replacen(&format!("CSeq: {cseq}"), &format!("CSeq: {number} {method}"), 1)
    };
    for (number, method, more, body, code) in [
        (2, "OPTIONS", "", "", 200),
        (3, "INFO", "Content-Type: application/dtmf-relay\r\n", "Signal=1\r\n", 200),
        (4, "INFO", "Info-Package: foo\r\n", "", 469),
        (5, "PRACK", "RAck: 1 1 INVITE\r\n", "", 481),
        (6, "UPDATE", "", "", 200),
        (7, "MESSAGE", "", "", 405),
        (3, "OPTIONS", "X: late\r\n", "", 500),
    ] {
        let request = numbered(method, number, more, body).replacen("z9hG4bKn3", &format!("z9hG4bKm{code}"), 1);
        assert_eq!(status(&peer.ask(&request).await), code, "{method} {number}");
    }
    assert_eq!(next(&mut call.events).await, CallEvent::Key('1'));
    let more = "Content-Type: application/sdp\r\n";
    peer.send(numbered("UPDATE", 8, more, &session(6002).write()).as_bytes()).await;
    assert_eq!(next(&mut call.events).await, CallEvent::Offer { session: Some(session(6002).into()) });
    let crossing = peer.ask(&numbered("INVITE", 9, more, &session(6004).write())).await;
    assert_eq!((status(&crossing), header(&crossing, "Retry-After").is_empty()), (500, false));
    call.control.accept_offer(answer_to(&session(6002), 5000));
    assert_eq!(status(&peer.final_response().await), 200);
    assert_eq!(status(&peer.ask(&numbered("BYE", 10, "", "")).await), 200);
    assert_eq!(next(&mut call.events).await, CallEvent::Ended { by: EndedBy::Peer });
}

#[tokio::test]
async fn one_source_may_hold_only_so_many_dialogs() {
    let config = SipConfig { max_dialogs_per_source: 2, ..sip_config(T1) };
    let nowhere = "127.0.0.1:9".parse().expect("address");
    let lab = trunk("lab", nowhere, "sources = [\"127.0.0.0/8\"]");
    let (endpoint, mut calls) = Endpoint::start(&config, &[lab], &[], Clock::system()).await.expect("started");
    let mut held = Vec::new();
    for _ in 0..2 {
        let peer = Peer::new(endpoint.local_address()).await;
        peer.send(peer.invite("a", "").as_bytes()).await;
        held.push((incoming(&mut calls).await, peer));
    }
    let peer = Peer::new(endpoint.local_address()).await;
    let refused = peer.ask(&peer.invite("a", "")).await;
    assert_eq!((status(&refused), header(&refused, "Retry-After").as_str()), (503, "10"));
    let (first, first_peer) = held.remove(0);
    first.control.reject(486);
    assert_eq!(status(&first_peer.final_response().await), 486);
    peer.send(peer.invite("b", "").as_bytes()).await;
    incoming(&mut calls).await;
}

/// What a phone computes; written here anew so that both sides of the product are judged.
fn sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn an_extension_is_challenged_and_a_wrong_digest_is_challenged_again() {
    let (endpoint, mut calls) = endpoint(T1, &[], &[extension("200", "right")]).await;
    let peer = Peer::new(endpoint.local_address()).await;
    let uri = format!("sip:100@{}", endpoint.local_address());
    let challenge = peer.ask(&peer.invite("a", "")).await;
    assert_eq!(status(&challenge), 401);
    let first = header(&challenge, "WWW-Authenticate");
    assert!(first.contains("algorithm=SHA-256") && first.contains("qop=\"auth\""), "{first}");
    assert!(challenge.contains("algorithm=MD5"), "MD5 is the second choice");
    let nonce = first.split("nonce=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a nonce").to_owned();
    let authorization = |user: &str, password: &str, nonce: &str| {
        let a1 = sha256(&format!("{user}:trunkline:{password}"));
        let a2 = sha256(&format!("INVITE:{uri}"));
        let response = sha256(&format!("{a1}:{nonce}:00000001:cn:auth:{a2}"));
        format!(
            "Authorization: Digest username=\"{user}\", realm=\"trunkline\", nonce=\"{nonce}\", uri=\"{uri}\", \
             response=\"{response}\", algorithm=SHA-256, qop=auth, nc=00000001, cnonce=\"cn\"\r\n"
        )
    };
    for (branch, user, password, nonce) in
        [("b", "200", "wrong", nonce.as_str()), ("c", "999", "right", &nonce), ("d", "200", "right", "1.2.3")]
    {
        let answer = peer.ask(&peer.invite(branch, &authorization(user, password, nonce))).await;
        assert_eq!(status(&answer), 401, "{user} {password}");
        assert!(!answer.contains("stale"), "{answer}");
    }
    peer.send(peer.invite("e", &authorization("200", "right", &nonce)).as_bytes()).await;
    let call = incoming(&mut calls).await;
    call.control.reject(486);
    let replayed = peer.final_response().await;
    assert_eq!(status(&replayed), 486);
    peer.send(peer.request("ACK", "e", &tag_of(&replayed), "", "").as_bytes()).await;
    let replay = peer
        .ask(&peer.invite("f", &authorization("200", "right", &nonce)).replace("Call-ID: call", "Call-ID: other"))
        .await;
    assert!(status(&replay) == 401 && replay.contains("stale=true"), "a captured answer is worth nothing");
}

#[tokio::test]
async fn a_silent_trunk_is_told_from_one_that_does_not_answer() {
    let silent = Peer::new("127.0.0.1:9".parse().expect("address")).await;
    let (caller, _) = endpoint(10, &[trunk("pbx", silent.address(), "")], &[]).await;
    let (_control, mut events) = invite(&caller, "pbx", "1");
    let mut sent = 1;
    silent.receive().await;
    while silent.receive_within(Duration::from_millis(500)).await.is_some() {
        sent += 1;
    }
    assert_eq!(sent, 7, "timer A doubles until timer B");
    use trunkline::sip::endpoint::CallFailure::TrunkSilent;
    assert_eq!(next(&mut events).await, CallEvent::Failed(TrunkSilent));
}

#[tokio::test]
async fn every_repeated_200_gets_its_ack_again() {
    let phone = Peer::new("127.0.0.1:9".parse().expect("address")).await;
    let (caller, _) = endpoint(200, &[trunk("pbx", phone.address(), "")], &[]).await;
    let (control, mut events) = invite(&caller, "pbx", "1");
    let (request, source) = phone.receive_from().await;
    let body = answer_to(&session(4000), 6100).write();
    let ok = format!(
        "SIP/2.0 200 OK\r\nVia: {}\r\nFrom: {}\r\nTo: {};tag=phone\r\nCall-ID: {}\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:phone@{}>\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
        header(&request, "Via"),
        header(&request, "From"),
        header(&request, "To"),
        header(&request, "Call-ID"),
        phone.address(),
        body.len(),
    );
    let mut acks = Vec::new();
    for _ in 0..3 {
        phone.send_to(ok.as_bytes(), source).await;
        acks.push(phone.receive().await);
    }
    assert!(acks.iter().all(|ack| ack.starts_with("ACK ") && *ack == acks[0]), "{acks:?}");
    assert!(matches!(next(&mut events).await, CallEvent::Answered { .. }));
    control.hang_up();
    assert_eq!(next(&mut events).await, CallEvent::Ended { by: EndedBy::Us });
    assert!(phone.receive().await.starts_with("BYE "));
}
