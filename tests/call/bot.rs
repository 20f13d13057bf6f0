//! A call to the customer's own bot: real SIP, RTP and WebSocket, the bot of another make.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::disallowed_methods)]
// functions that tests share are not inside `#[test]`
// The error that its callback may return is the WebSocket library's own.
#![allow(clippy::result_large_err)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use trunkline::call::{CallStatus, EndReason};
use trunkline::media::codec::g711::ulaw;
use trunkline::sip::endpoint::{CallEvent, EndedBy};
use trunkline::sip::sdp::{AudioCodec, SessionDescription};

use crate::call_support::{Gateway, Phone, Plan, Talk, purity, within};

const CALLER_HZ: u64 = 600;
const BOT_HZ: f64 = 1_000.0;
const NUMBER: &str =
    "[[number]]\nname = \"desk\"\nnumber = \"1234\"\nvisibility = \"public\"\nsystem_prompt = \"Hi\"\n";

struct Scene {
    gateway: Gateway,
    talk: Talk,
    bot: WebSocketStream<TcpStream>,
    _phone: Phone,
    _state: tempfile::TempDir,
}

impl Scene {
    /// A phone that speaks `codec` has called the bot.
    async fn calling(codec: AudioCodec) -> Scene {
        let state = tempfile::tempdir().expect("state");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("ws://{}/calls", listener.local_addr().expect("bound"));
        let phone = Phone::start().await;
        let extra = format!("[engine.media_stream]\nurl = \"{url}\"\n{NUMBER}");
        let plan = Plan { engine: "media-stream", extra, ..Plan::towards(&phone) };
        let gateway = Gateway::start(state.path(), plan).await;
        let phone = Phone::calling(gateway.endpoint.local_address()).await;
        let bot = async {
            let (tcp, _) = listener.accept().await.expect("a connection");
            tokio_tungstenite::accept_async(tcp).await.expect("a handshake")
        };
        let call = phone.call_offering("1234", |offer| *offer = SessionDescription::offer(7, offer.address, &[codec]));
        let (talk, bot) = within("the call and its bot", async { tokio::join!(call, bot) }).await;
        Scene { gateway, talk: talk.expect("answered"), bot, _phone: phone, _state: state }
    }

    /// The next message that is no speech, or every message where `speech`.
    async fn hears(&mut self, speech: bool) -> Value {
        within("a message of the box", async {
            loop {
                let message = self.bot.next().await.expect("open").expect("valid");
                let message: Value = serde_json::from_str(message.to_text().expect("text")).expect("JSON");
                if speech || message["event"] != "media" {
                    return message;
                }
            }
        })
        .await
    }

    async fn says(&mut self, message: Value) {
        self.bot.send(Message::text(message.to_string())).await.expect("sent");
    }

    /// So many milliseconds of the bot's hum at once.
    async fn hums(&mut self, milliseconds: usize) {
        let tone = |n: usize| (BOT_HZ * std::f64::consts::TAU * n as f64 / 8_000.0).sin() * 8_000.0;
        let octets: Vec<u8> = (0..milliseconds * 8).map(|n| ulaw(tone(n) as i16)).collect();
        self.says(json!({"event": "media", "media": {"payload": STANDARD.encode(octets)}})).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_and_a_bot_hear_each_other_whatever_the_phone_speaks() {
    for codec in [AudioCodec::Pcmu, AudioCodec::Pcma] {
        let mut scene = Scene::calling(codec).await;
        assert_eq!(scene.hears(true).await["event"], "connected");
        let start = scene.hears(true).await;
        let about = &start["start"]["customParameters"];
        assert_eq!((&about["direction"], about["call"].is_string()), (&json!("inbound"), true), "{start}");
        scene.talk.hum(CALLER_HZ);
        let mut heard: Vec<i16> = Vec::new();
        let mut sequence = 1;
        while heard.len() < 8_000 {
            let media = scene.hears(true).await;
            sequence += 1;
            assert_eq!(media["sequenceNumber"], sequence.to_string());
            let octets = STANDARD.decode(media["media"]["payload"].as_str().expect("a payload")).expect("base64");
            heard.extend(octets.iter().map(|octet| trunkline::media::codec::g711::ULAW_TO_LINEAR[usize::from(*octet)]));
        }
        let purity = purity(&heard[4_000..], CALLER_HZ as f64);
        assert!(purity > 0.9, "{codec:?}: {purity}");
        scene.hums(2_000).await;
        scene.says(json!({"event": "mark", "mark": {"name": "hummed"}})).await;
        scene.talk.hears_tone(BOT_HZ as u64).await;
        assert_eq!(scene.hears(false).await["mark"]["name"], "hummed");
        scene.talk.press("7");
        assert_eq!(scene.hears(false).await["dtmf"]["digit"], "7");
        scene.talk.control.hang_up();
        assert_eq!(scene.hears(false).await["event"], "stop", "the bot is told before the connection ends");
        let call = scene.gateway.inbound_call().await;
        assert_eq!(scene.gateway.finished(call.id).await.status, CallStatus::Completed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_bot_clears_is_not_heard_and_a_bot_that_closes_ends_the_call() {
    let mut scene = Scene::calling(AudioCodec::Pcmu).await;
    scene.hums(60_000).await;
    scene.says(json!({"event": "mark", "mark": {"name": "a minute"}})).await;
    scene.talk.hears_tone(BOT_HZ as u64).await;
    scene.says(json!({"event": "clear"})).await;
    loop {
        let message = scene.hears(false).await;
        if message["event"] == "mark" {
            assert_eq!(message["mark"]["name"], "a minute");
            break;
        }
    }
    // A flush leaves nothing on the wire but what was on its way.
    scene.talk.sound.heard.lock().expect("unharmed").clear();
    within("silence", async {
        loop {
            let heard = scene.talk.sound.heard.lock().expect("unharmed").clone();
            if heard.len() >= 4_000 {
                assert!(heard[800..4_000].iter().all(|sample| sample.unsigned_abs() < 50), "silence after a clear");
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    scene.bot.close(None).await.expect("sent");
    assert_eq!(scene.talk.ends().await, CallEvent::Ended { by: EndedBy::Peer });
    let call = scene.gateway.inbound_call().await;
    assert_eq!(scene.gateway.finished(call.id).await.end_reason, Some(EndReason::Finished));
}
