//! A call to a bot behind a WebSocket that says back what it hears: the whole way on the media thread.
#![allow(clippy::expect_used, clippy::disallowed_methods)]
// The error that its callback may return is the WebSocket library's own.
#![allow(clippy::result_large_err)]

use std::net::Ipv4Addr;
use std::task::{Context, Poll};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;
use trunkline::media::{HeardFrame, LegOptions, Peer, Playout};
use trunkline::sip::sdp::{AudioCodec, SessionDescription};

use crate::call_support::{Gateway, Phone, Plan, within};
use crate::counting;

/// Messages with sound before the count begins, and while it goes on: five seconds.
const BEFORE: u64 = 150;
const COUNTED: u64 = 250;
/// Allowed in that time, each way: reports of the leg, batches of the recording.
const MOST: u64 = 50;
const NUMBER: &str =
    "[[number]]\nname = \"desk\"\nnumber = \"1234\"\nvisibility = \"public\"\nsystem_prompt = \"Hi\"\n";

/// Sits on the media thread so that it is watched.
struct Watcher;

impl Peer for Watcher {
    fn heard(&mut self, _: HeardFrame<'_>, _: &mut dyn Playout) {}
    fn key(&mut self, _: char, _: &mut dyn Playout) {}
    fn played(&mut self, _: u64, _: &mut dyn Playout) {}

    fn poll(&mut self, _: &mut Context<'_>, _: &mut dyn Playout) -> Poll<()> {
        Poll::Pending
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bot_and_a_caller_talk_without_asking_for_memory_for_every_frame() {
    let _turn = counting::TURN.lock().await;
    let state = tempfile::tempdir().expect("state");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("ws://{}/calls", listener.local_addr().expect("bound"));
    let called = Phone::start().await;
    let extra = format!("[engine.media_stream]\nurl = \"{url}\"\n{NUMBER}");
    let gateway = Gateway::start(state.path(), Plan { engine: "media-stream", extra, ..Plan::towards(&called) }).await;
    let phone = Phone::calling(gateway.endpoint.local_address()).await;
    let bot = async {
        let (tcp, _) = listener.accept().await.expect("a connection");
        tokio_tungstenite::accept_async(tcp).await.expect("a handshake")
    };
    let offering = |offer: &mut SessionDescription| {
        *offer = SessionDescription::offer(7, offer.address, &[AudioCodec::Pcmu]);
    };
    let (talk, mut bot) =
        within("the call and its bot", async { tokio::join!(phone.call_offering("1234", offering), bot) }).await;
    let talk = talk.expect("answered");
    // There is one media thread.
    let options = LegOptions { bind: Ipv4Addr::LOCALHOST.into(), recording: None };
    let beside = gateway.media.open(options).await.expect("a leg");
    beside.control.attach(Box::new(|| {
        counting::watch();
        Box::new(Watcher)
    }));
    let mut heard = 0;
    within("five seconds of sound", async {
        while heard < BEFORE + COUNTED {
            let message = bot.next().await.expect("open").expect("valid");
            let message: Value = serde_json::from_str(message.to_text().expect("text")).expect("JSON");
            if message["event"] == "media" {
                let answer = json!({ "event": "media", "media": { "payload": message["media"]["payload"] } });
                bot.send(Message::text(answer.to_string())).await.expect("sent");
                heard += 1;
                if heard == BEFORE {
                    counting::begin();
                }
            }
        }
    })
    .await;
    let count = counting::count();
    eprintln!("{count} allocations for {COUNTED} frames each way\n{}", counting::told());
    assert!(count <= MOST, "{count} allocations:\n{}", counting::told());
    drop(talk);
}
