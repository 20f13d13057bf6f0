//! A chat endpoint on loopback that streams, stalls, breaks off and talks nonsense.

use std::convert::Infallible;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;

use trunkline::ai::{Event, SessionOptions};
use trunkline::config::{ChatConfig, Secret};
use trunkline::speech::Speech;

use crate::common::{Phone, options};

pub const MINUTE: Duration = Duration::from_secs(60);

/// Path, authorization and body of a request.
pub type Asked = (String, Option<String>, serde_json::Value);
pub type Seen = Arc<Mutex<Vec<Asked>>>;

/// How the server answers a request.
#[derive(Clone)]
pub enum Answer {
    /// These bytes in pieces of this size.
    Stream(String, usize),
    /// The first text, then the second once [`Server::release`] was called.
    InTwo(String, String),
    /// The text, then the connection is cut.
    BreakOff(String),
    Json(String),
    Status(u16),
    Refusal(u16, String),
    Never,
}

pub struct Server {
    /// `tools` of the section.
    pub tools: bool,
    pub runtime: Runtime,
    pub address: SocketAddr,
    /// The server's authority, when it speaks TLS: a file that goes with the folder.
    pub tls: Option<(tempfile::TempDir, PathBuf)>,
    pub requests: Seen,
    pub release: watch::Sender<bool>,
}

impl Server {
    /// Answers one request after the other as told; the last answer is given again and again.
    pub fn start(answers: Vec<Answer>) -> Server {
        Server::start_with(answers, None, None)
    }

    pub fn over_tls(answers: Vec<Answer>) -> Server {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("certificate");
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, made.cert.pem()).expect("written");
        let key = made.signing_key.serialize_der().try_into().expect("key");
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("server");
        Server::start_with(answers, Some(TlsAcceptor::from(Arc::new(config))), Some((folder, file)))
    }

    fn start_with(
        answers: Vec<Answer>,
        acceptor: Option<TlsAcceptor>,
        tls: Option<(tempfile::TempDir, PathBuf)>,
    ) -> Server {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("runtime");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("port");
        listener.set_nonblocking(true).expect("non-blocking");
        let address = listener.local_addr().expect("address");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (release, released) = watch::channel(false);
        let seen = requests.clone();
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("listener");
            while let Ok((socket, _)) = listener.accept().await {
                let (seen, answers, released) = (seen.clone(), answers.clone(), released.clone());
                let service =
                    service_fn(move |request| serve(request, seen.clone(), answers.clone(), released.clone()));
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let http = hyper::server::conn::http1::Builder::new();
                    // A client that does not trust us leaves in the middle.
                    match acceptor {
                        None => drop(http.serve_connection(TokioIo::new(socket), service).await),
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(socket).await {
                                drop(http.serve_connection(TokioIo::new(stream), service).await);
                            }
                        }
                    }
                });
            }
        });
        Server { tools: false, runtime, address, tls, requests, release }
    }

    pub fn phone(&self, speech: &Speech) -> Phone {
        self.phone_with(speech, options(""))
    }

    /// A call to an agent with these tools, or a person behind it.
    pub fn phone_with(&self, speech: &Speech, more: SessionOptions) -> Phone {
        let _inside = self.runtime.enter();
        let chat = ChatConfig {
            url: format!("{}://{}/v1/", if self.tls.is_some() { "https" } else { "http" }, self.address),
            model: "small".into(),
            api_key: Some(Secret::new("sesame")),
            ca: self.tls.as_ref().map(|(_, file)| file.clone()),
            timeout_seconds: 1,
            tools: self.tools,
        };
        let mut phone = Phone::new(
            speech.clone(),
            Some(chat),
            SessionOptions { instructions: "You are the dentist's receptionist.".into(), ..more },
        );
        phone.until(MINUTE, |event| *event == Event::Ready);
        phone
    }

    pub fn release(&self) {
        self.release.send(true).expect("someone waits");
    }

    pub fn request(&self, index: usize) -> Asked {
        self.requests.lock().expect("requests")[index].clone()
    }

    /// OpenAI's own types about everything that was asked.
    pub fn judged(&self) {
        let bodies: Vec<String> =
            self.requests.lock().expect("requests").iter().map(|(.., body)| body.to_string()).collect();
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("requests.jsonl");
        std::fs::write(&file, bodies.join("\n")).expect("written");
        let verdict = judge().arg(&file).output().expect("python runs");
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        assert!(verdict.status.success(), "{}{}", text(&verdict.stdout), text(&verdict.stderr));
        assert_eq!(text(&verdict.stdout).trim(), format!("{} taken, 0 refused", bodies.len()));
    }

    /// Roles and contents of the messages of request `index`, without the system's.
    pub fn turns(&self, index: usize) -> Vec<(String, String)> {
        let (.., body) = self.request(index);
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let messages = body["messages"].as_array().expect("messages").iter().skip(1);
        messages.map(|message| (text(&message["role"]), text(&message["content"]))).collect()
    }
}

type Body = http_body_util::combinators::BoxBody<Bytes, std::io::Error>;

async fn serve(
    request: Request<Incoming>,
    seen: Seen,
    answers: Vec<Answer>,
    mut released: watch::Receiver<bool>,
) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    let key = request.headers().get("authorization").map(|key| key.to_str().expect("text").to_owned());
    let body = request.into_body().collect().await.expect("body").to_bytes();
    let index = {
        let mut seen = seen.lock().expect("requests");
        seen.push((path, key, serde_json::from_slice(&body).expect("JSON")));
        seen.len() - 1
    };
    let answer = answers[index.min(answers.len() - 1)].clone();
    let (to, from) = mpsc::channel::<Result<Bytes, std::io::Error>>(4);
    let mut response = Response::builder().header("content-type", "text/event-stream");
    match &answer {
        Answer::Json(_) => response = Response::builder().header("content-type", "application/json"),
        Answer::Status(status) | Answer::Refusal(status, _) => response = response.status(*status),
        Answer::Never => std::future::pending::<()>().await,
        _ => {}
    }
    tokio::spawn(async move {
        match answer {
            Answer::Stream(text, size) => {
                for piece in text.as_bytes().chunks(size) {
                    let _ = to.send(Ok(Bytes::copy_from_slice(piece))).await;
                }
            }
            Answer::InTwo(first, second) => {
                let _ = to.send(Ok(first.into())).await;
                let _ = released.wait_for(|released| *released).await;
                let _ = to.send(Ok(second.into())).await;
            }
            Answer::BreakOff(text) => {
                let _ = to.send(Ok(text.into())).await;
                let _ = to.send(Err(std::io::ErrorKind::ConnectionReset.into())).await;
            }
            Answer::Json(text) | Answer::Refusal(_, text) => {
                let _ = to.send(Ok(text.into())).await;
            }
            Answer::Status(_) | Answer::Never => {}
        }
    });
    let frames = futures_util::stream::unfold(from, |mut from| async { from.recv().await.map(|piece| (piece, from)) });
    Ok(response.body(BodyExt::boxed(StreamBody::new(frames.map(|piece| piece.map(Frame::data))))).expect("response"))
}

fn judge() -> std::process::Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut judge = std::process::Command::new(root.join(".cache/venv/bin/python3"));
    judge.arg(root.join("scripts/chat-judge.py"));
    judge
}

/// A stream of these deltas, written by OpenAI's own package.
pub fn chunks(deltas: &serde_json::Value) -> String {
    let mut judge = judge().arg("--stream").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python runs");
    judge.stdin.take().expect("its input").write_all(deltas.to_string().as_bytes()).expect("written");
    let out = judge.wait_with_output().expect("an answer");
    assert!(out.status.success());
    String::from_utf8(out.stdout).expect("text")
}

/// A stream that writes `text` a few letters a chunk, as a model does.
pub fn stream(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let mut out = String::from(
        ": welcome\r\n\r\ndata: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\r\n\r\n",
    );
    for piece in letters.chunks(3) {
        let chunk = serde_json::json!({"choices": [{"index": 0, "delta": {"content": piece.iter().collect::<String>()}, "finish_reason": null}]});
        out.push_str(&format!("data: {chunk}\r\n\r\n"));
    }
    out.push_str(
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":5,\"total_tokens\":17}}\r\n\r\n",
    );
    out.push_str("data: [DONE]\r\n\r\n");
    out
}
