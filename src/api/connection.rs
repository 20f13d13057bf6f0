//! One connection: a slot, the TLS handshake, HTTP/1.1 or HTTP/2, and its end.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;
use tracing::debug;

use super::authenticate::Peer;

const HANDSHAKE: Duration = Duration::from_secs(10);
/// Also how long an idle connection is kept between requests.
const HEADERS: Duration = Duration::from_secs(20);
const PING: Duration = Duration::from_secs(20);
const STREAMS: u32 = 32;
/// After an accept error (descriptors used up) others get time to close.
const BREATHER: Duration = Duration::from_millis(100);

/// Takes connections in; cloned for each listener.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) router: Router,
    pub(super) slots: Slots,
    pub(super) drain: CancellationToken,
    pub(super) cut: CancellationToken,
    pub(super) tasks: TaskTracker,
}

impl Door {
    /// Until drained. With `tls` the connections are HTTPS.
    pub(super) async fn accept(self, listener: TcpListener, tls: Option<Arc<ServerConfig>>) {
        let tls = tls.map(TlsAcceptor::from);
        loop {
            let accepted = tokio::select! {
                () = self.drain.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, from)) => self.admit(stream, from, tls.clone()),
                Err(error) => {
                    debug!(%error, "accept");
                    tokio::time::sleep(BREATHER).await;
                }
            }
        }
    }

    fn admit(&self, stream: TcpStream, from: SocketAddr, tls: Option<TlsAcceptor>) {
        let Some(slot) = self.slots.take(from.ip()) else {
            metrics::counter!("trunkline_http_connections_refused_total").increment(1);
            return;
        };
        let door = self.clone();
        self.tasks.spawn(async move {
            let _slot = slot;
            let cut = door.cut.clone();
            tokio::select! {
                () = cut.cancelled() => {}
                () = door.serve(stream, from, tls) => {}
            }
        });
    }

    async fn serve(self, stream: TcpStream, from: SocketAddr, tls: Option<TlsAcceptor>) {
        let _ = stream.set_nodelay(true);
        let peer = Peer { address: from.ip(), plain: tls.is_none() };
        let Some(tls) = tls else { return self.speak(stream, peer, false).await };
        match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
            Ok(Ok(stream)) => {
                let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                self.speak(stream, peer, http2).await;
            }
            Ok(Err(error)) => debug!(%error, "TLS handshake"),
            Err(_) => debug!("TLS handshake timed out"),
        }
    }

    async fn speak<S>(self, stream: S, peer: Peer, http2: bool)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let router = self.router.clone();
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(peer);
            router.clone().oneshot(request)
        });
        let builder = protocol(http2);
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let outcome = tokio::select! {
            outcome = connection.as_mut() => outcome,
            () = self.drain.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = outcome {
            debug!(%error, "connection");
        }
    }
}

/// Never the builder's own guessing: it would wait for a first byte without a limit.
fn protocol(http2: bool) -> Builder<TokioExecutor> {
    let builder = Builder::new(TokioExecutor::new());
    let mut builder = if http2 { builder.http2_only() } else { builder.http1_only() };
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .keep_alive_interval(PING)
        .keep_alive_timeout(HANDSHAKE);
    builder
}

/// Counts open connections.
#[derive(Clone)]
pub(super) struct Slots(Arc<Shared>);

struct Shared {
    total: usize,
    per_address: usize,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// Held as long as the connection is open.
pub(super) struct Slot {
    shared: Arc<Shared>,
    address: IpAddr,
}

impl Slots {
    pub(super) fn new(total: usize, per_address: usize) -> Slots {
        Slots(Arc::new(Shared { total, per_address, open: Mutex::default() }))
    }

    /// `None` when all are taken, or this address has its share. Loopback has no share of its own.
    pub(super) fn take(&self, address: IpAddr) -> Option<Slot> {
        let address = address.to_canonical();
        let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        let held = open.by_address.get(&address).copied().unwrap_or(0);
        if open.total >= self.0.total || (held >= self.0.per_address && !address.is_loopback()) {
            return None;
        }
        open.total += 1;
        open.by_address.insert(address, held + 1);
        drop(open);
        Some(Slot { shared: self.0.clone(), address })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.total = open.total.saturating_sub(1);
        match open.by_address.get_mut(&self.address) {
            Some(held) if *held > 1 => *held -= 1,
            _ => {
                open.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_every_slot_and_slots_come_back() {
        let slots = Slots::new(3, 2);
        let (one, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let held = (slots.take(one).expect("first"), slots.take(one).expect("second"));
        assert!(slots.take(one).is_none(), "its share is taken");
        let last = slots.take(other).expect("another address");
        assert!(slots.take(IpAddr::from([127, 0, 0, 1])).is_none(), "all are taken");
        drop((held, last));
        assert!(slots.take(one).is_some());
        let open = slots.0.open.lock().expect("lock");
        assert!(open.by_address.is_empty() && open.total == 0);
    }
}
