//! A voice service behind a WebSocket, as Twilio's Media Streams speaks to it: sends back what it hears, or makes trouble.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::time::{Instant, interval_at, sleep, sleep_until};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::dialer::FIRST_CALLER;
use super::flags::Kind;
use super::line::{Heard, locked};
use super::pulse::{Finder, Pulse, microseconds};
use super::rtp::QUIET;
use super::tls::Authority;

/// Octets of 20 ms.
const FRAME: usize = 160;
/// A burst is made of what comes in twice its length.
const BURST: usize = 10 * FRAME;
const STALL_EVERY: Duration = Duration::from_secs(5);
const STALL: Duration = Duration::from_millis(500);
/// 200 ms of speech, ten times as often.
const FLOOD_EVERY: Duration = Duration::from_millis(20);
const DEAF_AFTER: Duration = Duration::from_secs(1);
/// How often one that is deaf looks whether the run is over.
const GLANCE: Duration = Duration::from_millis(200);

/// What it wrote down, and whom it troubles.
#[derive(Default)]
pub struct Desk {
    heard: Mutex<Vec<Heard>>,
    /// Octets of sound that came, of calls without trouble.
    octets: AtomicU64,
    /// Streams that began.
    pub streams: AtomicU64,
    /// Calls below this number are troubled, unless they are below `first`, which is over.
    troubled_below: AtomicU32,
    first: AtomicU32,
}

pub struct Service {
    pub url: String,
    /// What the gateway has to trust, where it is wss.
    pub authority: Option<PathBuf>,
    pub desk: Arc<Desk>,
    _files: Option<Authority>,
}

impl Service {
    /// Listens on a thread of its own until the process ends.
    pub fn start(kind: Kind, listen: SocketAddr, tls: bool) -> Result<Service, String> {
        let authority = tls.then(Authority::new);
        let acceptor = authority.as_ref().map(Authority::acceptor);
        let desk = Arc::new(Desk::default());
        let shared = Arc::clone(&desk);
        let (tell, bound) = mpsc::sync_channel(1);
        let run = async move {
            let listener = match TcpListener::bind(listen).await {
                Ok(listener) => listener,
                Err(error) => return tell.send(Err(format!("cannot listen at {listen}: {error}"))).unwrap_or(()),
            };
            tell.send(Ok(listener.local_addr().expect("bound"))).expect("somebody waits");
            loop {
                let Ok((tcp, _)) = listener.accept().await else { continue };
                let (desk, acceptor) = (Arc::clone(&shared), acceptor.clone());
                tokio::task::spawn_local(async move {
                    let _ = tcp.set_nodelay(true);
                    match acceptor {
                        None => serve(tcp, kind, &desk).await,
                        Some(acceptor) => match acceptor.accept(tcp).await {
                            Ok(tls) => serve(tls, kind, &desk).await,
                            Err(_) => None,
                        },
                    }
                });
            }
        };
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            tokio::task::LocalSet::new().block_on(&runtime, run);
        });
        let address = bound.recv().map_err(|_| "the service did not start")??;
        let url = format!("{}://{address}/", if tls { "wss" } else { "ws" });
        let file = authority.as_ref().map(Authority::file);
        Ok(Service { url, authority: file, desk, _files: authority })
    }
}

impl Desk {
    /// Frames of sound since it was last asked.
    pub fn frames(&self) -> u64 {
        self.octets.swap(0, Ordering::Relaxed) / FRAME as u64
    }

    /// What was heard since it was last asked.
    pub fn take(&self) -> Vec<Heard> {
        std::mem::take(&mut *locked(&self.heard))
    }

    /// Of the calls from `first` on so many are troubled; those before are over.
    pub fn trouble(&self, first: u32, count: usize) {
        self.first.store(first, Ordering::Relaxed);
        self.troubled_below.store(first + count as u32, Ordering::Relaxed);
    }

    fn is_over(&self, call: u32) -> bool {
        call < self.first.load(Ordering::Relaxed)
    }

    fn manner(&self, kind: Kind, call: u32) -> Kind {
        let troubled = call < self.troubled_below.load(Ordering::Relaxed);
        if kind.is_trouble() && !troubled { Kind::Echo } else { kind }
    }
}

/// One stream. Ends with the connection.
async fn serve<S: AsyncRead + AsyncWrite + Unpin>(stream: S, kind: Kind, desk: &Desk) -> Option<()> {
    let mut socket = tokio_tungstenite::accept_async(stream).await.ok()?;
    let call = loop {
        let message = socket.next().await?.ok()?;
        if let Some(caller) = message.to_text().ok().and_then(|text| value(text, "\"phone\":\"")) {
            break caller.trim_start_matches('+').parse::<u64>().ok()?.checked_sub(FIRST_CALLER)? as u32;
        }
    };
    desk.streams.fetch_add(1, Ordering::Relaxed);
    let manner = desk.manner(kind, call);
    let mut ear = Ear { desk, counts: !manner.is_trouble(), finder: Finder::default(), last: None };
    match manner {
        Kind::Echo | Kind::Engine => echo(&mut socket, &mut ear).await,
        Kind::Bursts => bursts(&mut socket, &mut ear).await,
        Kind::Stall => stall(&mut socket, &mut ear).await,
        Kind::Flood => flood(&mut socket, &mut ear).await,
        Kind::Deaf => {
            let end = sleep(DEAF_AFTER);
            tokio::pin!(end);
            tokio::select! {
                () = &mut end => {}
                _ = echo(&mut socket, &mut ear) => return None,
            }
            while !desk.is_over(call) {
                sleep(GLANCE).await;
            }
            None
        }
    }
}

/// What one stream hears.
struct Ear<'a> {
    desk: &'a Desk,
    counts: bool,
    finder: Finder,
    /// The pulse that waits to be sent back.
    last: Option<Pulse>,
}

impl Ear<'_> {
    /// The sound of a message, its pulse taken out; `None` for other messages.
    fn hear(&mut self, message: &Message) -> Option<Vec<u8>> {
        let payload = message.to_text().ok().and_then(|text| value(text, "\"payload\":\""))?;
        let mut sound = STANDARD.decode(payload).expect("base64");
        if self.counts {
            self.desk.octets.fetch_add(sound.len() as u64, Ordering::Relaxed);
        }
        if let Some(pulse) = self.finder.hear(&mut sound) {
            let took = microseconds().saturating_sub(pulse.stamp);
            locked(&self.desk.heard).push(Heard {
                call: pulse.call,
                number: pulse.number,
                last_leg: took,
                whole: took,
            });
            self.last = Some(Pulse { path: took, ..pulse });
        }
        Some(sound)
    }

    /// The pulse goes out with `sound`, as of now.
    fn speak(&mut self, sound: &mut [u8]) -> Message {
        if let Some(pulse) = self.last.take() {
            Pulse { stamp: microseconds(), ..pulse }.write(sound);
        }
        message(sound)
    }
}

fn message(sound: &[u8]) -> Message {
    Message::text(format!(r#"{{"event":"media","media":{{"payload":"{}"}}}}"#, STANDARD.encode(sound)))
}

/// The string value behind `key`.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(key)?;
    rest.split_once('"').map(|(value, _)| value)
}

async fn echo<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut WebSocketStream<S>, ear: &mut Ear<'_>) -> Option<()> {
    loop {
        let heard = socket.next().await?.ok()?;
        if let Some(mut sound) = ear.hear(&heard) {
            socket.send(ear.speak(&mut sound)).await.ok()?;
        }
    }
}

async fn bursts<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut WebSocketStream<S>, ear: &mut Ear<'_>) -> Option<()> {
    let mut waiting = 0;
    loop {
        let heard = socket.next().await?.ok()?;
        waiting += ear.hear(&heard).map_or(0, |sound| sound.len());
        if waiting >= 2 * BURST {
            waiting = 0;
            // What is timed is how fast a burst begins; the gateway plays all of it before the next one comes.
            socket.send(ear.speak(&mut [QUIET; BURST])).await.ok()?;
        }
    }
}

async fn stall<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut WebSocketStream<S>, ear: &mut Ear<'_>) -> Option<()> {
    let mut next = Instant::now() + STALL_EVERY;
    let mut kept: Option<Vec<(Vec<u8>, Option<Pulse>)>> = None;
    loop {
        tokio::select! {
            heard = socket.next() => {
                let heard = heard?.ok()?;
                let Some(mut sound) = ear.hear(&heard) else { continue };
                match &mut kept {
                    Some(kept) => kept.push((sound, ear.last.take())),
                    None => socket.send(ear.speak(&mut sound)).await.ok()?,
                }
            }
            () = sleep_until(next) => match kept.take() {
                None => {
                    kept = Some(Vec::new());
                    next += STALL;
                }
                Some(kept) => {
                    for (mut sound, pulse) in kept {
                        ear.last = pulse;
                        socket.feed(ear.speak(&mut sound)).await.ok()?;
                    }
                    socket.flush().await.ok()?;
                    next += STALL_EVERY - STALL;
                }
            }
        }
    }
}

async fn flood<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut WebSocketStream<S>, ear: &mut Ear<'_>) -> Option<()> {
    let mut tick = interval_at(Instant::now() + FLOOD_EVERY, FLOOD_EVERY);
    loop {
        tokio::select! {
            heard = socket.next() => drop(ear.hear(&heard?.ok()?)),
            _ = tick.tick() => socket.send(message(&[QUIET; BURST])).await.ok()?,
        }
    }
}
