//! A Gemini Live service on loopback: one that is told what to say, and one that answers by itself.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Message, protocol::frame::coding::CloseCode};

pub const PATIENCE: Duration = Duration::from_secs(20);
/// What a setup may hold.
const SETUP: &[&str] = &[
    "model",
    "generationConfig",
    "systemInstruction",
    "tools",
    "realtimeInputConfig",
    "inputAudioTranscription",
    "outputAudioTranscription",
    "sessionResumption",
    "contextWindowCompression",
    "historyConfig",
    "proactivity",
    "safetySettings",
    "labels",
];

pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited too long for {what}"))
}

pub async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    (listener, address)
}

/// What clients sent, in order.
pub type Captured = Arc<Mutex<Vec<Value>>>;

pub trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// One connection of the service.
pub struct Live {
    socket: WebSocketStream<Box<dyn Wire>>,
    pub path: String,
    pub key: Option<String>,
    captured: Captured,
}

impl Live {
    pub async fn accept(listener: &TcpListener, captured: &Captured) -> Live {
        let (tcp, _) = within("a connection", listener.accept()).await.expect("a connection");
        Live::over(Box::new(tcp), captured).await
    }

    pub async fn over(wire: Box<dyn Wire>, captured: &Captured) -> Live {
        let (mut path, mut key) = (String::new(), None);
        let look = |request: &Request, response: Response| {
            path = request.uri().to_string();
            key = request.headers().get("x-goog-api-key").map(|key| key.to_str().expect("text").to_owned());
            Ok::<Response, ErrorResponse>(response)
        };
        let socket = tokio_tungstenite::accept_hdr_async(wire, look).await.expect("a handshake");
        Live { socket, path, key, captured: captured.clone() }
    }

    /// The next message, in camel case; `None` when the client closed.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            match within("a message", self.socket.next()).await? {
                Ok(Message::Text(text)) => {
                    let message: Value = serde_json::from_str(text.as_str()).expect("JSON");
                    self.captured.lock().expect("whole").push(message.clone());
                    return Some(camel(message));
                }
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(Message::Binary(_)) => panic!("the service takes text"),
                Ok(_) => {}
            }
        }
    }

    /// The next message that is no sound.
    pub async fn hears(&mut self) -> Value {
        loop {
            let message = self.next().await.expect("open");
            if message.pointer("/realtimeInput/audio").is_none() {
                return message;
            }
        }
    }

    /// Sound until there are so many samples of it.
    pub async fn listens(&mut self, samples: usize) {
        let mut heard = 0;
        while heard < samples {
            heard += sound(&self.next().await.expect("open")).map_or(0, |(pcm, _)| pcm.len());
        }
    }

    /// As the service does: JSON in a binary frame.
    pub async fn says(&mut self, message: Value) {
        let octets = message.to_string().into_bytes();
        within("room", self.socket.send(Message::Binary(octets.into()))).await.expect("sent");
    }

    /// In a text frame; the client may close meanwhile.
    pub async fn says_text(&mut self, text: &str) {
        let _ = within("room", self.socket.send(Message::text(text))).await;
    }

    pub async fn set_up(&mut self) -> Value {
        let setup = self.next().await.expect("open");
        assert!(setup["setup"].is_object(), "first of all the setup: {setup}");
        self.says(json!({"setupComplete": {"sessionId": "s-1"}})).await;
        setup["setup"].clone()
    }

    pub async fn close(mut self, code: u16, reason: &str) {
        let frame = CloseFrame { code: CloseCode::from(code), reason: reason.to_owned().into() };
        let _ = self.socket.close(Some(frame)).await;
        while let Some(Ok(_)) = within("the end", self.socket.next()).await {}
    }

    /// Cuts the wire.
    pub fn breaks(self) {
        drop(self.socket.into_inner());
    }

    /// A turn of the model.
    pub async fn speaks(&mut self, words: &str) {
        for _ in 0..2 {
            self.says(spoken(2_400)).await;
        }
        self.says(json!({"serverContent": {"outputTranscription": {"text": words}}})).await;
        self.says(json!({"serverContent": {"generationComplete": true}})).await;
        let used = json!({"promptTokenCount": 5, "responseTokenCount": 7, "totalTokenCount": 12});
        self.says(json!({"serverContent": {"turnComplete": true, "interactionStatus": "IDLE"}, "usageMetadata": used}))
            .await;
    }

    /// Answers by itself until the client leaves: words and sound with words, questions for the weather with a tool.
    pub async fn answers(mut self) {
        let Some(first) = self.next().await else { return };
        let Some(setup) = first["setup"].as_object() else {
            return self.close(1007, "the first message must be setup").await;
        };
        if let Some(unknown) = setup.keys().find(|key| !SETUP.contains(&key.as_str())) {
            let reason = format!("Invalid JSON payload received. Unknown name \"{unknown}\" at 'setup'");
            return self.close(1007, &reason).await;
        }
        if self.key.as_deref() == Some("wrong") {
            return self.close(1007, "API key not valid. Please pass a valid API key.").await;
        }
        let model = setup["model"].as_str().expect("a model").to_owned();
        if !model.contains("gemini") {
            let reason = format!("{model} is not found for API version v1beta, or is not supported");
            return self.close(1008, &reason).await;
        }
        self.says(json!({"setupComplete": {"sessionId": "s-1"}})).await;
        let (mut heard, mut turns) = (0, 0);
        while let Some(message) = self.next().await {
            let said =
                message.pointer("/realtimeInput/text").or(message.pointer("/clientContent/turns/0/parts/0/text"));
            if let Some((pcm, rate)) = sound(&message) {
                heard += pcm.len() * 1_000 / rate;
                if heard < 500 {
                    continue;
                }
                heard = 0;
                self.says(json!({"serverContent": {"inputTranscription": {"text": "good day"}}})).await;
            } else if said.and_then(Value::as_str).is_some_and(|text| text.contains("weather")) {
                let call = json!({"id": "fc-1", "name": "weather", "args": {"city": "Bonn"}});
                self.says(json!({"toolCall": {"functionCalls": [call]}})).await;
                continue;
            } else if message.get("toolResponse").is_none() && said.is_none() {
                continue;
            }
            turns += 1;
            self.speaks(&format!("Answer {turns}. ")).await;
            let handle = format!("h-{turns}");
            self.says(json!({"sessionResumptionUpdate": {"newHandle": handle, "resumable": true}})).await;
        }
    }
}

/// Sound of the model.
pub fn spoken(samples: usize) -> Value {
    let octets: Vec<u8> = (0..2 * samples).map(|n| n as u8).collect();
    let data = json!({"mimeType": "audio/pcm;rate=24000", "data": STANDARD.encode(octets)});
    json!({"serverContent": {"modelTurn": {"role": "model", "parts": [{"inlineData": data}]}}})
}

/// Sound of the caller, and its rate.
pub fn sound(message: &Value) -> Option<(Vec<i16>, usize)> {
    let audio = message.pointer("/realtimeInput/audio")?;
    let rate = audio["mimeType"].as_str()?.strip_prefix("audio/pcm;rate=")?.parse().expect("a rate");
    let octets = STANDARD.decode(audio["data"].as_str()?).expect("base64");
    assert!(octets.len().is_multiple_of(2), "whole samples");
    Some((octets.chunks(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect(), rate))
}

/// Clients write names in either spelling; the service takes both.
fn camel(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(key, value)| (camel_name(&key), camel(value)));
            Value::Object(fields.collect::<Map<String, Value>>())
        }
        Value::Array(items) => items.into_iter().map(camel).collect(),
        value => value,
    }
}

fn camel_name(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| {
        let (initial, rest) = word.split_at(word.len().min(1));
        name + &initial.to_ascii_uppercase() + rest
    })
}
