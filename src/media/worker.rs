//! Media threads: each one core, one single-thread runtime, many legs.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::media::ports::PortPairs;
use crate::media::session::{Session, Shared, Sockets};
use crate::media::{Leg, LegOptions, OpenError};

/// Orders that may wait for a thread.
const ORDERS: usize = 256;
/// How long legs may take to close when the threads stop: recordings are finished within it.
const CLOSING: Duration = Duration::from_secs(6);
/// Expedited forwarding (RFC 3246) in the upper six bits.
const EXPEDITED: u32 = 0xB8;
/// Room for a thousand packets, bytes: the kernel counts about 800 for a frame of G.711 and grants twice what is asked
/// for, up to twice its own `net.core.rmem_max`. Memory is used only by what waits.
const RECEIVE_BUFFER: usize = 512 << 10;
/// Tries for an even port with a free neighbour when the system chooses.
const TRIES: usize = 200;

/// A media thread as others see it.
pub struct Worker {
    pub orders: mpsc::Sender<Order>,
    legs: Arc<AtomicUsize>,
}

pub enum Order {
    Open(Box<OpenOrder>),
    Ping(oneshot::Sender<()>),
}

pub struct OpenOrder {
    pub options: LegOptions,
    pub load: Load,
    pub reply: oneshot::Sender<Result<Leg, OpenError>>,
}

/// One leg on a thread, counted from the decision to open it until it is gone.
pub struct Load(Arc<AtomicUsize>);

impl Drop for Load {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Worker {
    pub fn load(&self) -> usize {
        self.legs.load(Ordering::Relaxed)
    }

    pub fn take_load(&self) -> Load {
        self.legs.fetch_add(1, Ordering::Relaxed);
        Load(Arc::clone(&self.legs))
    }
}

/// Starts thread number `index`, on `core` where the system lets us.
pub fn start(
    index: usize,
    core: Option<usize>,
    shared: Shared,
    stopping: CancellationToken,
) -> std::io::Result<(Worker, JoinHandle<()>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (orders, receiver) = mpsc::channel(ORDERS);
    let thread = std::thread::Builder::new().name(format!("media-{index}")).spawn(move || {
        if let Some(core) = core {
            pin(core);
        }
        LocalSet::new().block_on(&runtime, serve(receiver, shared, stopping));
    })?;
    Ok((Worker { orders, legs: Arc::default() }, thread))
}

/// Cores that this process may run on.
pub fn allowed_cores() -> Vec<usize> {
    match sched_getaffinity(Pid::from_raw(0)) {
        Ok(set) => (0..CpuSet::count()).filter(|core| set.is_set(*core).unwrap_or(false)).collect(),
        Err(_) => (0..std::thread::available_parallelism().map_or(1, usize::from)).collect(),
    }
}

fn pin(core: usize) {
    let mut set = CpuSet::new();
    if let Err(error) = set.set(core).and_then(|()| sched_setaffinity(Pid::from_raw(0), &set)) {
        tracing::debug!(%error, core, "a media thread is not pinned");
    }
}

async fn serve(mut orders: mpsc::Receiver<Order>, shared: Shared, stopping: CancellationToken) {
    let legs = TaskTracker::new();
    loop {
        let order = tokio::select! {
            () = stopping.cancelled() => break,
            order = orders.recv() => order,
        };
        match order {
            Some(Order::Open(order)) => open(*order, &shared, &stopping, &legs),
            Some(Order::Ping(reply)) => drop(reply.send(())),
            None => break,
        }
    }
    orders.close();
    stopping.cancel();
    legs.close();
    if tokio::time::timeout(CLOSING, legs.wait()).await.is_err() {
        tracing::warn!(left = legs.len(), "media legs did not close in time");
    }
}

fn open(order: OpenOrder, shared: &Shared, stopping: &CancellationToken, legs: &TaskTracker) {
    let OpenOrder { options, load, reply } = order;
    let opened = bind(options.bind, shared).map(|sockets| {
        let (session, leg) = Session::new(shared.clone(), sockets, options.recording, stopping.child_token());
        // The load is gone before the last event is out, so that a count made after it is right.
        legs.spawn_local(session.run(load));
        leg
    });
    // Nobody waits any more: the leg is dropped, and so closes.
    let _ = reply.send(opened);
}

/// Binds an RTP/RTCP pair of the range, skipping pairs that another program holds. Range `[0, 0]` = any pair.
fn bind(address: IpAddr, shared: &Shared) -> Result<Sockets, OpenError> {
    let Some(pairs) = &shared.ports else { return bind_any(address) };
    let tries = lock(pairs).free();
    for _ in 0..tries {
        let lease = PortLease::take(pairs, &shared.clock).ok_or(OpenError::PortsExhausted)?;
        match bind_pair(address, lease.port) {
            Ok((rtp, rtcp)) => {
                return Ok(Sockets { ipv6: address.is_ipv6(), rtp, rtcp, port: lease.port, _lease: Some(lease) });
            }
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(OpenError::PortsExhausted)
}

fn bind_any(address: IpAddr) -> Result<Sockets, OpenError> {
    for _ in 0..TRIES {
        let first = socket(address, 0)?;
        let port = first.local_addr()?.port();
        if port.is_multiple_of(2)
            && let Ok(second) = socket(address, port + 1)
        {
            return Ok(Sockets { ipv6: address.is_ipv6(), rtp: first, rtcp: second, port, _lease: None });
        }
    }
    Err(OpenError::PortsExhausted)
}

fn bind_pair(address: IpAddr, port: u16) -> std::io::Result<(UdpSocket, UdpSocket)> {
    Ok((socket(address, port)?, socket(address, port + 1)?))
}

fn socket(address: IpAddr, port: u16) -> std::io::Result<UdpSocket> {
    let address = SocketAddr::new(address, port);
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    // Marking packets is a courtesy of the network: without it the call goes on.
    let _ = if address.is_ipv4() { socket.set_tos_v4(EXPEDITED) } else { socket.set_tclass_v6(EXPEDITED) };
    // A smaller buffer works too, only less well.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

/// A pair that goes back to the range when the leg is gone.
pub struct PortLease {
    port: u16,
    pairs: Arc<Mutex<PortPairs>>,
    clock: Clock,
}

impl PortLease {
    fn take(pairs: &Arc<Mutex<PortPairs>>, clock: &Clock) -> Option<PortLease> {
        let port = lock(pairs).take(clock.now())?;
        Some(PortLease { port, pairs: Arc::clone(pairs), clock: clock.clone() })
    }
}

impl Drop for PortLease {
    fn drop(&mut self) {
        lock(&self.pairs).give_back(self.port, self.clock.now());
    }
}

// A poisoned lock only means that another thread panicked between two whole operations.
fn lock(pairs: &Mutex<PortPairs>) -> MutexGuard<'_, PortPairs> {
    pairs.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_holds_a_burst_as_far_as_the_system_allows() {
        let socket = socket(IpAddr::from([127, 0, 0, 1]), 0).expect("a free port");
        let granted = socket2::SockRef::from(&socket).recv_buffer_size().expect("readable");
        let most = std::fs::read_to_string("/proc/sys/net/core/rmem_max").ok();
        let most: usize = most.and_then(|most| most.trim().parse().ok()).unwrap_or(0);
        assert!(granted >= RECEIVE_BUFFER.min(most), "{granted}");
    }
}
