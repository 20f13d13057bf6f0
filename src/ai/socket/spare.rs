//! Connections made before they are needed, so that a call waits for no TLS handshake.
//!
//! When a session over TLS has begun, its thread opens one connection more to the same service and keeps it for the next
//! session. It is never written to before that. While sessions come, it is renewed when it gets old; a service that
//! closes it is left alone until the next session begins. Connections without TLS cost too little for that, and go to
//! servers on the LAN that may take only one.

use std::cell::RefCell;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, RuntimeFlavor};

use super::stream::Stream;
use super::url::Url;
use super::{PATIENCE, Target};
use crate::clock::Clock;

/// After the beginning of a session, which comes first: its service's tickets are there then.
const PAUSE: Duration = Duration::from_millis(500);
/// How long one is kept: servers wait for a request for a minute or so.
const AGE: Duration = Duration::from_secs(45);
/// No session began for so long: nobody is waited for any more.
const INTEREST: Duration = Duration::from_secs(600);
/// Services for which one thread keeps connections.
const SERVICES: usize = 8;

thread_local! {
    static SPARES: RefCell<Vec<Spare>> = const { RefCell::new(Vec::new()) };
}

/// One service's place on this thread; lives as long as its keeper.
struct Spare {
    place: Place,
    stream: Option<Stream>,
    /// When a session with it began last.
    wanted: Instant,
    /// Tells the keeper that the connection was taken.
    keeper: Option<Waker>,
}

/// What a connection can be used for.
#[derive(Clone)]
struct Place {
    url: Url,
    tls: Arc<rustls::ClientConfig>,
}

impl Place {
    fn of(target: &Target) -> Option<Place> {
        target.url.secure.then(|| Place { url: target.url.clone(), tls: Arc::clone(&target.tls) })
    }

    fn is(&self, other: &Place) -> bool {
        Arc::ptr_eq(&self.tls, &other.tls) && self.url.host == other.url.host && self.url.port == other.url.port
    }
}

/// Why a connection is kept no longer.
enum End {
    /// Taken, or closed by the service.
    Gone,
    Old,
}

/// The connection that waits for `target`, if the service has not closed it.
pub fn take(target: &Target) -> Option<Stream> {
    let place = Place::of(target)?;
    let mut stream = with(&place, |spare| {
        let stream = spare.stream.take();
        if let Some(keeper) = spare.keeper.take() {
            keeper.wake();
        }
        stream
    })??;
    is_open(&mut stream, &mut Context::from_waker(Waker::noop())).then_some(stream)
}

/// A session with `target` has begun: makes a connection for the next one, unless there is one.
pub fn prepare(target: &Target, clock: &Clock) {
    let Some(place) = Place::of(target) else { return };
    let now = clock.now();
    if with(&place, |spare| spare.wanted = now).is_some() {
        return;
    }
    // A connection belongs to the runtime that it was made on, and a place to its thread.
    let runtime = Handle::try_current().ok().filter(|runtime| runtime.runtime_flavor() == RuntimeFlavor::CurrentThread);
    let Some(runtime) = runtime else { return };
    let added = SPARES.with_borrow_mut(|spares| {
        let room = spares.len() < SERVICES;
        if room {
            spares.push(Spare { place: place.clone(), stream: None, wanted: now, keeper: None });
        }
        room
    });
    if added {
        runtime.spawn(keep(place, clock.clone()));
    }
}

/// Keeps a connection until it is not worth it.
async fn keep(place: Place, clock: Clock) {
    tokio::time::sleep(PAUSE).await;
    loop {
        let connecting = Stream::connect(place.url.clone(), Arc::clone(&place.tls));
        let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, connecting).await else { break };
        metrics::counter!("trunkline_ai_spare_connections_total").increment(1);
        with(&place, |spare| spare.stream = Some(stream));
        let end = watch(&place).await;
        let idle = with(&place, |spare| clock.now().saturating_duration_since(spare.wanted)).unwrap_or(INTEREST);
        if matches!(end, End::Gone) || idle >= INTEREST {
            break;
        }
    }
    SPARES.with_borrow_mut(|spares| spares.retain(|spare| !spare.place.is(&place)));
}

async fn watch(place: &Place) -> End {
    let gone = poll_fn(|context| {
        let open = with(place, |spare| {
            spare.keeper = Some(context.waker().clone());
            spare.stream.as_mut().is_some_and(|stream| is_open(stream, context))
        });
        if open == Some(true) { Poll::Pending } else { Poll::Ready(()) }
    });
    match tokio::time::timeout(AGE, gone).await {
        Ok(()) => End::Gone,
        Err(_) => End::Old,
    }
}

/// A service says nothing before it is asked; over TLS, tickets for the next connection come and are taken in here.
fn is_open(stream: &mut Stream, context: &mut Context<'_>) -> bool {
    stream.poll_read(context, &mut [0]).is_pending()
}

fn with<T>(place: &Place, act: impl FnOnce(&mut Spare) -> T) -> Option<T> {
    SPARES.with_borrow_mut(|spares| spares.iter_mut().find(|spare| spare.place.is(place)).map(act))
}
