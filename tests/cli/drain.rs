//! The box stops in order while a call is up: it drains, it hangs up, and it does not wait when it is told twice.
#![allow(clippy::expect_used)]

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;
use trunkline::app::App;
use trunkline::call::{PlaceCall, PlaceError};
use trunkline::clock::Clock;
use trunkline::config::Config;

const PATIENCE: Duration = Duration::from_secs(20);

/// A PBX that rings for ever.
struct Pbx {
    socket: UdpSocket,
}

impl Pbx {
    async fn open() -> Pbx {
        Pbx { socket: UdpSocket::bind("127.0.0.1:0").await.expect("bound") }
    }

    fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("bound")
    }

    /// The next request of that method; others are passed over.
    async fn request(&self, method: &str) -> (String, SocketAddr) {
        let mut buffer = vec![0; 65_535];
        timeout(PATIENCE, async {
            loop {
                let (length, from) = self.socket.recv_from(&mut buffer).await.expect("received");
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                if text.starts_with(&format!("{method} ")) {
                    return (text, from);
                }
            }
        })
        .await
        .expect("the request comes in time")
    }

    async fn answer(&self, request: &str, to: SocketAddr, status: &str) {
        let copied = |line: &&str| ["Via:", "From:", "Call-ID:", "CSeq:"].iter().any(|name| line.starts_with(name));
        let mut answer = format!("SIP/2.0 {status}\r\n");
        request.lines().filter(copied).for_each(|line| answer.push_str(&format!("{line}\r\n")));
        let to_header = request.lines().find(|line| line.starts_with("To:")).expect("a To header");
        answer.push_str(&format!(
            "{to_header};tag=pbx\r\nContact: <sip:{}>\r\nContent-Length: 0\r\n\r\n",
            self.address()
        ));
        self.socket.send_to(answer.as_bytes(), to).await.expect("sent");
    }
}

async fn start(folder: &Path, pbx: &Pbx) -> App {
    let text = format!(
        "[state]\ndirectory = {:?}\n[http]\nlisten = \"127.0.0.1:0\"\n[sip]\nlisten = \"127.0.0.1:0\"\n\
         [media]\nports = [24000, 24031]\n[[trunk]]\nname = \"pbx\"\nhost = \"{}\"\n",
        folder.join("state"),
        pbx.address()
    );
    let config = Config::parse(&text, Path::new("box.toml")).expect("right");
    Box::pin(App::start(config, Clock::system())).await.expect("started")
}

fn order(app: &App) -> PlaceCall {
    let organization = app.directory().organization("");
    PlaceCall {
        organization: organization.id,
        tenant: organization.host.clone(),
        requested_by: "test".into(),
        phone: "+12025550143".into(),
        uri: None,
        trunk: None,
        display_name: String::new(),
        email: None,
        prompt: "Hello.".into(),
        engine_key: None,
        model: None,
        voice: organization.voice.clone(),
        language: organization.language.clone(),
        max_duration: Duration::from_secs(60),
        retries: 0,
        retry_delay: Duration::from_secs(60),
        scheduled_for: None,
        whitelist: true,
        idempotency: None,
    }
}

/// A box whose call rings at `pbx`.
async fn ringing(folder: &Path, pbx: &Pbx) -> App {
    let app = start(folder, pbx).await;
    app.calls().place(order(&app)).await.expect("placed");
    let (invite, from) = pbx.request("INVITE").await;
    pbx.answer(&invite, from, "180 Ringing").await;
    app
}

/// Answers the CANCEL of a stopping box and the INVITE with it.
async fn cancelled(pbx: &Pbx) {
    let (cancel, from) = pbx.request("CANCEL").await;
    pbx.answer(&cancel, from, "200 OK").await;
    let invite = cancel.replace("CSeq: 1 CANCEL", "CSeq: 1 INVITE");
    pbx.answer(&invite, from, "487 Request Terminated").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ringing_call_is_cancelled_when_its_time_is_over() {
    let folder = tempfile::tempdir().expect("folder");
    let pbx = Pbx::open().await;
    let app = ringing(folder.path(), &pbx).await;
    let stopped = app.stop(Duration::from_millis(300), std::future::pending());
    timeout(PATIENCE, async { tokio::join!(stopped, cancelled(&pbx)) }).await.expect("stopped in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn told_twice_it_does_not_wait_for_the_drain() {
    let folder = tempfile::tempdir().expect("folder");
    let pbx = Pbx::open().await;
    let app = ringing(folder.path(), &pbx).await;
    let stopped = app.stop(Duration::from_secs(3600), std::future::ready(()));
    timeout(PATIENCE, async { tokio::join!(stopped, cancelled(&pbx)) }).await.expect("stopped in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_begun_is_undone_when_the_start_fails() {
    let folder = tempfile::tempdir().expect("folder");
    let pbx = Pbx::open().await;
    let app = start(folder.path(), &pbx).await;
    let taken = app.https_address();
    let second = tempfile::tempdir().expect("folder");
    let text = format!(
        "[state]\ndirectory = {:?}\n[http]\nlisten = \"{taken}\"\n[sip]\nlisten = \"127.0.0.1:0\"\n",
        second.path().join("state")
    );
    let config = Config::parse(&text, Path::new("box.toml")).expect("right");
    let refused = Box::pin(App::start(config, Clock::system())).await.err().expect("the port is taken");
    assert!(refused.to_string().contains("is another web server running"), "{refused}");
    // The store of the failed start is free again.
    let pbx = Pbx::open().await;
    let again = start(second.path(), &pbx).await;
    assert!(matches!(stop_then_place(again).await, Err(PlaceError::Unavailable)));
    app.stop(Duration::ZERO, std::future::pending()).await;
}

/// A stopping box takes no orders.
async fn stop_then_place(app: App) -> Result<(), PlaceError> {
    let (calls, order) = (app.calls().clone(), order(&app));
    app.stop(Duration::ZERO, std::future::pending()).await;
    calls.place(order).await.map(|_| ())
}
