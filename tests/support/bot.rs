//! A bot behind a WebSocket, of another make, that says back what it hears (Twilio Media Streams).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

/// Octets that wait to be read, asked of the system.
const RECEIVED: usize = 8 << 10;

/// Octets of a mark's name, of which a deaf bot sets many.
const MARK: usize = 10_000;

/// How it behaves.
#[derive(Clone)]
struct Manner {
    /// Milliseconds of silence that it says first.
    lead: usize,
    /// Connections, the first ones, that it does not read from.
    deaf: usize,
    /// What is silent it does not say back.
    quiet: bool,
    stuffed: Arc<AtomicBool>,
}

/// Answers every connection on a thread of its own, until it is dropped.
pub struct EchoBot {
    pub address: SocketAddr,
    /// Ends the marks that a deaf bot sets to have them sent back, which fill what the system holds for it.
    pub stuffed: Arc<AtomicBool>,
    /// The thread ends with it.
    _alive: tokio::sync::oneshot::Sender<()>,
}

impl EchoBot {
    /// `lead`: milliseconds of silence that it says first. Like the speech of every bot, what it says then comes before
    /// its time, and not in the last moment.
    pub fn start(lead: usize) -> EchoBot {
        EchoBot::serving(Manner { lead, deaf: 0, quiet: false, stuffed: Arc::default() })
    }

    /// Says back what is no silence. The first `deaf` connections are not read from, once they stand.
    pub fn deaf_at_first(deaf: usize) -> EchoBot {
        EchoBot::serving(Manner { lead: 0, deaf, quiet: true, stuffed: Arc::default() })
    }

    fn serving(manner: Manner) -> EchoBot {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        // Of what is not read, little waits with the system.
        listener.set_recv_buffer_size(RECEIVED).expect("a size");
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
        listener.listen(16).expect("a listening socket");
        let listener = std::net::TcpListener::from(listener);
        listener.set_nonblocking(true).expect("a socket of ours");
        let address = listener.local_addr().expect("bound");
        let (alive, end) = tokio::sync::oneshot::channel();
        let stuffed = manner.stuffed.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("a socket of ours");
                tokio::select! {
                    _ = end => {}
                    () = serve(&listener, &manner) => {}
                }
            });
        });
        EchoBot { address, stuffed, _alive: alive }
    }

    pub fn url(&self) -> String {
        format!("ws://{}/calls", self.address)
    }
}

async fn serve(listener: &TcpListener, manner: &Manner) {
    let mut connections = 0;
    while let Ok((tcp, _)) = listener.accept().await {
        if connections < manner.deaf {
            tokio::spawn(stare(tcp, manner.clone()));
        } else {
            tokio::spawn(talk(tcp, manner.clone()));
        }
        connections += 1;
    }
}

/// One call that is never read from.
async fn stare(tcp: TcpStream, manner: Manner) -> Option<()> {
    let mut call = tokio_tungstenite::accept_async(tcp).await.ok()?;
    let name = "m".repeat(MARK);
    while !manner.stuffed.load(Ordering::Relaxed) {
        call.send(Message::text(json!({ "event": "mark", "mark": { "name": name } }).to_string())).await.ok()?;
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    std::future::pending().await
}

/// One call: ends with the connection.
async fn talk(tcp: TcpStream, manner: Manner) -> Option<()> {
    tcp.set_nodelay(true).ok()?;
    let mut call = tokio_tungstenite::accept_async(tcp).await.ok()?;
    let silence = STANDARD.encode([0xFF; 160]);
    call.send(media(&STANDARD.encode(vec![0xFF; manner.lead * 8]))).await.ok()?;
    while let Some(Ok(message)) = call.next().await {
        let Ok(text) = message.to_text() else { continue };
        let Ok(message) = serde_json::from_str::<Value>(text) else { continue };
        let Some(payload) = message["media"]["payload"].as_str() else { continue };
        if !manner.quiet || payload != silence {
            call.send(media(payload)).await.ok()?;
        }
    }
    None
}

fn media(payload: &str) -> Message {
    Message::text(json!({ "event": "media", "media": { "payload": payload } }).to_string())
}
