//! A bot that goes away: what its caller hears, where the caller goes, what the record says.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::SinkExt;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use trunkline::call::record::{ReadModel, TransferOutcome};
use trunkline::call::{Call, CallStatus, EndReason, Speaker};
use trunkline::media::codec::g711::ulaw;
use trunkline::sip::endpoint::{CallEvent, EndedBy};

use crate::call_support::{CALLEE, Gateway, Phone, Plan, Talk, within};

const BOT_HZ: u64 = 700;
const PERSON_HZ: u64 = 1_000;
const SENTENCE: &str = "We are sorry, something went wrong.";
const TOLD: &str = "fault_sentence = \"We are sorry, something went wrong.\"";
const TOLD_AND_CONNECTED: &str = "fault_sentence = \"We are sorry, something went wrong.\"\nfault_transfer = true";

struct Scene {
    gateway: Gateway,
    listener: TcpListener,
    caller_phone: Phone,
    person: Phone,
    _state: tempfile::TempDir,
}

impl Scene {
    /// `engine`: further keys of `[engine]`; `bot`: of its section.
    async fn with(engine: &'static str, bot: &str) -> Scene {
        let state = tempfile::tempdir().expect("state");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("ws://{}/calls", listener.local_addr().expect("bound"));
        let person = Phone::start().await;
        let extra = format!(
            "[engine.media_stream]\nurl = \"{url}\"\n{bot}\n[dial]\nallow = [\"+4930\"]\n[[number]]\nname = \"desk\"\n\
             number = \"1234\"\nvisibility = \"public\"\nsystem_prompt = \"Hi\"\ntransfer_to = \"{CALLEE}\"\n"
        );
        let plan = Plan { engine: "media-stream", engine_keys: engine, extra, ..Plan::towards(&person) };
        let gateway = Gateway::start(state.path(), plan).await;
        let caller_phone = Phone::calling(gateway.endpoint.local_address()).await;
        Scene { gateway, listener, caller_phone, person, _state: state }
    }

    /// A caller who hears the bot, which has said a second of sound.
    async fn talking(&self) -> (Talk, WebSocketStream<TcpStream>, Call) {
        let bot = async {
            let (tcp, _) = self.listener.accept().await.expect("a connection");
            tokio_tungstenite::accept_async(tcp).await.expect("a handshake")
        };
        let call = self.caller_phone.call("1234");
        let (caller, mut bot) = within("the call and its bot", async { tokio::join!(call, bot) }).await;
        let caller = caller.expect("answered");
        let call = self.gateway.inbound_call().await;
        let call = self.gateway.status(call.id, CallStatus::InProgress).await;
        let tone = |n: u32| (f64::from(n) * BOT_HZ as f64 * std::f64::consts::TAU / 8_000.0).sin() * 8_000.0;
        let octets: Vec<u8> = (0..8_000).map(|n| ulaw(tone(n) as i16)).collect();
        let speech = json!({"event": "media", "media": {"payload": STANDARD.encode(octets)}});
        bot.send(Message::text(speech.to_string())).await.expect("sent");
        caller.hears_tone(BOT_HZ).await;
        (caller, bot, call)
    }

    /// What the agent's side said, in the transcript.
    fn sentences(&self, call: &Call) -> usize {
        let turns = ReadModel::new(self.gateway.store.clone()).turns(call.id).expect("readable");
        let agent = turns.iter().filter(|turn| turn.speaker == Speaker::Agent);
        agent.map(|turn| turn.text.matches(SENTENCE).count()).sum()
    }
}

/// The connection ends without a word.
async fn cut(bot: WebSocketStream<TcpStream>) -> TcpStream {
    let mut tcp = bot.into_inner();
    tcp.shutdown().await.expect("shut down");
    tcp
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_whose_bot_breaks_off_is_told_so_once_and_the_record_says_why() {
    let scene = Scene::with(TOLD, "").await;
    let (mut caller, bot, call) = scene.talking().await;
    let _gone = cut(bot).await;
    caller.sound.heard.lock().expect("unharmed").clear();
    assert_eq!(caller.ends().await, CallEvent::Ended { by: EndedBy::Peer });
    let heard = caller.sound.heard.lock().expect("unharmed").clone();
    let words = heard.chunks(800).filter(|part| {
        let loud = part.iter().any(|sample| sample.unsigned_abs() > 500);
        loud && crate::call_support::purity(part, BOT_HZ as f64) < 0.5
    });
    let words = words.count();
    assert!((8..40).contains(&words), "{words} tenths of a second of words");
    let call = scene.gateway.finished(call.id).await;
    assert_eq!((call.status, call.end_reason), (CallStatus::Failed, Some(EndReason::Error)), "{call:?}");
    assert_eq!(call.error_detail, "the service closed the connection (1006)");
    assert_eq!(scene.sentences(&call), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_whom_the_bot_refuses_is_told_so_too() {
    let scene = Scene::with(TOLD, "").await;
    let refuse = async {
        let (mut tcp, _) = scene.listener.accept().await.expect("a connection");
        let mut request = vec![0; 4_096];
        let _ = tcp.read(&mut request).await.expect("a request");
        tcp.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").await.expect("sent");
    };
    let (caller, ()) = within("the call", async { tokio::join!(scene.caller_phone.call("1234"), refuse) }).await;
    let mut caller = caller.expect("answered");
    caller.hears_something().await;
    assert_eq!(caller.ends().await, CallEvent::Ended { by: EndedBy::Peer });
    let call = scene.gateway.inbound_call().await;
    let call = scene.gateway.finished(call.id).await;
    assert_eq!(call.error_detail, "the service refused the connection with 403");
    assert_eq!((call.status, scene.sentences(&call)), (CallStatus::Failed, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_whose_bot_failed_is_connected_to_the_person_of_the_number() {
    let mut scene = Scene::with(TOLD_AND_CONNECTED, "").await;
    let (mut caller, bot, call) = scene.talking().await;
    let _gone = cut(bot).await;
    let mut person = scene.person.pick_up().await;
    person.hum(PERSON_HZ);
    caller.hears_tone(PERSON_HZ).await;
    person.control.hang_up();
    assert_eq!(caller.ends().await, CallEvent::Ended { by: EndedBy::Peer });
    person.ends().await;
    let call = scene.gateway.finished(call.id).await;
    assert_eq!(call.status, CallStatus::Completed, "{call:?}");
    assert_eq!(call.error_detail, "the voice AI failed: the service closed the connection (1006)");
    assert_eq!(call.transfers.len(), 1, "{:?}", call.transfers);
    assert_eq!(call.transfers[0].outcome, Some(TransferOutcome::Answered));
    assert_eq!(scene.sentences(&call), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_that_person_is_busy_the_call_ends_as_failed() {
    for keys in [TOLD_AND_CONNECTED, "fault_transfer = true"] {
        let mut scene = Scene::with(keys, "").await;
        let (mut caller, bot, call) = scene.talking().await;
        let _gone = cut(bot).await;
        scene.person.rings().await.control.reject(486);
        assert_eq!(caller.ends().await, CallEvent::Ended { by: EndedBy::Peer });
        let call = scene.gateway.finished(call.id).await;
        assert_eq!((call.status, call.transfers.len()), (CallStatus::Failed, 1), "{call:?}");
        assert_eq!(call.transfers[0].outcome, Some(TransferOutcome::Busy));
        assert!(call.error_detail.ends_with("the service closed the connection (1006)"), "{}", call.error_detail);
        assert_eq!(scene.sentences(&call), usize::from(keys == TOLD_AND_CONNECTED));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_that_closes_hands_its_caller_over_where_that_is_wanted_and_nothing_is_said() {
    let mut scene = Scene::with(TOLD, "on_end = \"transfer\"").await;
    let (caller, mut bot, call) = scene.talking().await;
    bot.close(None).await.expect("sent");
    let mut person = scene.person.pick_up().await;
    person.hum(PERSON_HZ);
    caller.hears_tone(PERSON_HZ).await;
    caller.control.hang_up();
    person.ends().await;
    let call = scene.gateway.finished(call.id).await;
    assert_eq!((call.status, call.error_detail.as_str()), (CallStatus::Completed, ""), "{call:?}");
    assert_eq!(call.transfers[0].outcome, Some(TransferOutcome::Answered));
    assert_eq!(scene.sentences(&call), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_sentence_the_call_just_ends() {
    let scene = Scene::with("", "").await;
    let (mut caller, bot, call) = scene.talking().await;
    let _gone = cut(bot).await;
    assert_eq!(caller.ends().await, CallEvent::Ended { by: EndedBy::Peer });
    let call = scene.gateway.finished(call.id).await;
    assert_eq!((call.status, scene.sentences(&call)), (CallStatus::Failed, 0));
    assert!(call.transfers.is_empty());
}
