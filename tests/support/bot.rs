//! A bot behind a WebSocket, of another make, that says back what it hears (Twilio Media Streams).

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

/// Answers every connection on a thread of its own, until it is dropped.
pub struct EchoBot {
    pub address: SocketAddr,
    /// The thread ends with it.
    _alive: tokio::sync::oneshot::Sender<()>,
}

impl EchoBot {
    /// `lead`: milliseconds of silence that it says first. Like the speech of every bot, what it says then comes before
    /// its time, and not in the last moment.
    pub fn start(lead: usize) -> EchoBot {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a socket of ours");
        let address = listener.local_addr().expect("bound");
        let (alive, end) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("a socket of ours");
                tokio::select! {
                    _ = end => {}
                    () = serve(&listener, lead) => {}
                }
            });
        });
        EchoBot { address, _alive: alive }
    }

    pub fn url(&self) -> String {
        format!("ws://{}/calls", self.address)
    }
}

async fn serve(listener: &TcpListener, lead: usize) {
    while let Ok((tcp, _)) = listener.accept().await {
        tokio::spawn(talk(tcp, lead));
    }
}

/// One call: ends with the connection.
async fn talk(tcp: TcpStream, lead: usize) -> Option<()> {
    tcp.set_nodelay(true).ok()?;
    let mut call = tokio_tungstenite::accept_async(tcp).await.ok()?;
    call.send(media(&STANDARD.encode(vec![0xFF; lead * 8]))).await.ok()?;
    while let Some(Ok(message)) = call.next().await {
        let Ok(text) = message.to_text() else { continue };
        let Ok(message) = serde_json::from_str::<Value>(text) else { continue };
        if message["event"] == "media" {
            call.send(media(message["media"]["payload"].as_str()?)).await.ok()?;
        }
    }
    None
}

fn media(payload: &str) -> Message {
    Message::text(json!({ "event": "media", "media": { "payload": payload } }).to_string())
}
