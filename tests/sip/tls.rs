//! SIP over TLS: who is believed, what is refused, and that nothing falls back to something weaker.
#![allow(clippy::disallowed_methods)]

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use trunkline::clock::Clock;
use trunkline::config::{SipConfig, TrunkConfig};
use trunkline::sip::endpoint::{CallEvent, CallFailure, EndedBy, Endpoint, IncomingCall, Origin};

use crate::authority::{Authority, server};
use crate::line::Line;
use crate::support::*;

const T1: u64 = 30;
/// Long enough for an answer that does not come.
const QUIET: std::time::Duration = std::time::Duration::from_millis(300);

async fn start(config: &SipConfig, trunks: &[TrunkConfig]) -> (Endpoint, tokio::sync::mpsc::Receiver<IncomingCall>) {
    Endpoint::start(config, trunks, &[], Clock::system()).await.expect("started")
}

fn lab() -> TrunkConfig {
    trunk("lab", "127.0.0.1:9".parse().expect("address"), "sources = [\"127.0.0.0/8\"]")
}

fn tls_address(endpoint: &Endpoint) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], endpoint.ports().tls))
}

fn tls_trunk(address: SocketAddr, ca: &Path, more: &str) -> TrunkConfig {
    trunk("pbx", address, &format!("transport = \"tls\"\nca = {ca:?}\n{more}"))
}

/// What becomes of a call of a box that trusts `ca`.
async fn call_of(callee: &Endpoint, ca: &Path, more: &str) -> CallEvent {
    let (caller, _) = start(&sip_config(T1), &[tls_trunk(tls_address(callee), ca, more)]).await;
    let (_control, mut events) = invite(&caller, "pbx", "100");
    decisive(&mut events).await
}

#[tokio::test]
async fn a_call_over_tls_with_a_private_authority() {
    let authority = Authority::new();
    let (callee, mut calls) = start(&server(&authority, "sip.example.com", 2090, T1), &[lab()]).await;
    let pbx = tls_trunk(tls_address(&callee), &authority.ca(), "tls_name = \"sip.example.com\"");
    let (caller, _) = start(&sip_config(T1), &[pbx]).await;
    let (_control, mut events) = invite(&caller, "pbx", "100");
    let mut call = incoming(&mut calls).await;
    assert_eq!(call.origin, Origin::Trunk("lab".into()));
    call.control.answer(answer_to(&call.offer.clone().expect("an offer"), 5000));
    assert!(matches!(decisive(&mut events).await, CallEvent::Answered { .. }));
    assert_eq!(next(&mut call.events).await, CallEvent::Answered { session: None });
    call.control.hang_up();
    assert_eq!(next(&mut events).await, CallEvent::Ended { by: EndedBy::Peer });
}

#[tokio::test]
async fn a_certificate_that_cannot_be_believed_ends_the_try_in_clear_words() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (good, _calls) = start(&server(&authority, "sip.example.com", 2090, T1), &[lab()]).await;
    let (expired, _calls) = start(&server(&authority, "sip.example.com", 2021, T1), &[lab()]).await;
    let named = "tls_name = \"sip.example.com\"";
    for (callee, ca, more, words) in [
        (&good, other.ca(), named, "not trusted"),
        (&good, authority.ca(), "", "another name"),
        (&expired, authority.ca(), named, "expired"),
    ] {
        match call_of(callee, &ca, more).await {
            CallEvent::Failed(CallFailure::Unreachable(problem)) => assert!(problem.contains(words), "{problem}"),
            other => panic!("{other:?}"),
        }
    }
    // Without `ca` only public authorities are believed.
    let public = trunk("pbx", tls_address(&good), &format!("transport = \"tls\"\n{named}"));
    let (caller, _) = start(&sip_config(T1), &[public]).await;
    let (_control, mut events) = invite(&caller, "pbx", "100");
    assert!(matches!(decisive(&mut events).await, CallEvent::Failed(CallFailure::Unreachable(_))));
}

#[tokio::test]
async fn a_trunk_is_known_by_the_name_in_its_certificate() {
    let authority = Authority::new();
    let config = SipConfig { client_ca: Some(authority.ca()), ..server(&authority, "sip.example.com", 2090, T1) };
    // Nothing else than the certificate says that the caller is the carrier: it calls from another address.
    let carrier = trunk(
        "carrier",
        "192.0.2.1:5061".parse().expect("address"),
        "transport = \"tls\"\ntls_name = \"carrier.example.com\"",
    );
    let (callee, mut calls) = start(&config, &[carrier]).await;
    let own = |name: &str| {
        let (certificate, key) = authority.sign(name, 2090);
        format!("tls_name = \"sip.example.com\"\ncertificate = {certificate:?}\nkey = {key:?}")
    };
    let pbx = tls_trunk(tls_address(&callee), &authority.ca(), &own("carrier.example.com"));
    let (caller, _) = start(&sip_config(T1), &[pbx]).await;
    let (_control, mut events) = invite(&caller, "pbx", "100");
    let call = incoming(&mut calls).await;
    assert_eq!(call.origin, Origin::Trunk("carrier".into()));
    call.control.reject(486);
    assert!(matches!(decisive(&mut events).await, CallEvent::Rejected { code: 486, .. }));

    let stranger = call_of(&callee, &authority.ca(), &own("stranger.example.com")).await;
    assert_eq!(stranger, CallEvent::Failed(CallFailure::TrunkSilent), "strangers are not answered");
    let bare = call_of(&callee, &authority.ca(), "tls_name = \"sip.example.com\"").await;
    assert!(matches!(bare, CallEvent::Failed(CallFailure::Unreachable(_))), "{bare:?}");
}

/// A connection of the test's own TLS client.
async fn line(endpoint: &Endpoint, authority: &Authority) -> Line {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority.ca()).expect("readable")).expect("a certificate");
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(tls_address(endpoint)).await.expect("connected");
    let me = stream.local_addr().expect("bound");
    let name = ServerName::try_from("sip.example.com").expect("a name");
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("a handshake");
    Line::over(stream, me, "TLS")
}

#[tokio::test]
async fn a_sips_dialog_stays_on_tls() {
    let authority = Authority::new();
    let (endpoint, mut calls) = start(&server(&authority, "sip.example.com", 2090, T1), &[lab()]).await;
    let mut line = line(&endpoint, &authority).await;
    let uri = "sips:100@sip.example.com";
    line.send(&line.request("INVITE", uri, "a", "", &session(6000).write())).await;
    let mut call = incoming(&mut calls).await;
    call.control.answer(answer_to(&call.offer.clone().expect("an offer"), 5000));
    let answer = line.final_response().await;
    let contact = header(&answer, "Contact");
    assert!(contact.starts_with("<sips:100@") && !contact.contains("transport="), "{contact}");
    line.send(&line.request("ACK", uri, "b", &tag_of(&answer), "")).await;
    assert_eq!(next(&mut call.events).await, CallEvent::Answered { session: None });

    // The same dialog's BYE in plain text is refused, over the connection it is taken.
    let bye = line.request("BYE", "sip:100@sip.example.com", "c", &tag_of(&answer), "");
    let mut plain = Line::to(endpoint.local_address()).await;
    assert_eq!(status(&plain.ask(&bye.replace("/TLS", "/TCP")).await), 403);
    call.control.hang_up();
    assert!(line.message().await.starts_with("BYE sips:peer@"));

    // And `sips:` is none over plain TCP.
    assert_eq!(status(&plain.ask(&plain.request("OPTIONS", uri, "d", "", "")).await), 416);
}

#[tokio::test]
async fn a_trunk_of_tls_is_not_believed_over_udp_or_tcp() {
    let authority = Authority::new();
    let secure = tls_trunk("127.0.0.1:9".parse().expect("address"), &authority.ca(), "sources = [\"127.0.0.0/8\"]");
    let (endpoint, _calls) = start(&server(&authority, "sip.example.com", 2090, T1), &[secure]).await;
    let mut tls = line(&endpoint, &authority).await;
    assert_eq!(status(&tls.ask(&tls.options("a")).await), 200);
    let mut tcp = Line::to(endpoint.local_address()).await;
    tcp.send(&tcp.options("b")).await;
    assert_eq!(tcp.message_within(QUIET).await, None);
    let udp = Peer::new(endpoint.local_address()).await;
    udp.send(udp.request("OPTIONS", "c", "", "", "").as_bytes()).await;
    assert_eq!(udp.receive_within(QUIET).await, None);
}

#[tokio::test]
async fn plain_text_on_the_tls_port_and_tls_on_the_tcp_port_are_closed() {
    let authority = Authority::new();
    let (endpoint, _calls) = start(&server(&authority, "sip.example.com", 2090, T1), &[lab()]).await;
    let request = Line::over(tokio::io::empty(), tls_address(&endpoint), "TLS").options("a");
    let hello: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    for (address, bytes) in [(tls_address(&endpoint), request.as_bytes()), (endpoint.local_address(), hello)] {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        stream.write_all(bytes).await.expect("written");
        let mut heard = Vec::new();
        // Reset or closed, either is an end.
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut heard)).await.expect("ended in time");
        assert!(!heard.windows(4).any(|word| word == b"SIP/"), "no SIP to whoever speaks something else");
    }
}

#[tokio::test]
async fn another_tls_stack_is_understood() {
    let authority = Authority::new();
    let (endpoint, _calls) = start(&server(&authority, "sip.example.com", 2090, T1), &[lab()]).await;
    for version in ["-tls1_2", "-tls1_3"] {
        let address = tls_address(&endpoint).to_string();
        let mut client = tokio::process::Command::new("openssl");
        client.args(["s_client", "-quiet", "-verify_return_error", "-servername", "sip.example.com", version]);
        client.args(["-connect", &address, "-CAfile"]).arg(authority.ca());
        client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut client = client.spawn().expect("openssl is not installed: run `make setup`");
        let request = Line::over(tokio::io::empty(), "127.0.0.1:5099".parse().expect("address"), "TLS").options("a");
        client.stdin.as_mut().expect("a pipe").write_all(request.as_bytes()).await.expect("written");
        let mut answer = [0; 12];
        let out = client.stdout.as_mut().expect("a pipe");
        tokio::time::timeout(PATIENCE, out.read_exact(&mut answer)).await.expect("in time").expect("an answer");
        assert_eq!(&answer, b"SIP/2.0 200 ", "{version}");
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_named() {
    let authority = Authority::new();
    let good = server(&authority, "sip.example.com", 2090, T1);
    let missing = SipConfig { certificate: Some("/no/such.pem".into()), ..good.clone() };
    let empty = SipConfig { client_ca: good.key.clone(), ..good };
    for (config, words) in [(missing, "/no/such.pem"), (empty, "no certificate")] {
        let error = Endpoint::start(&config, &[], &[], Clock::system()).await.err().expect("refused").to_string();
        assert!(error.contains(words), "{error}");
    }
    PrivateKeyDer::from_pem_file(authority.sign("x", 2090).1).expect("the test's keys are keys");
}

/// A softphone that answers over TLS by itself. Its TLS port is the one after `port`.
fn baresip(authority: &Authority, home: &Path, port: u16) -> tokio::process::Child {
    let (certificate, key) = authority.sign("phone.example.com", 2090);
    let pem =
        std::fs::read_to_string(key).expect("a key") + &std::fs::read_to_string(certificate).expect("a certificate");
    std::fs::write(home.join("phone.pem"), pem).expect("written");
    let folders = [
        "/usr/lib/baresip/modules",
        "/usr/lib/x86_64-linux-gnu/baresip/modules",
        "/usr/lib/aarch64-linux-gnu/baresip/modules",
    ];
    let modules = folders.iter().find(|folder| Path::new(folder).join("g711.so").is_file()).expect("baresip's modules");
    let config = format!(
        "module_path {modules}\nsip_listen 127.0.0.1:{port}\nnet_interface 127.0.0.1\nsip_certificate {pem}\n\
         sip_cafile {ca}\naudio_player aubridge,nobody\naudio_source aubridge,nobody\naudio_alert aubridge,nobody\n\
         module g711.so\nmodule aubridge.so\nmodule_tmp account.so\nmodule_app menu.so\n",
        pem = home.join("phone.pem").display(),
        ca = authority.ca().display(),
    );
    std::fs::write(home.join("config"), config).expect("written");
    let account =
        format!("<sip:100@127.0.0.1:{};transport=tls>;regint=0;answermode=auto;audio_codecs=PCMU\n", port + 1);
    std::fs::write(home.join("accounts"), account).expect("written");
    std::fs::write(home.join("contacts"), "").expect("written");
    let log = std::fs::File::create(home.join("log")).expect("a log");
    let mut command = tokio::process::Command::new("baresip");
    command.arg("-f").arg(home).stdin(Stdio::null()).stdout(log).stderr(Stdio::null()).kill_on_drop(true);
    command.spawn().expect("baresip is not installed: run `make setup`")
}

#[tokio::test]
async fn a_softphone_is_called_over_tls() {
    let authority = Authority::new();
    let home = tempfile::tempdir().expect("a folder");
    // Both free now; the second is where it takes TLS.
    let port = loop {
        let first =
            std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound").port();
        if first < 65_000 && std::net::TcpListener::bind(("127.0.0.1", first + 1)).is_ok() {
            break first;
        }
    };
    let _phone = baresip(&authority, home.path(), port);
    let address = SocketAddr::from(([127, 0, 0, 1], port + 1));
    let listening = async {
        while TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, listening).await.expect("baresip listens");
    let pbx = tls_trunk(address, &authority.ca(), "tls_name = \"phone.example.com\"");
    let (caller, _) = start(&server(&authority, "sip.example.com", 2090, T1), &[pbx]).await;
    let (control, mut events) = invite(&caller, "pbx", "100");
    let log = || std::fs::read_to_string(home.path().join("log")).unwrap_or_default();
    let answer = decisive(&mut events).await;
    assert!(matches!(answer, CallEvent::Answered { session: Some(_) }), "{answer:?}\n{}", log());
    control.hang_up();
    assert_eq!(next(&mut events).await, CallEvent::Ended { by: EndedBy::Us });
    caller.stop(PATIENCE).await;
    let ended = async {
        while !log().contains("session closed") && !log().contains("terminate") {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, ended).await.is_ok(), "{}", log());
}
