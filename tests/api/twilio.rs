//! The request by which a bot hangs up, against the whole box: a caller, a bot behind a WebSocket, HTTP.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::disallowed_methods)]
// The error that its callback may return is the WebSocket library's own.
#![allow(clippy::result_large_err)]

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt;
use hmac::{KeyInit, Mac};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use trunkline::app::App;
use trunkline::clock::Clock;
use trunkline::config::Config;

use crate::caller::{Caller, Standing};
use crate::client::{Answer, Http};

const SID: &str = "AC00000000000000000000000000000001";
const TOKEN: &str = "tea";
const ACCOUNT: &str = "account_sid = \"AC00000000000000000000000000000001\"\nauth_token = \"tea\"";
const PATIENCE: Duration = Duration::from_secs(20);

struct Scene {
    app: App,
    http: Http,
    sip: SocketAddr,
    listener: TcpListener,
    _folder: tempfile::TempDir,
}

impl Scene {
    async fn start(account: &str) -> Scene {
        let folder = tempfile::tempdir().expect("folder");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let bot = listener.local_addr().expect("bound");
        let sip = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
        let text = format!(
            "[state]\ndirectory = \"{}\"\n[http]\nlisten = \"127.0.0.1:0\"\nplain_listen = \"127.0.0.1:0\"\n\
             [sip]\nlisten = \"{sip}\"\n[media]\nthreads = 1\n[engine]\nkind = \"media-stream\"\n\
             [engine.media_stream]\nurl = \"ws://{bot}/calls?of=me\"\n{account}\n\
             [[trunk]]\nname = \"pbx\"\nhost = \"127.0.0.1:9\"\nsources = [\"127.0.0.0/8\"]\n\
             [[number]]\nname = \"desk\"\nnumber = \"1234\"\nsystem_prompt = \"Hi\"\nvisibility = \"public\"\n",
            folder.path().display()
        );
        let config: Config = toml::from_str(&text).expect("configuration");
        let app = App::start(config, Clock::system()).await.expect("the box starts");
        let http = Http::plain(app.plain_address().expect("plain listener"));
        Scene { app, http, sip, listener, _folder: folder }
    }

    /// A caller, its bot, what the bot was told, and the signature of its connection.
    async fn talking(&self) -> (Standing, WebSocketStream<TcpStream>, Value, Option<String>) {
        let target = self.sip;
        let offer =
            "v=0\r\no=c 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n";
        let caller = tokio::task::spawn_blocking(move || Caller::new().stand(target, "1234", offer));
        let mut signature = None;
        let bot = async {
            let (tcp, _) = self.listener.accept().await.expect("a connection");
            let look = |request: &Request, response: Response| {
                let given = request.headers().get("x-twilio-signature");
                signature = given.map(|value| value.to_str().expect("ASCII").to_owned());
                Ok::<Response, ErrorResponse>(response)
            };
            tokio_tungstenite::accept_hdr_async(tcp, look).await.expect("a handshake")
        };
        let (caller, mut bot) =
            tokio::time::timeout(PATIENCE, async { tokio::join!(caller, bot) }).await.expect("a call");
        let start = hears(&mut bot, "start").await;
        (caller.expect("answered"), bot, start, signature)
    }

    async fn post(&self, account: &str, call: &str, user: &str, form: &str) -> Answer {
        let path = format!("/2010-04-01/Accounts/{account}/Calls/{call}.json");
        let basic = format!("Basic {}", STANDARD.encode(user));
        let headers = [("authorization", basic.as_str()), ("content-type", "application/x-www-form-urlencoded")];
        self.http.send("POST", &path, &headers, form.into()).await
    }

    async fn stop(self) {
        self.app.stop(Duration::ZERO, std::future::pending()).await;
    }
}

async fn hears(bot: &mut WebSocketStream<TcpStream>, event: &str) -> Value {
    let listening = async {
        loop {
            let message = bot.next().await.expect("open").expect("valid");
            let message: Value = serde_json::from_str(message.to_text().expect("text")).expect("JSON");
            if message["event"] == event {
                return message;
            }
        }
    };
    tokio::time::timeout(PATIENCE, listening).await.unwrap_or_else(|_| panic!("no {event}"))
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_hangs_up_the_call_that_it_was_told_of_and_may_say_so_twice() {
    let scene = Scene::start(ACCOUNT).await;
    let (_caller, mut bot, start, signature) = scene.talking().await;
    // As Twilio documents it: the URL, keyed with the token; a request without a form has nothing more.
    let url = format!("ws://{}/calls?of=me", scene.listener.local_addr().expect("bound"));
    let mac = hmac::Hmac::<sha1::Sha1>::new_from_slice(TOKEN.as_bytes()).expect("a key");
    assert_eq!(signature, Some(STANDARD.encode(mac.chain_update(url).finalize().into_bytes())));
    assert_eq!(start["start"]["accountSid"], SID);
    let call = text(&start["start"]["callSid"]);
    let user = format!("{SID}:{TOKEN}");
    let live = scene.post(SID, call, &user, "Status=canceled").await;
    assert_eq!(live.status, 200, "{}", live.text());
    assert!(["ringing", "in-progress"].contains(&text(&live.json()["status"])), "a live call goes on");
    let over = scene.post(SID, call, &user, "Status=completed").await;
    assert_eq!(over.status, 200, "{}", over.text());
    let over = over.json();
    assert_eq!(
        (&over["sid"], &over["status"], &over["direction"]),
        (&call.into(), &"completed".into(), &"inbound".into())
    );
    assert_eq!(text(&over["uri"]), format!("/2010-04-01/Accounts/{SID}/Calls/{call}.json"));
    assert!(over["end_time"].is_string() && over["duration"].is_string(), "{over}");
    assert_eq!(hears(&mut bot, "stop").await["stop"]["callSid"], call);
    let again = scene.post(SID, call, &user, "Status=completed").await;
    assert_eq!((again.status, &again.json()["end_time"]), (200, &over["end_time"]));
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_the_account_or_asks_for_something_else_changes_nothing() {
    let scene = Scene::start(ACCOUNT).await;
    let (_caller, _bot, start, _) = scene.talking().await;
    let call = text(&start["start"]["callSid"]);
    let user = format!("{SID}:{TOKEN}");
    let unknown = format!("CA{}", "0".repeat(32));
    for (account, call, user, form, status, code) in [
        (SID, call, "", "Status=completed", 401, 20_003),
        (SID, call, "AC1:tea", "Status=completed", 401, 20_003),
        (SID, call, &format!("{SID}:coffee"), "Status=completed", 401, 20_003),
        ("AC2", call, &user, "Status=completed", 404, 20_404),
        (SID, unknown.as_str(), &user, "Status=completed", 404, 20_404),
        (SID, "CA1", &user, "Status=completed", 404, 20_404),
        (SID, call, &user, "Status=busy", 400, 20_001),
        (SID, call, &user, "", 400, 20_001),
        (SID, call, &user, "Twiml=%3CResponse%2F%3E", 400, 20_001),
        (SID, call, &user, "Status=completed&Url=http%3A%2F%2Fa", 400, 20_001),
    ] {
        let answer = scene.post(account, call, user, form).await;
        assert_eq!((answer.status, &answer.json()["code"]), (status, &code.into()), "{account} {form}");
        assert_eq!(answer.header("www-authenticate").starts_with("Basic"), status == 401);
    }
    let get = scene.http.get(&format!("/2010-04-01/Accounts/{SID}/Calls/{call}.json")).await;
    assert_eq!((get.status, &get.json()["code"]), (405, &20_004.into()));
    let live = scene.post(SID, call, &user, "Status=canceled").await;
    assert!(["ringing", "in-progress"].contains(&text(&live.json()["status"])), "{}", live.text());
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_account_nobody_may_ask_and_nothing_is_signed() {
    let scene = Scene::start("").await;
    let (_caller, _bot, start, signature) = scene.talking().await;
    assert_eq!(signature, None);
    let account = text(&start["start"]["accountSid"]);
    let answer =
        scene.post(account, text(&start["start"]["callSid"]), &format!("{account}:"), "Status=completed").await;
    assert_eq!((answer.status, &answer.json()["code"]), (404, &20_404.into()));
    scene.stop().await;
}
