//! TCP and TLS: listeners, connections in both directions, and the one door through which the driver sends.
//!
//! Each connection is a task of its own with a bounded queue; what comes in meets in one bounded channel, so that peers wait
//! when the driver is busy. The driver itself never waits for a connection.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::connection::{Arrival, Pace, Side, serve};
use super::lines::{Lines, Way};
use super::tls::Tls;
use super::trouble::{Complaints, Trouble};
use super::{Hop, Link, Transport, TrunkId};
use crate::clock::Clock;
use crate::config::SipConfig;

/// All TCP and TLS of one endpoint; connections end when it is dropped.
pub struct Streams {
    shared: Arc<Shared>,
    listeners: Vec<AbortHandle>,
}

struct Shared {
    lines: Mutex<Lines>,
    arrivals: mpsc::Sender<Arrival>,
    pace: Pace,
    tls: Tls,
    complaints: Complaints,
    clock: Clock,
    /// Where connections of ours begin, when the endpoint is bound to one address.
    from: Option<IpAddr>,
}

/// Arrivals that may wait for the driver.
const ARRIVALS: usize = 256;
/// Messages that may wait for one connection.
const QUEUE: usize = 256;
/// Connections that the system may hold for us until they are taken.
const BACKLOG: i32 = 1024;
const CONNECT: Duration = Duration::from_secs(5);
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Data that nobody acknowledges for so long ends the connection.
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);
/// Pause after a failure to accept, which is a lack of descriptors or memory.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

impl Pace {
    pub fn of(config: &SipConfig) -> Pace {
        let seconds = Duration::from_secs;
        let idle = seconds(config.connection_idle_seconds);
        Pace {
            bytes: config.max_message_bytes,
            message: seconds(10),
            stranger: seconds(32).min(idle),
            idle,
            write: seconds(10),
            ping: Some(seconds(config.keepalive_seconds)).filter(|every| !every.is_zero()),
            pong: seconds(10),
            last_word: seconds(1),
        }
    }
}

impl Streams {
    pub fn new(config: &SipConfig, tls: Tls, clock: Clock) -> (Streams, mpsc::Receiver<Arrival>) {
        let (arrivals, received) = mpsc::channel(ARRIVALS);
        let lines = Lines::new(config.max_connections, config.max_connections_per_source);
        let shared = Shared {
            lines: Mutex::new(lines),
            arrivals,
            pace: Pace::of(config),
            tls,
            complaints: Complaints::default(),
            clock,
            from: Some(config.listen.ip()).filter(|ip| !ip.is_unspecified()),
        };
        (Streams { shared: Arc::new(shared), listeners: Vec::new() }, received)
    }

    /// Takes connections from now on.
    pub fn listen(&mut self, listener: TcpListener, transport: Transport) {
        let task = tokio::spawn(accept(self.shared.clone(), listener, transport));
        self.listeners.push(task.abort_handle());
    }

    /// Puts a message into the queue of the connection that `to` means, opening one where there is none. `owner` is the
    /// trunk at that address. Gives the line that took it.
    pub fn send(&self, to: Hop, owner: Option<TrunkId>, message: &Bytes) -> Result<u64, Trouble> {
        let way = Way::to(to, owner);
        let mut lines = self.shared.lines();
        if let Some((line, queue)) = lines.find(to.link, &way) {
            match queue.try_send(message.clone()) {
                Ok(()) => {
                    if !is_refusal(message) {
                        lines.trust(line);
                    }
                    return Ok(line);
                }
                Err(mpsc::error::TrySendError::Full(_)) => return Err(Trouble::Stuck),
                // It is ending; its task will say so.
                Err(mpsc::error::TrySendError::Closed(_)) => lines.close(line),
            }
        }
        let (queue, waiting) = mpsc::channel(QUEUE);
        queue.try_send(message.clone()).map_err(|_| Trouble::Stuck)?;
        let line = lines.open(way, queue)?;
        drop(lines);
        let link = way.trunk.map_or(Link::Any, Link::Trunk);
        let from = Hop::new(way.transport, way.address, link);
        tokio::spawn(open(self.shared.clone(), line, from, way.trunk, waiting));
        Ok(line)
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        for listener in &self.listeners {
            listener.abort();
        }
        // With their queues the connections end, after what waits in them.
        *self.shared.lines() = Lines::new(0, 0);
    }
}

impl Shared {
    // A poisoned lock only means that a thread panicked while counting; the table is still a table.
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, trouble: Trouble, transport: Transport, trunk: Option<TrunkId>) {
        let trunk = trunk.and_then(|id| Some((id, self.tls.name(id)?)));
        self.complaints.note(trouble, transport, trunk, self.clock.now());
    }

    async fn end(&self, line: u64, from: Hop, opened: bool, trouble: Trouble) {
        self.lines().close(line);
        let trunk = match from.link {
            Link::Trunk(trunk) => Some(trunk),
            Link::Any | Link::Connection(_) => None,
        };
        match trouble {
            Trouble::Closed | Trouble::Idle => {}
            trouble => self.note(trouble, from.transport, trunk),
        }
        // Nobody to tell when the driver is gone.
        let _ = self.arrivals.send(Arrival::Ended { line, opened, trouble }).await;
    }
}

/// A response of 300 or more; strangers get nothing else.
fn is_refusal(message: &[u8]) -> bool {
    message.strip_prefix(b"SIP/2.0 ").and_then(|rest| rest.first()).is_some_and(|digit| !matches!(digit, b'1' | b'2'))
}

/// A socket that takes connections; an IPv6 wildcard takes IPv4 as well.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // A box that is started again takes its port back from connections that are just ending.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

async fn accept(shared: Arc<Shared>, listener: TcpListener, transport: Transport) {
    let acceptor = if transport == Transport::Tls { shared.tls.server().map(TlsAcceptor::from) } else { None };
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_AGAIN).await;
            continue;
        };
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let (queue, waiting) = mpsc::channel(QUEUE);
        let admitted = shared.lines().admit(peer.ip(), queue);
        match admitted {
            Ok((line, known)) => {
                let from = Hop::new(transport, peer, Link::Connection(line));
                tokio::spawn(attend(shared.clone(), stream, acceptor.clone(), line, from, Side::Peer(known), waiting));
            }
            Err(trouble) => shared.note(trouble, transport, None),
        }
    }
}

/// A connection that a peer opened.
async fn attend(
    shared: Arc<Shared>,
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    line: u64,
    from: Hop,
    side: Side,
    waiting: mpsc::Receiver<Bytes>,
) {
    tune(&stream);
    let open = Open::begin(from.transport, "peer");
    let trouble = match acceptor {
        None => serve(stream, from, side, waiting, &shared.arrivals, shared.pace).await,
        Some(acceptor) => match timeout(HANDSHAKE, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => {
                let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
                let trunks = shown.map(|certificate| shared.tls.claimed(certificate)).unwrap_or_default();
                if !trunks.is_empty() {
                    let _ = shared.arrivals.send(Arrival::Named { line, trunks }).await;
                }
                Box::pin(serve(stream, from, side, waiting, &shared.arrivals, shared.pace)).await
            }
            Ok(Err(error)) => during_handshake(&error),
            Err(_) => Trouble::Slow,
        },
    };
    drop(open);
    shared.end(line, from, true, trouble).await;
}

/// A connection of ours.
async fn open(shared: Arc<Shared>, line: u64, to: Hop, trunk: Option<TrunkId>, waiting: mpsc::Receiver<Bytes>) {
    let stream = match timeout(CONNECT, connect(shared.from, to.address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(_)) | Err(_) => return shared.end(line, to, false, Trouble::Unreachable).await,
    };
    tune(&stream);
    if to.transport != Transport::Tls {
        let open = Open::begin(to.transport, "ours");
        let trouble = serve(stream, to, Side::Ours, waiting, &shared.arrivals, shared.pace).await;
        drop(open);
        return shared.end(line, to, true, trouble).await;
    }
    let (config, name) = shared.tls.client(trunk, to.ip());
    let shaken = timeout(HANDSHAKE, TlsConnector::from(config).connect(name, stream)).await;
    let (opened, trouble) = match shaken {
        Ok(Ok(stream)) => {
            let open = Open::begin(to.transport, "ours");
            let trouble = Box::pin(serve(stream, to, Side::Ours, waiting, &shared.arrivals, shared.pace)).await;
            drop(open);
            (true, trouble)
        }
        Ok(Err(error)) => (false, during_handshake(&error)),
        Err(_) => (false, Trouble::Slow),
    };
    shared.end(line, to, opened, trouble).await;
}

fn during_handshake(error: &io::Error) -> Trouble {
    match Trouble::of(error) {
        Trouble::Broken | Trouble::Closed => Trouble::Handshake,
        trouble => trouble,
    }
}

async fn connect(from: Option<IpAddr>, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(from) = from.filter(|from| from.is_ipv4() == to.is_ipv4()) {
        socket.bind(SocketAddr::new(from, 0))?;
    }
    socket.connect(to).await
}

/// What cannot be set is done without: it makes things better, not right.
fn tune(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let socket = SockRef::from(stream);
    let probes = TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10));
    let _ = socket.set_tcp_keepalive(&probes.with_retries(3));
    let _ = socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
}

/// Counts a connection while it stands.
struct Open {
    transport: Transport,
    side: &'static str,
}

impl Open {
    fn begin(transport: Transport, side: &'static str) -> Open {
        metrics::gauge!("trunkline_sip_connections", "transport" => transport.name(), "side" => side).increment(1.0);
        Open { transport, side }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        metrics::gauge!("trunkline_sip_connections", "transport" => self.transport.name(), "side" => self.side)
            .decrement(1.0);
    }
}
