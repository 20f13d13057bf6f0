//! The driver: sockets and timers around the pure layers. One endpoint serves every trunk and extension of the box.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::mpsc;

use super::sdp::SessionDescription;
use crate::clock::Clock;
use crate::config::{ExtensionConfig, Secret, SipConfig, TrunkConfig};

/// Handle on the running endpoint; cheap to clone.
#[derive(Clone)]
pub struct Endpoint {
    pub(crate) _todo: (),
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The UDP port is taken or may not be opened.
    #[error("cannot listen for SIP on {address}: {source}; is another SIP server running, or [sip] listen wrong?")]
    Bind { address: SocketAddr, source: std::io::Error },
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
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// E.164 or short number, placed in the user part of the trunk's URI.
    Number(String),
    /// A complete SIP URI; only for calls that the operator places by hand.
    Uri(String),
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

/// What a call may be told. Commands that the dialog's state does not allow are ignored.
#[derive(Clone)]
pub struct CallControl {
    pub(crate) _todo: (),
}

impl CallControl {
    /// Inbound: 180, or 183 with early media.
    pub fn ringing(&self, session: Option<SessionDescription>) {
        todo!("sip: {session:?}")
    }

    /// Inbound: 200 with our answer (or our offer, when the INVITE carried none).
    pub fn answer(&self, session: SessionDescription) {
        todo!("sip: {session:?}")
    }

    /// Inbound: a final refusal (`code` 400 to 699).
    pub fn reject(&self, code: u16) {
        todo!("sip: {code}")
    }

    /// Ends the call in whatever way its state owes: CANCEL, BYE, or a refusal.
    pub fn hang_up(&self) {
        todo!("sip")
    }

    /// Answers [`CallEvent::Offer`] (a re-INVITE or UPDATE of the peer).
    pub fn accept_offer(&self, session: SessionDescription) {
        todo!("sip: {session:?}")
    }

    /// Refuses [`CallEvent::Offer`] with 488; the session goes on as it was.
    pub fn refuse_offer(&self) {
        todo!("sip")
    }

    /// The Call-ID header, for logs at debug and traces.
    pub fn sip_call_id(&self) -> &str {
        todo!("sip")
    }
}

/// What happens to a call. After `Rejected`, `Failed` or `Ended` no event follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallEvent {
    /// 180 to 183 (any provisional above 100); `session` is early media.
    Ringing { code: u16, session: Option<SessionDescription> },
    /// Outbound: 200, with the answer. Inbound: our 200 was acknowledged; `session` is the answer in a late ACK, if any.
    Answered { session: Option<SessionDescription> },
    /// Outbound: a final refusal (300 to 699). `reason` is its phrase.
    Rejected { code: u16, reason: String, retry_after: Option<Duration> },
    /// No final answer could be had.
    Failed(CallFailure),
    /// The peer wants to change the session; `session` is absent when it asks us for an offer.
    Offer { session: Option<SessionDescription> },
    /// The call is over.
    Ended { by: EndedBy },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndedBy {
    /// BYE or CANCEL of the peer.
    Peer,
    /// Our `hang_up` or `reject`.
    Us,
    /// The dialog died: no ACK, 481, or retransmissions without an answer.
    Lost,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallFailure {
    /// Timer B: the trunk said nothing.
    TrunkSilent,
    /// The trunk's host has no address, or the socket refused it.
    Unreachable(String),
    /// Two digest tries were refused, or the challenge was not of our trunk.
    Unauthorized,
    /// `ring_timeout` passed.
    NoAnswer,
    /// The answer's session description cannot be used.
    BadAnswer(String),
}

/// An INVITE from outside that passed the guard; it must be answered or rejected through `control`.
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
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Name of the trunk that the source address belongs to.
    Trunk(String),
    /// User of the extension that answered our digest challenge.
    Extension(String),
}

impl Endpoint {
    /// Binds and serves until [`Endpoint::stop`]. The receiver yields inbound calls; when it lags, new INVITEs get 503.
    pub async fn start(
        config: &SipConfig,
        trunks: &[TrunkConfig],
        extensions: &[ExtensionConfig],
        clock: Clock,
    ) -> Result<(Endpoint, mpsc::Receiver<IncomingCall>), StartError> {
        todo!("sip: {config:?} {trunks:?} {extensions:?} {clock:?}")
    }

    pub fn local_address(&self) -> SocketAddr {
        todo!("sip")
    }

    /// The address to put into a session description for a peer reached through `trunk` (advertised, or the local
    /// address of the route to it).
    pub async fn media_address(&self, trunk: &str) -> std::net::IpAddr {
        todo!("sip: {trunk}")
    }

    pub fn invite(&self, call: OutboundInvite) -> Result<(CallControl, mpsc::Receiver<CallEvent>), InviteError> {
        todo!("sip: {call:?}")
    }

    /// Whether the driver still answers (for readiness and the watchdog).
    pub async fn alive(&self) -> bool {
        todo!("sip")
    }

    /// From now on new INVITEs get 503; live dialogs go on.
    pub fn refuse_new_calls(&self) {
        todo!("sip")
    }

    /// Ends what is left (BYE, CANCEL), waits at most `limit` for the answers, closes the socket.
    pub async fn stop(&self, limit: Duration) {
        todo!("sip: {limit:?}")
    }
}

// Keeps the import until the digest layer uses it.
#[allow(dead_code)]
fn _secret(_: &Secret) {}
