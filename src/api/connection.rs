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

use crate::identity::network_of;

use super::authenticate::Peer;

const HANDSHAKE: Duration = Duration::from_secs(10);
/// Also how long an idle connection is kept between requests.
const HEADERS: Duration = Duration::from_secs(20);
const PING: Duration = Duration::from_secs(20);
const STREAMS: u32 = 32;
/// Read ahead on an HTTP/1 connection, and so the largest head of a request.
const READ_AHEAD: usize = 64 * 1024;
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
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS).max_buf_size(READ_AHEAD);
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
    /// Only of IPv6, where a host may have as many addresses as it likes.
    by_network: HashMap<IpAddr, usize>,
}

/// A network has the share of so many addresses.
const ADDRESSES_PER_NETWORK: usize = 4;
/// One slot in so many is kept for the box itself, so that its supervisor and operator always get in.
const KEPT_FOR_LOOPBACK: usize = 16;

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
        let shared = &*self.0;
        let mut open = shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        let held = open.by_address.get(&address).copied().unwrap_or(0);
        let of_network = open.by_network.get(&network_of(address)).copied().unwrap_or(0);
        let refused = if address.is_loopback() {
            open.total >= shared.total
        } else {
            open.total >= shared.total - shared.total / KEPT_FOR_LOOPBACK
                || held >= shared.per_address
                || of_network >= shared.per_address * ADDRESSES_PER_NETWORK
        };
        if refused {
            return None;
        }
        open.total += 1;
        open.by_address.insert(address, held + 1);
        if address.is_ipv6() {
            open.by_network.insert(network_of(address), of_network + 1);
        }
        drop(open);
        Some(Slot { shared: self.0.clone(), address })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.total = open.total.saturating_sub(1);
        give_back(&mut open.by_address, self.address);
        give_back(&mut open.by_network, network_of(self.address));
    }
}

fn give_back(held: &mut HashMap<IpAddr, usize>, whose: IpAddr) {
    match held.get_mut(&whose) {
        Some(count) if *count > 1 => *count -= 1,
        _ => {
            held.remove(&whose);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

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

    #[test]
    fn neither_a_host_with_many_addresses_nor_a_crowd_can_take_every_slot() {
        let slots = Slots::new(32, 2);
        let host = |n: u16| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, n));
        let of_host: Vec<Slot> = (0..100).filter_map(|n| slots.take(host(n))).collect();
        assert_eq!(of_host.len(), 2 * ADDRESSES_PER_NETWORK);
        let crowd: Vec<Slot> = (0..100).filter_map(|n| slots.take(IpAddr::from([192, 0, 2, n]))).collect();
        assert_eq!(of_host.len() + crowd.len(), 30);
        let own: Vec<Slot> = (0..100).filter_map(|_| slots.take(IpAddr::from([127, 0, 0, 1]))).collect();
        assert_eq!(own.len(), 2, "the box itself still gets in");
        drop((of_host, crowd, own));
        let open = slots.0.open.lock().expect("lock");
        assert!(open.by_address.is_empty() && open.by_network.is_empty() && open.total == 0);
    }
}
