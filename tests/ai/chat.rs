//! The chat brain against a real HTTP server on loopback that streams, stalls, breaks off and talks nonsense.
#![allow(clippy::expect_used, clippy::panic)] // functions that tests share are not inside `#[test]`

use crate::common;
use crate::voice;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
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

use trunkline::ai::{Command, Event, Person, SessionOptions, Usage};
use trunkline::config::{ChatConfig, Secret, SpeechConfig};
use trunkline::speech::{Speech, Voice};

use common::{Phone, is_hang_up, options};

const MINUTE: Duration = Duration::from_secs(60);

/// Path, authorization and body of a request.
type Asked = (String, Option<String>, serde_json::Value);
type Seen = Arc<Mutex<Vec<Asked>>>;

/// How the server answers a request.
#[derive(Clone)]
enum Answer {
    /// These bytes in pieces of this size.
    Stream(String, usize),
    /// The first text, then the second once [`Server::release`] was called.
    InTwo(String, String),
    /// The text, then the connection is cut.
    BreakOff(String),
    Json(String),
    Status(u16),
    Never,
}

struct Server {
    runtime: Runtime,
    address: SocketAddr,
    /// The server's authority, when it speaks TLS: a file that goes with the folder.
    tls: Option<(tempfile::TempDir, PathBuf)>,
    requests: Seen,
    release: watch::Sender<bool>,
}

impl Server {
    /// Answers one request after the other as told; the last answer is given again and again.
    fn start(answers: Vec<Answer>) -> Server {
        Server::start_with(answers, None, None)
    }

    fn over_tls(answers: Vec<Answer>) -> Server {
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
        Server { runtime, address, tls, requests, release }
    }

    fn phone(&self, speech: &Speech) -> Phone {
        self.phone_with(speech, None)
    }

    /// `person`: whom a caller may ask for.
    fn phone_with(&self, speech: &Speech, person: Option<Person>) -> Phone {
        let _inside = self.runtime.enter();
        let chat = ChatConfig {
            url: format!("{}://{}/v1/", if self.tls.is_some() { "https" } else { "http" }, self.address),
            model: "small".into(),
            api_key: Some(Secret::new("sesame")),
            ca: self.tls.as_ref().map(|(_, file)| file.clone()),
            timeout_seconds: 1,
        };
        let mut phone = Phone::new(
            speech.clone(),
            Some(chat),
            SessionOptions { person, ..options("You are the dentist's receptionist.") },
        );
        phone.until(MINUTE, |event| *event == Event::Ready);
        phone
    }

    fn release(&self) {
        self.release.send(true).expect("someone waits");
    }

    fn request(&self, index: usize) -> Asked {
        self.requests.lock().expect("requests")[index].clone()
    }

    /// Roles and contents of the messages of request `index`, without the system's.
    fn turns(&self, index: usize) -> Vec<(String, String)> {
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
        Answer::Status(status) => response = response.status(*status),
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
            Answer::Json(text) => {
                let _ = to.send(Ok(text.into())).await;
            }
            Answer::Status(_) | Answer::Never => {}
        }
    });
    let frames = futures_util::stream::unfold(from, |mut from| async { from.recv().await.map(|piece| (piece, from)) });
    Ok(response.body(BodyExt::boxed(StreamBody::new(frames.map(|piece| piece.map(Frame::data))))).expect("response"))
}

/// A stream that writes `text` a few letters a chunk, as a model does.
fn stream(text: &str) -> String {
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

fn mute() -> Speech {
    Speech::start(&SpeechConfig::default()).expect("starts")
}

fn greeted(server: &Server, speech: &Speech) -> Phone {
    let mut phone = server.phone(speech);
    phone.command(Command::Greet);
    phone
}

#[test]
fn speaks_a_stream_cut_at_odd_bytes_and_reports_its_tokens() {
    for size in [1, 7, 1_000_000] {
        let server = Server::start(vec![Answer::Stream(stream("Good morning, “Café Zoë”. How can I help you?"), size)]);
        let mut phone = greeted(&server, &mute());
        phone.until_played(MINUTE);
        assert_eq!(phone.said(), ["Good morning, “Café Zoë”.", "How can I help you?"]);
        let usage = Event::Usage(Usage { prompt_tokens: 12, total_tokens: 17 });
        assert!(phone.events.iter().any(|(_, event)| *event == usage));
        let (path, key, body) = server.request(0);
        assert_eq!(path, "/v1/chat/completions");
        assert_eq!(key.as_deref(), Some("Bearer sesame"));
        assert_eq!((body["model"].as_str(), body["stream"].as_bool()), (Some("small"), Some(true)));
        let system = body["messages"][0]["content"].as_str().expect("system");
        assert!(system.starts_with("You are the dentist's receptionist."), "{system}");
    }
}

#[test]
fn the_first_sentence_is_spoken_while_the_rest_is_still_being_written() {
    let whole = stream("The first sentence. The second one.");
    let cut = whole.find("sec").expect("second");
    let cut = whole[..cut].rfind("data:").expect("chunk");
    let server = Server::start(vec![Answer::InTwo(whole[..cut].into(), whole[cut..].into())]);
    let mut phone = greeted(&server, &mute());
    phone.until(MINUTE, |event| matches!(event, Event::AudioEnd { .. }));
    assert_eq!(phone.said(), ["The first sentence."]);
    phone.run(Duration::from_millis(100));
    assert!(!phone.events.iter().any(|(_, event)| *event == Event::TurnEnd), "the turn goes on");
    server.release();
    phone.until_played(MINUTE);
    assert_eq!(phone.said(), ["The first sentence.", "The second one."]);
}

#[test]
fn keeps_the_history_and_sends_keys_as_words() {
    let server = Server::start(vec![
        Answer::Stream(stream("Hello."), 50),
        Answer::Stream(stream("At nine."), 50),
        Answer::Stream(stream("Very well."), 50),
    ]);
    let mut phone = greeted(&server, &mute());
    phone.until_played(MINUTE);
    phone.command(Command::Text("When do you open?".into()));
    phone.until_played(MINUTE);
    for key in ['4', '2'] {
        phone.command(Command::Key(key));
        phone.run(Duration::from_millis(300));
    }
    phone.until_played(MINUTE);
    let expected = [
        ("user", "(The phone was answered. Speak first.)"),
        ("assistant", "Hello."),
        ("user", "When do you open?"),
        ("assistant", "At nine."),
        ("user", "(The caller pressed 42 on the keypad.)"),
    ];
    assert_eq!(server.turns(2), expected.map(|(role, text)| (role.to_owned(), text.to_owned())));
}

#[test]
fn an_interruption_ends_the_answer_and_cuts_the_history_to_what_was_heard() {
    let speech = voice::with_model();
    let long = "One two three four five six seven eight nine ten eleven twelve. This was never heard. Nor was this.";
    let server = Server::start(vec![Answer::Stream(stream(long), 400), Answer::Stream(stream("Of course."), 50)]);
    let mut phone = greeted(&server, &speech);
    phone.until(MINUTE, |event| matches!(event, Event::TurnEnd));
    phone.speak(&voice::telephone(&voice::say(&speech, "Stop, please stop talking.", Voice::Kal)));
    phone.until(MINUTE, |event| matches!(event, Event::SpeechStarted { .. }));
    assert!(phone.is_playing() || phone.flushes == 1);
    phone.until_played(MINUTE);
    assert_eq!(phone.said().last().map(String::as_str), Some("Of course."), "{:#?}", phone.words());
    let turns = server.turns(1);
    let (role, heard) = &turns[1];
    assert_eq!(role, "assistant");
    assert!(heard.starts_with("One") && heard.ends_with('…') && !heard.contains("twelve"), "{heard}");
    assert!(turns[2].1.to_lowercase().contains("stop"), "{turns:?}");
}

#[test]
fn text_put_in_while_the_agent_speaks_interrupts_it() {
    let long = "This is a long sentence that goes on and on for quite a while before it comes to its end. And another.";
    let server = Server::start(vec![Answer::Stream(stream(long), 400), Answer::Stream(stream("Yes."), 50)]);
    let mut phone = greeted(&server, &mute());
    phone.until(MINUTE, |event| matches!(event, Event::TurnEnd));
    phone.run(Duration::from_millis(1_500));
    phone.command(Command::Text("Quick question.".into()));
    phone.until_played(MINUTE);
    assert_eq!(phone.flushes, 1);
    let heard = &server.turns(1)[1].1;
    assert!(heard.starts_with("This is a") && heard.ends_with('…'), "{heard}");
}

#[test]
fn every_failure_is_apologised_for_and_the_next_turn_tries_again() {
    let nonsense = "data: {\"choices\": [\n\n".to_owned();
    let failures = [
        (Answer::Status(500), "answered 500"),
        (Answer::Status(401), "answered 401"),
        (Answer::Never, "silent for 1 s"),
        (Answer::InTwo(": ping\n\n".into(), String::new()), "silent for 1 s"),
        (Answer::Stream(nonsense, 50), "no JSON chunk"),
        (Answer::Stream("<html>Not found</html>".into(), 50), "without an answer"),
        (Answer::Stream("data: {\"error\":{\"message\":\"secret words\"}}\n\n".into(), 50), "reported an error"),
        (Answer::BreakOff("data: {\"choices\":[{\"delta\":{\"content\":\"Well\"}}]}\n\n".into()), "broke off"),
        (Answer::Stream("x".repeat(400_000), 4_000), "endless line"),
    ];
    for (failure, problem) in failures {
        let server = Server::start(vec![failure, Answer::Stream(stream("Now it works."), 50)]);
        let mut phone = greeted(&server, &mute());
        // Silent servers are given a real second; virtual time runs faster meanwhile.
        let error = phone.until(
            20 * MINUTE,
            |event| matches!(event, Event::Error { message, .. } if message.contains("chat server")),
        );
        let Event::Error { message, fatal } = error else { unreachable!() };
        assert!(message.contains(problem) && !fatal, "{message}");
        assert!(!message.contains("secret"), "{message}");
        phone.until_played(MINUTE);
        assert!(phone.said().join(" ").contains("I am sorry"), "{problem}: {:?}", phone.said());
        phone.command(Command::Text("Hello?".into()));
        phone.until_played(MINUTE);
        assert_eq!(phone.said().last().map(String::as_str), Some("Now it works."));
    }
}

#[test]
fn a_server_that_is_not_there_is_apologised_for() {
    let server = Server::start(vec![Answer::Never]);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("port").local_addr().expect("address");
    let gone = Server { address: nobody, ..server };
    let mut phone = greeted(&gone, &mute());
    phone.until_played(20 * MINUTE);
    assert!(phone.said().join(" ").contains("I am sorry"));
}

#[test]
fn a_server_on_the_lan_is_asked_over_tls_under_the_operators_own_authority_and_no_other() {
    let good = Server::over_tls(vec![Answer::Stream(stream("Safe and sound."), 50)]);
    let mut phone = greeted(&good, &mute());
    phone.until_played(MINUTE);
    assert_eq!(phone.said(), ["Safe and sound."]);

    let foreign = Server::over_tls(vec![Answer::Stream(stream("Trust me."), 50)]);
    let impostor = Server { address: foreign.address, ..good };
    let mut phone = greeted(&impostor, &mute());
    phone.until_played(20 * MINUTE);
    assert!(phone.said().join(" ").contains("I am sorry"), "{:?}", phone.said());
    assert!(foreign.requests.lock().expect("requests").is_empty(), "the key was shown to a stranger");
}

#[test]
fn a_server_that_does_not_stream_is_understood() {
    let json = r#"{"choices":[{"message":{"role":"assistant","content":"All at once. Really."}}],"usage":{"prompt_tokens":1,"total_tokens":2}}"#;
    let server = Server::start(vec![Answer::Json(json.into())]);
    let mut phone = greeted(&server, &mute());
    phone.until_played(MINUTE);
    assert_eq!(phone.said(), ["All at once.", "Really."]);
}

#[test]
fn the_agent_can_hang_up() {
    let server = Server::start(vec![Answer::Stream(stream("It was nice talking to you. Goodbye. [hangup]"), 50)]);
    let mut phone = greeted(&server, &mute());
    let end = phone.until(MINUTE, is_hang_up);
    assert_eq!(end, Event::HangUp { outcome: "finished".into() });
    assert_eq!(phone.said(), ["It was nice talking to you.", "Goodbye."]);
}

#[test]
fn the_agent_can_connect_to_a_person_where_there_is_one_and_goes_on_when_nobody_comes() {
    let answers = || {
        vec![
            Answer::Stream(stream("Of course, I connect you. [Transfer]"), 50),
            Answer::Stream(stream("Nobody is there. May I help?"), 50),
        ]
    };
    let server = Server::start(answers());
    let person = Person { destination: "+4930123".into(), whisper: true };
    let mut phone = server.phone_with(&mute(), Some(person));
    phone.command(Command::Greet);
    let wanted = phone.until(MINUTE, |event| matches!(event, Event::TransferRequested { .. }));
    assert!(
        matches!(&wanted, Event::TransferRequested { destination, whisper: Some(_) } if destination == "+4930123"),
        "{wanted:?}"
    );
    assert_eq!(phone.said(), ["Of course, I connect you."]);
    let system = server.request(0).2["messages"][0]["content"].as_str().expect("text").to_owned();
    assert!(system.contains("[transfer]"), "{system}");
    phone.command(Command::TransferBegun);
    phone.command(Command::TransferFailed { outcome: "busy".into() });
    phone.until(MINUTE, |event| matches!(event, Event::AgentText { text, .. } if text.contains("May I help")));
    assert!(server.turns(1).last().is_some_and(|(role, text)| role == "user" && text.contains("busy")));
    // Without anybody the word means nothing.
    let server = Server::start(answers());
    let mut phone = greeted(&server, &mute());
    phone.until(MINUTE, |event| *event == Event::TurnEnd);
    assert!(!phone.events.iter().any(|(_, event)| matches!(event, Event::TransferRequested { .. })));
    assert_eq!(phone.said(), ["Of course, I connect you."]);
}
