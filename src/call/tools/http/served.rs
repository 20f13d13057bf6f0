//! Tools against systems that answer, and against those that do everything else. Real sockets on this machine.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

use super::*;

/// A system of the customer's, and how many connections it had.
struct System {
    port: u16,
    asked: Arc<AtomicUsize>,
}

impl System {
    async fn new<F, R>(serve: F) -> System
    where
        F: Fn(TcpStream, String) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let request = read(&mut stream).await;
                tokio::spawn(serve(stream, request));
            }
        });
        System { port, asked }
    }

    /// One that says `answer` and closes.
    async fn saying(answer: impl Into<Vec<u8>>) -> System {
        let answer: Vec<u8> = answer.into();
        System::new(move |mut stream, _| {
            let answer = answer.clone();
            async move {
                let _ = stream.write_all(&answer).await;
                let _ = stream.shutdown().await;
            }
        })
        .await
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn tool(&self) -> Tool {
        tool(&format!("http://127.0.0.1:{}/orders", self.port))
    }
}

/// A request, with its body if it names a length.
async fn read(stream: &mut TcpStream) -> String {
    let (mut request, mut piece) = (Vec::new(), [0; 4096]);
    while let Ok(length) = stream.read(&mut piece).await
        && length > 0
    {
        request.extend_from_slice(&piece[..length]);
        let text = String::from_utf8_lossy(&request);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                break;
            }
        }
    }
    String::from_utf8_lossy(&request).into_owned()
}

fn tool(url: &str) -> Tool {
    Tool {
        id: Uuid::nil(),
        organization: Uuid::nil(),
        name: "order_status".into(),
        description: "Looks.".into(),
        parameters: None,
        url: Some(url.into()),
        link: None,
        method: ToolMethod::Post,
        headers: BTreeMap::new(),
        timeout_seconds: 1,
        write: false,
        filler: None,
        networks: vec!["127.0.0.0/8".parse().expect("a network")],
        ca: None,
    }
}

async fn used(tool: &Tool) -> (ToolOutcome, Value) {
    let outbound = Outbound::new(&["127.0.0.1:9".parse().expect("an address")]).expect("TLS");
    let about = About { call: "c1".into(), id: "c1:7".into(), agent: "desk".into(), ..About::default() };
    let headers = vec![("X-Key".to_owned(), Secret::new("sesame"))];
    carry_out(&outbound, tool, Some(headers), &about, &json!({ "order": "1" })).await
}

fn ok(kind: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn a_system_is_asked_once_with_everything_that_it_may_know() {
    let (requests, mut seen) = tokio::sync::mpsc::channel(4);
    let system = System::new(move |mut stream, request| {
        let requests = requests.clone();
        async move {
            let _ = requests.send(request).await;
            let _ = stream.write_all(ok("application/json", r#"{"state":"sent"}"#).as_bytes()).await;
        }
    })
    .await;
    assert_eq!(used(&system.tool()).await, (ToolOutcome::Answered, json!({ "result": { "state": "sent" } })));
    let request = seen.recv().await.expect("a request");
    let (head, body) = request.split_once("\r\n\r\n").expect("head and body");
    let head = head.to_ascii_lowercase();
    assert!(head.starts_with("post /orders http/1.1\r\n") && head.contains("\r\nx-key: sesame\r\n"), "{head}");
    assert!(head.contains(&format!("\r\nhost: 127.0.0.1:{}\r\n", system.port)), "{head}");
    let body: Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(body["arguments"], json!({ "order": "1" }));
    assert_eq!((&body["call"], &body["id"], &body["agent"]), (&json!("c1"), &json!("c1:7"), &json!("desk")));

    let get = Tool { method: ToolMethod::Get, ..system.tool() };
    assert_eq!(used(&get).await.0, ToolOutcome::Answered);
    assert!(seen.recv().await.expect("a request").starts_with("GET /orders?order=1&call=c1 HTTP/1.1\r\n"));
    assert_eq!(system.asked(), 2);
}

#[tokio::test]
async fn whatever_a_system_does_becomes_an_honest_error_and_nothing_is_asked_twice() {
    let elsewhere = System::saying(ok("text/plain", "the wrong place")).await;
    let redirect = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:{}/\r\nContent-Length: 0\r\n\r\n",
        elsewhere.port
    );
    for (answer, words) in [
        ("HTTP/1.1 500 Oh\r\nContent-Length: 3\r\n\r\nbad".to_owned(), "answered 500"),
        ("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n".to_owned(), "answered 404"),
        (redirect, "not followed"),
        (ok("application/json", r#"{"state":"#), "answer is broken"),
        // Less than it said, and more.
        ("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{}".to_owned(), "broke off"),
        (
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 3\r\n\r\n{\"a\":1}".to_owned(),
            "is broken",
        ),
        ("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}".to_owned(), "not asked for"),
        ("SSH-2.0-lies\r\n".to_owned(), "does not speak HTTP"),
        (String::new(), "broke off"),
        (format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(100_000)), "broke off"),
    ] {
        let system = System::saying(answer.clone()).await;
        let (outcome, value) = used(&system.tool()).await;
        let error = value["error"].as_str().unwrap_or_default();
        assert!(outcome == ToolOutcome::Failed && error.contains(words), "{answer:.60}: {value}");
        assert_eq!(system.asked(), 1, "{words}");
    }
    assert_eq!(elsewhere.asked(), 0, "a redirect is not followed");
}

#[tokio::test]
async fn a_system_that_hangs_or_drips_is_given_up_in_time() {
    let hangs = System::new(|stream, _| async move {
        let _held = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let drips = System::new(|mut stream, _| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        while stream.write_all(b"1\r\nx\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    for system in [hangs, drips] {
        let begin = Instant::now();
        let (outcome, value) = used(&system.tool()).await;
        assert_eq!(
            (outcome, &value),
            (ToolOutcome::Failed, &json!({ "error": "the system did not answer within 1 s" }))
        );
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
        assert_eq!(system.asked(), 1);
    }
}

#[tokio::test]
async fn of_a_long_answer_the_beginning_is_told() {
    let endless = System::new(|mut stream, _| async move {
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await;
        while stream.write_all(&[b"400\r\n".as_slice(), &[b'7'; 1024], b"\r\n"].concat()).await.is_ok() {}
    })
    .await;
    let huge = System::saying(ok("text/plain", &"7".repeat(1 << 20))).await;
    let whole = System::saying(ok("text/plain", &"7".repeat(LONGEST))).await;
    for (system, cut) in [(endless, true), (huge, true), (whole, false)] {
        let (outcome, value) = used(&system.tool()).await;
        assert_eq!(outcome, ToolOutcome::Answered, "{value:.100}");
        assert_eq!(value["result"].as_str().map(str::len), Some(LONGEST));
        assert_eq!(value["note"].is_string(), cut);
    }
}

#[tokio::test]
async fn an_address_that_is_not_allowed_is_never_connected_to() {
    let system = System::saying(ok("text/plain", "secrets")).await;
    let port = system.port;
    for (url, networks, words) in [
        (format!("http://127.0.0.1:{port}/"), vec![], "not allowed"),
        (format!("https://127.0.0.1:{port}/"), vec![], "not allowed"),
        (format!("http://localhost:{port}/"), vec!["10.0.0.0/8"], "not allowed"),
        // One of the two addresses of the name is allowed, the other one is not.
        (format!("http://localhost:{port}/"), vec!["127.0.0.0/8"], "not allowed"),
        (format!("http://[::ffff:127.0.0.1]:{port}/"), vec![], "not allowed"),
        ("http://169.254.169.254/latest/meta-data".to_owned(), vec!["127.0.0.0/8"], "not allowed"),
        ("http://93.184.216.34/".to_owned(), vec![], "without TLS"),
    ] {
        let networks = networks.iter().map(|network| network.parse().expect("a network")).collect();
        let (outcome, value) = used(&Tool { networks, ..tool(&url) }).await;
        let error = value["error"].as_str().unwrap_or_default();
        assert!(outcome == ToolOutcome::Failed && error.contains(words), "{url}: {value}");
    }
    assert_eq!(system.asked(), 0);
}

#[tokio::test]
async fn a_name_is_looked_up_with_the_name_servers_that_are_configured() {
    // Nothing answers at the port that these tests name.
    let (outcome, value) = used(&tool("https://crm.example/")).await;
    assert_eq!(outcome, ToolOutcome::Failed);
    let error = value["error"].as_str().unwrap_or_default();
    assert!(error.contains("cannot be looked up") || error.contains("did not answer"), "{error}");
}

#[tokio::test]
async fn tls_is_checked_against_the_authority_of_the_tool() {
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("valid");
    let certificate = params.self_signed(&key).expect("signed");
    let folder = tempfile::tempdir().expect("a folder");
    let pem = folder.path().join("system.pem");
    std::fs::write(&pem, certificate.pem()).expect("written");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.serialize_der().try_into().expect("a key"))
        .expect("a pair");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("https://127.0.0.1:{}/", listener.local_addr().expect("bound").port());
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(tcp).await else { continue };
            let mut piece = [0; 4096];
            let _ = stream.read(&mut piece).await;
            let _ = stream.write_all(ok("text/plain", "safe").as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    let strange = used(&tool(&url)).await;
    assert_eq!(strange, (ToolOutcome::Failed, json!({ "error": "the system's TLS is not in order" })));
    let known = used(&Tool { ca: Some(pem), ..tool(&url) }).await;
    assert_eq!(known, (ToolOutcome::Answered, json!({ "result": "safe" })));
    let plain = System::saying(ok("text/plain", "no TLS")).await;
    let (outcome, _) = used(&tool(&format!("https://127.0.0.1:{}/", plain.port))).await;
    assert_eq!(outcome, ToolOutcome::Failed);
}
