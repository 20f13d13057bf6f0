//! The customer's bot behind a WebSocket of another make: what it hears, what is heard of it, and what goes wrong.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic)]
// The error that its callback may return is the WebSocket library's own.
#![allow(clippy::result_large_err)]

use std::future::poll_fn;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use rustls::HandshakeKind;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Message, protocol::frame::coding::CloseCode};
use trunkline::ai::{Audio, CallerFrame, Command, Engines, Event, Session, SessionOptions, Sound};
use trunkline::clock::Clock;
use trunkline::config::{EngineConfig, EngineKind, MediaStreamConfig, Secret, SpeechConfig};
use trunkline::speech::Speech;

use crate::common::{options, tls};

const PATIENCE: Duration = Duration::from_secs(10);

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited too long for {what}"))
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    (listener, address)
}

fn engines_of(bot: MediaStreamConfig) -> Engines {
    let speech = Speech::start(&SpeechConfig::default()).expect("the speech threads start");
    let engine = EngineConfig { kind: EngineKind::MediaStream, media_stream: Some(bot), ..EngineConfig::default() };
    Engines::start(&engine, speech, Clock::system())
}

fn session_of(bot: MediaStreamConfig) -> Box<dyn Session> {
    let about = vec![("phone".to_owned(), "+49301".to_owned())];
    engines_of(bot).session(SessionOptions { about, ..options("") })()
}

fn session(address: SocketAddr) -> Box<dyn Session> {
    let (url, authorization) = (format!("ws://{address}/calls?of=me"), Some(Secret::new("Bearer tea")));
    session_of(MediaStreamConfig { authorization, ..MediaStreamConfig::at(url) })
}

async fn next(session: &mut dyn Session) -> Event {
    within("an event", poll_fn(|context| session.poll_event(context))).await
}

/// Lets the session work until `done`; events that come meanwhile are lost.
async fn works_until<T>(session: &mut dyn Session, done: impl Future<Output = T>) -> T {
    tokio::pin!(done);
    within(
        "the other side",
        poll_fn(|context| {
            while session.poll_event(context).is_ready() {}
            done.as_mut().poll(context)
        }),
    )
    .await
}

type Bot<S = TcpStream> = WebSocketStream<S>;

/// The bot of a call whose session is `session`, which has said `Ready`.
async fn bot(listener: &TcpListener, session: &mut dyn Session) -> Bot {
    let accept = async {
        let (tcp, _) = listener.accept().await.expect("a connection");
        let check = |request: &Request, response: Response| {
            assert_eq!(request.uri(), "/calls?of=me");
            assert_eq!(request.headers()["authorization"], "Bearer tea");
            Ok::<Response, ErrorResponse>(response)
        };
        tokio_tungstenite::accept_hdr_async(tcp, check).await.expect("a handshake")
    };
    let (bot, event) = tokio::join!(accept, next(session));
    assert_eq!(event, Event::Ready);
    bot
}

async fn hears<S: AsyncRead + AsyncWrite + Unpin>(bot: &mut Bot<S>) -> Value {
    let message = within("a message", bot.next()).await.expect("open").expect("valid");
    serde_json::from_str(message.to_text().expect("text")).expect("JSON")
}

async fn says(bot: &mut Bot, message: Value) {
    bot.send(Message::text(message.to_string())).await.expect("sent");
}

#[tokio::test]
async fn a_bot_is_introduced_hears_the_caller_and_keys_and_is_heard() {
    let (listener, address) = listener().await;
    let mut session = session(address);
    let mut bot = bot(&listener, session.as_mut()).await;
    let (connected, start) =
        works_until(session.as_mut(), async { (hears(&mut bot).await, hears(&mut bot).await) }).await;
    assert_eq!(connected, json!({"event": "connected", "protocol": "Call", "version": "1.0.0"}));
    assert_eq!(start["start"]["customParameters"], json!({"phone": "+49301"}));
    let octets: Vec<u8> = (0..160).collect();
    session.hear(CallerFrame::Ulaw(&octets), Instant::now());
    session.command(Command::Key('5'));
    let (media, key) = works_until(session.as_mut(), async { (hears(&mut bot).await, hears(&mut bot).await) }).await;
    assert_eq!(media["media"]["payload"], STANDARD.encode(&octets));
    assert_eq!((&media["sequenceNumber"], &key["sequenceNumber"]), (&json!("2"), &json!("3")));
    assert_eq!(key["dtmf"]["digit"], "5");
    let stream = start["streamSid"].as_str().expect("a name");
    // A whole sentence at once, in an odd length.
    let sentence: Vec<u8> = (0..64_001).map(|n| n as u8).collect();
    says(&mut bot, json!({"event": "media", "streamSid": stream, "media": {"payload": STANDARD.encode(&sentence)}}))
        .await;
    says(&mut bot, json!({"event": "mark", "streamSid": stream, "mark": {"name": "over"}})).await;
    assert_eq!(next(session.as_mut()).await, Event::Audio(Audio { item: 1, sound: Sound::Ulaw(sentence) }));
    assert_eq!(next(session.as_mut()).await, Event::AudioEnd { item: 1 });
    session.command(Command::Played { item: 1 });
    assert_eq!(works_until(session.as_mut(), hears(&mut bot)).await["mark"]["name"], "over");
    session.command(Command::Stop);
    assert_eq!(next(session.as_mut()).await, Event::Ended);
    assert_eq!(hears(&mut bot).await["event"], "stop");
    assert!(
        matches!(within("a Close", bot.next()).await, Some(Ok(Message::Close(Some(frame)))) if frame.code == CloseCode::Normal)
    );
}

#[tokio::test]
async fn a_bot_that_hangs_up_ends_the_session_and_one_that_fails_says_why() {
    for (code, reason, error) in [
        (CloseCode::Normal, "", None),
        (CloseCode::Error, "out of memory", Some("the service closed the connection (1011, out of memory)")),
    ] {
        let (listener, address) = listener().await;
        let mut session = session(address);
        let mut bot = bot(&listener, session.as_mut()).await;
        bot.close(Some(CloseFrame { code, reason: reason.into() })).await.expect("sent");
        if let Some(error) = error {
            assert_eq!(next(session.as_mut()).await, Event::Error { message: error.into(), fatal: true });
        }
        assert_eq!(next(session.as_mut()).await, Event::Ended);
        // Its Close is answered.
        while let Some(message) = within("the end", bot.next()).await {
            message.expect("a clean end");
        }
    }
}

#[tokio::test]
async fn a_connection_that_just_ends_or_a_broken_frame_ends_the_session_with_the_reason() {
    for (octets, error) in [
        (&b""[..], "the service closed the connection (1006)"),
        (&[0xFF, 0, 0][..], "the service broke the WebSocket protocol: a reserved bit"),
    ] {
        let (listener, address) = listener().await;
        let mut session = session(address);
        let bot = bot(&listener, session.as_mut()).await;
        let mut tcp = bot.into_inner();
        tcp.write_all(octets).await.expect("sent");
        drop(tcp);
        assert_eq!(next(session.as_mut()).await, Event::Error { message: error.into(), fatal: true });
        assert_eq!(next(session.as_mut()).await, Event::Ended);
    }
}

#[tokio::test]
async fn a_service_that_refuses_or_is_none_is_told_to_the_call() {
    for (answer, error) in [
        (
            "HTTP/1.1 401 Unauthorized\r\n\r\n{\"error\": \"bad key\"}",
            "the service refused the connection with 401: {\"error\": \"bad key\"}",
        ),
        ("HTTP/1.1 200 OK\r\n\r\n", "the service refused the connection with 200"),
        ("220 smtp.example ESMTP\r\n", "the service does not speak WebSocket: its answer is not HTTP"),
    ] {
        let (listener, address) = listener().await;
        let mut session = session(address);
        let answers = async {
            let (mut tcp, _) = listener.accept().await.expect("a connection");
            tcp.write_all(answer.as_bytes()).await.expect("sent");
            tcp
        };
        let (_tcp, event) = tokio::join!(answers, next(session.as_mut()));
        assert_eq!(event, Event::Error { message: error.into(), fatal: true });
        assert_eq!(next(session.as_mut()).await, Event::Ended);
    }
    let nobody = listener().await.1;
    let mut session = session(nobody);
    let event = next(session.as_mut()).await;
    assert!(
        matches!(&event, Event::Error { message, fatal: true } if message.starts_with("the service cannot be reached: ")),
        "{event:?}"
    );
}

#[tokio::test]
async fn a_service_that_does_not_answer_in_time_or_falls_silent_is_given_up() {
    let (listener, address) = listener().await;
    let mut late = session(address);
    let accept = async { listener.accept().await.expect("a connection").0 };
    let _mute = works_until(late.as_mut(), accept).await;
    let mut silent = session(address);
    let _bot = bot(&listener, silent.as_mut()).await;
    tokio::time::pause();
    let mut fates = Vec::new();
    for session in [&mut late, &mut silent] {
        for _ in 0..60 {
            tokio::time::advance(Duration::from_secs(1)).await;
            let event = poll_fn(|context| std::task::Poll::Ready(session.poll_event(context))).await;
            if let std::task::Poll::Ready(Event::Error { message, .. }) = event {
                fates.push(message);
                break;
            }
        }
    }
    assert_eq!(fates, ["the service did not answer within 10 s", "the service has said nothing for 40 s"]);
}

#[tokio::test]
async fn what_a_bot_says_in_one_breath_with_its_handshake_is_heard() {
    let (listener, address) = listener().await;
    let mut session = session(address);
    let answers = async {
        let (mut tcp, _) = listener.accept().await.expect("a connection");
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            tcp.read_buf(&mut request).await.expect("a request");
        }
        let request = String::from_utf8(request).expect("text");
        let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).expect("a key");
        let (accept, text) = (derive_accept_key(key.as_bytes()), r#"{"event":"media","media":{"payload":"/w=="}}"#);
        let mut octets = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        )
        .into_bytes();
        octets.extend([0x81, text.len() as u8]);
        octets.extend(text.as_bytes());
        tcp.write_all(&octets).await.expect("sent");
        tcp
    };
    let (_tcp, first) = tokio::join!(answers, next(session.as_mut()));
    let events = [first, next(session.as_mut()).await];
    assert!(events.contains(&Event::Ready), "{events:?}");
    assert!(events.contains(&Event::Audio(Audio { item: 1, sound: Sound::Ulaw(vec![0xFF]) })), "{events:?}");
}

/// Lets the session work until the bot gets a message like that.
async fn gets(bot: &mut Bot, session: &mut dyn Session, fits: impl Fn(&Message) -> bool) {
    let wanted = async { while !fits(&bot.next().await.expect("open").expect("valid")) {} };
    works_until(session, wanted).await;
}

#[tokio::test]
async fn a_bot_that_asks_whether_we_are_there_is_answered_and_one_that_answers_is_kept() {
    let (listener, address) = listener().await;
    let mut session = session(address);
    let mut bot = bot(&listener, session.as_mut()).await;
    // It says nothing of its own: every other look finds the answer to the one before.
    for looks in [1, 2, 2, 2] {
        for _ in 0..looks {
            tokio::time::pause();
            tokio::time::advance(Duration::from_secs(20)).await;
            tokio::time::resume();
            works_until(session.as_mut(), tokio::time::sleep(Duration::from_millis(50))).await;
        }
        gets(&mut bot, session.as_mut(), |message| matches!(message, Message::Ping(_))).await;
        bot.flush().await.expect("its answer is sent");
        works_until(session.as_mut(), tokio::time::sleep(Duration::from_millis(50))).await;
    }
    bot.send(Message::Ping("are you there?".into())).await.expect("sent");
    gets(&mut bot, session.as_mut(), |message| *message == Message::Pong("are you there?".into())).await;
}

#[tokio::test]
async fn a_caller_who_interrupts_brings_back_the_marks_of_what_is_not_played_any_more() {
    let (listener, address) = listener().await;
    let mut session = session(address);
    let mut bot = bot(&listener, session.as_mut()).await;
    for name in ["one", "two"] {
        says(&mut bot, json!({"event": "media", "media": {"payload": "/w=="}})).await;
        says(&mut bot, json!({"event": "mark", "mark": {"name": name}})).await;
    }
    while next(session.as_mut()).await != (Event::AudioEnd { item: 2 }) {}
    session.command(Command::Truncate { item: 2, played: Duration::ZERO });
    works_until(session.as_mut(), async {
        for name in ["one", "two"] {
            while hears(&mut bot).await["mark"]["name"] != name {}
        }
    })
    .await;
}

#[tokio::test]
async fn a_bot_that_does_not_read_loses_speech_and_nothing_grows() {
    let (listener, address) = listener().await;
    let mut session = session(address);
    let mut bot = bot(&listener, session.as_mut()).await;
    // Minutes of speech at once, which no system takes whole.
    for _ in 0..200 {
        for _ in 0..200 {
            session.hear(CallerFrame::Ulaw(&[0x55; 160]), Instant::now());
        }
        works_until(session.as_mut(), std::future::ready(())).await;
    }
    let mut sequence = Vec::new();
    let reads = async {
        loop {
            let message = hears(&mut bot).await;
            sequence.extend(message["sequenceNumber"].as_str().and_then(|number| number.parse::<u64>().ok()));
            if message["event"] == "dtmf" {
                break;
            }
        }
    };
    session.command(Command::Key('1'));
    works_until(session.as_mut(), reads).await;
    assert!(sequence.len() > 400, "what the system took has come: {}", sequence.len());
    assert!(sequence.len() < 39_000, "some was dropped: {}", sequence.len());
    assert!(sequence.windows(2).all(|pair| pair[1] == pair[0] + 1), "what was dropped was never counted as sent");
}

#[tokio::test]
async fn a_bot_over_tls_is_trusted_by_its_authority_only() {
    let (_folder, pem, acceptor) = tls();
    let (listener, address) = listener().await;
    for ca in [Some(pem), None] {
        let trusted = ca.is_some();
        let url = format!("wss://{address}/");
        let mut session = session_of(MediaStreamConfig { ca, ..MediaStreamConfig::at(url) });
        let bot = async {
            let (tcp, _) = listener.accept().await.expect("a connection");
            let mut bot = tokio_tungstenite::accept_async(acceptor.accept(tcp).await.ok()?).await.ok()?;
            let connected = hears(&mut bot).await;
            bot.send(Message::text(json!({"event": "media", "media": {"payload": "/w=="}}).to_string())).await.ok()?;
            Some((bot, connected))
        };
        let heard = async {
            let first = next(session.as_mut()).await;
            (first, next(session.as_mut()).await)
        };
        let (bot, (first, second)) = tokio::join!(bot, heard);
        if trusted {
            assert_eq!(bot.expect("a bot").1["event"], "connected");
            assert_eq!(first, Event::Ready);
            assert_eq!(second, Event::Audio(Audio { item: 1, sound: Sound::Ulaw(vec![0xFF]) }));
        } else {
            assert!(bot.is_none());
            assert!(
                matches!(&first, Event::Error { message, .. } if message.starts_with("TLS to the service failed")),
                "{first:?}"
            );
        }
    }
}

/// The handshake of a call is the expensive part of its connection: only the first one to a bot is a whole one.
/// What a server over TLS does with a connection.
#[derive(Clone, Copy)]
enum Fate {
    Serve,
    /// Closes it once it stands.
    Close,
    /// Closes it when it is asked for something.
    CloseOnRequest,
}

/// Serves connections side by side, each by its fate; tells of handshakes, and of the connections that calls come over.
fn serve_over_tls(
    listener: TcpListener,
    acceptor: tokio_rustls::TlsAcceptor,
    fates: Vec<Fate>,
) -> (Told<HandshakeKind>, Told<usize>) {
    let (shaken, handshakes) = mpsc::unbounded_channel();
    let (called, calls) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        for (number, fate) in fates.into_iter().enumerate() {
            let (tcp, _) = listener.accept().await.expect("a connection");
            let (acceptor, shaken, called) = (acceptor.clone(), shaken.clone(), called.clone());
            tokio::spawn(async move {
                let mut tls = acceptor.accept(tcp).await.expect("a handshake");
                let _ = shaken.send(tls.get_ref().1.handshake_kind().expect("over"));
                match fate {
                    Fate::Close => return tls.shutdown().await.expect("closed"),
                    Fate::CloseOnRequest => {
                        tls.read_u8().await.expect("the beginning of a request");
                        return tls.shutdown().await.expect("closed");
                    }
                    Fate::Serve => {}
                }
                let Ok(mut bot) = tokio_tungstenite::accept_async(tls).await else { return };
                let _ = called.send(number);
                // What the bot says comes behind its tickets.
                let media = json!({"event": "media", "media": {"payload": "/w=="}});
                bot.send(Message::text(media.to_string())).await.expect("sent");
                while bot.next().await.is_some() {}
            });
        }
    });
    (handshakes, calls)
}

type Told<T> = mpsc::UnboundedReceiver<T>;

#[tokio::test]
async fn a_call_to_a_bot_over_tls_finds_a_connection_that_was_made_for_it() {
    use Fate::{Close, CloseOnRequest, Serve};
    let (_folder, pem, acceptor) = tls();
    let (listener, address) = listener().await;
    let bot = MediaStreamConfig { ca: Some(pem), ..MediaStreamConfig::at(format!("wss://{address}/")) };
    let engines = engines_of(bot);
    let (mut handshakes, mut calls) =
        serve_over_tls(listener, acceptor, vec![Serve, Serve, Close, Serve, CloseOnRequest, Serve, Serve]);
    let mut kinds = Vec::new();
    let mut took = Vec::new();
    let mut live = Vec::new();
    // Each call, and how many handshakes were made when the connection for the next one stands: the third and the fourth
    // call find one that the bot has closed or closes in their face, and make another.
    for made in [2, 3, 5, 7] {
        let mut session = engines.session(options(""))();
        while !matches!(next(session.as_mut()).await, Event::Audio(_)) {}
        took.push(calls.recv().await.expect("a call"));
        while kinds.len() < made {
            kinds.push(works_until(session.as_mut(), handshakes.recv()).await.expect("a handshake"));
        }
        // What the bot closes is closed at this end, too, before the next call.
        works_until(session.as_mut(), tokio::time::sleep(Duration::from_millis(50))).await;
        live.push(session);
    }
    assert_eq!(took, [0, 1, 3, 5]);
    assert_eq!(kinds[0], HandshakeKind::Full);
    assert!(kinds[1..].iter().all(|kind| *kind == HandshakeKind::Resumed), "{kinds:?}");
}
