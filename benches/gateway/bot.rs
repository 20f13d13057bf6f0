//! A bot behind a WebSocket, as Twilio's Media Streams speaks to it: sends back what it hears, and says how long it took.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

use super::pulse;
use super::report::Spread;

/// How the bot answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Frame by frame.
    Echo,
    /// 200 ms at once, as services do, and as long a pause.
    Bursts,
}

pub struct Bot {
    pub address: SocketAddr,
    /// From the packet sent by the phone to the frame read by the bot.
    pub heard: Arc<Mutex<Spread>>,
}

impl Bot {
    /// Listens on a thread of its own until the process ends.
    pub fn start(manner: Manner) -> Bot {
        let heard = Arc::new(Mutex::new(Spread::new()));
        let spread = Arc::clone(&heard);
        let (tell, address) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
                tell.send(listener.local_addr().expect("bound")).expect("somebody waits");
                while let Ok((tcp, _)) = listener.accept().await {
                    tcp.set_nodelay(true).expect("a TCP socket");
                    tokio::task::spawn_local(serve(tcp, manner, Arc::clone(&spread)));
                }
            });
        });
        Bot { address: address.recv().expect("the bot listens"), heard }
    }

    pub fn forget(&self) {
        *self.heard.lock().expect("unharmed") = Spread::new();
    }
}

/// The payload of a `media` message.
fn payload(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("\"payload\":\"")?;
    rest.split_once('"').map(|(payload, _)| payload)
}

async fn serve(tcp: TcpStream, manner: Manner, heard: Arc<Mutex<Spread>>) {
    let Ok(mut socket) = tokio_tungstenite::accept_async(tcp).await else { return };
    let mut collected: Vec<u8> = Vec::new();
    while let Some(Ok(message)) = socket.next().await {
        let Some(payload) = message.to_text().ok().and_then(payload) else { continue };
        let mut frame = STANDARD.decode(payload).expect("base64");
        if let Some(age) = pulse::age(&frame) {
            heard.lock().expect("unharmed").record(age);
            pulse::write(Instant::now(), &mut frame);
        }
        collected.extend(frame);
        if manner == Manner::Bursts {
            if collected.len() < 3_200 {
                continue;
            }
            // The first frame of a burst is what is timed: it goes out when the burst comes, the others follow it.
            collected.truncate(1_600);
            collected.fill(super::pump::QUIET);
            pulse::write(Instant::now(), &mut collected[..160]);
        }
        let text = format!(r#"{{"event":"media","media":{{"payload":"{}"}}}}"#, STANDARD.encode(&collected));
        collected.clear();
        if socket.send(Message::text(text)).await.is_err() {
            return;
        }
    }
}
