//! The driver: sockets and timers around the pure layers. One endpoint serves every trunk and extension of the box.
//!
//! One task owns all state; handles put orders into an inbox and wake it. Events go to each call through a bounded
//! queue that never holds the task up.

mod control;
mod driver;
mod inbox;
mod listen;
mod phones;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::agent::{DialOrder, Settings, UserAgent};
use super::dialog::timer::Terms;
use super::digest::server::Authority;
use super::message::{Limits, Provenance};
use super::resolve::Families;
use super::sdp::SessionDescription;
use super::trace::{Exporter, Trace};
use super::transaction::Timers;
use super::transport::Ports;
use super::transport::tls::{BadFile, Tls};
use super::transport::udp::local_address_towards;
use super::trunk::Trunks;
use super::trunk::status::Board;
use crate::clock::Clock;
use crate::config::{ExtensionConfig, SipConfig, TraceConfig, TrunkConfig};

pub use super::agent::{CallKey, MessageOrder, MessageOutcome, MessageRoute, Origin, Referred};
pub use super::dialog::redirect::DialPolicy;
pub use super::dialog::replaces::Target;
pub use super::event::{CallEvent, CallFailure, EndedBy, OfferOutcome, ReferNews, Referral};
pub use super::message::{Host, Uri};
pub use super::resolve::Resolver;
pub use super::trunk::status::{Living, Registered, TrunkStatus};
pub use control::CallControl;
pub use phones::IncomingMessage;

use driver::Driver;
use inbox::{Inbox, Order};
use listen::Sockets;

/// Handle on the running endpoint; cheap to clone.
#[derive(Clone)]
pub struct Endpoint {
    shared: Arc<Shared>,
}

struct Shared {
    inbox: Arc<Inbox>,
    local: SocketAddr,
    ports: Ports,
    advertised: Option<IpAddr>,
    resolver: Resolver,
    board: Board,
    /// Only names, hosts and callers are read here; addresses live in the driver.
    trunks: Trunks,
    /// Until somebody takes them.
    texts: std::sync::Mutex<Option<mpsc::Receiver<IncomingMessage>>>,
    stopping: AtomicBool,
    trace: Trace,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port is taken or may not be opened.
    #[error(
        "cannot listen for SIP over {transport} on {address}: {source}; is another SIP server running, or [sip] {} wrong?",
        key_of(transport)
    )]
    Bind { transport: &'static str, address: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Tls(#[from] BadFile),
    #[error("cannot open a socket towards the collector of traces: {0}; is [trace] hep an address of this network?")]
    Trace(std::io::Error),
}

/// The key that says where a transport listens.
fn key_of(transport: &str) -> &'static str {
    match transport {
        "TCP" => "tcp_listen",
        "TLS" => "tls_listen",
        _ => "listen",
    }
}

/// An outbound call through a trunk.
#[derive(Debug, Clone)]
pub struct OutboundInvite {
    /// Name of a configured trunk.
    pub trunk: String,
    pub destination: Destination,
    /// User part and display name of From; the trunk's default when absent.
    pub caller_number: Option<String>,
    pub caller_name: Option<String>,
    pub offer: SessionDescription,
    /// Given up with CANCEL after so long without a final answer.
    pub ring_timeout: Duration,
    /// Where a redirection may lead.
    pub policy: DialPolicy,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// E.164 or short number, placed in the user part of the trunk's URI.
    Number(String),
    /// A complete SIP URI; only for calls that the operator places by hand.
    Uri(String),
    /// What a REFER asked for, or a person is called by.
    Referred(Referred),
    /// Every registered phone of an extension, without a trunk.
    Extension(String),
}

#[derive(Debug, thiserror::Error)]
pub enum InviteError {
    #[error("no trunk named {0}")]
    UnknownTrunk(String),
    #[error("destination holds characters that a SIP URI may not carry")]
    BadDestination,
    #[error("the SIP endpoint is stopping")]
    Stopping,
}

/// An INVITE from outside that passed the guard; it is to be answered or rejected through `control`. Dropping `events`
/// (or the whole) hangs up: an unanswered caller gets 480.
pub struct IncomingCall {
    pub control: CallControl,
    pub events: mpsc::Receiver<CallEvent>,
    /// User part of the Request-URI.
    pub called: String,
    /// User part and display name of From (P-Asserted-Identity where a trunk sends it).
    pub caller: String,
    pub caller_name: Option<String>,
    pub origin: Origin,
    /// Absent when the peer asks us for an offer.
    pub offer: Option<SessionDescription>,
    /// What the trunk says of the way that the call took; empty for extensions.
    pub provenance: Provenance,
    /// The call whose place it takes (RFC 3891): from the same trunk or extension, confirmed when it came.
    pub replaces: Option<CallKey>,
}

/// Inbound calls that may wait for their owner; more get 503.
const INCOMING_QUEUE: usize = 256;
/// Events that a call may have waiting.
const EVENT_QUEUE: usize = 64;
/// How long [`Endpoint::alive`] waits.
const ALIVE_LIMIT: Duration = Duration::from_secs(2);
/// Realm of the challenges that extensions get.
const REALM: &str = "trunkline";

impl Endpoint {
    /// [`Endpoint::start_with`] with the trace that is the default and the name servers of the system.
    pub async fn start(
        config: &SipConfig,
        trunks: &[TrunkConfig],
        extensions: &[ExtensionConfig],
        clock: Clock,
    ) -> Result<(Endpoint, mpsc::Receiver<IncomingCall>), StartError> {
        let resolver = Resolver::new(&[], clock.clone());
        Endpoint::start_with(config, trunks, extensions, &TraceConfig::default(), resolver, clock).await
    }

    /// [`Endpoint::start`] with traces and name servers of the operator's choice.
    pub async fn start_with(
        config: &SipConfig,
        trunks: &[TrunkConfig],
        extensions: &[ExtensionConfig],
        trace: &TraceConfig,
        resolver: Resolver,
        clock: Clock,
    ) -> Result<(Endpoint, mpsc::Receiver<IncomingCall>), StartError> {
        let sockets = Sockets::bind(config)?;
        let (local, ports) = (sockets.udp.local(), sockets.ports);
        let tls = Tls::load(config, trunks)?;
        let inbox = Arc::new(Inbox::default());
        let users = extensions.iter().map(|extension| (extension.user.clone(), extension.password.clone()));
        let authority = Authority::new(rand::random(), REALM, users, clock.now()).offering(&config.digest);
        let settings = settings(config, local, ports, inbox.clone());
        let phones = phones::settings(config, trunks, &clock);
        let exporter = Exporter::start(trace).map_err(StartError::Trace)?;
        let shown = config.advertised.unwrap_or_else(|| shown(local.ip()));
        let trace = Trace::new(trace, exporter, shown, settings.ports, clock.clone());
        let mut agent = UserAgent::new(settings, Trunks::new(trunks), authority).with_phones(phones);
        agent.trace_to(trace.clone());
        let board = Board::new();
        let (incoming, calls) = mpsc::channel(INCOMING_QUEUE);
        let (texting, texts) = mpsc::channel(phones::TEXT_QUEUE);
        let (udp, streams) = sockets.open(config, tls, clock.clone());
        let driver =
            Driver::new(udp, streams, agent, inbox.clone(), incoming, texting, clock, resolver.clone(), board.clone());
        tokio::spawn(driver.run());
        let shared = Shared {
            inbox,
            local,
            ports,
            advertised: config.advertised,
            resolver,
            board,
            trunks: Trunks::new(trunks),
            texts: std::sync::Mutex::new(Some(texts)),
            stopping: AtomicBool::new(false),
            trace,
        };
        tracing::info!(address = %local, tcp = ports.tcp, tls = ?config.tls_listen.map(|_| ports.tls), "listening for SIP");
        Ok((Endpoint { shared: Arc::new(shared) }, calls))
    }

    /// The messages that went over the wire.
    pub fn trace(&self) -> &Trace {
        &self.shared.trace
    }

    pub fn local_address(&self) -> SocketAddr {
        self.shared.local
    }

    /// Where it listens for TCP and for TLS.
    pub fn ports(&self) -> Ports {
        self.shared.ports
    }

    /// The address to put into a session description for a peer reached through `trunk` (advertised, or the local
    /// address of the route to it). For the peer of a call at hand, [`CallControl::media_address`] is nearer.
    pub async fn media_address(&self, trunk: &str) -> IpAddr {
        if let Some(ip) = self.shared.advertised {
            return ip;
        }
        let listen = self.shared.local;
        if !listen.ip().is_unspecified() {
            return listen.ip();
        }
        let trunk = self.shared.trunks.find(trunk);
        let peer = match trunk.map(|trunk| (trunk.first_ip(), trunk.wanted(Families::of(listen)))) {
            Some((Some(ip), _)) => Some(ip),
            Some((None, Some(wanted))) => {
                let found = self.shared.resolver.locate(&wanted).await.ok();
                found.and_then(|located| located.sites.first()?.addresses.first().map(SocketAddr::ip))
            }
            _ => None,
        };
        // Without an address, the route to the internet is the best guess; nothing is sent on it.
        local_address_towards(peer.unwrap_or_else(|| IpAddr::from([192, 0, 2, 1])))
    }

    /// How each trunk is, as of now; changes wake the receiver.
    pub fn trunk_statuses(&self) -> watch::Receiver<Vec<TrunkStatus>> {
        self.shared.board.read()
    }

    /// Places a call; dropping the receiver of its events hangs it up.
    pub fn invite(&self, call: OutboundInvite) -> Result<(CallControl, mpsc::Receiver<CallEvent>), InviteError> {
        if let Some(user) = call.destination.extension().map(str::to_owned) {
            return self.ring(user, call);
        }
        let trunks = &self.shared.trunks;
        let trunk = trunks.find(&call.trunk).ok_or_else(|| InviteError::UnknownTrunk(call.trunk.clone()))?;
        let target = match &call.destination {
            Destination::Number(number) => super::agent::number_on(trunk, number),
            Destination::Uri(uri) => super::agent::dialable(uri),
            Destination::Referred(referred) => {
                referred.dialable(&trunk.host, trunk.explicit_port.then_some(trunk.port))
            }
            Destination::Extension(_) => None,
        };
        let target = target.ok_or(InviteError::BadDestination)?;
        if self.shared.stopping.load(Ordering::Acquire) {
            return Err(InviteError::Stopping);
        }
        let (sender, events) = mpsc::channel(EVENT_QUEUE);
        let call_id = format!("{:016x}{:016x}", rand::random::<u64>(), rand::random::<u64>());
        let key = self.shared.inbox.next_call();
        let control = CallControl::new(key, &call_id, self.shared.inbox.clone(), None);
        let order = DialOrder {
            trunk: call.trunk,
            target,
            caller_number: call.caller_number,
            caller_name: call.caller_name,
            offer: call.offer,
            ring_timeout: call.ring_timeout,
            call_id,
            policy: call.policy,
        };
        if !self.shared.inbox.push_dial(key, order, sender.clone()) {
            // Too many calls wait to be dialled; said on the wire's own terms.
            let retry_after = Some(Duration::from_secs(1));
            let event = CallEvent::Rejected { code: 503, reason: "Dialling Queue Full".into(), retry_after };
            let _ = sender.try_send(event);
        }
        Ok((control, events))
    }

    /// Whether the driver still answers (for readiness and the watchdog).
    pub async fn alive(&self) -> bool {
        let (answer, answered) = oneshot::channel();
        self.shared.inbox.push(Order::Ping(answer));
        matches!(tokio::time::timeout(ALIVE_LIMIT, answered).await, Ok(Ok(())))
    }

    /// From now on new INVITEs get 503; live dialogs go on.
    pub fn refuse_new_calls(&self) {
        self.shared.inbox.push(Order::RefuseNewCalls);
    }

    /// Ends what is left (BYE, CANCEL), waits at most `limit` for the answers, closes the socket.
    pub async fn stop(&self, limit: Duration) {
        self.shared.stopping.store(true, Ordering::Release);
        let (done, finished) = oneshot::channel();
        self.shared.inbox.push(Order::Stop { limit, done });
        // A driver that is gone already has dropped the inbox's orders.
        let _ = tokio::time::timeout(limit.saturating_add(ALIVE_LIMIT), finished).await;
    }
}

/// Our address in traces when we listen on every one: that of the route to the internet. Nothing is sent.
fn shown(listen: IpAddr) -> IpAddr {
    if listen.is_unspecified() { local_address_towards(IpAddr::from([192, 0, 2, 1])) } else { listen }
}

fn settings(config: &SipConfig, local: SocketAddr, ports: Ports, inbox: Arc<Inbox>) -> Settings {
    let (advertised, listen) = (config.advertised, local.ip());
    Settings {
        user_agent: config.user_agent.chars().filter(|letter| !letter.is_control()).collect(),
        timers: Timers::from_t1(Duration::from_millis(config.t1_ms.max(1))),
        limits: Limits { bytes: config.max_message_bytes, ..Limits::default() },
        max_dialogs_per_source: config.max_dialogs_per_source,
        session_timer: Terms::new(config.session_expires_seconds),
        ports,
        local_address: Box::new(move |peer| match advertised {
            // An address of the other family would be none to the peer.
            Some(ip) if ip.is_ipv4() == peer.is_ipv4() => ip,
            _ if !listen.is_unspecified() => listen,
            _ => local_address_towards(peer),
        }),
        tokens: Box::new(|| format!("{:016x}", rand::random::<u64>())),
        call_keys: Box::new(move || -> CallKey { inbox.next_call() }),
    }
}
